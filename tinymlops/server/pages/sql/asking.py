"""Queries of pages: one a person, a few at once, each in a process of its own that ends with who asked it and with the server."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tinymlops.errors import UnavailableError
from tinymlops.queries.messages import Bounds, ChartAsked, Done, Form, Question
from tinymlops.queries.processes import QueryProcesses, Running
from tinymlops.server.access import caller_of
from tinymlops.server.pages.state import may
from tinymlops.server.threads import Threads
from tinymlops.times import system_clock, to_micros

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar import Request

    from tinymlops.workspace import Workspace

__all__ = ["BOUNDS", "MOST", "Asking", "hidden_from"]

T = TypeVar("T")

MOST = 2
"""Queries at once."""
BOUNDS = Bounds(seconds=10.0, memory=2**30, rows=100_000, bytes=64 * 2**20)
_FILE_ROWS = 1_000_000
_OF_AUDITORS = ("audit", "access")
"""Tables that tell who did what: their pages are for other roles than those of values."""
_LOOK = 0.25
"""Seconds between two looks whether the server is about to stop."""


class Asking:
    """Runs the queries of the pages of a workspace.

    Args:
        ws: The workspace.
        is_ending: Whether the server is about to stop.
        bounds: What a query may take.
    """

    def __init__(self, ws: Workspace, is_ending: Callable[[], bool], bounds: Bounds = BOUNDS) -> None:
        self._ws, self._is_ending, self.bounds = ws, is_ending, bounds
        self._processes = QueryProcesses()
        self._running: dict[Running, str | None] = {}
        self._threads = Threads(MOST, "tinymlops-sql")
        self._writing = Threads(2, "tinymlops-sql-pages")

    async def write(self, work: Callable[[], T]) -> T:
        """Do some work beside the event loop: a long table takes its time."""
        return await self._writing.run(work)

    async def prepare(self) -> None:
        """Have a process ready, for whoever looks at the page is about to ask."""
        if not self._is_ending():
            with suppress(UnavailableError):
                await self._writing.run(self._processes.prepare)

    async def ask(
        self, request: Request[Any, Any, Any], text: str, *, form: Form = "page", chart: ChartAsked | None = None
    ) -> Done:
        """Run a query; it is ended when nobody waits for it any more.

        Args:
            request: Who asks, whose body has come.
            text: The SELECT.
            form: What is made of the rows.
            chart: The picture of them.

        Raises:
            UnavailableError: If this person has one already, there are too many, or the server is about to stop.
        """
        caller = caller_of(request)
        actor = None if caller is None else caller.actor
        self._require_place(actor)
        running, question = Running(), self._question(request, text, form, chart)
        self._running[running] = actor
        gone = asyncio.ensure_future(_gone(request))
        work = asyncio.ensure_future(self._threads.run(partial(self._answer, question, running)))
        try:
            while not work.done():
                await asyncio.wait((work, gone), timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
                if gone.done() or self._is_ending():
                    running.stop()
                    await asyncio.wait((work,))
            return work.result()
        finally:
            running.stop()
            gone.cancel()
            del self._running[running]

    def close(self) -> None:
        """End all queries, and the process that waits for the next."""
        for running in list(self._running):
            running.stop()
        self._processes.close()

    def _require_place(self, actor: str | None) -> None:
        """Refuse a query that would be one too many; one that was stopped is as good as gone."""
        if self._is_ending():
            raise UnavailableError("the server is about to stop", hint="try again in a minute")
        going = [who for running, who in self._running.items() if not running.is_stopped]
        if actor in going:
            raise UnavailableError(
                "a query of yours runs already, and each person has one at a time",
                hint="wait until it ends, or leave its page, which stops it",
            )
        if len(going) >= MOST:
            raise UnavailableError(
                f"{MOST} queries run already, and no more run at once", hint="try again in a few seconds"
            )

    def _answer(self, question: Question, running: Running) -> Done:
        self._ws.flush()
        done = self._processes.answer(question, running)
        if not running.is_stopped:
            self._processes.prepare()
        return done

    def _question(self, request: Request[Any, Any, Any], text: str, form: Form, chart: ChartAsked | None) -> Question:
        ws, bounds = self._ws, self.bounds
        clock = ws._clock  # noqa: SLF001 - the time that a feature view is read at
        return Question(
            workspace=str(ws._environment.path),  # noqa: SLF001 - the process opens it to read
            root=str(ws._root),  # noqa: SLF001 - sources that are read in place lie there
            text=text.encode("utf-8", "replace").decode(),
            bounds=bounds if form == "page" else _of_files(bounds),
            form=form,
            chart=chart,
            hidden=hidden_from(request),
            now=None if clock is system_clock else to_micros(clock()),
        )


def hidden_from(request: Request[Any, Any, Any]) -> tuple[str, ...]:
    """Return the tables that who looks may not read."""
    return () if may(request, "audit") else _OF_AUDITORS


def _of_files(bounds: Bounds) -> Bounds:
    return msgspec.structs.replace(bounds, rows=_FILE_ROWS)


async def _gone(request: Request[Any, Any, Any]) -> None:
    """Return when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
