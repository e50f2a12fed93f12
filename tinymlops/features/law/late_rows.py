"""The rows of a source between two sequences, each with the kind of change that brought it.

A version of an id that was not there at the earlier sequence is a new row, whatever became of it since. Of an id that was
there, a last version that is a delete is a deletion, and every other version is a correction: also a delete that is
followed by another version, as where a correction moves a row to another key. Without ids, rows are new or deletions.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from tinymlops.errors import NotFoundError
from tinymlops.features.compute.arranged import key_columns
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.history.generations import place_of, span_of
from tinymlops.features.history.source_times import times_of
from tinymlops.features.history.sources import SYSTEM, run_transformation, with_times
from tinymlops.features.history.stored import final_versions, newest_rebuild, state_of, stored_rows
from tinymlops.features.intake.changes import first, in_order
from tinymlops.features.intake.taking_in import entity_keys
from tinymlops.features.law.past import through_row_wise
from tinymlops.keys import encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.compute.arranged import Array
    from tinymlops.features.context import Context
    from tinymlops.frames import Role

__all__ = ["CORRECTION", "DELETION", "NEW", "Between", "LateRows", "Reach", "late_rows"]

NEW, CORRECTION, DELETION = 2, 4, 8
"""Kinds of changes of rows, as bits."""
DATA = NEW | CORRECTION | DELETION

Between = tuple[int, int]
"""Two sequences: what was known at the first, and at the second, which is not less."""


_FIRST, _LAST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


class Reach(NamedTuple):
    """The events that a column reads of each spine row's key: none that is earlier or later makes a difference to it."""

    first: Array | None
    """int64[m], microseconds UTC; None for all of history."""
    last: Array
    """int64[m], microseconds UTC."""


class LateRows:
    """The rows that one definition of a source reads between two sequences.

    Attributes:
        kinds: The kinds of changes there are, as bits.
        moved: Whether the rows were read anew meanwhile, as another generation.
    """

    kinds: int
    moved: bool

    def rows(self, changes: int) -> pl.DataFrame:
        """Return the rows as of the earlier sequence and those of some kinds of changes since: columns of `stored_rows`."""
        raise NotImplementedError

    def kinds_of(self, key: Sequence[str], spine_keys: Sequence[pl.Series], reach: Reach) -> Array:
        """Return uint8[m], the kinds of changes, as bits, that rows with each spine row's key had within reach."""
        raise NotImplementedError

    def records(self, key: Sequence[str], spine_keys: Sequence[pl.Series], changes: int) -> pl.DataFrame:
        """Return the changed rows of one spine row's key, of some kinds: `id`, `event` and `sequence`, in that order."""
        raise NotImplementedError


def late_rows(
    context: Context, name: str, between: Between, *, after: bool, same: bool, role: Role = "feature"
) -> LateRows:
    """Return the rows of a source between two sequences.

    Args:
        context: The workspace's state, under the definitions that read them.
        name: The source.
        between: The two sequences.
        after: Whether the definitions are those of the later state.
        same: Whether both states define the source alike, and all that it is derived from.
        role: As for `stored_rows`.
    """
    source = context.definitions.get(SourceSpec, name)
    if graph.origin(context.definitions, source).inputs:
        return _Rebuilt(context, source, between, after=after, same=same, role=role)
    return _Stored(context, source, between, after=after, role=role)


