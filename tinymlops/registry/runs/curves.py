"""The curve of a metric at a number of pixels: at most four points of each pixel column, and never a silent sample.

A column keeps its first, least, greatest and last point, so that no spike is lost. Where a sealed metric has more points
than a screen can show, the pyramid answers and no point is read; a closer look at fewer of them reads the blocks they lie in.
The points that a run in progress has logged since it was sealed last are added one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinymlops.errors import DataError
from tinymlops.records import MetricChunk, MetricPyramid, MetricSeries
from tinymlops.registry.runs.blocks import BLOCK, BUCKET, Pyramid, decode_block, decode_pyramid, pyramid_of
from tinymlops.registry.runs.points import Floats, Points, in_order, joined, split
from tinymlops.registry.runs.reading import points_of_metric
from tinymlops.registry.runs.storing import points_in

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.stores.database import Database

__all__ = ["Curve", "curve_of"]

_TIME = "time"
_STEP = "step"


class Curve(NamedTuple):
    """Points to draw."""

    name: str
    x: Floats
    """Steps, seconds since 1970 in UTC, or values of another metric."""
    y: Floats
    total: int
    """Points of the metric in this range."""

    @property
    def shown(self) -> int:
        """How many points there are to draw."""
        return len(self.x)

    def __repr__(self) -> str:
        return f"<curve of {self.name}: {self.shown:,} of {self.total:,} points>"

    def to_frame(self) -> pl.DataFrame:
        """Return columns `x` and `y`."""
        import polars as pl

        return pl.DataFrame({"x": self.x, "y": self.y})


def curve_of(
    database: Database,
    run: str,
    name: str,
    *,
    pixels: int = 1000,
    x: str = _STEP,
    start: float | None = None,
    stop: float | None = None,
) -> Curve:
    """Return the curve of a metric.

    Args:
        database: The workspace's.
        run: The run's id.
        name: The metric's name.
        pixels: The width to draw it at.
        x: `step`, `time`, or the name of another metric that was logged at the same steps.
        start: The first x to show.
        stop: The last x to show.

    Returns:
        At most four points a pixel, in the order of x.

    Raises:
        DataError: If `pixels` is not 1 to 100,000.
    """
    if not 1 <= pixels <= 100_000:
        raise DataError(f"pixels={pixels} is not a width", hint="use 1 to 100,000")
    if x == _STEP:
        return _over_steps(database, run, name, pixels, start, stop)
    xs, ys = _over(database, run, name, x)
    inside = _range(xs, start, stop)
    return _drawn(name, xs[inside], ys[inside], pixels)


def _over_steps(database: Database, run: str, name: str, pixels: int, start: float | None, stop: float | None) -> Curve:
    # First what is not sealed yet: what is sealed meanwhile is then read twice, and noticed, and never left out.
    chunks = database.list(MetricChunk, where={"run": run, "name": name}, order="id")
    recent = in_order(joined([points_in(one) for one in chunks]))
    pyramid = database.get(MetricPyramid, run=run, name=name)
    buckets = None if pyramid is None else decode_pyramid(pyramid.content)
    if pyramid is None or buckets is None or (recent.size and recent.steps[0] <= buckets.steps[-1, 3]):
        points = points_of_metric(database, run, name)
        inside = _range(points.steps, start, stop)
        return _drawn(name, points.steps[inside], points.values[inside], pixels)
    recent, _ = split(recent)
    inside = _buckets_in(buckets, start, stop)
    if inside.stop - inside.start >= max(pixels, 3):  # the two at the edges are not the same one
        shown = recent.take(_range(recent.steps, start, stop))
        return _of_buckets(database, pyramid, buckets, inside, shown, pixels, start, stop)
    points = joined([_points_in(database, run, name, inside), recent])
    rows = _range(points.steps, start, stop)
    return _drawn(name, points.steps[rows], points.values[rows], pixels)


def _of_buckets(
    database: Database,
    sealed: MetricPyramid,
    buckets: Pyramid,
    inside: slice,
    recent: Points,
    pixels: int,
    start: float | None,
    stop: float | None,
) -> Curve:
    """Draw whole buckets, and the points after them; what begins in one pixel column is one. Two edges are read at most."""
    steps, values = buckets.steps[inside].copy(), buckets.values[inside].copy()
    total = min(inside.stop * BUCKET, sealed.count) - inside.start * BUCKET + recent.size
    for row, bucket in ((0, inside.start), (-1, inside.stop - 1)):
        if (start is not None and steps[row, 0] < start) or (stop is not None and steps[row, 3] > stop):
            points = _points_in(database, sealed.run, sealed.name, slice(bucket, bucket + 1))
            kept = _range(points.steps, start, stop)  # at least one: the bucket reaches into the range
            part = pyramid_of(points.steps[kept], points.values[kept], np.zeros(1, np.intp))
            steps[row], values[row] = part.steps[0], part.values[0]
            total -= points.size - (kept.stop - kept.start)
    columns = _columns(np.append(steps[:, 0], recent.steps), pixels)
    begins = 4 * columns - 3 * np.maximum(columns - len(steps), 0)  # a bucket is four points, a recent point is one
    four = pyramid_of(np.append(steps, recent.steps), np.append(values, recent.values), begins)
    return _curve(sealed.name, four, total)


def _points_in(database: Database, run: str, name: str, buckets: slice) -> Points:
    """Return the points of these buckets of a sealed metric."""
    first, last = buckets.start * BUCKET, buckets.stop * BUCKET
    wanted = list(range(first // BLOCK, -(-last // BLOCK)))
    where: dict[str, object] = {"run": run, "name": name, "superseded": False, "block": wanted}
    found = database.list(MetricSeries, where=where, order="block") if wanted else []
    points = joined([decode_block(one.content) for one in found])
    skipped = first // BLOCK * BLOCK
    return points.take(slice(first - skipped, last - skipped))


def _over(database: Database, run: str, name: str, x: str) -> tuple[Floats, Floats]:
    points = points_of_metric(database, run, name)
    if x == _TIME:
        xs = points.times / 1e6
        order = np.argsort(xs, kind="stable")
        return xs[order], points.values[order]
    other = points_of_metric(database, run, x)
    place = np.searchsorted(other.steps, points.steps, side="right") - 1
    known = (place >= 0) & (other.size > 0)
    known[known] = other.steps[place[known]] == points.steps[known]
    xs, ys = other.values[place[known]], points.values[known]
    order = np.argsort(xs, kind="stable")
    return xs[order], ys[order]


def _range(xs: Floats, start: float | None, stop: float | None) -> slice:
    first = 0 if start is None else int(np.searchsorted(xs, start, side="left"))
    last = len(xs) if stop is None else int(np.searchsorted(xs, stop, side="right"))
    return slice(first, max(first, last))


def _buckets_in(buckets: Pyramid, start: float | None, stop: float | None) -> slice:
    firsts, lasts = buckets.steps[:, 0], buckets.steps[:, 3]
    first = 0 if start is None else int(np.searchsorted(lasts, start, side="left"))
    last = len(firsts) if stop is None else int(np.searchsorted(firsts, stop, side="right"))
    return slice(first, max(first, last))


def _drawn(name: str, xs: Floats, ys: Floats, pixels: int) -> Curve:
    if len(xs) <= 4 * pixels:
        return Curve(name, xs, ys, len(xs))
    return _curve(name, pyramid_of(xs, ys, _columns(xs, pixels)), len(xs))


def _columns(xs: Floats, pixels: int) -> npt.NDArray[np.intp]:
    """Return where each pixel column begins."""
    width = float(xs[-1]) - float(xs[0])
    scaled: Any = (xs - xs[0]) / width * pixels if width > 0 else np.zeros(len(xs))
    columns = np.minimum(scaled.astype(np.int64), pixels - 1)
    return np.append(0, np.flatnonzero(np.diff(columns)) + 1)


def _curve(name: str, four: Pyramid, total: int) -> Curve:
    """Order the four points of each column by x, and leave out those that are there twice."""
    order = np.argsort(four.steps, axis=1, kind="stable")
    xs = np.take_along_axis(four.steps, order, 1).reshape(-1)
    ys = np.take_along_axis(four.values, order, 1).reshape(-1)
    new = np.append(True, (np.diff(xs) != 0) | (ys[1:] != ys[:-1]))
    return Curve(name, xs[new], ys[new], total)
