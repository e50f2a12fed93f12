"""Ingest several sources so that a failure of one does not stop the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import DataError, IngestError, TinyMLOpsError, is_fault
from tinymlops.features.definitions.code import told

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tinymlops.records import Ingestion

__all__ = ["Attempts"]


class Attempts:
    """The result of each source: a report, or an error that is raised when all are done.

    Args:
        root: The project's directory: errors name lines of its code.
    """

    def __init__(self, root: Path) -> None:
        self.reports: list[Ingestion] = []
        self.errors: dict[str, TinyMLOpsError] = {}
        self._root = root

    def make(self, source: str, work: Callable[[], Ingestion | None]) -> None:
        """Run the work; keep its report, or its error, under the source's name."""
        try:
            report = work()
        except BaseException as error:  # the user's code, and the libraries it calls, may raise anything
            if not is_fault(error):
                raise
            self.errors[source] = self._named(source, error)
        else:
            self.reports += [] if report is None else [report]

    def give(self, *, asked: int) -> list[Ingestion]:
        """Return the reports.

        Args:
            asked: How many sources were to be ingested.

        Raises:
            IngestError: If some could not be ingested; if only one was asked for, its own error instead.
        """
        if not self.errors:
            return self.reports
        (first, *others) = self.errors.values()
        if asked == 1 and not others:
            raise first
        raise IngestError(self.errors, self.reports)

    def _named(self, source: str, error: BaseException) -> TinyMLOpsError:
        if isinstance(error, TinyMLOpsError):
            if repr(source) not in error.message:
                error.args = (f"source {source!r}: {error.message}",)
            return error
        named = DataError(
            f"source {source!r} cannot be ingested: {told(error, self._root)}",
            hint=f"correct that, then ingest it again: tinymlops ingest {source}, or ws.ingest({source!r})",
        )
        named.__cause__ = error
        return named
