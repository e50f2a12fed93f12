"""The features of one row, from plain values to plain values: enough for most prediction requests.

Keys, views and their results are those of a read of many rows, but without frames: the values stay Python values, and
an on-demand view's function was called beforehand. Values that are not plain go through the read of many rows, which is
the reference; this path returns the same values or none at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from tinymlops.features.definitions.on_demand import FEATURE, TIMESTAMP, expressions_of, inputs_of
from tinymlops.features.definitions.specs import OnDemandSpec
from tinymlops.features.online.requests import Request
from tinymlops.frames import twice
from tinymlops.kernels.records import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import FeatureRequest
    from tinymlops.features.online.combined import Answer
    from tinymlops.features.online.read_plans import ReadPlan
    from tinymlops.stores.online_store import Snapshot

__all__ = ["FoundRow", "RowPlan"]

Row = Mapping[str, Any]


class FoundRow(NamedTuple):
    """The features of one row."""

    now: int
    """`t`, microseconds UTC."""
    sequence: int
    """`Q`, the sequence that every view covers."""
    values: dict[str, Any]
    """Feature to its Python value."""


class RowPlan:
    """The prepared read of one row.

    Args:
        context: The state, with the definitions that the features are read by.
        plan: The plan of a read of many rows.
        dtypes: Key and request field to its type.

    Raises:
        DefinitionError: If the Python code of an on-demand view has changed since it was applied, or is gone.
    """

    def __init__(self, context: Context, plan: ReadPlan, dtypes: Mapping[str, pl.DataType]) -> None:
        self._plan = plan
        self._on = tuple(dict.fromkeys(column for view in plan.views for column in view.on))
        requests = [request for request in plan.requests if request.on_demand and not plan.embeds]
        self._on_demand = [_OnDemand(context, request, plan, dtypes) for request in requests]
        names = [*plan.names, *(name for view in self._on_demand for name in view.names)]
        self.names = frozenset(names)
        """The names of all features."""
        needed = {*self._on, *(name for view in self._on_demand for name in view.fields)}
        self.is_usable = (
            bool(plan.views) and not plan.embeds and len(self.names) == len(names) and needed <= dtypes.keys()
        )
        """Whether it can read any row at all."""

    def read(self, context: Context, snapshot: Snapshot, row: Row) -> FoundRow | None:
        """Read the present features; None if that needs more than the online store and plain values.

        Args:
            context: The workspace's state.
            snapshot: A snapshot of the online store, to read in.
            row: Keys and request fields, as plain values of their types, and any other columns.

        Raises:
            DataError: If a value is beyond its type, or rows were computed too long ago.
            DefinitionError: If the Python code of an on-demand view is no longer what was applied.
        """
        if not self.names.isdisjoint(row):
            return None
        now, sequence = context.now(), FOREVER
        keys = Request({name: [row[name]] for name in self._on})
        answers: list[Answer] = []
        for view in self._plan.views:
            found = view.read(snapshot, keys, now)
            if found is None:
                return None
            if answers and found[0].sequence != sequence:
                return None
            sequence = found[0].sequence
            answers.append(found[1])
        values: dict[str, Any] = {}
        for answer in answers:
            for name, (value,) in answer.columns().items():
                values[name] = value
        for one in self._on_demand:
            computed = one.compute(context, row, answers, now)
            if computed is None:
                return None
            values.update(computed)
        return FoundRow(now, sequence, values)


class _Prepared(NamedTuple):
    """An on-demand view with the expressions that its function returned."""

    function: Callable[..., Any]
    expressions: list[pl.Expr]
    names: list[str]
    features: list[tuple[str, int, int]]
    """Column of the frame that they are computed on, and the feature's view and its place there, among the requested ones."""
    fields: list[str]
    """Request fields that they read."""
    reads_time: bool


class _OnDemand:
    """An on-demand view for one row: its expressions, over a frame of the columns they read."""

    def __init__(
        self, context: Context, request: FeatureRequest, plan: ReadPlan, dtypes: Mapping[str, pl.DataType]
    ) -> None:
        self._definitions, self._plan, self._dtypes = context.definitions, plan, dtypes
        self._request = request
        reader = context.for_request(request)
        self._spec = reader.definitions.get(OnDemandSpec, request.view)
        self.fields = self._spec.request
        self._prepared = self._prepare(reader.function(self._spec))
        self.names = self._prepared.names

    def compute(self, context: Context, row: Row, answers: Sequence[Answer], now: int) -> dict[str, Any] | None:
        """Compute its features; None if the read of many rows must return the values or the error."""
        prepared, function = self._prepared, context.for_request(self._request).function(self._spec)
        if function is not prepared.function:
            prepared = self._prepared = self._prepare(function)
        columns = [answers[view].series(place).alias(column) for column, view, place in prepared.features]
        columns += [pl.Series(name, [row[name]], self._dtypes[name]) for name in prepared.fields]
        if prepared.reads_time:
            columns.append(pl.Series(TIMESTAMP, [now], pl.Int64).cast(pl.Datetime("us", "UTC")))
        try:
            values = twice(pl.DataFrame(columns)).select(prepared.expressions).row(0)
        except pl.exceptions.PolarsError:
            return None
        if any(isinstance(value, list | dict) for value in values):
            return None
        finite = [None if isinstance(value, float) and not math.isfinite(value) else value for value in values]
        return dict(zip(prepared.names, finite, strict=True))

    def _prepare(self, function: Callable[..., Any]) -> _Prepared:
        prefix = self._request.prefix
        inputs = inputs_of(self._spec, self._plan.requests, self._definitions, prefix=prefix)
        found = expressions_of(self._spec, function, inputs)
        expressions = {prefix + name: expression for name, expression in found.items()}
        reads = {name for one in expressions.values() for name in one.meta.root_names()}
        return _Prepared(
            function,
            [one.alias(name) for name, one in expressions.items()],
            list(expressions),
            [
                (FEATURE + name, number, place)
                for number, view in enumerate(self._plan.views)
                for place, name in enumerate(view.names)
                if FEATURE + name in reads
            ],
            [name for name in self.fields if name in reads],
            TIMESTAMP in reads,
        )
