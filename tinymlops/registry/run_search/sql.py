"""Write conditions on runs as SQL: every name and value is bound, none is pasted into the text."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from tinymlops.errors import DataError
from tinymlops.registry.run_search.conditions import (
    COLUMNS,
    MAPS,
    PARTS,
    And,
    Compare,
    Condition,
    Field,
    In,
    IsNan,
    Like,
    Not,
    Or,
    Order,
    Value,
    fields_of,
    kind_of,
    metric_names,
    misfit,
)
from tinymlops.stores.json_text import to_json
from tinymlops.stores.rows import quoted
from tinymlops.times import to_micros

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["Bound", "compile_search"]

Bound = int | float | str
_LARGEST_INT = 2**63 - 1
_SQL_OF = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_EXPERIMENT = (  # the one of runs that name none has a row only once it is changed
    "coalesce((SELECT name FROM experiments WHERE experiments.id = experiment),"
    " CASE experiment WHEN 0 THEN 'Default' END)"
)
_COLUMN_SQL = {
    "experiment": _EXPERIMENT,
    "experiment_id": "experiment",
    "duration": "(ended_at - started_at) / 1e6",
    "deleted": "deleted_at IS NOT NULL",
}
_TYPES: dict[type, tuple[str, ...]] = {
    bool: ("true", "false"),
    int: ("integer", "real"),
    float: ("integer", "real"),
    str: ("text",),
}
"""The types of JSON that a value is compared with: SQLite finds every text greater than every number."""
_NUMBER = "CASE {0} WHEN 'Infinity' THEN 9e999 WHEN '-Infinity' THEN -9e999 ELSE {0} END"
"""A number is stored as text where SQLite has none for it."""
_BOUND_ONE_BY_ONE = 20
_MOST_JOINED = 8
_GLOB_OF = {"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}


class _Query(NamedTuple):
    lost: list[str]
    joined: dict[str, str]
    """Metric to the name of the table that has it beside each run; the others are looked up where they are named."""


class _Sql(NamedTuple):
    text: str
    bound: list[Bound]


def compile_search(
    condition: Condition | None,
    order: Sequence[Order] = (),
    limit: int | None = None,
    offset: int = 0,
    *,
    lost: Collection[str] = (),
) -> tuple[str, list[Bound]]:
    """Write the SELECT of the ids of the matching runs, in order.

    Runs in the trash are found only by a condition on `deleted` or `deleted_at`.

    Args:
        condition: None for every run.
        order: The most important key first; equal runs go by their start, the newest first, then by id.
        limit: The most runs to return; None for all.
        offset: How many to leave out before them.
        lost: Ids of runs that are stored as running and are lost; needed where `status` is a field.

    Raises:
        DataError: If a value does not fit its field, or a number is out of range.
    """
    fields = [*fields_of(condition), *(one.field for one in order)]
    for field in fields:
        _require_known(field)
    names = metric_names(condition, order)[:_MOST_JOINED]
    query = _Query(sorted(lost), {name: f"m{place}" for place, name in enumerate(names)})
    parts = [] if any(field in _TRASH for field in fields_of(condition)) else [_Sql("deleted_at IS NULL", [])]
    if condition is not None:
        parts.append(_condition(condition, query))
    keys = [_key(one, query) for one in order]
    where = f" WHERE {' AND '.join(part.text for part in parts)}" if parts else ""
    joins = "".join(
        f" LEFT JOIN metric_summaries {alias} ON {alias}.name = ? AND {alias}.run = runs.id"
        for alias in query.joined.values()
    )
    bound = [*names, *(value for part in (*parts, *keys) for value in part.bound)]
    ordered = ", ".join([*(key.text for key in keys), "started_at DESC", "id"])
    sql = f"SELECT id FROM runs{joins}{where} ORDER BY {ordered} LIMIT ? OFFSET ?"
    return sql, [*bound, *_slice(limit, offset)]


def _slice(limit: int | None, offset: int) -> tuple[int, int]:
    for name, value in (("limit", limit), ("offset", offset)):
        if value is not None and not 0 <= value <= _LARGEST_INT:
            raise DataError(f"{name}={value} is negative or too large", hint="leave it out, or None for all")
    return (-1 if limit is None else limit), offset


_TRASH = (Field("run", "deleted"), Field("run", "deleted_at"))


def _require_known(field: Field) -> None:
    known = field.name in COLUMNS if field.group == "run" else field.group in MAPS
    if not known or (field.group == "metrics" and field.part not in PARTS):
        raise DataError(f"runs have no field {field.group}.{field.name}", hint=f"fields are {', '.join(COLUMNS)}")
    if field.group != "run" and (not field.name or '"' in field.name or "\\" in field.name or "\0" in field.name):
        raise DataError(f"runs have no field {field.name!r}", hint="a name has no quotes and no backslashes")


def _condition(condition: Condition, query: _Query) -> _Sql:
    if isinstance(condition, And | Or):
        parts = [_condition(part, query) for part in condition.parts]
        return _joined(parts, " AND " if isinstance(condition, And) else " OR ")
    if isinstance(condition, Not):
        part = _condition(condition.part, query)
        return _Sql(f"(NOT {part.text})", part.bound)
    if isinstance(condition, Compare):
        return _compared(condition, query)
    if isinstance(condition, In):
        return _listed(condition, query)
    if isinstance(condition, Like):
        return _alike(condition, query)
    if isinstance(condition, IsNan):
        if condition.field.group != "metrics":
            raise DataError("only metrics can be compared with nan", hint="write metrics.loss is nan")
        return _of_metric(condition.field, "{0} = 'NaN'", [], query)
    return _missing(condition.field, query)


def _joined(parts: list[_Sql], word: str) -> _Sql:
    """Join conditions in halves: SQLite's expressions may be a thousand levels deep, and a chain is a level a part."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return _Sql("1" if word == " AND " else "0", [])
    left, right = _joined(parts[: len(parts) // 2], word), _joined(parts[len(parts) // 2 :], word)
    return _Sql(f"({left.text}{word}{right.text})", left.bound + right.bound)


def _compared(condition: Compare, query: _Query) -> _Sql:
    field, value = condition.field, _bindable(condition.field, condition.value)
    test = f"{_SQL_OF[condition.operator]} ?"
    if field.group == "metrics":
        return _of_metric(field, _unless_nan(test, is_met=condition.operator == "!="), [value], query)
    if _is_typed(field):
        return _of_type(field, [(_TYPES[type(condition.value)], test, [value])], is_met=condition.operator == "!=")
    column = _column(field, query)
    return _Sql(f"({column.text} {test})", [*column.bound, value])


def _listed(condition: In, query: _Query) -> _Sql:
    field = condition.field
    if not condition.values:
        raise DataError("`in` is followed by no value", hint="write tags.team in ('ops', 'web')")
    if _is_typed(field):
        by_type: dict[tuple[str, ...], list[Value]] = {}
        for value in condition.values:
            by_type.setdefault(_TYPES[type(value)], []).append(value)
        tests = [(types, *_members([_bindable(field, one) for one in listed])) for types, listed in by_type.items()]
        return _of_type(field, tests, is_met=False)
    test, bound = _members([_bindable(field, value) for value in condition.values])
    if field.group == "metrics":
        return _of_metric(field, _unless_nan(test, is_met=False), bound, query)
    column = _column(field, query)
    return _Sql(f"({column.text} {test})", [*column.bound, *bound])


def _members(values: list[Bound]) -> tuple[str, list[Bound]]:
    """Write a list: many values as one parameter, because SQLite binds at most 32,766."""
    infinite = [value for value in values if isinstance(value, float) and math.isinf(value)]
    if len(values) <= _BOUND_ONE_BY_ONE or infinite:  # JSON has no infinity
        values = [*dict.fromkeys(values)]
        return f"IN ({', '.join('?' * len(values))})", values
    return "IN (SELECT value FROM json_each(?))", [to_json(values)]


def _alike(condition: Like, query: _Query) -> _Sql:
    if kind_of(condition.field) not in ("text", "any"):
        raise DataError(f"{condition.field.name} is not text", hint="`like` compares text: name like 'base%'")
    if condition.ignore_case:
        test, pattern = "LIKE ? ESCAPE '\\'", condition.pattern
        if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
            pattern += "\\"  # a lone one at the end stands for itself
    else:
        test, pattern = "GLOB ?", _glob(condition.pattern)
    if _is_typed(condition.field):
        return _of_type(condition.field, [(_TYPES[str], test, [pattern])], is_met=False)
    column = _column(condition.field, query)
    return _Sql(f"({column.text} {test})", [*column.bound, pattern])


def _glob(pattern: str) -> str:
    parts, characters = [], iter(pattern)
    for character in characters:
        if character == "\\":
            literal = next(characters, "\\")
            parts.append(literal if literal in "%_" else _GLOB_OF.get(literal, literal))
        else:
            parts.append(_GLOB_OF.get(character, character))
    return "".join(parts)


def _missing(field: Field, query: _Query) -> _Sql:
    if field.group == "metrics":
        found = _of_metric(field, "{0}", [], query)
        return _Sql(f"({found.text} IS NULL)", found.bound)
    if field.group != "run":
        return _Sql(f"(coalesce(json_type({field.group}, ?), 'null') = 'null')", [_path(field)])
    column = _column(field, query)
    return _Sql(f"(({column.text}) IS NULL)", column.bound)


def _of_metric(field: Field, test: str, bound: list[Bound], query: _Query) -> _Sql:
    """Write a test of a metric's row, in which {0} stands for the column; null if there is no row."""
    joined = query.joined.get(field.name)
    if joined is not None:
        return _Sql(f"({test.format(f'{joined}.{quoted(field.part)}')})", bound)
    tested = test.format(f"metric_summaries.{quoted(field.part)}")
    found = (
        f"(SELECT {tested} FROM metric_summaries WHERE metric_summaries.name = ? AND metric_summaries.run = runs.id)"
    )
    return _Sql(found, [*bound, field.name])


def _unless_nan(test: str, *, is_met: bool) -> str:
    return f"CASE {{0}} WHEN 'NaN' THEN {int(is_met)} ELSE {_NUMBER} {test} END"


def _of_type(field: Field, tests: Sequence[tuple[tuple[str, ...], str, list[Bound]]], *, is_met: bool) -> _Sql:
    """Write tests of a value inside JSON, each for the types that it fits; null where it is missing or null."""
    path = _path(field)
    cases, bound = "", list[Bound]([path])
    for types, test, values in tests:
        for name in types:
            cases += f" WHEN '{name}' THEN json_extract({field.group}, ?) {test}"
            bound += [path, *values]
    of_type = f"CASE coalesce(json_type({field.group}, ?), 'null') WHEN 'null' THEN NULL"
    return _Sql(f"({of_type}{cases} ELSE {int(is_met)} END)", bound)


def _is_typed(field: Field) -> bool:
    return field.group not in ("run", "metrics") and not field.as_text


def _column(field: Field, query: _Query) -> _Sql:
    if field.group != "run":
        path: Bound = _path(field)
        return _Sql(
            f"CASE json_type({field.group}, ?) WHEN 'true' THEN 'True' WHEN 'false' THEN 'False' WHEN 'null' THEN 'None'"
            f" ELSE CAST(json_extract({field.group}, ?) AS TEXT) END",
            [path, path],
        )
    if field.name == "status" and query.lost:
        return _Sql(
            "CASE WHEN status = 'running' AND id IN (SELECT value FROM json_each(?)) THEN 'lost' ELSE status END",
            [to_json(query.lost)],
        )
    return _Sql(f"({_COLUMN_SQL.get(field.name, f'runs.{quoted(field.name)}')})", [])


def _key(order: Order, query: _Query) -> _Sql:
    field = order.field
    if field.group == "metrics":
        key = _of_metric(field, f"CASE {{0}} WHEN 'NaN' THEN NULL ELSE {_NUMBER} END", [], query)
    elif _is_typed(field):
        key = _Sql(f"json_extract({field.group}, ?)", [_path(field)])
    else:
        key = _column(field, query)
    return _Sql(f"{key.text} {'DESC' if order.descending else 'ASC'} NULLS LAST", key.bound)


def _path(field: Field) -> str:
    return f'$."{field.name}"'


def _bindable(field: Field, value: Value) -> Bound:
    why = misfit(field, value)
    if why:
        raise DataError(why)
    if isinstance(value, datetime):
        return to_micros(value)
    if isinstance(value, int) and abs(value) > _LARGEST_INT:
        raise DataError(f"{str(value)[:20]}... is too large")
    if isinstance(value, float) and math.isnan(value):
        raise DataError("nothing equals nan", hint="write `is nan`")
    return int(value) if isinstance(value, bool) else value
