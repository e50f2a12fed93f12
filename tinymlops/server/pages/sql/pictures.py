"""Pictures of results that need no script."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from tinymlops.display.curve_pictures import curve_svg
from tinymlops.display.words import brief, number
from tinymlops.registry.runs.curves import Curve
from tinymlops.stores.json_text import to_json

if TYPE_CHECKING:
    from tinymlops.queries.messages import Chart

__all__ = ["drawn", "points_of"]

_WIDTH, _ROW, _BAR = 480, 20, 14
_LABELS, _NUMBERS = 140, 64
_LONGEST = 20
_START = datetime(1970, 1, 1, tzinfo=UTC)


def drawn(chart: Chart) -> Markup:
    """Draw a line or bars as SVG.

    Args:
        chart: The points.
    """
    if not chart.ys:
        return Markup('<p class="empty">There is no finite value to draw.</p>')
    if chart.kind == "bar":
        return _bars(chart)
    curve = Curve(chart.y, np.array(chart.xs, np.float64), np.array(chart.ys, np.float64), chart.total)
    return curve_svg([curve], along=_moment if chart.is_time else number)


def points_of(chart: Chart) -> str:
    """Return the points of a line as JSON, for a script that draws them better."""
    shown = {"x": chart.xs, "y": chart.ys, "shown": len(chart.xs), "total": chart.total}
    return to_json({"name": chart.y, "along": chart.x, "time": chart.is_time, **shown})


def _moment(seconds: float) -> str:
    try:
        return f"{_START + timedelta(seconds=seconds):%Y-%m-%d %H:%M}"
    except OverflowError:
        return number(seconds)


def _bars(chart: Chart) -> Markup:
    """Draw bars from zero, to the left where a value is below it."""
    low, high = min(0.0, *chart.ys), max(0.0, *chart.ys)
    width = _WIDTH - _LABELS - _NUMBERS
    whole = high / 2 - low / 2 or 1.0  # halves, for the difference of two great numbers may be infinite
    zero = _LABELS - low / 2 / whole * width
    parts = []
    for place, (label, value) in enumerate(zip(chart.labels, chart.ys, strict=True)):
        long, top = abs(value / 2 / whole * width), place * _ROW
        left = zero if value >= 0 else zero - long
        shown = label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"
        parts.append(
            Markup(
                '<g><title>{}: {}</title><text x="{}" y="{}" text-anchor="end">{}</text>'
                '<rect x="{:.1f}" y="{}" width="{:.1f}" height="{}"/><text x="{:.1f}" y="{}">{}</text></g>'
            ).format(
                label,
                number(value),
                _LABELS - 6,
                top + _BAR - 2,
                shown,
                left,
                top,
                max(long, 0.5 if value else 0.0),
                _BAR,
                max(zero, left + long) + 4,
                top + _BAR - 2,
                brief(value),
            )
        )
    height = len(chart.ys) * _ROW
    label = f"{chart.y} by {chart.x}: {len(chart.ys)} bars"
    head = Markup('<svg class="bars" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">')
    return head.format(_WIDTH, height, _WIDTH, height, label) + Markup().join(parts) + Markup("</svg>")
