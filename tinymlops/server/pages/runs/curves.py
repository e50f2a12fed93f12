"""The curves of metrics: a picture that the server writes, points for a script that draws them better, and a table of them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery

from tinymlops.display.curve_pictures import curve_svg
from tinymlops.errors import NotFoundError, near
from tinymlops.records import MetricSummary
from tinymlops.registry.runs.curves import Curve
from tinymlops.server.pages.rendering import page
from tinymlops.server.pages.routing import AnyRequest, shows
from tinymlops.server.route_class import READ
from tinymlops.stores.json_text import to_json
from tinymlops.workspace import Workspace

__all__ = ["DrawnMetric", "curve_routes", "draw", "points_json"]

_PIXELS = 700
"""What a curve is drawn at where no script says it."""
_MOST_PIXELS = 4_000
_ROWS = 50
"""Points of a table."""


class DrawnMetric(NamedTuple):
    """A metric of a run, drawn."""

    summary: MetricSummary
    curve: Curve
    picture: str


def draw(
    ws: Workspace, summary: MetricSummary, *, start: float | None = None, stop: float | None = None
) -> DrawnMetric:
    """Draw a metric of a run.

    Args:
        ws: The workspace.
        summary: Its sum, with the run and the name.
        start: The first step to show.
        stop: The last step to show.
    """
    curve = ws.runs.curve(summary.run, summary.name, pixels=_PIXELS // 4, start=start, stop=stop)
    return DrawnMetric(summary, curve, curve_svg([curve]))


def points_json(named: Sequence[tuple[str, Curve]]) -> Response[str]:
    """Answer curves as JSON; what is not finite is null, which leaves a gap.

    Args:
        named: What each is called, and the curve.
    """
    series = [
        {
            "name": name,
            "x": [_finite(one) for one in curve.x.tolist()],
            "y": [_finite(one) for one in curve.y.tolist()],
            "shown": curve.shown,
            "total": curve.total,
        }
        for name, curve in named
    ]
    return Response(to_json({"series": series}), media_type="application/json")


def curve_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""

    @shows("/runs/{run:str}/metric", opt=READ)
    def metric(
        request: AnyRequest,
        run: FromPath[str],
        name: FromQuery[str],
        start: FromQuery[float | None] = None,
        stop: FromQuery[float | None] = None,
        first: FromQuery[int] = 0,
    ) -> Response[Any]:
        """Show one metric: its curve, and the points of it."""
        record = ws.runs.get(run)
        sums = ws.runs.summaries(record.id).get(record.id, [])
        summary = next((one for one in sums if one.name == name), None)
        if summary is None:
            raise NotFoundError(
                f"run {record.name!r} has no metric {name!r}", hint=near(name, [one.name for one in sums])
            )
        drawn = draw(ws, summary, start=_number(start), stop=_number(stop))
        first = min(max(first, 0), max(drawn.curve.shown - 1, 0)) // _ROWS * _ROWS
        steps, values = (one[first : first + _ROWS].tolist() for one in (drawn.curve.x, drawn.curve.y))
        return page(
            request,
            "run_metric.html",
            title=name,
            run=record,
            drawn=drawn,
            start=start,
            stop=stop,
            first=first,
            size=_ROWS,
            points=list(zip(steps, values, strict=True)),
        )

    @shows("/runs/{run:str}/curve", opt=READ)
    def curve(
        run: FromPath[str],
        name: FromQuery[str],
        start: FromQuery[float | None] = None,
        stop: FromQuery[float | None] = None,
        pixels: FromQuery[int] = _PIXELS,
    ) -> Response[str]:
        """Answer the points to draw, at most four of each pixel column."""
        record = ws.runs.get(run)
        width = min(max(pixels, 1), _MOST_PIXELS)
        found = ws.runs.curve(record.id, name, pixels=width, start=_number(start), stop=_number(stop))
        return points_json([(name, found)])

    return [metric, curve]


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
