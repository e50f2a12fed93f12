"""`/runs/compare`: runs side by side, their curves over one another, and all of them through parallel axes."""

import math
from typing import Any

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery
from litestar.response import Redirect

from tinymlops.display.curve_pictures import SERIES, Axis, curve_svg, parallel_svg
from tinymlops.display.words import told_apart
from tinymlops.goals import goal_of
from tinymlops.records import Run
from tinymlops.server.pages.rendering import page, url
from tinymlops.server.pages.routing import AnyRequest, shows
from tinymlops.server.pages.runs.curves import points_json
from tinymlops.server.route_class import READ
from tinymlops.training.run_comparison import RunComparison
from tinymlops.training.run_facts import SECTIONS, section_of
from tinymlops.workspace import Workspace

__all__ = ["comparison_routes"]

_MOST = 200
"""Runs of a comparison."""
_SIDE_BY_SIDE = 6
_SHOWN = 30
"""Columns of a section, where runs are rows."""
_PIXELS = 175
_AXES = 10
_SHORT = 8
_PATCH = 60_000


def comparison_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""

    @shows("/runs/compare", opt=READ)
    def compare(
        request: AnyRequest,
        run: FromQuery[list[str] | None] = None,
        metric: FromQuery[str] = "",
        whole: FromQuery[bool] = False,  # noqa: FBT002 - a parameter of the address
    ) -> Response[Any]:
        """Show runs side by side."""
        asked = list(dict.fromkeys(run or []))
        if len(asked) < 2:
            return Redirect(url(request, f"/runs/{asked[0]}" if asked else "/runs"), status_code=303)
        compared = ws.compare(asked[:_MOST])
        metrics = _drawable(ws, compared.runs)
        chosen = metric if metric in metrics else next(iter(metrics), "")
        labels = [f"{one.name} {one.id[:_SHORT]}" for one in compared.runs]
        sections = _sections(compared, whole=whole)
        parallel, more_axes = _parallel(compared, labels)
        beside = len(compared.runs) <= _SIDE_BY_SIDE
        return page(
            request,
            "compare.html",
            title=f"{len(compared.runs)} runs compared",
            compared=compared,
            ids=[one.id for one in compared.runs],
            left_out=max(len(asked) - _MOST, 0),
            labels=labels,
            sections=sections,
            texts={
                name: told_apart([one.get(name) for one in compared.facts])
                for names in sections.values()
                for name in (names if beside else names[:_SHOWN])
            },
            whole=whole,
            shown=_SHOWN,
            beside=beside,
            side_by_side=_SIDE_BY_SIDE,
            metrics=metrics,
            metric=chosen,
            curve=_curve(ws, compared, chosen) if chosen else "",
            series=SERIES,
            having=sum(chosen in one.metrics for one in compared.runs),
            parallel=parallel,
            more_axes=more_axes,
            patch=(compared.patch or "")[:_PATCH],
            patch_length=len(compared.patch or ""),
        )

    @shows("/runs/compare/curve", opt=READ)
    def curve(
        run: FromQuery[list[str]],
        name: FromQuery[str],
        start: FromQuery[float | None] = None,
        stop: FromQuery[float | None] = None,
        pixels: FromQuery[int] = 4 * _PIXELS,
    ) -> Response[str]:
        """Answer the points to draw of each run that has the metric."""
        width = min(max(pixels, 1), 4_000)
        found = ws.runs.of_ids(run[:_MOST])
        curves = [
            (f"{one.name} {one.id[:_SHORT]}", ws.runs.curve(one.id, name, pixels=width, start=start, stop=stop))
            for one in found
            if name in one.metrics
        ]
        return points_json(curves[: 2 * SERIES])

    return [compare, curve]


def _sections(compared: RunComparison, *, whole: bool) -> dict[str, list[str]]:
    """Return the names of facts by section: those that differ, or all."""
    names = compared.differing
    if whole:
        every = dict.fromkeys(name for one in compared.facts for name in one)
        names = sorted(every, key=lambda name: SECTIONS.index(section_of(name)))
    found: dict[str, list[str]] = {}
    for name in names:
        if name != "name":
            found.setdefault(section_of(name), []).append(name)
    return found


def _drawable(ws: Workspace, runs: list[Run]) -> list[str]:
    """Return the metrics with a curve in at least one run, those of most runs first."""
    counts: dict[str, int] = {}
    for of_run in ws.runs.metric_parts([run.id for run in runs], ["count"]).values():
        for name, (count,) in of_run.items():
            if count is not None and count > 1:
                counts[name] = counts.get(name, 0) + (0 if name.startswith("system/") else len(runs)) + 1
    return sorted(counts, key=lambda name: (-counts[name], name))


def _curve(ws: Workspace, compared: RunComparison, metric: str) -> str:
    having = [run for run in compared.runs if metric in run.metrics][: 2 * SERIES]
    return curve_svg([ws.runs.curve(run.id, metric, pixels=_PIXELS) for run in having])


def _parallel(compared: RunComparison, labels: list[str]) -> tuple[str, int]:
    """Draw params that differ, then metrics that differ; the best by the last metric are seen first.

    Returns:
        The picture, empty of fewer than two, and how many have no axis.
    """
    params = [name for name in compared.differing if name.startswith("params.")]
    metrics = [name for name in compared.differing if name.startswith("metrics.") and "metrics.system/" not in name]
    metrics = [name for name in metrics if f"{name}.best" not in metrics]
    names = [*params[: _AXES - min(len(metrics), _AXES // 2)], *metrics[: _AXES // 2]]
    if len(names) < 2:
        return "", 0
    axes = [Axis(name.partition(".")[2], [_value(one.get(name)) for one in compared.facts]) for name in names]
    return parallel_svg(axes, labels, _ranked(axes[-1])), len(params) + len(metrics) - len(names)


def _ranked(axis: Axis) -> list[int]:
    """Return the places of the runs by the last axis, the best first."""
    sign = 1 if goal_of(axis.label.removesuffix(".best")) == "min" else -1
    numbers = [one if isinstance(one, float) and not math.isnan(one) else None for one in axis.values]
    return sorted(range(len(numbers)), key=lambda i: math.inf if numbers[i] is None else sign * (numbers[i] or 0.0))


def _value(value: Any) -> float | str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value)
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
