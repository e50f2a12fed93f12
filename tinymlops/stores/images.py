"""Join images: rows of a source arranged for one entity's key, in files that are mapped into memory.

An image is derived from segments, may be thrown away at any time, and is named by what it was made from. Its tables are
uncompressed Arrow files, whose columns are used where they lie on the disk: nothing is decoded or copied. It is not
synced, so each file is compared with its hash before its first use in a process, and one that fails is made anew.

Why not the segments themselves: they are sorted by one order, and a source has as many entity keys as views ask for; and
on real rows with text they are eight times as large in this form as in Parquet (`benchmarks/segment_format.py`).
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import IntegrityError
from tinymlops.stores.publish import hash_file, make_directory, scratch_directory, trust_file, verify_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

__all__ = ["load", "store"]

_MANIFEST = "manifest.json"


def store(directory: Path, name: str, tables: Mapping[str, pl.DataFrame], tmp: Path) -> None:
    """Write an image, complete or not at all, and remove the others in its directory.

    Args:
        directory: `images/<source>/<key>`; one image of it is kept.
        name: Says what it was made from.
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
        (building / _MANIFEST).write_bytes(msgspec.json.encode(hashes))
        with suppress(OSError):  # another process was first
            building.rename(directory / name)
    for other in tuple(directory.iterdir()):
        if other.name != name:
            # Whoever has it mapped keeps what is mapped.
            shutil.rmtree(other, ignore_errors=True)


def load(directory: Path, name: str) -> dict[str, pl.DataFrame] | None:
    """Map an image into memory.

    Returns:
        Table name to rows; None if there is no image of that name, or it is damaged, and then it is removed.
    """
    path = directory / name
    try:
        hashes = msgspec.json.decode((path / _MANIFEST).read_bytes(), type=dict[str, str])
        return {table: _map(path / f"{table}.arrow", sha256) for table, sha256 in hashes.items()}
    except FileNotFoundError:
        return None
    except (IntegrityError, msgspec.MsgspecError):
        shutil.rmtree(path, ignore_errors=True)
        return None


def _map(path: Path, sha256: str) -> pl.DataFrame:
    import polars as pl
    import pyarrow as pa

    verify_file(path, sha256)
    table = pl.from_arrow(pa.ipc.open_file(pa.memory_map(str(path))).read_all(), rechunk=False)
    assert isinstance(table, pl.DataFrame)
    return table
