"""Records as a table with typed columns: as `ws.sql` shows them, and as sinks write them."""

from __future__ import annotations

from datetime import datetime
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import polars as pl

from tinymlops.stores.rows import codec_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from tinymlops.records import Record
    from tinymlops.stores.database import Database

__all__ = ["frame_of", "table_of", "with_unread"]

_BATCH = 20_000
_TIME = pl.Datetime("us", "UTC")


def frame_of(cls: type[Record], rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """Return records as a frame: times as times, values with fields of their own as JSON text.

    Args:
        cls: The class of the records.
        rows: SQLite's values in the order of its fields, as `Database.stored` returns them; what stands behind is left out.
    """
    names, hints = cls.__struct_fields__, get_type_hints(cls)
    columns = list(zip(*rows, strict=True))[: len(names)] or [()] * len(names)
    series: list[pl.Series] = []
    for name, values in zip(names, columns, strict=True):
        series += _series(name, values, hints[name])
    return pl.DataFrame(series)


def table_of(database: Database, cls: type[Record], names: Collection[str] | None = None) -> pl.DataFrame:
    """Return all records of a class in the order of their key, each compared with its checksum.

    Args:
        database: To read from, a part at a time: SQLite's values take many times the memory of a frame.
        cls: The class of the records.
        names: The columns that are read, and the first; the others are null, and take no memory. None for all.

    Raises:
        IntegrityError: If a record is not what was written.
    """
    codec, empty = codec_for(cls), frame_of(cls, ())
    read = [name for name in empty.columns if names is None or name in names] or empty.columns[:1]
    with database.batches(codec.select + codec.order(cls.key[0]), size=_BATCH) as batches:
        parts = [frame_of(cls, codec.all_checked(rows)).select(read) for rows in batches]
    return with_unread(pl.concat([empty.select(read), *parts]), empty.columns)


def with_unread(frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """Return a frame with columns that nobody reads, which are null and take no memory.

    Args:
        frame: With one column or more.
        names: All columns in order.
    """
    return frame.select(pl.col(name) if name in frame.columns else pl.lit(None).alias(name) for name in names)


def _series(name: str, values: tuple[Any, ...], hint: Any) -> list[pl.Series]:
    """Return a column; two, `name` and `name_text`, where a value is a number or text."""
    is_union = get_origin(hint) in (Union, UnionType)
    kinds = set(get_args(hint) if is_union else (hint,)) - {type(None)}
    if kinds == {float, str}:
        numbers = [None if isinstance(value, str) else value for value in values]
        texts = [value if isinstance(value, str) else None for value in values]
        return [pl.Series(name, numbers, dtype=pl.Float64), pl.Series(f"{name}_text", texts, dtype=pl.String)]
    if kinds == {datetime}:
        return [pl.Series(name, values, dtype=pl.Int64).cast(_TIME)]
    if kinds == {bool}:
        return [pl.Series(name, values, dtype=pl.Int64).cast(pl.Boolean)]
    if kinds == {float}:  # NaN and the infinities are text in SQLite
        return [pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)]
    return [pl.Series(name, values, dtype=pl.Int64 if kinds == {int} else pl.String)]
