"""Answers about keys with one row each, which is the case for most keys of a state view, without a kernel's call.

A single row is the fact if it is known and young enough. A few words at the beginning of its entry determine the form,
so one format reads all entries with the same beginning. Anything more complex is left to the kernel.
"""

from __future__ import annotations

import struct
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from tinymlops.kernels.entries import ALIKE, EVENT, HEADER, KIND, SEEN, SYSTEM, UNSEEN, USUAL, masks_of
from tinymlops.kernels.records import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinymlops.features.online.outputs import Output

__all__ = ["SingleRowReader"]

_LETTERS = {"float": "d", "int": "q"}
"""The `struct` format of each kind of output."""
_ZEROS = {"float": 0.0, "int": 0}
_ONE_ROW = (1).to_bytes(8, "little") + bytes(8)
"""The words of an entry with the number of its rows and of the full entries before it."""


class _Format(NamedTuple):
    """The format of entries with the same beginning."""

    unpack: Callable[[bytes], tuple[Any, ...]]
    """Unpacks the event time, the delay until the row became known if there is one, and values."""
    waits: bool
    """Whether there is a delay."""
    values: Callable[[tuple[Any, ...]], tuple[Any, ...]]
    """Picks the features from the unpacked values."""


class SingleRowReader:
    """A view's features of keys with one row each.

    Args:
        outputs: The features, in order.
        width: Columns of an entry.
        ttl: Greatest age of a value, microseconds; None for any.
        strict: Whether a row must be known before the time, not just by it.
    """

    def __init__(self, outputs: Sequence[Output], width: int, *, ttl: int | None, strict: bool) -> None:
        self._outputs, self._width, self._ttl, self._strict = outputs, width, ttl, strict
        self._head = 8 * (HEADER + int(masks_of(width)))
        self._nothing = (None,) * len(outputs)
        self._formats: dict[bytes, _Format] = {}

    @staticmethod
    def fit(outputs: Sequence[Output]) -> bool:
        """Return whether features can be read this way."""
        return all(
            output.aggregate.function in ("first", "last")
            and output.aggregate.window is None
            and output.aggregate.where is None
            and output.kind in _LETTERS
            for output in outputs
        )

    def read(self, entries: Sequence[bytes | None], now: int) -> list[tuple[Any, ...]] | None:
        """Return the values of each key; None if an entry needs the kernel, or there are no entries.

        Args:
            entries: The entries in the store; None for a key without rows.
            now: The time, microseconds UTC.
        """
        since = NEVER if self._ttl is None else now - self._ttl
        until = now if self._strict else now + 1
        head, formats, nothing, rows = self._head, self._formats, self._nothing, []
        if not entries:
            return None
        for entry in entries:
            if entry is None:
                rows.append(nothing)
                continue
            how = formats.get(entry[8:head]) or self._learn(entry[8:head])
            if how is None:
                return None
            unpack, waits, values = how
            row = unpack(entry)
            event = row[0]
            known = event + row[1] if waits else event
            if known < event:  # the time between them has wrapped around
                return None
            rows.append(values(row) if known < until and event >= since else nothing)
        return rows

    def _learn(self, begins: bytes) -> _Format | None:
        how = self._format(begins) if begins.startswith(_ONE_ROW) else None
        if how is not None:
            self._formats[begins] = how
        return how

    def _format(self, begins: bytes) -> _Format | None:
        """Find the positions of values in entries with this beginning."""
        masks = int.from_bytes(begins[16:], "little")
        how = [masks >> 2 * column & 3 for column in range(self._width)]
        if how[UNSEEN] != USUAL or how[KIND] != USUAL or how[EVENT] != ALIKE:
            return None
        columns = {SYSTEM + 2 * output.slot: output for output in self._outputs if output.slot is not None}
        letters, places = f"<{self._head}x", dict[int, int]()
        for column in (column for column in range(self._width) if how[column] == ALIKE):
            taken = column in (EVENT, SEEN) or column in columns
            letters += _LETTERS[columns[column].kind] if column in columns else "q" if taken else "8x"
            if taken:
                places[column] = len(places)
        chosen: list[int] = []
        constants: list[Any] = []
        for output in self._outputs:
            assert output.slot is not None, "first and last have an operand"
            column = SYSTEM + 2 * output.slot
            if how[column + 1] == USUAL and column in places:
                chosen.append(places[column])
            else:
                chosen.append(len(places) + len(constants))
                constants.append(_ZEROS[output.kind] if how[column + 1] == USUAL else None)
        unpack = struct.Struct(letters).unpack_from
        return _Format(unpack, how[SEEN] == ALIKE, _picker(chosen, constants))


def _picker(chosen: list[int], constants: list[Any]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Return a function that picks places of a row that is followed by constants."""
    if len(chosen) == 1 or chosen == list(range(chosen[0], chosen[0] + len(chosen))):
        pick: Callable[[tuple[Any, ...]], tuple[Any, ...]] = itemgetter(slice(chosen[0], chosen[0] + len(chosen)))
    else:
        pick = itemgetter(*chosen)
    more = tuple(constants)
    return (lambda row: pick(row + more)) if more else pick
