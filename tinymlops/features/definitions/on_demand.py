"""On-demand views: call the user's function for its expressions, and check that each row depends only on itself.

An answer for one request must be the row that a training set has, so an expression may see no row but its own, and
no time but `timestamp`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinymlops.errors import DefinitionError, NotFoundError
from tinymlops.features.definitions.graph import parameter_of
from tinymlops.features.definitions.nouns import Inputs, check_name
from tinymlops.features.definitions.row_by_row import is_row_wise
from tinymlops.frames import twice

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.features.definitions.specs import FeatureRequest, OnDemandSpec

__all__ = [
    "FEATURE",
    "TIMESTAMP",
    "check_expressions",
    "check_row_by_row",
    "computed",
    "expressions_of",
    "inputs_of",
    "read_as",
]

Function = Callable[..., Any]

FEATURE = "__feature_"
"""Prefix of a feature's column in the frame that the expressions are computed on."""
TIMESTAMP = "__timestamp"

_CLOCK = {"now", "utcnow", "today"}
_NUMBERS = [3, 1, None, 1, 7, -2]
_WORDS = ["b", "a", None, "a", "c", ""]


def inputs_of(
    spec: OnDemandSpec, requests: Sequence[FeatureRequest], definitions: Definitions, *, prefix: str = ""
) -> dict[str, Inputs]:
    """Find the views that the parameters name, each with its role's prefix, among the requested ones.

    Args:
        spec: The on-demand view.
        requests: The views requested with it.
        definitions: The definitions that hold the views.
        prefix: Of another version of the on-demand view: it reads views with that prefix first, such as `v1_spending`.

    Returns:
        Parameter to the requested features.

    Raises:
        NotFoundError: If a parameter is not a view of the list.
    """
    import polars as pl

    inputs = {}
    for parameter in spec.views:
        columns = {
            feature: pl.col(f"{FEATURE}{request.prefix}{feature}")
            for request in read_as(parameter, requests, prefix=prefix)
            for feature in definitions.features_of(request)
        }
        if not columns:
            raise NotFoundError(
                f"on-demand view {spec.name!r} reads {parameter!r}, which is not a feature view of this list",
                hint="list that view too, or name the parameter as the view, after its role's prefix",
            )
        inputs[parameter] = Inputs(parameter, columns)
    return inputs


def read_as(parameter: str, requests: Sequence[FeatureRequest], *, prefix: str = "") -> list[FeatureRequest]:
    """Return those of the requests that a parameter of an on-demand view reads.

    Args:
        parameter: A view's name, after its role's prefix.
        requests: What is asked for together.
        prefix: Of another version of the on-demand view; see `inputs_of`.
    """
    first = [request for request in requests if parameter_of(request) == prefix + parameter]
    return first or [request for request in requests if parameter_of(request) == parameter]


def expressions_of(spec: OnDemandSpec, function: Function, inputs: Mapping[str, Inputs]) -> dict[str, pl.Expr]:
    """Call an on-demand view's function.

    Args:
        spec: The on-demand view.
        function: Its Python function.
        inputs: Parameter to the features it gives.

    Returns:
        Feature name to an expression over request fields, `__feature_<name>` and `__timestamp`.

    Raises:
        DefinitionError: If it returns anything but names and expressions.
        NotFoundError: If it reads a feature that was not requested, with the near match.
    """
    import polars as pl

    arguments: dict[str, object] = {**inputs, **{name: pl.col(name) for name in spec.request}}
    if spec.uses_timestamp:
        arguments["timestamp"] = pl.col(TIMESTAMP)
    found = function(**arguments)
    if not isinstance(found, Mapping) or not found:
        raise DefinitionError(
            f"on-demand view {spec.name!r} returned no features", hint='return {"name": an expression of a parameter}'
        )
    for name, expression in found.items():
        check_name(name, "feature")
        if not isinstance(expression, pl.Expr):
            raise DefinitionError(
                f"feature {name!r} of on-demand view {spec.name!r} is {expression!r}, not a Polars expression",
                hint="compute it from the parameters; pl.lit(...) makes an expression of a constant",
            )
    return dict(found)


