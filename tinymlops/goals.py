"""Which of two values of a metric is the better one, by its name."""

from __future__ import annotations

import re
from typing import Literal

__all__ = ["Goal", "goal_of"]

Goal = Literal["min", "max"]

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_LESS_IS_BETTER = frozenset(
    {
        "loss",
        "losses",
        "logloss",
        "crossentropy",
        "entropy",
        "nll",
        "error",
        "errors",
        "err",
        "mae",
        "mse",
        "rmse",
        "rmsle",
    }
    | {
        "msle",
        "mape",
        "smape",
        "wape",
        "mdape",
        "deviance",
        "brier",
        "ece",
        "mce",
        "perplexity",
        "ppl",
        "wer",
        "cer",
        "fid",
    }
    | {"regret", "residual", "residuals", "latency", "duration", "seconds", "ms", "time", "hinge", "kl", "divergence"}
    | {"drift", "rss", "bias", "distance", "cost"}
)


def goal_of(name: str) -> Goal:
    """Return `min` for the name of a loss, an error, a distance or a duration, else `max`.

    Args:
        name: Of a metric, such as "val/log_loss", "valRMSE" or "auc".

    Example:
        >>> goal_of("val/log_loss"), goal_of("valRMSE"), goal_of("auc")
        ('min', 'min', 'max')
    """
    words = {word.lower() for word in _WORDS.findall(name)}
    return "min" if words & _LESS_IS_BETTER else "max"
