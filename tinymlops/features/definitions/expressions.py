"""The expressions of a feature view, as data: written once and evaluated offline and online.

`rows["arr_delay"]` is an operand, computed row by row; `.mean(window="7d")` makes an aggregate of it, and operators
between aggregates make a feature that is computed from theirs. All are msgspec Structs, so a definition is stored as
JSON and needs no code to be served.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

import msgspec

from tinymlops.errors import DefinitionError
from tinymlops.features.definitions.operators import (
    BinaryOperator,
    Operators,
    RowFunction,
    Scalar,
    UnaryOperator,
    scalar_of,
)
from tinymlops.features.definitions.reductions import Function, Reductions
from tinymlops.times import format_duration, parse_duration

__all__ = [
    "Aggregate",
    "AnyOperand",
    "Binary",
    "Call",
    "Column",
    "Constant",
    "Features",
    "Function",
    "Label",
    "Operand",
    "Rows",
    "Unary",
    "aggregates_in",
    "aggregates_of",
    "can_fail",
    "col",
    "columns_of",
    "feature_of",
    "with_window",
]


_GROWING = ("+", "-", "*", "//", "%", "**", "&", "|", "fill_null")


class Operand(
    Operators["Operand"], Reductions["Operand", "Aggregate"], msgspec.Struct, frozen=True, eq=False, tag_field="op"
):
    """A value computed from one row, with the operators and names that Polars gives its expressions.

    Example:
        >>> rows = Rows()
        >>> rate = rows["errors"].fill_null(0) / rows["requests"]
        >>> sorted(columns_of(rate))
        ['errors', 'requests']
    """

    def _combine(self, operator: BinaryOperator, left: object, right: object) -> Operand:
        return Binary(operator, _operand(left), _operand(right))

    def _apply(self, operator: UnaryOperator) -> Operand:
        return Unary(operator, _operand(self))

    def _call(self, function: RowFunction, arguments: tuple[Scalar, ...] = ()) -> Operand:
        return Call(function, _operand(self), arguments)

    def _reduce(
        self,
        function: Function,
        window: str | timedelta | None,
        where: Operand | None,
        *,
        skip_nulls: bool = False,
        q: float | None = None,
    ) -> Aggregate:
        return _aggregate(function, self, window, where, skip_nulls=skip_nulls, q=q)

    def __repr__(self) -> str:
        return f"<{_in_words(self, lambda name: f'rows[{name!r}]')}>"


class Column(Operand, frozen=True, eq=False, tag="column"):
    """A column of the source."""

    name: str


class Constant(Operand, frozen=True, eq=False, tag="constant"):
    """A fixed value."""

    value: Scalar


class Unary(Operand, frozen=True, eq=False, tag="unary"):
    """An operation on one operand."""

    operator: UnaryOperator
    operand: AnyOperand


class Binary(Operand, frozen=True, eq=False, tag="binary"):
    """An operation on two operands."""

    operator: BinaryOperator
    left: AnyOperand
    right: AnyOperand


class Call(Operand, frozen=True, eq=False, tag="call"):
    """A function of one operand and constants."""

    function: RowFunction
    operand: AnyOperand
    arguments: tuple[Scalar, ...] = ()


AnyOperand: TypeAlias = Column | Constant | Unary | Binary | Call


def col(name: str) -> Operand:
    """Return a column of a source's rows, for a condition on them outside of a definition.

    Args:
        name: The column.

    Raises:
        DefinitionError: If it is not the name of a column.

    Example:
        >>> col("country").is_in(["AT", "CH"]) & (col("age") > 30)
        <rows['country'].is_in(['AT', 'CH']) & (rows['age'] > 30)>
    """
    return Rows("tm.col")[name]


class Aggregate(Operators["Aggregate"], msgspec.Struct, frozen=True, eq=False):
    """One feature: an operand reduced over the rows of a key that are visible at `t`, or computed from such features.

    Example:
        >>> orders = Rows()
        >>> orders["refund"].sum(window="30d") / orders["amount"].sum(window="30d")
        <sum of refund over 30d / sum of amount over 30d>
        >>> orders.count(window="30d") == 0
        <count of rows over 30d == 0>
    """

    function: Function | Literal["combined"]
    operand: AnyOperand | None = None
    """Null for a count of rows; for combined features, an expression whose columns "0", "1", ... are the parts."""
    window: int | None = None
    """Microseconds; null for `first` and `last` over all visible rows."""
    where: AnyOperand | None = None
    skip_nulls: bool = False
    q: float | msgspec.UnsetType = msgspec.UNSET
    """The quantile, for quantiles only; left out of any other aggregate's JSON."""
    parts: tuple[Aggregate, ...] | msgspec.UnsetType = msgspec.UNSET
    """The combined features, none of which is combined itself; left out of any other aggregate's JSON."""
    embedding: str | msgspec.UnsetType = msgspec.UNSET
    """The embedding that makes a vector of the value; left out of any other aggregate's JSON."""

    def embedded(self, embedding: object) -> Aggregate:
        """Take the vector that an embedding makes of the value: a text, or a vector of the user's own.

        Args:
            embedding: What `project.embedding` returned, or its name: of the same source and column.

        Returns:
            The feature, Array(Float32, dimension); null where there is no value, or the value has no vector.

        Raises:
            DefinitionError: If this is not the `first` or `last` of a column.

        Example:
            >>> Rows()["bio"].last().embedded("bios")
            <last of bio embedded by bios>
        """
        if self.function not in ("first", "last") or not isinstance(self.operand, Column):
            raise DefinitionError(
                f"{self!r} cannot be embedded: a vector is made of one value of a column",
                hint='write rows["text"].last().embedded(...)',
            )
        name = embedding if isinstance(embedding, str) else getattr(getattr(embedding, "spec", None), "name", None)
        if not isinstance(name, str) or not name:
            raise DefinitionError(f"{embedding!r} is not an embedding", hint="make it with project.embedding")
        return msgspec.structs.replace(self, embedding=name)

    def _combine(self, operator: BinaryOperator, left: object, right: object) -> Aggregate:
        parts: dict[bytes, Aggregate] = {}
        return _combined(Binary(operator, _over(parts, left), _over(parts, right)), parts)

    def _apply(self, operator: UnaryOperator) -> Aggregate:
        parts: dict[bytes, Aggregate] = {}
        return _combined(Unary(operator, _over(parts, self)), parts)

    def _call(self, function: RowFunction, arguments: tuple[Scalar, ...] = ()) -> Aggregate:
        parts: dict[bytes, Aggregate] = {}
        return _combined(Call(function, _over(parts, self), arguments), parts)

    def __repr__(self) -> str:
        return f"<{_described(self)}>"


