"""Find runs: by what rests on rows that are what was written, so that a damaged one is never silently left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops._warn import warn
from tinymlops.errors import near
from tinymlops.records import Experiment, MetricSummary, RunRow
from tinymlops.registry.run_search.conditions import MAPS, Condition, Field, Order, fields_of, metric_names
from tinymlops.registry.run_search.parser import parse, parse_order
from tinymlops.registry.run_search.sql import compile_search
from tinymlops.stores.verified_rows import verified_rows
from tinymlops.times import system_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from tinymlops.stores.database import Database
    from tinymlops.times import Clock

__all__ = ["find_runs"]


def find_runs(
    database: Database,
    where: str | Condition | None = None,
    order_by: str | Sequence[str | Order] = "-started_at",
    limit: int | None = None,
    offset: int = 0,
    *,
    clock: Clock = system_clock,
    lost: Callable[[], Collection[str]] = frozenset,
    tell: Callable[[str], None] = warn,
) -> list[str]:
    """Return the ids of the matching runs, in order.

    Every row that the search rests on is compared with its checksum: all runs, and all rows of the metrics that are named,
    each once in the life of a process and after each change.

    Args:
        database: Of the workspace.
        where: The text of a search, or conditions; None for every run that is not in the trash.
        order_by: Fields, each descending with a leading minus; runs without one come last.
        limit: The most runs to return; None for all.
        offset: How many to leave out before them.
        clock: What `now` is.
        lost: Returns the ids of runs that are stored as running and are lost; called only where `status` is a field.
        tell: Called with a text about each name that no run has.

    Raises:
        DataError: If the search or the order cannot be read.
        IntegrityError: If a row that it rests on is not what was written.
    """
    condition = where if isinstance(where, Condition) else parse(where, clock=clock)
    order = parse_order(order_by)
    fields = [*fields_of(condition), *(one.field for one in order)]
    names = [field.name for field in fields if field.group == "run"]
    sql, bound = compile_search(condition, order, limit, offset, lost=lost() if "status" in names else ())
    verified = verified_rows(database)
    runs = verified.require(RunRow, key="id")
    for name in metric_names(condition, order):
        verified.require_within(
            MetricSummary, key="run", column="name", value=name, index="metric_summaries_run", complete=runs
        )
    if "experiment" in names:
        database.require_rows(Experiment)
    found: list[str] = [row[0] for row in database.rows(sql, bound)]
    ordered = {one.field for one in order}
    for field in dict.fromkeys(
        field for field in fields if runs and field.group in MAPS and (not found or field in ordered)
    ):
        _tell_of_unknown(database, field, tell)
    return found


def _tell_of_unknown(database: Database, field: Field, tell: Callable[[str], None]) -> None:
    """Tell of a name that no run has: most likely it is misspelled, but a search may also come before the first such run."""
    if field.group == "metrics":
        ((is_known,),) = database.rows("SELECT EXISTS (SELECT 1 FROM metric_summaries WHERE name = ?)", [field.name])
        names = _METRIC_NAMES
    else:
        ((is_known,),) = database.rows(
            f"SELECT EXISTS (SELECT 1 FROM runs WHERE json_type({field.group}, ?) IS NOT NULL)", [f'$."{field.name}"']
        )
        names = f"SELECT DISTINCT key FROM runs, json_each(runs.{field.group})"
    if not is_known:
        hint = _hint(field, [row[0] for row in database.rows(names)])
        tell(f"no run has {field.group}.{field.name}" + (f"; {hint}" if hint else ""))


def _hint(field: Field, known: list[str]) -> str:
    whole = f"{field.name}.{field.part}"
    if field.group == "metrics" and whole in known:
        return f'write metrics."{whole}"'
    other_case = [name for name in known if name.casefold() == field.name.casefold()]
    return f"did you mean {other_case[0]!r}?" if other_case else near(field.name, known)


# One look for each name, whatever the number of runs.
_METRIC_NAMES = """
    WITH RECURSIVE names (name) AS (
        SELECT min(name) FROM metric_summaries
        UNION ALL SELECT (SELECT min(name) FROM metric_summaries AS next WHERE next.name > names.name) FROM names
        WHERE names.name IS NOT NULL
    ) SELECT name FROM names WHERE name IS NOT NULL
"""
