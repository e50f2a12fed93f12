"""From comparisons, as clients of MLflow send them, to one SELECT of the ids of runs."""

from __future__ import annotations

import json
import operator
from typing import TYPE_CHECKING, Any, NamedTuple

from tinymlops.errors import DataError, near

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.registry.comparisons import Comparison, Field, Order

__all__ = ["compile_comparisons"]

_ATTRIBUTES = {
    "run_id": "runs.id",
    "run_name": "runs.name",
    "Run name": "runs.name",
    "run name": "runs.name",
    "user_id": "coalesce(runs.tags ->> '$.\"mlflow.user\"', runs.user)",
    "artifact_uri": "'mlflow-artifacts:/runs/' || runs.id",
    "start_time": "runs.started_at / 1000",
    "created": "runs.started_at / 1000",
    "Created": "runs.started_at / 1000",
    "end_time": "runs.ended_at / 1000",
    "experiment_id": "CAST(runs.experiment AS TEXT)",
    "status": "CASE runs.status WHEN 'running' THEN iif(runs.id IN (SELECT value FROM json_each(?)), 'KILLED', 'RUNNING') "
    "ELSE upper(runs.status) END",
}
_TIMES = ("start_time", "end_time", "created", "Created")
_DATASETS = {"name": "i.name", "digest": "i.digest", "context": "i.context"}
_FIELDS = {"mlflow.runName": "runs.name", "mlflow.note.content": "runs.notes", "mlflow.parentRunId": "runs.parent"}
"""Tags of MLflow that are columns here."""
_COMPARED = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SIZES = ("<", "<=", ">", ">=")
_PARAM = (
    "CASE json_type(runs.params, ?) WHEN 'true' THEN 'True' WHEN 'false' THEN 'False' WHEN 'null' THEN 'None' "
    "WHEN 'text' THEN runs.params ->> ? ELSE runs.params -> ? END"
)
"""A param as MLflow's client would have written it; a number as it is stored."""
_LAST = "CASE m.last WHEN 'Infinity' THEN 9e999 WHEN '-Infinity' THEN -9e999 WHEN 'NaN' THEN NULL ELSE m.last END"
_LONGEST_PATTERN = 1_000


class _Sql(NamedTuple):
    text: str
    bound: list[Any]


def compile_comparisons(
    comparisons: Sequence[Comparison],
    orders: Sequence[Order],
    *,
    experiments: Sequence[int],
    deleted: bool | None,
    lost: Sequence[str],
    start: int,
    limit: int,
) -> tuple[str, list[Any]]:
    """Write the SELECT, and what is bound to it.

    Args:
        comparisons: All must hold.
        orders: What to order by, then the newest first.
        experiments: Ids of theirs.
        deleted: Those in the trash, or those that are not; None for both.
        lost: Ids of runs that go on no more, though they are stored so.
        start: How many to pass over.
        limit: The most to return.

    Raises:
        DataError: If a field does not exist, or is not compared in this way.
    """
    marks = ", ".join("?" * len(experiments))
    parts = [_Sql(f"runs.experiment IN ({marks})", list(experiments))]
    if deleted is not None:
        parts.append(_Sql(f"runs.deleted_at IS {'NOT ' if deleted else ''}NULL", []))
    parts += [_condition(one, json.dumps(list(lost))) for one in comparisons]
    keys = [_key(one, json.dumps(list(lost))) for one in orders]
    sql = f"SELECT runs.id FROM runs WHERE {' AND '.join(one.text for one in parts)} ORDER BY "
    sql += ", ".join([*(one.text for one in keys), "runs.started_at DESC", "runs.id LIMIT ? OFFSET ?"])
    bound = [value for one in (*parts, *keys) for value in one.bound]
    return sql, [*bound, limit, start]


def _condition(comparison: Comparison, lost: str) -> _Sql:
    kind, name = comparison.field
    if kind == "metric":
        return _of_metric(name, comparison)
    if kind == "dataset":
        if name not in _DATASETS:
            raise DataError(f"a dataset has no {name[:100]!r}", hint=near(name, _DATASETS))
        inner = _text(_Sql(_DATASETS[name], []), comparison)
        return _Sql(f"EXISTS (SELECT 1 FROM run_inputs i WHERE i.run = runs.id AND {inner.text})", inner.bound)
    value = _value(comparison.field, lost)
    if kind == "attribute" and name in _TIMES:
        if comparison.operator not in _COMPARED or not isinstance(comparison.value, float):
            raise DataError(f"{name} is compared with a number", hint=f"write {name} > 1700000000000")
        return _Sql(f"{value.text} {comparison.operator} ?", [*value.bound, comparison.value])
    if kind == "param":
        return _of_param(value, comparison)
    return _text(value, comparison)


