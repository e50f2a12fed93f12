"""`materialize`: bring views up to date, with the rebuilt transformations that they depend on, several at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import ConflictError
from tinymlops.features.definitions import graph, specs
from tinymlops.features.definitions.applied import require_applied
from tinymlops.features.definitions.in_place import in_place_under, require_online
from tinymlops.features.definitions.nouns import requests_of, title_of
from tinymlops.features.definitions.specs import FeatureRequest, SourceSpec, ViewSpec
from tinymlops.features.intake.followers import follow
from tinymlops.features.intake.transforming import recompute
from tinymlops.features.intake.view_checks import check_view, judge_view
from tinymlops.features.online.materialization import Covered, materialize
from tinymlops.features.online.pinned import pinned_versions
from tinymlops.kernels.threads import thread_count
from tinymlops.progress import progress
from tinymlops.references import Reference

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.nouns import FeatureRole, FeatureView

__all__ = ["refresh"]


def refresh(context: Context, views: Sequence[FeatureView[..., object] | FeatureRole | str]) -> list[Covered]:
    """Bring views up to date in the online store; what is done of one stays done if another fails.

    Args:
        context: The workspace's state.
        views: Which, or versions of them: objects, or "spending" and "spending@v1"; none for all in force, and the versions
            that stay beside them.

    Returns:
        What the online store holds of each.

    Raises:
        DataError: If a check refuses what a view would give; the others are materialized.
        NotFoundError: If a name is unknown, with the near match.
        ConflictError: If somebody else is materializing in this workspace.
    """
    requests = [_request_for(context, view) for view in views]
    if not requests:
        requests = _all_online(context) + pinned_versions(context)
    readers = [context.for_request(request) for request in requests]
    chosen = [reader.definitions.get(ViewSpec, one.view) for reader, one in zip(readers, requests, strict=True)]
    for reader, view in zip(readers, chosen, strict=True):
        require_online(reader.definitions, view)
    with _alone(context):
        for source in _rebuilt_under(context, readers, chosen):
            recompute(context, source)
        follow(context)  # all views at once; if a requested one cannot, its own `materialize` raises the reason
        if len(chosen) == 1:
            return [_titled(requests[0], _materialize(readers[0], chosen[0]))]
        with progress("materializing", len(chosen)) as advance, ThreadPoolExecutor(thread_count()) as pool:
            parts = [pool.submit(_materialize, reader, view) for reader, view in zip(readers, chosen, strict=True)]
            for _ in as_completed(parts):
                advance(1)
        return [_titled(request, part.result()) for request, part in zip(requests, parts, strict=True)]


def _all_online(context: Context) -> list[FeatureRequest]:
    """Return every view in force that can be online; if none can, those that cannot, to be refused."""
    views = context.definitions.of(ViewSpec).values()
    online = [view for view in views if not in_place_under(context.definitions, view.source)]
    return [FeatureRequest(view=view.name) for view in online or views]


def _titled(request: FeatureRequest, covered: Covered) -> Covered:
    return msgspec.structs.replace(covered, view=title_of(request))


def _request_for(context: Context, view: FeatureView[..., object] | FeatureRole | str) -> FeatureRequest:
    if isinstance(view, str):
        said = Reference.parse(view)
        version = msgspec.UNSET if said.chosen is None else said.chosen
        return FeatureRequest(view=said.name, version=version)
    (request,) = requests_of([view])
    if request.version is msgspec.UNSET:
        require_applied(view, context.definitions)
    return FeatureRequest(view=request.view, version=request.version)


def _rebuilt_under(context: Context, readers: Sequence[Context], views: Sequence[ViewSpec]) -> list[SourceSpec]:
    """Return the rebuilt transformations to compute anew; a version whose own is out of force keeps the rows it has."""
    sources = context.definitions.of(SourceSpec)
    found: dict[str, SourceSpec] = {}
    for reader, view in zip(readers, views, strict=True):
        for source in graph.rebuilt_under(reader.definitions, [view]):
            live = sources.get(source.name)
            if live is not None and specs.fingerprint(live) == specs.fingerprint(source):
                found[source.name] = live
    return [source for source in graph.derived_in_order(context.definitions) if source.name in found]


def _materialize(context: Context, view: ViewSpec) -> Covered:
    check_view(context, view)
    return materialize(context, view, judge=judge_view)


@contextmanager
def _alone(context: Context) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(context.environment.materialize_lock.exclusive(deadline=0))
        except ConflictError as error:
            raise ConflictError(
                "views of this workspace are being materialized already",
                hint="wait until that is done: it covers all that is stored by then",
            ) from error
        yield
