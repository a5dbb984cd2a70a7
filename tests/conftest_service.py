"""The service as a process, for real clients."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def serving(
    *arguments: str | Path,
    environment: Mapping[str, str],
    tls: Path | None = None,
    unseen: Sequence[str] = (),
) -> Iterator[str]:
    """`adsurvey serve` as a process on a free loopback port; yields its address.

    `tls` is a folder with `certificate.pem` and `key.pem` for localhost; nothing of `unseen` may
    stand in what the service wrote.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["serve", "--port", str(port), *map(str, arguments)]
    url, trusted = f"http://127.0.0.1:{port}", None
    if tls is not None:
        words += ["--tls-certificate", str(tls / "certificate.pem")]
        words += ["--tls-key", str(tls / "key.pem")]
        url = f"https://localhost:{port}"
        trusted = ssl.create_default_context(cafile=tls / "certificate.pem")
    service = subprocess.Popen(
        [sys.executable, "-m", "api.cli", *words],
        env={**os.environ, **environment},
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    try:
        for _ in range(300):
            if service.poll() is not None:
                pytest.fail(f"the service ended: {service.stderr.read().decode()}")
            try:
                urllib.request.urlopen(f"{url}/healthz", timeout=5, context=trusted).close()
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        service.send_signal(signal.SIGINT)
        _, written = service.communicate(timeout=30)
        for secret in unseen:
            assert secret not in written.decode()
