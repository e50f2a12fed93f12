"""Conditions on runs as data.

A condition is true, false or unknown of a run, as in SQL. It is unknown where the run lacks the field: a search finds such
a run neither by `params.depth != 3` nor by `not params.depth = 3`, only by `params.depth is null`. `and`, `or` and `not` go
by SQL's three-valued logic. A value of another type is known and differs: `params.depth != 3` finds the text "3". NaN is
known as well: it equals no number and is neither less nor greater than any, as in IEEE 754.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

__all__ = [
    "COLUMNS",
    "MAPS",
    "PARTS",
    "And",
    "Compare",
    "Condition",
    "Field",
    "In",
    "IsNan",
    "IsNull",
    "Kind",
    "Like",
    "Not",
    "Operator",
    "Or",
    "Order",
    "Value",
    "fields_of",
    "kind_of",
    "metric_names",
    "misfit",
]

_SHOWN = 100

Value: TypeAlias = bool | int | float | str | datetime
Operator = Literal["=", "!=", "<", "<=", ">", ">="]
Kind = Literal["text", "time", "number", "flag", "any"]

COLUMNS: dict[str, Kind] = {
    "name": "text",
    "id": "text",
    "status": "text",
    "experiment": "text",
    "group": "text",
    "parent": "text",
    "user": "text",
    "notes": "text",
    "error": "text",
    "training_set": "text",
    "git_commit": "text",
    "git_dirty": "flag",
    "origin": "text",
    "started_at": "time",
    "ended_at": "time",
    "duration": "number",
    "deleted": "flag",
    "deleted_at": "time",
    "experiment_id": "number",
}
"""Fields of a run itself. `experiment` is its name, `duration` seconds, `deleted` whether it is in the trash."""

MAPS = ("metrics", "params", "tags", "packages", "machine")
"""What has fields by name."""

PARTS = ("last", "best", "min", "max", "count", "step", "best_step", "nans")
"""What is known of each metric; `step` is that of the last value."""


class Field(msgspec.Struct, frozen=True):
    """What a condition is about.

    Args:
        group: `run` for a field of `COLUMNS`, else one of `MAPS`.
        name: Of the column, metric, parameter or tag.
        part: Of a metric: one of `PARTS`.
        as_text: Compare a parameter as its text, whatever its type: 3 as "3" and true as "True".
    """

    group: str
    name: str
    part: str = "last"
    as_text: bool = False


class Compare(msgspec.Struct, frozen=True):
    """Whether a field is equal to, less or greater than a value."""

    field: Field
    operator: Operator
    value: Value


class In(msgspec.Struct, frozen=True):
    """Whether a field equals one of some values."""

    field: Field
    values: tuple[Value, ...]


class Like(msgspec.Struct, frozen=True):
    r"""Whether a text has a form: `%` stands for any text, `_` for one character, `\%`, `\_` and `\\` for themselves."""

    field: Field
    pattern: str
    ignore_case: bool = False
    """Of ASCII letters."""


class IsNull(msgspec.Struct, frozen=True):
    """Whether the run lacks the field, or has it as null; never unknown."""

    field: Field


class IsNan(msgspec.Struct, frozen=True):
    """Whether a metric is not a number."""

    field: Field


class Not(msgspec.Struct, frozen=True):
    """The opposite; unknown stays unknown."""

    part: Condition


class And(msgspec.Struct, frozen=True):
    """Whether all are true."""

    parts: tuple[Condition, ...]


class Or(msgspec.Struct, frozen=True):
    """Whether one is true."""

    parts: tuple[Condition, ...]


Condition: TypeAlias = Compare | In | Like | IsNull | IsNan | Not | And | Or


class Order(msgspec.Struct, frozen=True):
    """One key of an order; runs without the field, and those where a metric is NaN, come last either way."""

    field: Field
    descending: bool = False


def kind_of(field: Field) -> Kind:
    """Return what values a field has."""
    if field.group == "run":
        return COLUMNS[field.name]
    if field.group == "metrics":
        return "number"
    return "any" if field.group in ("params", "machine") and not field.as_text else "text"


def misfit(field: Field, value: Value) -> str:
    """Return why a value cannot be compared with a field; empty if it can be."""
    kind = kind_of(field)
    if type(value) in _TYPES_OF[kind]:
        return ""
    named = field.name if field.group == "run" else f"{field.group}.{field.name}"
    return f"{named} is {_NAMED[kind]}, and {str(value)[:_SHOWN]} is not"


_NAMED = {"text": "text", "time": "a time", "number": "a number", "flag": "true or false", "any": "a value"}
_TYPES_OF: dict[Kind, tuple[type, ...]] = {
    "text": (str,),
    "time": (datetime,),
    "number": (int, float),
    "flag": (bool,),
    "any": (str, int, float, bool),
}


def fields_of(condition: Condition | None) -> Iterator[Field]:
    """Yield the fields that a condition is about."""
    if condition is None:
        return
    if isinstance(condition, And | Or):
        for part in condition.parts:
            yield from fields_of(part)
    elif isinstance(condition, Not):
        yield from fields_of(condition.part)
    else:
        yield condition.field


def metric_names(condition: Condition | None, order: Sequence[Order]) -> list[str]:
    """Return the names of the metrics that a search rests on, each once."""
    fields = [*fields_of(condition), *(one.field for one in order)]
    return list(dict.fromkeys(field.name for field in fields if field.group == "metrics"))
