"""The files of a run. A browser runs what is in some of them, so only pictures made of pixels are shown; the rest is downloaded.

What is text is shown as text, escaped. HTML and SVG are never sent as something that a browser would open here.
"""

import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery

from tinymlops.records import Artifact
from tinymlops.server.pages.rendering import page
from tinymlops.server.pages.routing import AnyRequest, shows
from tinymlops.server.route_class import READ
from tinymlops.workspace import Workspace

__all__ = ["file_routes", "is_text", "pictures_of"]

_PIXELS = {".png": (b"\x89PNG\r\n\x1a\n", "image/png"), ".jpg": (b"\xff\xd8\xff", "image/jpeg")}
_PIXELS[".jpeg"] = _PIXELS[".jpg"]
_TEXTS = re.compile(r"\.(txt|log|md|rst|jsonl?|csv|tsv|ya?ml|toml|ini|cfg|py|sql|patch|diff|sh|ipynb)")
_LONGEST = 200_000
"""Bytes of a text that is shown; the file has the rest."""
_LARGEST = 64 << 20
"""Bytes of a file that is sent by a page."""


def is_picture(name: str) -> bool:
    """Return whether a file may be a picture made of pixels; its first bytes decide."""
    return _ending(name) in _PIXELS


def is_text(name: str) -> bool:
    """Return whether a file is shown as text."""
    return _TEXTS.fullmatch(_ending(name)) is not None


def file_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""

    @shows("/runs/{run:str}/file", opt=READ)
    def file(run: FromPath[str], name: FromQuery[str]) -> Response[bytes]:
        """Answer a file: a picture, else a download."""
        content = ws.runs.read_artifact(ws.runs.get(run).id, name)
        begins, kind = _PIXELS.get(_ending(name), (b"", ""))
        if kind and content.startswith(begins):
            return Response(content, media_type=kind, headers=_headers("inline", name))
        return Response(content, media_type="application/octet-stream", headers=_headers("attachment", name))

    @shows("/runs/{run:str}/text", opt=READ)
    def text(request: AnyRequest, run: FromPath[str], name: FromQuery[str]) -> Response[Any]:
        """Show a file as text."""
        record = ws.runs.get(run)
        content = ws.runs.read_artifact(record.id, name)
        shown = content[:_LONGEST].decode(errors="replace")
        return page(request, "run_text.html", title=name, run=record, name=name, text=shown, size=len(content))

    @shows("/runs/{run:str}/console", opt=READ)
    def console(run: FromPath[str]) -> Response[str]:
        """Answer the whole of what a run wrote to its console."""
        record = ws.runs.get(run)
        headers = _headers("attachment", f"{record.id[:12]}-console.txt")
        return Response(ws.runs.console(record.id), media_type="text/plain", headers=headers)

    @shows("/runs/{run:str}/patch", opt=READ)
    def patch(run: FromPath[str]) -> Response[str]:
        """Answer the changes that were not committed, as `git apply` reads them."""
        record = ws.runs.get(run)
        headers = _headers("attachment", f"{record.id[:12]}.patch")
        return Response(ws.runs.patch(record.id) or "", media_type="text/plain", headers=headers)

    return [file, text, console, patch]


def _headers(how: str, name: str) -> dict[str, str]:
    last = PurePosixPath(name).name or "file"
    return {
        "content-disposition": f"{how}; filename*=UTF-8''{quote(last, safe='')}",
        "content-security-policy": "default-src 'none'; sandbox",
    }


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def pictures_of(artifacts: list[Artifact]) -> list[Artifact]:
    """Return the pictures among some files."""
    return [one for one in artifacts if is_picture(one.name) and one.bytes <= _LARGEST]
