"""The answer of one view: the kernel's result, converted to values of the features' types."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tinymlops.features.compute.aggregates import too_great
from tinymlops.features.compute.operands import not_finite
from tinymlops.features.compute.statuses import statuses, window_statuses
from tinymlops.features.history.payloads import stored_dtype
from tinymlops.features.online.arranging import column_values
from tinymlops.kernels.asof import in_window
from tinymlops.kernels.entries import EVENT, KIND, SEEN, SYSTEM, UNSEEN, unpack
from tinymlops.kernels.exact import deviation_of
from tinymlops.kernels.online import FOUND, INFINITE, TOO_GREAT, UNCERTAIN
from tinymlops.kernels.records import VALUE, records_of
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinymlops.features.online.kernel_calls import Found, KernelCall
    from tinymlops.features.online.outputs import Output
    from tinymlops.features.online.variants import Stored

__all__ = ["Cells", "SingleRowCells"]

Array = np.ndarray[Any, Any]

_ONE = (1).to_bytes(8, "little")


class Cells:
    """The answer of one view."""

    def __init__(
        self, program: KernelCall, found: Found, stored: Stored, keys: Sequence[bytes | None], now: int
    ) -> None:
        self.names = program.names
        self._program, self._found, self._stored, self._keys = program, found, stored, keys
        self._now = now
        self.complete = False
        """Whether every cell has a value."""

    def settle(self) -> None:
        """Compute the cells that the kernel left open.

        Raises:
            DataError: If a value is beyond its type.
        """
        states = self._found.state.tobytes()
        self.complete = states == _ONE * (len(states) >> 3)
        if self.complete or not states.strip(b"\0\1"):
            return
        for place, output in enumerate(self._program.outputs):
            for row in np.flatnonzero(self._found.state[place] > FOUND).tolist():
                what = self._found.state[place, row]
                if what == INFINITE:
                    event = self._rows[1][EVENT, self._found.winner[place, row]]
                    raise not_finite(output.aggregate, self._program.source, int(event))
                try:
                    if what == UNCERTAIN:
                        self._found.out.view(np.float64)[place, row] = self._deviation(output, row)
                        self._found.state[place, row] = FOUND
                except OverflowError:
                    what = TOO_GREAT
                if what == TOO_GREAT:
                    raise too_great(output.feature, output.aggregate, row, self._now)

    def columns(self) -> dict[str, list[Any]]:
        """Return name to Python values."""
        return dict(zip(self.names, self._lists(), strict=True))

    def _lists(self) -> list[list[Any]]:
        out = self._found.out
        floats: list[list[Any]] = out.view(np.float64).tolist()
        if self.complete and self._program.all_floats:
            return floats
        state = self._found.state
        integers, lists = out.tolist(), []
        for place, output in enumerate(self._program.outputs):
            if output.kind == "float":
                values = floats[place]
            elif output.kind in ("int", "bool"):
                values = list(map(bool, integers[place])) if output.kind == "bool" else integers[place]
            elif output.kind == "text":
                values = self._objects(place, output)
            else:
                values = self.series(place).to_list()
            if not self.complete and output.kind in ("float", "int", "bool"):
                found = state[place].tolist()
                values = [value if one else None for value, one in zip(values, found, strict=True)]
            lists.append(values)
        return lists

    def series(self, place: int) -> pl.Series:
        """Return a feature's values as a Polars column."""
        output = self._program.outputs[place]
        if output.kind in ("text", "object"):
            dtype = parse_dtype(output.dtype)
            return pl.Series(self._objects(place, output), dtype=stored_dtype(dtype)).cast(dtype)
        return column_values(self._found.out[place], self._found.state[place], output.dtype)

    def numbers(self) -> list[Array | None]:
        """Return each feature's values as float64, null as NaN; None for a feature that is not numeric."""
        found = self._found
        numbers: list[Array | None] = []
        for place, output in enumerate(self._program.outputs):
            values = found.out[place]
            if output.kind == "word":
                series = self.series(place)
                kind = series.dtype
                number = series.cast(pl.Float64).to_numpy() if kind.is_numeric() or kind == pl.Null else None
                numbers.append(number)
            elif output.kind in ("text", "object"):
                numeric = parse_dtype(output.dtype).is_numeric()
                numbers.append(self.series(place).cast(pl.Float64).to_numpy() if numeric else None)
            else:
                values = values.view(np.float64) if output.kind == "float" else values.astype(np.float64)
                numbers.append(np.where(found.state[place] == FOUND, values, np.nan))
        return numbers

    def all_series(self) -> list[pl.Series]:
        """Return every feature's values as a Polars column."""
        return [self.series(place) for place in range(len(self._program.outputs))]

    def details(self) -> dict[str, pl.Series]:
        """Return the status of each cell."""
        details = {}
        for place, (name, output) in enumerate(zip(self._program.names, self._program.outputs, strict=True)):
            if output.aggregate.window is not None:
                status, event = window_statuses(self._spine_key)
            else:
                winner, null = self._found.winner[place], self._found.state[place] != FOUND
                time = np.full(len(self._keys), self._now, np.int64)
                status, event = statuses(
                    self._records,
                    winner,
                    self._spine_key,
                    time,
                    null,
                    strict=self._program.strict,
                    ttl=self._program.ttl,
                )
            details[f"{name}_status"] = status.alias(f"{name}_status")
            details[f"{name}_event_time"] = event.alias(f"{name}_event_time")
        return details

    @cached_property
    def _spine_key(self) -> Array:
        return np.array([-1 if key is None else place for place, key in enumerate(self._keys)], np.int64)

    @cached_property
    def _rows(self) -> tuple[Array, Array]:
        """The rows of each key, and their columns, the second of which is visible_from."""
        offsets, columns = unpack(self._stored.words, self._stored.firsts, self._program.width)
        columns[SEEN] += columns[EVENT]
        return offsets, columns

    @cached_property
    def _records(self) -> Any:
        offsets, columns = self._rows
        return records_of(offsets, columns[EVENT], columns[SEEN], columns[UNSEEN], columns[KIND])

    def _objects(self, place: int, output: Output) -> list[Any]:
        """Return the values of winners that are stored beside the words."""
        assert output.slot is not None
        values = self._stored.objects[self._program.layout.objects.index(output.slot)]
        found, rows = self._found.state[place].tolist(), self._found.winner[place].tolist()
        return [values[row] if one else None for row, one in zip(rows, found, strict=True)]

    def _deviation(self, output: Output, row: int) -> float:
        """Compute values that could not be rounded with certainty."""
        (offsets, columns), feature = self._rows, output.aggregate
        assert output.slot is not None
        assert feature.window is not None
        part, place = columns[:, offsets[row] : offsets[row + 1]], SYSTEM + 2 * output.slot
        counts = (part[KIND] == VALUE) & (part[place + 1] != 0)
        if feature.where is not None:
            where = SYSTEM + 2 * self._program.layout.slot_of(feature.where, "word")
            counts &= (part[where] != 0) & (part[where + 1] != 0)
        values = part[place][in_window(part[EVENT], part[SEEN], part[UNSEEN], counts, self._now, feature.window)]
        if self._program.layout.slots[output.slot].dtype.startswith("Float"):
            values = values.view(np.float64)
            values = values[~np.isnan(values)]
        return deviation_of(values.tolist(), root=feature.function == "std")


