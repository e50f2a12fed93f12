"""What an online read has to do, worked out once: for each view that is asked for, the program of its kernel.

A plan depends on nothing but definitions, which never change, and is kept with them. How the rows of a view are laid
out is found with the first read, and again when the view was written anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import numpy as np
import polars as pl

from tinymlops._keys import all_key_bytes, key_values
from tinymlops.features.arranging import column_values
from tinymlops.features.computing import not_finite, statuses, too_great, window_statuses
from tinymlops.features.entries import Layout, Moment, Stored, Variant
from tinymlops.features.historical import asked_of, is_strict, no_key, same_name
from tinymlops.features.payloads import stored_dtype
from tinymlops.features.specs import EntitySpec, SourceSpec, ViewSpec
from tinymlops.kernels._compile import frozen
from tinymlops.kernels.exact import deviation_of
from tinymlops.kernels.online import (
    EVENT,
    FOUND,
    INFINITE,
    IS_FLOAT,
    KIND,
    OPERATIONS,
    SEEN,
    SPAN,
    SYSTEM,
    TOO_GREAT,
    UNCERTAIN,
    UNSEEN,
    WALK,
    cells,
    empty_entry,
)
from tinymlops.kernels.records import FOREVER, VALUE, records_of
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.expressions import Aggregate
    from tinymlops.features.specs import FeatureRequest
    from tinymlops.stores._entries import Reader

__all__ = ["Cells", "ReadPlan", "Request", "ViewPlan", "plan_for"]

Array = np.ndarray[Any, Any]

_NOTHING = frozen(np.empty((0, 0), np.int64), np.int64)
_ONE = (1).to_bytes(8, "little")
_KEPT = 256
"""Plans that are kept with their definitions."""


class Request(NamedTuple):
    """Keys and request fields."""

    columns: Mapping[str, Sequence[Any]]
    kinds: Mapping[str, set[type]]
    """The Python types of each column's values, null left out; empty for a column that must be looked at by Polars."""
    height: int


class ReadPlan:
    """The views of a request.

    Args:
        context: The workspace's state.
        requests: What is asked for, in order.
        spine_source: As for `features_for`.
    """

    def __init__(self, context: Context, requests: Sequence[FeatureRequest], spine_source: str | None) -> None:
        self.requests = tuple(requests)
        self.spine_source = spine_source
        self.views = [ViewPlan(context, request, spine_source) for request in requests if not request.on_demand]
        self.on_demand = len(self.views) < len(self.requests)
        self._moments: tuple[int, list[Moment | None]] = (-1, [])
        self.names = tuple(name for view in self.views for name in view.names)
        for place, name in enumerate(self.names):
            if name in self.names[:place]:
                raise same_name(name, self.origin(name))

    def moments(self, tx: Reader) -> list[Moment | None]:
        """Return what is covered of each view; as of the same version of the store it is the same."""
        version, moments = self._moments
        if version != tx.version:
            moments = [view.variant.moment(tx) for view in self.views]
            self._moments = (tx.version, moments)
        return moments

    def origin(self, name: str) -> str:
        """Return `view:feature` of a column; of the last, if several have the name."""
        (*_, view) = (view for view in self.views if name in view.names)
        return f"{view.view.name}:{name.removeprefix(view.request.prefix)}"


def plan_for(context: Context, requests: Sequence[FeatureRequest], spine_source: str | None) -> ReadPlan:
    """Return the plan of a request under the definitions in the context, made if need be."""
    plans, name = context.definitions.plans, (tuple(requests), spine_source)
    plan = plans.get(name)
    if plan is None:
        if len(plans) >= _KEPT:
            plans.clear()
        plan = plans[name] = ReadPlan(context, requests, spine_source)
    assert isinstance(plan, ReadPlan)
    return plan


def _plain(dtype: str) -> set[type] | None:
    if dtype.startswith(("String", "Enum")):
        return {str}
    return {int} if dtype.startswith(("Int", "UInt", "Float")) else None


