"""Results of checks, drawn: as text with a bar for each, and as a small picture in notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, overload

from tinymlops.features.definitions.rules import shortened
from tinymlops.notebook import in_notebook
from tinymlops.tables import text_table

if TYPE_CHECKING:
    from tinymlops.records import CheckResult

__all__ = ["CheckResults"]

_BAR = 20
_SHOWN = 50
_WIDTH, _HEIGHT = 120, 10
_COLORS = {True: "#2a9d5c", False: "#c0392b", None: "#999999"}


class CheckResults(Sequence["CheckResult"]):
    """What rules said of batches.

    Args:
        results: In the order in which they are shown.
    """

    def __init__(self, results: Iterable[CheckResult]) -> None:
        self._results = list(results)

    def __len__(self) -> int:
        return len(self._results)

    @overload
    def __getitem__(self, place: int) -> CheckResult: ...
    @overload
    def __getitem__(self, place: slice) -> CheckResults: ...
    def __getitem__(self, place: int | slice) -> CheckResult | CheckResults:
        """Return one result, or some."""
        return CheckResults(self._results[place]) if isinstance(place, slice) else self._results[place]

    def __iter__(self) -> Iterator[CheckResult]:
        return iter(self._results)

    def __repr__(self) -> str:
        shown = self._results[:_SHOWN]
        rows = [[one.target, shortened(one.rule), _bar(one), _word(one), _counts(one)] for one in shown]
        more = [f"... and {len(self) - len(shown):,} more"] if len(self) > len(shown) else []
        return "\n".join([self._summary, *([text_table(rows)] if rows else []), *more])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in (one.target, shortened(one.rule)))}"
            f"<td>{_picture(one)}</td><td>{html.escape(f'{_word(one)} {_counts(one)}')}</td></tr>"
            for one in self._results[:_SHOWN]
        )
        return in_notebook(f"<table><caption>{html.escape(self._summary)}</caption>{rows}</table>")

    @property
    def _summary(self) -> str:
        failed = sum(one.passed is False for one in self._results)
        if not self._results:
            return "no results of checks yet"
        return f"{len(self):,} result{'s' if len(self) > 1 else ''}, {failed:,} not passed"


def _share(result: CheckResult) -> float:
    """Return the share of rows that pass; a rule about a batch passes or not."""
    if result.passed is None:
        return 0.0
    if not result.rows:
        return float(result.passed)
    return 1 - result.failed / result.rows


def _bar(result: CheckResult) -> str:
    if result.passed is None:
        return "-" * _BAR
    full = int(_share(result) * _BAR)
    return "█" * full + "░" * (_BAR - full)


def _word(result: CheckResult) -> str:
    return {True: "passed", False: result.action, None: "skipped"}[result.passed]


def _counts(result: CheckResult) -> str:
    if result.passed is None or not result.failed:
        return f"{result.rows:,} rows" + (f": {result.detail}" if result.detail else "")
    return f"{result.failed:,} of {result.rows:,} rows: {result.detail}"


def _picture(result: CheckResult) -> str:
    """Draw the share of rows that pass beside those that do not; one that does not is never too thin to be seen."""
    passing = _share(result) * _WIDTH
    if result.passed is False:
        passing = min(passing, _WIDTH - 2)
    rest = _COLORS[False] if result.passed is not None else _COLORS[None]
    return (
        f"<svg width='{_WIDTH}' height='{_HEIGHT}' role='img' aria-label='{_word(result)}'>"
        f"<rect width='{_WIDTH}' height='{_HEIGHT}' fill='{rest}'/>"
        f"<rect width='{passing:.1f}' height='{_HEIGHT}' fill='{_COLORS[True]}'/></svg>"
    )
