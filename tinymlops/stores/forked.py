"""The process that opened a handle: SQLite, LMDB and file locks must not be used on the other side of a fork."""

from __future__ import annotations

import os

from tinymlops.errors import ConflictError

__all__ = ["Owner"]


class Owner:
    """The process that opened something.

    Args:
        what: The thing, for the error: a path or a name with its path.
    """

    __slots__ = ("_pid", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._pid = _here.pid

    @property
    def is_here(self) -> bool:
        """Whether this process is the one that opened it."""
        return self._pid == _here.pid

    def check(self) -> None:
        """Refuse to go on in a forked child.

        Raises:
            ConflictError: If another process opened it.
        """
        if self._pid != _here.pid:
            raise ConflictError(
                f"{self._what} was opened by process {self._pid} and cannot be used in process {_here.pid}",
                hint="close the workspace before forking, or start the child with "
                'multiprocessing.get_context("spawn") and connect there',
            )


class _Here:
    """The id of this process, kept: asking for it costs a good part of an online read.

    A fork by C code that bypasses Python is not noticed.
    """

    def __init__(self) -> None:
        self.ask()

    def ask(self) -> None:
        self.pid = os.getpid()


_here = _Here()
os.register_at_fork(after_in_child=_here.ask)
