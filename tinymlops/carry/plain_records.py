"""Records as JSON, exactly: the values of their columns as the database stores them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tinymlops.errors import IntegrityError, TinyMLOpsError
from tinymlops.records import Record
from tinymlops.stores.rows import check_of, codec_for

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["from_json", "from_plain", "listed", "plain", "to_json_bytes"]

R = TypeVar("R", bound=Record)


def plain(record: Record) -> dict[str, Any]:
    """Return the columns of a record by name; a non-finite float is text, and what is no scalar is JSON text."""
    codec = codec_for(type(record))
    return dict(zip(codec.names, codec.encode(record), strict=False))  # the last value is the checksum


def from_plain(cls: type[R], columns: object) -> R:
    """Make a record of columns by name.

    Raises:
        IntegrityError: If they are not those of the record.
    """
    codec = codec_for(cls)
    if not isinstance(columns, dict) or set(columns) != set(codec.names):
        raise IntegrityError(f"a record of {cls.table} has other columns than it should")
    values = [columns[name] for name in codec.names]
    try:
        record: R = codec.decode([*values, check_of(values)])
        msgspec.convert(msgspec.to_builtins(record, builtin_types=(bytes,)), cls, strict=False)
    except (msgspec.MsgspecError, TinyMLOpsError, TypeError, ValueError) as error:
        raise IntegrityError(f"a record of {cls.table} cannot be read: {error}") from error
    return record


def to_json_bytes(content: object) -> bytes:
    """Write JSON."""
    return msgspec.json.encode(content)


def from_json(content: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        IntegrityError: If it is none.
    """
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise IntegrityError(f"the records of a run cannot be read: {error}") from error


def listed(cls: type[R], rows: Iterable[object]) -> list[R]:
    """Make records of rows of columns by name."""
    return [from_plain(cls, row) for row in rows]
