"""Rows that checks keep aside: a Parquet file named by a record, and which rows of a later batch are among them.

A row is known again by the digest of its values, as many times as it is there. When rows are released or dropped their values
leave the quarantine and the digests stay.
"""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import polars as pl

from tinymlops.errors import ConflictError
from tinymlops.features.definitions.specs import ViewSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.history.payloads import digest_of, to_payloads
from tinymlops.features.intake.changes import own_schema
from tinymlops.records import Quarantine
from tinymlops.registry.checks import get_quarantine, list_quarantines
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    from datetime import datetime

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.records import CheckResult
    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction

__all__ = [
    "REASONS",
    "Before",
    "Kept",
    "Settled",
    "Settling",
    "kept_before",
    "quarantined_rows",
    "released_alike",
    "waiting",
]

_DIGEST = "__digest"
REASONS = "__rules"
"""Of a row in quarantine: the rules that it did not pass."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What the checks on a batch leave to be written with it."""

    source: str
    results: list[CheckResult]
    rows: pl.DataFrame | None
    """Those to be kept aside; None for none."""
    reasons: pl.Series | None
    rules: dict[str, int]
    seen: list[tuple[int | None, str]]
    """The quarantines of the source that the batch was compared with."""
    at: datetime

    def publish(self, context: Context) -> Quarantine | None:
        """Write the file of the rows that are kept aside; the caller keeps collections away until it is named."""
        if self.rows is None or self.reasons is None:
            return None
        columns = own_schema(self.rows)
        values = self.rows.select(list(columns))
        if "deleted" not in columns and self.rows["__deleted"].any():
            values = values.with_columns(self.rows["__deleted"].alias("deleted"))
        digests = pl.Series(_DIGEST, _digests(values, columns), dtype=pl.Binary)
        return Quarantine(
            source=place_of(context.environment.database, self.source),
            rows=values.height,
            rows_sha256=_put(context, values.with_columns(digests, self.reasons.alias(REASONS))),
            columns=columns,
            rules=self.rules,
            at=self.at,
        )

    def is_current(self, tx: Transaction, place: str) -> bool:
        """Say whether nobody has kept, released or dropped rows of the source since."""
        return self.seen == [(one.id, one.status) for one in list_quarantines(tx, place=place)]

    def store(self, tx: Transaction, quarantine: Quarantine | None, sequence: int) -> None:
        """Write the results, and name the rows that are kept aside."""
        self.record(tx, sequence)
        if quarantine is not None:
            stored = tx.insert(quarantine)
            tx.audit("checks.quarantine", self.source, quarantine=stored.id, rows=stored.rows, rules=list(self.rules))

    def record(self, tx: Transaction, sequence: int) -> None:
        """Write the results."""
        tx.insert_many(msgspec.structs.replace(one, sequence=sequence) for one in self.results)


class Settled(NamedTuple):
    """Rows of a batch that were in quarantine before."""

    released: pl.Series
    kept: pl.Series
    """They wait, or were dropped."""
    dropped: pl.Series


class Before:
    """What was kept aside of a source before.

    Args:
        context: The workspace's state.
        found: Its quarantines.
        releasing: The one that is released now.
    """

    def __init__(self, context: Context, found: list[Quarantine], releasing: int | None) -> None:
        self._context, self._found, self._releasing = context, found, releasing

    @property
    def seen(self) -> list[tuple[int | None, str]]:
        """Each with its status."""
        return [(one.id, one.status) for one in self._found]

    def settled(self, rows: pl.DataFrame, among: pl.Series) -> Settled:
        """Say which rows of a batch are in quarantine or were.

        Args:
            rows: n rows.
            among: bool[n]: those to look at.
        """
        places, asked = among.arg_true().to_list(), rows.filter(among) if self._found else rows.clear()
        status: dict[int, str] = {}
        for known in self._found:
            left = Counter(_read(self._context, known, [_DIGEST])[_DIGEST].to_list())
            name = "released" if known.id == self._releasing else known.status
            for place, digest in zip(places, _digests(asked, known.columns), strict=True):
                if place not in status and left[digest]:
                    left[digest] -= 1
                    status[place] = name
        return Settled(
            *(_mask(rows.height, status, names) for names in (["released"], ["waiting", "dropped"], ["dropped"]))
        )


