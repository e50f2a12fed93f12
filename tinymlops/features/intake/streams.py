"""`follow`: rows of JSON lines, pushed as they come; how far a file is read is committed with its rows.

So a process that is killed goes on where its last commit ended: no row is lost and none is stored twice, with or without ids.
"""

from __future__ import annotations

import secrets
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from tinymlops.errors import ConflictError, DataError
from tinymlops.features.history.generations import place_of
from tinymlops.features.intake.compaction import compact_where_needed
from tinymlops.features.intake.file_tail import Tail
from tinymlops.features.intake.line_input import Known, Piped
from tinymlops.features.intake.pushing import push, pushed_source, sound
from tinymlops.records import RefusedLine, StreamPosition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.features.intake.line_input import LineInput, Place
    from tinymlops.features.intake.pushing import Pushed
    from tinymlops.stores.transaction import Transaction

__all__ = ["Followed", "follow"]

_MOST_ROWS = 10000
_MOST_BYTES = 8 * 2**20
_LONGEST_WAIT = 0.25
"""Seconds from the first line of a batch until it is stored, if it is not full before."""
_PAUSE = 0.05
"""Seconds between two looks at a file that has nothing new."""
_COMPACTED_AFTER = 50_000
"""Rows after which one looks whether pushed rows are to be moved into a file."""
_KEPT_LINES = 1_000
"""Refused lines of a file that are kept; all are counted."""
_KEPT_BYTES = 64 * 2**10

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Followed(msgspec.Struct, frozen=True):
    """What was taken from a file or a pipe until it ended or one stopped."""

    source: str
    path: str
    """`-` for a pipe."""
    lines: int
    rows_new: int
    rows_corrected: int
    rows_known: int
    rows_quarantined: int
    lines_refused: int
    """Left out, because they are no rows of the source."""
    batches: int
    sequence: int
    """The workspace's sequence after the last of them."""
    online: Literal["current", "behind"]

    def __repr__(self) -> str:
        counts = {"corrected": self.rows_corrected, "known": self.rows_known, "in quarantine": self.rows_quarantined}
        told = "".join(f", {count:,} {what}" for what, count in counts.items() if count)
        refused = f", {self.lines_refused:,} lines refused" if self.lines_refused else ""
        return (
            f"<followed {self.path} into {self.source}: {self.lines:,} lines, {self.rows_new:,} new{told}{refused}; "
            f"Q={self.sequence}, online {self.online}>"
        )


class _Row(NamedTuple):
    """A line that is a JSON object."""

    nth: int
    """Its place in the batch."""
    values: dict[str, Any]


class _Bad(NamedTuple):
    """A line that is no row of the source."""

    nth: int
    """Its place in the batch."""
    error: DataError


def follow(
    context: Callable[[], Context],
    name: str,
    lines: Path | int,
    *,
    bad_lines: Literal["stop", "skip"] = "stop",
    once: bool = False,
    stop: Callable[[], bool] | None = None,
) -> Followed:
    """Push the lines of a file as they are appended, or those of a pipe as they come.

    Args:
        context: Returns the workspace's state of now.
        name: A source that takes pushes.
        lines: The absolute path of a file, or the descriptor of a pipe.
        bad_lines: Whether a line that is no row of the source ends it, or is kept aside and left out.
        once: Take what is there and return.
        stop: Asked between two steps; once it is true, what was read is stored and the call returns.

    Raises:
        NotFoundError: If there is no such source, or with `once` no such file.
        DataError: If the source takes no pushes, or a line or a batch is refused: what was before it is stored.
        ConflictError: If another process follows the file into this source.
    """
    following = _Following(context, name, lines, bad_lines=bad_lines, once=once)
    try:
        following.run(stop or (lambda: False))
    finally:
        following.input.close()
    return following.report()


