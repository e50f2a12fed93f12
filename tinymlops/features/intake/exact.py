"""Convert one column of a push to the type of its schema: exactly, or refuse it and name the rows.

A value is kept exactly or refused: no digit of a decimal, no bit of an integer, no offset and no part of a second is
dropped. There are two kinds of rounding, because the types imply them: a float in a Float32 column becomes the nearest
one, and an event time that is finer than its column becomes the next later one, so that no fact comes early.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from tinymlops.errors import DataError
from tinymlops.features.history.source_times import times_of
from tinymlops.schema import dtype_name
from tinymlops.times import ENDLESS, to_micros

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.features.definitions.specs import SourceSpec

__all__ = ["Target", "exact"]

_SHOWN_ROWS = 5
# Digits beyond a microsecond, which Python drops: the nanoseconds, and the rest.
_FINER = re.compile(r"[.,]\d{6}(\d{1,3})(\d*)")
_NANOS = {"ns": 1, "us": 1_000, "ms": 1_000_000}
"""Nanoseconds of each unit of time."""

Values = Sequence[Any]
Convert = Callable[[Any], Any]


class Target(NamedTuple):
    """The column of a source that values are for."""

    name: str
    dtype: pl.DataType
    source: SourceSpec
    rows: Values | None = None
    """The row of each value, if they come from within lists."""

    @property
    def rounds_up(self) -> bool:
        """Whether the times are event or created times."""
        return self.name in (self.source.timestamp, self.source.created, self.source.cursor)

    def refused(self, what: str, wrong: Values, hint: str) -> DataError:
        """Return the error that names the column and the rows of some values."""
        numbers = list(dict.fromkeys(wrong if self.rows is None else (self.rows[i] for i in wrong)))
        more = f" and {len(numbers) - _SHOWN_ROWS} more" if len(numbers) > _SHOWN_ROWS else ""
        return DataError(
            f"column {self.name!r} of source {self.source.name!r} {what}, in rows {numbers[:_SHOWN_ROWS]}{more}",
            hint=hint,
        )


def exact(values: pl.Series | Values, target: Target) -> pl.Series:
    """Convert values to a column's type.

    Args:
        values: A Polars series, or Python values with None for null.
        target: The column.

    Raises:
        DataError: If a value cannot be kept exactly in that type; it names the rows.
    """
    import polars as pl

    if isinstance(values, pl.Series):
        same = _same_kind(values, target)
        if same is not None:
            return same.alias(target.name)
        values = values.to_list()
    if isinstance(target.dtype, pl.List):
        return _lists([_listed(value) for value in values], target)
    if isinstance(target.dtype, pl.Array):
        return _arrays([_listed(value) for value in values], target)
    if isinstance(target.dtype, pl.Struct):
        return _structs(values, target)
    if isinstance(target.dtype, pl.Datetime):
        return _times(values, target)
    taken, convert = _conversions(target.dtype)
    if not set(map(type, values)) - {type(None)} <= taken:
        values = _each(values, taken, convert, target)
    if target.dtype.is_integer():
        _require_range(values, target)
    return _series(values, target)


def _same_kind(values: pl.Series, target: Target) -> pl.Series | None:
    """Cast a Polars column whose values mean the same in the schema's type; None for any other."""
    import polars as pl

    now, dtype = values.dtype, target.dtype
    if now == dtype or now == pl.Null:
        return values.cast(dtype)
    if isinstance(now, pl.Categorical | pl.Enum) and dtype == pl.String:
        return values.cast(pl.String)
    if now == pl.Float32 and dtype == pl.Float64:
        return values.cast(dtype)
    if isinstance(now, pl.Duration) and isinstance(dtype, pl.Duration):
        return _rescaled(values.to_physical(), now.time_unit, target).cast(dtype)
    if isinstance(now, pl.Datetime) and isinstance(dtype, pl.Datetime):
        numbers = _rescaled(values.to_physical(), now.time_unit, target)
        if now.time_zone is not None:
            _require_no_zone(values.is_not_null(), target)
        elif dtype.time_zone is not None:
            numbers = _located(numbers, target)
        return numbers.cast(dtype)
    if isinstance(now, pl.Struct) and isinstance(dtype, pl.Struct):
        return _structs(values, target)
    if isinstance(now, pl.List) and isinstance(dtype, pl.List):
        rows, lengths = pl.int_range(len(values), eager=True), values.list.len()
        full = (lengths > 0).fill_null(value=False)
        return _regrouped(values.filter(full).explode(), rows.filter(full), lengths, target)
    return None


def _listed(value: Any) -> Any:
    """Return a vector of NumPy's numbers as a list of the same values; everything else as it is."""
    import numpy as np

    if type(value) is np.ndarray and value.ndim == 1 and value.dtype.kind in "iuf":
        return value.tolist()
    return value


