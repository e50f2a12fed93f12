"""The workspace, the actor and the clock of a piece of work: the way into the registry, and the only way to write."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from tinymlops.registry.actor import actor_or

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tinymlops.stores.environment import Environment
    from tinymlops.stores.pseudonyms import Person
    from tinymlops.stores.transaction import Transaction
    from tinymlops.times import Clock

__all__ = ["Scope", "system_user"]

T = TypeVar("T")
_PATIENCE = 60.0
"""Seconds to wait for a collection."""


@dataclass(frozen=True)
class Scope:
    """An open workspace with its user and clock."""

    environment: Environment
    clock: Clock
    """The workspace's time."""
    user: str
    """The user of the system."""

    @property
    def actor(self) -> str:
        """The actor in the audit log: the user of the system, or whom the server acts for."""
        return actor_or(self.user)

    @overload
    def write(self, action: str, subject: str | Person, /, **detail: object) -> AbstractContextManager[Transaction]: ...
    @overload
    def write(self, /, *, audit: Literal["inside"] | None) -> AbstractContextManager[Transaction]: ...
    def write(
        self,
        action: str = "",
        subject: str | Person = "",
        /,
        *,
        audit: Any = "entry",
        **detail: object,
    ) -> AbstractContextManager[Transaction]:
        """Write in one transaction, as `Database.write` does, with its entry in the audit log.

        Args:
            action: What is done, such as "run.start".
            subject: What it is done to.
            audit: In place of an action: "inside" where the block itself calls `tx.audit` if it changes anything; None for
                a write without an entry in the audit log.
            detail: Further fields of the entry, as for `Transaction.audit`.

        Returns:
            A context manager that yields the transaction, and commits it.
        """
        if audit == "entry":
            return self._audited(action, subject, detail)
        return self.environment.database.write(actor=self.actor if audit else None)

    def write_together(self, work: Callable[[Transaction], T]) -> T:
        """Do some work in a transaction that threads of this process share, as `Database.write_together` does.

        Args:
            work: Calls `tx.audit` if it changes anything.

        Returns:
            What the work returned.
        """
        return self.environment.database.write_together(work, actor=self.actor)

    def publishing(self) -> AbstractContextManager[None]:
        """Keep `gc` out between the publication of a file and the commit of the row that names it."""
        return self.environment.gc_lock.shared(deadline=_PATIENCE)

    @contextmanager
    def _audited(self, action: str, subject: str | Person, detail: dict[str, object]) -> Iterator[Transaction]:
        with self.environment.database.write(actor=self.actor) as tx:
            tx.audit(action, subject, **detail)
            yield tx


def system_user() -> str:
    """Return the name of the user that runs this process; "uid 1000" if there is no name."""
    import getpass
    import os

    try:
        name = getpass.getuser()
    except (
        OSError,
        KeyError,
        ImportError,
    ):  # a container without an entry for its user; the class depends on Python's version
        return f"uid {os.getuid()}"
    return name.encode(errors="replace").decode()  # the environment may hold what is not text
