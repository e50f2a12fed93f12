"""What changed each cell between two states: the one change that alone does it, or the changes that it takes together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from tinymlops.features.law.late_rows import CORRECTION, DELETION, NEW
from tinymlops.features.law.matching import differing, place_among, places_in
from tinymlops.features.law.states import DEFINITION, SPINE, States

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tinymlops.features.compute.arranged import Array

__all__ = ["CAUSES", "EVERY", "JOINT", "UNKNOWN", "Cells", "attribute"]

CAUSES = {"spine": SPINE, "new rows": NEW, "correction": CORRECTION, "deletion": DELETION, "definition": DEFINITION}
"""In the order in which they are tried: the first that alone makes a cell what it became is its cause."""
EVERY = sum(CAUSES.values())
JOINT, UNKNOWN = 128, 0


class Cells(NamedTuple):
    """The cells of one column that changed."""

    places: Array
    """int64[k]: which of the matched rows."""
    cause: Array
    """uint8[k]: a bit of `CAUSES`, `JOINT`, or `UNKNOWN` where neither rows nor definitions changed."""
    touching: Array
    """uint8[k]: of a joint cell the changes that it takes, as bits; otherwise the cause."""


def attribute(
    states: States, rows: Array, changed: Mapping[str, Array], shown: Callable[[pl.Series], pl.Series]
) -> dict[str, Cells]:
    """Find the cause of each changed cell.

    Args:
        states: The two states; their rows are those with a changed cell.
        rows: int64[n]: which of the matched rows each of these is, ascending.
        changed: Column to which of the matched rows differ in it.
        shown: Brings a column to the type in which it is compared.
    """
    found = _Attribution(states, {name: place_among(rows, places) for name, places in changed.items()}, shown)
    found.try_alone()
    found.try_without()
    return {
        name: Cells(
            places, found.cause[name], np.where(found.cause[name] == JOINT, found.touching[name], found.cause[name])
        )
        for name, places in changed.items()
    }


class _Attribution:
    """Causes while they are found."""

    def __init__(self, states: States, changed: Mapping[str, Array], shown: Callable[[pl.Series], pl.Series]) -> None:
        self._states, self._changed, self._shown = states, changed, shown
        self.cause: dict[str, Array] = {}
        self.touching: dict[str, Array] = {}
        self._possible: dict[str, Array] = {}
        for name, places in changed.items():
            bits = states.bits(name)[places]
            alone = (bits & (bits - np.uint8(1))) == 0
            # One change that can touch a cell is its cause, since the others leave it as it was.
            self.cause[name] = np.where(alone, bits, np.uint8(JOINT)).astype(np.uint8)
            self.touching[name] = np.zeros(places.size, np.uint8)
            self._possible[name] = bits

    def try_alone(self) -> None:
        """Make each change alone: it is the cause of the cells that become what they became."""
        for bit, cells_of in self._computed(without=False):
            for name, (cells, at, value) in cells_of.items():
                before, after = (self._shown(column) for column in self._states.pair(name, at))
                self.touching[name][cells[differing(value, before)]] |= np.uint8(bit)
                done = np.ones(cells.size, np.bool_)
                done[differing(value, after)] = False
                self.cause[name][cells[done]] = bit

    def try_without(self) -> None:
        """Of what no change does alone, leave out one after the other: what then differs takes that change too."""
        for name, touching in self.touching.items():
            # Without one of two changes there is the other alone, which does not make the cell what it became.
            rest = self._possible[name] & (self._possible[name] - np.uint8(1))
            two = (self.cause[name] == JOINT) & (rest > 0) & (rest & (rest - np.uint8(1)) == 0)
            touching[two] = self._possible[name][two]
        for bit, cells_of in self._computed(without=True):
            for name, (cells, at, value) in cells_of.items():
                after = self._shown(self._states.pair(name, at)[1])
                self.touching[name][cells[differing(value, after)]] |= np.uint8(bit)
        for name, touching in self.touching.items():
            none = (self.cause[name] == JOINT) & (touching == 0)
            touching[none] = self._possible[name][none]

    def _computed(self, *, without: bool) -> Iterator[tuple[int, dict[str, tuple[Array, Array, pl.Series]]]]:
        """Give each change, and of each column the open cells that it can touch, their rows, and their values with it."""
        for bit in CAUSES.values():
            cells_of = {
                name: np.flatnonzero((cause == JOINT) & (self._possible[name] & ~self.touching[name] & bit > 0))
                for name, cause in self.cause.items()
            }
            cells_of = {name: cells for name, cells in cells_of.items() if cells.size}
            if not cells_of:
                continue
            rows = places_in([self._changed[name][cells] for name, cells in cells_of.items()])
            values = self._states.values(EVERY & ~bit if without else bit, rows, {*cells_of})
            found = {}
            for name, cells in cells_of.items():
                at = self._changed[name][cells]
                value = self._shown(values[name]) if name in values else pl.Series(name, [None] * rows.size)
                found[name] = cells, at, value[place_among(rows, at)]
            yield bit, found
