"""A run in progress: the object that `ws.start_run` returns for a `with` block."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from tinymlops.errors import DataError
from tinymlops.records import Artifact, Evaluation, LoggedModel, Run, Signature
from tinymlops.tables import html_table

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


class ActiveRun:
    """A run in progress; leaving the `with` block finishes it, an exception fails it.

    Args:
        runs: The workspace's runs.
        name: Its name.
        clock: The workspace's time.
        data: The training data it uses; needed to log a model.
        params: Its first parameters.
        tags: Text to find it by.

    Attributes:
        id: Its id.
    """

    def __init__(
        self,
        runs: Runs,
        name: str,
        *,
        clock: Clock,
        data: FittingData | None = None,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self._runs = runs
        self._clock = clock
        self._data = data
        self.id = runs.start(
            name, training_set=data.build_id if data is not None else None, params=params, tags=tags
        ).id

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        else:
            self._runs.finish(self.id, status="failed", error=f"{type(error).__name__}: {error}")

    def __repr__(self) -> str:
        run = self.record
        metrics = "".join(f", {name} {value:.4g}" for name, value in run.metrics.items())
        return f"<run {run.name} {run.id[:8]}: {run.status}{metrics}>"

    def _repr_html_(self) -> str:
        run = self.record
        rows = [("status", run.status), ("id", run.id), ("commit", _commit(run))]
        rows += [(f"params.{name}", str(value)) for name, value in run.params.items()]
        rows += [(f"metrics.{name}", f"{value:.6g}") for name, value in run.metrics.items()]
        return html_table(f"run {run.name}", rows)

    @property
    def record(self) -> Run:
        """The run as it is stored now."""
        return self._runs.get(self.id)

    def log_params(self, params: Mapping[str, object] | None = None, /, **named: object) -> None:
        """Log parameters; a logged one keeps its value.

        Args:
            params: Name to value, for names that cannot be keywords.
            named: The same, as keywords.
        """
        self._runs.log_params(self.id, {**(params or {}), **named})

    def log_metrics(
        self, metrics: Mapping[str, float] | None = None, /, *, step: int | None = None, **named: float
    ) -> None:
        """Log one value of each metric.

        Args:
            metrics: Name to value, for names that cannot be keywords.
            step: The step of the training; by default one after the last.
            named: The same, as keywords.
        """
        self._runs.log_metrics(self.id, {**(metrics or {}), **named}, step=step)

    def log_artifact(self, name: str, content: str | Path | bytes) -> Artifact:
        """Store a file (by its path), or bytes, under a name."""
        return self._runs.log_artifact(self.id, name, content)

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

    def finish(self) -> Run:
        """End the run without a `with` block."""
        return self._runs.finish(self.id)


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


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
