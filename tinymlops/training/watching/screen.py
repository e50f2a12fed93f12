"""Lines as a terminal shows them in the end: a progress bar that is drawn a thousand times is one line."""

from __future__ import annotations

import re

__all__ = ["Screen"]

_HEIGHT = 24
"""Lines that may still change."""
_WIDEST = 16_384
"""Characters after which a line goes on in the next one."""
_PLAIN = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_NO_LINE_END = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_ESCAPE = re.compile(
    r"\x1b(?:\[([0-9;:<=>?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-Z\\^-~])"
)
_BEGUN = re.compile(r"\x1b(?:\[[0-9;:<=>?]{0,32}[ -/]{0,2}|\][^\x07\x1b]{0,500}\x1b?|[ -/]{0,2})?\Z")


class _Line:
    __slots__ = ("stream", "text")

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.text = ""


class _Cursor:
    """Where a stream writes: each has its own, so that one's bar does not run into the other's line."""

    def __init__(self) -> None:
        self.line: _Line | None = None
        """None: a new line at the bottom, once there is something to write."""
        self.column = 0
        self.rest = ""
        """The beginning of an escape sequence whose end has not come yet."""


class Screen:
    r"""The last lines of some output, in the order they were begun; earlier lines are final.

    Returns to the beginning of a line, erasure, and movements up and down are followed; colours are left out.

    Example:
        >>> screen = Screen()
        >>> screen.write("stderr", "\r10 %\r20 %\x1b[32m done\n")
        >>> screen.shown()
        '20 % done\n'
    """

    def __init__(self) -> None:
        self._lines: list[_Line] = []
        self._cursors: dict[str, _Cursor] = {}
        self._final: list[str] = []

    def write(self, stream: str, text: str) -> None:
        """Show what a stream writes; long output comes in pieces, as all of a piece is held."""
        cursor = self._cursors.setdefault(stream, _Cursor())
        text, cursor.rest = cursor.rest + text, ""
        position = 0
        while position < len(text):
            plain = _PLAIN.match(text, position)
            if plain is not None and self._at_end(cursor):
                self._append(stream, cursor, plain[0])
                position = plain.end()
            else:
                position = self._step(stream, cursor, text, position)
        self._scroll()

    def take_final(self) -> str:
        """Return the lines that cannot change any more since the last call."""
        final, self._final = "".join(self._final), []
        return final

    def shown(self) -> str:
        """Return the lines that may still change."""
        text = "\n".join(line.text for line in self._lines)
        unfinished = self._lines and any(cursor.line is self._lines[-1] for cursor in self._cursors.values())
        return text + "\n" if self._lines and not unfinished else text

    def _at_end(self, cursor: _Cursor) -> bool:
        return cursor.line is None or (cursor.line is self._lines[-1] and cursor.column == len(cursor.line.text))

    def _append(self, stream: str, cursor: _Cursor, text: str) -> None:
        """Write text and line ends at the bottom."""
        first, *others = text.split("\n")
        self._put(stream, cursor, first)
        if len(others) > 2 * _HEIGHT and max(map(len, others)) <= _WIDEST:
            self._end_line(stream, cursor)
            self._scroll(0)  # all but the last of many lines leave the screen at once
            self._final.append("\n".join(others[:-_HEIGHT]) + "\n")
            first, *others = others[-_HEIGHT:]
            self._put(stream, cursor, first)
        for other in others:
            self._end_line(stream, cursor)
            self._put(stream, cursor, other)

    def _step(self, stream: str, cursor: _Cursor, text: str, position: int) -> int:
        """Obey one control character or write one piece of text; return where the next one begins."""
        plain = _NO_LINE_END.match(text, position)
        if plain is not None:
            self._put(stream, cursor, plain[0])
            return plain.end()
        control = text[position]
        if control == "\x1b":
            return self._escape(stream, cursor, text, position)
        if control == "\n":
            self._end_line(stream, cursor)
        elif control == "\r":
            cursor.column = 0
        elif control == "\b":
            cursor.column = max(cursor.column - 1, 0)
        elif control >= "\u2028":  # a separator, or half of a pair
            self._put(stream, cursor, "\ufffd")
        return position + 1

    def _escape(self, stream: str, cursor: _Cursor, text: str, position: int) -> int:
        found = _ESCAPE.match(text, position)
        if found is None:
            if _BEGUN.match(text, position):
                cursor.rest = text[position:]
                return len(text)
            return position + 1
        if found[2] in ("A", "B"):
            count = int(found[1][:4]) if found[1].isdigit() else 1
            self._move(stream, cursor, -count if found[2] == "A" else count)
        elif found[2] == "K" and cursor.line is not None:
            line = cursor.line
            line.text = {"1": " " * cursor.column + line.text[cursor.column :], "2": ""}.get(
                found[1], line.text[: cursor.column]
            )
        return found.end()

    def _put(self, stream: str, cursor: _Cursor, text: str) -> None:
        if not text:
            return
        if cursor.line is None:
            cursor.line = _Line(stream)
            self._lines.append(cursor.line)
        line, column = cursor.line, cursor.column
        line.text = f"{line.text[:column]:<{column}}{text}{line.text[column + len(text) :]}"
        cursor.column += len(text)
        while len(line.text) > _WIDEST:
            line = self._wrapped(stream, cursor, line)

    def _wrapped(self, stream: str, cursor: _Cursor, line: _Line) -> _Line:
        following = _Line(stream)
        line.text, following.text = line.text[:_WIDEST], line.text[_WIDEST:]
        self._lines.insert(self._lines.index(line) + 1, following)
        cursor.line, cursor.column = following, max(cursor.column - _WIDEST, 0)
        return following

    def _end_line(self, stream: str, cursor: _Cursor) -> None:
        if cursor.line is None:
            self._lines.append(_Line(stream))  # an empty line
        elif cursor.line is self._lines[-1]:
            cursor.line = None
        else:
            own = self._own(stream)
            below = own.index(cursor.line) + 1
            cursor.line = own[below] if below < len(own) else None
        cursor.column = 0

    def _move(self, stream: str, cursor: _Cursor, by: int) -> None:
        own = self._own(stream)
        at = own.index(cursor.line) if cursor.line is not None else len(own)
        to = max(at + by, 0)
        cursor.line = own[to] if to < len(own) else None

    def _own(self, stream: str) -> list[_Line]:
        return [line for line in self._lines[-2 * _HEIGHT :] if line.stream == stream]

    def _scroll(self, height: int = _HEIGHT) -> None:
        """Let the upper lines go."""
        over = len(self._lines) - height
        if over <= 0:
            return
        gone, self._lines = self._lines[:over], self._lines[over:]
        for cursor in self._cursors.values():
            if any(cursor.line is line for line in gone):
                cursor.line, cursor.column = None, 0
        self._final.extend(line.text + "\n" for line in gone)
