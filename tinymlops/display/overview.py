"""`show`: what there is to know of a workspace, as tables in a notebook and as text in a terminal."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from tinymlops.display.templating import OWN, templates
from tinymlops.display.today import Today, today_of
from tinymlops.display.words import ago, count_text, moment
from tinymlops.notebook import in_notebook
from tinymlops.printable import printable
from tinymlops.tables import text_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.context import Context
    from tinymlops.registry.jobs import Jobs
    from tinymlops.registry.models import Models

__all__ = ["Overview", "overview"]

_NEEDS = 20
_LONGEST = 240
"""Characters of what is said of one thing."""


class _Table(NamedTuple):
    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    instead: str
    """What is said where there is no row."""
    marks: bool = False
    """Whether the first cell of a row is a state."""


class Overview:
    """What there is to know of a workspace, as it was at a time.

    Attributes:
        today: What it is made of.
        at: When that was.
        workspace: The name of its directory.
    """

    def __init__(self, today: Today, at: datetime, workspace: str) -> None:
        self.today, self.at, self.workspace = today, at, workspace

    def __str__(self) -> str:
        lines = [self._head]
        for table in self._tables():
            lines += ["", table.title]
            lines += [text_table([table.head, *table.rows])] if table.rows else [table.instead]
        return printable("\n".join(lines))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        page = templates(OWN).get_template("overview.html").render(head=self._head, tables=self._tables())
        return in_notebook(page)

    @property
    def _head(self) -> str:
        return f"{self.workspace} at {moment(self.at)} UTC, Q={self.today.sequence:,}"

    def _tables(self) -> Sequence[_Table]:
        return (self._needs(), self._champions(), self._jobs(), self._runs(), self._sources())

    def _needs(self) -> _Table:
        needs = self.today.needs
        rows = [
            (one.word, one.what, one.kind, ago(one.since, self.at) if one.since else "", _short(one.told))
            for one in needs[:_NEEDS]
        ]
        title = f"Needs a look: {count_text(len(needs), 'thing')}" if needs else "Needs a look"
        looked = ", ".join(count_text(count, word) for count, word in self.today.looked_at)
        well = f"All is well: looked at {looked}." if looked else "Nothing here yet: apply a project."
        more = f"; the first {_NEEDS}" if len(needs) > _NEEDS else ""
        return _Table(title + more, ("State", "What", "Kind", "Since", "Why"), rows, well, marks=True)

    def _champions(self) -> _Table:
        rows = [
            (
                f"{one.alias.name}@v{one.alias.version}",
                ago(one.alias.changed_at, self.at),
                f"v{one.alias.previous}" if one.alias.previous else "",
                moment(one.known_until),
            )
            for one in self.today.champions
        ]
        return _Table("Champions", ("Model", "Since", "After", "Outcomes until"), rows, "No model is champion yet.")

    def _jobs(self) -> _Table:
        rows = [(one.word, one.state.job, ago(one.next, self.at)) for one in self.today.jobs]
        instead = "No job is due." if self.today.has_jobs else "No runner has seen a job yet."
        return _Table("Due next", ("State", "Job", "Due"), rows, instead, marks=True)

    def _runs(self) -> _Table:
        rows = [(one.name, one.id[:8], ago(one.started_at, self.at), one.user or "") for one in self.today.runs]
        title = "Running now" if self.today.are_all_runs else "Running now: the newest"
        return _Table(title, ("Run", "Id", "Began", "By"), rows, "No run goes on.")

    def _sources(self) -> _Table:
        rows = [
            (
                one.name,
                ago(one.came, self.at) if one.came else "never",
                ago(one.fresh.newest_event, self.at),
            )
            for one in self.today.sources
        ]
        more = f"; {self.today.more_sources:,} more have newer rows" if self.today.more_sources else ""
        return _Table(f"Sources{more}", ("Source", "Rows came", "Newest event"), rows, "There is no source yet.")


def overview(context: Context, models: Models, jobs: Jobs) -> Overview:
    """Return what there is to know now.

    Args:
        context: The workspace's state.
        models: Those that are registered.
        jobs: Those of the workspace.
    """
    today = today_of(context, models, jobs, may_read=True)
    return Overview(today, context.clock(), context.environment.path.name)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
