"""What a run may log: names, parameters, numbers, steps and tags."""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from tinymlops.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinymlops.records import Scalar

__all__ = ["checked_file_name", "checked_name", "checked_text", "number", "same", "scalars", "step_of", "tags_of"]

_LONGEST_NAME = 250
_LONGEST_PARAM = 16_384
_LONGEST_TEXT = 100_000
_MOST_PARAMS = 10_000
_LARGEST_STEP = 2**53
"""Greater whole numbers have no exact float."""


def checked_name(name: str, what: str) -> str:
    """Return a name that is one.

    Raises:
        DataError: If it is empty, longer than 250 characters, or holds quotes, backslashes or what cannot be printed.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        shown = name if not isinstance(name, str) else name[:_LONGEST_NAME]
        raise DataError(f"{what} cannot be {shown!r}", hint=f"use 1 to {_LONGEST_NAME} printable characters")
    if '"' in name or "\\" in name:
        raise DataError(f"{what} cannot be {name!r}", hint="leave out quotes and backslashes")
    return name


def checked_file_name(name: str) -> str:
    """Return the name of an artifact: a label with `/` between its parts.

    Raises:
        DataError: If it could be taken for a path that leads elsewhere.
    """
    parts = PurePosixPath(checked_name(name, "an artifact's name")).parts
    if ".." in parts or name.startswith("/") or "/".join(parts) != name:
        raise DataError(f"an artifact's name cannot be {name!r}", hint="use a plain name, such as 'plots/roc.png'")
    return name


def checked_text(text: str | None, what: str) -> str | None:
    """Return a text of at most 100,000 characters.

    Raises:
        DataError: If it is longer, or not a text.
    """
    if text is None:
        return None
    if not isinstance(text, str):
        raise DataError(f"{what} cannot be {text!r}", hint="pass text")
    if len(text) > _LONGEST_TEXT:
        raise DataError(
            f"{what} has {len(text):,} characters, more than {_LONGEST_TEXT:,}", hint="log it: run.log_text(name, text)"
        )
    return text


def tags_of(tags: Mapping[str, object] | None) -> dict[str, str]:
    """Return tags as text.

    Raises:
        DataError: If a name or a text is not one.
    """
    made = {checked_name(name, "a tag"): str(value) for name, value in (tags or {}).items()}
    for name, text in made.items():
        checked_text(text, f"the tag {name!r}")
    return made


def scalars(params: Mapping[str, object] | None) -> dict[str, Scalar]:
    """Return parameters as they are stored: what is not a number, text, boolean or null is its text.

    Raises:
        DataError: If a name is not one, or a value is too long.
    """
    made = {checked_name(name, "a parameter's name"): _scalar(name, value) for name, value in (params or {}).items()}
    if len(made) > _MOST_PARAMS:
        raise DataError(
            f"{len(made):,} parameters are more than the {_MOST_PARAMS:,} that a run may have",
            hint="log them as a table: run.log_table(name, table)",
        )
    return made


def _scalar(name: str, value: Any) -> Scalar:
    value = _unboxed(value)
    if value is None or type(value) in (bool, int, float):
        plain: Scalar = value
        return plain
    text = str(value)
    if len(text) > _LONGEST_PARAM:
        raise DataError(
            f"parameter {name!r} has {len(text):,} characters, more than {_LONGEST_PARAM:,}",
            hint=f"log it as a text: run.log_text({name!r}, text)",
        )
    return text


def number(name: str, value: Any) -> float:
    """Return the value of a metric as a float; NaN and the infinities are values, because a diverged loss is a fact.

    Raises:
        DataError: If it is not one number.
    """
    if type(value) is float:
        return value
    plain = _unboxed(value)
    if isinstance(plain, str | bytes) or plain is None:
        raise DataError(f"metric {name!r} is {value!r}, which is not a number", hint="log text as a parameter or a tag")
    try:
        return float(plain)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise DataError(f"metric {name!r} is not a number: {error}", hint="pass one number") from error


def step_of(step: Any) -> float:
    """Return a step as a float.

    Raises:
        DataError: If it is not a finite number, or so large that it has no exact float.
    """
    plain = _unboxed(step)
    if isinstance(plain, bool) or not isinstance(plain, int | float) or not math.isfinite(plain):
        raise DataError(f"step={step!r} is not a step", hint="pass a whole number or a fraction, such as 3 or 0.5")
    if abs(plain) > _LARGEST_STEP:
        raise DataError(f"step={step!r} is too large", hint="use steps up to 2**53")
    return float(plain)


def same(left: Scalar, right: Scalar) -> bool:
    """Whether two values of a parameter are the same: NaN equals NaN, and True does not equal 1."""
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right):
        return True
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def _unboxed(value: Any) -> Any:  # NumPy's scalars and tensors of one value have `item`
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
