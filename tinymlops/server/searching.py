"""Search by vectors for those who ask over HTTP: beside the event loop, and within a deadline."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from tinymlops.errors import UnavailableError
from tinymlops.server.threads import Threads

if TYPE_CHECKING:
    from tinymlops.features.vectors.answer import Nearest, SearchMode
    from tinymlops.workspace import Workspace

__all__ = ["search_in_time"]

_ASKING = Threads(8, "tinymlops-embed")
"""For queries that a model is asked about, which may be at a provider that hangs."""
_SEARCHING = Threads(2, "tinymlops-search")
"""For all others, so that they wait for no provider."""
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
    try:
        async with asyncio.timeout(_SECONDS):
            return await threads.run(partial(ws.vectors.search, embedding, query, mode=mode, **options))
    except TimeoutError as error:
        raise UnavailableError(
            f"the search of embedding {embedding!r} took longer than {_SECONDS:g} s",
            hint='try again later, or search with mode "text", which asks no model',
        ) from error
