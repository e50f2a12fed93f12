"""`ws.checks`: the checks on data, what they found, and the rows that they keep aside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import DataError, NotFoundError, near
from tinymlops.features.definitions.rules import in_code
from tinymlops.features.definitions.specs import CheckSpec, SourceSpec, ViewSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.law.results import CheckResults
from tinymlops.registry.checks import list_quarantines, list_results, newest_results

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.features.intake.pushing import Pushed
    from tinymlops.features.law.proposing import Proposal
    from tinymlops.records import Ingestion, Quarantine

__all__ = ["Checks"]

_STATUSES = ("waiting", "released", "dropped")


class Checks:
    """The checks on data of a workspace; shown, it draws the last result of each rule.

    Args:
        context: Gives the workspace's state, by the definitions in force.
    """

    def __init__(self, context: Callable[[], Context]) -> None:
        self._context = context

    def __repr__(self) -> str:
        waiting = self.quarantined()
        rows = sum(one.rows for one in waiting)
        kept = f"\n{rows:,} rows wait in quarantine: ws.checks.quarantined()" if rows else ""
        return f"{self._newest()!r}{kept}"

    def _repr_html_(self) -> str:
        return self._newest()._repr_html_()

    def list(self) -> list[CheckSpec]:
        """Return the checks in force, in the order of their definitions."""
        return list(self._context().definitions.of(CheckSpec).values())

    def results(self, target: str | None = None, *, limit: int | None = 100, before: int | None = None) -> CheckResults:
        """Return what rules said of batches, the newest first; of pushes only what did not pass is kept.

        Args:
            target: Only of this source, transformation or feature view.
            limit: At most so many; None for all.
            before: Only those before this `id`: the next page.

        Raises:
            NotFoundError: If there is no such target, with the near match.
        """
        context = self._context()
        if target is not None:
            _require_target(context, target)
        return CheckResults(list_results(context.environment.database, target, limit=limit, before=before))

    def quarantined(
        self,
        source: str | None = None,
        *,
        status: str | None = "waiting",
        limit: int | None = None,
        after: int | None = None,
    ) -> builtins.list[Quarantine]:
        """Return the batches of rows that were kept aside, in the order in which they came.

        Args:
            source: Only of this source.
            status: Those that are "waiting", "released" or "dropped"; None for all.
            limit: At most so many; None for all.
            after: Only those after this `id`: the next page.

        Raises:
            NotFoundError: If there is no such source, with the near match.
            DataError: If there is no such status.
        """
        if status not in (None, *_STATUSES):
            raise DataError(f"no quarantine is {status!r}", hint=f"they are {', '.join(_STATUSES)}; None for all")
        context = self._context()
        place = None
        if source is not None:
            place = place_of(context.environment.database, context.definitions.get(SourceSpec, source).name)
        return list_quarantines(context.environment.database, place=place, status=status, limit=limit, after=after)

    def rows(self, quarantine: int) -> pl.DataFrame:
        """Return the rows of a quarantine: the source's columns, `__row`, and `__rules` with what each did not pass.

        `__row` is the number to choose a row by; it stays when others are released or dropped.

        Args:
            quarantine: Its number.

        Raises:
            NotFoundError: If there is none of this number.
            ConflictError: If its rows were released or dropped.
        """
        from tinymlops.features.intake.releasing import rows_of

        return rows_of(self._context(), quarantine)

    def release(
        self,
        quarantine: int,
        *,
        ids: Iterable[object] | None = None,
        rows: Iterable[int] | None = None,
        replace_newer: bool = False,
    ) -> Ingestion | Pushed:
        """Let rows of a quarantine go in as if they came now; what came again meanwhile is known.

        All of it is done, or nothing. The rows that are not chosen wait on under the same number.

        Args:
            quarantine: Its number.
            ids: Only the rows of these events, by the source's id.
            rows: Only these rows, by `__row` of `rows()`. Without both, all.
            replace_newer: Let them take the place of other versions of their events that were stored with them or
                since. Without it that is refused.

        Raises:
            NotFoundError: If there is none of this number, or it has no such row.
            ConflictError: If its rows were released or dropped, or one would take the place of a newer version.
            DataError: If they do not fit the rows that the source has by now.
        """
        from tinymlops.features.intake.releasing import release

        return release(self._context(), quarantine, ids=ids, rows=rows, replace_newer=replace_newer)

    def drop(
        self, quarantine: int, *, ids: Iterable[object] | None = None, rows: Iterable[int] | None = None
    ) -> Quarantine:
        """Give up rows of a quarantine; the same rows stay out when they come again.

        Args:
            quarantine: Its number.
            ids: Only the rows of these events, by the source's id.
            rows: Only these rows, by `__row` of `rows()`. Without both, all.

        Returns:
            What stays of them: the quarantine, or where others of it wait on, a record of their own.

        Raises:
            NotFoundError: If there is none of this number, or it has no such row.
            ConflictError: If its rows were released or dropped.
        """
        from tinymlops.features.intake.releasing import drop

        return drop(self._context(), quarantine, ids=ids, rows=rows)

    def run(self, target: str | None = None) -> CheckResults:
        """Ask the checks in force about the rows that are stored, or the features of now; rows stay where they are.

        Args:
            target: A source, a transformation or a feature view; None for all that have checks and rows.

        Returns:
            What each rule says; it is recorded too.

        Raises:
            NotFoundError: If there is no such target, or it has no checks.
            DataError: If a check reads a column that is not there, or cannot be computed.
        """
        from tinymlops.features.law.asking import ask

        context = self._context()
        if target is not None:
            _require_target(context, target)
        return CheckResults(ask(context, target))

    def infer(self, source: str) -> Proposal:
        """Propose checks on a source that all of its stored rows pass.

        Args:
            source: A source or a transformation.

        Returns:
            The rules, shown as code to paste.

        Raises:
            NotFoundError: If there is no such source, or it has no rows.
        """
        from tinymlops.features.law.proposing import propose

        return propose(self._context(), source)

    def _newest(self) -> CheckResults:
        context = self._context()
        known = {
            (spec.name, in_code(rule)) for spec in context.definitions.of(CheckSpec).values() for rule in spec.rules
        }
        found = newest_results(context.environment.database)
        return CheckResults([one for one in found if (one.definition, one.rule) in known])


def _require_target(context: Context, target: str) -> None:
    known = {*context.definitions.of(SourceSpec), *context.definitions.of(ViewSpec)}
    if target not in known:
        raise NotFoundError(f"there is no source or feature view {target!r}", hint=near(target, known))
