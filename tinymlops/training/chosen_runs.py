"""Which runs are meant: some of them by name, a group, or a search."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tinymlops.errors import DataError, near
from tinymlops.registry.run_search import Compare, Field

if TYPE_CHECKING:
    from tinymlops.records import Run
    from tinymlops.registry.runs import Runs
    from tinymlops.training.tracking import ActiveRun

__all__ = ["chosen_runs"]


def chosen_runs(runs: Runs, chosen: str | Iterable[ActiveRun | Run | str]) -> list[Run]:
    """Return the runs that are meant, each once.

    Args:
        runs: Of the workspace.
        chosen: Runs, their ids, the beginnings of these, or names; or one text: a group, or a search.

    Raises:
        DataError: If there are fewer than two, or the search cannot be read.
        NotFoundError: If there is no such run.
    """
    found = _searched(runs, chosen) if isinstance(chosen, str) else [runs.get(_id_of(one)) for one in chosen]
    found = list({run.id: run for run in found}.values())
    if len(found) < 2:
        what = f"{chosen!r:.200} finds" if isinstance(chosen, str) else "these are"
        raise DataError(
            f"{what} {len(found) or 'no'} run{'' if len(found) == 1 else 's'}: there is nothing to compare",
            hint='name two runs or more, a group, or a search such as "params.depth > 3"',
        )
    return found


def _searched(runs: Runs, text: str) -> list[Run]:
    group = runs.search(Compare(Field("run", "group"), "=", text), order_by="started_at", limit=None) if text else []
    if group:
        return group
    try:
        return runs.search(text, order_by="started_at", limit=None)
    except DataError as error:
        known = {run.group for run in runs.search("group is not null", limit=None) if run.group is not None}
        raise DataError(
            f"there is no group {text!r:.200}, and as a search it cannot be read: {error.message}",
            hint=near(text, known, otherwise=error.hint),
        ) from error


def _id_of(run: ActiveRun | Run | str) -> str:
    return run if isinstance(run, str) else run.id
