"""Between our records and MLflow's messages: ids, times, numbers, statuses and tags.

MLflow keeps a run's name, notes and parent in tags of reserved names; here they are fields, and a tag of that name is read from
and written to the field.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tinymlops.errors import DataError, NotFoundError
from tinymlops.server.mlflow import answers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tinymlops.records import Experiment, MetricSummary, Run, RunInput, RunModel, Scalar
    from tinymlops.server.mlflow.requests import Pair

__all__ = [
    "NAME_TAG",
    "NOTE_TAG",
    "PARENT_TAG",
    "STATUSES",
    "artifact_uri",
    "experiment_answer",
    "experiment_id",
    "instant",
    "integer",
    "millis",
    "model_uri",
    "number",
    "page",
    "pairs",
    "param_text",
    "run_answer",
    "run_info",
    "status_here",
    "tags_of",
    "text_of",
    "token",
]

NAME_TAG, NOTE_TAG, PARENT_TAG = "mlflow.runName", "mlflow.note.content", "mlflow.parentRunId"
CONTEXT_TAG = "mlflow.data.context"
STATUSES = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "failed": "FAILED",
    "killed": "KILLED",
    "lost": "KILLED",
}
"""Of ours to MLflow's. A run that went silent is `KILLED` there, which is what became of its process."""
_HERE = {"RUNNING": "running", "SCHEDULED": "running", "FINISHED": "finished", "FAILED": "failed", "KILLED": "killed"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_MILLIS = 253_402_300_799_999
_MOST = 2**63 - 1
_MOST_RESULTS = 50_000


def status_here(status: str) -> str:
    """Return our word for a status of MLflow.

    Raises:
        DataError: If it has none.
    """
    if status not in _HERE:
        raise DataError(f"there is no status {status!r}", hint=f"use one of {', '.join(_HERE)}")
    return _HERE[status]


def integer(value: float | str, what: str) -> int:
    """Read a 64-bit integer, which protobuf writes as text.

    Raises:
        DataError: If it is out of range.
    """
    found = int(value)
    if not -_MOST - 1 <= found <= _MOST:
        raise DataError(f"{what} is {value}, which has more than 64 bits", hint="send a smaller number")
    return found


def instant(value: float | str, what: str) -> datetime:
    """Read milliseconds since 1970.

    Raises:
        DataError: If there is no such time.
    """
    millis_ = integer(value, what)
    if not -_MOST_MILLIS <= millis_ <= _MOST_MILLIS:
        raise DataError(f"{what} is {value}, which is no time in milliseconds since 1970", hint="send milliseconds")
    return _EPOCH + timedelta(milliseconds=millis_)


def millis(at: datetime) -> int:
    """Write a time as milliseconds since 1970."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def number(value: float) -> float | str:
    """Write a value: what JSON has no number for is text, as protobuf writes it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def experiment_id(text: str) -> int:
    """Read the id of an experiment.

    Raises:
        NotFoundError: If it cannot be one.
    """
    if not text.isdecimal() or not text.isascii() or int(text) > _MOST:
        raise NotFoundError(f"there is no experiment with the id {text[:100]!r}", hint="ids are numbers")
    return int(text)


def artifact_uri(run: str) -> str:
    """Return where a client finds the files of a run."""
    return f"mlflow-artifacts:/runs/{run}"


def model_uri(model: str) -> str:
    """Return where a client finds the files of a logged model."""
    return f"mlflow-artifacts:/models/{model}"


def pairs(values: Mapping[str, str]) -> list[answers.KeyValue]:
    """Write params or tags."""
    return [answers.KeyValue(key, value) for key, value in sorted(values.items())]


def tags_of(sent: Iterable[Pair]) -> dict[str, str]:
    """Read params or tags; of two with one key the later counts."""
    return {one.key: one.value for one in sent}


def param_text(value: Scalar) -> str:
    """Write one of our params, which have types, as MLflow's client would have."""
    return str(value)


def text_of(value: str | None) -> str | None:
    """Leave out a text that is empty."""
    return value or None


def experiment_answer(experiment: Experiment) -> answers.Experiment:
    """Write an experiment."""
    notes = {} if experiment.notes is None else {NOTE_TAG: experiment.notes}
    return answers.Experiment(
        experiment_id=str(experiment.id or 0),
        name=experiment.name,
        artifact_location=f"mlflow-artifacts:/experiments/{experiment.id or 0}",
        lifecycle_stage="active" if experiment.deleted_at is None else "deleted",
        creation_time=millis(experiment.created_at),
        last_update_time=millis(experiment.created_at),
        tags=pairs({**experiment.tags, **notes}),
    )


def run_tags(run: Run) -> dict[str, str]:
    """Return a run's tags with those that are fields here."""
    fields = {NAME_TAG: run.name, NOTE_TAG: run.notes, PARENT_TAG: run.parent}
    return {**run.tags, **{key: value for key, value in fields.items() if value is not None}}


def run_info(run: Run) -> answers.RunInfo:
    """Write what a run is."""
    return answers.RunInfo(
        run_id=run.id,
        run_uuid=run.id,
        run_name=run.name,
        experiment_id=str(run.experiment),
        user_id=run.tags.get("mlflow.user") or run.user or "",
        status=STATUSES[run.status],
        start_time=millis(run.started_at),
        end_time=None if run.ended_at is None else millis(run.ended_at),
        artifact_uri=artifact_uri(run.id),
        lifecycle_stage="active" if run.deleted_at is None else "deleted",
    )


def run_answer(
    run: Run, summaries: Sequence[MetricSummary], inputs: Sequence[RunInput] = (), models: Sequence[RunModel] = ()
) -> answers.Run:
    """Write a run.

    Args:
        run: The run.
        summaries: Of its metrics.
        inputs: Datasets that it read.
        models: Logged models that it read and made.
    """
    return answers.Run(
        info=run_info(run),
        data=answers.RunData(
            metrics=[_last(one) for one in summaries],
            params=pairs({key: param_text(value) for key, value in run.params.items()}),
            tags=pairs(run_tags(run)),
        ),
        inputs=answers.RunInputs(
            dataset_inputs=[_input(one) for one in inputs],
            model_inputs=[answers.ModelInput(model_id=one.model) for one in models if one.direction == "input"],
        ),
        outputs=answers.RunOutputs(
            model_outputs=[
                answers.ModelOutput(model_id=one.model, step=one.step) for one in models if one.direction == "output"
            ]
        ),
    )


def _last(one: MetricSummary) -> answers.Metric:
    return answers.Metric(
        key=one.name, value=number(one.last), timestamp=millis(one.at), step=int(one.step), run_id=one.run
    )


def _input(one: RunInput) -> answers.DatasetInput:
    context = {CONTEXT_TAG: one.context} if one.context else {}
    return answers.DatasetInput(
        dataset=answers.Dataset(
            name=one.name,
            digest=one.digest,
            source_type=one.source_type,
            source=one.source,
            schema=text_of(one.schema),
            profile=text_of(one.profile),
        ),
        tags=pairs({**one.tags, **context}),
    )


def page(token_: str, most: float | str, *, limit: int = _MOST_RESULTS) -> tuple[int, int]:
    """Return where a page begins, and how many results it has at most.

    Args:
        token_: `next_page_token` of the page before.
        most: `max_results`.
        limit: The most that may be asked for.

    Raises:
        DataError: If it is no token of ours, or too many are asked for.
    """
    count = integer(most, "max_results")
    if not 1 <= count <= limit:
        raise DataError(f"max_results is {count}", hint=f"use 1 to {limit}")
    if not token_:
        return 0, count
    if not token_.isdecimal() or not token_.isascii() or len(token_) > len(str(_MOST)):
        raise DataError("the page_token is not one that this server gave", hint="begin without one")
    return int(token_), count


def token(begin: int, count: int, total: int) -> str | None:
    """Return the token of the next page; None on the last one."""
    return str(begin + count) if begin + count < total else None
