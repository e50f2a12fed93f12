"""TensorBoard's event files: records of bytes, each with two checksums, and the protobuf messages in them.

A record is its length (8 bytes), a checksum of the length, the content, and a checksum of the content; a checksum is a
CRC-32C, rotated and offset as the TFRecord format says. The messages are those of `tensorflow/core/util/event.proto` and
`tensorflow/core/framework/summary.proto`, read by field number.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from tinymlops.stores.publish import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Event", "EventFile", "Fields", "Value"]

_HEAD, _TAIL = struct.Struct("<QI"), struct.Struct("<I")
_CASTAGNOLI = 0x82F63B78
_MASK = 0xA282EAD8
_VARINT, _EIGHT, _LENGTH, _FOUR = 0, 1, 2, 5
_LONGEST = 1 << 31
"""Bytes of the longest record that is read: protobuf's own limit."""


class Fields:
    """The fields of one protobuf message, by number, each with its values in the order they were written.

    Args:
        content: The message's bytes.

    Raises:
        ValueError: If they are not a message.
    """

    def __init__(self, content: bytes | memoryview) -> None:
        self._values: dict[int, list[int | memoryview]] = {}
        view = memoryview(content)
        at = 0
        while at < len(view):
            tag, at = _varint(view, at)
            kind = tag & 7
            value: int | memoryview
            if kind == _VARINT:
                value, at = _varint(view, at)
            else:
                size = {_EIGHT: 8, _FOUR: 4}.get(kind)
                if kind == _LENGTH:
                    size, at = _varint(view, at)
                if size is None or at + size > len(view):
                    raise ValueError("a protobuf message is cut off or has an unknown kind of field")
                value, at = view[at : at + size], at + size
            self._values.setdefault(tag >> 3, []).append(value)

    def has(self, number: int) -> bool:
        """Return whether a field was written."""
        return number in self._values

    def integer(self, number: int) -> int:
        """Return a whole number; 0 if it was not written."""
        value = self._values.get(number, [0])[-1]
        if not isinstance(value, int):
            raise ValueError(f"field {number} of a protobuf message is not a number")  # noqa: TRY004 - of bytes
        return value - (1 << 64) if value >= 1 << 63 else value

    def float(self, number: int) -> float:
        """Return a number of 4 or 8 bytes; 0 if it was not written."""
        value = self._values.get(number, [memoryview(bytes(8))])[-1]
        if isinstance(value, int) or len(value) not in (4, 8):
            raise ValueError(f"field {number} of a protobuf message is not a float")
        number_read: float = struct.unpack("<f" if len(value) == 4 else "<d", value)[0]
        return number_read

    def bytes(self, number: int) -> bytes:
        """Return bytes; empty if they were not written."""
        return bytes(self._chunk(self._values.get(number, [memoryview(b"")])[-1]))

    def text(self, number: int) -> str:
        """Return text; what is not UTF-8 in it is replaced."""
        return self.bytes(number).decode(errors="replace")

    def message(self, number: int) -> Fields:
        """Return a message inside this one; empty if it was not written."""
        return Fields(self.bytes(number))

    def messages(self, number: int) -> list[Fields]:
        """Return the messages of a repeated field."""
        return [Fields(self._chunk(value)) for value in self._values.get(number, [])]

    def chunks(self, number: int) -> list[memoryview]:
        """Return the byte strings of a repeated field."""
        return [self._chunk(value) for value in self._values.get(number, [])]

    def packed(self, number: int, dtype: str) -> np.ndarray:
        """Return a repeated field of numbers of one size, packed or not."""
        chunks = [self._chunk(value) for value in self._values.get(number, [])]
        return np.frombuffer(b"".join(chunks), dtype=dtype)

    def integers(self, number: int) -> list[int]:
        """Return a repeated field of whole numbers, packed or not."""
        found: list[int] = []
        for value in self._values.get(number, []):
            if isinstance(value, int):
                found.append(value)
                continue
            at = 0
            while at < len(value):
                one, at = _varint(value, at)
                found.append(one)
        return [one - (1 << 64) if one >= 1 << 63 else one for one in found]

    def _chunk(self, value: int | memoryview) -> memoryview:
        if isinstance(value, int):
            raise ValueError("a field of a protobuf message is a number where bytes belong")  # noqa: TRY004 - of bytes
        return value


