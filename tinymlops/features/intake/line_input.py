"""Where lines come from that are followed, and a position between two lines of a file."""

from __future__ import annotations

import hashlib
import os
import select
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tinymlops.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CHUNK", "EDGE", "Known", "LineInput", "Lines", "Piped", "Place"]

CHUNK = 2**20
_LONGEST = 16 * 2**20
"""Bytes of a line."""
EDGE = 512
"""Bytes at the beginning, and before the position, by which a file is known again."""


class Place(NamedTuple):
    """A position in a file, between two lines."""

    device: int
    inode: int
    offset: int
    line: int
    head: bytes
    """The first bytes of the file, as far as they were read."""
    tail: bytes
    """Those before the offset."""

    def after(self, lines: Iterable[bytes]) -> Place:
        """Return the place after some lines."""
        lines = list(lines)
        taken, count = b"".join(lines), sum(line[-1:] != b"\0" for line in lines)
        head, tail = (self.head + taken[:EDGE])[:EDGE], (self.tail + taken[-EDGE:])[-EDGE:]
        return self._replace(offset=self.offset + len(taken), line=self.line + count, head=head, tail=tail)

    @property
    def edges(self) -> str:
        """The digest of the bytes by which the file is known again."""
        return hashlib.sha256(self.head + b"|" + self.tail).hexdigest()


class Known(NamedTuple):
    """Where a process stopped, as `StreamPosition` keeps it."""

    device: int
    inode: int
    offset: int
    line: int
    edges: str


class LineInput(Protocol):
    """Where lines come from."""

    @property
    def place(self) -> Place | None:
        """After the lines that `read` gave; None where nothing can be read twice."""

    def read(self, most: int) -> list[bytes]:
        """Return the next complete lines, with what ends them; none if there are none by now."""

    def turn(self) -> bool:
        """Return whether there is more to read elsewhere, once all lines from here were taken."""

    def wait(self, seconds: float) -> None:
        """Wait for more."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing will come any more."""

    def left(self) -> list[bytes]:
        """Return complete lines that cannot be read again, when one stops."""

    def close(self) -> None:
        """Let go of it."""


class Lines:
    """Bytes that are cut into lines."""

    def __init__(self) -> None:
        self._ready: deque[bytes] = deque()
        self._rest = b""

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def has_rest(self) -> bool:
        """Whether there is a line without an end."""
        return bool(self._rest)

    def add(self, chunk: bytes) -> None:
        """Take bytes."""
        if chunk[:1] == b"\0" and not self._rest:
            # A writer that went on at its old position after a truncation leaves a hole.
            kept = chunk.lstrip(b"\0")
            self._ready.append(chunk[: len(chunk) - len(kept)])
            chunk = kept
        whole, newline, rest = (self._rest + chunk).rpartition(b"\n")
        self._rest = rest
        if newline:
            self._ready.extend(line + b"\n" for line in whole.split(b"\n"))
        if len(rest) > _LONGEST:
            raise DataError(
                f"a line is longer than {_LONGEST // 2**20} MiB",
                hint="rows are JSON objects, each on a line of its own",
            )

    def finish(self) -> None:
        """Make a line of what is without an end."""
        if self._rest:
            self._ready.append(self._rest)
            self._rest = b""

    def take(self, most: int) -> list[bytes]:
        """Return lines, the first first."""
        return [self._ready.popleft() for _ in range(min(most, len(self._ready)))]


class Piped:
    """The lines of a pipe, each of which comes once.

    Args:
        file: Its descriptor.
    """

    def __init__(self, file: int) -> None:
        self._file, self._lines, self._ended = file, Lines(), False

    @property
    def place(self) -> None:
        """Nothing can be read twice."""

    @property
    def has_ended(self) -> bool:
        """Whether its writer closed it, and all lines were read."""
        return self._ended and not len(self._lines)

    def read(self, most: int) -> list[bytes]:
        """Return lines that are there by now; its last one needs no end."""
        if not len(self._lines) and not self._ended and self._is_ready(0):
            chunk = os.read(self._file, CHUNK)
            self._lines.add(chunk)
            if not chunk:
                self._ended = True
                self._lines.finish()
        return self._lines.take(most)

    def turn(self) -> bool:
        """Return False: nothing comes after it."""
        return False

    def wait(self, seconds: float) -> None:
        """Wait until there is more to read."""
        self._is_ready(seconds)

    def left(self) -> list[bytes]:
        """Return the lines that were read from it and not taken."""
        return self._lines.take(len(self._lines))

    def close(self) -> None:
        """Leave it open: it is the caller's."""

    def _is_ready(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._file], [], [], seconds)
        return bool(ready)