class ViewPlan:
    """One view of a request: whose rows to read, and what to make of them."""

    def __init__(self, context: Context, request: FeatureRequest, spine_source: str | None) -> None:
        definitions = context.definitions
        self.request = request
        self.view = definitions.get(ViewSpec, request.view)
        self.source = definitions.get(SourceSpec, self.view.source).name
        self.on = request.on or definitions.get(EntitySpec, self.view.entity).key
        self.strict = is_strict(context, self.source, spine_source)
        self.variant = Variant.of(definitions, self.view)
        self.features = asked_of(self.view, request)
        self.names = tuple(request.prefix + name for name in self.features)
        self._program: Program | None = None

    def read(self, tx: Reader, moment: Moment, request: Request, frame: Any, now: int) -> Cells:
        """Read the features of now.

        Args:
            tx: The transaction.
            moment: What is covered in it.
            request: The keys.
            frame: Gives the request as a Polars frame.
            now: Microseconds UTC.

        Raises:
            DataError: If a key column is missing or of another kind, or a value is beyond its type.
        """
        program = self._program
        if program is None or program.stamp != moment.stamp:
            state = self.variant.state(tx)
            assert state is not None, "what is covered is laid out"
            program = self._program = Program(self, state.layout, moment.stamp)
        keys = self._keys(program, request, frame)
        stored = self.variant.read(tx, program.layout, program.empty, keys, objects=program.reads_objects)
        answer = Cells(self, program, program.run(stored, now, strict=self.strict), stored, keys, now)
        answer.settle()
        return answer

    def _keys(self, program: Program, request: Request, frame: Any) -> list[bytes | None]:
        values: list[Sequence[Any]] = []
        for place, column in enumerate(self.on):
            kinds = request.kinds.get(column)
            if kinds is None:
                raise no_key(column, self.view, list(request.columns))
            if kinds == program.plain[place]:
                values.append(request.columns[column])
            else:
                dtype = parse_dtype(program.layout.key[place])
                values.append(key_values(frame()[column], dtype, self.variant.key[place]))
        return all_key_bytes(values, self.variant.prefix)


class Output(NamedTuple):
    """How a feature's cells become values."""

    feature: str
    aggregate: Aggregate
    kind: Literal["float", "int", "bool", "text", "object", "word"]
    dtype: str
    slot: int | None


class Found(NamedTuple):
    """What the kernel gives."""

    answer: Array
    offsets: Array
    columns: Array

    @property
    def out(self) -> Array:
        """int64[F, K]: the values, floats as their bits."""
        out: Array = self.answer[0]
        return out

    @property
    def state(self) -> Array:
        """int64[F, K]: what each cell holds."""
        state: Array = self.answer[1]
        return state

    @property
    def winner(self) -> Array:
        """int64[F, K]: the row it comes from."""
        winner: Array = self.answer[2]
        return winner


class Program:
    """A view's features as numbers for the kernel, for one layout of its rows."""

    def __init__(self, plan: ViewPlan, layout: Layout, stamp: int) -> None:
        self.layout, self.stamp, self.width, self.empty = layout, stamp, layout.width, empty_entry(layout.width)
        self.plain = [_plain(dtype) for dtype in layout.key]
        """The Python type of keys that are taken as they are."""
        self.outputs = [_output(name, feature, layout) for name, feature in plan.features.items()]
        rows = [self._row(place, output, plan.view.ttl) for place, output in enumerate(self.outputs)]
        walks = {walk: number for number, walk in enumerate(dict.fromkeys(map(_walks_with, rows)))}
        numbered = [[*row, walks[_walks_with(row)]] for row in rows]
        self._program = frozen(sorted(numbered, key=lambda row: (row[WALK], row[SPAN])), np.int64)
        counted = {output.slot for output in self.outputs if output.aggregate.function == "n_unique"}
        self._coded = [slot for slot in layout.objects if slot in counted]
        self._coded_columns = frozen([SYSTEM + 2 * slot for slot in self._coded], np.int64)
        self.all_floats = all(output.kind == "float" for output in self.outputs)
        taken = {output.slot for output in self.outputs if output.kind in ("text", "object")}
        self.reads_objects = bool(self._coded) or bool(taken & set(layout.objects))

    def run(self, stored: Stored, now: int, *, strict: bool) -> Found:
        """Compute the features of some keys."""
        codes = _NOTHING
        if self._coded:
            beside = [stored.objects[self.layout.objects.index(slot)] for slot in self._coded]
            codes = frozen([_codes(values) for values in beside], np.int64)
        answer, offsets, columns = cells(
            stored.words, stored.firsts, self.width, self._coded_columns, codes, self._program, now, strict
        )
        return Found(answer, offsets, columns)

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


