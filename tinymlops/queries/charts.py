"""A picture of a result as data: a column of numbers along another column."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import DataError, near
from tinymlops.queries.cells import column_texts, seconds_of
from tinymlops.queries.messages import Bounds, Chart, ChartAsked

if TYPE_CHECKING:
    import polars as pl

__all__ = ["chart_of"]

_LABEL = 40
"""Characters of a bar's label."""
_EACH = 4
"""Points that are kept of a piece: its first, least, greatest and last."""


def chart_of(frame: pl.DataFrame, asked: ChartAsked, bounds: Bounds) -> Chart:
    """Return the points of a picture.

    Args:
        frame: The result.
        asked: The kind of picture, and its columns.
        bounds: How many points and bars there may be.

    Raises:
        DataError: If there is no such column, or it is of another type.
    """
    numbers, times = _numbers(frame), _times(frame)
    if asked.kind == "line":
        x = _column(frame, asked.x, times + numbers, "times or numbers", but=asked.y)
    else:
        x = _column(
            frame, asked.x, [*(one for one in frame.columns if one not in numbers), *numbers], "values", but=asked.y
        )
    y = _column(frame, asked.y, numbers, "numbers", but=x)
    return _bars(frame, x, y, bounds.bars) if asked.kind == "bar" else _line(frame, x, y, bounds.points)


def _column(frame: pl.DataFrame, asked: str, fit: list[str], what: str, *, but: str) -> str:
    """Return the column that is asked for, or else the first that fits and is not the other one."""
    if asked and asked not in frame.columns:
        raise DataError(f"the result has no column {asked!r}", hint=near(asked, frame.columns))
    if asked and asked not in fit:
        raise DataError(
            f"{asked!r} is not a column of {what}", hint=f"choose one of {', '.join(fit[:10])}" if fit else ""
        )
    found = asked or next((name for name in fit if name != but), next(iter(fit), None))
    if found is None:
        raise DataError(f"the result has no column of {what}", hint="select one, or cast one to double")
    return found


def _numbers(frame: pl.DataFrame) -> list[str]:
    return [name for name, dtype in frame.schema.items() if dtype.is_numeric()]


def _times(frame: pl.DataFrame) -> list[str]:
    import polars as pl

    return [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Date | pl.Datetime)]


def _line(frame: pl.DataFrame, x: str, y: str, most: int) -> Chart:
    """Return the points along x; of many, the first, least, greatest and last of each piece of them."""
    import polars as pl

    is_time = x in _times(frame)
    along = seconds_of(frame[x]) if is_time else frame[x].cast(pl.Float64)
    points = pl.DataFrame({"x": along, "y": frame[y].cast(pl.Float64)})
    points = points.filter(pl.col("x").is_finite() & pl.col("y").is_finite()).sort("x", maintain_order=True)
    kept = points if points.height <= most else _thinned(points, most // _EACH)
    return Chart(
        "line", x, y, kept["y"].to_list(), kept["x"].to_list(), [], is_time, points.height, frame.height - points.height
    )


def _thinned(points: pl.DataFrame, pieces: int) -> pl.DataFrame:
    import polars as pl

    size = -(-points.height // pieces)
    numbered = points.with_row_index("at")
    places = numbered.group_by(pl.col("at") // size).agg(
        first=pl.col("at").first(),
        least=pl.col("at").sort_by("y").first(),
        greatest=pl.col("at").sort_by("y").last(),
        last=pl.col("at").last(),
    )
    wanted = places.select(pl.concat_list("first", "least", "greatest", "last").explode().alias("at")).unique()
    return numbered.join(wanted, on="at", how="semi").sort("at").drop("at")


def _bars(frame: pl.DataFrame, x: str, y: str, most: int) -> Chart:
    import polars as pl

    values = frame[y].cast(pl.Float64)
    finite = values.is_finite().fill_null(value=False)
    labels = column_texts(frame[x].filter(finite).head(most), _LABEL)
    drawn = values.filter(finite)
    shown = ["null" if one is None else one for one in labels]
    return Chart(
        "bar", x, y, drawn.head(most).to_list(), [], shown, total=drawn.len(), skipped=frame.height - drawn.len()
    )
