"""The form of a view in the online store: its coverage, the layout of its rows, and the rows of each key.

A stored row holds what reads need: its times, and the value of each expression that the view's features use
(`tinymlops.kernels.entries` has the format). Expressions are evaluated once, when the row is written. A key's newest
rows are one entry, to which new ones are added; when it is full it becomes one of the key's full entries, which are
only rewritten for a late row. Values that do not fit a 64-bit word are in an entry beside each of those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import numpy as np

from tinymlops.features.definitions import graph
from tinymlops.features.definitions.definitions import Definitions
from tinymlops.features.definitions.specs import AnySpec, EntitySpec, SourceSpec, ViewSpec
from tinymlops.features.history.stored import Rebuilt
from tinymlops.kernels.compiling import frozen
from tinymlops.kernels.entries import SYSTEM, empty_entry, pack, unpack
from tinymlops.stores.online_store import Full, Newest, prefix_of

if TYPE_CHECKING:
    from tinymlops.features.definitions.expressions import Aggregate, Operand
    from tinymlops.stores.coverage import Coverage
    from tinymlops.stores.online_store import Snapshot

__all__ = [
    "Covered",
    "Description",
    "KeyRows",
    "Layout",
    "Slot",
    "State",
    "Stored",
    "Variant",
    "form_of",
    "packed",
    "states",
]

Array = np.ndarray[Any, Any]
Form = Literal["word", "number", "object"]

FULL = 512
"""The number of rows of a full entry."""

_has_full = itemgetter(16)
"""Picks the first byte of an entry's number of full entries, which shows whether there are any."""
_WORDS = ("Boolean", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "Float32", "Float64", "Null")
_TIMES = ("Date", "Time", "Datetime", "Duration")
_NUMERIC = ("sum", "mean", "min", "max", "var", "std", "quantile", "any", "all")


class Covered(msgspec.Struct, frozen=True):
    """What the online store holds of one view."""

    view: str
    """Its name, or a version such as `spending@v1`."""
    sequence: int
    """`Q`: rows up to this sequence are in it."""
    at: int
    """Microseconds UTC: it answers reads at this time and later; an earlier one needs history."""
    keys: int


class Slot(msgspec.Struct, frozen=True):
    """An operand's place in a row."""

    operand: bytes
    """As JSON."""
    form: Form
    """A value in a word; a number derived from a value that does not fit one; or an object beside the words."""
    dtype: str


class Layout(msgspec.Struct, frozen=True):
    """The content of a view's row, in order."""

    slots: tuple[Slot, ...]
    key: tuple[str, ...]
    """The dtypes of the key's columns."""

    @property
    def width(self) -> int:
        """The number of columns of words in an entry: two for each slot; the second tells whether there is a value."""
        return SYSTEM + 2 * len(self.slots)

    @property
    def objects(self) -> list[int]:
        """The slots whose values are stored beside the words."""
        return [place for place, slot in enumerate(self.slots) if slot.form == "object"]

    def slot_of(self, operand: Operand, form: Form) -> int:
        """Return the place of an operand."""
        name = msgspec.json.encode(operand)
        return next(i for i, slot in enumerate(self.slots) if (slot.operand, slot.form) == (name, form))

    def place_of(self, aggregate: Aggregate) -> int | None:
        """Return the slot of an aggregate's operand; None for a count of rows."""
        if aggregate.operand is None:
            return None
        name = msgspec.json.encode(aggregate.operand)
        dtypes = [slot.dtype for slot in self.slots if slot.operand == name and slot.form != "number"]
        form = form_of(dtypes[0], aggregate.function) if dtypes else "number"
        return self.slot_of(aggregate.operand, form)


def form_of(dtype: str, function: str) -> Form:
    """Return how a function's operand of some type is stored."""
    if dtype in _WORDS or dtype.startswith(_TIMES):
        return "word"
    return "number" if function in _NUMERIC else "object"