def _lists(values: Values, target: Target) -> pl.Series:
    """Convert the values within lists to their type, all at once."""
    import polars as pl

    wrong = [i for i, value in enumerate(values) if value is not None and type(value) is not list]
    if wrong:
        raise _mistyped(values[wrong[0]], wrong, target)
    lengths = pl.Series([None if value is None else len(value) for value in values], dtype=pl.UInt32)
    full = pl.Series([i for i, value in enumerate(values) if value], dtype=pl.Int64)
    return _regrouped([one for value in values if value for one in value], full, lengths, target)


def _arrays(values: Values, target: Target) -> pl.Series:
    """Bring lists of one length to their type."""
    import polars as pl

    assert isinstance(target.dtype, pl.Array)
    inner: Any = target.dtype.inner
    wrong = [i for i, value in enumerate(values) if type(value) is list and len(value) != target.dtype.size]
    if wrong:
        what = f"has lists of {target.dtype.size} values and got {len(values[wrong[0]])}"
        raise target.refused(what, wrong, "declare it as a List if its lists differ in length")
    return _lists(values, target._replace(dtype=pl.List(inner))).list.to_array(target.dtype.size)


def _structs(values: pl.Series | Values, target: Target) -> pl.Series:
    """Bring each field to its type; one that a value does not have is null."""
    import polars as pl

    assert isinstance(target.dtype, pl.Struct)
    fields: dict[str, Any] = dict(target.dtype.to_schema())
    if isinstance(values, pl.Series):
        names, there = values.struct.fields, values.is_not_null()
        parts: dict[str, Any] = {name: values.struct.field(name) for name in names}
        unknown = {name: there.arg_true().to_list() for name in names if name not in fields}
    else:
        wrong = [i for i, value in enumerate(values) if value is not None and type(value) is not dict]
        if wrong:
            raise _mistyped(values[wrong[0]], wrong, target)
        there = pl.Series([value is not None for value in values], dtype=pl.Boolean)
        parts = {name: [None if value is None else value.get(name) for value in values] for name in fields}
        unknown = {name: [i] for i, value in enumerate(values) for name in value or () if name not in fields}
    for name, rows in unknown.items():
        raise target.refused(f"has no field {name!r}", rows, f"its fields are {', '.join(fields)}")
    nothing = [None] * len(there)
    columns = [exact(parts.get(name, nothing), target._replace(dtype=fields[name])).alias(name) for name in fields]
    whole = pl.DataFrame(columns).to_struct(target.name)
    return whole.set(~there, None) if not there.all() else whole


def _regrouped(flat: pl.Series | Values, full: pl.Series, lengths: pl.Series, target: Target) -> pl.Series:
    """Convert the values of all lists to their type, and rebuild the lists.

    Args:
        flat: The values.
        full: The rows whose lists are not empty.
        lengths: The length of the list in every row, null where there is none.
        target: The column of lists.
    """
    import polars as pl

    assert isinstance(target.dtype, pl.List)
    rows = pl.select(pl.lit(full).repeat_by(pl.lit(lengths.gather(full)))).to_series().explode() if len(full) else full
    outer = rows.to_list() if target.rows is None else [target.rows[row] for row in rows]
    inner: Any = target.dtype.inner
    exactly = exact(flat, target._replace(dtype=inner, rows=outer))
    lists = (
        pl.DataFrame({"row": rows.cast(pl.Int64), "value": exactly}).group_by("row", maintain_order=True).agg("value")
    )
    every = pl.DataFrame({"row": pl.int_range(len(lengths), eager=True), "length": lengths})
    empty = pl.lit([], dtype=target.dtype)
    joined = every.join(lists, on="row", how="left", maintain_order="left")
    filled = joined.select(pl.when(pl.col("length") == 0).then(empty).otherwise("value").alias(target.name))
    return filled.to_series().cast(target.dtype)


def _conversions(dtype: pl.DataType) -> tuple[set[type], dict[type, Convert]]:
    """Return a column's own Python types, and converters for other types that mean the same."""
    import polars as pl

    if dtype.is_integer():
        return {int}, {float: _whole}
    if dtype.is_float():
        return {float}, {int: _float if dtype == pl.Float64 else _single}
    if isinstance(dtype, pl.Decimal):
        number = _decimal(dtype.precision or 38, dtype.scale)
        return set(), {Decimal: number, int: number, str: number}
    if isinstance(dtype, pl.Duration):
        return set(), {timedelta: _span(dtype.time_unit)}
    own: dict[Any, tuple[set[type], dict[type, Convert]]] = {
        pl.Boolean: ({bool}, {}),
        pl.String: ({str}, {}),
        pl.Enum: ({str}, {}),
        pl.Binary: ({bytes}, {}),
        pl.Date: ({date}, {str: date.fromisoformat}),
        pl.Time: (set(), {time: _clock, str: _clock}),
        pl.Null: (set(), {}),
    }
    return next(found for known, found in own.items() if isinstance(dtype, known))


