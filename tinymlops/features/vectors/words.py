"""The words of a text, as a search by words compares them.

A word is a run of letters, digits and marks, without regard to case: what FTS5's `unicode61` takes, except that accents count.
Scripts that have no spaces between words give their characters, and each two that stand beside each other.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["VERSION", "words_of", "words_to_find"]

VERSION = f"1 {unicodedata.unidata_version}"
"""Texts are split alike by the same version: categories and case are those of Unicode."""
_SPACE = "\u200b"
"""Of the category of what has no width, and yet it separates words."""
_UNSPACED = re.compile(
    "(["
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Myanmar, Khmer
    "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Hiragana, Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Han
    "]+)"
)


class _Characters(dict[int, str]):
    """What becomes of each character: itself, a space, or nothing for those that have no width."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        is_none = category == "Cf" and character != _SPACE
        self[code] = character if category[0] in "LNM" or category == "Co" else "" if is_none else " "
        return self[code]


_CHARACTERS = _Characters()


def words_of(text: str) -> list[str]:
    """Return the words of a text that is searched, in their order.

    Example:
        >>> words_of("Straße, STRASSE; e-mail"), words_of("東京都")
        (['strasse', 'strasse', 'e', 'mail'], ['東', '京', '都', '東京', '京都'])
    """
    return _split(text, lone=True)


def words_to_find(query: str) -> list[str]:
    """Return the different words of a query, in their order; of a script without spaces, two characters make a word.

    Example:
        >>> words_to_find("Red red wine"), words_to_find("東京都"), words_to_find("京")
        (['red', 'wine'], ['東京', '京都'], ['京'])
    """
    return list(dict.fromkeys(_split(query, lone=False)))


def _split(text: str, *, lone: bool) -> list[str]:
    if text.isascii():
        return text.lower().translate(_CHARACTERS).split()
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    words = folded.translate(_CHARACTERS).split()
    if _UNSPACED.search(folded) is None:
        return words
    return [part for word in words for part in _parts(word, lone=lone)]


def _parts(word: str, *, lone: bool) -> list[str]:
    """Split a word where its script has no spaces."""
    found = list[str]()
    for place, run in enumerate(_UNSPACED.split(word)):
        if place % 2 == 0:
            found += [run] if run else []
            continue
        found += run if lone or len(run) == 1 else []
        found += [run[start : start + 2] for start in range(len(run) - 1)]
    return found
