"""Search by vectors, and what looks at all of them, for those who ask over HTTP: beside the event loop, and within a deadline."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from tinymlops.errors import UnavailableError
from tinymlops.server.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinymlops.features.vectors.answer import Nearest, SearchMode
    from tinymlops.workspace import Workspace

__all__ = ["look_in_time", "search_in_time"]

T = TypeVar("T")

_ASKING = Threads(8, "tinymlops-embed")
"""For queries that a model is asked about, which may be at a provider that hangs."""
_SEARCHING = Threads(2, "tinymlops-search")
"""For all others, so that they wait for no provider."""
_LOOKING = Threads(1, "tinymlops-look")
"""For what compares all vectors, one at a time: it takes every core, and much memory."""
_SECONDS = 30.0
"""That an answer may take."""


async def search_in_time(
    ws: Workspace, embedding: str, query: str | list[float], *, mode: SearchMode, **options: Any
) -> Nearest:
    """Search as `ws.vectors.search` does.

    Args:
        ws: The workspace.
        embedding: The name of an embedding.
        query: A text, or a vector.
        mode: How rows are compared with it.
        options: The others of `ws.vectors.search`.

    Raises:
        UnavailableError: If it takes longer than half a minute; a provider's answer is not waited for any more.
    """
    threads = _ASKING if isinstance(query, str) and mode != "text" else _SEARCHING
    return await _in_time(
        threads,
        partial(ws.vectors.search, embedding, query, mode=mode, **options),
        f"the search of embedding {embedding!r}",
        'try again later, or search with mode "text", which asks no model',
    )


async def look_in_time(embedding: str, work: Callable[[], T]) -> T:
    """Look at all vectors of an embedding, one request after the other.

    Args:
        embedding: Its name.
        work: What is done.

    Raises:
        UnavailableError: If it takes longer than half a minute, with what was asked before it.
    """
    what = f"comparing the vectors of embedding {embedding!r} with what was asked before it"
    return await _in_time(_LOOKING, work, what, "try again later, or do it beside the workspace, in Python")


async def _in_time(threads: Threads, work: Callable[[], T], what: str, hint: str) -> T:
    try:
        async with asyncio.timeout(_SECONDS):
            return await threads.run(work)
    except TimeoutError as error:
        raise UnavailableError(f"{what} took longer than {_SECONDS:g} s", hint=hint) from error
