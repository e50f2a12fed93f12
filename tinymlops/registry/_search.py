"""The query language of `search_runs`: a hand-written parser; every name and value is bound, none is pasted into SQL."""

from __future__ import annotations

import re
from math import isinf
from typing import NamedTuple

from tinymlops.errors import DataError, near

__all__ = ["compile_search"]

_COLUMNS = ("name", "status", "id", "training_set", "git_commit")
_MAPS = ("metrics", "params", "tags")
_OPERATORS = {"=": "=", "==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_HINT = 'write "metrics.auc > 0.7 and params.depth = 3"; fields are metrics., params., tags., ' + ", ".join(_COLUMNS)
_NAME = r'[A-Za-z_]\w*(?:\.(?:"[^"]*"|[\w./@:-]+))?'
_TOKEN = re.compile(
    rf"""\s*(?:(?P<text>'[^']*'|"[^"]*")
    |(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
    |(?P<operator>==|!=|<=|>=|=|<|>)
    |(?P<word>{_NAME}))""",
    re.VERBOSE,
)
_NUMBER = "typeof(m.last) IN ('integer', 'real')"
_LARGEST_INT = 2**63 - 1
_MOST_DIGITS = 400
_MOST_CONDITIONS = 500
"""SQLite accepts an expression that is nested a thousand levels deep."""
_SHOWN = 200
"""The most characters of a query that an error quotes."""

Bound = int | float | str


class _Token(NamedTuple):
    kind: str
    text: str


class _Sql(NamedTuple):
    text: str
    bound: list[Bound]


def compile_search(where: str | None, order_by: str, limit: int | None) -> tuple[str, list[Bound]]:
    """Write the SELECT of the ids of the matching runs, in order.

    Raises:
        DataError: If a part cannot be read.
    """
    _require_text(where, order_by)
    conditions = _parse(where) if where and where.strip() else []
    field = order_by.removeprefix("-")
    key = _sort_key(field)
    direction = "DESC" if order_by.startswith("-") else "ASC"
    sql = "SELECT id FROM runs"
    if conditions:
        sql += " WHERE " + " AND ".join(f"({condition.text})" for condition in conditions)
    sql += f" ORDER BY {key.text} {direction} NULLS LAST, started_at DESC, id"
    bound = [value for condition in conditions for value in condition.bound] + key.bound
    if limit is not None:
        if not 0 <= limit <= _LARGEST_INT:
            raise DataError(f"limit={limit} is negative or too large", hint="leave it out, or None for all")
        sql += " LIMIT ?"
        bound.append(limit)
    return sql, bound


def _parse(where: str) -> list[_Sql]:
    tokens = _tokens(where)
    conditions = []
    while True:
        if len(tokens) < 3:
            raise _unreadable(where, "it ends too early")
        (field, operator, value), tokens = tokens[:3], tokens[3:]
        if field.kind != "word":
            raise _unreadable(where, f"{field.text} is not a field")
        if operator.kind != "operator":
            raise _unreadable(where, f"{operator.text} is not an operator")
        conditions.append(_condition(where, field.text, _OPERATORS[operator.text], value))
        if len(conditions) > _MOST_CONDITIONS:
            raise _unreadable(where, f"it has more than {_MOST_CONDITIONS} conditions")
        if not tokens:
            return conditions
        if tokens[0].text.lower() != "and":
            raise _unreadable(where, f"{tokens[0].text} is where only `and` may be")
        tokens = tokens[1:]


def _tokens(where: str) -> list[_Token]:
    tokens, place = [], 0
    end = len(where.rstrip())
    while place < end:
        match = _TOKEN.match(where, place)
        if match is None:
            raise _unreadable(where, f"{where[place : place + 12]!r} is not understood")
        assert match.lastgroup is not None, "every alternative is named"
        tokens.append(_Token(match.lastgroup, match.group(match.lastgroup)))
        place = match.end()
    return tokens


def _condition(where: str, field: str, operator: str, token: _Token) -> _Sql:
    value, types = _value(where, token)
    group, name = _field(field)
    if name is None:
        if not isinstance(value, str):
            raise _unreadable(where, f"{field} is text, and {token.text} is not")
        return _Sql(f'"{group}" {operator} ?', [value])
    if group == "metrics":
        sql = f"SELECT {_NUMBER} AND m.last {operator} ? FROM metric_summaries m WHERE m.run = runs.id AND m.name = ?"
        return _Sql(f"({sql})", [value, name])
    path = f'$."{name}"'
    places = ", ".join("?" * len(types))
    # SQLite finds every text greater than every number, so the type is compared too.
    found = f'json_type("{group}", ?) IN ({places}) AND json_extract("{group}", ?)'
    if operator == "<>":
        return _Sql(f'json_type("{group}", ?) IS NOT NULL AND NOT ({found} = ?)', [path, path, *types, path, value])
    return _Sql(f"{found} {operator} ?", [path, *types, path, value])


def _value(where: str, token: _Token) -> tuple[Bound, tuple[str, ...]]:
    """Read a value; return it with the JSON types that it can be compared with."""
    if token.kind == "text":
        return token.text[1:-1], ("text",)
    if token.kind == "number":
        return _number(where, token.text), ("integer", "real")
    if token.text.lower() in ("true", "false"):
        return int(token.text.lower() == "true"), ("true", "false")
    raise _unreadable(where, f"{token.text} is not a value; put text in quotes")


def _number(where: str, text: str) -> int | float:
    # Python refuses to read an integer of thousands of digits.
    number = float(text) if re.search(r"[.eE]", text) else int(text) if len(text) < _MOST_DIGITS else _LARGEST_INT + 1
    if abs(number) > _LARGEST_INT and (isinstance(number, int) or isinf(number)):
        raise _unreadable(where, f"{_short(text)} is too large")
    return number


def _sort_key(field: str) -> _Sql:
    if field == "started_at" or field == "ended_at":
        return _Sql(f'"{field}"', [])
    group, name = _field(field)
    if name is None:
        return _Sql(f'"{group}"', [])
    if group != "metrics":
        return _Sql(f'json_extract("{group}", ?)', [f'$."{name}"'])
    # NaN and the infinities are text; they come last, like a run without the metric.
    return _Sql(f"(SELECT m.last FROM metric_summaries m WHERE m.run = runs.id AND m.name = ? AND {_NUMBER})", [name])


def _field(field: str) -> tuple[str, str | None]:
    group, dot, name = field.partition(".")
    name = name.strip('"')
    if not dot and group in _COLUMNS:
        return group, None
    if dot and group in _MAPS and name and '"' not in name and "\\" not in name:
        return group, name
    raise DataError(f"runs have no field {field!r}", hint=near(group, [*_COLUMNS, *_MAPS], otherwise=_HINT))


def _require_text(where: str | None, order_by: str) -> None:
    for what, text in (("where", where), ("order_by", order_by)):
        if text is None and what == "where":
            continue
        if not isinstance(text, str):
            raise DataError(f"{what}={text!r} is not text", hint=_HINT)
        if "\0" in text:
            raise DataError(
                f"{what}={_short(text)!r} holds a character of code 0, which no name or text has", hint=_HINT
            )


def _unreadable(where: str, why: str) -> DataError:
    return DataError(f"{_short(where)!r} cannot be read: {why}", hint=_HINT)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
