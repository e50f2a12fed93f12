"""All views in the online store as one follower of the sequence; it loads nothing until there is work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinymlops.features.context import Context
    from tinymlops.features.online.following import Judge
    from tinymlops.stores.environment import Environment

__all__ = ["OnlineViews"]


class OnlineViews:
    """All views in the online store.

    Args:
        environment: The workspace's stores.
        context: Returns the workspace's state; called only when there is work.
        judge: Asks the checks on a view before it takes new rows.
    """

    def __init__(self, environment: Environment, context: Callable[[], Context], judge: Judge) -> None:
        self._environment, self._context, self._judge = environment, context, judge

    def covers(self) -> int:
        """Return the sequence up to which every view has all rows; the workspace's if there are no views.

        Raises:
            IntegrityError: If a view has rows that the database no longer has.
        """
        with self._environment.online.read() as snapshot:
            covered = [one.sequence for one in snapshot.coverages().values() if not one.is_hidden]
        sequence = self._environment.database.sequence()  # read after the views, which may follow a commit in between
        if max(covered, default=0) > sequence:
            raise IntegrityError(
                f"{self._environment.database.path} has come to sequence {sequence}, and the online store has rows up to "
                f"{max(covered)}: what was committed after that is gone, most likely with a damaged write-ahead log",
                hint="restore the workspace from a backup; to go on without what is lost, remove the directory "
                f"{self._environment.online.path}",
            )
        return min(covered, default=sequence)

    def follow(self) -> None:
        """Let every view take the rows that it lacks.

        Raises:
            TinyMLOpsError: The error of the first view that could not follow; the others did.
        """
        from tinymlops.features.online.following import follow_views

        for error in follow_views(self._context(), judge=self._judge).values():
            raise error

    def rebuild(self) -> None:
        """Materialize again what was lost with the store, most likely in a crash of the machine."""
        with self._environment.online.read() as snapshot:
            held = {view.hex() for view, one in snapshot.coverages().items() if not one.is_hidden}
        if (
            held == self._environment.online.remembered().keys()
        ):  # read after the store, which is written after the file
            return
        from tinymlops.features.online.derived import restore_views

        restore_views(self._context())
