"""The kernel's call for a view's read: its features as numbers, for one layout of the view's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from tinymlops.features.online.outputs import Output, output_of
from tinymlops.features.online.single_rows import SingleRowReader
from tinymlops.kernels.compiling import frozen
from tinymlops.kernels.entries import SYSTEM, empty_entry
from tinymlops.kernels.online import IS_FLOAT, OPERATIONS, SPAN, WALK, cells
from tinymlops.kernels.records import FOREVER
from tinymlops.kernels.threads import in_chunks
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinymlops.features.definitions.expressions import Aggregate
    from tinymlops.features.online.variants import Description, Stored

__all__ = ["Found", "KernelCall", "warm_up"]

Array = np.ndarray[Any, Any]

_NOTHING = frozen(np.empty((0, 0), np.int64), np.int64)
_LEAST_WORDS = 32_768
"""Words of entries below which another thread is not worth it."""


def warm_up() -> None:
    """Load the kernel, or compile it if this machine has not yet, so that no read waits for it."""
    words, none = np.frombuffer(empty_entry(SYSTEM), np.int64), frozen([], np.int64)
    features = frozen(np.empty((0, WALK + 1)), np.int64)
    answer = np.zeros((3, 0, 1), np.int64)
    cells(words, frozen([0, 1], np.int64), SYSTEM, none, _NOTHING, features, 0, True, 0, 1, answer)


class Found(NamedTuple):
    """The result of the kernel."""

    out: Array
    """int64[F, K]: the values, floats as their bits."""
    state: Array
    """int64[F, K]: what each cell holds."""
    winner: Array
    """int64[F, K]: the row it comes from."""


class KernelCall:
    """A view's features as numbers for the kernel, for one layout of its rows.

    Args:
        features: Name to expression, in order.
        names: The names of their columns.
        source: The source of the rows, for errors.
        description: The layout of the rows.
        ttl: Greatest age of a value without a window, microseconds.
        strict: Whether a row must be known before the time, not just by it.
    """

    def __init__(
        self,
        features: Mapping[str, Aggregate],
        names: Sequence[str],
        source: str,
        description: Description,
        *,
        ttl: int | None,
        strict: bool,
    ) -> None:
        self.names, self.source, self.ttl, self.strict = names, source, ttl, strict
        self.stamp, self.rebuilt = description.stamp, description.rebuilt
        self.layout = layout = description.layout
        self.width, self.empty = layout.width, empty_entry(layout.width)
        self.plain = [_plain(dtype) for dtype in layout.key]
        """The Python type of each part of a key that needs no conversion; `object` for other parts."""
        self.outputs = [output_of(name, feature, layout) for name, feature in features.items()]
        self.dtypes = [parse_dtype(output.dtype) for output in self.outputs]
        rows = [self._row(place, output, ttl) for place, output in enumerate(self.outputs)]
        walks = {walk: number for number, walk in enumerate(dict.fromkeys(map(_walks_with, rows)))}
        numbered = [[*row, walks[_walks_with(row)]] for row in rows]
        self._features = frozen(sorted(numbered, key=lambda row: (row[WALK], row[SPAN])), np.int64)
        counted = {output.slot for output in self.outputs if output.aggregate.function == "n_unique"}
        self._coded = [slot for slot in layout.objects if slot in counted]
        self._coded_columns = frozen([SYSTEM + 2 * slot for slot in self._coded], np.int64)
        self.all_floats = all(output.kind == "float" for output in self.outputs)
        self.single = None
        if SingleRowReader.fit(self.outputs):
            self.single = SingleRowReader(self.outputs, layout.width, ttl=ttl, strict=strict)
        taken = {output.slot for output in self.outputs if output.kind in ("text", "object")}
        self.reads_objects = bool(self._coded) or bool(taken & set(layout.objects))

    def run(self, stored: Stored, now: int) -> Found:
        """Compute the features of some keys."""
        codes = _NOTHING
        if self._coded:
            beside = [stored.objects[self.layout.objects.index(slot)] for slot in self._coded]
            codes = frozen([_codes(values) for values in beside], np.int64)
        words, firsts, _, _ = stored
        keys = firsts.size - 1
        answer = np.zeros((3, len(self.outputs), keys), np.int64)
        asked = words, firsts, self.width, self._coded_columns, codes, self._features, now, self.strict
        in_chunks(keys, lambda a, b: cells(*asked, a, b, answer), least=_LEAST_WORDS * keys // words.size + 1)
        return Found(*answer)

    def _row(self, place: int, output: Output, ttl: int | None) -> list[int]:
        feature, slot = output.aggregate, output.slot
        span = feature.window if feature.window is not None else ttl
        return [
            OPERATIONS.index(feature.function),
            -1 if slot is None else SYSTEM + 2 * slot,
            -1 if feature.where is None else SYSTEM + 2 * self.layout.slot_of(feature.where, "word"),
            feature.skip_nulls,
            FOREVER if span is None else span,
            feature.window is not None,
            slot is not None and self.layout.slots[slot].dtype.startswith("Float"),
            place,
            0 if feature.q is msgspec.UNSET else int(np.float64(feature.q).view(np.int64)),
        ]


def _walks_with(row: Sequence[int]) -> tuple[int, ...]:
    """Return the properties shared by features that the kernel answers in one walk."""
    operation, operand, where, skips, span, windowed = row[:IS_FLOAT]
    if OPERATIONS[operation] in ("first", "last"):
        return operation, where, operand if skips else -1, span, windowed
    return len(OPERATIONS), operand, where


def _plain(dtype: str) -> type:
    if dtype.startswith(("String", "Enum")):
        return str
    return int if dtype.startswith(("Int", "UInt", "Float")) else object


def _codes(values: Sequence[Any]) -> list[int]:
    """Number values, with one number for equal ones."""
    codes: dict[bytes, int] = {}
    encode = msgspec.msgpack.Encoder().encode
    return [codes.setdefault(encode(value), len(codes)) for value in values]
