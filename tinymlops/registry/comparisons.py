"""Comparisons of a field with a value, as MLflow's clients send them, and what they find among plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tinymlops.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Comparison", "Field", "Order", "compare", "select_by"]

Value = float | str | list[str] | None


class Field(NamedTuple):
    """What is compared."""

    kind: str
    """`metric`, `param`, `tag`, `attribute` or `dataset`."""
    name: str


class Comparison(NamedTuple):
    """A field, an operator and a value."""

    field: Field
    operator: str
    """`=`, `!=`, `<`, `<=`, `>`, `>=`, `LIKE`, `ILIKE`, `IN`, `NOT IN`, `IS NULL` or `IS NOT NULL`."""
    value: Value


class Order(NamedTuple):
    """A field to order by."""

    field: Field
    descending: bool = False


def compare(found: float | str | None, comparison: Comparison) -> bool:
    """Return whether a value is what a comparison asks for; one that is missing is nothing but NULL.

    Raises:
        DataError: If a number is compared with a text.

    Example:
        >>> compare("Churn", Comparison(Field("attribute", "name"), "ILIKE", "ch%"))
        True
    """
    operator, value = comparison.operator, comparison.value
    if operator in ("IS NULL", "IS NOT NULL"):
        return (found is None) == (operator == "IS NULL")
    if found is None:
        return False
    if isinstance(found, str) != isinstance(value, str | list):
        kind = "a text" if isinstance(found, str) else "a number"
        raise DataError(f"{comparison.field.name[:100]!r} is {kind}, unlike {value!r}", hint="quote texts alone")
    if isinstance(value, list):
        return (found in value) == (operator == "IN")
    if operator in ("LIKE", "ILIKE"):
        text, pattern = str(found), str(value)
        return _is_like(text.casefold(), pattern.casefold()) if operator == "ILIKE" else _is_like(text, pattern)
    return _OPERATORS[operator](found, value)


def select_by(
    rows: Sequence[Mapping[Field, float | str | None]],
    comparisons: Sequence[Comparison],
    orders: Sequence[Order],
    attributes: Sequence[str],
) -> list[int]:
    """Return the places of the rows that all comparisons find, in order; rows without a field come last.

    Args:
        rows: Each field and its value; tags, params and metrics that a row lacks may be missing.
        comparisons: What to find.
        orders: What to order by.
        attributes: The attributes that rows have.

    Raises:
        DataError: If there is no such attribute.
    """
    for field in [one.field for one in comparisons] + [one.field for one in orders]:
        if field.kind == "attribute" and field.name not in attributes:
            raise DataError(f"there is no attribute {field.name[:100]!r}", hint=f"use one of {', '.join(attributes)}")
    places = [i for i, row in enumerate(rows) if all(compare(row.get(one.field), one) for one in comparisons)]
    for order in reversed(orders):
        there = [i for i in places if rows[i].get(order.field) is not None]
        missing = [i for i in places if rows[i].get(order.field) is None]
        there.sort(key=lambda i: rows[i][order.field], reverse=order.descending)  # type: ignore[arg-type, return-value]
        places = there + missing
    return places


def _is_like(text: str, pattern: str) -> bool:
    """Match a pattern in which % stands for any text and _ for one character; in time that grows with both lengths alone."""
    place = at = 0
    last, begun = -1, 0
    while place < len(text):
        if at < len(pattern) and pattern[at] == "%":
            last, begun, at = at, place, at + 1
        elif at < len(pattern) and pattern[at] in ("_", text[place]):
            place, at = place + 1, at + 1
        elif last >= 0:
            begun += 1
            place, at = begun, last + 1
        else:
            return False
    return not pattern[at:].strip("%")


_OPERATORS: dict[str, Callable[[float | str, Value], bool]] = {
    "=": lambda found, value: found == value,
    "!=": lambda found, value: found != value,
    "<": lambda found, value: found < value,  # type: ignore[operator]
    "<=": lambda found, value: found <= value,  # type: ignore[operator]
    ">": lambda found, value: found > value,  # type: ignore[operator]
    ">=": lambda found, value: found >= value,  # type: ignore[operator]
}
