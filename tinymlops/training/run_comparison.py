"""`ws.compare`: runs side by side, and of all that is known of them only what differs."""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, Any

from tinymlops.errors import NotFoundError, near
from tinymlops.notebook import in_notebook
from tinymlops.printable import printable
from tinymlops.tables import html_table, text_table
from tinymlops.training.run_facts import SECTIONS, Facts, facts_of, section_of
from tinymlops.training.run_table import column_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.records import Run
    from tinymlops.registry.runs import Runs
    from tinymlops.registry.runs.curves import Curve
    from tinymlops.training.best_of import Best
    from tinymlops.training.uncertainty import Paired

__all__ = ["RunComparison", "compare_runs"]

_SIDE_BY_SIDE = 5
"""So many runs are columns of a table; more are its rows."""
_ROWS, _COLUMNS, _WIDTH = 40, 12, 32
_PATCH_LINES = 20_000
_MISSING = object()


class RunComparison:
    """What differs between runs.

    Attributes:
        runs: The runs, in the order given.
        differing: Names of what differs, such as `params.depth`, by section.
        same: How many things are equal in all of them.
        facts: Of each run, everything that is known of it.
        patch: Of two runs, how the uncommitted changes of their code differ, as a unified diff; None for more, or no difference.
    """

    def __init__(
        self, context: Context, noun: Runs, runs: Sequence[Run], facts: Sequence[Facts], patch: str | None
    ) -> None:
        self._context, self._noun = context, noun
        self.runs = list(runs)
        self.facts = list(facts)
        self.patch = patch
        names = list(dict.fromkeys(name for one in facts for name in one))
        differing = [name for name in names if not _all_same([one.get(name, _MISSING) for one in facts])]
        self.differing = sorted(differing, key=lambda name: SECTIONS.index(section_of(name)))
        self.same = len(names) - len(differing)

    def __repr__(self) -> str:
        lines = [f"{len(self.runs)} runs: {len(self.differing)} things differ, {self.same} are the same"]
        if self.differing:
            lines.append(text_table(self._table()))
        return printable("\n".join([*lines, *self._notes()]))

    def _repr_html_(self) -> str:
        from html import escape

        caption = f"{len(self.runs)} runs: {len(self.differing)} things differ, {self.same} are the same"
        notes = "".join(f"<p>{escape(note)}</p>" for note in self._notes())
        patch = f"<pre>{escape(self.patch)}</pre>" if self.patch else ""
        return in_notebook(html_table(caption, self._table() if self.differing else []), notes, patch)

    def to_frame(self) -> pl.DataFrame:
        """Return a row for each run: `id`, `name`, and a column for everything that differs, null where a run lacks it."""
        import polars as pl

        columns = [pl.Series("id", [run.id for run in self.runs]), pl.Series("name", [run.name for run in self.runs])]
        names = [name for name in self.differing if name != "name"]
        columns += [column_of(name, [one.get(name) for one in self.facts]) for name in names]
        return pl.DataFrame(columns)

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold: of each run only what differs; what it lacks is left out."""
        return {
            "runs": [
                {"id": run.id, "name": run.name, **{name: one[name] for name in self.differing if name in one}}
                for run, one in zip(self.runs, self.facts, strict=True)
            ],
            "differing": self.differing,
            "same": self.same,
            "patch": self.patch,
            "notes": self._notes(),
        }

    def curves(
        self,
        metric: str,
        *,
        pixels: int = 1000,
        x: str = "step",
        start: float | None = None,
        stop: float | None = None,
    ) -> dict[str, Curve]:
        """Return the curve of a metric of each run that has it, by the run's id; each says how many of its points it shows.

        Args:
            metric: The metric's name.
            pixels: The width to draw them at.
            x: `step`, `time`, or the name of another metric.
            start: The first x to show.
            stop: The last x to show.

        Raises:
            NotFoundError: If none of the runs has it, with the near match.
        """
        self._require_metric(metric)
        return {
            run.id: self._noun.curve(run.id, metric, pixels=pixels, x=x, start=start, stop=stop)
            for run in self.runs
            if metric in run.metrics
        }

    def best(self, metric: str, *, noise: float | None = None) -> Best:
        """Return the best run by a metric, and how much of its lead is to be expected from luck alone.

        Args:
            metric: Its name, with `.best` or another part where that is meant.
            noise: The standard deviation of one run's value without a real difference; by default that inside the groups that
                the runs belong to, such as seeds of one configuration.

        Raises:
            NotFoundError: If none of the runs has the metric.
        """
        from tinymlops.training.best_of import best_run

        return best_run(self._noun, self.runs, metric, noise)

    def paired(self, metric: str) -> Paired:
        """Test two runs on the same rows: a metric with one value a row, the step being the row, such as the loss on it.

        The rows are matched by step and drawn again (`paired_bootstrap`); a positive mean says that the second run's values
        are greater.

        Raises:
            DataError: If there are more than two runs, a step has several values, or fewer than two steps are the same.
            NotFoundError: If neither of the runs has it.
        """
        from tinymlops.training.paired_rows import paired_rows

        self._require_metric(metric)
        return paired_rows(self._noun, self.runs, metric)

    def paired_models(self, name: str = "model") -> Paired:
        """Test the models of two runs on the same test rows; a positive mean says that the second one's loss is greater.

        The test rows are built again, and both models answer them: predictions are not kept. The loss of a row is -log(p) of
        what came true, 0 or 1 for classes without probabilities, and the squared error for numbers; the rows are drawn again
        (`paired_bootstrap`). Of two builds, rows that have the same keys, time and outcome are pairs.

        Args:
            name: What both runs logged their model as.

        Raises:
            DataError: If there are more than two runs, or they have no test rows in common.
            NotFoundError: If one has no such model, or rows of its training set are no longer kept.
        """
        from tinymlops.training.paired_models import paired_models

        return paired_models(self._context, self._noun, self.runs, name)

    def _require_metric(self, metric: str) -> None:
        known = {name for run in self.runs for name in run.metrics}
        if metric not in known:
            raise NotFoundError(f"none of these runs has a metric {metric!r}", hint=near(metric, known))

    def _notes(self) -> list[str]:
        notes = []
        builds = list(dict.fromkeys(one["data.build"] for one in self.facts if "data.build" in one))
        if len(builds) > 1:
            notes.append(f"why the training rows differ: tinymlops diff {builds[0][:12]} {builds[1][:12]}")
        if self.patch:
            count = sum(line.startswith(("+", "-")) for line in self.patch.splitlines())
            notes.append(f"their uncommitted changes differ in {count} lines: .patch")
        elif "code.patch" in self.differing:
            notes.append("their uncommitted changes differ; compare two of them to see how")
        return notes

    def _table(self) -> list[list[str]]:
        """The differences as text: runs as columns if there are few, else as rows, and no more than can be looked at."""
        if len(self.runs) <= _SIDE_BY_SIDE:
            rows = [["", *(f"{run.name} {run.id[:8]}" for run in self.runs)]]
            rows += [
                [name, *(_shown(one.get(name)) for one in self.facts)] for name in self.differing if name != "name"
            ]
            return rows
        names = [name for name in self.differing if name != "name"]
        rows = [["run", *names[:_COLUMNS]]]
        rows += [
            [f"{run.name} {run.id[:8]}", *(_shown(one.get(name)) for name in names[:_COLUMNS])]
            for run, one in list(zip(self.runs, self.facts, strict=True))[:_ROWS]
        ]
        more = [f"{len(self.runs) - _ROWS} more runs"] if len(self.runs) > _ROWS else []
        more += [f"{len(names) - _COLUMNS} more columns"] if len(names) > _COLUMNS else []
        if more:
            rows.append([f"... {', '.join(more)}: .to_frame()", *[""] * (len(rows[0]) - 1)])
        return rows


def compare_runs(context: Context, noun: Runs, runs: Sequence[Run]) -> RunComparison:
    """Compare runs.

    Args:
        context: The workspace's state.
        noun: Its runs.
        runs: Those to compare, at least two.
    """
    read = context.environment.blobs.read
    return RunComparison(context, noun, runs, facts_of(context, noun, runs), _patch_between(runs, read))


def _patch_between(runs: Sequence[Run], read: Callable[[str], bytes]) -> str | None:
    if len(runs) != 2 or runs[0].patch_sha256 == runs[1].patch_sha256:
        return None
    texts = ["" if run.patch_sha256 is None else read(run.patch_sha256).decode(errors="replace") for run in runs]
    before, after = (text.splitlines() for text in texts)
    if max(len(before), len(after)) > _PATCH_LINES:
        return f"one of the patches has more than {_PATCH_LINES:,} lines"
    left, right = (f"{run.name} {run.id[:8]}" for run in runs)
    return "\n".join(difflib.unified_diff(before, after, left, right, lineterm=""))


def _all_same(values: Sequence[Any]) -> bool:
    first = values[0]
    return all(_same(first, other) for other in values[1:])


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right):
        return True
    return left is right or (left == right and isinstance(left, bool) == isinstance(right, bool))


def _shown(value: Any) -> str:
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
