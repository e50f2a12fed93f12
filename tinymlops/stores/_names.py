"""A few names that must outlive a directory of unsynced files: a small file beside it, complete and durable at any time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import IntegrityError
from tinymlops.stores.publish import fsync, fsync_directory, open_regular, unwritable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Names"]


class Names:
    """Names by their id, in a file.

    Args:
        path: The file; a missing one counts as empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, str]:
        """Return all of them; none if the file cannot be read: the next comparison rewrites it."""
        try:
            with open_regular(self._path) as file:
                return msgspec.json.decode(file.read(), type=dict[str, str])
        except (FileNotFoundError, IntegrityError, msgspec.MsgspecError, UnicodeDecodeError):
            return {}

    def write(self, names: Mapping[str, str]) -> None:
        """Replace all of them, if these differ; the caller keeps other writers out.

        Raises:
            TinyMLOpsError: If the disk is full or fails; the file stays as it was.
        """
        if names == self.read():
            return
        unfinished = self._path.with_suffix(".part")
        try:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o660)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(dict(sorted(names.items()))))
                file.flush()
                fsync(descriptor)
            unfinished.rename(self._path)
            fsync_directory(self._path.parent)
        except OSError as error:
            raise unwritable(self._path, error) from error
