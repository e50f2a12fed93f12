"""The rule of what is visible at a time, in plain Python: record by record, without the kernels that it is held against.

All times are whole microseconds UTC. A record of a source has an event time `e`, from which on it is `available`, a
created time `c` or None, a sequence `n`, and perhaps an id; of the records of one id only the greatest (c, n) counts.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tinymlops.features.join.record_times import delay_micros

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.features.definitions.specs import SourceSpec

__all__ = ["ALWAYS", "ByEvent", "Records", "available", "of_rows", "visible"]

ALWAYS = float("-inf")
"""The time of records without one, and of a created time that is null: before every other."""
_NEVER = float("inf")


class Records(NamedTuple):
    """Records as plain lists, of equal length."""

    event: Sequence[float]
    available: Sequence[float]
    """When each can first be known."""
    replaces: Sequence[float]
    """From when on each takes the place of the lesser versions of its id."""
    order: Sequence[tuple[float, int]]
    """(c, n) of each."""
    id: Sequence[Hashable]
    """None for a record that replaces nothing and is never replaced."""
    deleted: Sequence[bool]
    repeated: frozenset[Hashable]
    """The ids of several records."""


def available(event: int | None, created: int | None, delay: int, known: str) -> float:
    """Return when a record can first be known.

    Args:
        event: Its event time; None for a record of a static source.
        created: Its created time.
        delay: How long after its event it can be known.
        known: By what the records of its source count as known: `event`, `observed` or `latest`.

    Example:
        >>> available(10, 30, 5, "event"), available(10, 30, 5, "latest"), available(10, None, 5, "event")
        (30, 15, inf)
    """
    if event is None:
        return ALWAYS
    if known == "latest":
        return event + delay
    if created is None:
        return _NEVER if known == "event" else event + delay
    return max(event + delay, created)


def of_rows(rows: pl.DataFrame, source: SourceSpec) -> Records:
    """Make records of a source's rows.

    Args:
        rows: With `__event`, `__created`, `__sequence` and `__deleted`.
        source: By which they are read.
    """
    events, created = rows["__event"].to_list(), rows["__created"].to_list()
    if source.timestamp is None:
        events = [None] * rows.height
    delays = [source.delay] * rows.height
    if source.delay_column is not None:
        delays = delay_micros(rows[source.delay_column]).tolist()
    known = source.knowledge
    first = [available(e, c, delay, known) for e, c, delay in zip(events, created, delays, strict=True)]
    # What is observed to have changed is so from then on, also if the event that it has now is still to come.
    observed = known == "observed" and source.timestamp is not None
    counted = Counter[Hashable]()
    ids = rows[source.id].to_list() if source.id is not None else [None] * rows.height
    if source.id is not None and rows[source.id].drop_nulls().is_duplicated().any():
        counted.update(ids)
    return Records(
        event=[ALWAYS if e is None else e for e in events],
        available=first,
        replaces=[c if observed and c is not None else a for c, a in zip(created, first, strict=True)],
        order=[(ALWAYS if c is None else c, n) for c, n in zip(created, rows["__sequence"].to_list(), strict=True)],
        id=ids,
        deleted=rows["__deleted"].to_list(),
        repeated=frozenset(one for one, count in counted.items() if one is not None and count > 1),
    )


def visible(records: Records, places: Iterable[int], time: int, *, strict: bool) -> list[int]:
    """Return the records that are the facts at a time, in the order of their places.

    Args:
        records: Of one source.
        places: Those of one key.
        time: The time of the prediction.
        strict: Whether a record that becomes known at that very time is left out.

    Example:
        >>> two = Records([1, 1], [1, 5], [1, 5], [(1, 1), (5, 2)], ["a", "a"], [False, False], frozenset("a"))
        >>> visible(two, [0, 1], 4, strict=True), visible(two, [0, 1], 5, strict=True), visible(two, [0, 1], 6, strict=True)
        ([0], [0], [1])
    """
    since, ids, deleted, repeated = records.available, records.id, records.deleted, records.repeated
    places = list(places)
    seen = [i for i in places if (since[i] < time if strict else since[i] <= time)]
    seen = [i for i in seen if not deleted[i] or ids[i] is None]  # with an id, it takes that event back
    if not repeated:
        return seen
    newest: dict[Hashable, tuple[float, int]] = {}
    for i in places:
        if ids[i] in repeated and (records.replaces[i] < time if strict else records.replaces[i] <= time):
            newest[ids[i]] = max(newest.get(ids[i], records.order[i]), records.order[i])
    return [i for i in seen if ids[i] not in newest or records.order[i] >= newest[ids[i]]]


class ByEvent:
    """The records of one key, to leave out those that cannot matter at a time.

    Of an id with several versions each may end another, wherever its own event is: these are always kept. All other records
    stand for themselves, and none is available before its event.

    Args:
        records: Of one source.
        places: Those of the key.

    Example:
        >>> three = Records([1, 5, 9], [1, 5, 9], [1, 5, 9], [(1, 1), (5, 2), (9, 3)], [None] * 3, [False] * 3, frozenset())
        >>> ByEvent(three, [0, 1, 2]).near(6, reach=2), ByEvent(three, [0, 1, 2]).near(6, reach=None)
        ([1], [0, 1])
    """

    def __init__(self, records: Records, places: Iterable[int]) -> None:
        several = {True: list[int](), False: list[int]()}
        for place in places:
            several[records.id[place] in records.repeated].append(place)
        self._several, self._alone = several[True], sorted(several[False], key=records.event.__getitem__)
        self._events = [records.event[place] for place in self._alone]

    def near(self, time: int, reach: int | None) -> list[int]:
        """Return the places that may matter at a time to what looks back no further than `reach`, in their order."""
        since = 0 if reach is None else bisect_left(self._events, time - reach)
        return sorted([*self._alone[since : bisect_right(self._events, time)], *self._several])
