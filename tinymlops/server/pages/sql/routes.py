"""The handlers of `/sql`. A query runs only if a page of this session asked for it: by a form, or by a link with its mark."""

from functools import partial
from typing import Annotated, Any

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.response import Redirect

from tinymlops.errors import AccessError, DataError, NotFoundError, TinyMLOpsError
from tinymlops.queries.messages import File, Refused, Shown
from tinymlops.records import SavedQuery
from tinymlops.server.pages.rendering import url
from tinymlops.server.pages.routing import AnyRequest, Form
from tinymlops.server.pages.sql.asked import Asked, has_mark
from tinymlops.server.pages.sql.asking import Asking
from tinymlops.server.pages.sql.showing import error_of, sql_page
from tinymlops.server.route_class import READ, WRITE
from tinymlops.times import parse_instant
from tinymlops.workspace import Workspace

__all__ = ["sql_routes"]

Text = Annotated[str, QueryParameter(max_length=20_000)]
Name = Annotated[str, QueryParameter(max_length=2_000)]
_LONGEST_ADDRESS = 6_000
"""A query that makes a longer address is answered by the form itself, and not by a link that shows the same."""
_KINDS = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


def sql_routes(ws: Workspace, asking: Asking) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    return [*_queries(ws, asking), _file(asking), *_saved(ws, asking)]


def _queries(ws: Workspace, asking: Asking) -> list[HTTPRouteHandler]:
    @get("/sql", opt=READ, status_code=200)
    async def show(
        request: AnyRequest,
        q: Text = "",
        chart: Name = "",
        x: Name = "",
        y: Name = "",
        saved: Name = "",
        table: Name = "",
        run: Name = "",
    ) -> Response[Any]:
        """Show a query; its result too, if this session's own page asked for that."""
        asked = Asked(q, chart, x, y, saved, table)
        if saved:
            try:
                asked = await asking.write(partial(asked.loaded, ws.queries))
            except NotFoundError as error:
                return await asking.write(partial(sql_page, ws, request, asked._replace(saved=""), error=error))
        if asked.q.strip() and has_mark(request, asked.q, run):
            return await _answered(ws, asking, request, asked)
        await asking.prepare()
        return await asking.write(partial(sql_page, ws, request, asked))

    @post("/sql", opt=READ, status_code=200)
    async def ask(request: AnyRequest, data: Form) -> Response[Any]:
        """Run a query: by an address that shows the same, unless that would be too long."""
        asked = Asked.of(data)
        address = asked.address(request)
        if not asked.q.strip() or len(address) <= _LONGEST_ADDRESS:
            return Redirect(address, status_code=303)
        return await _answered(ws, asking, request, asked)

    return [show, ask]


async def _answered(ws: Workspace, asking: Asking, request: AnyRequest, asked: Asked) -> Response[Any]:
    """Run a query and show what came of it."""
    error: TinyMLOpsError | None = None
    reply: Any = None
    try:
        reply = (await asking.ask(request, asked.q, chart=asked.picture())).reply
    except TinyMLOpsError as raised:
        error = raised
    shown = reply if isinstance(reply, Shown) else None
    refused = reply if isinstance(reply, Refused) else None
    show = partial(sql_page, ws, request, asked, shown=shown, refused=refused, error=error)
    return await asking.write(show)


def _file(asking: Asking) -> HTTPRouteHandler:
    @get("/sql/file", opt=READ, status_code=200)
    async def file(request: AnyRequest, q: Text, kind: Name, run: Name) -> Response[Any]:
        """Answer the rows of a query as a file to keep."""
        if kind not in _KINDS:
            raise DataError(f"{kind[:50]!r} is not a kind of file", hint="use csv or parquet")
        if not has_mark(request, q, run):
            raise AccessError("this link is of another session", hint="run the query here and download it again")
        done = await asking.ask(request, q, form="csv" if kind == "csv" else "parquet")
        if isinstance(done.reply, Refused):
            raise error_of(done.reply)
        assert isinstance(done.reply, File), "a file was asked for"
        headers = {
            "content-disposition": f'attachment; filename="query.{kind}"',
            "content-security-policy": "default-src 'none'; sandbox",
        }
        return Response(done.content, media_type=_KINDS[kind], headers=headers)

    return file


def _saved(ws: Workspace, asking: Asking) -> list[HTTPRouteHandler]:
    @post("/sql/save", opt=WRITE, status_code=200)
    async def save(request: AnyRequest, data: Form) -> Response[Any]:
        """Save a query by name."""
        asked = Asked.of(data)
        seen = data.get("seen", "")

        def keep() -> SavedQuery:
            at = parse_instant(seen, name="seen") if seen else None
            return ws.queries.save(data.get("name", ""), asked.q, chart=asked.chart, x=asked.x, y=asked.y, seen=at)

        try:
            kept = await asking.write(keep)
        except TinyMLOpsError as error:
            show = partial(sql_page, ws, request, asked, error=error, name=data.get("name", ""))
            return await asking.write(show)
        return Redirect(Asked(kept.text, saved=kept.name).address_of_saved(request), status_code=303)

    @post("/sql/delete", opt=WRITE, status_code=200)
    async def delete(request: AnyRequest, data: Form) -> Response[Any]:
        """Delete a saved query."""
        await asking.write(lambda: ws.queries.delete(data.get("name", "")))
        return Redirect(url(request, "/sql"), status_code=303)

    return [save, delete]