class Rows:
    """The rows of a source, inside a definition: `rows["column"]` is an operand, `rows.count()` counts them.

    Args:
        name: The name of the source, for errors.

    Example:
        >>> late = Rows()["arr_delay"] > 15
        >>> late.mean(window="7d")
        <mean of arr_delay > 15 over 7d>
    """

    def __init__(self, name: str = "rows") -> None:
        self._name = name

    def __getitem__(self, column: str) -> Operand:
        """Return one column as an operand.

        Raises:
            DefinitionError: If it is not a text, or begins with two underscores.
        """
        if not isinstance(column, str) or not column or column.startswith("__"):
            raise DefinitionError(
                f"{column!r} is not the name of a column of rows",
                hint=f'write {self._name}["amount"]; names that begin with __ are ours',
            )
        return Column(column)

    if not TYPE_CHECKING:  # for a type checker these names do not exist

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(name)
            raise _NoAttributeError(
                f"rows have no attribute {name!r}", hint=f'a column is written {self._name}["{name}"]'
            )

    def __iter__(self) -> NoReturn:
        raise DefinitionError(
            "the rows of a definition cannot be iterated: there are none until it is computed",
            hint='name the columns, for example [rows[name].last() for name in ("temp", "wind")]',
        )

    def count(self, *, window: str | timedelta | None = None, where: Operand | None = None) -> Aggregate:
        """Count the rows of the window, nulls included; arguments, result and errors are those of `Operand.count`."""
        return _aggregate("count", None, window, where)

    def time_since_last(self, *, window: str | timedelta, where: Operand | None = None) -> Aggregate:
        """Measure the time since the window's newest row; arguments, result and errors are those of an operand's."""
        return _aggregate("time_since_last", None, window, where)


