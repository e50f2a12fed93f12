"""`get_online_features`: the present features, from the online store, by the same rules as history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from tinymlops.errors import DataError
from tinymlops.features.history.ended import Ended, ended_views
from tinymlops.features.history.historical import (
    FeatureColumns,
    in_order,
    parse_features,
    require_present,
    same_name,
    view_columns,
)
from tinymlops.features.online.read_plans import ReadPlan, plan_for
from tinymlops.features.online.requests import Request
from tinymlops.kernels.records import FOREVER
from tinymlops.notebook import in_notebook
from tinymlops.tables import html_frame
from tinymlops.times import from_micros

if TYPE_CHECKING:
    import pyarrow as pa

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.asking import Asked
    from tinymlops.features.definitions.specs import FeatureRequest
    from tinymlops.features.history.stored import Rebuilt
    from tinymlops.features.online.combined import Answer
    from tinymlops.frames import Frame
    from tinymlops.stores.online_store import Snapshot

__all__ = ["OnlineFeatures", "get_online_features", "read_features"]


class Rebuild(NamedTuple):
    """When the rows of a rebuilt transformation were computed."""

    sequence: int
    """`Q` of the inputs that they were computed from."""
    age: timedelta
    """The time since they were computed."""


class OnlineFeatures:
    """The answer to an online read; conversions are made when they are called.

    Attributes:
        sequence: `Q`, the sequence that every view of the answer covers.
        features: The names of the feature columns, in the requested order.
        ended: Versions that get no new rows, such as `spending@v1`, and since when; of a read with details.
    """

    def __init__(
        self,
        keys: Request,
        now: int,
        sequence: int,
        features: tuple[str, ...],
        answer: list[Answer] | FeatureColumns,
        rebuilt: Mapping[str, Rebuilt],
        *,
        details: bool,
    ) -> None:
        self._keys, self._now, self._answer, self._rebuilt, self._details = keys, now, answer, rebuilt, details
        self.sequence = sequence
        self.features = features
        self.ended: dict[str, Ended] = {}

    @property
    def timestamp(self) -> datetime:
        """`t`, the clock's time of the read."""
        return from_micros(self._now)

    @property
    def rebuilt(self) -> dict[str, Rebuild]:
        """For each view on a rebuilt transformation: what its rows were computed from, and how long ago."""
        return {
            name: Rebuild(sequence, timedelta(microseconds=self._now - at))
            for name, (sequence, at) in self._rebuilt.items()
        }

    def ages(self) -> pl.DataFrame:
        """Return keys and `<feature>_age`, the duration from the fact to the time of the read, a row for each key.

        It is null where there is no fact, and for windows, which have many facts.

        Raises:
            DataError: If the read was made without details.
        """
        if not self._details:
            raise DataError("ages come from the event times of facts", hint="read with details=True")
        frame, moment = self._frame, pl.lit(self.timestamp, pl.Datetime("us", "UTC"))
        names = [name for name in self.features if f"{name}_event_time" in frame.columns]
        return self._keys.frame().with_columns(
            frame.select((moment - pl.col(f"{name}_event_time")).alias(f"{name}_age") for name in names)
        )

    def to_polars(self) -> pl.DataFrame:
        """Return keys, features and, if requested, details as a Polars frame, a row for each key."""
        return self._frame

    def to_dict(self) -> dict[str, list[Any]]:
        """Return column name to values."""
        if self._details or isinstance(self._answer, FeatureColumns):
            return self._frame.to_dict(as_series=False)
        found = self._keys.lists()
        for cells in self._answer:
            found.update(cells.columns())
        return found

    def to_arrow(self) -> pa.Table:
        """Return a PyArrow table."""
        return self._frame.to_arrow()

    def to_numpy(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the features alone, as float64[keys, features] in the requested order; null is NaN.

        Raises:
            DataError: If a feature is neither a number nor a boolean.
        """
        table = np.empty((self._keys.height, len(self.features)), np.float64)
        for place, (name, values) in enumerate(zip(self.features, self._numbers(), strict=True)):
            if values is None:
                raise DataError(
                    f"feature {name!r} is {self._frame.schema[name]}, and an array holds numbers",
                    hint="use to_polars(), or leave the feature out",
                )
            table[:, place] = values
        return table

    def __repr__(self) -> str:
        return f"<online features at {self.timestamp.isoformat()}, Q={self.sequence}>\n{self._frame}"

    def _repr_html_(self) -> str:
        return in_notebook(
            html_frame(f"online features at {self.timestamp.isoformat()}, Q={self.sequence}", self._frame)
        )

    @cached_property
    def _frame(self) -> pl.DataFrame:
        table = (
            self._answer
            if isinstance(self._answer, FeatureColumns)
            else _table(self.features, self._answer, self._details)
        )
        return self._keys.frame().with_columns(*table.columns.values(), *table.details.values())

    def _numbers(self) -> list[np.ndarray[Any, Any] | None]:
        if not isinstance(self._answer, FeatureColumns):
            return [values for cells in self._answer for values in cells.numbers()]
        columns = [self._answer.columns[name] for name in self.features]
        return [
            series.cast(pl.Float64).to_numpy()
            if series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null)
            else None
            for series in columns
        ]


def get_online_features(
    context: Context, snapshot: Snapshot, asked: Asked, keys: Frame, *, details: bool
) -> OnlineFeatures:
    """Read features as of the clock's time.

    A view that was never materialized, or only at a time after the clock's, is read from history.

    Args:
        context: The workspace's state.
        snapshot: A snapshot of the online store, in which that state is the one in force.
        asked: The features.
        keys: Entity keys and request fields: any table, rows or columns.
        details: Add `<feature>_status` and `<feature>_event_time`.

    Raises:
        DataError: If there are no keys, or a key column is missing.
    """
    plans, name = context.definitions.plans, tuple(asked)
    plan = plans.get(name)
    if plan is None:
        requests = parse_features(context, asked)
        plan = plan_for(context, requests, None)
        plans[name] = plan
    assert isinstance(plan, ReadPlan)
    answer = _read(context, snapshot, plan, Request(keys), details=details)
    if details:
        answer.ended = ended_views(context, plan.requests)
    return answer


def read_features(
    context: Context,
    keys: Frame,
    requests: Sequence[FeatureRequest],
    *,
    spine_source: str | None = None,
    details: bool = False,
) -> OnlineFeatures:
    """Read features for keys and request fields, as of the clock's time.

    Args:
        context: The workspace's state.
        keys: Entity keys and request fields: any table, rows or columns.
        requests: The features to read, in order.
        spine_source: As for `features_for`: a model's features are read as its training set's were.
        details: Add `<feature>_status` and `<feature>_event_time`.
    """
    plan = plan_for(context, requests, spine_source)
    with context.environment.online.read() as snapshot:
        return _read(context, snapshot, plan, Request(keys), details=details)


def _read(context: Context, snapshot: Snapshot, plan: ReadPlan, keys: Request, *, details: bool) -> OnlineFeatures:
    if keys.absent:
        require_present(context, plan.requests, keys.absent)
    now = context.now()
    if plan.on_demand or plan.embeds:
        return _read_more(context, snapshot, plan, keys, now, details=details)
    sequence, newest = FOREVER, 0
    answer: list[Answer] = []
    rebuilt: dict[str, Rebuilt] = {}
    for view in plan.views:
        found = view.read(snapshot, keys, now)
        if found is None:
            return _read_more(context, snapshot, plan, keys, now, details=details)
        coverage, cells, computed = found
        sequence, newest = min(sequence, coverage.sequence), max(newest, coverage.sequence)
        answer.append(cells)
        if computed is not None:
            rebuilt[view.title] = computed
    if answer and sequence != newest:  # one is kept from following, and an answer is of one sequence
        return _read_more(context, snapshot, plan, keys, now, details=details)
    for name in keys.columns:
        if name in plan.known_names:
            raise same_name(name, plan.origin(name))
    return OnlineFeatures(keys, now, sequence if answer else 0, plan.names, answer, rebuilt, details=details)


def _read_more(
    context: Context, snapshot: Snapshot, plan: ReadPlan, keys: Request, now: int, *, details: bool
) -> OnlineFeatures:
    """Read what needs more than the online store: views that it does not cover at this time or that are ahead of another,
    vectors, and on-demand views.
    """
    online = {view: view.read(snapshot, keys, now) for view in plan.views}
    sequences = [found[0].sequence for found in online.values() if found is not None]
    sequence = min(sequences) if sequences else context.environment.database.sequence()
    online = {view: found if found and found[0].sequence == sequence else None for view, found in online.items()}
    rebuilt: dict[str, Rebuilt] = {}
    table = FeatureColumns({}, {}, {}, {})
    time = np.full(keys.height, now, np.int64)
    for view, found in online.items():
        computed = view.newest_rebuild(context) if found is None else found[2]
        if computed is not None:
            view.require_young(computed, now)
            rebuilt[view.title] = computed
        if found is not None:
            part = _table(view.names, [found[1]], details)
        else:
            part = view_columns(
                context,
                keys.frame(),
                time,
                view.request,
                spine_source=plan.spine_source,
                details=details,
                as_of=sequence,
            )
        table.columns.update(part.columns)
        table.details.update(part.details)
    table = in_order(context, keys.frame(), time, plan.requests, table, spine_source=plan.spine_source, as_of=sequence)
    return OnlineFeatures(keys, now, sequence, tuple(table.columns), table, rebuilt, details=details)


def _table(names: Sequence[str], answer: Sequence[Answer], details: bool) -> FeatureColumns:  # noqa: FBT001
    columns = [series for cells in answer for series in cells.all_series()]
    reasons = {name: series for cells in answer if details for name, series in cells.details().items()}
    return FeatureColumns(
        {name: series.alias(name) for name, series in zip(names, columns, strict=True)}, {}, reasons, {}
    )