class _Following:
    """The lines of one input on their way into a source."""

    def __init__(
        self,
        context: Callable[[], Context],
        name: str,
        lines: Path | int,
        *,
        bad_lines: Literal["stop", "skip"],
        once: bool,
    ) -> None:
        self._context, self._name, self._skips = context, name, bad_lines == "skip"
        pushed_source(context(), name)
        database = context().environment.database
        self._source = place_of(database, name)
        self._path = "-" if isinstance(lines, int) else str(lines)
        self._known: StreamPosition | None = None
        self._start: Place | None = None
        self.input: LineInput
        if isinstance(lines, int):
            self.input = Piped(lines)
        else:
            self._known = database.get(StreamPosition, source=self._source, path=self._path)
            self.input = Tail(lines, None if self._known is None else _as_known(self._known), once=once)
        self._line = 0
        """Lines of a pipe that were taken."""
        self._compacted = 0
        self._counts = dict.fromkeys(("lines", "rows_new", "rows_corrected", "rows_known", "rows_quarantined"), 0)
        self._refused = self._batches = 0
        self._last: Pushed | None = None

    def run(self, stop: Callable[[], bool]) -> None:
        """Take lines until they end or one stops."""
        batch: list[bytes] = []
        size, since = 0, 0.0
        self._start = self.input.place
        while not stop():
            lines = self.input.read(_MOST_ROWS - len(batch))
            if lines:
                since = since if batch else time.monotonic()
                batch += lines
                size += sum(map(len, lines))
            is_full = len(batch) >= _MOST_ROWS or size >= _MOST_BYTES
            if batch and (is_full or self.input.has_ended or time.monotonic() - since >= _LONGEST_WAIT):
                self._take(batch)
                batch, size = [], 0
            elif not lines and not batch and self._turn():
                continue
            elif self.input.has_ended:
                break
            elif not lines:
                self.input.wait(_PAUSE)
        self._take(batch + self.input.left())

    def report(self) -> Followed:
        """Return what was taken."""
        last = self._last
        return Followed(
            source=self._name,
            path=self._path,
            **self._counts,
            lines_refused=self._refused,
            batches=self._batches,
            sequence=self._context().environment.database.sequence() if last is None else last.sequence,
            online="current" if last is None else last.online,
        )

    def _turn(self) -> bool:
        """Go to the next file, if there is one; note that, so that it is found by another name from now on."""
        before = self.input.place
        more = self.input.turn()
        place = self._start = self.input.place
        if place is not None and (before is None or place[:2] != before[:2]):
            with self._context().scope.write(audit=None) as tx:
                moved = self._move(tx, place, 0)
            self._known = moved
        return more

    def _take(self, lines: list[bytes]) -> None:
        """Store a batch; raise what is wrong with it, once what can be stored is."""
        if not lines:
            return
        context = self._context()
        rows, bad = _decoded(lines)
        try:
            self._commit(context, *self._kept(lines, rows, bad))
        except DataError as error:
            found = _unsound(context, pushed_source(context, self._name), self._kept(lines, rows, bad)[1])
            more = list(found) if self._skips else list(islice(found, 1))
            if not more:
                raise self._of_batch(error, len(lines)) from error
            bad = sorted([*bad, *more], key=lambda one: one.nth)
            self._commit(context, *self._kept(lines, rows, bad))
        if bad and not self._skips:
            raise self._of_line(bad[0].error)

    def _kept(
        self, lines: list[bytes], rows: list[_Row], bad: list[_Bad]
    ) -> tuple[list[bytes], list[_Row], list[tuple[int, bytes, str]]]:
        """Return the lines to go on after, the rows of them to store, and the lines to keep aside."""
        if bad and not self._skips:
            end = bad[0].nth
            return lines[:end], [row for row in rows if row.nth < end], []
        places = {one.nth for one in bad}
        refused = [(one.nth, lines[one.nth], one.error.message) for one in bad]
        return lines, [row for row in rows if row.nth not in places], refused

    def _commit(
        self, context: Context, lines: list[bytes], rows: list[_Row], refused: list[tuple[int, bytes, str]]
    ) -> None:
        """Store rows, refused lines and how far the file is read in one transaction."""
        if not lines:
            return
        end = None if self._start is None else self._start.after(lines)
        moved: list[StreamPosition | None] = []

        def beside(tx: Transaction) -> None:
            moved[:] = [self._move(tx, end, len(refused))]  # this may be done more than once
            self._keep(tx, refused)

        if rows:
            source = pushed_source(context, self._name)
            batch_id = secrets.token_hex(16) if end is None and source.id is None else None
            values = [row.values for row in rows]
            self._count(push(context, self._name, values, batch_id=batch_id, beside=beside))
        else:
            with context.scope.write(audit="inside") as tx:
                beside(tx)
        self._known, self._start = moved[0], end
        self._line += len(lines)
        self._refused += len(refused)
        self._counts["lines"] += len(lines)
        self._compact(context, len(rows))

    def _move(self, tx: Transaction, place: Place | None, refused: int) -> StreamPosition | None:
        """Write how far the file is read.

        Raises:
            ConflictError: If another process read on meanwhile.
        """
        if place is None:
            return None
        if tx.get(StreamPosition, source=self._source, path=self._path) != self._known:
            raise ConflictError(
                f"another process follows {self._path} into source {self._name!r}", hint="let one process follow a file"
            )
        position = StreamPosition(
            source=self._source,
            path=self._path,
            device=place.device,
            inode=place.inode,
            offset=place.offset,
            line=place.line,
            edges=place.edges,
            refused=refused + (0 if self._known is None else self._known.refused),
            at=self._context().clock(),
        )
        tx.put(position)
        return position

    def _keep(self, tx: Transaction, refused: list[tuple[int, bytes, str]]) -> None:
        """Keep refused lines aside, as far as there is room for them."""
        if not refused:
            return
        before = self._refused if self._known is None else self._known.refused
        at, first = self._context().clock(), self._first_line()
        tx.insert_many(
            RefusedLine(
                source=self._source,
                path=self._path,
                line=first + index,
                reason=reason,
                content=_as_text(line),
                at=at,
            )
            for index, line, reason in refused[: max(_KEPT_LINES - before, 0)]
        )
        tx.audit("follow.refuse", self._name, lines=len(refused))

    def _count(self, pushed: Pushed) -> None:
        self._last = pushed
        self._batches += 1
        for name in ("rows_new", "rows_corrected", "rows_known", "rows_quarantined"):
            self._counts[name] += getattr(pushed, name)

    def _compact(self, context: Context, rows: int) -> None:
        """Move pushed rows into a file now and then: a file that is followed brings them without end."""
        self._compacted += rows
        if self._compacted >= _COMPACTED_AFTER:
            self._compacted = 0
            compact_where_needed(context, [self._name])

    def _first_line(self) -> int:
        """Return the number of the first line that is not taken."""
        return (self._line if self._start is None else self._start.line) + 1

    def _of_line(self, error: DataError) -> DataError:
        """Return the error of the first line that is not taken."""
        said = error.message.removesuffix(", in rows [0]")
        skip = 'leave such lines out: bad_lines="skip" (--bad-lines skip)'
        return DataError(
            f"line {self._first_line():,} of {self._path}: {said}",
            hint=f"{error.hint}; or {skip}" if error.hint else skip,
        )

    def _of_batch(self, error: DataError, count: int) -> DataError:
        first = self._first_line()
        return DataError(f"lines {first:,} to {first + count - 1:,} of {self._path}: {error.message}", hint=error.hint)


