"""How far two words are apart."""

from __future__ import annotations

__all__ = ["distance"]


def distance(one: str, other: str) -> int:
    """Return how many letters must be put in, left out, replaced or swapped with the next to make one word of another.

    That is the optimal string alignment distance: Boytsov, "Indexing methods for approximate dictionary searching", 2011.

    Example:
        >>> distance("arivals", "arrivals"), distance("dealy", "delay"), distance("", "ab")
        (1, 1, 2)
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, wanted in enumerate(other, 1):
            best = min(row[j - 1] + 1, before[j] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                best = min(best, earlier[j - 2] + 1)
            row.append(best)
    return row[-1]
