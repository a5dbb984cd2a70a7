"""The map page, its assets from installed packages, and the description of the HTTP API."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

from api.errors import ApiError

__all__ = ["include_pages"]

_PAGES = Path(__file__).parents[1] / "pages"


def include_pages(app: FastAPI) -> None:
    """Add `/`, `/upload`, `/docs`, `/licences` and the static files they load."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def map_page() -> FileResponse:
        return FileResponse(_PAGES / "map.html", media_type="text/html")

    # The name under which the OGC landing page looks for its description.
    @router.get("/docs", name="swagger_ui_html")
    def docs_page() -> FileResponse:
        return FileResponse(_PAGES / "docs.html", media_type="text/html")

    @router.get("/upload")
    def upload_page() -> FileResponse:
        return FileResponse(_PAGES / "upload.html", media_type="text/html")

    @router.get("/licences")
    def licences() -> FileResponse:
        return FileResponse(_PAGES / "licences.txt", media_type="text/plain")

    app.include_router(router)
    app.mount("/static/maplibre", StaticFiles(directory=_installed("maplibre") / "srcjs"))
    app.mount("/static/swagger", StaticFiles(directory=_swagger()))
    app.mount("/static", StaticFiles(directory=_PAGES / "static"))


def _swagger() -> Path:
    """Folder of the newest Swagger UI in its wheel."""
    vendor = _installed("swagger_ui_bundle") / "vendor"
    return next(path.parent for path in sorted(vendor.rglob("swagger-ui-bundle.js"), reverse=True))


def _installed(package: str) -> Path:
    """Folder of an installed package, without importing it: only its files are wanted."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ApiError(f"package {package} is not installed; run make demo")
    return Path(spec.origin).parent
