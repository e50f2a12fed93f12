"""The interface of the online store: views under keys, with the coverage of each. `lmdb_store.py` implements it.

A store knows nothing of definitions, rows or features. It keeps, for each key of a view, a *newest* entry and maybe
numbered *full* ones, each with bytes *beside* it; and for each view its coverage and a description. A write is computed
beforehand and names the coverage that it was computed from: no code of others runs inside a write.

`tests/test_online_contract.py` tests what every store must do, and runs on each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tinymlops.stores.coverage import Coverage

__all__ = ["Change", "Full", "Newest", "OnlineStore", "Snapshot", "prefix_of"]


def prefix_of(view: bytes) -> bytes:
    """Return the prefix of each key of a view: keys carry it from the start, so that a read need not add it."""
    return b"r" + view


class Newest(NamedTuple):
    """A key's newest entry."""

    key: bytes
    words: bytes | None
    """With four more bytes the length is a multiple of eight; None to remove the key."""
    beside: bytes | None


class Full(NamedTuple):
    """One of a key's full entries."""

    key: bytes
    number: int
    """From 0 on, the oldest first."""
    words: bytes
    beside: bytes | None


class Change(NamedTuple):
    """A change of a view that is to be written."""

    coverage: Coverage
    newest: Sequence[Newest] = ()
    full: Sequence[Full] = ()
    gone: Sequence[tuple[bytes, int]] = ()
    """Full entries to remove before the others are written: key and number."""
    description: bytes | None = None
    """For a view that is rewritten: all that was there of it is removed. None for a change of some keys."""
    name: str = ""
    """The name of a view that is rewritten, remembered in case the store is lost."""


class Snapshot(Protocol):
    """The store as of one moment, for one thread, until the `with` block ends.

    All that one `read` gives is of one moment. `full` and `beside` of keys that were read return what belongs to
    that answer: a store behind a network brings them in the same trip.
    """

    version: int
    """Nothing in the store differs between two snapshots of the same version."""

    @property
    def token(self) -> bytes:
        """The token that `put_token` put last; empty if there is none."""

    def read(
        self,
        view: bytes,
        keys: Sequence[bytes | None],
        lasting: bool = ...,  # noqa: FBT001  # by position: a keyword costs more than what it says
    ) -> tuple[Coverage | None, list[bytes | None]]:
        """Return the coverage of a view and the newest entry of each key, in one trip.

        Args:
            view: Its sixteen bytes.
            keys: Each begins with `prefix_of(view)`; None for a key without an entry.
            lasting: Whether the entries may be used after the snapshot.

        Returns:
            None for a view that is not there; the words of each entry and four bytes of the store's own, or None.

        Raises:
            IntegrityError: If what is read is not what was written.
        """

    def full(self, keys: Sequence[bytes | None], counts: Sequence[int], *, beside: bool = False) -> list[bytes]:
        """Return the first full entries of each key, up to a number, one after the other, or the bytes beside them."""

    def beside(self, keys: Sequence[bytes | None]) -> list[bytes | None]:
        """Return the bytes beside the newest entry of each key, and four bytes of the store's own."""

    def keys_of(self, view: bytes, after: bytes = ...) -> Iterator[bytes]:
        """Yield every key that has a newest entry, in order, and comes after a key."""

    def coverage(self, view: bytes) -> Coverage | None:
        """Return the coverage of a view; None if it is not there."""

    def coverages(self) -> dict[bytes, Coverage]:
        """Return the coverage of every view."""

    def description(self, view: bytes) -> bytes:
        """Return the description of a view, which must be there."""


class OnlineStore(Protocol):
    """What an online store must do; any number of processes use it at once."""

    @property
    def path(self) -> Path:
        """A directory of its own on this machine."""

    def read(self) -> AbstractContextManager[Snapshot]:
        """Read as of one moment."""

    def write(self, batch: Mapping[bytes, Change | None], *, if_covered: Mapping[bytes, Coverage | None] = ...) -> bool:
        """Change views, all or none.

        Args:
            batch: The change of each view; None removes the view.
            if_covered: The coverage of views that the writer read: if one has changed, nothing is written.

        Returns:
            Whether it was written.
        """

    def put_token(self, token: bytes) -> None:
        """Set the token that every snapshot has."""

    def remembered(self) -> dict[str, str]:
        """Return the name of each view that was written, by its sixteen bytes in hex; it outlives the store's content."""

    def remember(self, names: Mapping[str, str]) -> None:
        """Forget all names except these and those of the views that are there."""

    def drop_other_format(self) -> None:
        """Remove all views if another version wrote their keys in another format."""

    def verify(self) -> int:
        """Read everything; return how many entries there are.

        Raises:
            IntegrityError: If something is not what was written.
        """

    def reset(self) -> None:
        """Remove everything except the remembered names."""

    def close(self) -> None:
        """Close the files."""
