"""Files that must stay as they are while they are read, or the values of one row are another's."""

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
    """What a file is told by."""

    inode: int
    size: int
    modified: int
    """Nanoseconds."""


class Marks:
    """What files are told by, as they were when this was made; those that do not exist are left out.

    Args:
        paths: The paths of the files.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        found = ((path, _mark(path)) for path in paths)
        self._marks = {path: mark for path, mark in found if mark is not None}

    def __iter__(self) -> Iterator[str]:
        return iter(self._marks)

    def check(self, *, may_grow: Callable[[str], bool] = lambda _: False) -> None:
        """Refuse to go on if a file is not the one that it was.

        Args:
            may_grow: Says of a path whether rows may have been added at the file's end.

        Raises:
            DataError: If one has changed.
        """
        for path, mark in self._marks.items():
            now = _mark(path)
            grew = now is not None and now.inode == mark.inode and now.size > mark.size
            if now != mark and not (grew and may_grow(path)):
                raise DataError(f"{path} changed while it was read", hint=_HINT)


def _mark(path: str) -> _Mark | None:
    """Return what a regular file is told by; None of anything else."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return _Mark(found.st_ino, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None
