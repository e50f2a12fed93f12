"""`save_dataset`: a spine with its features, computed part by part, stored, and computed again to verify it."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec
import polars as pl

from tinymlops.errors import ConflictError, DataError, IntegrityError, near
from tinymlops.features.context import definitions_of
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.nouns import check_name
from tinymlops.features.history.batching import in_batches
from tinymlops.features.history.content import table_hash
from tinymlops.features.history.dataset_rows import PROTOCOL, DatasetManifest, PartContent, SavedDataset
from tinymlops.features.history.historical import features_for, parse_features, require_present
from tinymlops.features.history.in_place import reading_once
from tinymlops.features.history.kept_reads import KeptRead, changed_since, kept_reads
from tinymlops.features.history.stored import require_past
from tinymlops.features.history.training_sets import engine_versions
from tinymlops.features.join.tables import InMemory, open_table
from tinymlops.frames import require_no_nulls, times_to_micros
from tinymlops.presence import absent_columns
from tinymlops.progress import progress
from tinymlops.records import Dataset, DatasetPart
from tinymlops.registry.catalog import Catalog
from tinymlops.registry.datasets import DatasetRecords
from tinymlops.schema import dtype_name
from tinymlops.times import from_micros

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Sequence

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.asking import Asked
    from tinymlops.features.definitions.specs import FeatureRequest
    from tinymlops.features.history.historical import FeatureColumns
    from tinymlops.frames import Frame

__all__ = ["Datasets", "VerifiedDataset", "save_dataset"]

_PART_ROWS = 1 << 18
"""Rows of each file: as many are in memory at once."""


class VerifiedDataset(msgspec.Struct, frozen=True):
    """Whether a dataset, computed again, holds what it held."""

    dataset: str
    id: str
    sequence: int
    """`Q` of the dataset."""
    rows: int
    fingerprint: str
    """As it was recorded."""
    rebuilt: str
    """As it came out again; empty if what it read in place has changed."""
    differing: dict[str, int]
    """Feature to how many of its cells are others now, of those that have any."""
    engines: dict[str, tuple[str, str]]
    """Package to its version then and now, of those that differ."""
    changed: list[str] = []
    """What it read in place and is not there as it was; it is not computed again then."""

    @property
    def same(self) -> bool:
        """Whether it holds the same values in the same order."""
        return self.fingerprint == self.rebuilt

    def __repr__(self) -> str:
        verdict = "the same" if self.same else f"NOT THE SAME, now {self.rebuilt[:12]}"
        if self.changed:
            verdict = f"CANNOT BE COMPUTED AGAIN: {'; '.join(self.changed)}"
        cells = ", ".join(f"{name} {count:,}" for name, count in self.differing.items())
        return (
            f"<dataset {self.dataset} {self.id[:8]}: {self.rows:,} rows at Q={self.sequence}, {self.fingerprint[:12]} "
            f"{verdict}{f'; cells that differ: {cells}' if cells else ''}>"
        )


class Datasets:
    """The datasets of a workspace; `ws.save_dataset` adds one.

    Args:
        context: Gives the workspace's state.
    """

    def __init__(self, context: Callable[[], Context]) -> None:
        self._context = context

    def __repr__(self) -> str:
        return f"<datasets: {', '.join(dict.fromkeys(one.name for one in self.list())) or 'none'}>"

    def list(self, name: str | None = None) -> builtins.list[Dataset]:
        """Return what was saved, the newest first; only under a name if it is given."""
        return self._records.list(name)

    def get(self, reference: str) -> SavedDataset:
        """Return a dataset, to be read.

        Args:
            reference: Its id, the beginning of it, or its name for the newest.

        Raises:
            NotFoundError: If there is none, with the near match.
            IntegrityError: If its manifest is missing or damaged.
        """
        return _opened(self._context(), self._records.get(reference))

    def verify(self, reference: str) -> VerifiedDataset:
        """Compute the features again, by the rows and definitions that it was saved with, and compare every value.

        Args:
            reference: As for `get`.

        Raises:
            DefinitionError: If Python code that it stands on has changed since.
            IntegrityError: If a file is missing or damaged.
        """
        return _verified(self._context(), self._records.get(reference))

    def remove(self, reference: str) -> Dataset:
        """Forget a dataset; `ws.gc` removes its files once their grace is over, and others of the name stay.

        Args:
            reference: As for `get`.
        """
        record = self._records.get(reference)
        self._records.remove(record)
        return record

    @property
    def _records(self) -> DatasetRecords:
        return DatasetRecords(self._context().scope)


def save_dataset(
    context: Context,
    name: str,
    spine: Frame | str | Path,
    asked: Asked,
    *,
    timestamp: str,
    tz: str | None,
    as_of: int | None,
) -> SavedDataset:
    """Compute the features of a spine and store both, part by part.

    Args:
        context: The workspace's state.
        name: Of the dataset.
        spine: Key columns, request fields and a time column: any table, the path of Parquet files, or a scan of them.
        asked: The features.
        timestamp: The spine's time column.
        tz: Zone of times that carry none.
        as_of: Only by rows with a sequence up to this one; None for all that there are now.

    Raises:
        DataError: If the spine cannot be read, or a column cannot be computed or stored.
        ConflictError: If a collection removed a file of it before it was recorded.
    """
    requests, past = parse_features(context, asked), require_past(context, as_of)
    absent = {} if isinstance(spine, str | Path) else absent_columns(spine)
    if absent:
        require_present(context, requests, absent)
    told = past is not None
    past = context.environment.database.sequence() if past is None else past
    check_name(name, "dataset")
    table = open_table(spine)
    if timestamp not in table.schema:
        raise DataError(
            f"the spine has no time column {timestamp!r}",
            hint=near(timestamp, table.schema) + ' Name it with timestamp="..."',
        )
    frames = [table.frame] if isinstance(table, InMemory) else table.batches([*table.schema])
    made = _Saving(context, requests, timestamp, tz, past)
    with (
        reading_once(*(() if told else (past,)), hashes=True) as operation,
        progress("saving", table.height) as advance,
    ):
        for frame in in_batches(frames, _PART_ROWS):
            made.add(frame)
            advance(frame.height)
        kept = kept_reads(operation)
    return made.recorded(name, kept)


class _Saving:
    """A dataset while its parts are written."""

    def __init__(
        self, context: Context, requests: Sequence[FeatureRequest], timestamp: str, tz: str | None, as_of: int
    ) -> None:
        self._context, self._requests, self._as_of = context, tuple(requests), as_of
        self._timestamp, self._tz = timestamp, tz
        self._parts: list[PartContent] = []
        self._columns: dict[str, str] = {}
        self._origins: dict[str, str] = {}
        self._nulls: dict[str, int] = {}
        self._bytes = 0

    def add(self, spine: pl.DataFrame) -> None:
        """Compute and store the features of some rows."""
        table = _features(self._context, spine, self._requests, self._timestamp, self._tz, self._as_of)
        frame = spine.with_columns(*table.columns.values())
        columns = {name: dtype_name(dtype) for name, dtype in frame.schema.items()}
        if self._parts and columns != self._columns:
            changed = [name for name in columns if columns[name] != self._columns.get(name)]
            raise DataError(
                f"column {changed[0]!r} is {self._columns.get(changed[0])} in the first rows and {columns[changed[0]]} later",
                hint="give the spine one type for each column",
            )
        self._columns, self._origins = columns, table.origins
        for name in columns:
            if count := frame[name].null_count():
                self._nulls[name] = self._nulls.get(name, 0) + count
        content = table_hash(frame)
        published = self._context.environment.blobs.put_written(lambda stream: _write(frame, stream))
        self._bytes += published.bytes
        self._parts.append(PartContent(sha256=published.sha256, content=content, rows=frame.height))

    def recorded(self, name: str, kept: tuple[KeptRead, ...]) -> SavedDataset:
        """Publish the manifest and record the dataset."""
        context = self._context
        blobs = context.environment.blobs
        manifest = DatasetManifest(
            requests=self._requests,
            origins=self._origins,
            columns=self._columns,
            nulls=self._nulls,
            timestamp=self._timestamp,
            tz=self._tz,
            sequence=self._as_of,
            parts=tuple(self._parts),
            fingerprint=_fingerprint(self._parts),
            definitions=graph.features_stand_on(context.definitions, self._requests),
            engines=engine_versions(),
            in_place=kept,
        )
        with context.scope.publishing():
            if not all(blobs.exists(part.sha256) for part in self._parts):
                raise ConflictError(
                    "files of the dataset were removed by a gc while it was saved", hint="save it again"
                )
            record = Dataset(
                id=uuid.uuid4().hex,
                name=name,
                sequence=self._as_of,
                fingerprint=manifest.fingerprint,
                manifest_sha256=blobs.put(msgspec.json.encode(manifest, order="deterministic")),
                rows=sum(part.rows for part in self._parts),
                features=len(self._origins),
                bytes=self._bytes,
                created_at=from_micros(context.now()),
            )
            parts = [
                DatasetPart(dataset=record.id, number=number, sha256=part.sha256, rows=part.rows)
                for number, part in enumerate(self._parts)
            ]
            DatasetRecords(context.scope).add(record, parts)
        return SavedDataset(record, manifest, blobs.path)


def _features(
    context: Context,
    spine: pl.DataFrame,
    requests: Sequence[FeatureRequest],
    timestamp: str,
    tz: str | None,
    as_of: int,
) -> FeatureColumns:
    time = times_to_micros(spine[timestamp], role="spine", tz=tz, name=timestamp)
    require_no_nulls(time, name=timestamp)
    return features_for(context, spine, time.to_numpy(), requests, as_of=as_of)


def _write(frame: pl.DataFrame, stream: BinaryIO) -> None:
    try:
        frame.write_parquet(stream, compression="zstd", compression_level=1)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"the dataset cannot be stored as Parquet: {error}", hint="leave that column out") from error


def _fingerprint(parts: Sequence[PartContent]) -> str:
    """Return the hash of the contents in order, each of which has the schema in it."""
    return hashlib.sha256("\0".join(part.content for part in parts).encode()).hexdigest()


def _opened(context: Context, record: Dataset) -> SavedDataset:
    return SavedDataset(record, _manifest(context, record), context.environment.blobs.path)


def _manifest(context: Context, record: Dataset) -> DatasetManifest:
    try:
        manifest = msgspec.json.decode(context.environment.blobs.read(record.manifest_sha256), type=DatasetManifest)
    except msgspec.MsgspecError as error:
        raise IntegrityError(f"the manifest of dataset {record.id} cannot be read: {error}") from error
    if manifest.protocol > PROTOCOL:
        raise IntegrityError(
            f"the manifest of dataset {record.id} has protocol {manifest.protocol}",
            hint="pip install --upgrade tinymlops",
        )
    return manifest


def _verified(context: Context, record: Dataset) -> VerifiedDataset:
    manifest = _manifest(context, record)
    catalog, built = Catalog(context.scope), manifest.definitions
    definitions = definitions_of(
        catalog.built_with(built), catalog.variants_in(built), places=context.definitions.places
    )
    pinned = context.with_definitions(definitions)
    with reading_once(manifest.sequence):
        changed = changed_since(pinned, manifest.in_place)
        rebuilt, differing = ("", dict[str, int]()) if changed else _computed_again(pinned, record, manifest)
    then, now = manifest.engines, engine_versions()
    return VerifiedDataset(
        dataset=record.name,
        id=record.id,
        sequence=record.sequence,
        rows=record.rows,
        fingerprint=record.fingerprint,
        rebuilt=rebuilt,
        differing=differing,
        engines={name: (then.get(name, "none"), now[name]) for name in now if then.get(name) != now[name]},
        changed=changed,
    )


def _computed_again(pinned: Context, record: Dataset, manifest: DatasetManifest) -> tuple[str, dict[str, int]]:
    """Return the fingerprint of a dataset that is computed again, and feature to how many of its cells differ."""
    differing: dict[str, int] = {}
    parts = []
    frames = SavedDataset(record, manifest, pinned.environment.blobs.path).parts()
    for part, frame in zip(manifest.parts, frames, strict=True):
        found = _features(
            pinned,
            frame.drop([*manifest.origins]),
            manifest.requests,
            manifest.timestamp,
            manifest.tz,
            manifest.sequence,
        )
        again = frame.with_columns(*found.columns.values())
        parts.append(msgspec.structs.replace(part, content=table_hash(again)))
        if parts[-1].content != part.content:
            for name, column in found.columns.items():
                count = _cells_that_differ(frame[name], column)
                if count:
                    differing[name] = differing.get(name, 0) + count
    return _fingerprint(parts), differing


def _cells_that_differ(before: pl.Series, after: pl.Series) -> int:
    if before.dtype != after.dtype:
        return len(before)
    return int(before.ne_missing(after).sum())
