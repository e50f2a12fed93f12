"""Files of the user that are copied into the workspace: regular files alone, and each as it was at one time."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

from tinymlops.errors import AccessError, ConflictError, DataError, NotFoundError, TinyMLOpsError

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

__all__ = ["copy_unchanged", "kind_of", "open_source", "unreadable_source"]

_CHUNK = 1 << 20
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def kind_of(mode: int) -> str:
    """Return what a file is that is not a regular one, such as "a pipe"."""
    return _KINDS.get(stat.S_IFMT(mode), "not a regular file")


def open_source(path: Path, *, follow: bool) -> FileIO:
    """Open a regular file of the user for reading; a pipe or a device is not waited for.

    Args:
        path: The path of the file.
        follow: Whether it may be a symbolic link to one.

    Raises:
        NotFoundError: If there is no such file.
        DataError: If it is anything else.
        AccessError: If this user may not read it.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise unreadable_source(path, error) from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb", buffering=0)
    os.close(descriptor)
    raise DataError(f"{path} is {kind_of(mode)}, not a regular file", hint="pass one regular file")


def copy_unchanged(source: FileIO, target: BinaryIO, path: Path) -> None:
    """Copy a file, and refuse one that changes meanwhile: parts of it would be older than others.

    Raises:
        ConflictError: If it was written to.
    """
    before = os.fstat(source.fileno())
    copied = 0
    while chunk := _read(source, path):
        target.write(chunk)
        copied += len(chunk)
    after = os.fstat(source.fileno())
    if copied != before.st_size or (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise ConflictError(
            f"{path} changed while it was read; it was not stored", hint="log it when nothing writes to it any more"
        )


def unreadable_source(path: Path, error: OSError) -> TinyMLOpsError:
    """Return the error for a file of the user that cannot be read."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFoundError(f"there is no file {path}")
    if error.errno == errno.ELOOP:
        return DataError(
            f"{path} is a symbolic link, which is not stored", hint="pass the file itself, or make a copy of it"
        )
    if error.errno in (errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP):
        return DataError(f"{path} is a socket or a device, not a regular file", hint="pass one regular file")
    if error.errno in (errno.EACCES, errno.EPERM):
        return AccessError(f"{path} cannot be read by this user: {error.strerror}", hint="make it readable")
    return DataError(f"{path} cannot be read: {error.strerror}", hint="check the disk that it is on")


def _read(source: FileIO, path: Path) -> bytes | None:
    try:
        return source.read(_CHUNK)
    except OSError as error:
        raise unreadable_source(path, error) from error
