"""What an online read has to do, worked out once: for each view that is asked for, the program of its kernel.

A plan depends on nothing but definitions, which never change, and is kept with them. How the rows of a view are laid
out is found with the first read, and again when the view was written anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinymlops._keys import key_bytes, plain_key_bytes
from tinymlops.errors import DataError
from tinymlops.features.definitions.expressions import aggregates_in
from tinymlops.features.definitions.specs import EntitySpec, OnDemandSpec, SourceSpec, ViewSpec
from tinymlops.features.history.historical import asked_of, is_strict, no_key, same_name
from tinymlops.features.history.stored import Rebuilt, newest_rebuild
from tinymlops.features.online.cells import Cells, LoneCells
from tinymlops.features.online.combined import Answer, CombinedCells
from tinymlops.features.online.entries import Moment, Variant
from tinymlops.features.online.programs import Program
from tinymlops.kernels.records import FOREVER, NEVER
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import FeatureRequest
    from tinymlops.features.online.requests import Request
    from tinymlops.stores._entries import Reader

__all__ = ["ReadPlan", "ViewPlan", "plan_for"]

Array = np.ndarray[Any, Any]

_FEW = 40
"""Keys up to which the kernel's call takes longer than a step of Python's for each."""
_KEPT = 256
"""Plans that are kept with their definitions."""


class Coverage(NamedTuple):
    """What the online store holds of a request's views, as of one version of it."""

    version: int
    views: list[tuple[ViewPlan, Moment]]
    """Those that were materialized."""
    sequence: int
    """The least that they cover."""
    at: int
    """Microseconds UTC: from when on it answers for all views; FOREVER if one was never materialized."""
    rebuilt: dict[str, Rebuilt]
    """Of when the rows are, of views on a rebuilt transformation."""


class ReadPlan:
    """The views of a request.

    Args:
        context: The workspace's state.
        requests: What is asked for, in order.
        spine_source: As for `features_for`.
    """

    def __init__(self, context: Context, requests: Sequence[FeatureRequest], spine_source: str | None) -> None:
        self.requests = tuple(requests)
        self.spine_source = spine_source
        self.views = [ViewPlan(context, request, spine_source) for request in requests if not request.on_demand]
        self.on_demand = len(self.views) < len(self.requests)
        self._coverage = Coverage(-1, [], 0, 0, {})
        self.names = tuple(name for view in self.views for name in view.names)
        self.known_names = frozenset(self.names)
        for place, name in enumerate(self.names):
            if name in self.names[:place]:
                raise same_name(name, self.origin(name))

    def require_present(self, context: Context, absent: Mapping[str, int]) -> None:
        """Refuse a row that lacks a key column or request field which others have: alone it would be refused as well.

        Args:
            context: The workspace's state.
            absent: Column to the first row that lacks it.

        Raises:
            DataError: If there is such a row, naming it and the column.
        """
        needed = [(column, f"the key of {view.view.name!r}") for view in self.views for column in view.on]
        for request in self.requests:
            if request.on_demand:
                fields = context.definitions.get(OnDemandSpec, request.view).request
                needed += [(name, f"a request field of on-demand view {request.view!r}") for name in fields]
        for column, what in needed:
            if column in absent:
                raise DataError(
                    f"row {absent[column]} has no column {column!r}, {what}, which other rows have",
                    hint="send it in every row; null where it is not known",
                )

    def coverage(self, tx: Reader) -> Coverage:
        """Return what is covered of the views; as of the same version of the store it is the same."""
        coverage = self._coverage
        if coverage.version != tx.version:
            found = [(view, moment) for view in self.views if (moment := view.variant.moment(tx))]
            whole = len(found) == len(self.views)
            self._coverage = coverage = Coverage(
                tx.version,
                found,
                min((moment.sequence for _, moment in found), default=0),
                max((moment.at for _, moment in found), default=NEVER) if whole else FOREVER,
                {view.view.name: rebuilt for view, _ in found if (rebuilt := view.rebuilt(tx))},
            )
        return coverage

    def rebuilt(self, context: Context, tx: Reader, covered: Collection[ViewPlan]) -> dict[str, Rebuilt]:
        """Return of when the rows are of views on a rebuilt transformation, of those that are not covered as in history."""
        found = dict(self.coverage(tx).rebuilt)
        for view in self.views:
            if view not in covered and view.origin.inputs:
                rebuilt = newest_rebuild(context, view.origin.name)
                found |= {} if rebuilt is None else {view.view.name: rebuilt}
        return found

    def require_young(self, rebuilt: Mapping[str, Rebuilt], now: int) -> None:
        """Refuse rows that were computed longer ago than their transformation allows."""
        for view in self.views:
            if view.view.name in rebuilt:
                view.require_young(rebuilt[view.view.name], now)

    def origin(self, name: str) -> str:
        """Return `view:feature` of a column; of the last, if several have the name."""
        (*_, view) = (view for view in self.views if name in view.names)
        return f"{view.view.name}:{name.removeprefix(view.request.prefix)}"


