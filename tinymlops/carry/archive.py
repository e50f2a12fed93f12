"""The file of `runs export`: a zip whose entries are named by ids and hashes, each hashed in a manifest.

`manifest.json` names the runs, and the SHA-256 and size of every other entry; its own SHA-256 is the comment of the zip.
`runs/<id>.json` holds the records of a run, `points/<id>.parquet` its points as the columns name, step, value, time (microseconds
since 1970 in UTC) and session, `console/<id>.json` what it wrote to its console, and `blobs/<sha256>` the files.

Nothing is compressed by the zip, so no entry can be larger than the file, and no entry's name becomes a path. A reader of another
format number belongs beside the one here: files outlive versions.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zipfile
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from tinymlops.errors import DataError, IntegrityError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["ArchiveReader", "ArchiveWriter", "Carried", "Manifest", "blob_entry"]

FORMAT = 1
_MANIFEST = "manifest.json"
_COMMENT = b"tinymlops runs "
_ENTRY = re.compile(
    r"(runs/[0-9a-f]{32}\.json|points/[0-9a-f]{32}\.parquet|console/[0-9a-f]{32}\.json|blobs/[0-9a-f]{64})"
)
_CHUNK = 1 << 20
_UNREADABLE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, struct.error, msgspec.MsgspecError),
    *(OSError, EOFError, ValueError, OverflowError, NotImplementedError, RuntimeError),
)
"""What `zipfile` raises at one damage or another."""
_LARGEST_TEXT = 1 << 30
"""Bytes of an entry that is read as a whole."""


class Carried(msgspec.Struct, frozen=True):
    """A run in the manifest."""

    id: str
    name: str
    experiment: str
    points: int
    artifacts: int


class _Entry(msgspec.Struct, frozen=True):
    sha256: str
    bytes: int


class Manifest(msgspec.Struct, frozen=True):
    """What an archive holds."""

    format: int
    written_by: str
    runs: list[Carried]
    entries: dict[str, _Entry]


class _Format(msgspec.Struct):
    format: int


class ArchiveWriter:
    """Writes an archive to a stream, entry by entry.

    Args:
        stream: Open for writing.
        version: Of tinymlops.
    """

    def __init__(self, stream: BinaryIO, version: str) -> None:
        self._zip = zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._version = version
        self._entries: dict[str, _Entry] = {}

    def add(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write an entry; one that is there already is not written again."""
        if name in self._entries:
            return
        digest, size = hashlib.sha256(), 0
        with self._zip.open(zipfile.ZipInfo(name), "w", force_zip64=True) as entry:
            for piece in pieces:
                entry.write(piece)
                digest.update(piece)
                size += len(piece)
        self._entries[name] = _Entry(digest.hexdigest(), size)

    def close(self, runs: list[Carried]) -> None:
        """Write the manifest."""
        manifest = Manifest(FORMAT, self._version, runs, self._entries)
        content = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        self._zip.writestr(zipfile.ZipInfo(_MANIFEST), content)
        self._zip.comment = _COMMENT + hashlib.sha256(content).hexdigest().encode()
        self._zip.close()


class ArchiveReader:
    """An archive, every byte of which is checked before any of it is given.

    Args:
        path: The file.
        advance: Called with the bytes that were checked since the last call.

    Raises:
        NotFoundError: If there is none.
        IntegrityError: If it is damaged, cut off, or not an archive of runs.
        DataError: If it was written by a newer tinymlops.
    """

    def __init__(self, path: Path, advance: Callable[[int], object]) -> None:
        self._path = path
        if not path.is_file():
            raise NotFoundError(f"there is no file {path}", hint="name one that `tinymlops runs export` wrote")
        try:
            self._zip = zipfile.ZipFile(path)
        except _UNREADABLE as error:
            raise self._damaged(str(error)) from error
        try:
            self.manifest = self._read_manifest()
            self._check(advance)
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def __contains__(self, name: str) -> bool:
        return name in self.manifest.entries

    def read(self, name: str) -> bytes:
        """Return an entry.

        Raises:
            IntegrityError: If it is not there.
        """
        if name not in self.manifest.entries:
            raise self._damaged(f"it has no {name}")
        if self.manifest.entries[name].bytes > _LARGEST_TEXT:
            raise self._damaged(f"{name} is larger than anything that `runs export` writes")
        pieces: list[bytes] = []
        self.write_to(name, pieces.append)
        return b"".join(pieces)

    def write_to(self, name: str, write: Callable[[bytes], object]) -> None:
        """Give an entry to a function, piece by piece, checked again.

        Raises:
            IntegrityError: If it is not what the manifest says.
        """
        said, digest = self.manifest.entries[name], hashlib.sha256()
        try:
            with self._zip.open(name) as entry:
                while piece := entry.read(_CHUNK):
                    digest.update(piece)
                    write(piece)
        except _UNREADABLE as error:
            raise self._damaged(f"{name}: {error}") from error
        if digest.hexdigest() != said.sha256:
            raise self._damaged(f"{name} is not what was written")

    def _read_manifest(self) -> Manifest:
        infos = {info.filename: info for info in self._zip.infolist()}
        named = self._zip.comment.removeprefix(_COMMENT).decode(errors="replace")
        if _MANIFEST not in infos or not self._zip.comment.startswith(_COMMENT):
            raise IntegrityError(f"{self._path} is not an archive of runs", hint="`tinymlops runs export` writes one")
        self._check_entries(infos)
        try:
            content = self._zip.read(_MANIFEST)
            if hashlib.sha256(content).hexdigest() != named:
                raise self._damaged("its manifest is not what was written")
            number = msgspec.json.decode(content, type=_Format).format
            if number != FORMAT:
                raise DataError(f"{self._path} has the format {number}", hint="pip install --upgrade tinymlops")
            return msgspec.json.decode(content, type=Manifest)
        except _UNREADABLE as error:
            raise self._damaged(f"its manifest cannot be read: {error}") from error

    def _check_entries(self, infos: dict[str, zipfile.ZipInfo]) -> None:
        """Refuse names and sizes that `runs export` does not write, before anything is read."""
        if len(infos) != len(self._zip.infolist()):
            raise self._damaged("it has two entries of one name")
        strange = [name for name in infos if name != _MANIFEST and not _ENTRY.fullmatch(name)]
        if strange:
            raise self._damaged(f"it has an entry {strange[0]!r:.80}, which `runs export` does not write")
        if any(one.compress_type != zipfile.ZIP_STORED or one.compress_size != one.file_size for one in infos.values()):
            raise self._damaged("an entry is compressed, which `runs export` does not do")
        if sum(one.file_size for one in infos.values()) > self._path.stat().st_size:
            raise self._damaged("its entries are larger than the file, so some of them overlap")

    def _check(self, advance: Callable[[int], object]) -> None:
        there = {info.filename: info.file_size for info in self._zip.infolist() if info.filename != _MANIFEST}
        said = {name: entry.bytes for name, entry in self.manifest.entries.items()}
        if there != said:
            odd = sorted(set(there.items()) ^ set(said.items()))
            raise self._damaged(f"its manifest and its entries differ in {odd[0][0]}")
        for name, entry in self.manifest.entries.items():
            if name.startswith("blobs/") and name != blob_entry(entry.sha256):
                raise self._damaged(f"{name} is not named by its hash")
            self.write_to(name, lambda piece: advance(len(piece)))

    def _damaged(self, why: str) -> IntegrityError:
        return IntegrityError(f"{self._path} is damaged: {why}", hint="copy it again, or export the runs again")


def blob_entry(sha256: str) -> str:
    """Return the name of the entry of a file."""
    return f"blobs/{sha256}"