class Cells:
    """The answer of one view."""

    def __init__(
        self, plan: ViewPlan, program: Program, found: Found, stored: Stored, keys: Sequence[bytes | None], now: int
    ) -> None:
        self._plan, self._program, self._found, self._stored, self._keys = plan, program, found, stored, keys
        self._now = now
        self.complete = False
        """Whether every cell has a value."""

    def settle(self) -> None:
        """Compute what the kernel left open.

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
                    event = self._found.columns[EVENT, self._found.winner[place, row]]
                    raise not_finite(output.aggregate, self._plan.source, int(event))
                try:
                    if what == UNCERTAIN:
                        self._found.out.view(np.float64)[place, row] = self._deviation(output, row)
                        self._found.state[place, row] = FOUND
                except OverflowError:
                    what = TOO_GREAT
                if what == TOO_GREAT:
                    raise too_great(output.feature, output.aggregate, row, self._now)

    def lists(self) -> list[list[Any]]:
        """Return each feature's values as Python has them."""
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
        """Return each feature's values as float64, null as NaN; None for what is no number."""
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
        """Return why each cell holds what it holds."""
        details = {}
        for place, (name, output) in enumerate(zip(self._plan.names, self._program.outputs, strict=True)):
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
                    strict=self._plan.strict,
                    ttl=self._plan.view.ttl,
                )
            details[f"{name}_status"] = status.alias(f"{name}_status")
            details[f"{name}_event_time"] = event.alias(f"{name}_event_time")
        return details

    @cached_property
    def _spine_key(self) -> Array:
        return np.array([-1 if key is None else place for place, key in enumerate(self._keys)], np.int64)

    @cached_property
    def _records(self) -> Any:
        columns = self._found.columns
        return records_of(self._found.offsets, columns[EVENT], columns[SEEN], columns[UNSEEN], columns[KIND])

    def _objects(self, place: int, output: Output) -> list[Any]:
        """Return the values of winners that lie beside the words."""
        assert output.slot is not None
        values = self._stored.objects[self._program.layout.objects.index(output.slot)]
        found, rows = self._found.state[place].tolist(), self._found.winner[place].tolist()
        return [values[row] if one else None for row, one in zip(rows, found, strict=True)]

    def _deviation(self, output: Output, row: int) -> float:
        """Compute what could not be rounded for certain."""
        columns, feature, time = self._found.columns, output.aggregate, self._now
        assert output.slot is not None
        assert feature.window is not None
        part = columns[:, self._found.offsets[row] : self._found.offsets[row + 1]]
        event, place = part[EVENT], SYSTEM + 2 * output.slot
        inside = (part[SEEN] < time) & (time <= part[UNSEEN]) & (event < time) & (event >= time - feature.window)
        inside &= (part[KIND] == VALUE) & (part[place + 1] != 0)
        if feature.where is not None:
            where = SYSTEM + 2 * self._program.layout.slot_of(feature.where, "word")
            inside &= (part[where] != 0) & (part[where + 1] != 0)
        values = part[place][inside]
        if self._program.layout.slots[output.slot].dtype.startswith("Float"):
            values = values.view(np.float64)
            values = values[~np.isnan(values)]
        return deviation_of(values.tolist(), root=feature.function == "std")


def _output(name: str, feature: Aggregate, layout: Layout) -> Output:
    slot = layout.place_of(feature)
    dtype = "Float64"
    if feature.function in ("first", "last"):
        assert slot is not None
        kept = layout.slots[slot]
        kinds: dict[str, Literal["float", "int", "bool", "text"]] = {
            "Float64": "float",
            "Boolean": "bool",
            "String": "text",
        }
        other: Literal["object", "int", "word"] = "object" if kept.form == "object" else "word"
        other = "int" if kept.dtype.startswith(("Int", "UInt")) and kept.form == "word" else other
        return Output(name, feature, kinds.get(kept.dtype, other), kept.dtype, slot)
    if feature.function in ("any", "all"):
        return Output(name, feature, "bool", "Boolean", slot)
    if feature.function in ("count", "n_unique"):
        dtype = "Int64"
    elif feature.function in ("sum", "min", "max"):
        assert slot is not None
        dtype = "Float64" if layout.slots[slot].dtype.startswith("Float") else "Int64"
    return Output(name, feature, "float" if dtype == "Float64" else "int", dtype, slot)


def _walks_with(row: Sequence[int]) -> tuple[int, ...]:
    """Return what features have in common that the kernel answers in one walk."""
    operation, operand, where, skips, span, windowed = row[:IS_FLOAT]
    if OPERATIONS[operation] in ("first", "last"):
        return operation, where, operand if skips else -1, span, windowed
    return len(OPERATIONS), operand, where


def _codes(values: Sequence[Any]) -> list[int]:
    """Number values, equal ones alike."""
    codes: dict[bytes, int] = {}
    encode = msgspec.msgpack.Encoder().encode
    return [codes.setdefault(encode(value), len(codes)) for value in values]
