"""Train on the rows of a fold and test on it, always by the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import DataError, DefinitionError

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.records import Signature
    from tinymlops.training.backtest import FoldRows

__all__ = ["Train", "check_train", "score", "seeded", "unfit"]

Train = Callable[["pl.DataFrame", "pl.Series"], Any]
"""A function of X and y that returns a fitted model."""

_TRIED_ROWS = 2_000
"""The rows by which is found out which kind of table a model was fitted to."""
_LARGEST_SEED = 2**32 - 1


def check_train(train: Any, seed: int) -> None:
    """Refuse what cannot train, or seed.

    Raises:
        DefinitionError: If `train` is neither a function nor an estimator, or the seed is not a number that NumPy takes.
    """
    if isinstance(train, type) or not (callable(train) or hasattr(train, "fit")):
        raise DefinitionError(
            f"train={train!r:.100} cannot train",
            hint="pass a function of X and y that returns a fitted model, or an estimator such as LogisticRegression()",
        )
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= _LARGEST_SEED:
        raise DefinitionError(f"seed={seed!r} is not possible", hint=f"use a whole number from 0 to {_LARGEST_SEED}")


def score(
    train: Any, rows: tuple[FoldRows, FoldRows], features: Sequence[str], signature: Signature, *, seed: int
) -> dict[str, float]:
    """Train on some of the features of a fold, and return the metrics on its test rows.

    Args:
        train: A function of X and y, or an estimator, of which a copy is fitted.
        rows: Those to train on, and those to test on.
        features: The columns to use.
        signature: Of the whole training set.
        seed: Of Python's and NumPy's chance, the same for every fold and whatever is left out.
    """
    from tinymlops.training.answers import predict
    from tinymlops.training.evaluation import evaluate
    from tinymlops.training.fitted import answer_training_rows, fitted_signature

    fit, test = rows
    X = fit.X.select(features)
    with seeded(seed):
        model = _fitted(train, X, fit.y)
        chosen = set(features)
        part = msgspec.structs.replace(signature, features=[one for one in signature.features if one.name in chosen])
        found, _ = answer_training_rows(fitted_signature(part, model, fit.y), model, X.head(_TRIED_ROWS))
        answers = predict(model, test.X.select(features), found)
    return evaluate(test.y, answers, found, split="test").metrics


def unfit(y: pl.Series, signature: Signature) -> str:
    """Return why no model can be fitted to these outcomes, or an empty text."""
    few = signature.classes is not None and y.n_unique() < 2
    return "its training rows have one class only" if few else ""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the chance of Python and NumPy, and put both back as they were."""
    import numpy as np

    before, before_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # what estimators draw from
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(before_numpy)  # noqa: NPY002


def _fitted(train: Any, X: pl.DataFrame, y: pl.Series) -> Any:
    if hasattr(train, "fit"):
        from sklearn.base import clone

        model = clone(train)
        model.fit(X, y)
        return model
    model = train(X, y)
    if model is None:
        raise DataError(
            f"{getattr(train, '__name__', 'train')} returns None",
            hint="return the fitted model: return model.fit(X, y)",
        )
    return model