class Settling(NamedTuple):
    """A quarantine that is released or dropped, and the file of digests that stays."""

    quarantine: Quarantine
    sha256: str

    @classmethod
    def of(cls, context: Context, quarantine: Quarantine) -> Settling:
        """Write the file that stays; the caller keeps collections away until it is named."""
        return cls(quarantine, _put(context, _read(context, quarantine, [_DIGEST])))

    def store(self, tx: Transaction, status: str, *, at: datetime, by: str) -> None:
        """Name the file that stays, in the transaction that stores the rows.

        Raises:
            ConflictError: If somebody else was first.
        """
        waiting(get_quarantine(tx, self.quarantine.id or 0))
        settled = msgspec.structs.replace(
            self.quarantine, status=status, rows_sha256=self.sha256, settled_at=at, settled_by=by
        )
        tx.update(settled)
        tx.audit(f"checks.{'release' if status == 'released' else 'drop'}", settled.source, quarantine=settled.id)


def waiting(quarantine: Quarantine) -> Quarantine:
    """Return a quarantine that waits.

    Raises:
        ConflictError: If it was released or dropped.
    """
    if quarantine.status != "waiting":
        when = "" if quarantine.settled_at is None else f" at {quarantine.settled_at.isoformat(timespec='seconds')}"
        raise ConflictError(
            f"quarantine {quarantine.id} of source {quarantine.source!r} was {quarantine.status}{when}",
            hint="ws.checks.quarantined() lists those that wait",
        )
    return quarantine


def kept_before(
    context: Context, reader: Database | Transaction, target: SourceSpec | ViewSpec, *, releasing: int | None = None
) -> Before:
    """Return what was kept aside of a source; of a view nothing ever is."""
    if isinstance(target, ViewSpec):
        return Before(context, [], None)
    place = place_of(context.environment.database, target.name)
    return Before(context, list_quarantines(reader, place=place), releasing)


def quarantined_rows(context: Context, quarantine: Quarantine) -> pl.DataFrame:
    """Return the rows of a quarantine that waits: the source's columns, and `__rules`."""
    rows = _read(context, waiting(quarantine), None).drop(_DIGEST)
    return rows.with_columns(pl.col(name).cast(parse_dtype(dtype)) for name, dtype in quarantine.columns.items())


def released_alike(context: Context, quarantine: Quarantine, rows: pl.DataFrame) -> pl.DataFrame:
    """Return for each row of a quarantine the same rows that were released before.

    Rows without ids are compared with history as often as they are there: these are there already, and are not it.
    """
    digests = _digests(rows, quarantine.columns)
    places = {digest: place for place, digest in enumerate(digests)}
    others = list_quarantines(context.environment.database, place=quarantine.source, status="released")
    again = [digest for other in others for digest in _read(context, other, [_DIGEST])[_DIGEST] if digest in places]
    return rows[[places[digest] for digest in again]]


def _digests(rows: pl.DataFrame, columns: dict[str, str]) -> list[bytes]:
    return [digest_of(payload) for payload in to_payloads(rows, columns)]


def _put(context: Context, rows: pl.DataFrame) -> str:
    stream = io.BytesIO()
    rows.write_parquet(stream, compression="zstd")
    return context.environment.blobs.put(stream.getvalue())


def _read(context: Context, quarantine: Quarantine, columns: list[str] | None) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(context.environment.blobs.read(quarantine.rows_sha256)), columns=columns)


def _mask(height: int, status: dict[int, str], names: list[str]) -> pl.Series:
    places = [place for place, name in status.items() if name in names]
    return pl.Series([False]).new_from_index(0, height).scatter(places, True)
