"""Make text safe for a terminal: control characters are written out, never sent.

Values, names and messages come from clients that push rows. A terminal obeys control characters: they clear the screen,
set its title, hide lines, fill the clipboard.
"""

from __future__ import annotations

import re

__all__ = ["printable", "printable_json"]

# Controls of ASCII and of Latin-1 (U+009B alone begins a command), line and paragraph separators, marks that change the
# writing direction, and halves of surrogate pairs, which cannot be encoded.
_COMMANDS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT = re.compile(f"[{_COMMANDS}]")
_IN_LINE = re.compile(f"[{_COMMANDS}\t\n]")


def printable(text: str, *, line: bool = False) -> str:
    r"""Write out the control characters of a text, as Python's `repr` does.

    Args:
        text: Text from anywhere.
        line: Whether tabs and line ends are written out as well, as a cell of a table requires.

    Example:
        >>> print(printable("\x1b[2Jgone"))
        \x1b[2Jgone
    """
    return (_IN_LINE if line else _IN_TEXT).sub(_written_out, text)


def printable_json(document: str) -> str:
    r"""Escape control characters that JSON allows in a text; the document keeps its meaning.

    Example:
        >>> print(printable_json('"a\x9bb"'))
        "a\u009bb"
    """
    return _IN_TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def _written_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
