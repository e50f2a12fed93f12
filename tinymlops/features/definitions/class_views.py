"""Feature views written as a class: its attributes are the features, and the one that is `Rows` is named as its source."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, overload

from tinymlops.errors import DefinitionError
from tinymlops.features.definitions.expressions import Aggregate, Features, Rows

if TYPE_CHECKING:
    from tinymlops.features.definitions.nouns import FeatureView

__all__ = ["ViewDecorator", "read_class"]

P = ParamSpec("P")
_BETWEEN_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class ViewDecorator(Protocol):
    """Makes a feature view of a function or of a class."""

    @overload
    def __call__(self, written: type[object], /) -> FeatureView[[Rows], Features]: ...
    @overload
    def __call__(self, written: Callable[P, Features], /) -> FeatureView[P, Features]: ...
    def __call__(self, written: Any, /) -> Any:
        """Return the view."""


def read_class(written: type) -> tuple[str, Features, Callable[[Rows], Features]]:
    """Return the source and the features of a class, and the function that says the same.

    Args:
        written: Its attributes are `Rows`, named as the source, and aggregates; what begins with an underscore is its own.

    Returns:
        The function has the class's name in lower case, its words joined by underscores.

    Raises:
        DefinitionError: If it has not exactly one `Rows`, has a base class, or an attribute that is not a feature.
    """
    name = _BETWEEN_WORDS.sub("_", written.__name__).lower()
    if written.__bases__ != (object,):
        bases = ", ".join(base.__name__ for base in written.__bases__)
        raise DefinitionError(
            f"feature view {name!r} is a class with the base {bases}",
            hint="write all of its features in the class itself",
        )
    own = {attribute: value for attribute, value in vars(written).items() if not attribute.startswith("_")}
    sources = [attribute for attribute, value in own.items() if isinstance(value, Rows)]
    if len(sources) != 1:
        raise DefinitionError(
            f"feature view {name!r} reads {len(sources)} sources",
            hint="say which by one attribute that is named as it: orders = tm.Rows()",
        )
    features: dict[str, Aggregate] = {}
    for attribute, value in own.items():
        if isinstance(value, Aggregate):
            features[attribute] = value
        elif attribute not in sources:
            raise DefinitionError(
                f"attribute {attribute!r} of feature view {name!r} is {value!r}, not an aggregate",
                hint=f'say which row or rows: .last(), .mean(window="7d"), ..., or call it _{attribute}',
            )
    return sources[0], features, _function(written, name, features)


def _function(written: type, name: str, features: Features) -> Callable[[Rows], Features]:
    def function(rows: Rows) -> Features:  # noqa: ARG001 - the class has said what is made of them
        return features

    function.__name__ = function.__qualname__ = name
    function.__module__, function.__doc__ = written.__module__, written.__doc__
    return function
