"""The features of a few spine rows, computed from nothing but the records that were visible at each row's time.

Each row's records are copied alone, by the plain rule of `visible`, and computed as if there were no others. Where the
answer is not what the training set has, records are added one by one, as they became known, until it changes: the one
that changes it is the record that the row could not know.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import polars as pl

from tinymlops.features.compute.evaluating import all_finite
from tinymlops.features.compute.views import ComputePlan, compute_view
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.expressions import aggregates_in
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.history.sources import SYSTEM, run_transformation, with_times
from tinymlops.features.history.stored import newest_rebuild, stored_rows
from tinymlops.features.intake.changes import first, in_order
from tinymlops.features.intake.taking_in import entity_keys
from tinymlops.features.law.visible import ALWAYS, ByEvent, Records, of_rows, visible
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.compute.arranged import Array
    from tinymlops.features.context import Context

__all__ = ["Change", "Past", "StoredPast", "past_of", "through_row_wise"]

_COPIED = 1_000_000
"""Records that are computed together, each with the number of its spine row as its key."""
_SAMPLE = "__sample"


class Change(NamedTuple):
    """A record that becomes known, or that ends, after a row's time."""

    source: str
    since: float
    adds: int | None
    """The place of the record among its source's rows; None if one only ends."""
    drops: int | None


class Past:
    """The features of one view for a few spine rows, from what was visible at the time of each.

    Args:
        context: The workspace's state.
        source: What the view reads.
        plan: How the view is computed.
        spine: The few rows.
        time: int64[m], theirs.
        as_of: By the rows up to this sequence.
    """

    def __init__(
        self, context: Context, source: SourceSpec, plan: ComputePlan, spine: pl.DataFrame, time: Array, as_of: int
    ) -> None:
        self.context, self.source, self.plan, self.spine, self.as_of = context, source, plan, spine, as_of
        self.times = [int(moment) for moment in time]
        self._time = time

    def replayed(self) -> dict[str, pl.Series]:
        """Return the features of all rows: m values each. Many are computed at once; each sees copies of its own."""
        plan = msgspec.structs.replace(self.plan, key=(_SAMPLE,), on=(_SAMPLE,))
        spine = self.spine.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(_SAMPLE))
        parts = [
            compute_view(plan, copied, spine[start:stop], self._time[start:stop]).columns
            for start, stop, copied in self.copies()
        ]
        return {name: pl.concat([part[name] for part in parts], how="vertical") for name in parts[0]} if parts else {}

    def copies(self) -> Iterator[tuple[int, int, pl.DataFrame]]:
        """Give runs of spine rows, and the records that these see, each with the number of its spine row."""
        start, frames, height = 0, list[pl.DataFrame](), 0
        for row in range(len(self.times)):
            seen = self._records(row, []).with_columns(pl.lit(row, pl.Int64).alias(_SAMPLE))
            if frames and (height >= _COPIED or seen.schema != frames[0].schema):
                yield start, row, pl.concat(frames)
                start, frames, height = row, [], 0
            frames.append(seen)
            height += seen.height
        if frames:
            yield start, len(self.times), pl.concat(frames)

    def values(self, row: int, changes: Sequence[Change]) -> dict[str, pl.Series]:
        """Return the features of one row, from what it could see and a few changes that came later."""
        rows = self._records(row, changes)
        return compute_view(self.plan, rows, self.spine[row : row + 1], self._time[row : row + 1]).columns

    def _records(self, row: int, changes: Sequence[Change]) -> pl.DataFrame:
        """Return the records of a row's key that its view reads, from what it could see and a few changes."""
        raise NotImplementedError

    def changes(self, row: int) -> list[Change]:
        """Return what became known after a row's time, in that order."""
        raise NotImplementedError

    def record(self, change: Change) -> dict[str, Any]:
        """Describe a record for people."""
        raise NotImplementedError

    def cause(self, row: int, name: str) -> Change | None:
        """Find the change that gives one row another feature; None where none does."""
        changes, seen = self.changes(row), self.values(row, [])[name]
        low, high = 0, len(changes)
        if self.values(row, changes)[name].equals(seen, null_equal=True):
            return None
        while high - low > 1:  # the first `low` change nothing, the first `high` do
            middle = (low + high) // 2
            same = self.values(row, changes[:middle])[name].equals(seen, null_equal=True)
            low, high = (middle, high) if same else (low, middle)
        return changes[high - 1]


