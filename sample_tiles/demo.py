"""The main job on an invented landscape, as `make demo` runs it.

Every step is the command that a user would type; this script only types them in order, checks
what the service answers, and stops what it started.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from sample_tiles.generate import Landscape, generate

HOST = "127.0.0.1"
START_SECONDS = 60


def main() -> int:
    """Generate, import, run, load, serve, check; 0 when everything answered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("rounds/demo"))
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--port", type=int, default=0, help="0: a free one from 8000 on")
    parser.add_argument("--no-serve", action="store_true", help="end after the check")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    folder: Path = options.folder
    stamp = folder / ".complete"
    if stamp.is_file():
        print(f"Using the landscape in {folder} (make clean removes it)")
    else:
        generate(folder, landscape=Landscape(), seed=options.seed)
        stamp.touch()
    survey = folder / "survey.toml"

    adsurvey("forms", "import", str(folder / "submissions"), "--survey", str(survey))
    adsurvey("forms", "review", "accept", "--unflagged", "--survey", str(survey), "--by", "demo")
    adsurvey("run", str(survey))
    adsurvey("load", str(folder / "out"))
    port = options.port or free_port()
    command = ["serve", "--survey", str(survey), "--port", str(port)]
    print(f"\n$ adsurvey {' '.join(command)}", flush=True)
    # Its own session: Ctrl-C reaches this script first, which then stops the service in order.
    service = subprocess.Popen([sys.executable, "-m", "api.cli", *command], start_new_session=True)
    try:
        address = f"http://{HOST}:{port}"
        wait_until_up(address, service)
        check(address)
        print(f"\nThe map: {address}/")
        print(f"The same map as one file: {(folder / 'out/publish/map.html').resolve()}")
        if not options.no_serve:
            print("Ctrl-C ends the demo.", flush=True)
            service.wait()
    except KeyboardInterrupt:
        print("\nStopping.")
    finally:
        if service.poll() is None:
            service.send_signal(signal.SIGINT)
            try:
                service.wait(timeout=20)
            except subprocess.TimeoutExpired:
                service.kill()
                service.wait()
        adsurvey("database", "stop")
    return 0


def adsurvey(*arguments: str) -> None:
    """Run one verb as a user would; its failure ends the demo with its exit code."""
    print(f"\n$ adsurvey {' '.join(arguments)}", flush=True)
    result = subprocess.run([sys.executable, "-m", "api.cli", *arguments], check=False)
    if result.returncode:
        sys.exit(result.returncode)


def free_port() -> int:
    """First port from 8000 on that nothing listens on."""
    for port in range(8000, 8100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    sys.exit("no free port between 8000 and 8099; give one with --port")


def wait_until_up(address: str, service: subprocess.Popen[bytes]) -> None:
    """Wait for the service's first answer."""
    for _ in range(START_SECONDS * 5):
        if service.poll() is not None:
            sys.exit(f"the service ended with code {service.returncode} before it answered")
        try:
            get(f"{address}/healthz")
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
        else:
            return
    sys.exit(f"the service did not answer within {START_SECONDS} seconds")


def check(address: str) -> None:
    """Ask the endpoints that the map, QGIS and an analyst use; any odd answer ends the demo."""
    print(f"\nChecking {address}")
    try:
        get(f"{address}/whoami")
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
        print("  there are users here (adsurvey users list): sign in to see the map")
        return
    collections = json.loads(get(f"{address}/ogc/collections"))["collections"]
    wanted = {
        "published.district_estimate",
        "published.total_estimate",
        "published.project_indicator",
    }
    missing = wanted - {collection["id"] for collection in collections}
    if missing:
        sys.exit(f"collections missing from the service: {', '.join(sorted(missing))}")
    for name in sorted(wanted):
        answer = json.loads(get(f"{address}/ogc/collections/{name}/items?limit=100"))
        if not answer["features"]:
            sys.exit(f"collection {name} is empty")
        print(f"  {name}: {answer['numberMatched']} features")
        get(f"{address}/ogc/collections/{name}/tiles/WebMercatorQuad/0/0/0")
    page = get(f"{address}/").decode()
    if "<title>" not in page:
        sys.exit("the map page is no HTML page")
    print("  map page and vector tiles answer")


def get(url: str) -> bytes:
    """Body of a successful answer."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return bytes(answer.read())


if __name__ == "__main__":
    # A plain `python -m sample_tiles.demo` must not need the installed command on PATH.
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
