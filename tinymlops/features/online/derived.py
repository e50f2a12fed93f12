"""Derived data: rebuilt from history if it is damaged or lost, and dropped if nothing reads it any more."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import IntegrityError
from tinymlops.features.context import definitions_of
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.specs import ViewSpec
from tinymlops.features.online.materialization import materialize
from tinymlops.features.online.pinned import pinned_versions, variants_of
from tinymlops.features.online.variants import Covered, Variant, states
from tinymlops.progress import progress
from tinymlops.registry.job_pruning import remove_old_runs
from tinymlops.registry.readers import drop_old
from tinymlops.registry.search import Search
from tinymlops.stores.collection import Collected, collect
from tinymlops.stores.generation import end_change
from tinymlops.stores.locks import FileLock
from tinymlops.stores.text_index import TextIndex
from tinymlops.times import system_clock, to_micros

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.registry.models import Models

__all__ = ["rebuild_derived", "remove_unused", "restore_views"]

_log = logging.getLogger("tinymlops")


def rebuild_derived(context: Context) -> list[Covered]:
    """Remove the online store, join images, row indexes and the search index, and materialize again what was materialized.

    Returns:
        What the online store holds of each view.
    """
    variants = _materialized(context)
    context.environment.online.reset()
    end_change(context.environment.online)
    shutil.rmtree(context.environment.path / "images", ignore_errors=True)
    shutil.rmtree(context.environment.indexes_dir, ignore_errors=True)
    TextIndex(context.environment.path).drop()
    rebuilt = []
    with progress("materializing", len(variants)) as advance:
        for variant in variants:
            rebuilt.append(materialize(context.with_definitions(variant.definitions), variant.view))
            advance(1)
    return rebuilt


def restore_views(context: Context) -> None:
    """Materialize again the views of a lost online store, as far as they are still in force.

    A view that cannot be computed is left out, with a warning; the next connection tries it again.

    Raises:
        ConflictError: If another process is already doing so.
    """
    with FileLock(context.environment.online.path / "restore.lock").exclusive(deadline=0.0):
        lost = _remember(context)
        with progress("materializing again", len(lost)) as advance:
            for variant in lost:
                try:
                    materialize(context.with_definitions(variant.definitions), variant.view)
                except Exception as error:  # noqa: BLE001  # the user's code may raise anything, and reads need none of it
                    _log.warning(
                        "view %r was lost with the online store and cannot be materialized again: %s\n"
                        "Hint: correct that and run `tinymlops materialize`; reads come from history until then",
                        variant.view.name,
                        getattr(error, "message", error),
                    )
                advance(1)


def remove_unused(context: Context, models: Models, *, grace: int, job_history: int) -> Collected:
    """Remove the views of the online store that nothing reads any more, files and rows that nothing needs, and text that is gone.

    A version that is out of force stays if a training set in force or a model names it, or if it says `keep=True`.

    Args:
        context: The workspace's state.
        models: Registered ones.
        grace: As for `collect`, microseconds.
        job_history: How long what is known of a job's run stays, microseconds.
    """
    views = _drop_unused_views(context, models)
    collected = collect(context.environment, now=context.now(), grace=grace, actor=context.scope.actor)
    drop_old(context.scope, to_micros(system_clock()))
    Search(context.scope).refresh()
    runs, messages = remove_old_runs(context.scope, context.now() - job_history)
    return msgspec.structs.replace(collected, views=views, job_runs=runs, messages=messages)


def _drop_unused_views(context: Context, models: Models) -> int:
    """Remove the views that neither a definition in use nor a registered model reads; return how many."""
    used = _in_use(context)
    for newest in models.list():
        for version in models.versions(newest.name):
            manifest = models.manifest(version)
            used += variants_of(definitions_of(manifest.definitions, manifest.variants))
    known = {_content(variant) for variant in used}
    online = context.environment.online
    with online.read() as snapshot:
        unused = [state.variant for state in states(snapshot) if _content(state.variant) not in known]
    online.write(dict.fromkeys((variant.name for variant in unused), None))
    _remember(context)
    return len(unused)


def _remember(context: Context) -> list[Variant]:
    """Remember the views that are in the store, and those in use that were in it; return the latter."""
    online = context.environment.online
    with online.read() as snapshot:
        held = {state.variant.id: state.variant.view.name for state in states(snapshot) if not state.coverage.is_hidden}
    known = online.remembered().keys() - held.keys()
    lost = [variant for variant in _in_use(context) if variant.id in known]
    online.remember(held | {variant.id: variant.view.name for variant in lost})
    return lost


def _materialized(context: Context) -> list[Variant]:
    """Return the views that were materialized; if that is unknown, those in force."""
    try:
        with context.environment.online.read() as snapshot:
            return [state.variant for state in states(snapshot)]
    except IntegrityError:
        return _in_use(context)


def _in_use(context: Context) -> list[Variant]:
    """Return the views in force, and the versions that stay beside them."""
    found = [Variant.of(context.definitions, view) for view in context.definitions.of(ViewSpec).values()]
    for request in pinned_versions(context):
        reader = context.definitions.for_request(request)
        found.append(Variant.of(reader, reader.get(ViewSpec, request.view)))
    return found


def _content(variant: Variant) -> tuple[str, ...]:
    # Expressions have an == of their own, which is not a comparison.
    return graph.fingerprints(variant.lineage)
