"""How a view lies in the online store: what is covered, how its rows are laid out, and the rows of each key.

A row is stored as what every read of it needs: its times, and the value of each expression that the view's features
take (`tinymlops.kernels.entries` has the format). Expressions are evaluated once, when the row is written. A key's
newest rows are one entry, which new ones join; when it is full it becomes one of the key's full entries, which are
only rewritten for a row that came late. What fits no 64-bit word lies in an entry beside each of those.
"""

from __future__ import annotations

import hashlib
import struct
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
from tinymlops.features.in_force import put_format
from tinymlops.kernels._compile import frozen
from tinymlops.kernels.entries import SYSTEM, empty_entry, pack, unpack

if TYPE_CHECKING:
    from tinymlops.features.definitions.expressions import Aggregate, Operand
    from tinymlops.stores._entries import Reader, Writer

__all__ = ["Covered", "Entry", "Layout", "Moment", "Rows", "Slot", "State", "Stored", "Variant", "form_of", "states"]

Array = np.ndarray[Any, Any]
Form = Literal["word", "number", "object"]

FULL = 512
"""Rows of a full entry."""

_MOMENT = struct.Struct("<4q")
_has_full = itemgetter(16)
"""Gives the first byte of an entry's number of full ones, which says whether there are any."""
_WORDS = ("Boolean", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "Float32", "Float64", "Null")
_TIMES = ("Date", "Time", "Datetime", "Duration")
_NUMERIC = ("sum", "mean", "min", "max", "var", "std", "quantile", "any", "all")


class Covered(msgspec.Struct, frozen=True):
    """What the online store holds of one view."""

    view: str
    sequence: int
    """`Q`: rows up to this sequence are in it."""
    at: int
    """Microseconds UTC: it answers reads at this time and later; an earlier one needs history."""
    keys: int


class Moment(NamedTuple):
    """What changes with every row, and is read with every answer."""

    sequence: int
    at: int
    keys: int
    stamp: int
    """Of the layout: another one has another."""


class Slot(msgspec.Struct, frozen=True):
    """An operand's place in a row."""

    operand: bytes
    """As JSON."""
    form: Form
    """A value in a word; a number made of a value that fits none; or an object beside the words."""
    dtype: str


class Layout(msgspec.Struct, frozen=True):
    """What a row of a view holds, in order."""

    slots: tuple[Slot, ...]
    key: tuple[str, ...]
    """The dtypes of the key's columns."""

    @property
    def width(self) -> int:
        """How many columns of words an entry has: two for each slot, whether there is a value being the second."""
        return SYSTEM + 2 * len(self.slots)

    @property
    def objects(self) -> list[int]:
        """The slots whose values lie beside the words."""
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
    """Say how a function's operand of some type is stored."""
    if dtype in _WORDS or dtype.startswith(_TIMES):
        return "word"
    return "number" if function in _NUMERIC else "object"


class State(msgspec.Struct, frozen=True):
    """What is covered, under which definitions, and how rows are laid out."""

    covered: Covered
    lineage: tuple[AnySpec, ...]
    segment: int
    """The newest segment of the source: one that is rebuilt gets another."""
    layout: Layout
    stamp: int
    rebuilt: Rebuilt | None = None
    """Of when the rows are, of a source that is rebuilt."""
    begins: int = 0
    """After which sequence the generation of the source begins whose rows these are."""

    @property
    def variant(self) -> Variant:
        """The view and what it stands on, as it was materialized."""
        return Variant(self.lineage)


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """What of a state changes only when a view is written anew."""

    lineage: tuple[AnySpec, ...]
    segment: int
    layout: Layout
    stamp: int
    rebuilt: Rebuilt | None = None
    begins: int = 0


class Rows(NamedTuple):
    """Arranged rows of some keys."""

    keys: list[bytes]
    offsets: Array
    """int64[K+1]: the rows of each key."""
    columns: Array
    """int64[width, n]."""
    objects: list[list[Any]]
    """The values of each slot that is no word, as msgpack can hold them."""


class Entry(NamedTuple):
    """One entry to be written."""

    kind: bytes
    """`r` for a key's newest rows, `f` for a full entry."""
    key: bytes
    """What follows the kind."""
    words: bytes | None
    """None for a key without rows."""
    beside: bytes | None
    """What fits no word, if the layout has such a slot."""


class Stored(NamedTuple):
    """Entries of some keys as they lie in the store."""

    words: Array
    firsts: Array
    """int64[K+1]: the number of each key's first entry."""
    objects: list[list[Any]]
    full: list[int] | None
    """How many full entries each key has in the store; None if none has any."""


