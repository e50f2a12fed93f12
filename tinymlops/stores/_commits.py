"""The number of the last commit, kept beside a database: it shows when an acknowledged commit is lost.

After a process was killed, SQLite reads the write-ahead log up to the first frame with a wrong checksum, takes that
for its end, and reports nothing: one flipped byte there undoes every commit from it on. So each commit has a number,
which is also written into a small file after COMMIT and before the commit is acknowledged. A database that is opened
at an earlier number than that has lost what was acknowledged.

The file is not synced, which would double the cost of a commit. After a crash of the machine it may be some seconds
old, and a byte flipped in the log of those seconds is not noticed. It is never ahead of what is durable.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from zlib_ng.zlib_ng import crc32

from tinymlops.errors import IntegrityError, TinyMLOpsError

if TYPE_CHECKING:
    from pathlib import Path

    from tinymlops.stores.directory import Directory

__all__ = ["LastCommit"]

_NUMBER = 20


class LastCommit:
    """The number of the last commit, in a file.

    Args:
        database: The file whose commits are counted.
        directory: Its directory: the number stays beside its database when that is moved.
    """

    def __init__(self, database: Path, directory: Directory) -> None:
        self._database = database
        self._directory = directory
        self.path = database.with_name(f"{database.name}.last")

    def write(self, number: int) -> None:
        """Set the number, in the order of commits; the commit stands even where this fails."""
        with suppress(OSError, TinyMLOpsError):
            descriptor = self._directory.open(self.path.name, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK)
            try:
                os.pwrite(descriptor, _spelled(number), 0)
            finally:
                os.close(descriptor)

    def read(self) -> int | None:
        """Return the number; None if nothing was written, or it is damaged: the next commit rewrites it."""
        try:
            content = self._directory.read(self.path.name)
        except IntegrityError:
            return None
        if content is None:
            return None
        digits = content[:_NUMBER]
        return int(digits) if digits.isdigit() and content == _spelled(int(digits)) else None

    def forget(self) -> None:
        """Start over, with a new database."""
        self._directory.remove(self.path.name)

    def require(self, found: int) -> None:
        """Compare it with the number that a database has come to.

        Raises:
            IntegrityError: If the database has lost commits.
        """
        last = self.read()
        if last is not None and found < last:
            raise IntegrityError(
                f"{self._database} has come to commit {found}, and commit {last} was acknowledged: what was committed "
                "after that is gone, most likely with a damaged write-ahead log",
                hint=f"restore the workspace from a backup; to go on without what is lost, remove {self.path} and "
                f"the directory {self._database.with_name('online')}",
            )


def _spelled(number: int) -> bytes:
    digits = b"%0*d" % (_NUMBER, number)
    return b"%s %08x\n" % (digits, crc32(digits))