class SingleRowCells:
    """The answer of one view about keys with one row each; any form but lists comes from `Cells`.

    Args:
        names: The names of the features' columns.
        dtypes: The types of the features.
        rows: The values of each key.
        compute: Returns the same answer by the kernel.
        given: Its arguments.
    """

    def __init__(
        self,
        names: Sequence[str],
        dtypes: Sequence[pl.DataType],
        rows: list[tuple[Any, ...]],
        compute: Callable[..., Cells],
        given: tuple[Any, ...],
    ) -> None:
        self.names, self._dtypes, self._rows, self._compute, self._given = names, dtypes, rows, compute, given

    def columns(self) -> dict[str, list[Any]]:
        """Return name to Python values."""
        if len(self._rows) == 1:
            return {name: [value] for name, value in zip(self.names, self._rows[0])}  # noqa: B905 - as many as features
        return dict(zip(self.names, map(list, zip(*self._rows, strict=True)), strict=True))

    def series(self, place: int) -> pl.Series:
        """Return a feature's values as a Polars column."""
        return pl.Series([row[place] for row in self._rows], dtype=self._dtypes[place])

    def all_series(self) -> list[pl.Series]:
        """Return every feature's values as a Polars column."""
        return self._cells.all_series()

    def numbers(self) -> list[Array | None]:
        """Return each feature's values as float64, null as NaN."""
        return self._cells.numbers()

    def details(self) -> dict[str, pl.Series]:
        """Return the status of each cell."""
        return self._cells.details()

    @cached_property
    def _cells(self) -> Cells:
        return self._compute(*self._given)
