"""`sql`: one SELECT over everything in a workspace. Only the tables that it names are made."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import numpy as np
import polars as pl

from tinymlops.errors import DefinitionError, NotFoundError, near
from tinymlops.features.definitions.specs import EntitySpec, FeatureRequest, SourceSpec, ViewSpec
from tinymlops.features.history.historical import features_for
from tinymlops.features.history.sources import SYSTEM
from tinymlops.features.history.stored import current_rows, stored_rows
from tinymlops.records import (
    AuditEntry,
    Definition,
    Ingestion,
    Metric,
    ModelAlias,
    ModelVersion,
    Outcome,
    Prediction,
    Record,
    Run,
    TrainingSetBuild,
)
from tinymlops.stores._rows import plan_for

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.stores.database import Database

__all__ = ["sql"]

_RECORDS: dict[str, type[Record]] = {
    "audit": AuditEntry,
    "definitions": Definition,
    "ingestions": Ingestion,
    "metrics": Metric,
    "model_aliases": ModelAlias,
    "models": ModelVersion,
    "outcomes": Outcome,
    "predictions": Prediction,
    "runs": Run,
    "training_sets": TrainingSetBuild,
}
_HISTORY = "_history"
_TIME = pl.Datetime("us", "UTC")


def sql(context: Context, text: str) -> pl.DataFrame:
    """Run one SELECT of the user's.

    It may name a source (its rows as they are the facts by now), `<source>_history` (every version of every row, with
    `__event`, `__created`, `__sequence` and `__deleted`), a feature view (the features of every known key as of now), and
    `runs`, `metrics`, `models`, `model_aliases`, `training_sets`, `predictions`, `outcomes`, `definitions`, `ingestions`
    and `audit`; where a definition has such a name, it is the definition. What has fields of its own is JSON text. Files
    of the project's directory may be read too, as in a source's SQL.

    Args:
        context: The workspace's state.
        text: The SELECT.

    Raises:
        NotFoundError: If it names no such table, with the near match.
        DefinitionError: If it is not one SELECT, or wrong.
        AccessError: If it reads outside of the project's directories.
    """
    from tinymlops.stores.engine import table_names

    names = table_names(text)
    tables = {name: table for name in names if (table := _table(context, name)) is not None}
    try:
        return context.query(text, tables)
    except DefinitionError as error:
        unknown = [name for name in sorted(names - tables.keys()) if f"{name} does not exist" in error.message]
        if unknown:
            raise NotFoundError(f"there is no table {unknown[0]!r}", hint=near(unknown[0], _known(context))) from error
        raise


def _known(context: Context) -> list[str]:
    sources = context.definitions.of(SourceSpec)
    histories = [name + _HISTORY for name in sources]
    return [*sources, *histories, *context.definitions.of(ViewSpec), *_RECORDS]


def _table(context: Context, name: str) -> pl.DataFrame | None:
    """Return the table of a name; None if there is none, and then it may be a file or a part of the SELECT."""
    sources, views = context.definitions.of(SourceSpec), context.definitions.of(ViewSpec)
    if name in sources:
        return _current(context, sources[name])
    if name in views:
        return _latest(context, views[name])
    if name.removesuffix(_HISTORY) in sources:
        times = pl.col("__event", "__created").cast(_TIME)
        return stored_rows(context, name.removesuffix(_HISTORY)).with_columns(times).sort("__sequence")
    return _records(context.environment.database, _RECORDS[name]) if name in _RECORDS else None


def _current(context: Context, source: SourceSpec) -> pl.DataFrame:
    rows = current_rows(context, source.name)
    return rows.drop(SYSTEM)


def _latest(context: Context, view: ViewSpec) -> pl.DataFrame:
    """Return the features of every key that a view's source knows, as of now."""
    entity = context.definitions.get(EntitySpec, view.entity)
    source = context.definitions.get(SourceSpec, view.source)
    columns = context.definitions.key_columns(entity, source)
    keys = stored_rows(context, source.name).select(columns).drop_nulls().unique().sort(columns)
    keys.columns = list(entity.key)
    now = np.full(keys.height, context.now(), np.int64)
    table = features_for(context, keys, now, [FeatureRequest(view=view.name)])
    return keys.with_columns(*table.columns.values())


def _records(database: Database, cls: type[Record]) -> pl.DataFrame:
    """Return the records of a class: times as times, what has fields of its own as JSON text."""
    plan, hints = plan_for(cls), get_type_hints(cls)
    rows = database.stored(cls, plan.order(cls.key[0]))
    columns = list(zip(*rows, strict=True)) or [()] * len(plan.names)
    series: list[pl.Series] = []
    for name, values in zip(plan.names, columns, strict=True):
        series += _series(name, values, hints[name])
    return pl.DataFrame(series)


def _series(name: str, values: tuple[Any, ...], hint: Any) -> list[pl.Series]:
    """Return a column; two, `name` and `name_text`, where a value is a number or text."""
    kinds = set(get_args(hint) or (hint,)) - {type(None)}
    if kinds == {float, str}:
        numbers = [None if isinstance(value, str) else value for value in values]
        texts = [value if isinstance(value, str) else None for value in values]
        return [pl.Series(name, numbers, dtype=pl.Float64), pl.Series(f"{name}_text", texts, dtype=pl.String)]
    if kinds == {datetime}:
        return [pl.Series(name, values, dtype=pl.Int64).cast(_TIME)]
    if kinds == {bool}:
        return [pl.Series(name, values, dtype=pl.Int64).cast(pl.Boolean)]
    if kinds == {float}:  # NaN and the infinities are text in SQLite
        return [pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)]
    return [pl.Series(name, values, dtype=pl.Int64 if kinds == {int} else pl.String)]