class Variant:
    """A view with all that its rows depend on: two definitions of one view do not share entries.

    Args:
        lineage: The view, its entity, its source, and after a row-wise transformation its input, and so on.
    """

    def __init__(self, lineage: Sequence[AnySpec]) -> None:
        self.lineage = tuple(lineage)
        self.definitions = Definitions(self.lineage)
        (self.view,) = self.definitions.of(ViewSpec).values()
        self.sources = list(self.definitions.of(SourceSpec).values())
        """The view's source first, the one whose times and ids the rows have last."""
        self._name = hashlib.sha256("".join(graph.fingerprints(self.lineage)).encode()).digest()[:16]
        self.prefix = b"r" + self._name
        """Before the bytes of a key, the name of its newest entry: what stands for the key in here."""

    @classmethod
    def of(cls, definitions: Definitions, view: ViewSpec) -> Variant:
        """Return a view as it is defined."""
        return cls(graph.version_of(definitions, view))

    @property
    def id(self) -> str:
        """What it is remembered as."""
        return self._name.hex()

    @property
    def key(self) -> list[str]:
        """The source's columns that hold the entity's key."""
        (entity,) = self.definitions.of(EntitySpec).values()
        return self.definitions.key_columns(entity, self.sources[0])

    def moment(self, tx: Reader) -> Moment | None:
        """Return what is covered; None if the view was never materialized like this."""
        value = tx.get(b"c" + self._name)
        return None if value is None else Moment._make(_MOMENT.unpack(value))

    def state(self, tx: Reader) -> State | None:
        """Return all of it."""
        moment = self.moment(tx)
        return None if moment is None else _state(tx, self._name, moment)

    def put_state(self, tx: Writer, state: State) -> None:
        """Write the state of a view that was written anew, and remember the view should the store be lost."""
        tx.remember(tx.remembered() | {self.id: self.view.name})
        kept = _Kept(state.lineage, state.segment, state.layout, state.stamp, state.rebuilt, state.begins)
        tx.put(b"l" + self._name, msgspec.msgpack.encode(kept))
        put_format(tx)
        self.put_moment(tx, state)

    def put_moment(self, tx: Writer, state: State) -> None:
        """Write what is covered."""
        covered = state.covered
        tx.put(b"c" + self._name, _MOMENT.pack(covered.sequence, covered.at, covered.keys, state.stamp))

    def clear(self, tx: Writer) -> None:
        """Remove all of the view."""
        for kind in (b"c", b"l"):
            tx.delete(kind + self._name)
        for kind in (b"r", b"f", b"o", b"p"):
            tx.delete_range(kind + self._name, kind + self._name + b"\xff")

    def keys_in(self, tx: Reader) -> Iterator[bytes]:
        """Yield every key that has rows."""
        for key, _ in tx.scan(self.prefix, self.prefix + b"\xff"):
            yield key

    def has(self, tx: Reader, key: bytes) -> bool:
        """Say whether a key has rows."""
        return tx.get(key) is not None

    def read(
        self,
        tx: Reader,
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
            tx: The transaction.
            layout: How they are laid out.
            empty: The entry of a key without rows.
            keys: As `key_bytes` writes them, after the prefix.
            newest: What the transaction has for them: their newest entries.
            whole: bool[K], for which keys the full entries are read too; None for all.
            objects: Also return what lies beside the words.
        """
        values = [value or empty for value in newest]
        parts: Iterable[bytes] = values
        firsts, full = _counted(len(values)), None
        if any(map(_has_full, values)):
            full = [int.from_bytes(value[16:24], "little") >> 1 for value in values]
            wanted = full if whole is None else [count * one for count, one in zip(full, whole.tolist(), strict=True)]
            parts = self._in_order(tx, b"f", keys, wanted, values)
            firsts = frozen([0, *accumulate(count + 1 for count in wanted)], np.int64)
        words = np.frombuffer(b"".join(parts) or bytes(8), np.int64)
        beside = self._objects(tx, layout, keys, np.diff(firsts) - 1) if objects else []
        return Stored(words, firsts, beside, full)

    def rows(self, tx: Reader, layout: Layout, keys: list[bytes], *, whole: Array | None = None) -> tuple[Rows, Array]:
        """Return the rows of keys, and how many full entries each has in the store; the arguments are those of `read`."""
        stored = self.read(tx, layout, empty_entry(layout.width), keys, tx.get_many(keys), whole=whole)
        full = np.array(stored.full or [0] * len(keys), np.int64)
        return Rows(keys, *unpack(stored.words, stored.firsts, layout.width), stored.objects), full

    def put_rows(self, tx: Writer, rows: Rows, full: Array, before: Array) -> None:
        """Write rows in place of those that their keys had, or of those in the newest entry.

        Args:
            tx: The transaction.
            rows: What to write; a key without rows is removed.
            full: int64[K], full entries of each key in the store.
            before: int64[K], those of them that stay.
        """
        for place in np.flatnonzero(full > before):
            for number in range(before[place], full[place]):
                for kind in (b"f", b"p"):
                    tx.delete(kind + rows.keys[place][1:] + int(number).to_bytes(4, "big"))
        self.put_entries(tx, self.entries(rows, before))

    def put_entries(self, tx: Writer, entries: Iterable[Entry]) -> None:
        """Write entries, and remove those that hold nothing."""
        for kind, key, words, beside in entries:
            if words is None:
                tx.delete(b"r" + key)
                tx.delete(b"o" + key)
                continue
            tx.put(kind + key, words)
            if beside is not None:
                tx.put((b"o" if kind == b"r" else b"p") + key, beside)

    def entries(self, rows: Rows, before: Array) -> Iterator[Entry]:
        """Pack rows; the arguments are those of `put_rows`."""
        counts = np.diff(rows.offsets)
        pieces = np.maximum(-(-counts // FULL), 1)
        key = np.repeat(np.arange(counts.size), pieces)
        number = np.arange(key.size) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        begins = np.append(rows.offsets[key] + number * FULL, rows.offsets[-1])
        words, starts = pack(begins, before[key] + number, rows.columns)
        content = memoryview(words.data).cast("B")
        encode = msgspec.msgpack.Encoder().encode
        for entry, place in enumerate(key.tolist()):
            begin, end = int(begins[entry]), int(begins[entry + 1])
            if begin == end:
                yield Entry(b"r", rows.keys[place][1:], None, None)
                continue
            newest = number[entry] == pieces[place] - 1
            suffix = b"" if newest else int(before[place] + number[entry]).to_bytes(4, "big")
            beside = encode([values[begin:end] for values in rows.objects]) if rows.objects else None
            # Its last word is half of it the store's: the checksum.
            part = bytes(content[8 * starts[entry] : 8 * starts[entry + 1] - 4])
            yield Entry(b"r" if newest else b"f", rows.keys[place][1:] + suffix, part, beside)

    def _in_order(
        self, tx: Reader, kind: bytes, keys: Sequence[bytes | None], full: Sequence[int], newest: Sequence[bytes | None]
    ) -> Iterator[bytes]:
        """Yield each key's full entries and then its newest, where it has one."""
        names = [
            kind + key[1:] + number.to_bytes(4, "big")
            for key, count in zip(keys, full, strict=True)
            if key is not None
            for number in range(count)
        ]
        found = iter(tx.get_many(names, lasting=False))
        for count, last in zip(full, newest, strict=True):
            for value in (*islice(found, count), last):
                if value is not None:
                    yield value

    def _objects(self, tx: Reader, layout: Layout, keys: Sequence[bytes | None], full: Array) -> list[list[Any]]:
        """Return the values of each slot that is no word, of all rows of the keys."""
        objects: list[list[Any]] = [[] for _ in layout.objects]
        if not objects:
            return objects
        decode = msgspec.msgpack.Decoder(list[list[Any]]).decode
        newest = tx.get_many([None if key is None else b"o" + key[1:] for key in keys])
        for part in self._in_order(tx, b"p", keys, full.tolist(), newest):
            for values, more in zip(objects, decode(part[:-4]), strict=True):
                values.extend(more)
        return objects


@lru_cache(1024)
def _counted(count: int) -> Array:
    """Return int64[count+1] from 0 on."""
    return frozen(np.arange(count + 1), np.int64)


def states(tx: Reader) -> list[State]:
    """Return what is covered of every view that was materialized."""
    return [_state(tx, key[1:], Moment._make(_MOMENT.unpack(value))) for key, value in tx.scan(b"c", b"d")]


def _state(tx: Reader, name: bytes, moment: Moment) -> State:
    value = tx.get(b"l" + name)
    assert value is not None, "what is covered is laid out"
    kept = msgspec.msgpack.decode(value, type=_Kept)
    (view,) = (spec for spec in kept.lineage if isinstance(spec, ViewSpec))
    covered = Covered(view.name, *moment[:3])
    return State(covered, kept.lineage, kept.segment, kept.layout, kept.stamp, kept.rebuilt, kept.begins)
