"""The points of one metric as arrays: their order, which of them count, and their bytes while a run goes on.

Points stand in the order of (step, session, time, logging). A session is a stretch of a run between two resumes: where a
resumed run logs a step again, the points of the later session supersede those of the earlier ones. Points of one session
that are equal in step, time and value are one point, so that a request that is sent twice counts once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from tinymlops.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Points",
    "come_after",
    "decode_chunk",
    "encode_chunk",
    "in_order",
    "in_session",
    "joined",
    "no_points",
    "points_of",
    "split",
]

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
Sessions = npt.NDArray[np.int32]

_FORMAT = b"\x01"
_WIDTH = 24


class Points(NamedTuple):
    """Points of one metric, one element each."""

    steps: Floats
    values: Floats
    times: Times
    """Microseconds since 1970 in UTC."""
    sessions: Sessions
    """How often the run had been resumed."""

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.steps)

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Points:
        """Return some of them."""
        return Points(self.steps[index], self.values[index], self.times[index], self.sessions[index])


def no_points() -> Points:
    """Return none."""
    return points_of([], [], [])


def points_of(steps: Sequence[float], values: Sequence[float], times: Sequence[int], session: int = 0) -> Points:
    """Make points of one session."""
    return Points(
        np.asarray(steps, np.float64),
        np.asarray(values, np.float64),
        np.asarray(times, np.int64),
        np.full(len(steps), session, np.int32),
    )


def in_session(points: Points, session: int) -> Points:
    """Return points as those of one session."""
    return points._replace(sessions=np.full(points.size, session, np.int32))


def joined(parts: Sequence[Points]) -> Points:
    """Return all points of several parts, in the order of the parts."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return no_points()
    steps, values, times, sessions = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Points(steps, values, times, sessions)


def in_order(points: Points) -> Points:
    """Return points in their order, each once.

    Args:
        points: In the order of logging.
    """
    if points.size < 2:
        return points
    if not _is_in_order(points):
        points = points.take(np.lexsort((points.times, points.sessions, points.steps)))
    ties = (np.diff(points.times) == 0) & (np.diff(points.sessions) == 0) & (np.diff(points.steps) == 0)
    return points.take(_first_of_equals(points, ties)) if ties.any() else points


def come_after(points: Points, before: Points) -> bool:
    """Whether all of some points stand behind all of others in their order, and supersede none of them.

    Args:
        points: In order, at least one.
        before: In order, at least one.
    """
    first = (points.steps[0], points.sessions[0], points.times[0])
    last = (before.steps[-1], before.sessions[-1], before.times[-1])
    return bool(first > last and (first[0] > last[0] or first[1] == last[1]))


def split(points: Points) -> tuple[Points, Points]:
    """Return the points that count and those superseded by a later session, each in their order.

    Args:
        points: As `in_order` returns them.
    """
    if not points.size or points.sessions[0] == points.sessions[-1] == points.sessions.max() == points.sessions.min():
        return points, no_points()
    ends = np.append(np.flatnonzero(np.diff(points.steps)), points.size - 1)
    sizes = np.diff(ends, prepend=-1)
    latest = np.repeat(points.sessions[ends], sizes)
    counts = points.sessions == latest
    return points.take(counts), points.take(~counts)


def encode_chunk(points: Points) -> bytes:
    """Return points of one session as bytes, in their order."""
    return b"".join((_FORMAT, points.steps.tobytes(), points.values.tobytes(), points.times.tobytes()))


def decode_chunk(content: bytes, session: int) -> Points:
    """Read what `encode_chunk` wrote.

    Raises:
        IntegrityError: If it is not that.
    """
    count, rest = divmod(len(content) - 1, _WIDTH)
    if content[:1] != _FORMAT or rest:
        raise IntegrityError("points of a metric cannot be read", hint="restore the workspace from a backup")
    steps = np.frombuffer(content, np.float64, count, 1)
    values = np.frombuffer(content, np.float64, count, 1 + 8 * count)
    times = np.frombuffer(content, np.int64, count, 1 + 16 * count)
    return Points(steps, values, times, np.full(count, session, np.int32))


def _is_in_order(points: Points) -> bool:
    steps, sessions, times = np.diff(points.steps), np.diff(points.sessions), np.diff(points.times)
    return bool(((steps > 0) | ((steps == 0) & ((sessions > 0) | ((sessions == 0) & (times >= 0))))).all())


def _first_of_equals(points: Points, ties: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which points to keep: of those equal in everything the first.

    Args:
        points: In order.
        ties: Whether a point has the step, session and time of the next one.
    """
    keep = np.ones(points.size, np.bool_)
    bits = points.values.view(np.int64)
    seen: set[int] = set()
    for place in np.flatnonzero(ties):
        if place == 0 or not ties[place - 1]:
            seen = {int(bits[place])}
        value = int(bits[place + 1])
        keep[place + 1] = value not in seen
        seen.add(value)
    return keep