def past_of(
    context: Context, source: SourceSpec, plan: ComputePlan, spine: pl.DataFrame, time: Array, as_of: int
) -> Past:
    """Return how a view's features are computed from what was visible; the arguments are those of `Past`."""
    kind = _Rebuilt if plan.source.inputs else _RowWise if source.row_wise else StoredPast
    return kind(context, source, plan, spine, time, as_of)


class StoredPast(Past):
    """Of a source whose rows are stored."""

    @cached_property
    def rows(self) -> pl.DataFrame:
        """All rows of the source."""
        return stored_rows(self.context, self.source.name, as_of=self.as_of)

    @cached_property
    def records(self) -> Records:
        """These rows, as the plain rule has them."""
        return of_rows(self.rows, self.plan.source)

    @cached_property
    def _places(self) -> dict[object, list[int]]:
        """The places of each key that is asked for."""
        wanted = set(_tuples(self.plan.keys_of(self.spine)))
        found: dict[object, list[int]] = defaultdict(list)
        for place, key in enumerate(_tuples([self.rows[name] for name in self.plan.key])):
            if key in wanted and None not in key:
                found[key].append(place)
        return found

    def places_of(self, row: int) -> list[int]:
        """Return the places of all records of a row's key."""
        return self._places.get(self._key(row), [])

    def _key(self, row: int) -> object:
        return next(iter(_tuples([key[row : row + 1] for key in self.plan.keys_of(self.spine)])))

    def seen(self, row: int) -> list[int]:
        """Return the places that a row sees and that its features reach."""
        time, reach = self.times[row], self._reach
        found = _seen_by(self.plan, self.records, self._near(row), time)
        return found if reach is None else [place for place in found if time - self.records.event[place] <= reach]

    def _near(self, row: int) -> list[int]:
        """Return the places of a row's key that may matter to it."""
        key = self._key(row)
        if key not in self._ordered:
            self._ordered[key] = ByEvent(self.records, self.places_of(row))
        return self._ordered[key].near(self.times[row], self._reach)

    @cached_property
    def _ordered(self) -> dict[object, ByEvent]:
        return {}

    @cached_property
    def _reach(self) -> int | None:
        return _reach(self.plan)

    def copies(self) -> Iterator[tuple[int, int, pl.DataFrame]]:
        """Give the same, with the records of a run taken at once."""
        start, places, of = 0, list[int](), list[int]()
        for row in range(len(self.times)):
            seen = self.seen(row)
            places += seen
            of += [row] * len(seen)
            if len(places) >= _COPIED or row + 1 == len(self.times):
                yield start, row + 1, self.rows[places].with_columns(pl.Series(_SAMPLE, of, dtype=pl.Int64))
                start, places, of = row + 1, [], []

    def _records(self, row: int, changes: Sequence[Change]) -> pl.DataFrame:
        return self.rows[_changed(self.seen(row), changes)]

    def changes(self, row: int) -> list[Change]:
        """Return the records of the row's key that it does not see."""
        seen = set(self.seen(row))
        hidden = [place for place in self.places_of(row) if place not in seen]
        return _in_time(Change(self.source.name, self.records.available[place], place, None) for place in hidden)

    def record(self, change: Change) -> dict[str, Any]:
        """Describe a record of the source."""
        return _described(change, self.plan.source, self.rows, self.records)

    def described(self, place: int) -> dict[str, Any]:
        """Describe the record at a place for people."""
        return self.record(Change(self.source.name, 0, place, None))


