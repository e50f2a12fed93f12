"""How views are stored in LMDB: one letter for the kind of an entry, the view's sixteen bytes, and the key.

For a view, `c` is the coverage and `l` the description; `r` are newest entries and `o` the bytes beside them, `f` are
full entries and `p` the bytes beside those. For the store, `g` is the token and `v` the format of keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.keys import FORMAT
from tinymlops.stores._lmdb_entries import Reader, Writer
from tinymlops.stores.coverage import Coverage, decode, encode
from tinymlops.stores.online_store import prefix_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tinymlops.stores.online_store import Change

__all__ = ["LAST_KEY", "ViewReader", "clear_other_format", "has_other_format", "put_token", "remember", "write"]

LAST_KEY = b"\xff" * 512
"""Greater than every key."""
_TOKEN = b"g"
_FORMAT = b"v"
_THIS_FORMAT = FORMAT.to_bytes(4, "big")
_VIEWS = b"c", b"d"


class ViewReader(Reader):
    """Views as of one transaction."""

    __slots__ = ()

    @property
    def token(self) -> bytes:
        """The token that was put last; empty if there is none."""
        return self.get(_TOKEN) or b""

    def coverage(self, view: bytes) -> Coverage | None:
        """Return the coverage of a view; None if it is not there."""
        return _coverage(self, view)

    def coverages(self) -> dict[bytes, Coverage]:
        """Return the coverage of every view."""
        return {key[1:]: decode(value) for key, value in self.scan(*_VIEWS)}

    def description(self, view: bytes) -> bytes:
        """Return the description of a view, which must be there."""
        value = self.get(b"l" + view)
        assert value is not None, "what is covered is described"
        return value

    def keys_of(self, view: bytes, after: bytes = b"") -> Iterator[bytes]:
        """Yield every key that has a newest entry, in order, and comes after a key."""
        start = after + b"\0" if after else prefix_of(view)
        for key, _ in self.scan(start, prefix_of(view) + b"\xff"):
            yield key

    def full(self, keys: Sequence[bytes | None], counts: Sequence[int], *, beside: bool = False) -> list[bytes]:
        """Return the first full entries of each key, up to a number, one after the other, or the bytes beside them."""
        kind = b"p" if beside else b"f"
        names = [
            kind + key[1:] + number.to_bytes(4, "big")
            for key, count in zip(keys, counts, strict=True)
            if key is not None
            for number in range(count)
        ]
        found = self.get_many(names, lasting=False)
        if None in found:
            raise self._damaged(names[found.index(None)])
        return found  # type: ignore[return-value]  # None was refused

    def beside(self, keys: Sequence[bytes | None]) -> list[bytes | None]:
        """Return the bytes beside the newest entry of each key."""
        return self.get_many([None if key is None else b"o" + key[1:] for key in keys])


def write(batch: Mapping[bytes, Change | None], if_covered: Mapping[bytes, Coverage | None], tx: Writer) -> bool:
    """Write a batch if the views in the store are those that it was computed from; return whether it was written."""
    if any(_coverage(tx, view) != coverage for view, coverage in if_covered.items()):
        return False
    anew = {view.hex(): change.name for view, change in batch.items() if change and change.description is not None}
    if anew:
        tx.remember(tx.remembered() | anew)
        tx.put(_FORMAT, _THIS_FORMAT)
    for view, change in batch.items():
        if change is None or change.description is not None:
            _clear(tx, view)
        if change is not None:
            _put(tx, view, change)
    return True


def put_token(token: bytes, tx: Writer) -> None:
    """Set the token."""
    tx.put(_TOKEN, token)


def remember(names: Mapping[str, str], tx: Writer) -> None:
    """Forget all names except these and those of the views that are there."""
    there = {key[1:].hex() for key, _ in tx.scan(*_VIEWS)}
    tx.remember({name: view for name, view in tx.remembered().items() if name in there} | dict(names))


def has_other_format(tx: Reader) -> bool:
    """Return whether another version wrote the views, in another format."""
    written = tx.get(_FORMAT)
    if written == _THIS_FORMAT:
        return False
    return written is not None or any(True for _ in tx.scan(*_VIEWS))


def clear_other_format(tx: Writer) -> None:
    """Remove everything if another version wrote it, in another format."""
    if has_other_format(tx):
        tx.clear()


def _coverage(tx: Reader, view: bytes) -> Coverage | None:
    value = tx.get(b"c" + view)
    return None if value is None else decode(value)


def _put(tx: Writer, view: bytes, change: Change) -> None:
    """Write a change; LMDB fills its pages in order where entries come in order."""
    if change.description is not None:
        tx.put(b"l" + view, change.description)
    for key, number in change.gone:
        for kind in (b"f", b"p"):
            tx.delete(_numbered(kind, key, number))
    for key, number, words, beside in change.full:
        tx.put(_numbered(b"f", key, number), words)
        if beside is not None:
            tx.put(_numbered(b"p", key, number), beside)
    for key, newest, beside in change.newest:
        if newest is None:
            tx.delete(key)
            tx.delete(b"o" + key[1:])
            continue
        tx.put(key, newest)
        if beside is not None:
            tx.put(b"o" + key[1:], beside)
    tx.put(b"c" + view, encode(change.coverage))


def _numbered(kind: bytes, key: bytes, number: int) -> bytes:
    return kind + key[1:] + number.to_bytes(4, "big")


def _clear(tx: Writer, view: bytes) -> None:
    for kind in (b"c", b"l"):
        tx.delete(kind + view)
    for kind in (b"r", b"f", b"o", b"p"):
        tx.delete_range(kind + view, kind + view + b"\xff")
