"""`diff`: why the numbers of a build are not those of an earlier one, cell by cell; also of features at two sequences.

Both are computed again from history, their rows matched, and every change between them made alone: see `attribution.py`.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import polars as pl

from tinymlops.errors import DataError, DefinitionError, NotFoundError
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.definitions import in_words
from tinymlops.features.definitions.specs import EntitySpec, LabelSpec, OnDemandSpec, ViewSpec
from tinymlops.features.history.historical import features_for, parse_features, require_present, spine_times
from tinymlops.features.history.reproducing import built_with, find_build
from tinymlops.features.history.stored import require_past
from tinymlops.features.history.training_sets import Computed, computed, model_dtype, read_manifest
from tinymlops.features.law.attribution import CAUSES, JOINT, UNKNOWN, attribute
from tinymlops.features.law.data_diff import ChangedColumn, DataDiff, DiffExample, causes_in
from tinymlops.features.law.differences import differences
from tinymlops.features.law.late_rows import DATA
from tinymlops.features.law.matching import MatchedRows, differing, match_rows, places_in
from tinymlops.features.law.states import Outcome, State, States
from tinymlops.frames import to_polars
from tinymlops.presence import absent_columns
from tinymlops.progress import progress
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tinymlops.features.compute.arranged import Array
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.asking import Asked
    from tinymlops.features.definitions.specs import AnySpec, TrainingSetSpec
    from tinymlops.features.law.attribution import Cells
    from tinymlops.frames import Frame
    from tinymlops.records import TrainingSetBuild

__all__ = ["diff_builds", "diff_features", "is_build"]

_EXAMPLES, _RECORDS = 3, 5
_ID = 32
_SHORTEST = 6
_STEPS = 4


class _Side(NamedTuple):
    """What is compared."""

    title: str
    state: State
    used: Array
    """bool[m]: the spine rows that are compared; the others were left out."""
    why: Array
    """object[m]: why a row was left out."""
    shown: dict[str, pl.Series]
    """The columns as users get them, m values each."""
    parts: Mapping[str, AnySpec]
    """`kind:name` to the definitions that it stands on."""
    categories: Mapping[str, tuple[str, ...]]
    """Text feature to its values in the training rows."""
    note: str = ""


def is_build(reference: str) -> bool:
    """Return whether a text is written as the id of a build, or the beginning of one."""
    return _SHORTEST <= len(reference) <= _ID and set(reference) <= set(string.hexdigits.lower())


def diff_builds(context: Context, before: str, after: str) -> DataDiff:
    """Say what differs between two builds of training sets, and why.

    Args:
        context: The workspace's state.
        before: As for `find_build`.
        after: Likewise.

    Raises:
        NotFoundError: If there is no such build.
        DefinitionError: If one cannot be built again, because Python code that it depends on has changed.
    """
    records = [_found(context, reference) for reference in (before, after)]
    with progress("comparing", _STEPS) as advance:
        sides: list[_Side] = []
        for record in records:
            sides.append(sides[0] if sides and record.id == records[0].id else _built(context, record))
            advance(1)
        return _compared(sides[0], sides[1], advance)


def diff_features(
    context: Context,
    spine: Frame,
    asked: Asked,
    *,
    before: int,
    after: int,
    timestamp: str = "timestamp",
    tz: str | None = None,
) -> DataDiff:
    """Say what differs between the features of a spine as of two sequences, and why.

    Args:
        context: The workspace's state.
        spine: Key columns, request fields and a time column: any table.
        asked: The features, by the definitions in force.
        before: The first sequence.
        after: The second.
        timestamp: The spine's time column.
        tz: Zone of times that carry none.

    Raises:
        DataError: If the workspace has not reached a sequence, or the spine lacks a column.
    """
    requests = parse_features(context, asked)
    sequences = [_reached(context, one, name) for one, name in ((before, "before"), (after, "after"))]
    rows, absent = to_polars(spine), absent_columns(spine)
    time = spine_times(rows, timestamp, tz=tz)
    if absent:
        require_present(context, requests, absent)
    with progress("comparing", _STEPS) as advance:
        sides = []
        for sequence in sequences:
            table = features_for(context, rows, time, requests, as_of=sequence)
            state = State(context, requests, sequence, rows.drop(timestamp), time, table)
            every = np.ones(rows.height, np.bool_)
            sides.append(_Side(f"Q={sequence}", state, every, np.full(rows.height, ""), table.columns, {}, {}))
            advance(1)
        return _compared(sides[0], sides[1], advance)


def _reached(context: Context, sequence: int, name: str) -> int:
    found = require_past(context, sequence)
    if found is None:
        raise DataError(f"{name} has no sequence", hint="builds, pushes and ingests name theirs: Q, or `sequence`")
    return found


def _found(context: Context, reference: str) -> TrainingSetBuild:
    try:
        return find_build(context, reference)
    except NotFoundError as error:
        if is_build(reference):
            hint = "is it of another workspace? Builds are compared where they were made: tinymlops sql 'from training_sets'"
            raise NotFoundError(f"this workspace has no build {reference!r}", hint=hint) from error
        raise


def _built(context: Context, record: TrainingSetBuild) -> _Side:
    manifest = read_manifest(context, record)
    recipe, title = manifest.recipe, f"{record.name} {record.id[:8]}"
    if manifest.in_place:
        raise DataError(
            f"build {title} read source {manifest.in_place[0].source!r} in place: nothing tells which rows are new or changed",
            hint=f"tinymlops verify {record.id[:8]} names the files that changed; for a diff, store the source",
        )
    try:
        pinned = built_with(context, manifest)
        done = computed(pinned, recipe)
    except DefinitionError as error:
        raise DefinitionError(f"build {title} cannot be made again: {error.message}", hint=error.hint) from error
    X = done.matrix()
    again = done.fingerprint(X)
    note = (
        ""
        if again == record.fingerprint
        else f"{title} does not come out as it was built: tinymlops verify {record.id[:8]}"
    )
    spec = recipe.training_set
    label = pinned.definitions.get(LabelSpec, spec.label)
    state = State(
        pinned,
        spec.features,
        recipe.sequence,
        done.spine.select(pl.exclude("^__.*$")),
        done.time,
        done.table,
        spec.spine,
        Outcome(label, done.outcome, done.mature, recipe.complete_until),
    )
    return _Side(
        f"{title} at Q={recipe.sequence}",
        state,
        done.used,
        _why_left_out(done),
        {**done.features().to_dict(), label.name: done.outcome},
        _parts(pinned, spec),
        {name: tuple(dtype.categories) for name, dtype in X.schema.items() if isinstance(dtype, pl.Enum)},
        note,
    )


def _why_left_out(done: Computed) -> Array:
    found: Array = np.where(
        done.mature, np.where(done.outcome.is_null().to_numpy(), "no outcome", "purged"), "immature"
    )
    return found


def _parts(context: Context, spec: TrainingSetSpec) -> dict[str, AnySpec]:
    return {f"training_set:{spec.name}": spec, **graph.below(context.definitions, spec)}


def _compared(first: _Side, second: _Side, advance: Callable[[int], None]) -> DataDiff:
    """Compare two sides; changes are made from the lesser sequence to the greater, whichever comes first."""
    keys = _keys_of(first, second)
    spines = [side.state.spine for side in (first, second)]
    fields = [name for name in spines[0].columns if name in spines[1].columns and name not in (*keys, _TIME)]
    rows_of = [_rows_of(side, keys).with_columns(side.state.spine.select(fields)) for side in (first, second)]
    matched = match_rows(rows_of[0], rows_of[1], [*keys, _TIME], fields)
    used = first.used[matched.first] & second.used[matched.second]
    pairs = (matched.first[used], matched.second[used])
    columns = [name for name in first.shown if name in second.shown]
    changed = {name: _changed(first.shown[name], second.shown[name], pairs) for name in columns}
    changed = {name: places for name, places in changed.items() if places.size}
    advance(1)
    rows = places_in(list(changed.values()))
    found: dict[str, Cells] = {}
    states = None
    if changed:
        ordered = (first, second) if first.state.sequence <= second.state.sequence else (second, first)
        places = pairs if ordered[0] is first else pairs[::-1]
        states = States(ordered[0].state, ordered[1].state, (places[0][rows], places[1][rows]))
        found = attribute(states, rows, changed, _shown_as(first))
    advance(1)
    shown = _rows_of(first, keys)[pairs[0]]
    cells = {
        name: ChangedColumn(one, first.shown[name][pairs[0][one.places]], second.shown[name][pairs[1][one.places]])
        for name, one in found.items()
    }
    return DataDiff(
        (first.title, second.title),
        shown,
        cells,
        compared=columns,
        examples=[] if states is None else _examples(states, rows, shown, cells),
        only=_only(first, second, matched, keys),
        columns_only=(
            [name for name in first.shown if name not in second.shown],
            [name for name in second.shown if name not in first.shown],
        ),
        definitions=_definitions(first, second),
        notes=_notes(first, second),
    )


_TIME = "timestamp"


def _rows_of(side: _Side, keys: Sequence[str]) -> pl.DataFrame:
    time = pl.Series(_TIME, side.state.time).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame([*(side.state.spine[name] for name in keys), time])


def _changed(one: pl.Series, other: pl.Series, pairs: tuple[Array, Array]) -> Array:
    """Return which pairs of rows differ in a column."""
    return differing(_taken(one, pairs[0]), _taken(other, pairs[1]))


def _taken(column: pl.Series, places: Array) -> pl.Series:
    every = places.size == len(column) and (places.size == 0 or bool((np.diff(places) == 1).all()))
    return column if every else column[places]


def _shown_as(side: _Side) -> Callable[[pl.Series], pl.Series]:
    """Return how a computed column becomes what users get: features of a training set in types of models."""
    if side.state.outcome is None:
        return lambda series: series
    label = side.state.outcome.spec.name
    return lambda series: series if series.name == label else model_dtype(series)


def _keys_of(first: _Side, second: _Side) -> list[str]:
    """Return the key columns of either side that both spines have, in the order of the first."""
    found: set[str] = set()
    for side in (first, second):
        definitions = side.state.context.definitions
        for request in side.state.requests:
            if request.on_demand:
                nearest = definitions.for_request(request).get(OnDemandSpec, request.view).nearest
                found |= set() if nearest is msgspec.UNSET else {*nearest.key}
            else:
                reader = definitions.for_request(request)
                found |= {*(request.on or reader.get(EntitySpec, reader.get(ViewSpec, request.view).entity).key)}
        if side.state.outcome is not None:
            found |= {*definitions.get(EntitySpec, side.state.outcome.spec.entity).key}
    return [name for name in first.state.spine.columns if name in found and name in second.state.spine.columns]


def _only(first: _Side, second: _Side, matched: MatchedRows, keys: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that only one side has, and why the other does not."""
    found = []
    for side, other, mine, theirs, only in (
        (first, second, matched.first, matched.second, matched.only_first),
        (second, first, matched.second, matched.first, matched.only_second),
    ):
        left_out = side.used[mine] & ~other.used[theirs]
        alone = only[side.used[only]]
        places = np.concatenate([mine[left_out], alone])
        why = np.concatenate([other.why[theirs[left_out]], np.full(alone.size, "spine row")])
        order = np.argsort(places, kind="stable")
        rows = _rows_of(side, keys)[places[order]]
        found.append(rows.with_columns(pl.Series("why", why[order].tolist(), dtype=pl.String)))
    return found[0], found[1]


