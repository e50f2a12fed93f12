"""Rows in quarantine: released into history as if they came now, or dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from tinymlops.errors import DefinitionError
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.intake.followers import follow
from tinymlops.features.intake.ingest_one import busy, take_released
from tinymlops.features.intake.pushing import Pushed, push
from tinymlops.features.intake.quarantine import REASONS, Settling, quarantined_rows, released_alike, waiting
from tinymlops.features.intake.transforming import recompute
from tinymlops.registry.checks import get_quarantine
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.records import Ingestion, Quarantine

__all__ = ["drop", "release", "rows_of"]


def rows_of(context: Context, number: int) -> pl.DataFrame:
    """Return the rows of a quarantine that waits, with the rules that each did not pass in `__rules`.

    Raises:
        NotFoundError: If there is none of this number.
        ConflictError: If it was released or dropped.
    """
    return quarantined_rows(context, get_quarantine(context.environment.database, number))


def release(context: Context, number: int) -> Ingestion | Pushed:
    """Let the rows of a quarantine go in as if they came now: what history has by now is known, and not stored again.

    No check is asked about them. Those of a rebuilt transformation pass its checks from now on, and it is computed anew.

    Args:
        context: The workspace's state.
        number: The quarantine's.

    Returns:
        What became of them: of a pushed source as a push says it, of others as an ingest does.

    Raises:
        NotFoundError: If there is none of this number.
        ConflictError: If it was released or dropped.
        DefinitionError: If its source is no longer defined.
        DataError: If the rows do not fit those that the source has by now; they stay where they are then.
    """
    quarantine = waiting(get_quarantine(context.environment.database, number))
    source = _source_of(context, quarantine)
    rows = quarantined_rows(context, quarantine).drop(REASONS)
    with context.scope.publishing():
        settling = Settling.of(context, quarantine)
        if source.via == "push":
            lacking = [name for name in source.columns if name not in rows.columns]  # they have come since
            rows = rows.with_columns(pl.lit(None, parse_dtype(source.columns[name])).alias(name) for name in lacking)
            return push(context, source.name, rows, settling=settling)
        if source.inputs:
            report = recompute(context, source, settling=settling)
        else:
            before = rows.clear() if source.id is not None else released_alike(context, quarantine, rows)
            report = take_released(context, source, pl.concat([rows, before]), settling)
    if report is None:
        raise busy(source)
    for derived in graph.derived_in_order(context.definitions):
        if not derived.row_wise and derived.name != source.name:
            recompute(context, derived)
    follow(context)
    return report


def drop(context: Context, number: int) -> Quarantine:
    """Give up the rows of a quarantine: their values are removed, and the same rows stay out when they come again.

    Returns:
        What stays of it.

    Raises:
        NotFoundError: If there is none of this number.
        ConflictError: If it was released or dropped.
    """
    quarantine = waiting(get_quarantine(context.environment.database, number))
    with context.scope.publishing():
        settling = Settling.of(context, quarantine)
        with context.scope.write(audit="inside") as tx:
            settling.store(tx, "dropped", at=context.clock(), by=context.scope.actor)
            return get_quarantine(tx, number)


def _source_of(context: Context, quarantine: Quarantine) -> SourceSpec:
    """Return the source whose rows a quarantine has, whatever its name is now."""
    for source in context.definitions.of(SourceSpec).values():
        if not source.row_wise and place_of(context.environment.database, source.name) == quarantine.source:
            return source
    raise DefinitionError(
        f"source {quarantine.source!r} of quarantine {quarantine.id} is not defined any more",
        hint="apply a project that has it, or drop the rows: tinymlops checks drop",
    )