class _Stored(LateRows):
    """Of a source whose rows are stored, or a row-wise transformation of one."""

    def __init__(self, context: Context, source: SourceSpec, between: Between, *, after: bool, role: Role) -> None:
        self._context, self._between = context, between
        self._origin = graph.origin(context.definitions, source)
        database = context.environment.database
        place, state = place_of(database, self._origin.name), state_of(context, self._origin.name)
        spans = [span_of(database, self._origin, place, state, as_of=as_of) for as_of in between]
        self.moved = spans[0] != spans[1]
        self._anew = self.moved and after
        # The definitions of before read the generation of before, up to its end.
        self._until = spans[1].begins - 1 if self.moved and not after else between[1]
        own = self._origin is source
        columns = None if own else [name for name in (self._origin.id,) if name is not None]
        read = stored_rows(context, self._origin.name, columns, as_of=self._until, role=role)
        kinds = self._kinds(read)
        self._rows = read
        if not own:
            self._rows = stored_rows(context, source.name, as_of=self._until, role=role)
            of = pl.DataFrame({"__sequence": read["__sequence"], "kind": kinds})
            found = self._rows.select("__sequence").join(of, on="__sequence", how="left", maintain_order="left")
            kinds = found["kind"].fill_null(0).to_numpy()
        self._kind = kinds
        self.kinds = int(np.bitwise_or.reduce(kinds)) if kinds.size else 0

    def rows(self, changes: int) -> pl.DataFrame:
        if self.kinds & ~changes == 0:
            return self._rows
        return self._rows.filter(pl.Series((self._kind == 0) | (self._kind & changes > 0)))

    @cached_property
    def _late(self) -> tuple[pl.DataFrame, Array]:
        late = self._kind > 0
        return self._rows.filter(pl.Series(late)), self._kind[late]

    def kinds_of(self, key: Sequence[str], spine_keys: Sequence[pl.Series], reach: Reach) -> Array:
        rows, kinds = self._late
        of_spine, of_rows, count = encode(spine_keys, key_columns(rows, self._origin, key), key)
        found = np.zeros(of_spine.size, np.uint8)
        for kind in (NEW, CORRECTION, DELETION):
            chosen = (kinds == kind) & (of_rows >= 0)
            if chosen.any():
                # The last key is that of a null.
                first, last = np.full(count + 1, _LAST), np.full(count + 1, _FIRST)
                np.minimum.at(first, of_rows[chosen], self._events[0][chosen])
                np.maximum.at(last, of_rows[chosen], self._events[1][chosen])
                touches = first[of_spine] <= reach.last
                if reach.first is not None:
                    touches &= last[of_spine] >= reach.first
                found[touches] |= np.uint8(kind)
        return found

    @cached_property
    def _events(self) -> tuple[Array, Array]:
        """Of each late row the first and the last event that the versions of its id ever had; without limit if one has none."""
        late, event, own = self._late[0], pl.col("__event"), self._origin.id
        if own is None or own not in late.columns:
            found = late.select(first=event, last=event)
        else:
            spans = (
                self._rows.select(pl.col(own).alias("id"), "__event")
                .join(late.select(pl.col(own).alias("id")).drop_nulls(), on="id", how="semi")
                .group_by("id")
                .agg(event.fill_null(_FIRST).min().alias("first"), event.fill_null(_LAST).max().alias("last"))
            )
            found = late.select(pl.col(own).alias("id"), "__event").join(
                spans, on="id", how="left", maintain_order="left"
            )
            found = found.select(pl.col("first", "last").fill_null(event))
        return found["first"].fill_null(_FIRST).to_numpy(), found["last"].fill_null(_LAST).to_numpy()

    def records(self, key: Sequence[str], spine_keys: Sequence[pl.Series], changes: int) -> pl.DataFrame:
        rows, kinds = self._late
        of_spine, of_rows, _ = encode(spine_keys, key_columns(rows, self._origin, key), key)
        chosen = rows.filter(pl.Series((of_rows == of_spine[0]) & (of_rows >= 0) & (kinds & changes > 0)))
        ids = pl.lit(None) if self._origin.id is None or self._origin.id not in rows.columns else self._origin.id
        return chosen.select(
            pl.col(ids).alias("id") if isinstance(ids, str) else ids.alias("id"),
            pl.col("__event").alias("event"),
            pl.col("__sequence").alias("sequence"),
        ).sort("sequence")

    def _kinds(self, rows: pl.DataFrame) -> Array:
        """Return uint8[n], the kind of change that brought each row; 0 for what was there before."""
        late = self._late_places(rows)
        kinds = np.zeros(rows.height, np.uint8)
        if self._origin.id is None or not late.any():
            kinds[late] = np.where(rows["__deleted"].to_numpy()[late], DELETION, NEW)
            return kinds
        versions = rows.select(pl.col(self._origin.id).alias("id"), "__sequence", "__deleted")
        place = pl.Series("place", np.flatnonzero(late))
        after = versions.filter(pl.Series(late)).with_columns(place)
        before = self._counted if self._anew else versions.filter(pl.Series(~late))
        known = before.select("id").join(after.select("id"), on="id", how="semi")
        of_known = after.join(known, on="id", how="semi", maintain_order="left")
        kinds[late] = NEW
        stands = pl.col("__sequence").filter(~pl.col("__deleted")).max().over("id").fill_null(0)
        gone = of_known.select(pl.col("__deleted") & (pl.col("__sequence") > stands)).to_series().to_numpy()
        kinds[of_known["place"].to_numpy()] = np.where(gone, DELETION, CORRECTION)
        nameless = late & versions["id"].is_null().to_numpy() & versions["__deleted"].to_numpy()
        kinds[nameless] = DELETION
        return kinds

    def _late_places(self, rows: pl.DataFrame) -> Array:
        if not self._anew:
            late: Array = rows["__sequence"].to_numpy() > self._between[0]
            return late
        if self._origin.id is None:  # what was new is part of what the other generation is
            return np.zeros(rows.height, np.bool_)
        # Sequences of another generation say nothing: the first versions of an id are those that it had before.
        versions = rows.select(pl.col(self._origin.id).alias("id"), "__sequence").with_row_index("place")
        number = pl.int_range(pl.len()).over("id", order_by="__sequence")
        versions = versions.with_columns(number.alias("number")).join(
            self._counted, on="id", how="left", maintain_order="left"
        )
        later = (pl.col("number") >= pl.col("had").fill_null(0)) & pl.col("id").is_not_null()
        return versions.select(later).to_series().to_numpy()

    @cached_property
    def _counted(self) -> pl.DataFrame:
        """The ids of before, and how many versions each had."""
        assert self._origin.id is not None, "rows without ids are not counted"
        before = stored_rows(self._context, self._origin.name, [self._origin.id], as_of=self._between[0])
        ids = pl.col(self._origin.id).alias("id")
        return before.select(ids).drop_nulls().group_by("id").agg(pl.len().alias("had"))


