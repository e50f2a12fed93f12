"""Pushed rows as they are stored: msgpack of a row's values, with a digest to recognize a known row.

Times are integers in the column's unit, decimals and enums are text. A payload's values are in the order of the
source's known columns, to which new ones are only appended, and nulls at its end are left out: so a row has the same
payload before and after a column was added.
"""

from __future__ import annotations

import hashlib
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.records import PushedRow
from tinymlops.registry.pushes import pushed_values
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import polars as pl

    from tinymlops.stores.database import Database

__all__ = ["digest_of", "read_pushed", "stored_dtype", "to_ids", "to_payloads"]

_N, _, _, _PAYLOAD, _, _EVENT, _CREATED, _DELETED = range(len(PushedRow.__struct_fields__))
_DIGEST = 16


def to_payloads(frame: pl.DataFrame, columns: Iterable[str]) -> list[bytes]:
    """Write each row of a frame; a column that it does not have is null."""
    parts: list[list[Any]] = [
        frame[name].cast(stored_dtype(frame.schema[name])).to_list() if name in frame.columns else [None] * frame.height
        for name in columns
    ]
    encode = msgspec.msgpack.Encoder().encode
    return [encode(_without_last_nulls(values)) for values in zip(*parts, strict=True)]


def to_ids(column: pl.Series) -> list[str]:
    """Write event ids as JSON text: equal values have equal texts."""
    encode = msgspec.json.Encoder().encode
    return [encode(value).decode() for value in column.cast(stored_dtype(column.dtype)).to_list()]


def digest_of(payload: bytes) -> bytes:
    """Return the first 16 bytes of the SHA-256 of a payload."""
    return hashlib.sha256(payload).digest()[:_DIGEST]


def read_pushed(
    database: Database, source: str, columns: Mapping[str, str], *, after: int = 0, up_to: int | None = None
) -> pl.DataFrame:
    """Read a source's pushed rows, in the order of their sequence.

    Args:
        database: The workspace's database.
        source: The source's name.
        columns: Every known column and its dtype, in the order of the payloads.
        after: Only rows with a greater sequence.
        up_to: Only rows with a sequence up to this one.

    Returns:
        These columns, then `__event`, `__created`, `__sequence` and `__deleted`.

    Raises:
        IntegrityError: If a row is not what was written.
    """
    import polars as pl

    rows = pushed_values(database, source, after=after, up_to=up_to)
    decode = msgspec.msgpack.Decoder(list[Any]).decode
    values = [decode(row[_PAYLOAD]) for row in rows]
    dtypes = {name: parse_dtype(dtype) for name, dtype in columns.items()}
    parts = list(zip_longest(*values)) or [()] * len(dtypes)
    parts += [(None,) * len(rows)] * (len(dtypes) - len(parts))
    own = [
        pl.Series(name, list(part), dtype=stored_dtype(dtype)).cast(dtype)
        for (name, dtype), part in zip(dtypes.items(), parts, strict=True)
    ]
    numbers = {"__event": _EVENT, "__created": _CREATED, "__sequence": _N}
    system = [pl.Series(name, [row[i] for row in rows], dtype=pl.Int64) for name, i in numbers.items()]
    deleted = pl.Series("__deleted", [row[_DELETED] == 1 for row in rows], dtype=pl.Boolean)
    return pl.DataFrame([*own, *system, deleted])


def _without_last_nulls(values: tuple[Any, ...]) -> tuple[Any, ...]:
    end = len(values)
    while end and values[end - 1] is None:
        end -= 1
    return values[:end]


def stored_dtype(dtype: pl.DataType) -> pl.DataType:
    """Return the type that a payload uses for a column's type."""
    import polars as pl

    if isinstance(dtype, pl.List):
        assert isinstance(dtype.inner, pl.DataType)
        return pl.List(stored_dtype(dtype.inner))
    if isinstance(dtype, pl.Array):
        assert isinstance(dtype.inner, pl.DataType)
        return pl.Array(stored_dtype(dtype.inner), dtype.size)
    if isinstance(dtype, pl.Struct):
        fields: dict[str, Any] = dict(dtype.to_schema())
        return pl.Struct({name: stored_dtype(inner) for name, inner in fields.items()})
    if dtype.is_temporal():
        return pl.Int64()
    if isinstance(dtype, pl.Decimal | pl.Enum):
        return pl.String()
    return dtype
