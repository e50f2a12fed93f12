"""Rows in quarantine: released into history as if they came now, or dropped; all of a quarantine or some."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from tinymlops.errors import DataError, DefinitionError, NotFoundError
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.intake.followers import follow
from tinymlops.features.intake.ingest_one import busy, take_released
from tinymlops.features.intake.pushing import Pushed, push
from tinymlops.features.intake.quarantine import OURS, ROW, Settling, quarantined_rows, released_alike, waiting
from tinymlops.features.intake.transforming import recompute
from tinymlops.registry.checks import get_quarantine
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tinymlops.features.context import Context
    from tinymlops.records import Ingestion, Quarantine

__all__ = ["drop", "release", "rows_of"]

_SHOWN = 5
"""Absent rows that an error names."""


def rows_of(context: Context, number: int) -> pl.DataFrame:
    """Return the rows of a quarantine that waits, with the number of each, and the rules that it did not pass.

    Raises:
        NotFoundError: If there is none of this number.
        ConflictError: If it was released or dropped.
    """
    return quarantined_rows(context, get_quarantine(context.environment.database, number))


def release(
    context: Context,
    number: int,
    *,
    ids: Iterable[object] | None = None,
    rows: Iterable[int] | None = None,
    replace_newer: bool = False,
) -> Ingestion | Pushed:
    """Let rows of a quarantine go in as if they came now: what history has by now is known, and not stored again.

    No check is asked about them. Those of a rebuilt transformation pass its checks from now on, and it is computed anew.

    Args:
        context: The workspace's state.
        number: The quarantine's.
        ids: Only the rows of these events, by the source's id.
        rows: Only these rows, by `__row`; without both, all.
        replace_newer: Let them take the place of versions that were stored with them or since.

    Returns:
        What became of them: of a pushed source as a push says it, of others as an ingest does.

    Raises:
        NotFoundError: If there is none of this number, or it has no such row.
        ConflictError: If it was released or dropped, or a row would take the place of a newer version.
        DefinitionError: If its source is no longer defined.
        DataError: If the rows do not fit those that the source has by now; they stay where they are then.
    """
    quarantine = waiting(get_quarantine(context.environment.database, number))
    source = _source_of(context, quarantine)
    with context.scope.publishing():
        kept = quarantined_rows(context, quarantine)
        chosen = _chosen(quarantine, kept, source, ids=ids, rows=rows)
        settling = Settling.of(context, quarantine, chosen, replace_newer=replace_newer)
        frame = (kept if chosen is None else kept.filter(chosen)).drop(OURS)
        if source.via == "push":
            lacking = [name for name in source.columns if name not in frame.columns]  # they have come since
            frame = frame.with_columns(pl.lit(None, parse_dtype(source.columns[name])).alias(name) for name in lacking)
            return push(context, source.name, frame, settling=settling)
        if source.inputs:
            report = recompute(context, source, settling=settling)
        else:
            before = frame.clear() if source.id is not None else released_alike(context, quarantine, frame)
            report = take_released(context, source, pl.concat([frame, before]), settling)
    if report is None:
        raise busy(source)
    for derived in graph.derived_in_order(context.definitions):
        if not derived.row_wise and derived.name != source.name:
            recompute(context, derived)
    follow(context)
    return report


def drop(
    context: Context, number: int, *, ids: Iterable[object] | None = None, rows: Iterable[int] | None = None
) -> Quarantine:
    """Give up rows of a quarantine: their values are removed, and the same rows stay out when they come again.

    Args:
        context: The workspace's state.
        number: The quarantine's.
        ids: Only the rows of these events, by the source's id.
        rows: Only these rows, by `__row`; without both, all.

    Returns:
        What stays of them: the quarantine, or where others of it wait on, a record of their own.

    Raises:
        NotFoundError: If there is none of this number, or it has no such row.
        ConflictError: If it was released or dropped.
    """
    quarantine = waiting(get_quarantine(context.environment.database, number))
    with context.scope.publishing():
        chosen = None
        if ids is not None or rows is not None:
            source = None if ids is None else _source_of(context, quarantine)
            chosen = _chosen(quarantine, quarantined_rows(context, quarantine), source, ids=ids, rows=rows)
        settling = Settling.of(context, quarantine, chosen)
        with context.scope.write(audit="inside") as tx:
            return settling.store(tx, "dropped", at=context.clock(), by=context.scope.actor)


def _chosen(
    quarantine: Quarantine,
    kept: pl.DataFrame,
    source: SourceSpec | None,
    *,
    ids: Iterable[object] | None,
    rows: Iterable[int] | None,
) -> pl.Series | None:
    """Return bool[n], the rows that were asked for; None for all.

    Raises:
        DataError: If none was asked for, or both ways were used, or the source has no ids.
        NotFoundError: If one is not there.
    """
    if ids is None and rows is None:
        return None
    if ids is not None and rows is not None:
        raise DataError("rows were chosen by ids= and by rows=", hint="use one of the two")
    name = ROW if ids is None else None if source is None else source.id
    if name is None or name not in kept.columns:
        raise DataError(f"source {quarantine.source!r} has no ids", hint=f"choose rows by {ROW}: rows=[0, 2]")
    given = rows if ids is None else ids
    if isinstance(given, str | bytes) or given is None:
        raise DataError(f"{given!r} is not a list", hint="write rows=[0, 2] or ids=[17, 23]")
    asked = {str(one) for one in given}
    if not asked:
        raise DataError("no row was chosen", hint="leave ids= and rows= out for all rows")
    texts = [None if value is None else str(value) for value in kept[name]]
    absent = sorted(asked.difference(text for text in texts if text is not None))
    if absent:
        raise NotFoundError(
            f"quarantine {quarantine.id} has no row of {name} {', '.join(absent[:_SHOWN])}",
            hint=f"ws.checks.rows({quarantine.id}) shows those that wait",
        )
    return pl.Series([text in asked for text in texts], dtype=pl.Boolean)


def _source_of(context: Context, quarantine: Quarantine) -> SourceSpec:
    """Return the source whose rows a quarantine has, whatever its name is now."""
    for source in context.definitions.of(SourceSpec).values():
        if not source.row_wise and place_of(context.environment.database, source.name) == quarantine.source:
            return source
    raise DefinitionError(
        f"source {quarantine.source!r} of quarantine {quarantine.id} is not defined any more",
        hint="apply a project that has it, or drop the rows: tinymlops checks drop",
    )