class _Rebuilt(LateRows):
    """Of a transformation that is rebuilt from all rows of its inputs: what changed it is what changed these."""

    def __init__(
        self, context: Context, source: SourceSpec, between: Between, *, after: bool, same: bool, role: Role
    ) -> None:
        self._context, self._source, self._between, self._role = context, source, between, role
        self._made = graph.origin(context.definitions, source)
        covered = tuple(self._covers(as_of) for as_of in between)
        self._inputs = {
            name: late_rows(context, name, (covered[0], max(covered)), after=after, same=same)
            for name in self._made.inputs
        }
        self.moved = any(one.moved for one in self._inputs.values())
        self.kinds = 0
        for one in self._inputs.values():
            self.kinds |= one.kinds
        same = same and not self.moved
        self._stored_before, self._stored_after = same or not after, same or after

    def _covers(self, as_of: int) -> int:
        try:
            rebuild = newest_rebuild(self._context, self._made.name, as_of=as_of)
        except NotFoundError:
            rebuild = None
        return as_of if rebuild is None else min(as_of, rebuild.sequence)

    def rows(self, changes: int) -> pl.DataFrame:
        present = self.kinds & changes
        if present == 0 and self._stored_before:
            return stored_rows(self._context, self._source.name, as_of=self._between[0], role=self._role)
        if present == self.kinds and self._stored_after:
            return stored_rows(self._context, self._source.name, as_of=self._between[1], role=self._role)
        return through_row_wise(self._context, self._source, self._computed(changes))

    def _computed(self, changes: int) -> pl.DataFrame:
        """Run the transformation on the facts of its inputs, as a rebuild does."""
        context, made = self._context, self._made
        facts = {name: _facts(context, name, one.rows(changes)) for name, one in self._inputs.items()}
        frame = with_times(run_transformation(context, made, facts), made)
        if made.timestamp is not None:
            frame = frame.filter(pl.col("__event").is_not_null())
        whole = bool(graph.row_wise_over(context.definitions, made.name))
        rows = in_order(first(frame, made, keys=entity_keys(context, made), whole=whole).rows)
        rows = rows.rename({"__ordinal": "__sequence"})
        if made.knowledge == "latest":
            rows = rows.with_columns(pl.lit(None, pl.Int64).alias("__created"))
        if self._role == "spine" and made.timestamp is not None:
            rows = rows.with_columns(times_of(rows[made.timestamp], made, role="spine").alias("__event"))
        return rows

    def kinds_of(self, key: Sequence[str], spine_keys: Sequence[pl.Series], reach: Reach) -> Array:  # noqa: ARG002 - as `LateRows`
        """Return the kinds of changes of all inputs: a row may be made of any of theirs."""
        return np.full(len(spine_keys[0]), self.kinds, np.uint8)

    def records(self, key: Sequence[str], spine_keys: Sequence[pl.Series], changes: int) -> pl.DataFrame:  # noqa: ARG002 - as `LateRows`
        """Return none: which rows of the inputs a row is made of is not known."""
        return pl.DataFrame(schema={"id": pl.Null, "event": pl.Int64, "sequence": pl.Int64})


def _facts(context: Context, name: str, rows: pl.DataFrame) -> pl.DataFrame:
    origin = graph.origin(context.definitions, context.definitions.get(SourceSpec, name))
    return final_versions(rows, origin).filter(~pl.col("__deleted")).sort("__sequence").drop(SYSTEM)