def computed(frame: pl.DataFrame, expressions: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """Add the values of expressions to a frame, those of a single row as if it stood among others."""
    if frame.height != 1:
        # Beside the columns, so that a constant has a value for each row; in one chunk, for Polars may take each by itself.
        return frame.rechunk().with_columns(**expressions)
    return twice(frame).with_columns(**expressions).head(1)


def check_expressions(spec: OnDemandSpec, function: Function, inputs: Mapping[str, Inputs]) -> list[str]:
    """Check what the expressions themselves show.

    Returns:
        The names of the features.

    Raises:
        DefinitionError: If one reads a column that is not a parameter, reads other rows, or differs from call to call.
        NotFoundError: If the function reads a feature that is not there.
    """
    expressions = expressions_of(spec, function, inputs)
    again = expressions_of(spec, function, inputs)
    known = set(spec.request) | ({TIMESTAMP} if spec.uses_timestamp else set())
    clock = _CLOCK & set(getattr(getattr(function, "__code__", None), "co_names", ()))
    for name, expression in expressions.items():
        where = f"feature {name!r} of on-demand view {spec.name!r}"
        unknown = {column for column in expression.meta.root_names() if not column.startswith(FEATURE)} - known
        if unknown or expression.meta.has_multiple_outputs():
            raise DefinitionError(
                f"{where} reads {', '.join(sorted(unknown)) or 'several columns at once'}, which is not a parameter",
                hint=f"add a parameter for each, such as {min(unknown, default='distance')}: pl.Expr, and use that",
            )
        if clock or str(expression) != str(again.get(name)):
            raise DefinitionError(
                f"{where} depends on the time when it is defined{' by ' + min(clock) + '()' if clock else ''}",
                hint="add the parameter timestamp: pl.Expr, which is the time of each prediction",
            )
        if not is_row_wise(expression):
            raise _sees_others(where)
    return list(expressions)


def check_row_by_row(
    spec: OnDemandSpec, function: Function, inputs: Mapping[str, Inputs], dtypes: Mapping[str, pl.DataType]
) -> None:
    """Compute the expressions on a few made-up rows, all at once and one by one: both must give the same.

    Args:
        spec: The on-demand view.
        function: Its Python function.
        inputs: Parameter to the features it gives.
        dtypes: Type of each column that the expressions read.

    Raises:
        DefinitionError: If they do not fit the types, or a row's value depends on other rows.
    """
    import polars as pl

    expressions = expressions_of(spec, function, inputs)
    rows = pl.DataFrame([_made_up(name, dtype, turn) for turn, (name, dtype) in enumerate(dtypes.items())])
    try:
        rows.clear().with_columns(**expressions)
    except pl.exceptions.PolarsError as error:
        raise DefinitionError(
            f"on-demand view {spec.name!r} cannot be computed: {error}", hint="check the types of what it reads"
        ) from error
    for name, expression in expressions.items():
        try:
            whole = rows.with_columns(value=expression)["value"]
            single = pl.concat([computed(rows[i : i + 1], {"value": expression})["value"] for i in range(rows.height)])
        except pl.exceptions.PolarsError:  # the made-up values do not suit it, such as text that is not a number
            continue
        if not whole.equals(single, null_equal=True):
            raise _sees_others(f"feature {name!r} of on-demand view {spec.name!r}")


def _sees_others(where: str) -> DefinitionError:
    return DefinitionError(
        f"{where} depends on other rows, and a prediction has only its own",
        hint="write it without aggregates, shifts, ranks or filters; what needs many rows is a feature view with a window",
    )


def _made_up(name: str, dtype: pl.DataType, turn: int) -> pl.Series:
    """Return a few values of a type, with repeats and a null, in another order for each column."""
    import polars as pl

    places = [(i + turn) % len(_NUMBERS) for i in range(len(_NUMBERS))]
    numbers = pl.Series(name, [_NUMBERS[i] for i in places], dtype=pl.Int64)
    if dtype == pl.String:
        return pl.Series(name, [_WORDS[i] for i in places])
    if dtype == pl.Boolean:
        return (numbers > 1).alias(name)
    if isinstance(dtype, pl.Enum):
        words = dtype.categories
        return pl.Series(
            name, [words[n % len(words)] if n is not None and len(words) else None for n in numbers], dtype
        )
    try:
        return (numbers if dtype.is_signed_integer() or dtype.is_float() else numbers.abs()).cast(dtype)
    except pl.exceptions.PolarsError:
        return pl.Series(name, [None] * len(numbers), dtype=dtype)
