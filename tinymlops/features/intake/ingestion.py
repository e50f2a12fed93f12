"""`ingest`: take what is new at the sources into history, and let what stands on them follow."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from tinymlops._warn import warn
from tinymlops.errors import DataError, TinyMLOpsError
from tinymlops.features.definitions import graph, specs
from tinymlops.features.intake.attempts import Attempts
from tinymlops.features.intake.compaction import compact_where_needed
from tinymlops.features.intake.followers import follow
from tinymlops.features.intake.ingest_one import ingest
from tinymlops.features.intake.rebuilding import begin_generation
from tinymlops.features.intake.transforming import recompute
from tinymlops.registry.history import remember_attempts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.records import Ingestion

__all__ = ["ingest_all"]


def ingest_all(
    context: Context,
    names: Sequence[str],
    *,
    full: bool = False,
    complete_until: int | None = None,
    rebuild: bool = False,
    drop_missing: bool = False,
) -> list[Ingestion]:
    """Ingest the named sources, or all that are not pushed, and bring what stands on them up to date.

    Transformations over them are rebuilt, and what the online store holds follows; where it cannot, that is a warning.
    A source that fails keeps none of this from the others.

    Args:
        context: The workspace's state.
        names: Of sources.
        full: Read everything anew, and record as deleted what is no longer there.
        complete_until: The user's word that no row with an earlier event time is missing, microseconds UTC.
        rebuild: Begin another generation of each named source: read it anew, and date its stored rows by its definition.
        drop_missing: Of a rebuild: leave out events that the source does not have any more.

    Raises:
        NotFoundError: If a name is unknown, with the near match.
        DefinitionError: If nothing was applied yet.
        DataError: If the rows of a source to be read in full have no id, or no source to be rebuilt is named.
        IngestError: If there were several, and some could not be ingested; the others are.
    """
    context.definitions.require_any()
    if (rebuild or drop_missing) and not (rebuild and names):
        raise DataError(
            "a rebuild is for named sources" if rebuild else "drop_missing goes with rebuild",
            hint='ws.ingest("orders", rebuild=True), or: tinymlops ingest orders --rebuild',
        )
    known = context.definitions.of(specs.SourceSpec)
    chosen = [context.definitions.get(specs.SourceSpec, name) for name in names] or [
        spec for spec in known.values() if not spec.inputs and spec.via != "push"
    ]
    chosen = [spec for spec in chosen if not spec.inputs]
    if full:
        _require_ids(chosen)
    attempts = Attempts(context.root)
    for spec in chosen:
        attempts.make(
            spec.name,
            partial(begin_generation, context, spec, drop_missing=drop_missing)
            if rebuild
            else partial(ingest, context, spec, full=full, complete_until=complete_until),
        )
    for spec in graph.derived_in_order(context.definitions):
        if not spec.row_wise:
            attempts.make(spec.name, partial(recompute, context, spec))
    # Whether it can be remembered changes nothing about what was ingested, or why it could not be.
    with suppress(TinyMLOpsError):
        remember_attempts(context.scope, attempts.errors, attempts.done)
    if attempts.reports:
        _follow(context)
    compact_where_needed(context)
    return attempts.give(asked=len(chosen))


def _follow(context: Context) -> None:
    """Let the online store follow; the rows are durable, so what goes wrong here may not look like a failed ingest."""
    try:
        failed = follow(context)
    except Exception as error:  # noqa: BLE001  # of whatever kind: the caller would ingest committed rows again
        failed = [error]
    for first in failed[:1]:
        reason = first.message if isinstance(first, TinyMLOpsError) else str(first) or type(first).__name__
        warn(
            f"the rows are stored, but the online store could not follow: {reason}; "
            "once that is put right, `materialize` lets it follow"
        )


def _require_ids(sources: Sequence[SourceSpec]) -> None:
    nameless = [source.name for source in sources if source.id is None]
    if nameless:
        raise DataError(
            f"source {nameless[0]!r} has no id, so nobody could say which of its rows vanished",
            hint='give it id="...", or name only sources that have one: ingest them with full=True by name',
        )