class _RowWise(StoredPast):
    """Of a row-wise transformation: it is run again on the parents of what a row sees, and on no others."""

    @cached_property
    def _parents(self) -> pl.DataFrame:
        return stored_rows(self.context, self.plan.source.name, as_of=self.as_of)

    copies = Past.copies  # what is made of the records of each row is its own

    def _records(self, row: int, changes: Sequence[Change]) -> pl.DataFrame:
        sequences = self.rows["__sequence"]
        seen = sequences[self.seen(row)]
        added = [change.adds for change in changes if change.adds is not None]
        parents = self._parents.filter(
            pl.col("__sequence").is_in(seen.implode()) | pl.Series(_marked(added, self._parents.height))
        )
        made = through_row_wise(self.context, self.source, parents)
        return made.filter(pl.col("__sequence").is_in(seen.implode()))

    def changes(self, row: int) -> list[Change]:
        seen = set(self.rows["__sequence"][self.seen(row)].to_list())
        records = self._parent_records
        return _in_time(
            Change(self.plan.source.name, records.available[place], place, None)
            for place, sequence in enumerate(self._parents["__sequence"].to_list())
            if sequence not in seen
        )

    @cached_property
    def _parent_records(self) -> Records:
        return of_rows(self._parents, self.plan.source)

    def record(self, change: Change) -> dict[str, Any]:
        return _described(change, self.plan.source, self._parents, self._parent_records)


class _Input(NamedTuple):
    """The rows of a source that a rebuilt transformation reads."""

    source: SourceSpec
    rows: pl.DataFrame
    records: Records
    final: list[int]
    """The places of the rows that are the facts by now."""


class _Rebuilt(Past):
    """Of a transformation that is rebuilt from all rows of its inputs: it is run on those that were visible alone."""

    @cached_property
    def _inputs(self) -> dict[str, _Input]:
        """Return what is stored of the transformation's inputs, and of those of rebuilt ones among them."""
        rebuild = newest_rebuild(self.context, self.plan.source.name)
        as_of = self.as_of if rebuild is None else rebuild.sequence
        found: dict[str, _Input] = {}
        todo = list(self.plan.source.inputs)
        while todo:
            name = todo.pop()
            origin = self._origin(name)
            if origin.inputs:
                todo += origin.inputs
            elif name not in found:
                rows = stored_rows(self.context, name, as_of=as_of)
                records = of_rows(rows, origin)
                found[name] = _Input(origin, rows, records, _final(records))
        return found

    def _origin(self, name: str) -> SourceSpec:
        definitions = self.context.definitions
        return graph.origin(definitions, definitions.get(SourceSpec, name))

    def _records(self, row: int, changes: Sequence[Change]) -> pl.DataFrame:
        seen = {
            name: _changed(self._seen(name, row), [change for change in changes if change.source == name])
            for name in self._inputs
        }
        made = self._rebuilt(self.plan.source, seen)
        rows = through_row_wise(self.context, self.source, made)
        key = next(iter(_tuples([one[row : row + 1] for one in self.plan.keys_of(self.spine)])))
        own = [place for place, one in enumerate(_tuples([rows[name] for name in self.plan.key])) if one == key]
        own = [] if None in key else own
        records = of_rows(rows, self.plan.source)
        return rows[_seen_by(self.plan, records, own, self.times[row])]

    def _seen(self, name: str, row: int) -> list[int]:
        records = self._inputs[name].records
        strict = all(_boundaries(self.plan))
        return visible(records, range(len(records.event)), self.times[row], strict=strict)

    def _rebuilt(self, source: SourceSpec, seen: dict[str, list[int]]) -> pl.DataFrame:
        """Run a transformation as a rebuild does, on these rows of its inputs."""
        inputs = {name: self._input(name, seen) for name in source.inputs}
        frame = with_times(run_transformation(self.context, source, inputs), source)
        frame = frame.filter(pl.col("__event").is_not_null())
        whole = bool(graph.row_wise_over(self.context.definitions, source.name))
        changes = first(frame, source, keys=entity_keys(self.context, source), whole=whole)
        return in_order(changes.rows).rename({"__ordinal": "__sequence"})

    def _input(self, name: str, seen: dict[str, list[int]]) -> pl.DataFrame:
        if name in self._inputs:
            rows = self._inputs[name].rows[seen[name]]
        else:
            rows = self._rebuilt(self._origin(name), seen)
            rows = through_row_wise(self.context, self.context.definitions.get(SourceSpec, name), rows)
            rows = rows.filter(~pl.col("__deleted"))
        return rows.sort("__sequence").drop(SYSTEM)

    def changes(self, row: int) -> list[Change]:
        return _in_time(
            change for name in self._inputs for change in _since(self._inputs[name], name, self._seen(name, row))
        )

    def record(self, change: Change) -> dict[str, Any]:
        one = self._inputs[change.source]
        return _described(change, one.source, one.rows, one.records)


