"""What is derived from history: made anew where it is damaged, and dropped where nothing reads it any more."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tinymlops._progress import progress
from tinymlops.errors import IntegrityError
from tinymlops.features.context import definitions_of
from tinymlops.features.definitions.specs import ViewSpec, fingerprint
from tinymlops.features.in_force import end_change
from tinymlops.features.online.entries import Covered, Variant, states
from tinymlops.features.online.materialization import materialize

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.registry.models import Models

__all__ = ["drop_unused_views", "rebuild_derived"]


def rebuild_derived(context: Context) -> list[Covered]:
    """Throw the online store and the join images away, and materialize again what was materialized.

    Returns:
        What the online store holds of each view.
    """
    variants = _materialized(context)
    context.environment.online.reset()
    end_change(context.environment.online)
    shutil.rmtree(context.environment.path / "images", ignore_errors=True)
    rebuilt = []
    with progress("materializing", len(variants)) as advance:
        for variant in variants:
            rebuilt.append(materialize(context.with_definitions(variant.definitions), variant.view))
            advance(1)
    return rebuilt


def drop_unused_views(context: Context, models: Models) -> int:
    """Remove from the online store the views that neither the definitions in force nor a registered model reads.

    Returns:
        How many there were.
    """
    used = _variants(context.definitions)
    for newest in models.list():
        for version in models.versions(newest.name):
            used += _variants(definitions_of(models.manifest(version).definitions))
    known = {_content(variant) for variant in used}
    with context.environment.online.read() as tx:
        unused = [state.variant for state in states(tx) if _content(state.variant) not in known]
    for variant in unused:
        context.environment.online.update(variant.clear)
    return len(unused)


def _materialized(context: Context) -> list[Variant]:
    """Return the views that were materialized; where nobody can tell any more, those in force."""
    try:
        with context.environment.online.read() as tx:
            return [state.variant for state in states(tx)]
    except IntegrityError:
        return _variants(context.definitions)


def _variants(definitions: Definitions) -> list[Variant]:
    return [Variant.of(definitions, view) for view in definitions.of(ViewSpec).values()]


def _content(variant: Variant) -> tuple[str, ...]:
    # Expressions have an == of their own, which is no comparison.
    return tuple(fingerprint(spec) for spec in variant.lineage)
