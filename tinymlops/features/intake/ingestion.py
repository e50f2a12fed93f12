"""`ingest`: store the new rows of sources in history, and update what depends on them."""

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
    """Ingest the named sources, or all that are not pushed, and update what depends on them.

    Transformations over them are rebuilt, and the online store follows; if it cannot, there is a warning. A source that
    fails does not stop the others.

    Args:
        context: The workspace's state.
        names: The names of sources.
        full: Read everything again, and record as deleted what is no longer there.
        complete_until: The user's declaration that no row with an earlier event time is missing, microseconds UTC.
        rebuild: Begin another generation of each named source: read it again, and date its stored rows by its definition.
        drop_missing: In a rebuild, leave out events that the source does not have any more.

    Raises:
        NotFoundError: If a name is unknown, with the near match.
        DefinitionError: If nothing was applied yet.
        DataError: If the rows of a source to be read in full have no id, or no source to be rebuilt is named.
        IngestError: If there were several sources and some could not be ingested; the others are.
    """
    context.definitions.require_any()
    if (rebuild or drop_missing) and not (rebuild and names):
        raise DataError(
            "a rebuild is for named sources" if rebuild else "drop_missing goes with rebuild",
            hint='ws.ingest("orders", rebuild=True), or: tinymlops ingest orders --rebuild',
        )
    chosen = _chosen(context, names)
    if full:
        _require_ids(chosen)
    attempts = Attempts(context.root)
    for spec in chosen:
        read = partial(ingest, context, spec, full=full, complete_until=complete_until)
        read_anew = partial(begin_generation, context, spec, drop_missing=drop_missing)
        attempts.make(spec.name, read_anew if rebuild else read)
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


def _chosen(context: Context, names: Sequence[str]) -> list[SourceSpec]:
    """Return the sources to read: of the named ones, or of all that are not pushed, those that have no inputs."""
    named = [context.definitions.get(specs.SourceSpec, name) for name in names]
    every = context.definitions.of(specs.SourceSpec).values()
    for spec in named:
        if spec.in_place:
            raise DataError(
                f"source {spec.name!r} is read in place (store=False): there is nothing to ingest",
                hint="read it: ws.get_historical_features; to store it, leave store=False out and apply",
            )
    return [
        spec for spec in named or every if not spec.inputs and (named or (spec.via != "push" and not spec.in_place))
    ]


def _follow(context: Context) -> None:
    """Let the online store follow; the rows are durable, so an error here must not look like a failed ingest."""
    try:
        failed = follow(context)
    except Exception as error:  # noqa: BLE001  # of any kind: the caller would ingest committed rows again
        failed = [error]
    for first in failed[:1]:
        reason = first.message if isinstance(first, TinyMLOpsError) else str(first) or type(first).__name__
        warn(
            f"the rows are stored, but the online store could not follow: {reason}; "
            "correct that, then run `materialize`"
        )


def _require_ids(sources: Sequence[SourceSpec]) -> None:
    nameless = [source.name for source in sources if source.id is None]
    if nameless:
        raise DataError(
            f"source {nameless[0]!r} has no id, so its vanished rows cannot be found",
            hint='give it id="...", or name only sources that have one: ingest them with full=True by name',
        )
