"""Publish a file in the workspace: complete, durable and under its own hash, or not at all.

It is written to `tmp/` while it is hashed, fsynced, renamed to its SHA-256, and the directory is fsynced. DuckDB,
PyArrow and Polars do not fsync what they write, so every file comes through here. A `flock` marks a file that is still
being written, so that the next process to open the workspace can tell it from one that a dead process left.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self

from tinymlops.errors import AccessError, IntegrityError, TinyMLOpsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader
    from pathlib import Path

__all__ = [
    "Published",
    "Unfinished",
    "damaged",
    "fsync",
    "fsync_directory",
    "hash_file",
    "make_directory",
    "missing",
    "open_regular",
    "publish",
    "remove_stale",
    "scratch_directory",
    "unreadable",
    "unwritable",
    "verify_file",
]

_STALE_AFTER = 60.0


class Published(NamedTuple):
    """A file under its hash."""

    sha256: str
    bytes: int
    path: Path


def publish(write: Callable[[BinaryIO], None], target: Callable[[str], Path], tmp: Path) -> Published:
    """Write a file and make it durable under its hash.

    Args:
        write: Writes the content to the given stream, front to back.
        target: The final path for a SHA-256; its directory is created if needed.
        tmp: The workspace's directory for unfinished files, on the same file system.

    Returns:
        Hash, size and path. A file that is there already is kept, unless it is damaged.

    Raises:
        TinyMLOpsError: If the disk is full or fails; nothing is left behind.
    """
    with Unfinished(tmp) as file:
        file.write_by(write)
        return file.publish(target)


class Unfinished:
    """A file in the making, which is removed unless it is published; a context manager.

    Args:
        tmp: The workspace's directory for unfinished files, on the file system of the final paths.

    Raises:
        TinyMLOpsError: If the disk is full or fails; so do all methods.
    """

    def __init__(self, tmp: Path) -> None:
        self._tmp, self._path = tmp, tmp / f"{secrets.token_hex(12)}.part"
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o660)
        except OSError as error:
            raise unwritable(tmp, error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            self._file = os.fdopen(self._descriptor, "wb", buffering=0, closefd=False)
        except OSError as error:
            self.close()
            raise unwritable(tmp, error) from error
        self._stream = _HashingStream(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        """Add to its end."""
        try:
            self._stream.write(data)
        except OSError as error:
            raise unwritable(self._tmp, error) from error

    def write_by(self, write: Callable[[BinaryIO], None]) -> None:
        """Let a function write to it, front to back."""
        try:
            _written(write, self._stream)
        except OSError as error:
            raise unwritable(self._tmp, error) from error

    def publish(self, target: Callable[[str], Path]) -> Published:
        """Make it durable under its hash.

        Args:
            target: The final path for a SHA-256.
        """
        try:
            fsync(self._descriptor)
            sha256 = self._stream.digest.hexdigest()
            path = target(sha256)
            make_directory(path.parent)
            if not _is_intact(path, sha256):
                self._path.rename(path)
                _remember(_identity(os.fstat(self._descriptor), sha256))
            # Also when it existed already: the process that renamed it may not have reached this line yet.
            fsync_directory(path.parent)
        except OSError as error:
            raise unwritable(self._tmp, error) from error
        return Published(sha256, self._stream.written, path)

    def close(self) -> None:
        """Remove what is not published."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def fsync(descriptor: int) -> None:
    """Wait until a file's content is on the disk, not only in the disk's own cache."""
    if sys.platform == "darwin":
        # fsync on macOS stops at the drive's cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def fsync_directory(directory: Path) -> None:
    """Wait until a directory's entries are on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Create one directory, durable in its parent; it may exist already."""
    if directory in _durable and directory.is_dir():
        return
    directory.mkdir(mode=0o700, exist_ok=True)
    fsync_directory(directory.parent)
    with _durable_lock:
        _durable.add(directory)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's content.

    Raises:
        IntegrityError: If it is not a regular file.
        OSError: If it cannot be read.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_regular(path: Path, *, within: int | None = None) -> BufferedReader:
    """Open a regular file for reading; anything else in its place neither blocks nor redirects.

    Args:
        path: The path of the file.
        within: The descriptor of its directory, to look its name up in there instead.

    Raises:
        IntegrityError: If it is a directory, a pipe, a device, a socket or a symbolic link.
        OSError: If it cannot be opened.
    """
    name = path if within is None else path.name
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a symbolic link; a socket
            raise _irregular(path) from error
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise _irregular(path)


