"""Entity keys: typed tuples, matched by value and never as joined text, so ("1", "23") and ("12", "3") differ."""

from __future__ import annotations

import struct
from contextlib import suppress
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple

from tinymlops._texts import from_text, is_written_as_text
from tinymlops.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import polars as pl
    import pyarrow as pa

    Array = np.ndarray[Any, np.dtype[np.int64]]

__all__ = ["FORMAT", "Coder", "encode", "key_bytes", "kind_of", "plain_key_bytes", "require_match"]

FORMAT = 2
"""The version of the bytes that `key_bytes` writes: raised when they change; a store with another version is rebuilt."""

_INT64 = struct.Struct(">q")
_INT64_HEAD = b"i" + (8).to_bytes(4, "big")
_TAGS = {
    "number": b"i",
    "boolean": b"b",
    "date": b"d",
    "time": b"h",
    "duration": b"u",
    "naive datetime": b"n",
    "datetime": b"t",
    "decimal": b"m",
    "string": b"s",
    "binary": b"x",
}
_NANOSECONDS = {"ns": 1, "us": 1_000, "ms": 1_000_000}
_MOST_DIGITS = 38
"""The most digits of a decimal, before and after its point."""
_EXACT = 2.0**53
"""From here on several integers have the same float."""
_LARGEST_CODE = 2**62
_LEAST_INT64 = -(2**63)
_SHOWN_ROWS = 5


class Coder:
    """Numbers the keys of a spine, then those of records, batch by batch: equal keys alike.

    Integers of any width and whole floats match by value; strings, categoricals and enums as strings; dates,
    times, booleans, binary and decimals match their own type. In a spine, as in JSON and CSV, dates, times, durations
    and decimals may be text, and decimals integers.

    Args:
        spine: The key columns of the spine, m rows each.
        records: The types of the same columns of the records.
        names: The names of the columns in an error.

    Attributes:
        codes: int64[m], the spine's keys. A code outside `low` to `low + count - 1` has a null part.
        low: The least code.
        count: How many codes there are.

    Raises:
        DataError: If two columns' types cannot match, or a float is not whole.
    """

    def __init__(self, spine: Sequence[pl.Series], records: Sequence[pl.DataType], names: Sequence[str]) -> None:
        self._names = names
        spine = [_read(column, dtype, name) for column, dtype, name in zip(spine, records, names, strict=True)]
        self._kinds = [
            _common_kind(column.dtype, dtype, name, column.name)
            for name, column, dtype in zip(names, spine, records, strict=True)
        ]
        columns = [_canonical(column, kind, name) for column, kind, name in zip(spine, self._kinds, names, strict=True)]
        self._dtypes = [column.dtype for column in columns]
        self._numberings = [_numbering(column, dense=True) for column in columns]
        # If the numbers of several parts would not fit into one integer, those so far are renumbered.
        self._anew: dict[int, _Numbering] = {}
        self.codes, self.low, self.count = self._join(columns, learn=True)

    def number(self, records: Sequence[pl.Series], *, first_row: int = 0) -> Array:
        """Return int64[n], the codes of a batch of records; a key that no spine row has may have none.

        Args:
            records: The key columns.
            first_row: How many records came before, for an error.
        """
        columns = []
        for column, kind, dtype, name in zip(records, self._kinds, self._dtypes, self._names, strict=True):
            values = _canonical(column, kind, name, first_row=first_row)
            # A value that does not fit the spine's type matches nothing.
            columns.append(values if values.dtype == dtype else values.cast(dtype, strict=False))
        return self._join(columns, learn=False)[0]

    def _join(self, columns: Sequence[pl.Series], *, learn: bool) -> tuple[Array, int, int]:
        codes, low, count = self._numberings[0](columns[0]), self._numberings[0].low, self._numberings[0].size
        for place, (column, numbering) in enumerate(zip(columns[1:], self._numberings[1:], strict=True), start=1):
            codes, low = _from_zero(codes, low, count), 0
            if learn and count * numbering.size >= _LARGEST_CODE:
                self._anew[place] = _numbering(_with_nulls(codes), dense=False)
            if place in self._anew:
                codes, count = self._anew[place](_with_nulls(codes)), self._anew[place].size
            part = _from_zero(numbering(column), numbering.low, numbering.size)
            codes, count = _combine(codes, part, numbering.size), count * numbering.size
        if learn and count > _dense_limit(len(codes)):
            self._anew[len(columns)] = _numbering(_with_nulls(codes), dense=False)
        if len(columns) in self._anew:
            codes, low, count = self._anew[len(columns)](_with_nulls(codes)), 0, self._anew[len(columns)].size
        return codes, low, count