def _each(values: Values, taken: Collection[type], convert: dict[type, Convert], target: Target) -> list[Any]:
    """Convert the values that are not of the column's own types."""
    result, wrong = list(values), []
    for i, value in enumerate(values):
        if value is None or type(value) in taken:
            continue
        try:
            result[i] = convert[type(value)](value)
        except (KeyError, ValueError, ArithmeticError, struct.error):
            wrong.append(i)
    if wrong:
        raise _mistyped(values[wrong[0]], wrong, target)
    return result


def _series(values: Values, target: Target) -> pl.Series:
    import polars as pl

    name, dtype = target.name, target.dtype
    try:
        if dtype == pl.Float32:
            return _narrowed(pl.Series(name, values, dtype=pl.Float64, strict=True), target)
        if isinstance(dtype, pl.Duration):
            return pl.Series(name, values, dtype=pl.Int64, strict=True).cast(dtype)
        return pl.Series(name, values, dtype=dtype, strict=True)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        wrong = [i for i, value in enumerate(values) if not _fits(value, dtype)]
        raise target.refused(f"is not a {dtype_name(dtype)}", wrong, f"{error}".splitlines()[0]) from error


def _narrowed(wide: pl.Series, target: Target) -> pl.Series:
    import polars as pl

    narrow = wide.cast(pl.Float32)
    beyond = narrow.is_infinite() & ~wide.is_infinite()
    if beyond.any():
        wrong = beyond.arg_true().to_list()
        raise target.refused(f"holds {wide[wrong[0]]}, beyond what Float32 can", wrong, "declare the column as float")
    return narrow


def _whole(value: float) -> int | None:
    if value != value:
        return None
    if not value.is_integer():
        raise ValueError
    return int(value)


def _float(value: int) -> float:
    number = float(value)
    if int(number) != value:
        raise ValueError
    return number


def _single(value: int) -> float:
    (number,) = struct.unpack("f", struct.pack("f", value))
    if int(number) != value:
        raise ValueError
    return float(number)


def _decimal(precision: int, scale: int) -> Convert:
    """Return a converter of numbers to decimals with these digits; it refuses a number that needs more."""

    def convert(value: Decimal | int | str) -> Decimal:
        number = Decimal(value)
        if not number.is_finite() or (number and number.adjusted() >= precision - scale):
            raise ValueError
        sign, digits, exponent = number.as_tuple()
        assert isinstance(exponent, int), "it is finite"
        if any(digits[max(len(digits) + exponent + scale, 0) :] if exponent < -scale else ()):
            raise ValueError  # digits beyond the column's last
        kept = digits[: max(len(digits) + exponent + scale, 0)] if exponent < -scale else digits
        zeros = max(exponent + scale, 0) if number else 0
        return Decimal((sign, (*kept, *(0,) * zeros) or (0,), -scale))

    return convert


def _span(unit: str) -> Convert:
    """Return a converter of durations to a whole number of units."""

    def convert(value: timedelta) -> int:
        count, rest = divmod(value // timedelta(microseconds=1) * 1_000, _NANOS[unit])
        if rest or not -ENDLESS <= count <= ENDLESS:
            raise ValueError
        return count

    return convert


def _clock(value: time | str) -> time:
    """Read a time of day; refuse an offset, which needs a date, and digits beyond a microsecond, which would be lost."""
    moment = time.fromisoformat(value) if isinstance(value, str) else value
    if moment.tzinfo is not None or (isinstance(value, str) and _finer(value) != (0, False)):
        raise ValueError
    return moment


def _finer(text: str) -> tuple[int, bool]:
    """Return the nanoseconds of a time beyond its microseconds, and whether even finer digits follow."""
    found = _FINER.search(text)
    return (int(found[1].ljust(3, "0")), bool(found[2].strip("0"))) if found else (0, False)


def _times(values: Values, target: Target) -> pl.Series:
    """Convert times to a column's unit and zone; times without a zone are in the source's."""
    import polars as pl

    assert isinstance(target.dtype, pl.Datetime)
    moments = _each(values, {datetime}, {str: datetime.fromisoformat}, target)
    zoned = [None if moment is None else moment.tzinfo is not None for moment in moments]
    aware = pl.Series(zoned, dtype=pl.Boolean)
    _require_no_zone(aware, target)
    nanos = _beyond_micros(values, target)
    micros = [None if moment is None else _count(moment) for moment in moments]
    if nanos is not None and target.dtype.time_unit != "ns":  # up, because no fact may come early
        micros = [None if count is None else count + bool(more) for count, more in zip(micros, nanos, strict=True)]
    numbers = _rescaled(pl.Series(target.name, micros, dtype=pl.Int64), "us", target)
    if nanos is not None and target.dtype.time_unit == "ns":
        numbers += pl.Series(nanos, dtype=pl.Int64)
    if target.dtype.time_zone is not None and not aware.all():
        here = aware.fill_null(value=True)
        numbers = numbers.zip_with(here, _located(numbers.set(here, None), target))
    return numbers.alias(target.name).cast(target.dtype)


def _count(moment: datetime) -> int:
    """Return microseconds since 1970, treating a local time as UTC."""
    return to_micros(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))