def plan_for(context: Context, requests: Sequence[FeatureRequest], spine_source: str | None) -> ReadPlan:
    """Return the plan of a request under the definitions in the context, made if need be."""
    plans, name = context.definitions.plans, (tuple(requests), spine_source)
    plan = plans.get(name)
    if plan is None:
        if len(plans) >= _KEPT:
            plans.clear()
        plan = plans[name] = ReadPlan(context, requests, spine_source)
    assert isinstance(plan, ReadPlan)
    return plan


class ViewPlan:
    """One view of a request: whose rows to read, and what to make of them."""

    def __init__(self, context: Context, request: FeatureRequest, spine_source: str | None) -> None:
        definitions = context.definitions
        self.request = request
        self.view = definitions.get(ViewSpec, request.view)
        self.source = definitions.get(SourceSpec, self.view.source).name
        self.on = request.on or definitions.get(EntitySpec, self.view.entity).key
        self.strict = is_strict(context, self.source, spine_source)
        self.variant = Variant.of(definitions, self.view)
        self.origin = self.variant.sources[-1]
        """The source whose times and ids the rows have."""
        self.features = asked_of(self.view, request)
        self.names = tuple(request.prefix + name for name in self.features)
        self._aggregates = aggregates_in(self.features)
        self._combines = self._aggregates.keys() != self.features.keys()
        self._program: Program | None = None

    def rebuilt(self, tx: Reader) -> Rebuilt | None:
        """Return of when the view's rows are, if it stands on a rebuilt transformation."""
        state = self.variant.state(tx) if self.origin.inputs else None
        return None if state is None else state.rebuilt

    def require_young(self, rebuilt: Rebuilt, now: int) -> None:
        """Refuse rows that were computed longer ago than their transformation allows.

        Raises:
            DataError: If they were.
        """
        limit = self.origin.max_age
        if isinstance(limit, int) and now - rebuilt.at > limit:
            age, most = (timedelta(microseconds=micros) for micros in (now - rebuilt.at, limit))
            raise DataError(
                f"the rows of {self.origin.name!r} were computed {age} ago, and {most} is the most that it allows",
                hint=f"tinymlops materialize {self.view.name}",
            )

    def read(self, tx: Reader, moment: Moment, request: Request, now: int) -> Answer:
        """Read the features of now.

        Args:
            tx: The transaction.
            moment: What is covered in it.
            request: The keys.
            now: Microseconds UTC.

        Raises:
            DataError: If a key column is missing or of another kind, or a value is beyond its type.
        """
        program = self._program
        if program is None or program.stamp != moment.stamp:
            state = self.variant.state(tx)
            assert state is not None, "what is covered is laid out"
            program = self._program = Program(
                self._aggregates,
                tuple(self.request.prefix + name for name in self._aggregates),
                self.source,
                state.layout,
                moment.stamp,
                ttl=self.view.ttl,
                strict=self.strict,
            )
        keys = self._keys(program, request)
        lone = program.lone if len(keys) <= _FEW else None
        newest = tx.get_many(keys, lasting=lone is not None)
        if lone is not None:
            rows = lone.read(newest, now)
            if rows is not None:
                # The kernel would need no more of the transaction: these entries are all there is.
                cells = LoneCells(program.names, program.dtypes, rows, self._computed, (tx, program, keys, newest, now))
                return CombinedCells(self.names, self.features, cells, now) if self._combines else cells
        computed = self._computed(tx, program, keys, newest, now)
        return CombinedCells(self.names, self.features, computed, now) if self._combines else computed

    def _computed(
        self, tx: Reader, program: Program, keys: Sequence[bytes | None], newest: Sequence[bytes | None], now: int
    ) -> Cells:
        stored = self.variant.read(tx, program.layout, program.empty, keys, newest, objects=program.reads_objects)
        answer = Cells(program, program.run(stored, now), stored, keys, now)
        answer.settle()
        return answer

    def _keys(self, program: Program, request: Request) -> list[bytes | None]:
        if list(map(request.kinds.get, self.on)) == program.plain:
            return plain_key_bytes(list(map(request.columns.__getitem__, self.on)), self.variant.prefix, program.plain)
        for column in self.on:
            if column not in request.columns:
                raise no_key(column, self.view, list(request.columns))
        frame = request.frame()
        dtypes = list(map(parse_dtype, program.layout.key))
        return key_bytes([frame[column] for column in self.on], dtypes, self.variant.key, self.variant.prefix)