def encode(spine: Sequence[pl.Series], records: Sequence[pl.Series], names: Sequence[str]) -> tuple[Array, Array, int]:
    """Number the keys of a spine and of records, equal keys alike, from 0.

    Args:
        spine: The key columns of the spine, m rows each.
        records: The same columns of the records, n rows each.
        names: The names of the columns in an error.

    Returns:
        int64[m] and int64[n] codes, -1 where a part is null, and the number of codes. A record whose key no
        spine row has may be -1 as well: nothing can match it.

    Raises:
        DataError: If two columns' types cannot match, or a float is not whole.
    """
    coder = Coder(spine, [column.dtype for column in records], names)
    sides = (coder.codes, coder.number(records))
    left, right = (_from_zero(codes, coder.low, coder.count) for codes in sides)
    return left, right, max(1, coder.count)


def require_match(left: Sequence[pl.DataType], right: Sequence[pl.DataType], names: Sequence[str]) -> None:
    """Refuse key columns of two tables whose types cannot match as they are.

    Raises:
        DataError: If there are any; it names the column.
    """
    for one, other, name in zip(left, right, names, strict=True):
        _common_kind(one, other, name, name)


def key_bytes(
    columns: Sequence[pl.Series], records: Sequence[pl.DataType], names: Sequence[str], prefix: bytes = b""
) -> list[bytes | None]:
    """Write the key of each row as bytes for a key-value store: the same bytes exactly for keys that `encode` treats as equal.

    Args:
        columns: The parts, n rows each: of the records themselves, or of a spine.
        records: The types of the records' columns.
        names: The names of the columns in an error.
        prefix: Put before each key.

    Returns:
        A tag, a length and a payload per part; None where a part is null. Times are counted in nanoseconds and decimals
        in units of 10**-38, so that the bytes depend on no unit and no scale.

    Raises:
        DataError: If two columns' types cannot match, or a float is not whole.

    Example:
        >>> import polars as pl
        >>> key_bytes([pl.Series([7.0])], [pl.Int64()], ["id"]) == key_bytes([pl.Series([7])], [pl.Int64()], ["id"])
        True
    """
    parts: list[list[bytes | None]] = []
    for column, dtype, name in zip(columns, records, names, strict=True):
        read = _read(column, dtype, name)
        kind = _common_kind(read.dtype, dtype, name, column.name)
        parts.append(_column_bytes(read, kind, name, b"" if parts else prefix))
    return _joined(parts)


def plain_key_bytes(columns: Sequence[Sequence[Any]], prefix: bytes, kinds: Sequence[type]) -> list[bytes | None]:
    """Write keys as `key_bytes` does, from Python values: most requests hold nothing else.

    Args:
        columns: The parts, a column for each.
        prefix: Put before each key.
        kinds: `int` or `str` for each column: the type of its values, null left out.
    """
    if len(columns) == 1:
        return _plain_parts(columns[0], prefix, kinds[0])
    return _joined(
        [_plain_parts(column, b"" if place else prefix, kinds[place]) for place, column in enumerate(columns)]
    )


def kind_of(values: Sequence[Any]) -> type | None:
    """Return the type of all values, null left out; None if they have several, or there are none."""
    if len(values) == 1:
        return None if values[0] is None else type(values[0])
    kinds: set[type] = set(map(type, values))
    kinds.discard(NoneType)
    return kinds.pop() if len(kinds) == 1 else None


def _plain_parts(column: Sequence[Any], prefix: bytes, kind: type) -> list[bytes | None]:
    """Write one part of every key, in one expression where possible."""
    try:
        if kind is int:
            head, pack = prefix + _INT64_HEAD, _INT64.pack
            return [head + pack(value) for value in column]
        head = prefix + b"s"
        texts = [text.encode("utf-8", "surrogatepass") for text in column]
        return [head + len(text).to_bytes(4, "big") + text for text in texts]
    except (struct.error, AttributeError):  # an integer beyond int64, or null
        payload = _int_bytes if kind is int else _text_bytes
        return _parts(column, prefix + (b"i" if kind is int else b"s"), payload)


def _column_bytes(column: pl.Series, kind: _Kind, name: str, prefix: bytes) -> list[bytes | None]:
    if kind.family == "null":
        return [None] * len(column)
    head = prefix + _TAGS[kind.family]
    if kind.family == "string":
        return _plain_parts(_canonical(column, kind, name).to_list(), prefix, str)
    if kind.family == "binary":
        return _parts(column.to_list(), head, bytes)
    if kind.family == "number":
        return _plain_parts(_canonical(column, kind, name).to_list(), prefix, int)
    step = _step(column.dtype)
    return _parts(column.to_physical().to_list(), head, lambda value: _int_bytes(value * step))


