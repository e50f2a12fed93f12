"""A run in progress: the object that `ws.start_run` returns for a `with` block."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from tinymlops.errors import ConflictError, DataError
from tinymlops.notebook import in_notebook
from tinymlops.records import Evaluation, LoggedModel, Run, Signature
from tinymlops.registry.runs.changing import RunChange, with_params
from tinymlops.registry.runs.log import Point, Series
from tinymlops.registry.runs.terminating import write_before_termination
from tinymlops.registry.runs.values import checked_name, checked_text, number, scalars, step_of, tags_of
from tinymlops.tables import html_table
from tinymlops.times import system_clock, to_micros
from tinymlops.training.keeping import KeepsFiles
from tinymlops.training.watching.run import RunWatch

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.registry.runs import Runs
    from tinymlops.times import Clock

__all__ = ["ActiveRun", "FittingData", "LabelledRows"]


class LabelledRows(Protocol):
    """Rows to fit or to test on."""

    @property
    def X(self) -> pl.DataFrame:  # noqa: N802  # the field's name
        """Features only, in order."""

    @property
    def y(self) -> pl.Series:
        """The label, without nulls."""


class FittingData(Protocol):
    """The properties of training data that a run needs."""

    build_id: str
    signature: Signature
    definitions: dict[str, str]

    @property
    def train(self) -> LabelledRows:
        """Rows to fit on."""

    @property
    def test(self) -> LabelledRows | None:
        """Rows to test on."""


class ActiveRun(KeepsFiles):
    """A run in progress; leaving the `with` block finishes it, an exception fails it.

    Any thread may log to it. Parameters and metrics are on the disk within a quarter of a second, and when it is finished;
    files and models when the call returns.

    Args:
        runs: The workspace's runs.
        run: The run, which this process keeps going.
        clock: The workspace's time.
        data: The training data it uses; needed to log a model.
        system: Whether to log the load of the machine, as metrics below `system/`.
        console: Whether to keep what this process prints.

    Attributes:
        id: Its id.
        name: Its name.
    """

    def __init__(
        self,
        runs: Runs,
        run: Run,
        *,
        clock: Clock,
        data: FittingData | None = None,
        system: bool = True,
        console: bool = True,
    ) -> None:
        self._runs = runs
        self._clock = clock
        self._data = data
        self.id = run.id
        self.name = run.name
        self._session = run.session
        self._params = dict(run.params)
        self._ended = False
        self._lock = threading.Lock()
        self._now = _micros_now if clock is system_clock else lambda: to_micros(clock())
        self._append = runs.log.append
        write_before_termination(runs.log)
        known = runs.summaries(run.id).get(run.id, ()) if run.session else ()
        self._series = {one.name: Series(run.id, run.session, one.name, one.step + 1) for one in known}
        self._is_watched = True
        before = [one.next_step for name, one in self._series.items() if name.startswith("system/")]
        self._watched_from = max(before, default=0.0)  # of a resumed run, whose earlier load is not superseded
        self._watch = RunWatch(
            runs.log,
            run.id,
            run.session,
            clock=clock,
            directory=runs.directory,
            system=self._log_system if system else None,
            console=console,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended:
            return
        if error is None:
            self.finish()
        else:
            status = "killed" if isinstance(error, KeyboardInterrupt) else "failed"
            self.finish(status=status, error=f"{type(error).__name__}: {error}")

    def __repr__(self) -> str:
        run = self.record
        metrics = "".join(f", {name} {value:.4g}" for name, value in run.metrics.items())
        return f"<run {run.name} {run.id[:8]}: {run.status}{metrics}>"

    def _repr_html_(self) -> str:
        run = self.record
        rows = [("status", run.status), ("id", run.id), ("commit", _commit(run))]
        rows += [(f"params.{name}", str(value)) for name, value in run.params.items()]
        rows += [(f"metrics.{name}", f"{value:.6g}") for name, value in run.metrics.items()]
        return in_notebook(html_table(f"run {run.name}", rows))

    @property
    def record(self) -> Run:
        """The run as it is stored now."""
        return self._runs.get(self.id)

    def log_param(self, name: str, value: object) -> None:
        """Log one parameter, as `log_params` does."""
        self.log_params({name: value})

    def log_params(self, params: Mapping[str, object] | None = None, /, **named: object) -> None:
        """Log parameters; a logged one keeps its value.

        Args:
            params: Name to value, for names that cannot be keywords.
            named: The same, as keywords.

        Raises:
            ConflictError: If one was logged with another value.
        """
        self._require_open()
        added = scalars({**(params or {}), **named})
        with self._lock:
            self._params = with_params(self.name, self._params, added)
            self._append([RunChange(self.id, params=added)])

    def log_metric(self, name: str, value: float, step: float | None = None, *, durable: bool = False) -> None:
        """Log one value of one metric.

        Args:
            name: Of the metric; `/` makes sections, as in "val/loss".
            value: A number; NaN and the infinities are values too.
            step: The step of the training, whole or not; by default one after the metric's last step, from 0 on.
            durable: Return only once it is on the disk.

        Raises:
            DataError: If the value is not a number, or the step not finite.
            TinyMLOpsError: If points logged before could not be written.
        """
        if self._ended:
            self._require_open()
        plain = value if type(value) is float else number(name, value)
        fixed = None if step is None else step_of(step)
        with self._lock:
            try:
                series = self._series[name]
            except KeyError:
                series = self._series[checked_name(name, "a metric's name")] = Series(self.id, self._session, name)
            at = series.next_step if fixed is None else fixed
            point = Point(series, at, plain, self._now())
            if not durable:
                self._append((point,))
            series.next_step = at + 1
        if durable:
            self._runs.log.write_now([point])

    def log_metrics(
        self,
        metrics: Mapping[str, float] | None = None,
        /,
        *,
        step: float | None = None,
        durable: bool = False,
        **named: float,
    ) -> None:
        """Log one value of each metric: all of them, or none if one is not a number.

        Args:
            metrics: Name to value, for names that cannot be keywords.
            step: The step of the training, whole or not; by default one after each metric's last step.
            durable: Return only once they are on the disk.
            named: The same as `metrics`, as keywords.
        """
        self._require_open()
        values = {
            checked_name(key, "a metric's name"): number(key, one) for key, one in {**(metrics or {}), **named}.items()
        }
        fixed = None if step is None else step_of(step)
        with self._lock:
            now, points = self._now(), []
            for name, value in values.items():
                series = self._series.setdefault(name, Series(self.id, self._session, name))
                at = series.next_step if fixed is None else fixed
                points.append(Point(series, at, value, now))
            if not durable:
                self._append(points)
            for point in points:
                point.series.next_step = point.step + 1
        if durable:
            self._runs.log.write_now(points)

    def set_tags(self, tags: Mapping[str, object] | None = None, /, **named: object) -> None:
        """Set tags; one of the same name is replaced."""
        self._require_open()
        self._append([RunChange(self.id, tags=tags_of({**(tags or {}), **named}))])

    def set_notes(self, notes: str | None) -> None:
        """Set the notes."""
        self._require_open()
        self._append([RunChange(self.id, fields={"notes": checked_text(notes, "the notes")})])

    def flush(self) -> None:
        """Wait until everything logged so far is on the disk.

        Raises:
            TinyMLOpsError: If some of it could not be written, or the run refused it.
        """
        self._runs.log.flush()
        self._runs.log.require(self.id)

    @property
    def console(self) -> str:
        """What this process has printed since the run began, as a terminal shows it; a progress bar is one line.

        The first 256,000 and the last 768,000 characters are kept, without colours and without secrets.
        """
        if not self._ended:
            self._watch.flush()
        return self._runs.console(self.id)

    def _log_system(self, seconds: float, values: dict[str, float]) -> None:
        """Log the load of the machine; called in the background."""
        now = self._now()
        with self._lock:
            if self._is_watched:
                points = [
                    Point(Series(self.id, self._session, name), self._watched_from + seconds, value, now)
                    for name, value in values.items()
                ]
                self._runs.log.append_unasked(self.id, points)

    def log_model(self, model: Any, name: str = "model", *, trust: Sequence[str] = ()) -> LoggedModel:
        """Store a fitted model with everything needed to serve and explain it.

        It is read back and must answer the training rows as the model itself does, in the kind of table that it was
        fitted to: `data.train.X`, `data.train.X.to_pandas()` or an array of it. It is evaluated on the test
        rows, or, marked as such, on the training rows if there are no others.

        Args:
            model: A fitted scikit-learn estimator or pipeline.
            name: Distinguishes several models of one run.
            trust: Types in it that you reviewed yourself, by full name. To load the model they must also be in
                `trusted_types` of `tinymlops.toml`.

        Raises:
            DataError: If the run has no training data, or the model was fitted to other features or to another label:
                other classes, several outputs, numbers for classes, or an answer that is not finite.
            UntrustedModelError: If it holds a type that is neither reviewed nor listed.
        """
        from tinymlops.training.answers import predict
        from tinymlops.training.baseline import baseline_of
        from tinymlops.training.fitted import answer_training_rows, fitted_signature
        from tinymlops.training.flavors import flavor_of, load, save

        if self._data is None:
            raise DataError(
                "a model is logged with the training data it was fitted to",
                hint="start the run with it: ws.start_run('baseline', data=data)",
            )
        data = self._data
        content = save(model, trust)
        fitted = fitted_signature(data.signature, model, data.train.y)
        signature, answers = answer_training_rows(fitted, model, data.train.X)
        _require_same(model, predict(load(content, trust), data.train.X, signature), answers)
        baseline = msgspec.json.encode(baseline_of(data.train.X, answers))
        record = LoggedModel(
            run=self.id,
            name=name,
            flavor=flavor_of(model),
            sha256=_sha256(content),
            bytes=len(content),
            model_class=_class_of(model),
            signature=signature,
            training_set=data.build_id,
            definitions=dict(data.definitions),
            evaluation=_evaluation(model, data, signature, answers),
            baseline_sha256=_sha256(baseline),
            trusted_types=sorted(trust),
            at=self._clock(),
        )
        return self._runs.log_model(record, {record.sha256: content, _sha256(baseline): baseline})

    def finish(self, *, status: str = "finished", error: str | None = None) -> Run:
        """End the run, without a `with` block; everything it logged is on the disk then.

        Args:
            status: `finished`, `failed` or `killed`.
            error: What went wrong.
        """
        with self._lock:
            self._is_watched = False
        self._watch.stop()
        run = self._runs.finish(self.id, status=status, error=error)
        self._ended = True
        return run

    def _require_open(self) -> None:
        if self._ended:
            raise ConflictError(
                f"run {self.name!r} has ended", hint=f"let it go on: ws.start_run(resume={self.id[:12]!r})"
            )
        self._runs.log.require(self.id)


def _require_same(model: Any, again: pl.DataFrame, answers: pl.DataFrame) -> None:
    """Refuse a model that answers otherwise once it is read back."""
    if not again.equals(answers, null_equal=True):
        raise DataError(
            f"the {type(model).__name__} answers differently once it is read back",
            hint="leave out steps with random answers or a state of their own",
        )


def _evaluation(model: Any, data: FittingData, signature: Signature, answers: pl.DataFrame) -> Evaluation:
    from tinymlops.training.answers import predict
    from tinymlops.training.evaluation import evaluate

    test = data.test
    if test is None or not test.X.height:
        return evaluate(data.train.y, answers, signature, split="train")
    return evaluate(test.y, predict(model, test.X, signature), signature, split="test")


def _class_of(model: Any) -> str:
    kind = type(model)
    steps = getattr(model, "steps", None)
    last = f"[{type(steps[-1][1]).__name__}]" if steps else ""
    return f"{kind.__module__}.{kind.__qualname__}{last}"


def _commit(run: Run) -> str:
    return "none" if run.git_commit is None else run.git_commit[:12] + (" with changes" if run.git_dirty else "")


def _micros_now() -> int:
    return time.time_ns() // 1_000


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
