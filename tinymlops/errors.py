"""Every error that tinymlops raises on purpose.

TinyMLOpsError
├── DefinitionError            a definition is wrong, or differs from what was applied
├── NotFoundError              no such name (with the near match)
├── ConflictError              somebody else holds it or changed it first
├── DataError                  rows, keys or times that cannot be accepted
├── LeakageError               the future would reach a training set
├── IntegrityError             a stored file or row is not what was written
├── UntrustedModelError        a model holds a type that nobody reviewed
├── MissingDependencyError     an optional package is not installed
└── AccessError                refused by an address, a host or a directory rule

Each carries a `hint`: what to type next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AccessError",
    "ConflictError",
    "DataError",
    "DefinitionError",
    "IntegrityError",
    "LeakageError",
    "MissingDependencyError",
    "NotFoundError",
    "TinyMLOpsError",
    "UntrustedModelError",
    "near",
]


class TinyMLOpsError(Exception):
    """The root: catch this one to catch all of them.

    Args:
        message: What is wrong, naming the thing it is wrong with.
        hint: What to do or type next; empty if there is nothing to add.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nHint: {self.hint}" if self.hint else self.message


class DefinitionError(TinyMLOpsError):
    """A definition is wrong, or is not the one that was applied."""


class NotFoundError(TinyMLOpsError):
    """A name, version or path does not exist."""


class ConflictError(TinyMLOpsError):
    """Another writer, process or port holder was first."""


class DataError(TinyMLOpsError):
    """Rows, keys, times or request fields that cannot be accepted as they are."""


class LeakageError(TinyMLOpsError):
    """Information from after the prediction time would reach a training set."""


class IntegrityError(TinyMLOpsError):
    """A stored file or row is not what was written."""


class UntrustedModelError(TinyMLOpsError):
    """A model file holds a type outside the reviewed list."""


class MissingDependencyError(TinyMLOpsError):
    """An optional package is needed and not installed."""


class AccessError(TinyMLOpsError):
    """An address, host or directory that the rules do not allow."""


def near(name: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """Say which known name a mistyped one most likely meant.

    Args:
        name: The name as typed.
        known: The names that exist.
        otherwise: The hint when nothing is similar; by default the known names are listed.

    Returns:
        A sentence for `hint=`.

    Example:
        >>> near("wheather", ["weather", "planes"])
        "did you mean 'weather'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    if otherwise or not names:
        return otherwise
    shown = ", ".join(names[:12])
    return f"known names: {shown}" + (", ..." if len(names) > 12 else "")