Features: TypeAlias = Mapping[str, Aggregate]
"""What a feature view returns: feature name to aggregate."""

Label: TypeAlias = Aggregate
"""What a label returns: one aggregate over the look-ahead window, or an expression over such."""


class _NoAttributeError(DefinitionError, AttributeError):
    """An attribute that rows do not have; `hasattr` takes it as any missing one."""


def columns_of(expression: Aggregate | Operand) -> set[str]:
    """Return the names of the source's columns that an expression reads.

    Example:
        >>> rows = Rows()
        >>> sorted(columns_of(rows["amount"].last(where=rows["paid"])))
        ['amount', 'paid']
    """
    parts = aggregates_of(expression) if isinstance(expression, Aggregate) else None
    todo: list[Any] = [expression] if parts is None else [one for part in parts for one in (part.operand, part.where)]
    found = set()
    while todo:  # the names alone, for thousands of expressions
        node = todo.pop()
        if isinstance(node, Column):
            found.add(node.name)
        elif isinstance(node, Binary):
            todo += (node.left, node.right)
        elif isinstance(node, Unary | Call):
            todo.append(node.operand)
    return found


def can_fail(operand: Operand) -> bool:
    """Return whether an operand may give an integer that does not fit its type, as far as its operators tell."""
    return any(
        (isinstance(node, Binary) and node.operator in _GROWING)
        or (isinstance(node, Unary) and node.operator in ("neg", "abs"))
        for node in _walk(operand)
    )


def aggregates_of(feature: Aggregate) -> tuple[Aggregate, ...]:
    """Return the aggregates of a feature that are read from rows: those that it combines, or itself.

    Example:
        >>> rows = Rows()
        >>> aggregates_of(rows["amount"].last() > rows["limit"].last())
        (<last of amount>, <last of limit>)
    """
    return (feature,) if feature.parts is msgspec.UNSET else feature.parts


def aggregates_in(features: Mapping[str, Aggregate]) -> dict[str, Aggregate]:
    """Return all aggregates that features read from rows, by name; the parts of a combined one are `name:0`, `name:1`, ..."""
    found = {}
    for name, feature in features.items():
        if feature.parts is msgspec.UNSET:
            found[name] = feature
        else:
            found.update({f"{name}:{place}": part for place, part in enumerate(feature.parts)})
    return found


def feature_of(name: str) -> str:
    """Return the name of the feature that an aggregate of `aggregates_in` belongs to."""
    return name.partition(":")[0]


def with_window(feature: Aggregate, window: int) -> Aggregate:
    """Return a feature over this window, in microseconds; for a combined one, with each part over it."""
    if feature.parts is msgspec.UNSET:
        return msgspec.structs.replace(feature, window=window)
    return msgspec.structs.replace(feature, parts=tuple(with_window(part, window) for part in feature.parts))


def _combined(operand: AnyOperand, parts: Mapping[bytes, Aggregate]) -> Aggregate:
    return Aggregate("combined", operand, parts=tuple(parts.values()))


def _over(parts: dict[bytes, Aggregate], value: object) -> AnyOperand:
    """Return a value as an operand over parts; the parts that it reads are added to them."""
    if isinstance(value, Operand):
        raise DefinitionError(
            f"{value!r} is a value of each row and cannot be combined with an aggregate",
            hint='aggregate it: .last(), .mean(window="7d"), ...',
        )
    if not isinstance(value, Aggregate):
        return Constant(scalar_of(value))
    if value.embedding is not msgspec.UNSET:
        raise DefinitionError(
            f"{value!r} is a vector and cannot be combined with other features",
            hint="give it a name of its own, and compute with it in an on-demand view",
        )
    places = {}
    for place, part in enumerate(aggregates_of(value)):
        name = msgspec.json.encode(part)
        parts.setdefault(name, part)
        places[str(place)] = str(list(parts).index(name))
    if value.parts is msgspec.UNSET:
        return Column(places["0"])
    assert value.operand is not None, "what is combined has an expression"
    return _renamed(value.operand, places)


