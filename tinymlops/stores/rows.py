"""Convert records to SQLite rows and back: one codec per Struct class, made once.

Times are microseconds in UTC, booleans 0 and 1, and what is not a scalar is JSON text. SQLite cannot hold a
non-finite float, so it is the text 'NaN', 'Infinity' or '-Infinity', inside JSON as well.

Every row ends with a checksum of its other stored values: only `encode` writes it, and only `checked` compares it.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from zlib_ng.zlib_ng import crc32

from tinymlops.errors import DataError, DefinitionError, IntegrityError, near
from tinymlops.records import Record
from tinymlops.stores.json_text import spelled_float, to_json
from tinymlops.times import from_micros, to_micros

__all__ = ["CHECK", "RowCodec", "check_of", "codec_for", "quoted"]

T = TypeVar("T", bound=Record)
Value = int | float | str | bytes | None
Row = tuple[Any, ...]

CHECK = "check_"
"""The column of the checksum, the last of every table of records."""

_PACK = msgspec.msgpack.Encoder()
_WITHOUT_CHECK = itemgetter(slice(None, -1))
_LISTED_AT_MOST = 500


class RowCodec(Generic[T]):
    """How one class of records is stored.

    Args:
        cls: A `Record` with `table` and `key`.
    """

    def __init__(self, cls: type[T]) -> None:
        self.cls = cls
        self.table = quoted(cls.table)
        self.names = cls.__struct_fields__
        hints = get_type_hints(cls)
        codecs = [_codec(hints[name]) for name in self.names]
        self._kinds = [_kinds(hints[name]) for name in self.names]
        self._fitting: set[tuple[type, ...]] = set()
        self._encoders = [(i, codec[0]) for i, codec in enumerate(codecs) if codec is not None]
        self._decoders = [(i, codec[1]) for i, codec in enumerate(codecs) if codec is not None]
        self._encoder_of = {self.names[i]: encode for i, encode in self._encoders}
        self.key_positions = [self.names.index(name) for name in cls.key]
        self.key_condition = " AND ".join(f"{quoted(name)} = ?" for name in cls.key)
        self.assigned_id = len(cls.key) == 1 and type(None) in get_args(hints[cls.key[0]])
        stored = [quoted(name) for name in (*self.names, CHECK)]
        self.columns = ", ".join(stored)
        self.select = f"SELECT {self.columns} FROM {self.table}"
        marks = ", ".join("?" * len(stored))
        self.insert = f"INSERT INTO {self.table} ({self.columns}) VALUES ({marks})"
        self.insert_new = f"{self.insert} ON CONFLICT ({', '.join(map(quoted, cls.key))}) DO NOTHING"
        self.put = f"INSERT OR REPLACE INTO {self.table} ({self.columns}) VALUES ({marks})"
        assignments = ", ".join(f"{name} = ?" for name in stored)
        self.update = f"UPDATE {self.table} SET {assignments} WHERE {self.key_condition}"

    def columns_of(self, alias: str) -> str:
        """Return the columns of a row, for a SELECT in which the table has this name."""
        return ", ".join(f"{alias}.{quoted(name)}" for name in (*self.names, CHECK))

    def encode(self, record: T) -> list[Value]:
        """Return the values of a record in column order, and their checksum.

        Raises:
            DataError: If a value has no exact stored form, such as a text with half a surrogate pair.
        """
        values: list[Any] = list(msgspec.structs.astuple(record))
        try:
            for position, encode in self._encoders:
                value = values[position]
                if value is not None:
                    values[position] = encode(value)
        except (TypeError, ValueError, OverflowError) as error:
            name = self.names[position]
            raise DataError(f"{self.cls.table}.{name} cannot be stored: {error}") from error
        if tuple(map(type, values)) not in self._fitting:
            self._fit(values)
        values.append(check_of(values))
        return values

    def checked(self, row: Sequence[Any]) -> list[Any]:
        """Return the values of a row without their checksum.

        Raises:
            IntegrityError: If they are not what was written.
        """
        *values, check = row
        if check_of(values) != check:
            key = ", ".join(f"{self.names[i]}={values[i]!r}" for i in self.key_positions)
            raise IntegrityError(
                f"the row with {key} in table {self.cls.table} is not what was written",
                hint="restore the workspace from a backup",
            )
        return values

    def all_checked(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return the rows, each compared as `checked` does; faster for many.

        Raises:
            IntegrityError: If one is not what was written.
        """
        for row, check in zip(rows, map(crc32, map(_PACK.encode, map(_WITHOUT_CHECK, rows))), strict=True):
            if row[-1] != check:
                self.checked(row)
        return rows

    def decode(self, row: Sequence[Any]) -> T:
        """Make a record from a row.

        Raises:
            IntegrityError: If the row is not what was written, or does not fit this class.
        """
        values = self.checked(row)
        try:
            for position, decode in self._decoders:
                value = values[position]
                if value is not None:
                    values[position] = decode(value)
        except (TypeError, ValueError, OverflowError) as error:
            name = self.names[position]
            raise IntegrityError(
                f"a row of {self.cls.table} has a damaged {name}: {error}",
                hint="restore the workspace from a backup",
            ) from error
        return self.cls(**dict(zip(self.names, values, strict=True)))

    def condition(self, where: Mapping[str, object]) -> tuple[str, list[Value]]:
        """Write a WHERE clause: a scalar is equality, None is IS NULL, a list is IN.

        Raises:
            DefinitionError: If a column does not exist.
        """
        parts: list[str] = []
        bound: list[Value] = []
        for name, value in where.items():
            column = self.column(name)
            if isinstance(value, list):
                part, values = self._member(column, [self._bind(name, item) for item in value])
                parts.append(part)
                bound.extend(values)
            elif value is None:
                parts.append(f"{column} IS NULL")
            else:
                parts.append(f"{column} = ?")
                bound.append(self._bind(name, value))
        return (" WHERE " + " AND ".join(parts) if parts else ""), bound

    def listing(
        self, where: Mapping[str, object] | None, order: str | None, limit: int | None
    ) -> tuple[str, list[Value]]:
        """Write what follows `select` in a listing: conditions as in `condition`, an order as in `order`, a limit."""
        condition, bound = self.condition(where or {})
        sql = condition + self.order(order or self.cls.key[0])
        if limit is None:
            return sql, bound
        return f"{sql} LIMIT ?", [*bound, limit]

    def order(self, order: str) -> str:
        """Write an ORDER BY clause for a column name, descending with a leading minus; ties go by the key."""
        descending = order.startswith("-")
        direction = " DESC" if descending else ""
        names = list(dict.fromkeys((order.removeprefix("-"), *self.cls.key)))
        return " ORDER BY " + ", ".join(self.column(name) + direction for name in names)

    def column(self, name: str) -> str:
        """Return the quoted column of that name.

        Raises:
            DefinitionError: If there is none.
        """
        if name not in self.names:
            raise DefinitionError(f"{self.cls.table} has no column {name!r}", hint=near(name, self.names))
        return quoted(name)

    def _fit(self, values: list[Any]) -> None:
        """Convert the values to those that SQLite will return: it stores True as 1, and converts a value to a column's type."""
        for position, kinds in enumerate(self._kinds):
            value = values[position]
            if value is not None and type(value) not in kinds:
                plain = next((kind for kind in kinds if isinstance(value, kind)), None)
                if plain is None:
                    raise DataError(f"{self.cls.table}.{self.names[position]} cannot be stored: it is {value!r}")
                values[position] = plain(value)
        self._fitting.add(tuple(map(type, values)))

    def _bind(self, name: str, value: object) -> Value:
        encode: Callable[[Any], Value] = self._encoder_of.get(name, _unchanged)
        return None if value is None else encode(value)

    def _member(self, column: str, values: list[Value]) -> tuple[str, list[Value]]:
        nullable = f" OR {column} IS NULL" if None in values else ""
        values = [value for value in values if value is not None]
        if len(values) > _LISTED_AT_MOST and not isinstance(values[0], bytes):
            # One parameter for any number of values: SQLite binds at most 32,766.
            return f"({column} IN (SELECT value FROM json_each(?)){nullable})", [to_json(values)]
        return f"({column} IN ({', '.join('?' * len(values))}){nullable})", values


