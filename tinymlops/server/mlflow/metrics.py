"""`runs/log-*` and `metrics/`: points and params; an answer of 200 means that they are durable."""

from collections import defaultdict
from typing import Annotated

import numpy as np
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, QueryParameter

from tinymlops.errors import DataError
from tinymlops.registry.runs.points import Points, in_order, joined, points_of
from tinymlops.registry.runs.remote import Batch
from tinymlops.server.mlflow import answers, requests
from tinymlops.server.mlflow.mapping import instant, integer, millis, number, page, tags_of, token
from tinymlops.server.mlflow.routing import gets, posts
from tinymlops.server.mlflow.runs import log_tags
from tinymlops.server.route_class import READ, WRITE
from tinymlops.times import from_micros, to_micros
from tinymlops.workspace import Workspace

__all__ = ["metric_routes"]

Id = Annotated[str, QueryParameter(max_length=100)]
Key = Annotated[str, QueryParameter(max_length=1_000)]
Count = Annotated[int, QueryParameter()]
Step = Annotated[int | None, QueryParameter()]
Names = Annotated[list[str], QueryParameter()]
_MOST_HISTORY = 2**31 - 1
_MOST_RUNS = 100
_MOST_POINTS = 25_000
"""Of one bulk answer."""


def metric_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    return [*_writes(ws), *_reads(ws)]


def _writes(ws: Workspace) -> list[HTTPRouteHandler]:
    @posts("runs/log-metric", opt=WRITE)
    def log_metric(data: JSONBody[requests.LogMetric]) -> answers.Empty:
        """Log one point."""
        run = data.run_id or data.run_uuid
        _log(ws, run, [data], Batch())
        return answers.Empty()

    @posts("runs/log-batch", opt=WRITE)
    def log_batch(data: JSONBody[requests.LogBatch]) -> answers.Empty:
        """Log points, params and tags, all or none; what is sent twice counts once."""
        batch = log_tags(dict(tags_of(data.tags)))._replace(params=_params(data.params))
        _log(ws, data.run_id, data.metrics, batch)
        return answers.Empty()

    @posts("runs/log-parameter", opt=WRITE)
    def log_param(data: JSONBody[requests.LogParam]) -> answers.Empty:
        """Log one param, which keeps its value."""
        ws.runs.remote.log(data.run_id or data.run_uuid, Batch(params={data.key: data.value}))
        return answers.Empty()

    return [log_metric, log_batch, log_param]


def _reads(ws: Workspace) -> list[HTTPRouteHandler]:
    @gets("metrics/get-history", opt=READ)
    def get_history(
        metric_key: Key,
        run_id: Id = "",
        run_uuid: Id = "",
        max_results: Count = _MOST_HISTORY,
        page_token: Key = "",
    ) -> answers.Metrics:
        """List all points of a metric, those too that a resumed run logged again."""
        run = ws.runs.remote.get(run_id or run_uuid).id
        points = _history(ws, run, metric_key)
        begin, count = page(page_token, max_results, limit=_MOST_HISTORY)
        some = points.take(slice(begin, begin + count))
        return answers.Metrics(metrics=_listed(metric_key, some), next_page_token=token(begin, count, points.size))

    @gets("metrics/get-history-bulk-interval", opt=READ)
    def get_history_bulk(
        run_ids: Names,
        metric_key: Key,
        start_step: Step = None,
        end_step: Step = None,
        max_results: Count = 2_500,
    ) -> answers.Metrics:
        """List points of a metric of several runs; of each run as many as fit, with its first and last one."""
        if not 1 <= len(run_ids) <= _MOST_RUNS or not 1 <= max_results <= _MOST_POINTS:
            raise DataError(
                f"{len(run_ids)} runs with {max_results} points are asked for",
                hint=f"ask for at most {_MOST_RUNS} runs and {_MOST_POINTS} points",
            )
        found = []
        for run in run_ids:
            points = _history(ws, ws.runs.remote.get(run).id, metric_key)
            low = -np.inf if start_step is None else start_step
            high = np.inf if end_step is None else end_step
            points = points.take((points.steps >= low) & (points.steps <= high))
            most = max(2, max_results // len(run_ids))
            if points.size > most:
                points = points.take(np.unique(np.linspace(0, points.size - 1, most).round().astype(np.intp)))
            found += _listed(metric_key, points, run)
        return answers.Metrics(metrics=found)

    return [get_history, get_history_bulk]


def _params(sent: list[requests.Pair]) -> dict[str, str]:
    found = tags_of(sent)
    wrong = next((one.key for one in sent if found[one.key] != one.value), None)
    if wrong is not None:
        raise DataError(f"the param {wrong[:100]!r} is sent with two values", hint="a param keeps its value")
    return found


def _log(ws: Workspace, run: str, metrics: list[requests.MetricSent], batch: Batch) -> None:
    series: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    models: dict[str, list[dict[str, object]]] = defaultdict(list)
    for one in metrics:
        value, step = float(one.value), integer(one.step, "step")
        at = instant(one.timestamp, "timestamp")
        series[one.key].append((float(step), value, to_micros(at)))
        if one.model_id:
            models[one.model_id].append(_of_model(one, run, value, step, millis(at)))
    points = {}
    for key, found in series.items():
        steps, values, times = zip(*found, strict=True)
        points[key] = points_of(steps, values, times)
    ws.runs.remote.log(run, batch._replace(points=points))
    if models:
        ws.models.opaque.log_metrics(models)


def _of_model(one: requests.MetricSent, run: str, value: float, step: int, at: int) -> dict[str, object]:
    spelled = answers.Metric(
        key=one.key,
        value=number(value),
        timestamp=at,
        step=step,
        run_id=run,
        model_id=one.model_id,
        dataset_name=one.dataset_name or None,
        dataset_digest=one.dataset_digest or None,
    )
    return {name: getattr(spelled, name) for name in spelled.__struct_fields__}


def _history(ws: Workspace, run: str, key: str) -> Points:
    counted, before = ws.runs.points(run, key), ws.runs.points(run, key, superseded=True)
    return in_order(joined([before, counted])) if before.size else counted


def _listed(key: str, points: Points, run: str | None = None) -> list[answers.Metric]:
    rows = zip(points.steps.tolist(), points.values.tolist(), points.times.tolist(), strict=True)
    return [
        answers.Metric(key=key, value=number(value), timestamp=millis(from_micros(at)), step=int(step), run_id=run)
        for step, value, at in rows
    ]
