"""The terms of a text: its words, and the sequences of two to four characters in it, as 64-bit hashes."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["terms_of"]

_LENGTHS = (2, 3, 4)
_BASE = np.uint64(0x9E3779B97F4A7C15)
# White space, control characters and punctuation. Not \W: vowel signs of many scripts are no letters, and emoji say something.
_BETWEEN = re.compile(
    r"[\x00-\x2f:-@\[-`{-\xa9\xab-\xb1\xb4\xb6-\xb8\xbb\xbf\u1680\u2000-\u206f\u3000-\u3004\u3008-\u3020\u3030"
    r"\u060c\u061b\u061f\u0964\u0965\ufeff]+"
)


def terms_of(text: str) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    """Return the terms of a text and how often each occurs.

    Case, width and composition of characters make no difference (NFKC and case folding).

    Args:
        text: Any text of Unicode.

    Returns:
        Different hashes in ascending order, shape (terms,), and their counts, of the same shape. Both are empty if the text has
        neither letters nor digits nor signs such as emoji.

    Example:
        >>> hashes, counts = terms_of("tea, tea")
        >>> len(hashes), int(counts.max())
        (13, 2)
    """
    plain = _BETWEEN.sub(" ", unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())).strip()
    if not plain:
        return np.empty(0, np.uint64), np.empty(0)
    characters = np.frombuffer(f" {plain} ".encode("utf-32-le"), "<u4").astype(np.uint64)
    hashes, counts = np.unique(np.concatenate([_words(characters), *_sequences(characters)]), return_counts=True)
    return hashes, counts.astype(np.float64)


def _words(characters: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash each run without a space, as a polynomial in its characters."""
    spaces = np.flatnonzero(characters == ord(" "))
    starts, lengths = spaces[:-1] + 1, np.diff(spaces) - 1
    powers = np.cumprod(np.full(lengths.max() + 1, _BASE), dtype=np.uint64)
    places = np.arange(len(characters)) - np.repeat(spaces, np.append(lengths + 1, 1))
    inside = np.where(characters == ord(" "), np.uint64(0), characters * powers[np.minimum(places, len(powers) - 1)])
    return _mixed(np.add.reduceat(inside, starts), kind=0)


def _sequences(characters: NDArray[np.uint64]) -> list[NDArray[np.uint64]]:
    """Hash each sequence of every length; the spaces around words are part of it."""
    found = []
    for length in _LENGTHS:
        rolled = np.zeros(max(len(characters) - length + 1, 0), np.uint64)
        for place in range(length):
            rolled = rolled * _BASE + characters[place : place + len(rolled)]
        found.append(_mixed(rolled, kind=length))
    return found


def _mixed(hashes: NDArray[np.uint64], *, kind: int) -> NDArray[np.uint64]:
    """Spread hashes over all bits (the finalizer of SplitMix64), those of each kind of term apart."""
    mixed = hashes + np.uint64((kind + 1) * 0xD1B54A32D192ED03 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
