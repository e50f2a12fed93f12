"""The words of a search: names, values and signs."""

from __future__ import annotations

import re
from typing import NamedTuple

from tinymlops.errors import DataError
from tinymlops.registry.run_search.conditions import COLUMNS

__all__ = ["HINT", "NAMED", "Token", "require_text", "short", "tokens", "unreadable"]

HINT = (
    'write "metrics.auc > 0.7 and (params.depth = 3 or tags.team is null)"; fields are metrics., params., tags., '
    "packages., machine., " + ", ".join(COLUMNS)
)
NAMED = re.compile(r'(\w+)\.(?:"([^"]*)"|`([^`]*)`|([\w./@:-]+))(?:\.(\w+))?')
"""A field of a map; the last part is apart only where the name is in quotes."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'[^']*'|"[^"]*")
    |(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])|[-+](?:inf|infinity)\b|(?:inf|infinity|nan)\b)
    |(?P<now>now\b(?:\s*[-+]\s*\w+)?)
    |(?P<sign>==|!=|<>|<=|>=|=|<|>|\(|\)|,)
    |(?P<word>[A-Za-z_]\w*(?:\.(?:"[^"]*"|`[^`]*`|[\w./@:-]+)(?:\.\w+)?)?))""",
    re.VERBOSE | re.IGNORECASE,
)
_LONGEST = 1_000_000
_SHOWN = 200
"""The most characters of a query that an error quotes."""


class Token(NamedTuple):
    """One word: its kind (`text`, `number`, `now`, `sign`, `word` or `end`) and its text."""

    kind: str
    text: str


def tokens(where: str) -> list[Token]:
    """Cut a search into its words; the last one is of the kind `end`.

    Raises:
        DataError: If a character belongs to no word.
    """
    if len(where) > _LONGEST:
        raise unreadable(where, f"it has more than {_LONGEST:,} characters")
    found, place = [], 0
    end = len(where.rstrip())
    while place < end:
        match = _TOKEN.match(where, place)
        if match is None:
            raise unreadable(where, f"{where[place : place + 12]!r} is not understood")
        assert match.lastgroup is not None, "every alternative is named"
        found.append(Token(match.lastgroup, match.group(match.lastgroup)))
        place = match.end()
    return [*found, Token("end", "")]


def require_text(text: object, what: str) -> str:
    """Return a text that SQLite can take.

    Raises:
        DataError: If it is not a text, or holds a character of code 0.
    """
    if not isinstance(text, str):
        raise DataError(f"{what}={text!r} is not text", hint=HINT)
    if "\0" in text:
        raise DataError(f"{what}={short(text)!r} holds a character of code 0, which no name or text has", hint=HINT)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{what} is not valid Unicode: {error.reason}", hint=HINT) from error
    return text


def unreadable(where: str, why: str) -> DataError:
    """Return the error for a search that cannot be read."""
    return DataError(f"{short(where)!r} cannot be read: {why}", hint=HINT)


def short(text: str) -> str:
    """Return the beginning of a long text."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
