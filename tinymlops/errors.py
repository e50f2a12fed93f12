"""Every error that tinymlops raises on purpose.

TinyMLOpsError
├── DefinitionError            a definition is wrong, or differs from what was applied
├── NotFoundError              no such name (with the near match)
├── ConflictError              another process holds it or changed it first
├── DataError                  rows, keys or times that cannot be accepted
├── LeakageError               the future would reach a training set
├── IntegrityError             a stored file or row is not what was written
├── UntrustedModelError        a model holds a type that was not reviewed
├── MissingDependencyError     an optional package is not installed
├── AccessError                refused by an address, a host or a directory rule
├── UnavailableError           a server gives no answer, or cannot answer now
└── IngestError               an exception group: what went wrong at some of several sources

Each carries a `hint`: what to type next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from tinymlops.printable import printable

if TYPE_CHECKING:
    from tinymlops.records import Ingestion

__all__ = [
    "AccessError",
    "ConflictError",
    "DataError",
    "DefinitionError",
    "IngestError",
    "IntegrityError",
    "LeakageError",
    "MissingDependencyError",
    "NotFoundError",
    "TinyMLOpsError",
    "UnavailableError",
    "UntrustedModelError",
    "is_fault",
    "near",
]

_COMPARED = 100
"""The most characters of a name that are compared and shown: it may come from a client, as long as a request."""


class TinyMLOpsError(Exception):
    """The root: catch this one to catch all of them.

    Args:
        message: What is wrong, and with what.
        hint: What to do or type next; empty if there is nothing to add.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def message(self) -> str:
        """What is wrong, without the hint."""
        return str(self.args[0])

    def __str__(self) -> str:
        # A message may quote values, and ends in a terminal or a log.
        return printable(f"{self.message}\nHint: {self.hint}" if self.hint else self.message)


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


class UnavailableError(TinyMLOpsError):
    """A server that gives no answer, or cannot answer now."""


class IngestError(ExceptionGroup[TinyMLOpsError], TinyMLOpsError):
    """Several sources were to be ingested and some could not be; raised once the others are done.

    An exception group: `except* DataError` finds the errors of a kind.

    Args:
        errors: By the name of the source, or of the transformation, each with its cause.
        reports: The ingestions that went well, transformations that were rebuilt included.

    Example:
        >>> raised = IngestError({"orders": DataError("the file is gone")})
        >>> print(raised)
        1 source could not be ingested: orders
        orders: the file is gone
    """

    errors: dict[str, TinyMLOpsError]
    reports: list[Ingestion]

    def __new__(cls, errors: Mapping[str, TinyMLOpsError], reports: Sequence[Ingestion] = ()) -> Self:  # noqa: ARG004
        """Make the group."""
        several = "1 source" if len(errors) == 1 else f"{len(errors)} sources"
        return super().__new__(cls, f"{several} could not be ingested: {', '.join(errors)}", list(errors.values()))

    def __init__(self, errors: Mapping[str, TinyMLOpsError], reports: Sequence[Ingestion] = ()) -> None:
        self.errors = dict(errors)
        self.reports = list(reports)
        self.hint = "the other sources are ingested; correct these, and ingest them again"

    def __str__(self) -> str:
        lines = [f"{name}: {error.message}" for name, error in self.errors.items()]
        return printable("\n".join([self.message, *lines]))

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, TinyMLOpsError], list[Ingestion]]]:
        return type(self), (self.errors, self.reports)

    def derive(self, excs: Sequence[TinyMLOpsError]) -> IngestError:  # type: ignore[override]  # of our errors alone
        """Make a group of some of the errors, as `except*` requires."""
        chosen = {name: error for name, error in self.errors.items() if any(error is one for one in excs)}
        return IngestError(chosen, self.reports)

    def common_class(self) -> type[TinyMLOpsError]:
        """Return the nearest common class of all the errors."""
        first, *others = self.errors.values()
        classes = [cls for cls in type(first).__mro__ if all(isinstance(other, cls) for other in others)]
        return next(cls for cls in classes if issubclass(cls, TinyMLOpsError))


def is_fault(error: BaseException) -> bool:
    """Return whether an exception is a failure, not an interrupt or a cancellation.

    A failure is any `Exception`, a panic of a library written in Rust, or user code that exits.
    """
    return isinstance(error, Exception | SystemExit) or type(error).__module__ == "pyo3_runtime"


def near(name: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """Return the known name that a mistyped one most likely meant.

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
    names = sorted(one[:_COMPARED] for one in known)
    close = difflib.get_close_matches(name[:_COMPARED], names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    if otherwise or not names:
        return otherwise
    shown = ", ".join(names[:12])
    return f"known names: {shown}" + (", ..." if len(names) > 12 else "")
