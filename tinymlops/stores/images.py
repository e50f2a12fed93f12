"""Join images: rows of a source arranged for one entity's key, in files that are mapped into memory.

An image is derived from segments, may be removed at any time, and is named by what it was made from. Its tables are
uncompressed Arrow files, whose columns are used as they are on the disk: nothing is decoded or copied. It is not
synced, so each file is compared with its hash before its first use in a process, and one that fails is rebuilt.

Segments cannot serve as images: they have one order, and a source has as many entity keys as its views need; and real
rows with text are eight times as large in this form as in Parquet (`benchmarks/segment_format.py`).
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from zlib_ng.zlib_ng import crc32

from tinymlops.errors import AccessError, IntegrityError
from tinymlops.stores.publish import (
    damaged,
    hash_file,
    make_directory,
    open_regular,
    scratch_directory,
    trust_file,
    verify_file,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import polars as pl

__all__ = ["damage", "identity", "listed", "load", "remove_all", "store"]

_MANIFEST = "manifest"
_CHECK = 4
_GONE = "."
"""How the names of images begin that are being removed."""


def store(directory: Path, name: str, tables: Mapping[str, pl.DataFrame], tmp: Path) -> None:
    """Write an image, complete or not at all, and remove the others in its directory.

    Args:
        directory: `images/<source>/<key>`, which keeps one image.
        name: Identifies what it was made from.
        tables: Table name to rows.
        tmp: The workspace's directory for unfinished files, on the same file system.
    """
    make_directory(directory.parent.parent)
    make_directory(directory.parent)
    make_directory(directory)
    with scratch_directory(tmp) as unfinished:
        building = unfinished / "image"
        building.mkdir()
        hashes = {}
        for table, rows in tables.items():
            path = building / f"{table}.arrow"
            # One batch: its columns are contiguous.
            rows.rechunk().write_ipc(path, compression="uncompressed", record_batch_size=max(1, rows.height))
            hashes[table] = hash_file(path)
            trust_file(path, hashes[table])
        content = msgspec.json.encode(hashes)
        (building / _MANIFEST).write_bytes(content + _check(content))
        _remove(directory / name)  # of the same name, and made before: perhaps of fewer vectors
        with suppress(OSError):  # another process was first
            building.rename(directory / name)
    for other in tuple(directory.iterdir()):
        if other.name != name:
            # A process that has it mapped keeps the mapping.
            _remove(other)


def load(directory: Path, name: str) -> dict[str, pl.DataFrame] | None:
    """Map an image into memory.

    Returns:
        Table name to rows; None if there is no image of that name, or it is damaged, and then it is removed.
    """
    path = directory / name
    try:
        return {table: _map(path / f"{table}.arrow", sha256) for table, sha256 in _hashes(path).items()}
    except FileNotFoundError:
        if path.is_symlink():  # it would block the place of an image
            _remove(path)
        return None
    except (IntegrityError, AccessError, NotADirectoryError):
        _remove(path)
        return None


def identity(directory: Path, name: str) -> tuple[tuple[str, str], ...] | None:
    """Return the files of an image and the hash of each, checked; None if it is not there, or damaged."""
    path = directory / name
    try:
        hashes = _hashes(path)
        for table, sha256 in hashes.items():
            verify_file(path / f"{table}.arrow", sha256)
    except (IntegrityError, AccessError, OSError):
        return None
    return tuple(hashes.items())


def listed(root: Path) -> Iterator[Path]:
    """Yield the directory of every image below `images`."""
    yield from sorted(path for path in root.glob("*/*/*") if not path.name.startswith(_GONE))


def remove_all(directory: Path) -> None:
    """Remove every image of a directory, and the directory."""
    with suppress(OSError):
        for path in tuple(directory.iterdir()):
            _remove(path)
        directory.rmdir()


def damage(path: Path) -> Path | None:
    """Read a whole image, even one verified before; return its file that is damaged or missing."""
    try:
        hashes = _hashes(path)
    except (IntegrityError, OSError):
        return path / _MANIFEST if os.path.lexists(path) else None
    for file in (path / f"{table}.arrow" for table in hashes):
        with suppress(IntegrityError, OSError):
            if hash_file(file) == hashes[file.stem]:
                continue
        return file if path.exists() else None  # another process may have put a newer image in its place
    return None


def _hashes(path: Path) -> dict[str, str]:
    """Read which tables an image has, and the SHA-256 of each."""
    with open_regular(path / _MANIFEST) as file:
        content = file.read()
    if _check(content[:-_CHECK]) != content[-_CHECK:]:
        raise damaged(path / _MANIFEST)
    return msgspec.json.decode(content[:-_CHECK], type=dict[str, str])


def _remove(path: Path) -> None:
    """Remove an image, or anything else in its place; what a crash leaves of one is no image any more."""
    if path.is_dir() and not path.is_symlink():
        if not path.name.startswith(_GONE):
            gone = path.with_name(f"{_GONE}{path.name}")
            shutil.rmtree(gone, ignore_errors=True)
            with suppress(OSError):
                path = path.rename(gone)
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _check(content: bytes) -> bytes:
    return crc32(content).to_bytes(_CHECK, "little")


def _map(path: Path, sha256: str) -> pl.DataFrame:
    import polars as pl
    import pyarrow as pa

    verify_file(path, sha256)
    table = pl.from_arrow(pa.ipc.open_file(pa.memory_map(str(path))).read_all(), rechunk=False)
    assert isinstance(table, pl.DataFrame)
    return table