class Description(msgspec.Struct, frozen=True, array_like=True):
    """What the store keeps of a view beside its rows: it changes only when the view is rewritten."""

    lineage: tuple[AnySpec, ...]
    segment: int
    """The newest segment of the source: a rebuild makes another one."""
    layout: Layout
    stamp: int
    rebuilt: Rebuilt | None = None
    """When the rows of a rebuilt source were computed."""
    begins: int = 0
    """The sequence after which the source's generation with these rows begins."""

    def encoded(self) -> bytes:
        """Return the bytes for the store."""
        return msgspec.msgpack.encode(self)


class State(NamedTuple):
    """A view in the store: the definitions that it was materialized with, the layout of its rows, and its coverage."""

    variant: Variant
    description: Description
    coverage: Coverage

    @property
    def layout(self) -> Layout:
        """The layout of its rows."""
        return self.description.layout

    @property
    def covered(self) -> Covered:
        """The coverage, for the user."""
        return Covered(self.variant.view.name, *self.coverage[:3])


class KeyRows(NamedTuple):
    """Arranged rows of some keys."""

    keys: list[bytes]
    offsets: Array
    """int64[K+1]: the rows of each key."""
    columns: Array
    """int64[width, n]."""
    objects: list[list[Any]]
    """The values of each slot that is not a word, as msgpack can hold them."""


class Stored(NamedTuple):
    """Entries of some keys in the form of the store."""

    words: Array
    firsts: Array
    """int64[K+1]: the number of each key's first entry."""
    objects: list[list[Any]]
    full: list[int] | None
    """The number of full entries of each key in the store; None if there are none."""


class Variant:
    """A view with everything that its rows depend on: two definitions of one view do not share entries.

    Args:
        lineage: The view, its entity, its source, then for a row-wise transformation its input, and so on.
    """

    def __init__(self, lineage: Sequence[AnySpec]) -> None:
        self.lineage = tuple(lineage)
        self.definitions = Definitions(self.lineage)
        (self.view,) = self.definitions.of(ViewSpec).values()
        self.sources = list(self.definitions.of(SourceSpec).values())
        """The sources: the view's own first, the one that defines times and ids last."""
        self.name = hashlib.sha256("".join(graph.fingerprints(self.lineage)).encode()).digest()[:16]
        """The id of the view in the store."""
        self.prefix = prefix_of(self.name)
        """The prefix of a key's bytes in the store."""

    @classmethod
    def of(cls, definitions: Definitions, view: ViewSpec) -> Variant:
        """Return a view as it is defined now."""
        return cls(graph.version_of(definitions, view))

    @property
    def id(self) -> str:
        """The name that it is remembered by."""
        return self.name.hex()

    @property
    def key(self) -> list[str]:
        """The source's columns that hold the entity's key."""
        (entity,) = self.definitions.of(EntitySpec).values()
        return self.definitions.key_columns(entity, self.sources[0])

    def state(self, snapshot: Snapshot) -> State | None:
        """Return its state in the store; None if the view was never materialized with these definitions."""
        coverage = snapshot.coverage(self.name)
        return None if coverage is None else _state(snapshot, self.name, coverage)

    def stored(
        self,
        snapshot: Snapshot,
        layout: Layout,
        empty: bytes,
        keys: Sequence[bytes | None],
        newest: Sequence[bytes | None],
        *,
        whole: Array | None = None,
        objects: bool = True,
    ) -> Stored:
        """Return all entries of keys; a key that is None or unknown has an empty one.

        Args:
            snapshot: A snapshot of the store.
            layout: The layout of the rows.
            empty: The entry of a key without rows.
            keys: As `key_bytes` writes them, after the prefix.
            newest: Their newest entries in the snapshot.
            whole: bool[K], the keys whose full entries are read too; None for all.
            objects: Whether to return the objects beside the words as well.
        """
        values = [value or empty for value in newest]
        parts: Iterable[bytes] = values
        firsts, full = _counted(len(values)), None
        if any(map(_has_full, values)):
            full = [int.from_bytes(value[16:24], "little") >> 1 for value in values]
            wanted = full if whole is None else [count * one for count, one in zip(full, whole.tolist(), strict=True)]
            parts = _in_order(snapshot.full(keys, wanted), wanted, values)
            firsts = frozen([0, *accumulate(count + 1 for count in wanted)], np.int64)
        words = np.frombuffer(b"".join(parts) or bytes(8), np.int64)
        beside = _objects(snapshot, layout, keys, np.diff(firsts) - 1) if objects else []
        return Stored(words, firsts, beside, full)

    def rows(
        self, snapshot: Snapshot, layout: Layout, keys: list[bytes], *, whole: Array | None = None
    ) -> tuple[KeyRows, Array]:
        """Return the rows of keys, and the number of full entries of each; the arguments are those of `stored`."""
        _, newest = snapshot.read(self.name, keys)
        stored = self.stored(snapshot, layout, empty_entry(layout.width), keys, newest, whole=whole)
        full = np.array(stored.full or [0] * len(keys), np.int64)
        return KeyRows(keys, *unpack(stored.words, stored.firsts, layout.width), stored.objects), full


