"""Model files: write a fitted model as bytes and read it back, without running code from the file.

One flavour so far, scikit-learn by skops. A flavour is a pair of functions under a name in `FLAVORS`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from tinymlops.config import listing
from tinymlops.errors import DataError, IntegrityError, UntrustedModelError
from tinymlops.training._reviewed import REVIEWED

__all__ = ["FLAVORS", "Flavor", "flavor_of", "load", "save"]


class Flavor(NamedTuple):
    """The way to store one kind of model."""

    name: str
    matches: Callable[[Any], bool]
    save: Callable[[Any, Collection[str]], bytes]
    load: Callable[[bytes, Collection[str]], Any]


def flavor_of(model: Any) -> str:
    """Return the name of the flavour that can store a model.

    Raises:
        DataError: If there is none.
    """
    for flavor in FLAVORS.values():
        if flavor.matches(model):
            return flavor.name
    raise DataError(
        f"a {type(model).__module__}.{type(model).__qualname__} cannot be logged as a model",
        hint="log a fitted scikit-learn estimator or pipeline",
    )


def save(model: Any, trusted: Sequence[str] = ()) -> bytes:
    """Write a fitted model.

    Args:
        model: A fitted estimator.
        trusted: Types beyond the reviewed ones, by full name.

    Raises:
        UntrustedModelError: If it holds another type, such as a function of the user; the error names it.
        DataError: If it is not fitted, or cannot be written.
    """
    return FLAVORS[flavor_of(model)].save(model, _listed(trusted))


def load(data: bytes, trusted: Sequence[str] = (), *, flavor: str = "sklearn") -> Any:
    """Read a model that `save` wrote.

    Args:
        data: The file's content, already checked against its hash.
        trusted: Types beyond the reviewed ones, by full name.
        flavor: The flavour that wrote it.

    Raises:
        UntrustedModelError: If it holds a type that is neither reviewed nor listed.
        IntegrityError: If it is not a model file, or its trees point outside themselves.
    """
    if flavor not in FLAVORS:
        raise IntegrityError(f"there is no model flavour {flavor!r}", hint="pip install --upgrade tinymlops")
    return FLAVORS[flavor].load(data, _listed(trusted))


def _listed(trusted: Sequence[str]) -> frozenset[str]:
    if isinstance(trusted, str) or not all(isinstance(name, str) for name in trusted):
        raise DataError(f"trust={trusted!r} is not a list of type names", hint='write trust=["package.module.Type"]')
    return frozenset(trusted)


def _is_sklearn(model: Any) -> bool:
    from sklearn.base import BaseEstimator

    return isinstance(model, BaseEstimator)


def _save_sklearn(model: Any, trusted: Collection[str]) -> bytes:
    import skops.io
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted
    from skops.io.exceptions import UnsupportedTypeException

    try:
        check_is_fitted(model)
    except NotFittedError as error:
        raise DataError(f"the {type(model).__name__} is not fitted", hint="call fit before logging it") from error
    try:
        data: bytes = skops.io.dumps(model)
    except (UnsupportedTypeException, RecursionError, TypeError, AttributeError) as error:
        reason = "it refers to itself" if isinstance(error, RecursionError) else error
        raise DataError(
            f"the {type(model).__name__} cannot be written: {reason}",
            hint="refit it without callbacks and scorers (HistGradientBoosting: scoring='loss')",
        ) from error
    _accepted(data, trusted)
    return data


def _load_sklearn(data: bytes, trusted: Collection[str]) -> Any:
    import skops.io

    from tinymlops.training._guards import check_bounds

    accepted = _accepted(data, trusted)
    # A file may hold anything: numbers that need more memory than there is, endlessly nested names.
    try:
        model = skops.io.loads(data, trusted=accepted)
    except Exception as error:
        raise IntegrityError(
            f"the model cannot be read: {_said(error)}", hint="install the scikit-learn it was fitted with"
        ) from error
    try:
        check_bounds(model)
    except IntegrityError:
        raise
    except Exception as error:
        raise IntegrityError(f"the model file is damaged: {_said(error)}", hint="refit it and log it again") from error
    return model


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _accepted(data: bytes, trusted: Collection[str]) -> list[str]:
    """Return which of the types that skops does not trust are reviewed or listed; refuse any other."""
    import skops.io

    try:
        found = set(skops.io.get_untrusted_types(data=data))
    except Exception as error:
        raise IntegrityError(f"this is not a scikit-learn model file: {_said(error)}") from error
    unknown = sorted(found - REVIEWED.keys() - set(trusted))
    if unknown:
        raise UntrustedModelError(
            f"the model holds types that were not reviewed: {', '.join(unknown)}",
            hint=f"if you know it and it is importable everywhere the model is served, log it with trust={unknown!r}, and "
            f"list it in tinymlops.toml: {listing(unknown)}",
        )
    return sorted(found)


FLAVORS: dict[str, Flavor] = {
    "sklearn": Flavor("sklearn", _is_sklearn, _save_sklearn, _load_sklearn),
}
