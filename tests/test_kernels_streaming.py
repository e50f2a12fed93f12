"""Records in any order, in any number of batches, over parts of the spine as small as one bucket."""

from __future__ import annotations

import numpy as np
import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle import FOREVER, NEVER, Row, oracle_latest
from streamed import latest_unsorted

from tinymlops.kernels import streaming
from tinymlops.kernels.streaming import Stream
from tinymlops.kernels.threads import set_threads

ENDS = [NEVER, NEVER + 1, -62_135_596_800_000_000, 253_402_300_799_999_999, FOREVER - 1, FOREVER]
"""The ends of int64, and of the years 1 and 9999."""
TIMES = st.one_of(st.integers(-3, 40), st.integers(-3, 40), st.sampled_from(ENDS))
KEYS = st.sampled_from([5, 5, 5, 5, 6, 7, 9, 4, 10, -1, 2**63 - 1, -(2**63)])
LOW, COUNT = 5, 5


@st.composite
def problems(draw):
    """Spine points and records as (key, event, delay or available, created)."""
    points = draw(st.lists(st.tuples(KEYS, TIMES), max_size=40))
    records = draw(st.lists(st.tuples(KEYS, TIMES, TIMES, st.integers(0, 2)), max_size=40))
    return points, records


def int64(values):
    return np.array(list(values), np.int64)


@examples(600)
@given(
    problem=problems(),
    strict=st.booleans(),
    delay=st.sampled_from([None, 0, 0, 3, 2**62]),
    ties=st.booleans(),
    ttl=st.sampled_from([None, 1, 7, 2**62]),
    batch=st.integers(1, 9),
)
def test_a_stream_finds_what_the_oracle_says(problem, strict, delay, ties, ttl, batch):
    points, records = problem
    rows = []
    for n, (key, event, available, created) in enumerate(records):
        known = available if delay is None else min(event + delay, FOREVER)
        rows.append(Row(key, None, event, known, created if ties else NEVER, n))
    stream = Stream(
        int64(key for key, _ in points), int64(time for _, time in points), keys=COUNT, low=LOW, strict=strict,
        delay=delay, created=ties,
    )  # fmt: skip
    for start in range(0, len(records), batch):
        key, event, available, created = (int64(column) for column in zip(*records[start : start + batch], strict=True))
        stream.add(key, event, available if delay is None else None, created if ties else None)
    found = stream.winners(ttl)
    for row, (key, time) in zip(found, points, strict=True):
        inside = key if LOW <= key < LOW + COUNT else None
        expected = oracle_latest(rows, inside, time, strict=strict, ttl=ttl, keep=False)
        assert (rows[row] if row >= 0 else None) == expected


def table(keys, *, rows=150_000, points=60_000, spread=10_000):
    """Keys as a function of a random generator and a size; some records late, some never, with many ties."""
    rng = np.random.default_rng(11)
    event = rng.integers(0, spread, rows)
    available = np.where(rng.random(rows) < 0.1, event + rng.integers(0, 500, rows), event)
    available[rng.random(rows) < 0.01] = FOREVER
    return {
        "key": keys(rng, points),
        "time": rng.integers(0, spread + 500, points),
        "record_key": keys(rng, rows),
        "event": event,
        "available": available,
        "created": rng.integers(0, 3, rows),
    }


def brute_force(table, ttl):
    """The winners by sorting all records of a key for each of its spine rows."""
    answer = np.full(len(table["key"]), -1, np.int64)
    order = np.lexsort((np.arange(len(table["event"])), table["created"], table["event"]))
    for key in np.unique(table["key"][table["key"] >= 0]):
        mine = order[table["record_key"][order] == key]
        event, available = table["event"][mine], table["available"][mine]
        for row in np.flatnonzero(table["key"] == key)[:50]:
            seen = np.flatnonzero((available <= table["time"][row]) & (available != FOREVER))
            hit = seen.size and event[seen[-1]] >= table["time"][row] - ttl
            answer[row] = mine[seen[-1]] if hit else -1
    return answer


SHAPES = {
    "one key": lambda rng, n: np.zeros(n, np.int64),
    "few keys and nulls": lambda rng, n: rng.integers(-1, 40, n),
    "skewed keys": lambda rng, n: np.minimum(rng.zipf(1.3, n) - 1, 200),
    "a key for each row": lambda rng, n: rng.integers(0, 200_000, n),
}


@pytest.fixture
def threads():
    yield set_threads
    set_threads(None)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spread", [3, 10_000])
def test_neither_threads_nor_batches_change_an_answer(shape, spread, threads, monkeypatch):
    problem = table(SHAPES[shape], spread=spread)
    keys = int(max(problem["key"].max(), problem["record_key"].max())) + 1
    answers = []
    for count, batch, bits in [(1, 1 << 22, 13), (2, 1 << 22, 13), (3, 1, 4)]:
        threads(count)
        monkeypatch.setattr(streaming, "_BATCH", batch)
        monkeypatch.setattr(streaming, "_PART_BITS", bits)
        answers.append(latest_unsorted(**problem, keys=keys, strict=False, ttl=300))
    assert all(np.array_equal(answers[0], answer) for answer in answers)
    if keys <= 201:
        expected = brute_force(problem, 300)
        checked = np.concatenate([np.flatnonzero(problem["key"] == key)[:50] for key in range(keys)])
        assert np.array_equal(answers[0][checked], expected[checked])


def test_more_records_than_a_batch_holds_are_visited_in_turn(monkeypatch):
    problem = table(SHAPES["few keys and nulls"], points=500)
    whole = latest_unsorted(**problem, keys=40, strict=True)
    monkeypatch.setattr(streaming, "_BATCH", 20_000)
    assert np.array_equal(latest_unsorted(**problem, keys=40, strict=True), whole)


def test_a_stream_without_spine_rows_or_records_finds_nothing():
    nothing = np.empty(0, np.int64)
    stream = Stream(nothing, nothing, keys=0)
    stream.add(int64([1, 2]), int64([1, 2]))
    assert stream.winners().tolist() == []
    assert Stream(int64([0, 7]), int64([1, 1]), keys=1).winners(5).tolist() == [-1, -1]