def packed(rows: KeyRows, before: Array) -> tuple[list[Newest], list[Full]]:
    """Return the entries of rows.

    Args:
        rows: The rows; a key without any is to be removed.
        before: int64[K], full entries of each key that come before these rows.
    """
    counts = np.diff(rows.offsets)
    pieces = np.maximum(-(-counts // FULL), 1)
    key = np.repeat(np.arange(counts.size), pieces)
    number = np.arange(key.size) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    begins = np.append(rows.offsets[key] + number * FULL, rows.offsets[-1])
    words, starts = pack(begins, before[key] + number, rows.columns)
    content = memoryview(words.data).cast("B")
    encode = msgspec.msgpack.Encoder().encode
    newest, full = list[Newest](), list[Full]()
    for entry, place in enumerate(key.tolist()):
        begin, end = int(begins[entry]), int(begins[entry + 1])
        name = rows.keys[place]
        if begin == end:
            newest.append(Newest(name, None, None))
            continue
        beside = encode([values[begin:end] for values in rows.objects]) if rows.objects else None
        # Half of its last word belongs to the store.
        part = bytes(content[8 * starts[entry] : 8 * starts[entry + 1] - 4])
        if number[entry] == pieces[place] - 1:
            newest.append(Newest(name, part, beside))
        else:
            full.append(Full(name, int(before[place] + number[entry]), part, beside))
    return newest, full


@lru_cache(1024)
def _counted(count: int) -> Array:
    """Return int64[count+1] from 0 on."""
    return frozen(np.arange(count + 1), np.int64)


def states(snapshot: Snapshot) -> list[State]:
    """Return every view that was materialized."""
    return [_state(snapshot, view, coverage) for view, coverage in snapshot.coverages().items()]


def _state(snapshot: Snapshot, view: bytes, coverage: Coverage) -> State:
    return State(*_described(snapshot.description(view)), coverage)


@lru_cache(256)
def _described(data: bytes) -> tuple[Variant, Description]:
    description = msgspec.msgpack.decode(data, type=Description)
    return Variant(description.lineage), description


def _in_order(full: Sequence[bytes], counts: Sequence[int], newest: Sequence[bytes | None]) -> Iterator[bytes]:
    """Yield each key's full entries and then its newest, where it has one."""
    found = iter(full)
    for count, last in zip(counts, newest, strict=True):
        yield from islice(found, count)
        if last is not None:
            yield last


def _objects(snapshot: Snapshot, layout: Layout, keys: Sequence[bytes | None], full: Array) -> list[list[Any]]:
    """Return the values of each slot that is not a word, of all rows of the keys."""
    objects: list[list[Any]] = [[] for _ in layout.objects]
    if not objects:
        return objects
    decode = msgspec.msgpack.Decoder(list[list[Any]]).decode
    counts = full.tolist()
    for part in _in_order(snapshot.full(keys, counts, beside=True), counts, snapshot.beside(keys)):
        for values, more in zip(objects, decode(part[:-4]), strict=True):
            values.extend(more)
    return objects