def _of_metric(name: str, comparison: Comparison) -> _Sql:
    value = comparison.value
    if comparison.operator not in _COMPARED or not isinstance(value, float):
        raise DataError(f"metric {name[:100]!r} is compared with a number", hint=f"write metrics.{name[:100]} > 0.5")
    # SQLite finds every text greater than every number, and what is not finite is stored as text.
    texts = [one for one in ("Infinity", "-Infinity", "NaN") if _COMPARED[comparison.operator](float(one), value)]
    marks = ", ".join("?" * len(texts))
    found = f"typeof(last) <> 'text' AND last {comparison.operator} ?"
    sql = f"SELECT run FROM metric_summaries WHERE name = ? AND ({found} OR last IN ({marks}))"
    return _Sql(f"runs.id IN ({sql})", [name, value, *texts])


def _of_param(value: _Sql, comparison: Comparison) -> _Sql:
    compared = _text(value, comparison)
    try:
        number = float(comparison.value) if isinstance(comparison.value, str) else None
    except ValueError:
        number = None
    if number is None or comparison.operator not in ("=", "!="):
        return compared
    # A number is equal to its text in any spelling, as 1e-5 and 1e-05.
    path = value.bound[0]
    is_number = "json_type(runs.params, ?) IN ('integer', 'real')"
    same = f"(runs.params ->> ?) {comparison.operator} ?"
    return _Sql(f"iif({is_number}, {same}, {compared.text})", [path, path, number, *compared.bound])


def _text(value: _Sql, comparison: Comparison) -> _Sql:
    name, found = comparison.operator, comparison.value
    if name in ("IS NULL", "IS NOT NULL"):
        return _Sql(f"({value.text}) {name}", value.bound)
    if isinstance(found, list):
        return _Sql(f"({value.text}) {name} ({', '.join('?' * len(found))})", [*value.bound, *found])
    if not isinstance(found, str) or name in _SIZES:
        raise DataError(
            f"{comparison.field.name[:100]!r} is a text, which is not compared by {name} with {found!r}",
            hint="use =, !=, LIKE, ILIKE or IN, and quotes",
        )
    if name in ("LIKE", "ILIKE"):
        if len(found) > _LONGEST_PATTERN:
            raise DataError(f"a pattern has at most {_LONGEST_PATTERN} characters", hint="write a shorter one")
        if name == "ILIKE":
            return _Sql(f"({value.text}) LIKE ?", [*value.bound, found])
        return _Sql(f"({value.text}) GLOB ?", [*value.bound, _glob(found)])
    return _Sql(f"({value.text}) {name} ?", [*value.bound, found])


def _key(order: Order, lost: str) -> _Sql:
    if order.field.kind == "metric":
        value = _Sql(
            f"(SELECT {_LAST} FROM metric_summaries m WHERE m.run = runs.id AND m.name = ?)", [order.field.name]
        )
    elif order.field.kind == "dataset":
        raise DataError("runs cannot be ordered by their datasets", hint="order by metrics, params, tags or attributes")
    else:
        value = _value(order.field, lost)
    direction = "DESC" if order.descending else "ASC"
    return _Sql(f"({value.text}) {direction} NULLS LAST", value.bound)


def _value(field: Field, lost: str) -> _Sql:
    kind, name = field
    path = f'$."{name}"'
    if kind == "attribute":
        if name not in _ATTRIBUTES:
            raise DataError(f"a run has no attribute {name[:100]!r}", hint=near(name, _ATTRIBUTES))
        return _Sql(_ATTRIBUTES[name], [lost] if name == "status" else [])
    if '"' in name or "\\" in name:
        raise DataError(f"nothing is named {name[:100]!r}", hint="names have no quotes and backslashes")
    if kind == "param":
        return _Sql(_PARAM, [path, path, path])
    if name in _FIELDS:
        return _Sql(_FIELDS[name], [])
    return _Sql("runs.tags ->> ?", [path])


def _glob(pattern: str) -> str:
    """Return what GLOB, which minds the case, takes for a pattern of LIKE."""
    parts = {"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}
    return "".join(parts.get(one, one) for one in pattern)