def _definitions(first: _Side, second: _Side) -> list[str]:
    """Say what differs between the definitions of two builds."""
    found = []
    for key in dict.fromkeys([*first.parts, *second.parts]):
        kind, _, name = key.partition(":")
        old, new = first.parts.get(key), second.parts.get(key)
        if old is None or new is None:
            found.append(f"{in_words(kind)} {name} only {'after' if old is None else 'before'}")
        elif type(old) is type(new):
            found += [f"{in_words(kind)} {name}: {one}" for one in differences(old, new)]
    models = [side.state.context.definitions.fitted for side in (first, second)]
    for name in sorted(models[0].keys() & models[1].keys()):
        made_by, now = (fitted[name][:12] for fitted in models)
        found += [f"embedding {name}: vectors by model {made_by} -> {now}"] if made_by != now else []
    return found


def _notes(first: _Side, second: _Side) -> list[str]:
    found = list(dict.fromkeys(side.note for side in (first, second) if side.note))
    for name, before in first.categories.items():
        after = second.categories.get(name, before)
        if set(before) != set(after):
            parts = [f"+{one}" for one in after if one not in before] + [
                f"-{one}" for one in before if one not in after
            ]
            shown = ", ".join(parts[:_RECORDS]) + (" ..." if len(parts) > _RECORDS else "")
            found.append(f"categories of {name} in the training rows: {shown}; others are null in X")
    return found


