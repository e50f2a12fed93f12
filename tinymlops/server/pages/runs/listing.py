"""`/runs`: all runs, searched, sorted and grouped. What is asked for stands in the address."""

from typing import Any, NamedTuple

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery
from msgspec.structs import replace

from tinymlops.errors import DataError, NotFoundError, TinyMLOpsError
from tinymlops.records import Run
from tinymlops.registry.run_search import parse_order
from tinymlops.server.pages.rendering import page
from tinymlops.server.pages.routing import AnyRequest, shows
from tinymlops.server.pages.runs.columns import (
    Column,
    RunCells,
    chosen_columns,
    columns_of,
    differing,
    is_numeric,
)
from tinymlops.server.route_class import READ
from tinymlops.training.best_of import metric_field
from tinymlops.training.group_comparison import GroupComparison, compare_groups
from tinymlops.workspace import Workspace

__all__ = ["list_routes"]

_SIZE = 100
"""Rows of a page."""
_NEWEST = "-started_at"
_GROUPED = 200
"""The most runs that are grouped on a page."""
_METRICS = 6
"""Of a table of groups."""


class _Found(NamedTuple):
    """What a search found, and what it said."""

    ids: list[str]
    errors: dict[str, TinyMLOpsError]
    """By the field that is wrong: `q`, `order` or `by`."""
    told: list[str]


def list_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""

    @shows("/runs", opt=READ)
    def runs(
        request: AnyRequest,
        q: FromQuery[str] = "",
        order: FromQuery[str] = _NEWEST,
        column: FromQuery[list[str] | None] = None,
        differs: FromQuery[bool] = False,  # noqa: FBT002 - a parameter of the address
        first: FromQuery[int] = 0,
        by: FromQuery[str] = "",
        metric: FromQuery[str] = "",
    ) -> Response[Any]:
        """Show a page of the runs that were asked for."""
        found = _find(ws, q, order)
        first = min(max(first, 0), max(len(found.ids) - 1, 0)) // _SIZE * _SIZE
        shown = ws.runs.of_ids(found.ids[first : first + _SIZE])
        known = columns_of(shown)
        columns = chosen_columns(column or [], known)
        rows = _rows(ws, shown, columns, first)
        if differs:
            places = differing(columns, [row.values for row in rows])
            columns = [columns[place] for place in places]
            rows = [row._replace(values=[row.values[place] for place in places]) for row in rows]
        groups = _grouped(ws, found, by, metric, columns) if by else None
        return page(
            request,
            "runs.html",
            title="Runs",
            asked={"q": q, "order": "" if order == _NEWEST else order, "column": column, "differs": "1" * differs},
            order=order,
            by=by,
            metric=metric,
            found=found,
            first=first,
            size=_SIZE,
            columns=columns,
            keys=[one.key for one in columns],
            known=[*known, *(one for one in columns if one not in known)],
            rows=rows,
            numeric={place for place in range(len(columns)) if is_numeric([row.values[place] for row in rows])},
            groups=groups,
            group_metrics=_named(groups, metric),
            more_metrics=0 if metric else max(sum(one.group == "metrics" for one in columns) - _METRICS, 0),
            grouped=_GROUPED,
            experiments=_experiments(ws),
        )

    @shows("/runs/rows", opt=READ)
    def rows(
        request: AnyRequest,
        q: FromQuery[str] = "",
        order: FromQuery[str] = _NEWEST,
        column: FromQuery[list[str] | None] = None,
        first: FromQuery[int] = 0,
    ) -> Response[Any]:
        """Answer the rows of one page alone, for a list that is scrolled through."""
        found = _find(ws, q, order)
        first = max(first, 0)
        shown = ws.runs.of_ids(found.ids[first : first + _SIZE])
        columns = chosen_columns(column or [], ())
        rows = _rows(ws, shown, columns, first)
        return page(request, "runs_rows.html", title="Runs", rows=rows, total=len(found.ids), is_search=bool(q))

    return [runs, rows]


def _find(ws: Workspace, q: str, order: str) -> _Found:
    """Search; what cannot be read is an error of its field, and left out."""
    errors, told = dict[str, TinyMLOpsError](), list[str]()
    try:
        parse_order(order)
    except DataError as error:
        errors["order"], order = error, _NEWEST
    try:
        ids = ws.runs.ids(q, order_by=order, tell=told.append)
    except DataError as error:
        errors["q"], ids = error, ws.runs.ids(order_by=order)
    return _Found(ids, errors, told)


def _rows(ws: Workspace, runs: list[Run], columns: list[Column], first: int) -> list[RunCells]:
    shown = _shown_metrics(ws, runs)
    experiments = {one.id: one.name for one in ws.runs.experiments(deleted=None)}
    rows = []
    for place, run in enumerate(runs, first + 1):
        maps: dict[str, Any] = {"metrics": shown[run.id], "params": run.params, "tags": run.tags}
        values = [maps[one.group].get(one.name) for one in columns]
        rows.append(RunCells(run, place, experiments.get(run.experiment, ""), values))
    return rows


def _shown_metrics(ws: Workspace, runs: list[Run]) -> dict[str, dict[str, Any]]:
    """Return what a metric of a run is called by its name alone: its best value, or the last where none is a number."""
    best = ws.runs.metric_parts([run.id for run in runs], ["best"]) if runs else {}
    return {
        run.id: {
            name: run.metrics.get(name) if value is None else value for name, (value,) in best.get(run.id, {}).items()
        }
        for run in runs
    }


def _grouped(ws: Workspace, found: _Found, by: str, metric: str, columns: list[Column]) -> GroupComparison | None:
    """Compare groups of the first runs by a metric, or by the metrics that are columns, as these show them."""
    names = [one.name for one in columns if one.group == "metrics"][:_METRICS]
    runs = ws.runs.of_ids(found.ids[:_GROUPED])
    shown = _shown_metrics(ws, runs)
    runs = [
        replace(run, metrics={one: shown[run.id][one] for one in names if shown[run.id].get(one) is not None})
        for run in runs
    ]
    try:
        return compare_groups(ws.runs, runs, [one.strip() for one in by.split(",")], metric or None)
    except (DataError, NotFoundError) as error:
        found.errors["by"] = error
    return None


def _named(groups: GroupComparison | None, metric: str) -> dict[str, str]:
    """Return the metrics of groups, and what each is called: one that was asked for, with the part of it that it is."""
    names = list(groups.groups[0].metrics) if groups else []
    return {one: f"{(field := metric_field(one)).name}.{field.part}" if metric else one for one in names}


def _experiments(ws: Workspace) -> list[tuple[str, int]]:
    """Return each experiment with how many runs it has, those with most first."""
    counts = ws.runs.count_by_experiment()
    named = [(one.name, counts.get(one.id or 0, 0)) for one in ws.runs.experiments()]
    return sorted((one for one in named if one[1]), key=lambda one: (-one[1], one[0]))
