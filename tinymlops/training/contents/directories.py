"""A directory with all that is below it, as files of a run."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tinymlops.errors import DataError, NotFoundError
from tinymlops.stores.copies import kind_of, unreadable_source

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DirectoryFile", "directory_files"]


class DirectoryFile(NamedTuple):
    """A file below a directory."""

    name: str
    """Its label: the directory's label, then the way to it, joined by slashes."""
    path: Path


def directory_files(name: str, directory: Path) -> list[DirectoryFile]:
    """Return every file below a directory, by label; none is read yet.

    Args:
        name: The label of the directory, such as "model"; empty to have none.
        directory: Its path.

    Raises:
        NotFoundError: If there is no such directory.
        DataError: If it is empty, or holds a symbolic link, a pipe, a socket, a device, or a name that is not text.
        AccessError: If this user may not read a part of it.
    """
    if not directory.is_dir():
        raise NotFoundError(f"there is no directory {directory}")
    files = sorted(_below(name.rstrip("/"), str(directory)))
    if not files:
        raise DataError(f"{directory} holds no files", hint="log it when there is something in it")
    return files


def _below(name: str, directory: str) -> Iterator[DirectoryFile]:
    waiting = [(name, directory)]  # no recursion: a tree may be deeper than Python's stack
    while waiting:
        label, path = waiting.pop()
        for entry in _entries(path):
            below = f"{label}/{entry.name}" if label else entry.name
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                waiting.append((below, entry.path))
            else:
                yield DirectoryFile(below, _checked(entry.path, mode))


def _entries(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError as error:
        raise unreadable_source(Path(path), error) from error


def _checked(path: str, mode: int) -> Path:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"the name of {path!r} is not text in UTF-8", hint="rename the file") from error
    if not stat.S_ISREG(mode):
        raise DataError(
            f"{path} is {kind_of(mode)}, which is not stored",
            hint="leave it out of the directory, or put a copy of the file in its place",
        )
    return Path(path)
