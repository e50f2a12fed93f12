"""The files of attempts at jobs: one that is locked while the attempt lives, and one that it writes its console to.

The lock is held by the runner and, by the same open file, by the process that it started: so an attempt lives as long as
one of the two, and the kernel lets go of it however they end. It is taken before the attempt is committed, so that no
other runner ever sees one that is not held and has not been lost.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from tinymlops.stores.locks import is_held
from tinymlops.stores.publish import unwritable

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["HEAD", "TAIL", "JobFiles"]

HEAD, TAIL = 32_768, 98_304
"""Bytes that are kept of a log's beginning and of its end."""
_MOST = 16 * 2**20
"""Bytes that a log may grow to on disk while it is written."""


class JobFiles:
    """The attempts of one workspace.

    Args:
        directory: Where the files lie; made when it is needed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._heads: dict[int, bytes] = {}
        self._dropped: dict[int, int] = {}

    def hold(self, attempt: int) -> int:
        """Make and lock the file of an attempt, and return its descriptor, which a started process gets too.

        Call it in the transaction that gives the attempt its number. A file of this number is of a transaction that failed.

        Raises:
            AccessError: If it cannot be made.
        """
        path = self._lock(attempt)
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            path.unlink(missing_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unwritable(path, error) from error
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor

    def note(self, descriptor: int, process: int) -> None:
        """Write down which process group an attempt is."""
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(process).encode(), 0)

    def is_held(self, attempt: int) -> bool:
        """Return whether somebody lives who works on an attempt."""
        return is_held(self._lock(attempt))

    def process_of(self, attempt: int) -> int | None:
        """Return the process group of an attempt that is held; None if it was not written down."""
        try:
            text = self._lock(attempt).read_text()
        except OSError:
            return None
        return int(text) if text.isdecimal() else None

    def remove(self, attempt: int) -> None:
        """Remove the files of an attempt that has ended."""
        self._heads.pop(attempt, None)
        self._dropped.pop(attempt, None)
        for path in (self._lock(attempt), self._log(attempt)):
            with suppress(OSError):
                os.unlink(path)

    def open_log(self, attempt: int) -> int:
        """Make the log of an attempt, and return its descriptor."""
        path = self._log(attempt)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(path, flags, 0o600)
        except OSError as error:
            raise unwritable(path, error) from error

    def trim_log(self, attempt: int) -> None:
        """Empty a log that has grown too long, except for its beginning, which is kept in memory."""
        path = self._log(attempt)
        with suppress(OSError):
            size = path.stat().st_size
            if size <= _MOST:
                return
            if attempt not in self._heads:
                with path.open("rb") as file:
                    self._heads[attempt] = file.read(HEAD)
                size -= HEAD
            self._dropped[attempt] = self._dropped.get(attempt, 0) + size
            os.truncate(path, 0)

    def read_log(self, attempt: int) -> str | None:
        """Return what an attempt wrote: the beginning and the end of much; None if there is no log."""
        try:
            with self._log(attempt).open("rb") as file:
                head = self._heads.get(attempt)
                if head is None:
                    head = file.read(HEAD)
                start, size = file.tell(), os.fstat(file.fileno()).st_size
                file.seek(max(start, size - TAIL))
                tail = file.read(TAIL)
        except OSError:
            return None
        left_out = self._dropped.get(attempt, 0) + max(0, size - TAIL - start)
        middle = f"\n... {left_out:,} bytes left out ...\n".encode() if left_out else b""
        return (head + middle + tail).decode(errors="replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")

    def attempts(self) -> list[int]:
        """Return the attempts that have files."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        return sorted({int(name.removesuffix(".log")) for name in names if name.removesuffix(".log").isdecimal()})

    def _lock(self, attempt: int) -> Path:
        return self._directory / str(attempt)

    def _log(self, attempt: int) -> Path:
        return self._directory / f"{attempt}.log"