def _as_text(line: bytes) -> str:
    return line[:_KEPT_BYTES].decode(errors="backslashreplace")


def _as_known(position: StreamPosition) -> Known:
    return Known(position.device, position.inode, position.offset, position.line, position.edges)


def _decoded(lines: Sequence[bytes]) -> tuple[list[_Row], list[_Bad]]:
    """Return the rows of lines, and the lines that are no JSON objects; blank ones are neither."""
    rows, bad = list[_Row](), list[_Bad]()
    for index, line in enumerate(lines):
        try:
            rows.append(_Row(index, _decode(line)))
        except (msgspec.DecodeError, RecursionError) as error:
            if line.strip(b"\0 \t\r\n"):
                bad.append(_Bad(index, DataError(f"it is not a JSON object: {error}")))
    return rows, bad


def _unsound(context: Context, source: SourceSpec, rows: Sequence[_Row]) -> Iterator[_Bad]:
    """Yield the rows that are refused one by one, in order; none where only all of them together are."""
    if not rows:
        return
    try:
        sound(context, source, [row.values for row in rows])
    except DataError as error:
        if len(rows) == 1:
            yield _Bad(rows[0].nth, error)
            return
    else:
        return
    half = len(rows) // 2
    yield from _unsound(context, source, rows[:half])
    yield from _unsound(context, source, rows[half:])
