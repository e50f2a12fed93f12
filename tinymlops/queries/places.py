"""Where a query is wrong, by what DuckDB says of it: a part of a line, and a mark below it."""

from __future__ import annotations

import re

from tinymlops.queries.messages import Place

__all__ = ["place_of", "without_place"]

_QUOTED = re.compile(r"\s*\n+LINE (?P<line>\d+): (?P<text>[^\n]*)\n(?P<indent> *)\^[^\n]*", re.DOTALL)
_NAMED = re.compile(r"(?:table|name|column|names|function) [\"']?([A-Za-z_][\w.]*)", re.IGNORECASE)
_WORD = re.compile(r"\w+")
_AROUND = 60
"""Characters of a long line that are shown before and after."""


def without_place(message: str) -> str:
    """Return a message without the part of the query that it quotes."""
    return _QUOTED.sub("", message).strip()


def place_of(message: str, query: str) -> Place | None:
    r"""Return where in a query something is wrong, or None if the message does not tell.

    Args:
        message: Of the error; DuckDB quotes the line, or a part of it, and puts a mark below.
        query: As somebody wrote it.

    Example:
        >>> place_of("syntax error\n\nLINE 1: select fro t\n               ^", "-- all\nselect fro t")
        Place(line=2, column=8, text='select fro t', offset=7, length=3)
    """
    found = _QUOTED.search(message)
    if found is None:
        return _by_name(message, query)
    text, offset = found["text"], len(found["indent"]) - len(f"LINE {found['line']}: ")
    if text.startswith("..."):
        text, offset = text[3:], offset - 3
    text = text.removesuffix("...")
    lines = query.split("\n")
    # The text that ran may lack what came before it, and may name files by their whole path: the quoted part is looked for.
    said = int(found["line"]) - 1
    order = [said, *range(len(lines))] if said < len(lines) else range(len(lines))
    at = next((number for number in order if text.strip() and text in lines[number]), None)
    if at is None or offset < 0:
        return None
    offset += len(text[offset:]) - len(text[offset:].lstrip())
    return _place(lines[at], at, lines[at].index(text) + offset)


def _by_name(message: str, query: str) -> Place | None:
    """Look for the one thing that the message names, as a word of its own."""
    named = _NAMED.search(message)
    if named is None:
        return None
    word = re.compile(rf"(?<![\w.\"']){re.escape(named[1])}(?![\w.])", re.IGNORECASE)
    for number, line in enumerate(query.split("\n")):
        if (found := word.search(line)) is not None:
            return _place(line, number, found.start())
    return None


def _place(line: str, number: int, column: int) -> Place:
    column = min(column, len(line))
    first = max(0, column - _AROUND)
    word = _WORD.match(line, column)
    return Place(number + 1, column + 1, line[first : column + _AROUND], column - first, len(word[0]) if word else 1)
