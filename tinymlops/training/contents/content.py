"""A file that a run is about to keep."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tinymlops.errors import DataError

__all__ = ["Content", "with_suffix"]


class Content(NamedTuple):
    """A file with its name, as `Runs.log_artifact` takes it."""

    name: str
    """With the suffix that tells its format, such as `plots/roc.png`."""
    content: bytes | Path
    """What is in it, or the path of a file."""
    kind: str
    """`file`, `text`, `table`, `figure` or `image`."""
    series: str | None = None
    """What it is one step of."""
    step: float | None = None


def with_suffix(name: str, suffixes: tuple[str, ...], what: str) -> tuple[str, str]:
    """Return a name with the suffix of its format, and the suffix.

    Args:
        name: Such as "roc"; one without a suffix gets the first of those allowed.
        suffixes: Those allowed, such as ".png".
        what: What is logged, for the error.

    Raises:
        DataError: If it has another suffix, such as "roc.gif".

    Example:
        >>> with_suffix("plots/roc", (".png", ".svg"), "a figure")
        ('plots/roc.png', '.png')
    """
    if not isinstance(name, str):
        raise DataError(f"the name of {what} cannot be {name!r}", hint="name it by a text, such as 'plots/roc'")
    given = PurePosixPath(name).suffix
    if given.lower() in suffixes:
        return name, given.lower()
    if not given or not given[1:].isalpha():  # "auc_0.75" has no suffix, and neither has "v1.2"
        return name + suffixes[0], suffixes[0]
    several = ", ".join(suffixes)
    raise DataError(
        f"{what} cannot be kept as {name!r}: {given} is not one of {several}",
        hint=f"leave out the suffix, or use {suffixes[0]}",
    )