def _since(one: _Input, name: str, seen: list[int]) -> Iterator[Change]:
    """Give what makes of the rows that were visible those that are the facts by now."""
    known, final, records = set(seen), set(one.final), one.records
    older = {records.id[place]: place for place in seen if place not in final and records.id[place] is not None}
    for place in one.final:
        if place not in known:
            before = older.pop(records.id[place], None) if records.id[place] is not None else None
            yield Change(name, max(records.available[place], records.replaces[place]), place, before)
    for place in older.values():
        yield Change(name, records.available[place], None, place)


def _final(records: Records) -> list[int]:
    """Return the places of the rows that are the facts by now: of each id the greatest version, without deletes."""
    newest: dict[object, int] = {}
    for place, one in enumerate(records.id):
        if one is not None and (one not in newest or records.order[place] > records.order[newest[one]]):
            newest[one] = place
    return [
        place
        for place, one in enumerate(records.id)
        if not records.deleted[place] and (one is None or newest[one] == place)
    ]


def through_row_wise(context: Context, source: SourceSpec, rows: pl.DataFrame) -> pl.DataFrame:
    """Run the row-wise transformations from an origin to a source on some rows of the origin."""
    *row_wise, _ = graph.lineage(context.definitions, source)
    for one in reversed(row_wise):
        rows = all_finite(run_transformation(context, one, {one.inputs[0]: rows}))
    return rows


def _changed(seen: list[int], changes: Sequence[Change]) -> list[int]:
    dropped = {change.drops for change in changes}
    kept = [place for place in seen if place not in dropped]
    return [*kept, *(change.adds for change in changes if change.adds is not None)]


def _in_time(changes: Iterator[Change]) -> list[Change]:
    return sorted(changes, key=lambda change: change.since)


def _marked(places: Sequence[int], height: int) -> list[bool]:
    marked = [False] * height
    for place in places:
        marked[place] = True
    return marked


def _boundaries(plan: ComputePlan) -> set[bool]:
    """Say whether the expressions of a view leave out what becomes known at the very time: windows always do."""
    return {plan.strict or part.window is not None for part in aggregates_in(plan.features).values()}


def _seen_by(plan: ComputePlan, records: Records, places: Sequence[int], time: int) -> list[int]:
    """Return the records that some expression of a view sees at a time.

    Where one that leaves out what becomes known at that very time stands beside one that does not, both need all that was
    known of the events that changed then.
    """
    first, *others = (visible(records, places, time, strict=strict) for strict in sorted(_boundaries(plan)))
    found = set(first)
    for other in others:
        moved = {records.id[place] for place in found.symmetric_difference(other)} - {None}
        found |= {*other}
        found |= {
            place
            for place in places
            if records.id[place] in moved and min(records.available[place], records.replaces[place]) <= time
        }
    return sorted(found)


def _reach(plan: ComputePlan) -> int | None:
    """Return how far back the features of a view look, microseconds; None for all of history.

    Where features differ in what they see at the very time, no version is left out that may have moved far back.
    """
    if len(_boundaries(plan)) > 1:
        return None
    spans = [part.window if part.window is not None else plan.ttl for part in aggregates_in(plan.features).values()]
    return None if None in spans else max((span for span in spans if span is not None), default=None)


def _tuples(columns: Sequence[pl.Series]) -> Iterator[tuple[object, ...]]:
    """Give the key of each row, with integers and whole floats as one."""
    return zip(*(column.to_list() for column in columns), strict=True)


def _described(change: Change, source: SourceSpec, rows: pl.DataFrame, records: Records) -> dict[str, Any]:
    place = change.adds if change.adds is not None else change.drops
    assert place is not None, "a change is of a record"
    row = rows.row(place, named=True)
    shown: dict[str, Any] = {"source": change.source}
    shown |= {name: row[name] for name in (source.id, source.timestamp, source.created) if name is not None}
    if ALWAYS < records.available[place] < 2**62:
        shown["known_from"] = from_micros(int(records.available[place])).isoformat()
    return {**shown, "sequence": row["__sequence"]}
