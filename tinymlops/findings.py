"""What a linter says: findings, each with what to do about it, and those that the project allows with a reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from tinymlops.notebook import in_notebook
from tinymlops.tables import html_list, html_table

if TYPE_CHECKING:
    from tinymlops.config import Allowed

__all__ = ["Finding", "Level", "LintReport", "sorted_out"]

Level = Literal["leak", "impurity", "warning", "note"]
"""A leak lets the future in; an impurity gives other values the next time; a warning may be either; a note is neither."""

_ORDER = ("leak", "impurity", "warning", "note")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong, or may be.

    Example:
        >>> found = Finding(rule="auc", level="warning", where="delays.taxi", message="taxi alone has AUC 0.99", fix="...")
        >>> found.name
        'auc:delays.taxi'
    """

    rule: str
    level: Level
    where: str
    """The definition, and the feature where it is one's: `training set.feature`, or `source`."""
    message: str
    fix: str
    """What to do about it."""
    feature: str | None = None
    row: dict[str, Any] | None = None
    """The spine row that shows it: its number, its keys and its time."""
    record: dict[str, Any] | None = None
    """The record that the row could not know: its source, id, event time, and when it became known."""
    rows: int | None = None
    """How many of the rows that were looked at show it."""
    reason: str = ""
    """Why the project allows it; empty where it does not."""

    @property
    def name(self) -> str:
        """What the allow-list of `tinymlops.toml` calls it."""
        return f"{self.rule}:{self.where}"

    def __str__(self) -> str:
        lines = [f"{self.level} {self.name}: {self.message}"]
        lines += [f"  row: {_in_words(self.row)}"] if self.row else []
        lines += [f"  record: {_in_words(self.record)}"] if self.record else []
        return "\n".join([*lines, f"  allowed: {self.reason}" if self.reason else f"  fix: {self.fix}"])


class LintReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a linter looked at and found."""

    findings: list[Finding]
    """What is not allowed, the worst first; notes are among them."""
    allowed: list[Finding]
    """What the project allows, each with its reason."""
    training_sets: list[str]
    """Those that were looked at."""
    services: list[str]
    """Those whose features were looked at."""
    replayed: int
    """Spine rows whose features were computed again from what could be known."""
    run_twice: int
    """Definitions that were run twice."""

    @property
    def clean(self) -> bool:
        """Whether nothing but notes was found."""
        return all(finding.level == "note" for finding in self.findings)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.findings), *map(str, self.allowed), self._summary])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [(one.level, one.name, one.message, one.fix) for one in self.findings]
        allowed = html_list([f"{one.name} is allowed: {one.reason}" for one in self.allowed])
        return in_notebook(html_table(self._summary, rows), allowed)

    @property
    def _summary(self) -> str:
        counts = [(sum(one.level == level for one in self.findings), level) for level in _ORDER]
        found = ", ".join(_counted(count, level) for count, level in counts if count) or "nothing"
        looked = [_counted(len(self.training_sets), "training set"), _counted(self.replayed, "replayed row")]
        looked += [_counted(len(self.services), "service")] if self.services else []
        looked += [_counted(self.run_twice, "definition") + " run twice"] if self.run_twice else []
        return f"{found} found{f', {len(self.allowed)} allowed' if self.allowed else ''}; {', '.join(looked)}"


def sorted_out(found: Iterable[Finding], allowed: Iterable[Allowed]) -> tuple[list[Finding], list[Finding]]:
    """Tell what a project allows from what it does not.

    Args:
        found: Each once or more.
        allowed: The allow-list of `tinymlops.toml`.

    Returns:
        What is not allowed, the worst first, and what is, with the reasons.
    """
    reasons = {one.finding: one.reason for one in allowed}
    once = {(one.name, one.message): one for one in found}
    ranked = sorted(once.values(), key=lambda one: _ORDER.index(one.level))
    kept = [one for one in ranked if one.name not in reasons]
    excused = [msgspec.structs.replace(one, reason=reasons[one.name]) for one in ranked if one.name in reasons]
    return kept, excused


def _counted(count: int, what: str) -> str:
    many = "impurities" if what == "impurity" else f"{what}s"
    return f"{count:,} {what if count == 1 else many}"


def _in_words(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())
