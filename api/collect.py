"""The service that phones reach: forms out, submissions in, and nothing else.

It is apart from the map on purpose. What listens beyond this machine has no figure, no map, no
list of submissions and no database to give away.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI

from api.errors import BindRefusedError
from api.routes.openrosa import openrosa_router, published_forms
from api.settings import is_loopback
from survey.forms import DeviceRegistry, SubmissionStore

__all__ = ["create_collector", "devices_of", "refuse_plain_bind"]


def devices_of(store_folder: Path) -> DeviceRegistry:
    """Phones of the round whose submissions lie in a folder."""
    return DeviceRegistry(store_folder / "devices")


def refuse_plain_bind(host: str, *, has_tls: bool) -> None:
    """Refuse to send secrets and answers through a network without TLS.

    Raises
    ------
    BindRefusedError
        Another address than loopback, and no certificate.
    """
    if not is_loopback(host) and not has_tls:
        raise BindRefusedError(
            f"refusing to listen on {host!r} without TLS: phones send their secret with every "
            "request; give --tls-certificate and --tls-key, or listen on 127.0.0.1 behind a "
            "proxy or tunnel that ends TLS on this machine"
        )


def create_collector(store_folder: Path) -> FastAPI:
    """The collecting service of one round.

    Parameters
    ----------
    store_folder : Path
        Submission store of the round.
    """
    app = FastAPI(title="ad-survey collect", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(
        openrosa_router(SubmissionStore(store_folder), devices_of(store_folder), published_forms())
    )
    return app