def _renamed(operand: AnyOperand, names: Mapping[str, str]) -> AnyOperand:
    if isinstance(operand, Column):
        return Column(names[operand.name])
    if isinstance(operand, Constant):
        return operand
    if isinstance(operand, Binary):
        return Binary(operand.operator, _renamed(operand.left, names), _renamed(operand.right, names))
    return msgspec.structs.replace(operand, operand=_renamed(operand.operand, names))


def _operand(value: object) -> AnyOperand:
    if isinstance(value, Column | Constant | Unary | Binary | Call):
        return value
    if isinstance(value, Aggregate):
        raise DefinitionError(
            f"{value!r} is an aggregate and cannot be part of an expression over rows",
            hint="aggregate both sides, for example rows['amount'].last() > rows['amount'].mean(window=\"30d\")",
        )
    return Constant(scalar_of(value))


def _aggregate(
    function: Function,
    operand: Operand | None,
    window: str | timedelta | None,
    where: Operand | None,
    *,
    skip_nulls: bool = False,
    q: float | None = None,
) -> Aggregate:
    return Aggregate(
        function,
        None if operand is None else _operand(operand),
        None if window is None else parse_duration(window, name="window"),
        None if where is None else _operand(where),
        skip_nulls,
        msgspec.UNSET if q is None else q,
    )


def _walk(expression: Aggregate | Operand) -> Iterator[Any]:
    yield expression
    for name in expression.__struct_fields__:
        child = getattr(expression, name)
        if isinstance(child, msgspec.Struct):
            yield from _walk(child)  # type: ignore[arg-type]  # only operands nest in operands


def _described(feature: Aggregate) -> str:
    if feature.parts is not msgspec.UNSET:
        assert feature.operand is not None, "what is combined has an expression"
        described = [_described(part) for part in feature.parts]
        return _in_words(feature.operand, lambda name: described[int(name)])
    quantile = "" if feature.q is msgspec.UNSET else f" {feature.q:g}"
    what = "rows" if feature.operand is None else _in_words(feature.operand, str)
    where = "" if feature.where is None else f" where {_in_words(feature.where, str)}"
    window = f" over {format_duration(feature.window)}" if feature.window else ""
    by = "" if feature.embedding is msgspec.UNSET else f" embedded by {feature.embedding}"
    return f"{feature.function}{quantile} of {what}{where}{window}{by}"


def _in_words(operand: Operand, name_of: Any) -> str:
    """Write an operand as it is written in a definition."""
    if isinstance(operand, Column):
        named: str = name_of(operand.name)
        return named
    if isinstance(operand, Constant):
        return repr(operand.value)
    if isinstance(operand, Binary):
        sides = [_inner(side, name_of) for side in (operand.left, operand.right)]
        if operand.operator == "fill_null":
            return f"{sides[0]}.fill_null({sides[1]})"
        return f" {operand.operator} ".join(sides)
    if isinstance(operand, Unary):
        sign = {"not": "~", "neg": "-"}.get(operand.operator)
        inner = _inner(operand.operand, name_of)
        return f"{sign}{inner}" if sign else f"{inner}.{operand.operator}()"
    assert isinstance(operand, Call)
    given: Iterable[Scalar] = [list(operand.arguments)] if operand.function == "is_in" else operand.arguments  # type: ignore[list-item]
    return f"{_inner(operand.operand, name_of)}.{operand.function}({', '.join(map(repr, given))})"


def _inner(operand: Operand, name_of: Any) -> str:
    text = _in_words(operand, name_of)
    return f"({text})" if isinstance(operand, Binary) and operand.operator != "fill_null" else text
