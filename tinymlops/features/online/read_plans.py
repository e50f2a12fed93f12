"""The plan of an online read, made once: for each requested view, the call of its kernel.

A plan depends only on definitions, which never change, and is kept with them. The layout of a view's rows is found with
the first read, and again when the view was rewritten: the coverage comes with the entries of each read, and its stamp
shows whether they have the layout of the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops.errors import DataError
from tinymlops.features.compute.views import asked_of, is_strict, no_key
from tinymlops.features.definitions.expressions import aggregates_in
from tinymlops.features.definitions.in_place import require_online
from tinymlops.features.definitions.nouns import title_of
from tinymlops.features.definitions.specs import EntitySpec, SourceSpec, ViewSpec
from tinymlops.features.history.embedding_columns import embeddings_asked
from tinymlops.features.history.historical import same_name
from tinymlops.features.history.stored import Rebuilt, newest_rebuild
from tinymlops.features.online.cells import Cells, SingleRowCells
from tinymlops.features.online.combined import Answer, CombinedCells
from tinymlops.features.online.kernel_calls import KernelCall
from tinymlops.features.online.variants import Variant
from tinymlops.keys import key_bytes, plain_key_bytes
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import FeatureRequest
    from tinymlops.features.online.requests import Request
    from tinymlops.stores.coverage import Coverage
    from tinymlops.stores.online_store import Snapshot

__all__ = ["Found", "ReadPlan", "ViewPlan", "plan_for"]

Array = np.ndarray[Any, Any]

_FEW = 40
"""The number of keys up to which the kernel's call takes longer than a step of Python for each."""
_KEPT = 256
"""The most plans that are kept with their definitions."""


Found = tuple["Coverage", Answer, Rebuilt | None]
"""The answer of one view, and when its rows were computed if it depends on a rebuilt transformation."""


class ReadPlan:
    """The views of a request.

    Args:
        context: The workspace's state.
        requests: The requested features, in order.
        spine_source: As for `features_for`.
    """

    def __init__(self, context: Context, requests: Sequence[FeatureRequest], spine_source: str | None) -> None:
        self.requests = tuple(requests)
        self.spine_source = spine_source
        self.views = [ViewPlan(context, request, spine_source) for request in requests if not request.on_demand]
        self.on_demand = len(self.views) < len(self.requests)
        self.embeds = any(embeddings_asked(context.definitions, requests))
        """Whether a feature is a vector or of neighbours, for which more is read than the store."""
        self.names = tuple(name for view in self.views for name in view.names)
        self.known_names = frozenset(self.names)
        for place, name in enumerate(self.names):
            if name in self.names[:place]:
                raise same_name(name, self.origin(name))

    def origin(self, name: str) -> str:
        """Return `view:feature` of a column; the last one if several have the name."""
        (*_, view) = (view for view in self.views if name in view.names)
        return f"{view.title}:{name.removeprefix(view.request.prefix)}"


def plan_for(context: Context, requests: Sequence[FeatureRequest], spine_source: str | None) -> ReadPlan:
    """Return the plan of a request by the definitions in the context, made if needed."""
    plans, name = context.definitions.plans, (tuple(requests), spine_source)
    plan = plans.get(name)
    if plan is None:
        if len(plans) >= _KEPT:
            plans.clear()
        plan = plans[name] = ReadPlan(context, requests, spine_source)
    assert isinstance(plan, ReadPlan)
    return plan


