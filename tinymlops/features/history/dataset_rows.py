"""`SavedDataset`: a dataset read back, some rows at a time, to a Parquet file, or as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import polars as pl

from tinymlops.errors import DefinitionError, NotFoundError, near
from tinymlops.features.definitions.specs import FeatureRequest
from tinymlops.features.history.batching import in_batches
from tinymlops.features.history.kept_reads import KeptRead
from tinymlops.stores.table_output import written_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path
    from typing import Any

    from tinymlops.records import Dataset

__all__ = ["DatasetManifest", "PartContent", "SavedDataset"]

PROTOCOL = 1
"""Raised when the manifest's meaning changes; the reader of an older one stays."""


class PartContent(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a dataset."""

    sha256: str
    """Of the file."""
    content: str
    """SHA-256 over schema and values in row order."""
    rows: int


class DatasetManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a dataset says of itself, in a file named by its hash: enough to read it and to compute it again."""

    protocol: int = PROTOCOL
    requests: tuple[FeatureRequest, ...]
    origins: dict[str, str]
    """Feature column to `view:feature`."""
    columns: dict[str, str]
    """Every column in order, the spine's and then the features, and its dtype."""
    nulls: dict[str, int]
    """Column to how many of its values are null, of those that have any."""
    timestamp: str
    """The spine's time column."""
    tz: str | None
    """Zone of its times if they carry none."""
    sequence: int
    """`Q`: only rows with a sequence up to this one were read."""
    parts: tuple[PartContent, ...]
    fingerprint: str
    definitions: dict[str, str]
    """`kind:name` to fingerprint of everything it stands on."""
    engines: dict[str, str]
    """Package to version, of those that compute values."""
    in_place: tuple[KeptRead, ...] = ()
    """What it read of sources that are read in place."""


class SavedDataset:
    """A spine with its features, as saved; rows come in the spine's order, and never all at once unless you put them together.

    Attributes:
        name: Of the dataset.
        id: Of this saving of it.
        rows: How many rows.
        columns: The spine's columns and then the features, each with its dtype.
        features: Feature column to `view:feature`.
        sequence: `Q`: it saw only rows with a sequence up to this one.
        fingerprint: SHA-256 over schema and values, in row order.
        created_at: When it was saved.
    """

    def __init__(self, record: Dataset, manifest: DatasetManifest, path_of: Callable[[str], Path]) -> None:
        self.name = record.name
        self.id = record.id
        self.rows = record.rows
        self.columns = dict(manifest.columns)
        self.features = dict(manifest.origins)
        self.sequence = record.sequence
        self.fingerprint = record.fingerprint
        self.created_at: datetime = record.created_at
        self._manifest = manifest
        self._path_of = path_of

    def __repr__(self) -> str:
        return (
            f"<dataset {self.name}: {self.rows:,} rows, {len(self.features)} features; {self.fingerprint[:12]} at "
            f"Q={self.sequence}>"
        )

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """Read its files, one after the other; at least one frame comes.

        Args:
            columns: These alone, in their order; None for all.

        Raises:
            NotFoundError: If it has no such column, with the near match.
            IntegrityError: If a file is missing or damaged.
        """
        self._require(columns)
        for part in self._manifest.parts:
            frame = pl.read_parquet(self._path_of(part.sha256), glob=False)
            yield frame if columns is None else frame.select(columns)

    def batches(self, size: int = 65_536, *, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """Read it some rows at a time, in order; memory is that of one file of it.

        Args:
            size: Rows of each frame; the last has what is left. A dataset without rows gives one frame of none.
            columns: These alone, in their order; None for all.

        Raises:
            DefinitionError: If the size is less than 1, or no column is named or one twice.
            NotFoundError: If it has no such column, with the near match.
            IntegrityError: If a file is missing or damaged.
        """
        _require_rows("size", size)
        self._require(columns)
        return in_batches(self.parts(columns), size)

    def to_parquet(self, path: str | Path) -> Path:
        """Write it to one file, complete or not at all: Parquet, or CSV if it is named `.csv`; memory is that of one part.

        Raises:
            NotFoundError: If there is no such directory.
            DataError: If the file cannot hold a column.
        """
        from pathlib import Path as Located

        output = Located(path)
        with written_table(output) as write:
            for frame in self.parts():
                write(frame)
        return output

    def to_torch(self, columns: Sequence[str] | None = None, *, batch_size: int = 1024) -> Any:
        """Return it as a `torch.utils.data.IterableDataset` of batches: pass it to a `DataLoader` with `batch_size=None`.

        Each item is a dict of column to tensor. Floats stay Float32 or Float64, and null is NaN. Integers are int64 and
        booleans bool, or float64 with NaN if the column has a null anywhere. An `Array` column is a matrix. Workers of a
        `DataLoader` share the files among them.

        Args:
            columns: Which, also of the spine; None for all features.
            batch_size: Rows of each item; the last of a worker has what is left.

        Raises:
            MissingDependencyError: If PyTorch is not installed.
            DefinitionError: If the size is less than 1, or no column is named or one twice.
            NotFoundError: If it has no such column, with the near match.
            DataError: If a column cannot be a tensor; while it is read, if an integer cannot be the same number there.
        """
        from tinymlops.features.history.tensors import torch_dataset

        wanted = list(self.features if columns is None else columns)
        self._require(wanted)
        _require_rows("batch_size", batch_size)
        paths = [str(self._path_of(part.sha256)) for part in self._manifest.parts]
        dtypes = {name: self.columns[name] for name in wanted}
        return torch_dataset(paths, dtypes, {*self._manifest.nulls}, batch_size)

    def _require(self, columns: Sequence[str] | None) -> None:
        if columns is not None and not columns:
            raise DefinitionError("columns=[] names none", hint="leave it out for all of them")
        if columns is not None and len(set(columns)) < len(columns):
            twice = next(name for name in columns if columns.count(name) > 1)
            raise DefinitionError(f"column {twice!r} is named twice", hint="name it once")
        for name in columns or ():
            if name not in self.columns:
                raise NotFoundError(f"dataset {self.name!r} has no column {name!r}", hint=near(name, self.columns))


def _require_rows(name: str, size: int) -> None:
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise DefinitionError(f"{name}={size!r} is not a number of rows", hint="use 1 or more")
