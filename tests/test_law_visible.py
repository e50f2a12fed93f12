"""The plain rule of the linter says the same as the test suite's oracle, which was written apart from it."""

import oracle
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.law.visible import of_rows, visible

TIMES = st.integers(0, 6)
ROWS = st.lists(st.tuples(TIMES, st.none() | TIMES, st.none() | st.sampled_from("ab"), st.booleans()), max_size=8)
TYPES = {"id": pl.String, "__event": pl.Int64, "__created": pl.Int64, "__deleted": pl.Boolean, "__sequence": pl.Int64}


def frame(rows):
    columns = {"id": [], "__event": [], "__created": [], "__deleted": [], "__sequence": []}
    for n, (e, c, identifier, deleted) in enumerate(rows, 1):
        for name, value in zip(columns, (identifier, e, c, deleted, n), strict=True):
            columns[name].append(value)
    return pl.DataFrame(columns, schema=TYPES)


@given(rows=ROWS, time=TIMES, strict=st.booleans(), delay=st.integers(0, 2), known=st.sampled_from(["event", "latest"]))
def test_what_is_visible_is_what_the_oracle_says(rows, time, strict, delay, known):
    source = SourceSpec(
        name="s", via="sql", timestamp="at", id="id", created="c" if known == "event" else None, delay=delay
    )
    if known == "latest":
        rows = [(e, None, identifier, deleted) for e, _, identifier, deleted in rows]
    records = [
        oracle.Row(
            key="k",
            id=identifier,
            e=e,
            available=oracle.FOREVER if known == "event" and c is None else max(e + delay, c or 0),
            c=oracle.NEVER if c is None else c,
            n=n,
            deleted=deleted,
        )
        for n, (e, c, identifier, deleted) in enumerate(rows, 1)
    ]
    expected = [
        row.n for row in oracle.visible(records, "k", time, strict=strict) if not (row.deleted and row.id is not None)
    ]
    found = visible(of_rows(frame(rows), source), range(len(rows)), time, strict=strict)
    assert [place + 1 for place in found] == expected


def test_what_is_observed_to_have_changed_ends_the_version_before_though_its_event_is_still_to_come():
    source = SourceSpec(name="s", via="sql", timestamp="at", id="id", known="observed")
    records = of_rows(frame([(1, None, "a", False), (9, 4, "a", False)]), source)
    seen = {time: visible(records, [0, 1], time, strict=False) for time in (3, 4, 9)}
    assert seen == {3: [0], 4: [], 9: [1]}


def test_rows_of_a_static_source_are_always_visible():
    source = SourceSpec(name="s", via="sql", timestamp=None)
    records = of_rows(frame([(None, None, None, False)]), source)
    assert visible(records, [0], 0, strict=True) == [0]
