"""`sql`: one SELECT over everything in a workspace. Only the tables that it names are created."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import polars as pl

from tinymlops.errors import NotFoundError, near
from tinymlops.features.definitions.specs import SourceSpec, ViewSpec
from tinymlops.features.history.in_place import reading_once
from tinymlops.features.history.newest_values import newest_values
from tinymlops.features.history.sources import SYSTEM
from tinymlops.features.history.stored import columns_now, current_rows, stored_rows
from tinymlops.features.law.lineage import lineage_table
from tinymlops.records import TABLES
from tinymlops.registry.record_frames import table_of, with_unread
from tinymlops.stores.engine import SCHEMA, fold
from tinymlops.stores.select_facts import words_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.stores.engine import Limits

__all__ = ["known_tables", "spelled_out", "sql", "tables_of"]

_RECORDS = {cls.sql_name: cls for cls in TABLES if cls.sql_name is not None}
_HISTORY = "_history"
_SYSTEM = f"{SCHEMA}."
_TABLES = "tables"
_LINEAGE = "lineage"
_METRICS = "metrics"
_TIME = pl.Datetime("us", "UTC")
_SHOW_TABLES = re.compile(r"\s*show\s+(all\s+)?tables\s*;?\s*", re.IGNORECASE)


def sql(context: Context, text: str, *, limits: Limits | None = None) -> pl.DataFrame:
    """Run one SELECT of the user's.

    It may name a source (its rows as they are the facts by now), `<source>_history` (every version of every row, with
    `__event`, `__created`, `__sequence` and `__deleted`), a feature view (the features of every known key as of now), and
    `runs`, `experiments`, `metrics` (every point), `run_metrics` (one row a metric of a run), `models`, `model_aliases`,
    `training_sets`, `datasets`, `predictions`, `outcomes`, `definitions`, `ingestions`,
    `column_statistics`, `failed_ingests`, `stream_positions`, `refused_lines`, `check_results`, `quarantines`, `audit`,
    `readers` and `lineage`; where a
    definition has such a name, it is the definition, and `tinymlops.runs` is always the runs.
    `show tables`, or `from tinymlops.tables`, lists them all. What has fields of its own is JSON text. Files of the
    project's directory may be read too, as in a source's SQL.

    Args:
        context: The workspace's state.
        text: The SELECT.
        limits: The limits of the query; by default those of `tinymlops.toml`.

    Raises:
        NotFoundError: If it names no such table, with the near match.
        DefinitionError: If it is not one SELECT, or wrong.
        AccessError: If it reads outside of the project's directories.
        DataError: If it exceeds a limit.
    """
    text = spelled_out(text)
    tables = tables_of(context, text)
    return context.query(text, tables, limits=limits or context.sql_limits())


def spelled_out(text: str) -> str:
    """Return a text as SQL: `show tables` is a SELECT from the table of tables."""
    if isinstance(text, str) and _SHOW_TABLES.fullmatch(text):
        return f"from {_SYSTEM}{_TABLES}"
    return text


def tables_of(context: Context, text: str, hidden: Collection[str] = ()) -> dict[str, pl.DataFrame]:
    """Return the tables that a SELECT names, as they are now; columns that it does not read are null.

    Args:
        context: The workspace's state.
        text: The SELECT.
        hidden: Tables of the schema `tinymlops` that are as if they did not exist.

    Raises:
        NotFoundError: If there is no such table, with the near match.
        DefinitionError: If it is not one SELECT.
        AccessError: If it reads by a function that is not on the list.
    """
    from tinymlops.stores.engine import table_names

    known = known_tables(context.definitions, hidden)
    names = sorted({_meant(name, known) for name in table_names(text)})
    words = words_of(text)
    with reading_once():
        return {name: _listed(known) if _is_list(name, known) else _table(context, name, words) for name in names}


def known_tables(definitions: Definitions, hidden: Collection[str] = ()) -> dict[str, str]:
    """Return the kind of everything that has a name in SQL; no definition can hide those in the schema.

    Args:
        definitions: In force.
        hidden: Tables of the schema `tinymlops` that are left out.
    """
    sources, views = definitions.of(SourceSpec), definitions.of(ViewSpec)
    histories = dict.fromkeys([name + _HISTORY for name in sources], "history")
    system = {name: "system" for name in (*_RECORDS, _TABLES, _LINEAGE, _METRICS) if name not in hidden}
    qualified = {_SYSTEM + name: kind for name, kind in {**histories, **system}.items()}
    plain = {**system, **histories, **dict.fromkeys(views, "feature view"), **dict.fromkeys(sources, "source")}
    return {**qualified, **plain}


def _meant(name: str, known: Collection[str]) -> str:
    """Return the name of the table that is meant: names are in lower case, and SQL may write them in any case.

    Raises:
        NotFoundError: If there is none.
    """
    meant = fold(name)
    if meant not in known:
        plain = [other for other in known if name.startswith(_SYSTEM) or not other.startswith(_SYSTEM)]
        raise NotFoundError(f"there is no table {name!r}", hint=near(name, plain))
    return meant


def _table(context: Context, name: str, words: Collection[str] | None) -> pl.DataFrame:
    """Return the table with a known name; of its columns those may be null that are not among the words."""
    sources, views = context.definitions.of(SourceSpec), context.definitions.of(ViewSpec)
    short = name.removeprefix(_SYSTEM)
    if short == name and name in sources:
        return _current(context, sources[name], words)
    if short == name and name in views:
        return newest_values(context, views[name])
    if short in _RECORDS:
        return table_of(context.environment.database, _RECORDS[short], words)
    if short == _METRICS:
        from tinymlops.registry.runs.reading import metrics_table

        columns = metrics_table(context.environment.database)
        strings = {"run": pl.String, "name": pl.String}
        return pl.DataFrame(columns, schema_overrides=strings).with_columns(pl.col("at").cast(_TIME))
    if short == _LINEAGE:
        edges = lineage_table(context)
        return pl.DataFrame(edges, schema=dict.fromkeys(edges, pl.String))
    return _history(context, sources[short.removesuffix(_HISTORY)], words)


def _is_list(name: str, known: Mapping[str, str]) -> bool:
    return known[name] == "system" and name.removeprefix(_SYSTEM) == _TABLES


def _listed(known: Mapping[str, str]) -> pl.DataFrame:
    """Return each table once, under its shortest name."""
    kinds = ["source", "history", "feature view", "system"]
    rows = [
        (name, kind)
        for name, kind in known.items()
        if not name.startswith(_SYSTEM) or known[name.removeprefix(_SYSTEM)] != kind
    ]
    rows.sort(key=lambda row: (kinds.index(row[1]), row[0]))
    return pl.DataFrame(rows, schema={"name": pl.String, "kind": pl.String}, orient="row")


def _current(context: Context, source: SourceSpec, words: Collection[str] | None) -> pl.DataFrame:
    if (known := _columns(context, source, words)) is None:
        return current_rows(context, source.name).drop(SYSTEM)
    # One is read in any case: without any, nothing would tell how many rows there are.
    read = [name for name in known if _is_read(name, words) or name == source.id] or known[:1]
    return with_unread(current_rows(context, source.name, read).drop(SYSTEM), known)


def _history(context: Context, source: SourceSpec, words: Collection[str] | None) -> pl.DataFrame:
    known = _columns(context, source, words)
    rows = stored_rows(context, source.name, known and [name for name in known if _is_read(name, words)])
    rows = rows if known is None else with_unread(rows, [*known, *SYSTEM])
    return rows.with_columns(pl.col("__event", "__created").cast(_TIME)).sort("__sequence")


def _columns(context: Context, source: SourceSpec, words: Collection[str] | None) -> list[str] | None:
    """Return the columns of a source of which some can be read alone; None where it is read as a whole."""
    is_whole = words is None or source.row_wise or source.in_place
    return None if is_whole else list(columns_now(context, source))


def _is_read(name: str, words: Collection[str] | None) -> bool:
    return words is None or fold(name) in words
