"""Who acts, where that is not the system's user: the server says so for the time of a request.

It is a variable of the context, not of the workspace, because threads of one process share the workspace. Whoever hands
work to another thread hands over the context, as `asyncio.to_thread` does.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["acting_as", "actor_or"]

_actor: ContextVar[str | None] = ContextVar("tinymlops_actor", default=None)


def actor_or(user: str) -> str:
    """Return who acts; the user of the system unless somebody else was said."""
    return _actor.get() or user


@contextmanager
def acting_as(actor: str | None) -> Iterator[None]:
    """Let everything in the block be done in a name: it is the actor in the audit log and the access log.

    Args:
        actor: The name; None for the user of the system.
    """
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)
