"""How a view lies in the online store: one entry that says what is covered, and one entry of rows for each key.

An entry of rows is an Arrow stream without its beginning and its end, which are the same for all keys of a view.
Those of many keys put one after the other between the two are one stream again, and are decoded at once.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from tinymlops._keys import key_bytes
from tinymlops.features import specs
from tinymlops.features.definitions import Definitions
from tinymlops.features.specs import AnySpec, EntitySpec, SourceSpec, ViewSpec

if TYPE_CHECKING:
    from tinymlops.stores._entries import Reader, Writer

__all__ = ["Covered", "State", "Variant", "head_of", "states"]

_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class Covered(msgspec.Struct, frozen=True):
    """What the online store holds of one view."""

    view: str
    sequence: int
    """`Q`: rows up to this sequence are in it."""
    at: int
    """Microseconds UTC: it answers reads at this time and later; an earlier one needs history."""
    keys: int


class State(msgspec.Struct, frozen=True):
    """What is covered, under which definitions, and how the entries of rows are read."""

    covered: Covered
    lineage: tuple[AnySpec, ...]
    segment: int
    """The newest segment of the source: one that is rebuilt gets another."""
    head: bytes
    """How the Arrow stream of an entry begins: its schema."""

    @property
    def variant(self) -> Variant:
        """The view and what it stands on, as it was materialized."""
        return Variant(self.lineage)


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
        content = "".join(specs.fingerprint(spec) for spec in self.lineage)
        self._name = hashlib.sha256(content.encode()).digest()[:16]

    @classmethod
    def of(cls, definitions: Definitions, view: ViewSpec) -> Variant:
        """Return a view as it is defined."""
        lineage: list[AnySpec] = [view, definitions.get(EntitySpec, view.entity)]
        source = definitions.get(SourceSpec, view.source)
        lineage.append(source)
        while source.row_wise:
            source = definitions.get(SourceSpec, source.inputs[0])
            lineage.append(source)
        return cls(lineage)

    @property
    def key(self) -> list[str]:
        """The source's columns that hold the entity's key."""
        (entity,) = self.definitions.of(EntitySpec).values()
        return self.definitions.key_columns(entity, self.sources[0])

    def state(self, tx: Reader) -> State | None:
        """Return what is covered; None if the view was never materialized like this."""
        value = tx.get(b"c" + self._name)
        return None if value is None else _decode(value)

    def put_state(self, tx: Writer, state: State) -> None:
        """Write what is covered."""
        tx.put(b"c" + self._name, msgspec.msgpack.encode(state))

    def clear(self, tx: Writer) -> None:
        """Remove the view's entries."""
        tx.delete(b"c" + self._name)
        tx.delete_range(b"r" + self._name, b"r" + self._name + b"\xff")

    def clear_keys(self, tx: Writer, keys: Iterable[Sequence[object]]) -> None:
        """Remove the rows of these keys."""
        for values in keys:
            tx.delete(b"r" + self._name + key_bytes(values))

    def rows_of(self, tx: Reader, state: State, keys: Iterable[Sequence[object]]) -> tuple[pl.DataFrame, int]:
        """Return the rows of these keys, each given once, and how many of the keys there are."""
        prefix = b"r" + self._name
        found = [value for values in keys if (value := tx.get(prefix + key_bytes(values))) is not None]
        return _unpacked(state.head, found), len(found)

    def all_rows(self, tx: Reader, state: State) -> pl.DataFrame:
        """Return the rows of every key."""
        prefix = b"r" + self._name
        return _unpacked(state.head, [value for _, value in tx.scan(prefix, prefix + b"\xff")])

    def packed(self, rows: pl.DataFrame) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entry of each key, to be given to `put_rows`."""
        head = head_of(rows)
        prefix = b"r" + self._name
        for values, group in rows.partition_by(self.key, as_dict=True, maintain_order=True).items():
            stream = _stream(group)
            assert stream.startswith(head), "entries of one view have one schema"
            yield prefix + key_bytes(values), stream[len(head) : -len(_END)]


def states(tx: Reader) -> list[State]:
    """Return what is covered of every view that was materialized."""
    return [_decode(value) for _, value in tx.scan(b"c", b"d")]


def head_of(rows: pl.DataFrame) -> bytes:
    """Return the beginning of an Arrow stream of such rows: the message that holds their schema."""
    stream = _stream(rows.clear())
    return stream[: 8 + int.from_bytes(stream[4:8], "little")]


def _stream(rows: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    rows.write_ipc_stream(buffer)
    return buffer.getvalue()


def _unpacked(head: bytes, entries: Sequence[bytes]) -> pl.DataFrame:
    return pl.read_ipc_stream(io.BytesIO(b"".join([head, *entries, _END])))


def _decode(value: bytes) -> State:
    state: State = msgspec.msgpack.decode(value, type=State)
    return state