def _examples(
    states: States, rows: Array, shown: pl.DataFrame, columns: Mapping[str, ChangedColumn]
) -> list[DiffExample]:
    """Return a few cells of each cause, of several columns if there are."""
    found = []
    for bit in (*CAUSES.values(), JOINT, UNKNOWN):
        firsts = [(name, np.flatnonzero(one.cells.cause == bit)[:_EXAMPLES]) for name, one in columns.items()]
        chosen = [(name, int(places[i])) for i in range(_EXAMPLES) for name, places in firsts if i < places.size]
        found += [_example(states, rows, shown, name, columns[name], at) for name, at in chosen[:_EXAMPLES]]
    return found


def _example(
    states: States, rows: Array, shown: pl.DataFrame, name: str, column: ChangedColumn, at: int
) -> DiffExample:
    cells, place = column.cells, int(column.cells.places[at])
    cause, touching = int(cells.cause[at]), int(cells.touching[at])
    records: list[dict[str, Any]] = []
    if touching & DATA:
        found = states.records(name, int(np.searchsorted(rows, place)), touching)
        records = [
            {**one, "event": None if one["event"] is None else from_micros(one["event"])}
            for one in found.select("source", "id", "event", "sequence").head(_RECORDS).to_dicts()
        ]
    return DiffExample(
        row=shown.row(place, named=True),
        column=name,
        before=column.before[at : at + 1].to_list()[0],
        after=column.after[at : at + 1].to_list()[0],
        cause="joint" if cause == JOINT else next(iter(causes_in(cause)), "unknown"),
        together=causes_in(touching) if cause == JOINT else (),
        records=tuple(records),
    )