def _parts(values: Sequence[Any], head: bytes, payload: Callable[[Any], bytes]) -> list[bytes | None]:
    return [None if value is None else _part(head, payload(value)) for value in values]


def _part(head: bytes, payload: bytes) -> bytes:
    return head + len(payload).to_bytes(4, "big") + payload


def _joined(parts: Sequence[Sequence[bytes | None]]) -> list[bytes | None]:
    if len(parts) == 1:
        return list(parts[0])
    return [None if None in row else b"".join(row) for row in zip(*parts, strict=True)]


def _step(dtype: pl.DataType) -> int:
    """Return how many of the smallest units of its kind one in a column's integers is."""
    import polars as pl

    if isinstance(dtype, pl.Decimal):
        return int(10 ** (_MOST_DIGITS - dtype.scale))
    return _NANOSECONDS[str(getattr(dtype, "time_unit", "ns"))]


def _int_bytes(value: int) -> bytes:
    return int(value).to_bytes(max(8, value.bit_length() // 8 + 1), "big", signed=True)


def _text_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _read(column: pl.Series, records: pl.DataType, name: str) -> pl.Series:
    """Read values that JSON and CSV have no type for: text and integers of a spine where the records have another type.

    Raises:
        DataError: If a value is not of that type.
    """
    import polars as pl

    if column.dtype == pl.String and is_written_as_text(records):
        return from_text(column, records, name=f"key column {name!r}")
    if column.dtype.is_integer() and isinstance(records, pl.Decimal):
        return _whole(column, name, 0).cast(pl.Decimal(_MOST_DIGITS, 0))
    return column


def _combine(codes: Array, part: Array, size: int) -> Array:
    import numpy as np

    joined = codes * size + part
    joined[(codes < 0) | (part < 0)] = -1
    return np.asarray(joined, np.int64)


def _dense_limit(rows: int) -> int:
    """Return how many codes are few enough to be array indices: some unused ones cost less than a hash table."""
    return 4 * rows + 2**16


class _Numbering(NamedTuple):
    """The numbering of the values of one column: `low` to `low + size - 1`; any other number means none."""

    find: Callable[[pl.Series], Array]
    low: int
    size: int

    def __call__(self, values: pl.Series) -> Array:
        return self.find(values)


def _from_zero(codes: Array, low: int, count: int) -> Array:
    """Shift numbers to 0 and up, with -1 for none."""
    import numpy as np

    if low == 0 and (not codes.size or (codes.max() < count and codes.min() >= -1)):
        return codes
    known = (codes >= low) & (codes - low < count) & (codes - low >= 0)
    return np.where(known, codes - low, -1)


def _with_nulls(codes: Array) -> pl.Series:
    import polars as pl

    return pl.Series(codes).replace(-1, None)


def _numbering(spine: pl.Series, *, dense: bool) -> _Numbering:
    """Number the distinct values of a spine column: integers in a small range as they are, all else by hashing."""
    import polars as pl

    from tinymlops.kernels.hashing import IntegerTable, TextTable

    if spine.dtype in (pl.String, pl.Binary):
        text = TextTable(_views(spine))
        return _Numbering(lambda values: text.find(_views(values)), 0, text.count)
    if spine.dtype != pl.Int64:
        known = spine.drop_nulls().unique().alias("key").to_frame().with_row_index("code")
        return _Numbering(lambda values: _look_up(values, known), 0, known.height)
    low, high = spine.min(), spine.max()
    if not isinstance(low, int) or not isinstance(high, int):
        return _Numbering(lambda values: _filled(values, -1)[0], 0, 0)
    if dense and high - low < _dense_limit(len(spine)):
        none = low - 1 if low > _LEAST_INT64 else high + 1
        return _Numbering(lambda values: _filled(values, none)[0], low, high - low + 1)
    integers = IntegerTable(*_filled(spine, 0))
    return _Numbering(lambda values: integers.find(*_filled(values, 0)), 0, integers.count)


def _filled(values: pl.Series, null: int) -> tuple[Array, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return int64[n] with a number in place of nulls, and bool[n] where they are, empty if there are none."""
    import numpy as np

    if not values.null_count():
        return values.to_numpy(), np.empty(0, np.bool_)
    return values.fill_null(null).to_numpy(), values.is_null().to_numpy()


def _views(values: pl.Series) -> pa.Array[Any]:
    import polars as pl

    return values.to_arrow(compat_level=pl.CompatLevel.newest())


def _look_up(values: pl.Series, known: pl.DataFrame) -> Array:
    import polars as pl

    joined = values.alias("key").to_frame().join(known, on="key", how="left", maintain_order="left")
    return joined["code"].cast(pl.Int64).fill_null(-1).to_numpy()


class _Kind(NamedTuple):
    """The common kind to which both sides of a key column are converted."""

    family: str
    same_unit: bool = True
    """Whether both sides count in the same unit, or have the same scale."""


def _common_kind(left: pl.DataType, right: pl.DataType, name: str, column: str) -> _Kind:
    """Find the kind of values whose equality is the key's.

    Raises:
        DataError: If there is none.
    """
    import polars as pl

    if pl.Null in (left, right):
        return _Kind("null")  # a column of nulls matches nothing, whatever the other side holds
    family = _family(left)
    if not family or family != _family(right):
        raise DataError(
            f"key column {name!r} is {left} in the spine ({column!r}) and {right} in the features",
            hint=_way_out(left, right),
        )
    return _Kind(family, _step(left) == _step(right))


def _way_out(spine: pl.DataType, records: pl.DataType) -> str:
    """Return a hint about types that cannot match."""
    import polars as pl

    if spine.is_float() and isinstance(records, pl.Decimal):
        return 'a float is not exact: write decimals as text, such as "1.50"'
    if spine.is_numeric() and _family(records) == "string":
        return (
            'cast one of them so that both are the same kind; in JSON and on the command line, text is in quotes: "7"'
        )
    if spine == pl.String and records == pl.Binary:
        return "binary keys cannot be written as text: give bytes, in Python, or key by text"
    return "cast one of them so that both are the same kind: integer, string, boolean, date, time or binary"


def _canonical(values: pl.Series, kind: _Kind, name: str, *, first_row: int = 0) -> pl.Series:
    """Convert one side of a key column to the type in which it is compared."""
    import polars as pl

    if kind.family == "null":
        return pl.Series([None], dtype=pl.Int64).new_from_index(0, len(values))
    if kind.family == "number":
        return _whole(values, name, first_row)
    if kind.family == "string":
        return values.cast(pl.String)
    if kind.family == "boolean":
        return values.cast(pl.Int64)
    if kind.family == "decimal":
        return values.to_physical() if kind.same_unit else _digits(values)
    if kind.family == "binary":
        return values
    return _instants(values, same_unit=kind.same_unit)


def _family(dtype: pl.DataType) -> str:
    """Return the kind of values that may equal each other; empty for a type that cannot be a key."""
    import polars as pl

    if dtype.is_integer() or dtype.is_float():
        return "number"
    if isinstance(dtype, pl.Datetime):
        return "naive datetime" if dtype.time_zone is None else "datetime"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return "string"
    simple = {
        pl.Boolean: "boolean",
        pl.Binary: "binary",
        pl.Date: "date",
        pl.Time: "time",
        pl.Duration: "duration",
        pl.Decimal: "decimal",
    }
    return next((family for kind, family in simple.items() if isinstance(dtype, kind)), "")


def _whole(values: pl.Series, name: str, first_row: int) -> pl.Series:
    """Convert numbers to Int64, or to Int128 where an unsigned one does not fit.

    Raises:
        DataError: If a float is not a whole number.
    """
    import polars as pl

    if values.dtype.is_float():
        values = values.cast(pl.Float64).fill_nan(None)
        wrong = ((values != values.floor()) | (values.abs() >= _EXACT)).fill_null(value=False)
        if wrong.any():
            rows = wrong.arg_true().head(_SHOWN_ROWS)
            raise DataError(
                f"key column {name!r} has floats that do not stand for one integer, in rows "
                f"{[first_row + row for row in rows]}: {values.gather(rows).to_list()}",
                hint="a float is a key only where it is whole and below 2**53, as pandas makes them of integers beside "
                'nulls; read the column as integers (in pandas, dtype="Int64"), or key by text',
            )
    for dtype in (pl.Int64, pl.Int128):  # beyond int64: found by trying, because almost none is
        with suppress(pl.exceptions.InvalidOperationError):
            return values.cast(dtype)
    raise DataError(f"key column {name!r} has integers beyond 128 bits", hint="key by text")


def _digits(values: pl.Series) -> pl.Series:
    """Write decimals as text that does not depend on their scale: no common scale has room for all of them."""
    import polars as pl

    if not getattr(values.dtype, "scale", 0):
        return values.cast(pl.String)
    return values.cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")


def _instants(values: pl.Series, *, same_unit: bool) -> pl.Series:
    """Convert times to integers, in one unit where the two sides' units differ."""
    import polars as pl

    numbers = values.to_physical()
    if same_unit:
        return numbers.cast(pl.Int64)
    # Far years do not fit into nanoseconds of 64 bits.
    return numbers.cast(pl.Int128) * pl.Series([_step(values.dtype)], dtype=pl.Int128)
