"""Two models on the same test rows: the rows are built again, both models answer them, and their losses are tested row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import polars as pl

from tinymlops.errors import DataError, NotFoundError, near
from tinymlops.features.history.reproducing import find_build, reproduce
from tinymlops.training.answers import predict
from tinymlops.training.flavors import load
from tinymlops.training.uncertainty import Paired, paired_bootstrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.context import Context
    from tinymlops.features.history.training_sets import Split
    from tinymlops.records import LoggedModel, Run, Signature
    from tinymlops.registry.runs import Runs

__all__ = ["paired_models", "row_losses"]

_LEAST = float(np.finfo(np.float64).eps)
"""A probability is at least this, as in scikit-learn's `log_loss`: one of zero would be an endless loss."""


class _Answered(NamedTuple):
    """A model's test rows, with its loss on each."""

    build: str
    task: str
    spine: pl.DataFrame
    y: pl.Series
    losses: pl.Series


def paired_models(context: Context, noun: Runs, runs: Sequence[Run], name: str) -> Paired:
    """Test whether the model of the second run has another loss than that of the first one on the same test rows.

    Args:
        context: The workspace's state.
        noun: Its runs.
        runs: Two of them.
        name: What both runs logged their model as.

    Raises:
        DataError: If there are not two runs, or no test rows that both have.
        NotFoundError: If one has no such model, or rows that its training set was built from are no longer kept.
        DefinitionError: If Python code that its training set depends on has changed or is gone.
        UntrustedModelError: If a model holds a type that is neither reviewed nor listed.
    """
    if len(runs) != 2:
        raise DataError(f"{len(runs)} runs cannot be paired", hint="compare two: ws.compare([a, b]).paired_models()")
    splits: dict[str, Split] = {}
    first, second = (_answered(context, noun, run, name, splits) for run in runs)
    if first.task != second.task:
        raise DataError(f"a model for {first.task} and one for {second.task} have no common loss")
    left, right = (first.losses, second.losses) if first.build == second.build else _matched(first, second)
    known = left.is_not_null() & right.is_not_null()
    differences = (right - left).filter(known).to_numpy()
    if len(differences) < 2:
        raise DataError(f"the models have {len(differences)} test rows in common", hint="split both at the same time")
    unmatched = len(first.losses) + len(second.losses) - 2 * len(differences)
    return msgspec.structs.replace(paired_bootstrap(differences), unmatched=unmatched)


def row_losses(y: pl.Series, predictions: pl.DataFrame, signature: Signature) -> pl.Series:
    """Return the loss of each row: of probabilities -log(p) of what came true, of classes 0 or 1, of numbers the squared error.

    Args:
        y: What came true.
        predictions: As `tinymlops.training.answers.predict` returns them.
        signature: Of the model.

    Returns:
        Float64, null where there is no outcome or no answer.
    """
    if signature.task == "regression":
        return (predictions["prediction"].cast(pl.Float64) - y.cast(pl.Float64)) ** 2
    classes = list(signature.classes or [])
    if "probability" in predictions.columns:
        rows = [None if p is None else [1 - p, p] for p in predictions["probability"].to_list()]
    elif "probabilities" in predictions.columns:
        rows = predictions["probabilities"].to_list()
    else:
        answers = predictions["prediction"].to_list()
        wrong = [
            None if truth is None or answer is None else float(truth != answer)
            for truth, answer in zip(y.to_list(), answers, strict=True)
        ]
        return pl.Series(wrong, dtype=pl.Float64)
    places = {value: place for place, value in enumerate(classes)}
    of_truth = [
        None if truth is None or row is None else row[places[truth]] if truth in places else 0.0
        for truth, row in zip(y.to_list(), rows, strict=True)
    ]
    return -pl.Series(of_truth, dtype=pl.Float64).clip(_LEAST, 1.0).log()


def _answered(context: Context, noun: Runs, run: Run, name: str, splits: dict[str, Split]) -> _Answered:
    record = _model(noun, run, name)
    build = record.training_set
    if build is None:
        raise DataError(f"model {name!r} of run {run.name!r} stands on no training set", hint="log it with data=...")
    if build not in splits:
        test = reproduce(context, find_build(context, build)).test
        if test is None or not test.X.height:
            raise DataError(
                f"the training set of run {run.name!r} has no test rows",
                hint="ws.get_training_data(..., test_from=...)",
            )
        splits[build] = test
    test = splits[build]
    content = context.environment.blobs.read(record.sha256)
    estimator = load(content, context.config.trusted_types, flavor=record.flavor)
    losses = row_losses(test.y, predict(estimator, test.X, record.signature), record.signature)
    return _Answered(build, record.signature.task, test.spine, test.y, losses)


def _model(noun: Runs, run: Run, name: str) -> LoggedModel:
    models = {model.name: model for model in noun.models(run.id)}
    if name not in models:
        raise NotFoundError(f"run {run.name!r} has logged no model {name!r}", hint=near(name, models))
    return models[name]


def _matched(first: _Answered, second: _Answered) -> tuple[pl.Series, pl.Series]:
    """Return the losses on rows of two builds that are the same in keys, time, request fields and outcome."""
    common = [name for name in first.spine.columns if name in second.spine.columns]
    frames = [
        one.spine.select(common)
        .with_columns(one.y.alias("label_"), one.losses.alias("loss_"))
        .with_columns(pl.int_range(pl.len()).over([*common, "label_"]).alias("place_"))
        for one in (first, second)
    ]
    both = frames[0].join(frames[1], on=[*common, "label_", "place_"], how="inner", nulls_equal=True)
    return both["loss_"], both["loss__right"]
