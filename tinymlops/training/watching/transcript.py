"""What a run wrote to its console: folded, capped and without secrets, delivered piece by piece while the run works."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from tinymlops.secrets import without_credentials
from tinymlops.training.watching.screen import Screen

__all__ = ["HEAD", "TAIL", "Changes", "Piece", "Transcript"]

HEAD = 256 << 10
"""Characters from the beginning that are kept."""
TAIL = 768 << 10
"""Characters from the end that are kept."""
_FULL = 16 << 10
"""Characters of a piece that gets no more."""
_MOST_WAITING = 1 << 20
"""Characters that wait for the thread in the background; beyond, the thread that prints folds them itself."""
_AT_ONCE = 64 << 10
"""Characters that are folded at once."""


class Piece(NamedTuple):
    """Some of the output; between two pieces that do not meet, something was left out."""

    start: int
    """Characters of output before it."""
    stop: int
    text: str


class Changes(NamedTuple):
    """What has come since the last delivery."""

    since: int
    """From here on, what was delivered before is replaced."""
    pieces: list[Piece]
    passed: int
    """Pieces that begin after the head and end before here are left out from now on."""
    full: int
    """Pieces that end before here are not delivered again."""
    state: tuple[int, str]


class Transcript:
    """The output of one run."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, str]] = deque()
        self._waiting_size = 0
        self._screen = Screen()
        self._head: deque[Piece] = deque()
        self._tail: deque[Piece] = deque()
        self._stop = 0
        """Characters of final lines."""
        self._since = 0
        self._stored = (0, "")
        self._folding, self._delivering = threading.Lock(), threading.Lock()

    def write(self, stream: str, text: str) -> None:
        """Take some output; quick, and safe in a signal handler and in any thread."""
        self._waiting.append((stream, text))
        self._waiting_size += len(text)  # two threads may spoil the sum, which is renewed with every fold
        if self._waiting_size > _MOST_WAITING and self._folding.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._folding.release()

    def deliver(self, store: Callable[[Changes], None]) -> None:
        """Deliver what has come since the last time, if anything has.

        Args:
            store: Stores changes. It is called by one thread at a time, and if it raises, later again with the same ones.
        """
        with self._delivering:
            changes = self._changes()
            if changes is not None:
                store(changes)
                self._delivered(changes)

    def _changes(self) -> Changes | None:
        with self._folding:
            self._fold()
            shown = self._screen.shown()
            if (self._stop, shown) == self._stored:
                return None
            final = [*self._head, *self._tail]
            full = [piece.stop for piece in final if piece.stop - piece.start >= _FULL]
            pieces = [*final, Piece(self._stop, self._stop + len(shown), shown)]
            return Changes(
                self._since,
                [piece._replace(text=without_credentials(piece.text)) for piece in pieces if piece.text],
                self._stop - TAIL,
                full[-1] if full else self._since,
                (self._stop, shown),
            )

    def _delivered(self, changes: Changes) -> None:
        with self._folding:
            self._stored = changes.state
            self._since = changes.full
            for pieces in (self._head, self._tail):
                while pieces and pieces[0].stop <= changes.full:
                    pieces.popleft()

    def _fold(self) -> None:
        """Bring what waits to the screen, and what left the screen to the pieces."""
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        self._waiting_size = 0
        for stream, group in groupby(waiting, key=itemgetter(0)):
            text = "".join(text for _, text in group)
            for start in range(0, len(text), _AT_ONCE):
                self._screen.write(stream, text[start : start + _AT_ONCE])
                self._keep(self._screen.take_final())

    def _keep(self, text: str) -> None:
        if not text:
            return
        pieces = self._head if self._stop < HEAD else self._tail
        start = self._stop
        self._stop += len(text)
        if pieces and pieces[-1].stop - pieces[-1].start < _FULL:
            start, text = pieces[-1].start, pieces.pop().text + text
        pieces.append(Piece(start, self._stop, text))
        while len(self._tail) > 1 and self._tail[0].stop < self._stop - TAIL:
            self._tail.popleft()