def _beyond_micros(values: Values, target: Target) -> list[int] | None:
    """Return the nanoseconds of each text beyond its microseconds, rounded up; None if there are none."""
    import polars as pl

    found = [_finer(value) if isinstance(value, str) else (0, False) for value in values]
    if not any(nanos or more for nanos, more in found):
        return None
    assert isinstance(target.dtype, pl.Datetime)
    keeps = target.dtype.time_unit == "ns"
    wrong = [i for i, (nanos, more) in enumerate(found) if more or (nanos and not keeps)]
    if wrong and not target.rounds_up:
        raise _too_fine(wrong, target)
    return [nanos + more for nanos, more in found]


def _rescaled(numbers: pl.Series, unit: str, target: Target) -> pl.Series:
    """Convert times or durations from one unit to that of the column; refuse what does not fit."""
    import polars as pl

    assert isinstance(target.dtype, pl.Datetime | pl.Duration)
    old, new = _NANOS[unit], _NANOS[target.dtype.time_unit]
    if old >= new:
        most = ENDLESS // (old // new)
        wrong = (numbers > most) | (numbers < -most)
        if wrong.any():
            raise target.refused(
                f"is beyond what {dtype_name(target.dtype)} can hold",
                wrong.arg_true().to_list(),
                "declare a coarser unit",
            )
        return numbers * (old // new)
    step = new // old
    cut = numbers % step != 0
    if cut.any() and not target.rounds_up:
        raise _too_fine(cut.arg_true().to_list(), target)
    return -(-numbers // step)


def _located(numbers: pl.Series, target: Target) -> pl.Series:
    """Read local times, in the column's unit, in the zone of the source."""
    import polars as pl

    assert isinstance(target.dtype, pl.Datetime)
    unit = target.dtype.time_unit
    # The clock changes by whole seconds, so digits beyond a microsecond stay the same.
    whole = numbers // 1_000 if unit == "ns" else numbers * (_NANOS[unit] // 1_000)
    micros = times_of(whole.alias(target.name).cast(pl.Datetime("us")), target.source)
    return micros * 1_000 + numbers % 1_000 if unit == "ns" else micros // (_NANOS[unit] // 1_000)


def _require_no_zone(aware: pl.Series, target: Target) -> None:
    import polars as pl

    if isinstance(target.dtype, pl.Datetime) and target.dtype.time_zone is None and aware.any():
        zoned = aware.arg_true().to_list()
        raise target.refused("is a time without a zone and got one", zoned, "declare it as datetime, which is UTC")


def _require_range(values: Values, target: Target) -> None:
    bits = int("".join(filter(str.isdigit, str(target.dtype))))
    unsigned = target.dtype.is_unsigned_integer()
    low, high = (0, 2 ** min(bits, 63) - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    wrong = [i for i, value in enumerate(values) if value is not None and not low <= value <= high]
    if wrong:
        what = f"holds {_shown(values[wrong[0]])}, beyond {low} to {high}"
        raise target.refused(what, wrong, "send it as text, or as a float")


def _fits(value: Any, dtype: pl.DataType) -> bool:
    import polars as pl

    try:
        pl.Series([value], dtype=dtype, strict=True)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
        return False
    return True


def _too_fine(wrong: Values, target: Target) -> DataError:
    return target.refused(
        f"is {dtype_name(target.dtype)} and holds times finer than that", wrong, "round them, or declare a finer unit"
    )


def _mistyped(value: object, wrong: Values, target: Target) -> DataError:
    dtype = dtype_name(target.dtype)
    hint = "send a value that is exactly of the column's type"
    if dtype.startswith("Date"):
        hint = 'write times as ISO 8601 text, such as "2024-05-01T12:00:00Z"'
    elif dtype == "Time":
        hint = 'write times of day as "12:30:00", without an offset and in microseconds at most'
    elif dtype.startswith("Decimal"):
        hint = "send a number of no more digits than the column has, before and after the point"
    return target.refused(f"is {dtype} and holds {_shown(value)}", wrong, hint)


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text[:60]}..." if len(text) > 60 else text
