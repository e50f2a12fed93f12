"""The metrics of runs: logged at once, and read as points, sums and curves. Arrays are loaded where they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.records import Metric, MetricSummary
from tinymlops.registry.runs.changing import row_of
from tinymlops.registry.runs.keeping import KeptByRuns
from tinymlops.registry.runs.summed import metric_parts, summaries_of
from tinymlops.registry.runs.values import checked_name, number, step_of
from tinymlops.times import to_micros

if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from tinymlops.registry.runs.curves import Curve
    from tinymlops.registry.runs.points import Points
    from tinymlops.stores.transaction import Transaction

__all__ = ["MeasuredRuns"]


class MeasuredRuns(KeptByRuns):
    """The metrics of runs: one of the parts of `ws.runs`."""

    def log_metrics(
        self, run: str, metrics: Mapping[str, float], *, step: float | None = None, at: datetime | None = None
    ) -> None:
        """Add one value to each metric, and return when they are durable.

        Args:
            run: Its id.
            metrics: Name to value; NaN is stored, because a diverged loss is a fact.
            step: The step of the training, whole or not; by default one after the metric's last step, from 0 on.
            at: When it was; by default now.
        """
        from tinymlops.registry.runs.points import points_of
        from tinymlops.registry.runs.storing import store_points

        values = {checked_name(name, "a metric's name"): number(name, value) for name, value in metrics.items()}
        fixed = None if step is None else step_of(step)
        time = to_micros(at or self._scope.clock())
        if not values:
            return

        def work(tx: Transaction) -> None:
            session = row_of(tx, run).session
            steps = _next_steps(tx, run, values) if fixed is None else dict.fromkeys(values, fixed)
            store_points(
                tx,
                run,
                session,
                {name: points_of([steps[name]], [value], [time], session) for name, value in values.items()},
            )

        self.log.flush()
        self._scope.write_together(work)

    def log_points(self, run: str, series: Mapping[str, Points]) -> None:
        """Add many points, and return when they are durable; one that is there already counts once.

        Args:
            run: Its id.
            series: The metric's name to its points, in the order of logging; their sessions do not matter.
        """
        from tinymlops.registry.runs.storing import seal, store_points

        for name, points in series.items():
            checked_name(name, "a metric's name")
            for step in (points.steps.min(), points.steps.max()) if points.size else ():
                step_of(step)
        some = {name: points for name, points in series.items() if points.size}

        def work(tx: Transaction) -> None:
            record = row_of(tx, run)
            store_points(tx, run, record.session, some)
            if record.status != "running":
                seal(tx, run, some)

        if some:
            self.log.flush()
            self._scope.write_together(work)

    def metric_parts(
        self, runs: Sequence[str], parts: Sequence[str]
    ) -> Mapping[str, dict[str, tuple[float | None, ...]]]:
        """Return some numbers of each metric of some runs, by run and name: faster than `summaries`.

        Args:
            runs: Their ids.
            parts: Such as `last`, `best` and `count`: fields of `MetricSummary`.
        """
        self.log.flush()
        return metric_parts(self._database, runs, parts)

    def metrics(self, run: str, name: str | None = None) -> builtins.list[Metric]:
        """Return the metric values of a run that count, of one name or all, by name and step."""
        from tinymlops.registry.runs.reading import metrics_of

        self.log.flush()
        return metrics_of(self._database, run, name)

    def points(self, run: str, name: str, *, superseded: bool = False) -> Points:
        """Return the points of a metric as arrays, in the order of steps.

        Args:
            run: Its id.
            name: The metric's name.
            superseded: Those that a resumed run logged again, in place of those that count.
        """
        from tinymlops.registry.runs.reading import points_of_metric

        self.log.flush()
        return points_of_metric(self._database, run, name, superseded=superseded)

    def curve(
        self,
        run: str,
        name: str,
        *,
        pixels: int = 1000,
        x: str = "step",
        start: float | None = None,
        stop: float | None = None,
    ) -> Curve:
        """Return at most four points a pixel of a metric: first, least, greatest and last of each pixel column.

        Args:
            run: Its id.
            name: The metric's name.
            pixels: The width to draw it at.
            x: `step`, `time`, or the name of another metric that was logged at the same steps.
            start: The first x to show.
            stop: The last x to show.
        """
        from tinymlops.registry.runs.curves import curve_of

        self.log.flush()
        return curve_of(self._database, run, name, pixels=pixels, x=x, start=start, stop=stop)

    def summaries(self, runs: str | Sequence[str]) -> Mapping[str, builtins.list[MetricSummary]]:
        """Return count, last, least, greatest and best value of each metric of some runs, by run."""
        self.log.flush()
        return summaries_of(self._database, [runs] if isinstance(runs, str) else runs)


def _next_steps(tx: Transaction, run: str, names: Iterable[str]) -> dict[str, float]:
    last = {one.name: one.step for one in tx.list(MetricSummary, where={"run": run, "name": list(names)})}
    return {name: last[name] + 1 if name in last else 0.0 for name in names}