class ViewPlan:
    """One view of a request: the rows to read, and what to compute from them."""

    def __init__(self, context: Context, request: FeatureRequest, spine_source: str | None) -> None:
        definitions = context.for_request(request).definitions
        self.request = request
        self.title = title_of(request)
        self.view = definitions.get(ViewSpec, request.view)
        require_online(definitions, self.view)
        self.source = definitions.get(SourceSpec, self.view.source).name
        self.on = request.on or definitions.get(EntitySpec, self.view.entity).key
        self.strict = is_strict(context.definitions, request, spine_source)
        self.variant = Variant.of(definitions, self.view)
        self.origin = self.variant.sources[-1]
        """The source that defines the times and ids of the rows."""
        self.features = asked_of(self.view, request)
        self.names = tuple(request.prefix + name for name in self.features)
        self._aggregates = aggregates_in(self.features)
        self._combines = self._aggregates.keys() != self.features.keys()
        self._call: KernelCall | None = None

    def newest_rebuild(self, context: Context) -> Rebuilt | None:
        """Return when the view's rows in history were computed, if it depends on a rebuilt transformation."""
        return newest_rebuild(context.for_request(self.request), self.origin.name) if self.origin.inputs else None

    def require_young(self, rebuilt: Rebuilt, now: int) -> None:
        """Refuse rows that are older than their transformation allows.

        Raises:
            DataError: If they are.
        """
        limit = self.origin.max_age
        if isinstance(limit, int) and now - rebuilt.at > limit:
            age, most = (timedelta(microseconds=micros) for micros in (now - rebuilt.at, limit))
            raise DataError(
                f"the rows of {self.origin.name!r} were computed {age} ago, and {most} is the most that it allows",
                hint=f"tinymlops materialize {self.title}",
            )

    def read(self, snapshot: Snapshot, request: Request, now: int) -> Found | None:
        """Read the present features; None if the online store cannot answer and history can.

        Args:
            snapshot: A snapshot of the store.
            request: The keys.
            now: Microseconds UTC.

        Raises:
            DataError: If a key column is missing or of another kind, a value is beyond its type, or the rows are older than
                their transformation allows.
        """
        call = self._call or self._prepare(snapshot)
        while call is not None:
            keys = self._keys(snapshot, call, request)
            if keys is not None:
                coverage, newest = snapshot.read(self.variant.name, keys, call.single is not None and len(keys) <= _FEW)
                if coverage is None or coverage.at > now:
                    return None
                if coverage.stamp == call.stamp:
                    if call.rebuilt is not None:
                        self.require_young(call.rebuilt, now)
                    return coverage, self._answer(snapshot, call, keys, newest, now), call.rebuilt
            call = self._prepare(snapshot)  # the view was rewritten
        return None

    def _answer(
        self,
        snapshot: Snapshot,
        call: KernelCall,
        keys: Sequence[bytes | None],
        newest: Sequence[bytes | None],
        now: int,
    ) -> Answer:
        cells: Cells | SingleRowCells | None = None
        if call.single is not None and len(keys) <= _FEW:
            rows = call.single.read(newest, now)
            if rows is not None:
                # The kernel would need nothing else from the snapshot: these entries are complete.
                cells = SingleRowCells(
                    call.names, call.dtypes, rows, self._computed, (snapshot, call, keys, newest, now)
                )
        if cells is None:
            cells = self._computed(snapshot, call, keys, newest, now)
        return CombinedCells(self.names, self.features, cells, now) if self._combines else cells

    def _prepare(self, snapshot: Snapshot) -> KernelCall | None:
        """Prepare the call for the layout in the store; None if the view is not there."""
        state = self.variant.state(snapshot)
        if state is None:
            return None
        names = tuple(self.request.prefix + name for name in self._aggregates)
        self._call = call = KernelCall(
            self._aggregates, names, self.source, state.description, ttl=self.view.ttl, strict=self.strict
        )
        return call

    def _computed(
        self,
        snapshot: Snapshot,
        call: KernelCall,
        keys: Sequence[bytes | None],
        newest: Sequence[bytes | None],
        now: int,
    ) -> Cells:
        variant, layout = self.variant, call.layout
        stored = variant.stored(snapshot, layout, call.empty, keys, newest, objects=call.reads_objects)
        answer = Cells(call, call.run(stored, now), stored, keys, now)
        answer.settle()
        return answer

    def _keys(self, snapshot: Snapshot, call: KernelCall, request: Request) -> list[bytes | None] | None:
        """Return the keys in the form of the store; None if the view was rewritten, with keys of another kind."""
        try:
            if list(map(request.kinds.get, self.on)) == call.plain:
                columns = list(map(request.columns.__getitem__, self.on))
                return plain_key_bytes(columns, self.variant.prefix, call.plain)
            return self._typed_keys(call, request)
        except DataError:
            coverage = snapshot.coverage(self.variant.name)
            if coverage is not None and coverage.stamp == call.stamp:
                raise
            return None

    def _typed_keys(self, call: KernelCall, request: Request) -> list[bytes | None]:
        for column in self.on:
            if column not in request.columns:
                raise no_key(column, self.view.name, list(request.columns))
        frame = request.frame()
        dtypes = list(map(parse_dtype, call.layout.key))
        return key_bytes([frame[column] for column in self.on], dtypes, self.variant.key, self.variant.prefix)
