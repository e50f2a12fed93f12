"""The two states of a difference, and the values that rows have with only some of the changes between them."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import polars as pl

from tinymlops.features.compute.views import plan_view
from tinymlops.features.definitions import graph, specs
from tinymlops.features.definitions.expressions import aggregates_in
from tinymlops.features.definitions.graph import parameter_of
from tinymlops.features.definitions.nouns import title_of
from tinymlops.features.definitions.specs import (
    EntitySpec,
    FeatureRequest,
    LabelSpec,
    OnDemandSpec,
    SourceSpec,
    ViewSpec,
)
from tinymlops.features.history.historical import FeatureColumns, in_order, view_columns, with_vectors
from tinymlops.features.history.labels import outcomes_of
from tinymlops.features.law.late_rows import DATA, NEW, Between, LateRows, Reach, late_rows
from tinymlops.features.law.matching import differing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.compute.arranged import Array
    from tinymlops.features.context import Context
    from tinymlops.frames import Role

__all__ = ["DEFINITION", "SPINE", "Outcome", "State", "States"]

SPINE, DEFINITION = 1, 16
"""Changes beside those of rows, as bits."""


class Outcome(NamedTuple):
    """The label of a state."""

    spec: LabelSpec
    values: pl.Series
    """m outcomes: null where there is none, or none that can be known yet."""
    mature: Array
    """bool[m]: whether it can be known."""
    complete: int
    """Until when its source was complete, microseconds UTC."""


class State(NamedTuple):
    """Features and labels as they were at a sequence, by definitions of then."""

    context: Context
    requests: tuple[FeatureRequest, ...]
    sequence: int
    spine: pl.DataFrame
    """m rows: keys and request fields."""
    time: Array
    """int64[m] spine times, microseconds UTC."""
    table: FeatureColumns
    spine_source: str | None = None
    outcome: Outcome | None = None

    @property
    def columns(self) -> dict[str, pl.Series]:
        """Every feature as it was computed, and the label."""
        label = {} if self.outcome is None else {self.outcome.spec.name: self.outcome.values}
        return {**self.table.columns, **label}

    def request_of(self, column: str) -> FeatureRequest | None:
        """Return the request that a column came from; None for the label."""
        for request in self.requests:
            if column in self.names_of(request):
                return request
        return None

    def names_of(self, request: FeatureRequest) -> set[str]:
        """Return the columns of a request."""
        reader = self.context.definitions.for_request(request)
        if request.on_demand:
            spec, of = reader.get(OnDemandSpec, request.view), f"{title_of(request)}:"
            found = {name for name, origin in self.table.origins.items() if origin.startswith(of)}
            return {name for name in found if name.startswith(request.prefix)} if spec else found
        view = reader.get(ViewSpec, request.view)
        return {request.prefix + name for name in request.features or view.features}

    def inputs_of(self, request: FeatureRequest) -> list[FeatureRequest]:
        """Return the requests of the views that an on-demand view reads."""
        spec = self.context.definitions.for_request(request).get(OnDemandSpec, request.view)
        named = {name for parameter in spec.views for name in (parameter, request.prefix + parameter)}
        return [one for one in self.requests if parameter_of(one) in named]

    def nearest_of(self, request: FeatureRequest) -> list[str] | None:
        """Return the sources that a view of neighbours reads; None for any other request."""
        definitions = self.context.definitions.for_request(request)
        spec = definitions.of(OnDemandSpec).get(request.view) if request.on_demand else None
        if spec is None or spec.nearest is msgspec.UNSET:
            return None
        return sorted({one.source for one in graph.neighbours_under(definitions, spec)})


class States:
    """Two states, and every state between them: that of before with only some of the changes.

    Args:
        before: The state at the lesser sequence.
        after: The other one.
        rows: The places of spine rows in both states: each pair is one row. Only these are looked at.
    """

    def __init__(self, before: State, after: State, rows: tuple[Array, Array]) -> None:
        self.before, self.after = before, after
        self._spines = tuple(state.spine[places] for state, places in zip((before, after), rows, strict=True))
        self._columns = tuple(
            {name: series[places] for name, series in state.columns.items()}
            for state, places in zip((before, after), rows, strict=True)
        )
        self._mature = tuple(
            None if state.outcome is None else state.outcome.mature[places]
            for state, places in zip((before, after), rows, strict=True)
        )
        self._time = before.time[rows[0]]
        self._late: dict[Hashable, LateRows] = {}
        self._bits: dict[Hashable, Array] = {}
        self._of_column: dict[str, Array] = {}

    @property
    def _between(self) -> Between:
        return self.before.sequence, self.after.sequence

    def bits(self, column: str) -> Array:
        """Return uint8[k]: the changes that may touch a column in each row, as bits; no other can."""
        if column not in self._of_column:
            rows = self._of_rows(column, after=False) | self._of_rows(column, after=True)
            self._of_column[column] = rows | np.uint8(self._of_definition(column))
        return self._of_column[column]

    def pair(self, column: str, at: Array) -> tuple[pl.Series, pl.Series]:
        """Return a column of some rows as it was and as it became."""
        return self._columns[0][column][at], self._columns[1][column][at]

    def values(self, changes: int, at: Array, wanted: set[str]) -> dict[str, pl.Series]:
        """Return columns of some rows with only these changes made to the state of before.

        Args:
            changes: As bits.
            at: Which rows, by their number among the pairs.
            wanted: Columns that there must be in both states; others may come as well.
        """
        after = bool(changes & DEFINITION)
        state, spine, time = self._state(after=after), self._spine(changes, at), self._time[at]
        table = FeatureColumns({}, {}, {}, {})
        sequence = self._sequence_of(changes)
        asked = [one for one in state.requests if sequence is not None or not self._is_of_neighbours(state, one)]
        combined = any(request.on_demand and wanted & state.names_of(request) for request in asked)
        for request in state.requests:
            if not request.on_demand and (combined or wanted & state.names_of(request)):
                names = state.names_of(request) if combined else wanted & state.names_of(request)
                table.columns.update(self._of_view(state, request, names, changes, at, spine, time, after=after))
        if combined:
            made = in_order(state.context, spine, time, asked, table, spine_source=state.spine_source, as_of=sequence)
            found = dict(made.columns)
        else:
            found = dict(with_vectors(state.context, state.requests, table).columns)
        if state.outcome is not None and state.outcome.spec.name in wanted:
            found[state.outcome.spec.name] = self._labels(state, changes, spine, time, after=after)
        return found

    def records(self, column: str, row: int, changes: int) -> pl.DataFrame:
        """Return the changed rows with a spine row's key that a column reads: `source`, `id`, `event` and `sequence`."""
        parts = []
        for after in (False, True):
            state = self._state(after=after)
            request = state.request_of(column)
            readers = state.inputs_of(request) if request is not None and request.on_demand else [request]
            for reader in readers:
                late, key, on = self._source_of(state, reader, after=after)
                spine = self._spines[after][row : row + 1]
                found = late.records(key, [spine[name] for name in on], changes & DATA)
                parts.append(found.with_columns(pl.lit(self._name_of(state, reader)).alias("source")))
        nothing = pl.DataFrame(schema={"source": pl.String, "id": pl.Null, "event": pl.Int64, "sequence": pl.Int64})
        frame = pl.concat(parts, how="diagonal_relaxed") if parts else nothing
        return frame.unique("sequence", maintain_order=True).sort("sequence")

    def _state(self, *, after: bool) -> State:
        return self.after if after else self.before

    def _spine(self, changes: int, at: Array) -> pl.DataFrame:
        """Return the spine rows of one state, with the columns that only the other one has."""
        own, other = reversed(self._spines) if changes & SPINE else self._spines
        return own[at].with_columns(other[at].select(name for name in other.columns if name not in own.columns))

    def _of_view(
        self,
        state: State,
        request: FeatureRequest,
        names: set[str],
        changes: int,
        at: Array,
        spine: pl.DataFrame,
        time: Array,
        *,
        after: bool,
    ) -> dict[str, pl.Series]:
        """Return columns of a view: those of one state if the changes make no difference to them, else computed."""
        if all(name in columns for columns in self._columns for name in names):
            touching = 0
            for name in names:
                touching |= int(np.bitwise_or.reduce(self.bits(name)[at], initial=0))
            for whole, nothing_else in ((0, touching & changes), (1, touching & ~changes)):
                if not nothing_else:
                    return {name: self._columns[whole][name][at] for name in names}
        late, key, on = self._source_of(state, request, after=after)
        rows = _of_keys(late.rows(changes), key, [spine[name] for name in on])
        view = state.context.definitions.for_request(request).get(ViewSpec, request.view)
        asked = tuple(name for name in request.features or view.features if request.prefix + name in names)
        only = msgspec.structs.replace(request, features=asked)
        return view_columns(
            state.context, spine, time, only, spine_source=state.spine_source, details=False, rows=lambda *_: rows
        ).columns

    def _labels(self, state: State, changes: int, spine: pl.DataFrame, time: Array, *, after: bool) -> pl.Series:
        assert state.outcome is not None, "there is a label"
        late, key, on = self._source_of(state, None, after=after)
        rows = _of_keys(late.rows(changes), key, [spine[name] for name in on])
        by = self.after if changes & NEW else self.before
        complete = state.outcome.complete if by.outcome is None else by.outcome.complete
        values, mature = outcomes_of(
            state.context,
            state.outcome.spec,
            spine,
            time,
            complete=complete,
            as_of=by.sequence,
            rows=rows,
        )
        return values.set(pl.Series(~mature), None)

    def _of_rows(self, column: str, *, after: bool) -> Array:
        """Return uint8[k], the changes of rows and of the spine that touch a column, by the definitions of one state."""
        state = self._state(after=after)
        request = state.request_of(column)
        if request is not None and request.on_demand:
            found = self._of_fields(state, request)
            if self._is_of_neighbours(state, request):
                return found | np.uint8(self._kinds_between)
            for one in state.inputs_of(request):
                found = found | self._of_source(state, one, state.names_of(one), after=after)
            return found
        found = self._of_source(state, request, {column}, after=after)
        return found | self._of_maturity() if request is None else found

    def _of_source(self, state: State, request: FeatureRequest | None, names: set[str], *, after: bool) -> Array:
        late, key, on = self._source_of(state, request, after=after)
        back, ahead = self._looks(state, request, names)
        known = (id(late), tuple(key), tuple(on), back, ahead)
        if known not in self._bits:
            reach = Reach(None if back is None else self._time - back, self._time + ahead)
            self._bits[known] = late.kinds_of(key, [self._spines[after][name] for name in on], reach)
        return self._bits[known]

    def _looks(self, state: State, request: FeatureRequest | None, names: set[str]) -> tuple[int | None, int]:
        """Return how far columns look back from the time of a row, None for all of history, and ahead; microseconds."""
        if request is None:
            assert state.outcome is not None, "what has no request is the label"
            label = state.outcome.spec
            return 0, label.gap + label.horizon
        plan = plan_view(state.context.definitions, request, spine_source=state.spine_source)
        features = {name: one for name, one in plan.features.items() if plan.prefix + name in names}
        spans = {plan.ttl if one.window is None else one.window for one in aggregates_in(features).values()}
        return (None if None in spans or not spans else max(one for one in spans if one is not None)), 0

    def _of_fields(self, state: State, request: FeatureRequest) -> Array:
        spec = state.context.definitions.for_request(request).get(OnDemandSpec, request.view)
        found = np.zeros(self._time.size, np.uint8)
        for name in spec.request:
            one, other = (spine[name] if name in spine.columns else None for spine in self._spines)
            if one is None or other is None:
                found |= np.uint8(SPINE)
            else:
                found[differing(one, other)] |= np.uint8(SPINE)
        return found

    @staticmethod
    def _is_of_neighbours(state: State, request: FeatureRequest) -> bool:
        return request.on_demand and state.nearest_of(request) is not None

    @cached_property
    def _kinds_between(self) -> int:
        """The kinds of changes, as bits, that any row had which neighbours are read of: each may touch every spine row."""
        kinds = 0
        for after in (False, True):
            state = self._state(after=after)
            for request in state.requests:
                context = state.context.for_request(request)
                for one in state.nearest_of(request) or ():
                    found = graph.upstream(context.definitions, [one])
                    upstream = tuple(specs.fingerprint(found[name]) for name in sorted(found))
                    kinds |= self._late_rows(context, one, upstream, "feature", after=after, same=False).kinds
        return kinds

    def _sequence_of(self, changes: int) -> int | None:
        """Return up to where rows are read for neighbours with some changes; None where these are some of several kinds.

        Rows of all keys are compared with each other, so they are those of one state or of the other.
        """
        kinds = self._kinds_between
        if not kinds & changes:
            return self.before.sequence
        return None if kinds & ~changes else self.after.sequence

    def _of_maturity(self) -> Array:
        """Return uint8[k]: rows whose outcome can be known in one state only, because its source has come further."""
        one, other = self._mature
        if one is None or other is None:
            return np.zeros(self._time.size, np.uint8)
        return np.where(one != other, NEW, 0).astype(np.uint8)

    def _of_definition(self, column: str) -> int:
        contents, moved = [], False
        for after in (False, True):
            state = self._state(after=after)
            contents.append(self._content(state, column, after=after))
            request = state.request_of(column)
            readers = state.inputs_of(request) if request is not None and request.on_demand else [request]
            moved = moved or any(self._source_of(state, one, after=after)[0].moved for one in readers)
        return DEFINITION if moved or contents[0] != contents[1] else 0

    def _content(self, state: State, column: str, *, after: bool) -> Hashable:
        """Return all that a column is computed by, except rows."""
        request = state.request_of(column)
        definitions = state.context.definitions
        if request is None:
            assert state.outcome is not None, "a column without request is the label"
            label = state.outcome.spec
            key = definitions.get(EntitySpec, label.entity).key
            computed = msgspec.json.encode((label.expression, label.gap, label.horizon, key))
            return computed, self._upstream(state, None)
        if request.on_demand:
            spec = definitions.for_request(request).get(OnDemandSpec, request.view)
            if self._is_of_neighbours(state, request):
                below = graph.features_stand_on(definitions, [request])
                models = [definitions.fitted.get(key.removeprefix("embedding:").partition("@")[0]) for key in below]
                return tuple(below.items()), tuple(models)
            inputs = [name for one in state.inputs_of(request) for name in sorted(state.names_of(one))]
            return specs.fingerprint(spec), tuple((name, self._content(state, name, after=after)) for name in inputs)
        plan = plan_view(definitions, request, spine_source=state.spine_source)
        feature = plan.features[column.removeprefix(plan.prefix)]
        computed = msgspec.json.encode((feature, plan.key, plan.on, plan.strict, plan.ttl))
        made_by = definitions.fitted.get(feature.embedding) if isinstance(feature.embedding, str) else None
        return computed, made_by, self._upstream(state, request)

    def _upstream(self, state: State, request: FeatureRequest | None) -> tuple[str, ...]:
        """Return the fingerprints of the source that a request or the label reads, and of all that it is derived from."""
        definitions = state.context.definitions if request is None else state.context.definitions.for_request(request)
        found = graph.upstream(definitions, [self._name_of(state, request)])
        return tuple(specs.fingerprint(found[name]) for name in sorted(found))

    def _name_of(self, state: State, request: FeatureRequest | None) -> str:
        if request is None:
            assert state.outcome is not None, "what has no request is the label"
            return state.outcome.spec.source
        return state.context.definitions.for_request(request).get(ViewSpec, request.view).source

    def _source_of(
        self, state: State, request: FeatureRequest | None, *, after: bool
    ) -> tuple[LateRows, Sequence[str], Sequence[str]]:
        """Return the rows that a request or the label reads, their key columns, and those of the spine."""
        context = state.context if request is None else state.context.for_request(request)
        definitions, name = context.definitions, self._name_of(state, request)
        if request is None:
            assert state.outcome is not None, "what has no request is the label"
            entity = definitions.get(EntitySpec, state.outcome.spec.entity)
            on: Sequence[str] = entity.key
        else:
            entity = definitions.get(EntitySpec, definitions.get(ViewSpec, request.view).entity)
            on = request.on or entity.key
        upstream = self._upstream(state, request)
        same = upstream in self._all_upstream
        role: Role = "spine" if request is None else "feature"
        late = self._late_rows(context, name, upstream, role, after=after and not same, same=same)
        if same and after and late.moved:
            late = self._late_rows(context, name, upstream, role, after=True, same=True)
        return late, definitions.key_columns(entity, definitions.get(SourceSpec, name)), on

    def _late_rows(
        self, context: Context, name: str, upstream: tuple[str, ...], role: Role, *, after: bool, same: bool
    ) -> LateRows:
        known = (name, upstream, role, after)
        if known not in self._late:
            self._late[known] = late_rows(context, name, self._between, after=after, same=same, role=role)
        return self._late[known]

    @cached_property
    def _all_upstream(self) -> set[tuple[str, ...]]:
        """What both states read alike."""
        found = []
        for state in (self.before, self.after):
            readers: list[FeatureRequest | None] = [one for one in state.requests if not one.on_demand]
            readers += [] if state.outcome is None else [None]
            found.append({self._upstream(state, reader) for reader in readers})
        return found[0] & found[1]


def _of_keys(rows: pl.DataFrame, key: Sequence[str], spine_keys: Sequence[pl.Series]) -> pl.DataFrame:
    """Return the rows of the keys of some spine rows, or all where their types only match by value."""
    asked = pl.DataFrame([column.alias(name) for name, column in zip(key, spine_keys, strict=True)])
    if any(name not in rows.columns or rows.schema[name] != asked.schema[name] for name in key):
        return rows
    return rows.join(asked.unique(), on=list(key), how="semi", maintain_order="left")
