"""Rows that checks keep aside: a Parquet file named by a record, and which rows of a later batch are among them.

A row is known again by the digest of its values, as many times as it is there. When rows are released or dropped their values
leave the quarantine and the digests stay. Where only some of them are, these become a record of their own and the others wait on
under the same number.
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
    from collections.abc import Iterable
    from datetime import datetime

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.records import CheckResult
    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction

__all__ = [
    "OURS",
    "REASONS",
    "ROW",
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
_SINCE = "__since"
"""The sequence before the batch: what is stored after it came with the row, or later."""
ROW = "__row"
"""Of a row in quarantine: its number, from 0; it stays when other rows are released or dropped."""
REASONS = "__rules"
"""Of a row in quarantine: the rules that it did not pass."""
OURS = (ROW, REASONS)
_BETWEEN_RULES = "; "
_SHOWN = 5


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
    sequence: int
    """The workspace's before the batch."""
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
        values = values.with_row_index(ROW).with_columns(pl.lit(self.sequence, pl.Int64).alias(_SINCE))
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
        releasing: What is released now.
    """

    def __init__(self, context: Context, found: list[Quarantine], releasing: Settling | None) -> None:
        self._context, self._found, self._releasing = context, found, releasing

    @property
    def seen(self) -> list[tuple[int | None, str]]:
        """Each with its status."""
        return [(one.id, one.status) for one in self._found]

    def _parts(self, known: Quarantine) -> list[tuple[str, list[bytes]]]:
        """Return the digests of a quarantine's rows by what became of them."""
        now = self._releasing
        if now is not None and known.id == now.quarantine.id:
            return [("released", now.digests), ("waiting", now.left_digests)]
        return [(known.status, _read(self._context, known, [_DIGEST])[_DIGEST].to_list())]

    def settled(self, rows: pl.DataFrame, among: pl.Series) -> Settled:
        """Say which rows of a batch are in quarantine or were.

        Args:
            rows: n rows.
            among: bool[n]: those to look at.
        """
        places, asked = among.arg_true().to_list(), rows.filter(among) if self._found else rows.clear()
        status: dict[int, str] = {}
        for known in self._found:
            digests = _digests(asked, known.columns)
            for name, kept in self._parts(known):
                left = Counter(kept)
                for place, digest in zip(places, digests, strict=True):
                    if place not in status and left[digest]:
                        left[digest] -= 1
                        status[place] = name
        return Settled(
            *(_mask(rows.height, status, names) for names in (["released"], ["waiting", "dropped"], ["dropped"]))
        )


@dataclass(frozen=True, kw_only=True)
class Settling:
    """Rows of a quarantine that are released or dropped, and the files that stay of it."""

    quarantine: Quarantine
    digests: list[bytes]
    """Of the rows."""
    sha256: str
    """The file of these digests."""
    left: Quarantine | None
    """What waits on; None if these are all of its rows."""
    left_digests: list[bytes]
    since: int
    """The workspace's sequence before the batch that they came with."""
    replace_newer: bool = False
    """Whether they may take the place of versions that are newer."""

    @classmethod
    def of(
        cls, context: Context, quarantine: Quarantine, chosen: pl.Series | None = None, *, replace_newer: bool = False
    ) -> Settling:
        """Write the files that stay; the caller keeps collections away until they are named.

        Args:
            context: The workspace's state.
            quarantine: One that waits.
            chosen: bool[n]: the rows that are released or dropped; None for all.
            replace_newer: Whether they may take the place of versions that are newer.
        """
        rows = _read(context, quarantine, None)
        mask = pl.Series([True]).new_from_index(0, rows.height) if chosen is None else chosen
        gone, stays = rows.filter(mask), rows.filter(~mask)
        left = None
        if stays.height:
            rules = _counted(quarantine.rules, stays[REASONS])
            sha256 = _put(context, stays)
            left = msgspec.structs.replace(quarantine, rows=stays.height, rows_sha256=sha256, rules=rules)
        return cls(
            quarantine=msgspec.structs.replace(
                quarantine, rows=gone.height, rules=_counted(quarantine.rules, gone[REASONS])
            )
            if left is not None
            else quarantine,
            digests=gone[_DIGEST].to_list(),
            sha256=_put(context, gone.select(_DIGEST)),
            left=left,
            left_digests=stays[_DIGEST].to_list(),
            since=rows[_SINCE][0],
            replace_newer=replace_newer,
        )

    def store(self, tx: Transaction, status: str, *, at: datetime, by: str) -> Quarantine:
        """Name the files that stay, in the transaction that stores the rows; return the record of these rows.

        Raises:
            ConflictError: If somebody else was first.
        """
        number = self.quarantine.id or 0
        if waiting(get_quarantine(tx, number)).rows_sha256 != self.quarantine.rows_sha256:
            raise ConflictError(
                f"some rows of quarantine {number} were released or dropped meanwhile",
                hint=f"ws.checks.rows({number}) shows those that wait",
            )
        settled = msgspec.structs.replace(
            self.quarantine, status=status, rows_sha256=self.sha256, settled_at=at, settled_by=by
        )
        if self.left is None:
            tx.update(settled)
        else:
            tx.update(self.left)
            settled = tx.insert(msgspec.structs.replace(settled, id=None))
        said = {} if self.left is None else {"of": number, "waiting": self.left.rows}
        verb = "release" if status == "released" else "drop"
        tx.audit(f"checks.{verb}", settled.source, quarantine=settled.id, rows=settled.rows, **said)
        return settled

    def require_newest(self, name: str, versions: Iterable[tuple[object, int]]) -> None:
        """Refuse to let rows take the place of versions that came with them or since, unless that was asked for.

        Args:
            name: The column of ids.
            versions: The id of each row that history does not have, and the sequence of the newest version of it.

        Raises:
            ConflictError: If one would.
        """
        newer = sorted({str(identifier) for identifier, sequence in versions if sequence > self.since})
        if newer and not self.replace_newer:
            shown = ", ".join(newer[:_SHOWN]) + (", ..." if len(newer) > _SHOWN else "")
            raise ConflictError(
                f"{len(newer):,} rows of quarantine {self.quarantine.id} would take the place of other versions, stored with "
                f"them or since: {name} {shown}",
                hint="choose the others with ids= or rows= and drop these, or say replace_newer=True (--replace-newer)",
            )


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
    context: Context,
    reader: Database | Transaction,
    target: SourceSpec | ViewSpec,
    *,
    releasing: Settling | None = None,
) -> Before:
    """Return what was kept aside of a source; of a view nothing ever is."""
    if isinstance(target, ViewSpec):
        return Before(context, [], None)
    place = place_of(context.environment.database, target.name)
    return Before(context, list_quarantines(reader, place=place), releasing)


def quarantined_rows(context: Context, quarantine: Quarantine) -> pl.DataFrame:
    """Return the rows of a quarantine that waits: the source's columns, `__row` and `__rules`."""
    rows = _read(context, waiting(quarantine), None)
    rows = rows.select(*(name for name in rows.columns if name not in (*OURS, _DIGEST, _SINCE)), *OURS)
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


def _counted(rules: dict[str, int], reasons: pl.Series) -> dict[str, int]:
    """Count the rows that did not pass each rule."""
    said = [f"{_BETWEEN_RULES}{one}{_BETWEEN_RULES}" for one in reasons]
    counts = {rule: sum(f"{_BETWEEN_RULES}{rule}{_BETWEEN_RULES}" in one for one in said) for rule in rules}
    return {rule: count for rule, count in counts.items() if count}


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
