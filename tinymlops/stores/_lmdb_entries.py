"""What an LMDB transaction holds: whole keys of any length in byte order, values with a checksum.

LMDB takes keys of 511 bytes. One of up to 480 is stored as it is; a longer one as its first 479 bytes and its
SHA-256, which makes 511 and so cannot be confused with a short one, with the whole key in the value. Long keys
that share those 479 bytes are stored in the order of their hashes, and are sorted when they are read.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from zlib_ng.zlib_ng import crc32

from tinymlops.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import lmdb

    from tinymlops.stores._names import Names

__all__ = ["Reader", "Writer"]

_LONGEST_AS_IS = 480
_PREFIX = 479
_LONG = _PREFIX + 32
_LENGTH = 4
_CHECK = 4
_RIGHT = 0x2144DF1C
"""The CRC-32 of anything that ends in its own CRC-32."""

Entry = tuple[bytes, bytes]


class Reader:
    """The entries as of one moment, for one thread, until the transaction ends.

    Args:
        transaction: A transaction of LMDB; what it reads may be bytes, or views of them that end with it.
        path: The path of the store, for errors.
    """

    __slots__ = ("_path", "_transaction", "version")

    def __init__(self, transaction: lmdb.Transaction[Any], path: str, version: int = -1) -> None:
        self._transaction = transaction
        self._path = path
        self.version = version
        """The version of the store: nothing has changed between two reads of the same version; -1 for a write."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, or None.

        Raises:
            IntegrityError: If it is not what was written.
        """
        stored = _stored_key(key)
        value = self._transaction.get(stored)
        if value is None:
            self._require_absent(stored)
            return None
        found, content = self._unpacked(stored, bytes(value))
        return content if found == key else None

    def get_many(self, keys: Sequence[bytes | None], *, lasting: bool = True) -> list[bytes | None]:
        """Return the value of each key with the four bytes of its checksum, or None, also for None.

        Args:
            keys: The keys.
            lasting: Whether the values may be used after the transaction; else they are views of the store's memory.

        Raises:
            IntegrityError: If one is not what was written.
        """
        if len(keys) == 1 and (key := keys[0]) and len(key) <= _LONGEST_AS_IS:
            value = self._transaction.get(key)
            if value and crc32(value, crc32(key)) == _RIGHT:
                return [bytes(value) if lasting else value]
        elif None not in keys:
            short: Any = keys
            found = self._get_short(short, lasting) if max(map(len, short), default=0) <= _LONGEST_AS_IS else None
            if found is not None:
                return found
        values = [None if key is None else self.get(key) for key in keys]
        return [None if value is None else value + bytes(_CHECK) for value in values]

    def _get_short(self, keys: Sequence[bytes], lasting: bool) -> list[bytes | None] | None:  # noqa: FBT001
        """Return the checked values of all keys at once, without a Python loop; None where each needs a closer look."""
        found: Any = list(map(self._transaction.get, keys))
        if not all(found) or set(map(crc32, found, map(crc32, keys))) - {_RIGHT}:
            return None
        return list(map(bytes, found)) if lasting else found

    def scan(self, start: bytes, stop: bytes) -> Iterator[Entry]:
        """Yield the entries with start <= key < stop, in the order of their keys.

        Raises:
            IntegrityError: If one is not what was written.
        """
        group: list[Entry] = []
        shared = b""
        with self._transaction.cursor() as cursor:
            # From the start of its group: in there, the order is by hash.
            found = self._seek(cursor, start[:_PREFIX])
            while found:
                stored, value = map(bytes, cursor.item())
                if _lies_beyond(stored[:_PREFIX], stop):
                    break
                if group and stored[:_PREFIX] != shared:
                    yield from sorted(group)
                    group = []
                entry = self._unpacked(stored, value)
                if start <= entry[0] < stop:
                    if len(stored) < _PREFIX:
                        yield entry
                    else:
                        shared = stored[:_PREFIX]
                        group.append(entry)
                found = cursor.next()
        yield from sorted(group)

    def _seek(self, cursor: lmdb.Cursor[bytes], key: bytes) -> bool:
        """Go to the first entry from a key on; return whether there is one.

        Values have checksums, but the tree above them has none. Where it is damaged the search ends in the wrong place:
        then the entry before that place is not smaller.
        """
        if (cursor.prev() if cursor.set_range(key) else cursor.last()) and bytes(cursor.key()) >= key:
            raise self._damaged(key)
        return cursor.set_range(key)

    def _require_absent(self, stored: bytes) -> None:
        with self._transaction.cursor() as cursor:
            if self._seek(cursor, stored) and bytes(cursor.key()) <= stored:
                raise self._damaged(stored)

    def _unpacked(self, stored: bytes, value: bytes) -> Entry:
        if crc32(value, crc32(stored)) != _RIGHT:
            raise self._damaged(stored)
        if len(stored) != _LONG:
            return stored, value[:-_CHECK]
        start = _LENGTH + int.from_bytes(value[:_LENGTH], "little")
        return value[_LENGTH:start], value[start:-_CHECK]

    def _damaged(self, stored: bytes) -> IntegrityError:
        return IntegrityError(
            f"the online store {self._path} is damaged at key {stored[:40]!r}",
            hint="it is derived data: stop the other processes of the workspace and materialize again",
        )


class Writer(Reader):
    """The entries inside a write transaction, which sees its own changes.

    Args:
        transaction: A transaction of LMDB.
        path: The path of the store, for errors.
        names: Remembers names even when the store is lost.
    """

    __slots__ = ("_names",)

    def __init__(self, transaction: lmdb.Transaction[Any], path: str, names: Names) -> None:
        super().__init__(transaction, path)
        self._names = names

    def remembered(self) -> dict[str, str]:
        """Return the remembered names, which outlive the store."""
        return self._names.read()

    def remember(self, names: Mapping[str, str]) -> None:
        """Remember these names only, durable at once, even if the transaction is undone."""
        self._names.write(names)

    def put(self, key: bytes, value: bytes) -> None:
        """Set the value of a key of at least one byte."""
        stored = _stored_key(key)
        content = value if len(stored) != _LONG else len(key).to_bytes(_LENGTH, "little") + key + value
        check = crc32(content, crc32(stored)).to_bytes(_CHECK, "little")
        self._transaction.put(stored, content + check)

    def delete(self, key: bytes) -> bool:
        """Remove a key; return whether it was there."""
        return self._transaction.delete(_stored_key(key))

    def clear(self) -> None:
        """Remove everything, without reading it."""
        with self._transaction.cursor() as cursor:
            found = cursor.first()
            while found:
                found = cursor.delete()

    def delete_range(self, start: bytes, stop: bytes) -> int:
        """Remove the entries with start <= key < stop; return how many there were."""
        keys = [key for key, _ in self.scan(start, stop)]
        for key in keys:
            self.delete(key)
        return len(keys)


def _lies_beyond(prefix: bytes, stop: bytes) -> bool:
    return prefix >= stop if len(stop) < _PREFIX else prefix > stop[:_PREFIX]


def _stored_key(key: bytes) -> bytes:
    if len(key) <= _LONGEST_AS_IS:
        return key
    return key[:_PREFIX] + hashlib.sha256(key).digest()