@cache
def codec_for(cls: type[T]) -> RowCodec[T]:
    """Return the codec of a class of records."""
    return RowCodec(cls)


def check_of(values: Sequence[Value]) -> int:
    """Return the checksum of a row: the CRC-32 of its values as msgpack. A change would need a migration."""
    return crc32(_PACK.encode(values))


def quoted(name: str) -> str:
    """Quote an identifier for SQL."""
    return '"' + name.replace('"', '""') + '"'


Codec = tuple[Callable[[Any], Value], Callable[[Any], Any]]


def _codec(hint: type[Any]) -> Codec | None:
    """How a field is encoded and decoded, or None where SQLite keeps it as it is; null is never passed."""
    options = _options(hint)
    if options <= _AS_IT_IS:
        return None
    if options <= _AS_IT_IS | {float}:
        return spelled_float, float if options == {float} else _unchanged
    if options == {bool}:
        return int, _decode_bool
    if options == {datetime}:
        return _encode_time, from_micros
    return to_json, _json_decoder(hint)


def _options(hint: type[Any]) -> set[Any]:
    union = get_origin(hint) in (Union, types.UnionType)
    return set(get_args(hint)) - {type(None)} if union else {hint}


def _kinds(hint: type[Any]) -> tuple[type[Any], ...]:
    """The types of values that a field's column holds besides null."""
    options = _options(hint)
    if options <= _AS_IT_IS:
        return tuple(options)
    if options <= _AS_IT_IS | {float}:
        return float, int, str
    return (int,) if options in ({bool}, {datetime}) else (str,)


_AS_IT_IS = {int, str, bytes}


def _unchanged(value: Any) -> Any:  # a value of any column, as it is
    return value


def _encode_time(value: datetime) -> int:
    if value.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    return to_micros(value)


def _decode_bool(value: int) -> bool:
    if value not in (0, 1):
        raise ValueError(f"{value!r} is neither 0 nor 1")
    return value == 1


def _json_decoder(hint: type[Any]) -> Callable[[str], Any]:
    exact = msgspec.json.Decoder(hint).decode
    # Reads 'NaN' where a float is declared; tried second, because it also reads '1' where both fit.
    spelled = msgspec.json.Decoder(hint, strict=False).decode

    def decode(text: str) -> object:
        try:
            return exact(text)
        except msgspec.ValidationError:
            return spelled(text)

    return decode
