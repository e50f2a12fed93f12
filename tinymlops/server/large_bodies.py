"""Large bodies, read piece by piece in a thread, so that no one of them keeps the interpreter from all others.

A decoder written in C gives the interpreter back when it is done, and a million names or lists take it seconds. So the rows of
a large body are found first, and decoded some at a time; what no body may have is refused before anything is decoded.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from tinymlops.server.messages import MAX_COLUMNS, MAX_ROWS

__all__ = ["SMALL", "decode_large"]

SMALL = 64 * 1024
"""Bytes: up to here a body is decoded at once. Also what is decoded at a time of a larger one."""
_MOST_CONTAINERS = 200_000
"""Lists and objects of one body."""
_MOST_TEXTS = 1_000_000
"""Names and values of one body that are texts."""
_MARK = re.compile(rb'"[^"\\]{0,200}"|["\[\]{}]')
"""A short text without escapes, the beginning of another one, or a bracket."""
_CLOSES = {b"]": b"[", b"}": b"{"}
_DEPTH_OF_ROWS = 2
_MOST_DEEP = 10
"""More than any value of a row."""
_INDEX = re.compile(r"`\$\[(\d+)\]")


class _Rows(NamedTuple):
    field: str
    start: int
    """Of what stands between the brackets."""
    cuts: list[int]
    """Ends of pieces, each of whole rows; the last is the end of all."""


def decode_large(kind: Any, content: bytes) -> Any:
    """Decode a body.

    Args:
        kind: The Struct that it is.
        content: JSON.

    Raises:
        ValidationError: If it is JSON of another shape.
        DecodeError: If it is not JSON.
    """
    scan = _Scan(content)
    try:
        scan.run()
    except _TooDeepError as error:
        message, place = error.args
        if place > SMALL:
            raise msgspec.ValidationError(message) from None
        return _decoder(kind).decode(content)  # which comes no further either, and says what it expected there
    rows = scan.longest
    if rows is None or rows.field not in kind.__struct_fields__ or rows.cuts[-1] - rows.start <= SMALL:
        return _decoder(kind).decode(content)
    element = _element_of(kind, rows.field)
    if element is None:
        return _decoder(kind).decode(content)
    found: list[Any] = []
    begin = rows.start
    for end in rows.cuts:
        found += _piece(element, content[begin:end], rows.field, len(found), is_first=begin == rows.start)
        begin = end
        if len(found) > MAX_ROWS:
            raise msgspec.ValidationError(f"Expected `array` of length <= {MAX_ROWS} - at `$.{rows.field}`")
    if not found:  # blanks alone
        return _decoder(kind).decode(content[: rows.start] + content[rows.cuts[-1] :])
    frame = content[: rows.start] + msgspec.json.encode(found[0]) + content[rows.cuts[-1] :]
    rest = _decoder(kind).decode(frame)
    try:
        return kind(**{name: getattr(rest, name) for name in kind.__struct_fields__} | {rows.field: found})
    except ValueError as error:
        raise msgspec.ValidationError(str(error)) from error


def _piece(element: Any, piece: bytes, field: str, before: int, *, is_first: bool) -> list[Any]:
    piece = piece.strip()
    if not is_first:
        if not piece:
            return []
        if piece[:1] != b"," or not piece[1:].strip():
            raise msgspec.DecodeError(f"JSON is malformed: the items of {field!r} are not parted by commas")
        piece = piece[1:]
    try:
        decoded: list[Any] = _decoder(list[element]).decode(b"[" + piece + b"]")
    except msgspec.ValidationError as error:
        placed = _INDEX.sub(lambda found: f"`$.{field}[{before + int(found[1])}]", str(error), count=1)
        placed = placed.replace("in `$[...]`", f"in `$.{field}[...]`")
        raise msgspec.ValidationError(placed) from error
    return decoded


class _TooDeepError(Exception):
    """Nested deeper than anything that a body may have; with the place."""


class _Scan:
    """Goes over the brackets and texts of a body, and knows the longest list that is one of its fields."""

    def __init__(self, content: bytes) -> None:
        self.longest: _Rows | None = None
        self._content = content
        self._open: list[list[Any]] = []
        """The brackets that are open, and how many texts stand in each."""
        self._containers = self._texts = 0
        self._field = b""
        self._rows = _Rows("", 0, [])

    def run(self) -> None:
        """Go over all."""
        content, place = self._content, 0
        while place < len(content):
            mark = _MARK.search(content, place, place + SMALL)  # a search gives the interpreter back at its end
            if mark is None:
                place += SMALL
                continue
            place = mark.end()
            if mark[0][:1] == b'"':
                if place == mark.start() + 1:
                    place = _end_of_text(content, place)
                self._text(mark.start(), place)
            elif mark[0] in b"[{":
                self._begin(mark[0], place)
            else:
                self._end(mark[0], place)
        if self._open:
            raise msgspec.DecodeError("JSON is malformed: a bracket is not closed")

    def _text(self, start: int, end: int) -> None:
        self._texts += 1
        if not self._open:
            raise msgspec.ValidationError("Expected `object`, got `str`")
        if self._texts > _MOST_TEXTS:
            raise msgspec.ValidationError(f"Expected at most {_MOST_TEXTS} names and texts")
        if len(self._open) == 1 and end - start > SMALL:
            raise msgspec.ValidationError(f"Expected names and texts of the body itself with <= {SMALL} bytes")
        bracket = self._open[-1]
        bracket[1] += 1
        if bracket[0] == b"{" and bracket[1] > 2 * MAX_COLUMNS:
            raise msgspec.ValidationError(f"Expected `object` of length <= {MAX_COLUMNS}")
        if len(self._open) == 1:
            self._field = self._content[start + 1 : end - 1][:100]

    def _begin(self, bracket: bytes, place: int) -> None:
        self._containers += 1
        if self._containers > _MOST_CONTAINERS:
            raise msgspec.ValidationError(f"Expected at most {_MOST_CONTAINERS} lists and objects")
        if len(self._open) == _MOST_DEEP:
            raise _TooDeepError(f"Expected lists and objects at most {_MOST_DEEP} deep", place)
        self._open.append([bracket, 0])
        if len(self._open) == _DEPTH_OF_ROWS:
            self._rows = _Rows(self._field.decode("utf-8", "replace"), place, [])

    def _end(self, bracket: bytes, place: int) -> None:
        if not self._open or self._open[-1][0] != _CLOSES[bracket]:
            raise msgspec.DecodeError(f"JSON is malformed: a bracket does not match (byte {place - 1})")
        self._open.pop()
        rows = self._rows
        if len(self._open) == _DEPTH_OF_ROWS and place - (rows.cuts[-1] if rows.cuts else rows.start) >= SMALL:
            rows.cuts.append(place)
        if len(self._open) == 1 and bracket == b"]":
            rows.cuts.append(place - 1)
            if self.longest is None or place - rows.start > self.longest.cuts[-1] - self.longest.start:
                self.longest = rows


def _end_of_text(content: bytes, place: int) -> int:
    while True:
        quote = content.find(b'"', place)
        if quote < 0:
            raise msgspec.DecodeError("JSON is malformed: a text does not end")
        before = quote
        while content[before - 1] == ord("\\"):
            before -= 1
        if (quote - before) % 2 == 0:
            return quote + 1
        place = quote + 1


@lru_cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


@lru_cache
def _element_of(kind: Any, field: str) -> Any:
    """Return the type of a list's items, the list being one of the types that a field may have; else None."""
    found = get_type_hints(kind, include_extras=True)[field]
    for hint in (found, *get_args(found)):
        plain = hint.__origin__ if hasattr(hint, "__metadata__") else hint
        if get_origin(plain) is list:
            return get_args(plain)[0]
    return None
