"""What can be left out of a training set: its views, its features, or versions of a view that stand side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from tinymlops.errors import DataError, DefinitionError, near

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinymlops.records import Signature

__all__ = ["Drop", "drops_of"]

Drop = Literal["view", "feature", "variant"]


def drops_of(signature: Signature, drop: Drop | Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Return what is left out in turn: its name to the features that go with it.

    Args:
        signature: Of the training data.
        drop: "view": all features of a view, in every role and version; "feature": one at a time; "variant": a version of
            a view that has others beside it; or names of your own, each with features.

    Raises:
        DefinitionError: If `drop` is something else.
        DataError: If there is nothing to leave out, or nothing would be left.
    """
    features = [field.name for field in signature.features]
    if not isinstance(drop, str):
        found = _named(drop, features)
    elif drop == "feature":
        found = {name: (name,) for name in features}
    elif drop in get_args(Drop):
        found = _by_source(signature, drop)
    else:
        raise DefinitionError(
            f"drop={drop!r} is not possible", hint="use 'view', 'feature', 'variant', or names with their features"
        )
    whole = next((name for name, some in found.items() if len(some) == len(features)), None)
    if whole is not None:
        raise DataError(
            f"without {whole} no feature is left to train on",
            hint="use drop='feature'" if len(features) > 1 else "train on more than one feature",
        )
    return found


def _by_source(signature: Signature, drop: str) -> dict[str, tuple[str, ...]]:
    """Return the features by where they come from, such as `spending` or `spending@v1`."""
    titles: dict[str, list[str]] = {}
    for field in signature.features:
        title = field.source.partition(":")[0]
        titles.setdefault(title if drop == "variant" else title.partition("@")[0], []).append(field.name)
    if drop == "variant":
        bases = [title.partition("@")[0] for title in titles]
        titles = {title: names for title, names in titles.items() if bases.count(title.partition("@")[0]) > 1}
        if not titles:
            raise DataError(
                "no view is in the training set in two versions",
                hint='list one beside the other: features=[spending, spending.variant("v1")]',
            )
    return {title: tuple(names) for title, names in titles.items()}


def _named(drop: Mapping[str, Sequence[str]], features: Sequence[str]) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, some in drop.items():
        chosen = (some,) if isinstance(some, str) else tuple(some)
        unknown = next((one for one in chosen if one not in features), None)
        if unknown is not None:
            raise DataError(f"the training set has no feature {unknown!r}", hint=near(str(unknown), list(features)))
        if not chosen:
            raise DataError(f"drop={name!r} names no feature", hint="name at least one")
        found[name] = chosen
    if not found:
        raise DataError("drop= names nothing to leave out", hint="use 'view', 'feature' or 'variant'")
    return found
