"""Work that waits, done beside the event loop: a group of threads for each kind, so that none takes the place of another."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Threads", "done"]

T = TypeVar("T")


class Threads:
    """A group of threads.

    Args:
        most: How many.
        name: What they are called, such as "tinymlops-pages".
    """

    def __init__(self, most: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(most, thread_name_prefix=name)

    async def run(self, work: Callable[[], T]) -> T:
        """Do some work, in the name of who asks."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, copy_context().run, done, work)

    def wrap(self, function: Callable[..., T]) -> Callable[..., Coroutine[Any, Any, T]]:
        """Make a coroutine function of one that waits.

        Litestar's own `sync_to_thread` makes two of each, one around the other, where a path has several methods.
        """

        @wraps(function)
        async def call(**arguments: Any) -> T:
            return await self.run(partial(function, **arguments))

        return call


def done(work: Callable[[], T]) -> T:
    """Do some work in a thread that is waited for.

    Raises:
        RuntimeError: If it raises StopIteration, which no future can carry: whoever waits would wait for ever.
    """
    try:
        return work()
    except StopIteration as error:
        raise RuntimeError("StopIteration was raised by work that is waited for") from error
