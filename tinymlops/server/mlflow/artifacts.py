"""`mlflow-artifacts/` and `artifacts/list`: files of runs and of logged models, under labels that no disk path is made of.

An upload is written to a temporary file as it comes, and takes its place when it is complete; nothing holds a whole file.
"""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any, NamedTuple

from litestar import Request, delete, get, put
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from tinymlops.errors import DataError, NotFoundError
from tinymlops.records import Artifact, OpaqueFile
from tinymlops.registry.runs.values import checked_file_name
from tinymlops.server.mlflow.answers import Empty, Files
from tinymlops.server.mlflow.listing import below, listed
from tinymlops.server.mlflow.mapping import artifact_uri
from tinymlops.server.mlflow.routing import OPTIONS, gets, in_thread
from tinymlops.server.route_class import ADMIN, READ, WRITE
from tinymlops.server.threads import Threads
from tinymlops.stores.publish import Published, Unfinished
from tinymlops.workspace import Workspace

__all__ = ["ARTIFACTS", "artifact_routes"]

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
MOST_BYTES = 8 * 2**30
"""Of one file."""
_PIECE = 2**20
"""Bytes that are written or read at a time."""
_DISK = Threads(4, "tinymlops-artifact")
Path = Annotated[str, QueryParameter(max_length=20_000)]
Id = Annotated[str, QueryParameter(max_length=100)]
_KINDS = ("runs", "models")


class _Place(NamedTuple):
    """Whose file a path names, and by which label."""

    kind: str
    """`runs` or `models`."""
    owner: str
    label: str


def artifact_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    return [_upload(ws), _download(ws), *_lists(ws), _remove(ws)]


def _upload(ws: Workspace) -> HTTPRouteHandler:
    @put(ARTIFACTS + "/{path:path}", opt=WRITE, request_max_body_size=None, **OPTIONS)
    async def put_artifact(path: FromPath[str], request: Request[Any, Any, Any]) -> Empty:
        """Keep a file as it comes; it is durable when the answer comes."""
        place = await _DISK.run(partial(_writable, ws, path))
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > MOST_BYTES:
            raise _too_large()
        with await _DISK.run(ws.runs.remote.begin_file) as file:
            await _receive(request.stream(), file)
            await _DISK.run(partial(_keep, ws, place, file))
        return Empty()

    return put_artifact


def _download(ws: Workspace) -> HTTPRouteHandler:
    @get(ARTIFACTS + "/{path:path}", opt=READ, **OPTIONS)
    async def get_artifact(path: FromPath[str]) -> Stream:
        """Send a file, always as bytes that a browser does not open."""
        file = await _DISK.run(partial(_found, ws, path))
        stream = await _DISK.run(partial(ws.runs.remote.open_file, file.sha256))
        return Stream(
            _pieces(stream),
            media_type="application/octet-stream",
            headers={"content-length": str(file.bytes), "content-disposition": "attachment"},
        )

    return get_artifact


def _lists(ws: Workspace) -> list[HTTPRouteHandler]:
    @get(ARTIFACTS, opt=READ, **OPTIONS)
    @in_thread
    def list_artifacts(path: Path = "") -> Files:
        """List what lies right below a path."""
        place = _place(path, whole=False)
        return Files(files=listed(_files(ws, place), place.label))

    @gets("artifacts/list", opt=READ)
    def list_run_artifacts(run_id: Id = "", run_uuid: Id = "", path: Path = "", page_token: Id = "") -> Files:  # noqa: ARG001 - there is one page
        """List the files of a run, as clients ask that do not fetch them."""
        run = ws.runs.remote.get(run_id or run_uuid).id
        return Files(root_uri=artifact_uri(run), files=listed(ws.runs.artifacts(run), path, full=True))

    return [list_artifacts, list_run_artifacts]


def _remove(ws: Workspace) -> HTTPRouteHandler:
    @delete(ARTIFACTS + "/{path:path}", opt=ADMIN, **OPTIONS)
    @in_thread
    def delete_artifacts(path: FromPath[str]) -> Empty:
        """Remove a file, or all below a path; nothing brings them back."""
        place = _place(path, whole=False)
        files = _files(ws, place)
        names = [one.name for one in files if one.name == place.label] or [
            one.name for one in below(files, place.label)
        ]
        if place.kind == "runs":
            ws.runs.remote.delete_artifacts(place.owner, names)
        else:
            ws.models.opaque.delete_files(place.owner, names)
        return Empty()

    return delete_artifacts


def _place(path: str, *, whole: bool = True) -> _Place:
    """Read a path.

    Args:
        path: What follows the route.
        whole: Whether it must name a file.

    Raises:
        DataError: If it is none that this server gives, or its label cannot be one.
    """
    kind, _, rest = path.strip("/").partition("/")
    owner, _, label = rest.partition("/")
    if kind not in _KINDS or not owner:
        raise DataError(
            f"{path[:200]!r} is no place of a file", hint="take the artifact_uri of a run or of a logged model"
        )
    if "\ufffd" in label:
        raise DataError(f"a file cannot be named {label[:200]!r}", hint="percent-encode its name as UTF-8")
    return _Place(kind, owner, checked_file_name(label) if whole or label else "")


def _files(ws: Workspace, place: _Place) -> list[Artifact] | list[OpaqueFile]:
    if place.kind == "runs":
        return ws.runs.artifacts(ws.runs.remote.get(place.owner).id)
    return ws.models.opaque.files(ws.models.opaque.get(place.owner, deleted=True).id)


def _found(ws: Workspace, path: str) -> Artifact | OpaqueFile:
    place = _place(path)
    for one in _files(ws, place):
        if one.name == place.label:
            return one
    raise NotFoundError(f"there is no file {place.label!r}", hint="list what is there first")


def _writable(ws: Workspace, path: str) -> _Place:
    place = _place(path)
    if place.kind == "runs":
        ws.runs.remote.get(place.owner)
    else:
        ws.models.opaque.get(place.owner)
    return place


def _keep(ws: Workspace, place: _Place, file: Unfinished) -> None:
    publish: Callable[[], Published] = partial(ws.runs.remote.publish, file)
    if place.kind == "runs":
        ws.runs.remote.put_artifact(place.owner, place.label, publish)
    else:
        ws.models.opaque.put_file(place.owner, place.label, publish)


async def _receive(chunks: AsyncIterator[bytes], file: Unfinished) -> None:
    """Write a body to a file, a piece at a time.

    Raises:
        HTTPException: If it is too large.
    """
    received, piece = 0, bytearray()
    async for chunk in chunks:
        received += len(chunk)
        if received > MOST_BYTES:
            raise _too_large()
        piece += chunk
        if len(piece) >= _PIECE:
            await _DISK.run(partial(file.write, bytes(piece)))
            piece.clear()
    if piece:
        await _DISK.run(partial(file.write, bytes(piece)))


async def _pieces(stream: Any) -> AsyncIterator[bytes]:
    try:
        while piece := await _DISK.run(partial(stream.read, _PIECE)):
            yield piece
    finally:
        stream.close()


def _too_large() -> HTTPException:
    return HTTPException(f"a file has at most {MOST_BYTES} bytes", status_code=413)
