"""Which tables there are, and their columns, as far as that is known without reading a row."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from tinymlops.features.columns import types_of
from tinymlops.features.definitions.specs import EntitySpec, SourceSpec, ViewSpec
from tinymlops.features.history.stored import state_of
from tinymlops.querying import known_tables
from tinymlops.records import TABLES
from tinymlops.registry.record_frames import frame_of
from tinymlops.schema import dtype_name

if TYPE_CHECKING:
    from collections.abc import Collection

    from tinymlops.features.context import Context

__all__ = ["Group", "columns_of", "tables_by_kind"]

_TITLES = {
    "source": "Sources",
    "feature view": "Feature views",
    "history": "Every version of their rows",
    "system": "The workspace",
}
_MOST = 200
"""Names of a kind."""
_OF_VERSIONS = {
    "__event": "Datetime(us, UTC)",
    "__created": "Datetime(us, UTC)",
    "__sequence": "Int64",
    "__deleted": "Boolean",
}
_COMPUTED = {
    "tables": {"name": "String", "kind": "String"},
    "lineage": dict.fromkeys(("from_kind", "from", "to_kind", "to", "type", "subtype"), "String"),
    "metrics": {
        "run": "String",
        "name": "String",
        "step": "Float64",
        "value": "Float64",
        "at": "Datetime(us, UTC)",
    },
}


class Group(NamedTuple):
    """Tables of one kind."""

    title: str
    names: list[str]
    more: int
    """So many are not listed."""


def tables_by_kind(context: Context, hidden: Collection[str]) -> list[Group]:
    """Return the names of the tables by kind.

    Args:
        context: The workspace's state.
        hidden: Tables of the workspace that are left out.
    """
    found: dict[str, list[str]] = {kind: [] for kind in _TITLES}
    for name, kind in known_tables(context.definitions, hidden).items():
        if "." not in name:
            found[kind].append(name)
    return [
        Group(_TITLES[kind], sorted(names)[:_MOST], max(0, len(names) - _MOST))
        for kind, names in found.items()
        if names
    ]


def columns_of(context: Context, name: str, hidden: Collection[str]) -> dict[str, str] | None:
    """Return the columns of a table with their types, which are "" where they are not known yet; None if there is none.

    Args:
        context: The workspace's state.
        name: Of the table.
        hidden: Tables of the workspace that are left out.
    """
    kind = known_tables(context.definitions, hidden).get(name)
    if kind == "source":
        return _of_source(context, name)
    if kind == "history":
        return {**_of_source(context, name.removesuffix("_history")), **_OF_VERSIONS}
    if kind == "feature view":
        return _of_view(context, context.definitions.get(ViewSpec, name))
    return None if kind is None else _of_system().get(name.rpartition(".")[2], {})


def _of_source(context: Context, name: str) -> dict[str, str]:
    spec = context.definitions.get(SourceSpec, name)
    state = None if spec.row_wise else state_of(context, name)
    return dict(spec.columns if state is None else state.columns)


def _of_view(context: Context, view: ViewSpec) -> dict[str, str]:
    entity, types = context.definitions.get(EntitySpec, view.entity), types_of(context, view)
    features = {name: dtype_name(types[name]) if name in types else "" for name in view.features}
    return {**dict.fromkeys(entity.key, ""), **features}


@cache
def _of_system() -> dict[str, dict[str, str]]:
    records = {cls.sql_name: frame_of(cls, ()).schema for cls in TABLES if cls.sql_name is not None}
    named = {name: {column: dtype_name(one) for column, one in schema.items()} for name, schema in records.items()}
    return {**named, **_COMPUTED}
