"""Who acts, where that is not the system's user: the server says so for the time of a request.

It is a variable of the context, not of the workspace, because threads of one process share the workspace. Whoever hands
work to another thread hands over the context, as `asyncio.to_thread` does.
"""

from __future__ import annotations

from contextvars import ContextVar, Token

__all__ = ["acting_as", "actor_or"]

_actor: ContextVar[str | None] = ContextVar("tinymlops_actor", default=None)


def actor_or(user: str) -> str:
    """Return who acts; the user of the system unless somebody else was said."""
    return _actor.get() or user


class acting_as:  # noqa: N801 - used as a function is; a generator would cost each request a microsecond more
    """Let everything in the block be done in a name: it is the actor in the audit log and the access log.

    Args:
        actor: The name; None for the user of the system.
    """

    __slots__ = ("_actor", "_token")

    def __init__(self, actor: str | None) -> None:
        self._actor = actor
        self._token: Token[str | None]

    def __enter__(self) -> None:
        self._token = _actor.set(self._actor)

    def __exit__(self, *_: object) -> None:
        _actor.reset(self._token)