def verify_file(path: Path, sha256: str) -> None:
    """Compare a file with its hash, once per process and (inode, size, mtime).

    Raises:
        IntegrityError: If it is gone or is not what was written; the message names the file.
    """
    try:
        known = _identity(path.lstat(), sha256)
        if known in _verified:
            return
        found = hash_file(path)
    except OSError as error:
        raise unreadable(path, error) from error
    if found != sha256:
        raise damaged(path)
    _remember(known)


def trust_file(path: Path, sha256: str) -> None:
    """Mark a file as verified: this process hashed what it wrote."""
    _remember(_identity(path.stat(), sha256))


def _identity(status: os.stat_result, sha256: str) -> tuple[str, int, int, int, int]:
    return sha256, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _remember(known: tuple[str, int, int, int, int]) -> None:
    with _durable_lock:
        if len(_verified) >= _VERIFIED_LIMIT:
            _verified.clear()
        _verified.add(known)


def missing(path: Path) -> IntegrityError:
    """Return the error for a file that the database names and the disk does not have."""
    return IntegrityError(f"{path} is missing", hint="restore the workspace from a backup")


def _irregular(path: Path) -> IntegrityError:
    return IntegrityError(f"{path} is damaged: it is not a regular file", hint="restore the workspace from a backup")


def damaged(path: Path) -> IntegrityError:
    """Return the error for a file whose content does not match its name."""
    return IntegrityError(
        f"{path} is damaged: its content does not have the hash it is named by",
        hint="restore the workspace from a backup",
    )


def unreadable(path: Path, error: OSError) -> TinyMLOpsError:
    """Return the error for a file of the workspace that cannot be read."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return missing(path)
    if error.errno in (errno.EACCES, errno.EPERM):
        return AccessError(
            f"{path} cannot be read by this user: {error.strerror}", hint="make it and its directory readable"
        )
    return _exhausted(path, error) or IntegrityError(f"{path} cannot be read: {error.strerror}", hint="check the disk")


def unwritable(path: Path, error: OSError) -> TinyMLOpsError:
    """Return the error for a write that fails: a full disk, missing permissions, or any other failure of the disk."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TinyMLOpsError(
            f"the disk of {path} is full; nothing was stored", hint="free some space and run it again"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AccessError(
            f"{path} cannot be written by this user: {error.strerror}",
            hint="make its directory writable, or name a place in a directory of your own",
        )
    if error.errno == errno.ENOENT:
        return IntegrityError(
            f"{path} is not there any more", hint="connect again; if it was removed, restore a backup"
        )
    return _exhausted(path, error) or IntegrityError(
        f"{path} cannot be written: {error.strerror}", hint="check the disk"
    )


def _exhausted(path: Path, error: OSError) -> TinyMLOpsError | None:
    """Return the error where the process, not the disk, has reached a limit."""
    if error.errno == errno.ENOMEM:
        return TinyMLOpsError(
            f"{path}: there is no memory left for it", hint="free some memory, or raise the limit (see ulimit -v)"
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return TinyMLOpsError(f"{path}: too many files are open", hint="close some, or raise the limit (see ulimit -n)")
    return None


@contextmanager
def scratch_directory(tmp: Path) -> Iterator[Path]:
    """Yield a directory in `tmp` that is removed after the block, or by the next open after a crash."""
    directory = tmp / f"{secrets.token_hex(12)}.dir"
    directory.mkdir(mode=0o700)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(descriptor)


def remove_stale(tmp: Path) -> int:
    """Remove the files of crashed processes from `tmp`.

    A file in use is locked by its writer. The age limit covers the moment between creation and locking.

    Returns:
        How many entries were removed.
    """
    removed = 0
    for entry in tuple(tmp.iterdir()):
        if _is_stale(entry):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
            removed += 1
    return removed


def _is_stale(entry: Path) -> bool:
    try:
        if time.time() - entry.lstat().st_mtime < _STALE_AFTER or entry.is_symlink():
            return False
        descriptor = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _is_intact(path: Path, sha256: str) -> bool:
    with contextlib.suppress(FileNotFoundError, IntegrityError):
        return hash_file(path) == sha256
    return False


def _written(write: Callable[[BinaryIO], None], stream: _HashingStream) -> None:
    """Write the content; Polars would turn an error of the disk into one of its own."""
    try:
        write(stream)  # type: ignore[arg-type]  # the part of BinaryIO that a front-to-back writer uses
    except Exception as error:
        if stream.failure is not None:
            raise stream.failure from error
        raise


class _HashingStream:
    """A binary stream that can only be written front to back."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.written = 0
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        self.digest.update(view)
        total = view.nbytes
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            self.failure = error
            raise
        self.written += total
        return total

    def flush(self) -> None:
        """Nothing is buffered."""


_VERIFIED_LIMIT = 100_000
_verified: set[tuple[str, int, int, int, int]] = set()
_durable: set[Path] = set()
_durable_lock = threading.Lock()
