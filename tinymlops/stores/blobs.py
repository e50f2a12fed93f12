"""Files named by the SHA-256 of their content: models, artifacts, manifests."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from tinymlops.errors import DataError
from tinymlops.stores.copies import copy_unchanged, open_source
from tinymlops.stores.publish import Published, Unfinished, damaged, open_regular, publish, unreadable, verify_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from io import BufferedReader
    from pathlib import Path

__all__ = ["Blobs"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TOGETHER = 8
"""Files that are stored or removed at once: each waits for the disk, which takes several at a time."""


class Blobs:
    """A directory of immutable files, found by hash and never by a name that a client chose.

    Args:
        root: The directory, such as `flights.tm/blobs`.
        tmp: The workspace's directory for unfinished files, on the same file system.
    """

    def __init__(self, root: Path, tmp: Path) -> None:
        self._root = root
        self._tmp = tmp

    def put(self, data: bytes) -> str:
        """Store bytes durably; content that is there already is not written again.

        Returns:
            Their SHA-256 in hexadecimal.
        """

        def write(stream: BinaryIO) -> None:
            stream.write(data)

        return publish(write, self._path, self._tmp).sha256

    def put_written(self, write: Callable[[BinaryIO], None]) -> Published:
        """Store durably what a function writes to a stream, front to back."""
        return publish(write, self._path, self._tmp)

    def begin(self) -> Unfinished:
        """Begin a file whose content comes piece by piece, for `publish`."""
        return Unfinished(self._tmp)

    def publish(self, file: Unfinished) -> Published:
        """Store durably what was written to a file that was begun here."""
        return file.publish(self._path)

    def open(self, sha256: str) -> BufferedReader:
        """Open a file for reading, after it was compared with its hash, once per process as long as it does not change.

        Raises:
            IntegrityError: If the file is missing or damaged.
        """
        path = self.path(sha256)
        try:
            return open_regular(path)
        except OSError as error:
            raise unreadable(path, error) from error

    def put_file(self, path: Path) -> str:
        """Store a copy of a regular file durably.

        Returns:
            The SHA-256 of its content.

        Raises:
            NotFoundError: If there is no such file.
            DataError: If it is a directory, a device or a pipe.
            AccessError: If this user may not read it.
            ConflictError: If it changes meanwhile.
        """
        return self._put_copy(path, follow=True).sha256

    def put_files(self, paths: Sequence[Path], advance: Callable[[int], None]) -> list[Published]:
        """Store copies of regular files durably, several at a time; a symbolic link is refused, as `put_file` does a pipe.

        Args:
            paths: The files.
            advance: Called with 1 after each.
        """
        with ThreadPoolExecutor(_TOGETHER, thread_name_prefix="tinymlops-files") as threads:
            stored = []
            try:
                for published in threads.map(lambda path: self._put_copy(path, follow=False), paths):
                    stored.append(published)
                    advance(1)
            except BaseException:
                threads.shutdown(wait=True, cancel_futures=True)
                raise
        return stored

    def remove(self, hashes: Iterable[str]) -> None:
        """Remove files, several at a time; one that cannot be removed is left to `gc`."""

        def remove_one(sha256: str) -> None:
            with suppress(OSError):
                self._path(sha256).unlink()

        with ThreadPoolExecutor(_TOGETHER, thread_name_prefix="tinymlops-files") as threads:
            list(threads.map(remove_one, hashes))

    def _put_copy(self, path: Path, *, follow: bool) -> Published:
        with open_source(path, follow=follow) as source:
            return publish(lambda stream: copy_unchanged(source, stream, path), self._path, self._tmp)

    def read(self, sha256: str) -> bytes:
        """Return the content, checked against its hash at every call.

        Raises:
            IntegrityError: If the file is missing or damaged.
        """
        path = self._path(sha256)
        try:
            with open_regular(path) as file:
                data = file.read()
        except OSError as error:
            raise unreadable(path, error) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise damaged(path)
        return data

    def path(self, sha256: str) -> Path:
        """Return the path of the file, which is checked once per process as long as it does not change.

        Raises:
            IntegrityError: If the file is missing or damaged.
        """
        path = self._path(sha256)
        verify_file(path, sha256)
        return path

    def exists(self, sha256: str) -> bool:
        """Return whether a file of that hash is there; its content is not checked."""
        return self._path(sha256).is_file()

    def bytes_of(self, sha256: str) -> int:
        """Return the size of the file in bytes.

        Raises:
            IntegrityError: If the file is missing.
        """
        path = self._path(sha256)
        try:
            return path.stat().st_size
        except OSError as error:
            raise unreadable(path, error) from error

    def _path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise DataError(f"{sha256!r} is not a SHA-256 in hexadecimal")
        return self._root / sha256[:2] / sha256
