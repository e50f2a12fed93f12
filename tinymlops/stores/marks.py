"""Files that must not change while they are read; otherwise the values of different rows would be mixed."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from tinymlops.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Marks"]

_HINT = "read it again once its writer is done; a copy, or a file of a name of its own for each version, cannot change"


class _Mark(NamedTuple):
    """What identifies a version of a file."""

    inode: int
    size: int
    modified: int
    """Nanoseconds."""


class Marks:
    """The identities of files at the time when this was made; files that do not exist are left out.

    Args:
        paths: The paths of the files.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        found = ((path, _mark(path)) for path in paths)
        self._marks = {path: mark for path, mark in found if mark is not None}

    def __iter__(self) -> Iterator[str]:
        return iter(self._marks)

    def check(self, *, may_grow: Callable[[str], bool] = lambda _: False) -> None:
        """Refuse to go on if a file has changed.

        Args:
            may_grow: Returns whether rows may be added at the end of the file of a path.

        Raises:
            DataError: If one has changed.
        """
        for path, mark in self._marks.items():
            now = _mark(path)
            grew = now is not None and now.inode == mark.inode and now.size > mark.size
            if now != mark and not (grew and may_grow(path)):
                raise DataError(f"{path} changed while it was read", hint=_HINT)


def _mark(path: str) -> _Mark | None:
    """Return the identity of a regular file; None for anything else."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return _Mark(found.st_ino, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None