@dataclass(frozen=True)
class Value:
    """One value of a summary."""

    tag: str
    plugin: str
    """Of the metadata, if it has any: only a tag's first value need have it."""
    plugin_content: bytes
    fields: Fields


@dataclass(frozen=True)
class Event:
    """One record of an event file."""

    micros: int
    """When it was written, in microseconds UTC."""
    step: int
    values: list[Value]
    graph: bytes
    at: int
    """Where its record begins in the file."""


@dataclass
class EventFile:
    """One file of events, which can be read once.

    Args:
        path: Of the file.
    """

    path: Path
    trouble: str = field(default="", init=False)
    """Why its end was not read, once it was read as far as possible."""

    def events(self) -> Iterator[Event]:
        """Yield the events until the file ends, is cut off, or is damaged."""
        with open_regular(self.path) as stream:
            for number, (at, record) in enumerate(self._records(stream)):
                try:
                    yield _event(record, at)
                except (ValueError, OverflowError, struct.error) as error:
                    self.trouble = f"event {number} cannot be read ({error}); what follows it is left out"
                    return

    def event_at(self, at: int) -> Event:
        """Read one event again, by where its record begins.

        Raises:
            ValueError: If it is not there any more.
        """
        with open_regular(self.path) as stream:
            stream.seek(at)
            for _, record in self._records(stream):
                return _event(record, at)
        raise ValueError(self.trouble or "the file has become shorter")

    def _records(self, stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
        at = stream.tell()
        while head := stream.read(_HEAD.size):
            if len(head) < _HEAD.size:
                self.trouble = f"the last record is cut off, at byte {at:,}"
                return
            length, check = _HEAD.unpack(head)
            if masked(head[:8]) != check or length > _LONGEST:
                self.trouble = f"the record at byte {at:,} is damaged; it and what follows are left out"
                return
            content, tail = stream.read(length), stream.read(_TAIL.size)
            if len(content) < length or len(tail) < _TAIL.size:
                self.trouble = f"the last record is cut off, at byte {at:,}"
                return
            if masked(content) != _TAIL.unpack(tail)[0]:
                self.trouble = f"the record at byte {at:,} is damaged; it and what follows are left out"
                return
            yield at, content
            at += _HEAD.size + length + _TAIL.size


def masked(content: bytes) -> int:
    """Return the CRC-32C of some bytes, masked as in a TFRecord.

    Example:
        >>> hex(masked(b"123456789"))  # the CRC-32C of these is 0xe3069283, by RFC 3720
        '0xc78ab0e5'
    """
    pairs, table = memoryview(content), _table()
    check = 0xFFFFFFFF
    even = len(pairs) & ~1
    for pair in np.frombuffer(pairs[:even], dtype="<u2").tolist():
        check = table[(check ^ pair) & 0xFFFF] ^ (check >> 16)
    if even < len(pairs):
        check = _byte(check, pairs[-1])
    check ^= 0xFFFFFFFF
    return ((check >> 15 | check << 17) + _MASK) & 0xFFFFFFFF


@cache
def _table() -> list[int]:
    """Return what two bytes do to a checksum, for each of their 65,536 values."""
    checks = np.arange(1 << 16, dtype=np.uint32)
    for _ in range(16):
        checks = np.where(checks & 1, (checks >> 1) ^ np.uint32(_CASTAGNOLI), checks >> 1).astype(np.uint32)
    return [int(one) for one in checks]


def _byte(check: int, value: int) -> int:
    check ^= value
    for _ in range(8):
        check = (check >> 1) ^ _CASTAGNOLI if check & 1 else check >> 1
    return check


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(view) and shift < 70:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise ValueError("a protobuf message is cut off in a number")


def _event(record: bytes, at: int) -> Event:
    fields = Fields(record)
    values = [_value(one) for one in fields.message(5).messages(1)] if fields.has(5) else []
    graph = fields.bytes(4) if fields.has(4) else b""
    return Event(round(fields.float(1) * 1_000_000), fields.integer(2), values, graph, at)


def _value(fields: Fields) -> Value:
    plugin, content = "", b""
    if fields.has(9):
        data = fields.message(9).message(1)
        plugin, content = data.text(1), data.bytes(2)
    return Value(fields.text(1), plugin, content, fields)
