"""A directory as it was opened: distinguished from one that replaces it, and used by descriptor where that matters.

A path is looked up again at every call. If a workspace is moved away and a backup restored in its place while a process has
it open, the database that is open would be the old one, and every file opened by its path the new one's.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

from tinymlops.errors import IntegrityError
from tinymlops.stores.publish import open_regular, unwritable

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Directory", "workspace_around"]

_Identity = tuple[int, int]


class Directory:
    """One directory, held open: meanwhile no other can get its inode.

    Args:
        path: Where it is now.

    Raises:
        OSError: If there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._path = str(path)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._identity = _identity(os.fstat(self._descriptor))
        weakref.finalize(self, os.close, self._descriptor).atexit = False

    def is_at(self, path: Path) -> bool:
        """Whether a path leads to it."""
        return _found(path) == _identity(os.fstat(self._descriptor))

    def check(self) -> None:
        """Refuse to go on once its path leads elsewhere; costs one `stat`.

        Raises:
            IntegrityError: If it was moved, removed, or replaced by another.
        """
        if _found(self._path) != self._identity:
            self._look_closer()

    def open(self, name: str, flags: int) -> int:
        """Open one of its own files, even if the directory was moved, and return the descriptor.

        Raises:
            IntegrityError: If it was removed.
            AccessError: If the file may not be opened.
        """
        try:
            return os.open(name, flags | os.O_CLOEXEC, 0o660, dir_fd=self._descriptor)
        except OSError as error:
            self.check()
            raise unwritable(self.path / name, error) from error

    def read(self, name: str) -> bytes | None:
        """Return the content of one of its own files; None if there is none.

        Raises:
            IntegrityError: If it is not a regular file.
        """
        try:
            with open_regular(self.path / name, within=self._descriptor) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def size(self, name: str) -> int:
        """Return the size of one of its own files in bytes; 0 if there is none."""
        try:
            return os.stat(name, dir_fd=self._descriptor).st_size
        except FileNotFoundError:
            return 0

    def remove(self, name: str) -> None:
        """Remove one of its own files, if it is there."""
        try:
            os.unlink(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            return

    def _look_closer(self) -> None:
        found, own = _found(self._path), _identity(os.fstat(self._descriptor))
        if found == own:  # an overlay file system may change a directory's number at the first write
            self._identity = own
            return
        now = "there is nothing at its path now" if found is None else "its path leads to another directory now"
        raise IntegrityError(
            f"{self.path} was moved, removed or replaced while it was open here: {now}",
            hint="close the workspace and connect again (restart what serves it); before a workspace is moved or "
            "restored, stop what has it open",
        )


def workspace_around(path: Path) -> Path | None:
    """Return the workspace, or the backup of one, that a path is inside; None if there is none."""
    for directory in path.resolve().parents:
        if (directory / "meta.db").exists() and (
            (directory / "blobs").exists() or (directory / "manifest.json").exists()
        ):
            return directory
    return None


def _found(path: Path | str) -> _Identity | None:
    """Return the device and the inode that a path leads to; None if it leads to nothing."""
    try:
        return _identity(os.stat(path))
    except OSError:
        return None


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino
