"""Styles, scripts and marks: files of this package, named by their bytes, so that a browser keeps them for good.

uPlot 1.6.32 (MIT) is by Leon Sorokin; its licence stands beside it.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from tinymlops.display.style import style
from tinymlops.errors import NotFoundError
from tinymlops.server.route_class import OPEN

__all__ = ["asset_path", "asset_routes"]

_HERE = Path(__file__).parent / "assets"
_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_SHEET = "page.css"
"""What pages share with files that stand alone comes before it, so that a browser asks for one file."""
_LENGTH = 12
_FOR_GOOD = {"cache-control": "public, max-age=31536000, immutable"}


class _Asset(NamedTuple):
    content: bytes
    kind: str
    digest: str


@cache
def _assets() -> dict[str, _Asset]:
    found = {}
    for file in sorted(_HERE.iterdir()):
        if file.suffix in _KINDS:
            content = file.read_bytes()
            if file.name == _SHEET:
                content = style().encode() + content
            found[file.name] = _Asset(content, _KINDS[file.suffix], hashlib.sha256(content).hexdigest()[:_LENGTH])
    return found


def asset_path(name: str) -> str:
    """Return the path of a file, which changes with its bytes.

    Args:
        name: Such as "page.css".
    """
    return f"/assets/{_assets()[name].digest}/{name}"


def asset_routes() -> list[HTTPRouteHandler]:
    """Make the handler."""

    @get("/assets/{digest:str}/{name:str}", opt=OPEN, sync_to_thread=False)
    def asset(digest: FromPath[str], name: FromPath[str]) -> Response[bytes]:
        """Answer a file; one of another version of the package is not kept."""
        found = _assets().get(name)
        if found is None:
            raise NotFoundError(f"there is no file {name[:100]!r} here")
        return Response(found.content, media_type=found.kind, headers=_FOR_GOOD if found.digest == digest else {})

    return [asset]
