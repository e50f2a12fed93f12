"""Whether unsynced files can be trusted: yes within one boot of the machine, and after a clean end.

What a process wrote without fsync outlives the process, but not the machine. The file `state` holds the boot
in which the store was last written to, made durable before the first such write, or `clean` when all is synced.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tinymlops.errors import IntegrityError
from tinymlops.stores.publish import fsync, unwritable

if TYPE_CHECKING:
    from tinymlops.stores.directory import Directory

__all__ = ["BootState", "boot_id"]

_STATE = "state"
_CLEAN = "clean"
_DAMAGED = "damaged"
# One block, overwritten in place: a crash leaves the old text, the new one, or what is not a boot's id.
_WIDTH = 64


@cache
def boot_id() -> str:
    """Return a text that is new with every start of the machine."""
    if sys.platform == "darwin":
        import subprocess

        command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()  # noqa: S603
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class BootState:
    """The state of one directory of unsynced files.

    Args:
        directory: Where the file `state` is.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def is_trusted(self) -> bool:
        """Whether everything written before is there: a clean end, or still the same boot."""
        return self._read() in (_CLEAN, boot_id())

    def is_clean(self) -> bool:
        """Whether nothing was written since the last clean end."""
        return self._read() == _CLEAN

    def mark_written(self) -> None:
        """Make durable that unsynced writes follow; called before each of them, cheap but for the first."""
        if self._read() != boot_id():
            self._write(boot_id())

    def mark_clean(self) -> None:
        """Make durable that everything is synced; the caller keeps writers out."""
        self._write(_CLEAN)

    def mark_damaged(self) -> None:
        """Make durable that the files must not be trusted again."""
        self._write(_DAMAGED)

    def _read(self) -> str:
        try:
            return (self._directory.read(_STATE) or b"").decode().rstrip()
        except (IntegrityError, UnicodeDecodeError):
            return ""

    def _write(self, text: str) -> None:
        descriptor = self._directory.open(_STATE, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK)
        try:
            os.pwrite(descriptor, text.ljust(_WIDTH).encode(), 0)
            fsync(descriptor)
        except OSError as error:
            raise unwritable(self._directory.path / _STATE, error) from error
        finally:
            os.close(descriptor)
