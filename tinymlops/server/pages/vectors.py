"""`/vectors`: what can be searched by vectors and by words, and search as of a time."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from tinymlops.display.words import moment
from tinymlops.errors import DataError, IntegrityError, NotFoundError, UnavailableError, near
from tinymlops.features.vectors.answer import Nearest
from tinymlops.features.vectors.listing import EmbeddingStatus
from tinymlops.printable import printable
from tinymlops.server.pages.rendering import page
from tinymlops.server.pages.routing import AnyRequest, shows
from tinymlops.server.route_class import READ
from tinymlops.server.searching import search_in_time
from tinymlops.server.threads import Threads
from tinymlops.workspace import Workspace

__all__ = ["vector_pages"]

Text = Annotated[str, QueryParameter(max_length=2_000)]
_ROWS = 20
_LONGEST = 280
"""Characters of a cell."""
_LISTING = Threads(2, "tinymlops-pages-vectors")


def vector_pages(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""

    @shows("/vectors", opt=READ)
    def vectors(request: AnyRequest) -> Response[Any]:
        """List the embeddings."""
        return page(request, "vectors.html", title="Vectors", embeddings=ws.vectors.list())

    @get("/vectors/{name:str}", opt=READ, status_code=200)
    async def search(
        request: AnyRequest, name: FromPath[str], q: Text = "", at: Text = "", mode: Text = ""
    ) -> Response[Any]:
        """Search as of a time."""
        about = await _LISTING.run(lambda: _about(ws, name))
        chosen = mode or ("vector" if about.text is None else "text")
        found, error = None, None
        if q.strip():
            try:
                found = await _found(ws, about, q, at.strip(), chosen)
            except (DataError, NotFoundError, UnavailableError, IntegrityError) as raised:
                error = raised
        return page(
            request,
            "vector_search.html",
            status=200 if error is None else 422,
            title=name,
            about=about,
            asked={"q": q, "at": at, "mode": chosen},
            found=found,
            columns=() if found is None else found.to_polars().columns,
            rows=[] if found is None else [[_cell(value) for value in row] for row in found.to_polars().iter_rows()],
            error=error,
        )

    return [vectors, search]


def _about(ws: Workspace, name: str) -> EmbeddingStatus:
    listed = {one.embedding: one for one in ws.vectors.list()}
    if name not in listed:
        raise NotFoundError(f"there is no embedding {name!r}", hint=near(name, listed))
    return listed[name]


async def _found(ws: Workspace, about: EmbeddingStatus, q: str, at: str, mode: Any) -> Nearest:
    query: str | list[float] = q
    if about.text is None:
        try:
            query = msgspec.json.decode(q, type=list[float])
        except (msgspec.MsgspecError, UnicodeEncodeError) as error:
            raise DataError(f"{q!r} is not a vector", hint="write a list of numbers: [0.1, 0.2]") from error
    return await search_in_time(ws, about.embedding, query, mode=mode, k=_ROWS, at=at or None)


def _cell(value: object) -> str | float | None:
    """Return a value as the page shows it."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    if isinstance(value, datetime) and value.tzinfo is not None:
        return moment(value)
    text = printable(str(value), line=True)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
