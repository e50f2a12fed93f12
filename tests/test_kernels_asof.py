"""Which record is the fact at a time: both algorithms against the oracle, and against each other."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle import FOREVER, NEVER, Row, oracle_latest, visible
from streamed import latest_unsorted

from tinymlops._status import Status
from tinymlops.kernels import cache, compiling
from tinymlops.kernels.asof import in_window, latest, status
from tinymlops.kernels.records import RETRACTED, TOMBSTONE, VALUE, arrange, available_from
from tinymlops.kernels.threads import in_chunks, set_threads

KEYS = 3
EXAMPLES = examples(250)


@st.composite
def tables(draw, *, ids=True, deletes=True, late=True):
    """Rows with many ties, and spine points around them."""
    times = st.integers(0, 12)
    rows = []
    for n in range(draw(st.integers(0, 14))):
        e = draw(times)
        c = draw(st.one_of(st.just(NEVER), times))
        waits = st.sampled_from([0, 0, 0, 1, 3, -2, FOREVER, NEVER]) if late else st.just(1)
        wait = draw(waits)
        rows.append(
            Row(
                key=draw(st.sampled_from([0, 1, 1, 1, None])),
                id=draw(st.sampled_from([None, 0, 1, 2])) if ids else None,
                e=e,
                available=wait if abs(wait) > 10 else e + wait,
                c=c,
                n=n,
                deleted=deletes and draw(st.integers(0, 3)) == 0,
                value=draw(st.sampled_from([None, 1, 2])),
                keep=draw(st.integers(0, 3)) > 0,
            )
        )
    spine = draw(st.lists(st.tuples(st.sampled_from([0, 1, 1, 2, None]), st.integers(-1, 16)), max_size=12))
    return rows, spine


def code(value):
    return -1 if value is None else value


def arranged(rows, *, ids=True):
    column = {name: [getattr(row, name) for row in rows] for name in ("e", "available", "c", "n", "deleted")}
    return arrange(
        np.array([code(row.key) for row in rows], np.int64),
        np.array(column["e"], np.int64),
        np.array(column["available"], np.int64),
        np.array(column["c"], np.int64),
        np.array(column["n"], np.int64),
        keys=KEYS,
        ids=np.array([code(row.id) for row in rows], np.int64) if ids else None,
        deleted=np.array(column["deleted"], np.bool_),
    )


def points(spine):
    return np.array([code(key) for key, _ in spine], np.int64), np.array([t for _, t in spine], np.int64)


@EXAMPLES
@given(
    table=tables(),
    strict=st.booleans(),
    ttl=st.sampled_from([None, 1, 4]),
    window=st.sampled_from([None, None, 1, 5]),
    oldest=st.booleans(),
    keep=st.booleans(),
)
def test_latest_is_what_the_oracle_says(table, strict, ttl, window, oldest, keep):
    rows, spine = table
    records, order = arranged(rows)
    kept = np.array([rows[i].keep for i in order], np.bool_) if keep else None
    options = {"ttl": None if window else ttl, "window": window, "oldest": oldest}
    key, time = points(spine)
    found = latest(records, key, time, strict=strict, keep=kept, **options)
    for place, (k, t) in zip(found, spine, strict=True):
        expected = oracle_latest(rows, k, t, strict=strict, keep=keep, **options)
        assert (rows[order[place]] if place >= 0 else None) == expected


@EXAMPLES
@given(table=tables(ids=False, late=False), strict=st.booleans(), oldest=st.booleans(), keep=st.booleans())
def test_monotone_keys_give_what_the_oracle_says(table, strict, oldest, keep):
    rows, spine = table
    records, order = arranged(rows)
    assert records.monotone.all()
    kept = np.array([rows[i].keep for i in order], np.bool_) if keep else None
    for options in ({"ttl": 3}, {"ttl": None}, {"window": 4}):
        found = latest(records, *points(spine), strict=strict, keep=kept, oldest=oldest, **options)
        for place, (k, t) in zip(found, spine, strict=True):
            expected = oracle_latest(rows, k, t, strict=strict, keep=keep, oldest=oldest, **options)
            assert (rows[order[place]] if place >= 0 else None) == expected


@EXAMPLES
@given(table=tables(ids=False, deletes=False), strict=st.booleans(), ttl=st.sampled_from([None, 1, 4]))
def test_streaming_gives_what_arranged_records_give(table, strict, ttl):
    rows, spine = table
    key, time = points(spine)
    columns = [[getattr(row, name) for row in rows] for name in ("e", "available", "c")]
    e, available, c = (np.array(column, np.int64) for column in columns)
    codes = np.array([code(row.key) for row in rows], np.int64)
    streamed = latest_unsorted(key, time, codes, e, available, c, keys=KEYS, strict=strict, ttl=ttl)
    for row, (k, t) in zip(streamed, spine, strict=True):
        assert (rows[row] if row >= 0 else None) == oracle_latest(rows, k, t, strict=strict, ttl=ttl, keep=False)


@EXAMPLES
@given(table=tables(), strict=st.booleans())
def test_one_span_holds_all_that_corrections_do(table, strict):
    rows, spine = table
    records, order = arranged(rows)
    for k, t in spine:
        if k is None:
            continue
        places = range(records.offsets[k], records.offsets[k + 1])
        if strict:
            seen = [p for p in places if records.visible_from[p] < t <= records.visible_to[p]]
        else:
            seen = [p for p in places if records.visible_from[p] <= t < records.visible_to[p]]
        assert {rows[order[p]] for p in seen} == set(visible(rows, k, t, strict=strict))


@EXAMPLES
@given(table=tables(), strict=st.booleans(), ttl=st.sampled_from([None, 2]))
def test_status_follows_the_order_of_its_rule(table, strict, ttl):
    rows, spine = table
    records, order = arranged(rows)
    key, time = points(spine)
    found = latest(records, key, time, strict=strict, ttl=ttl)
    null = np.array([place >= 0 and rows[order[place]].value is None for place in found], np.bool_)
    why, matched = status(records, found, key, time, strict=strict, ttl=ttl, value_is_null=null)
    for cell, (k, t) in enumerate(spine):
        expected, event = expected_status(rows, k, t, strict, ttl)
        assert Status(why[cell]) is expected
        assert matched[cell] == event


def expected_status(rows, key, t, strict, ttl):
    winner = oracle_latest(rows, key, t, strict=strict, ttl=ttl, keep=False)
    seen = visible(rows, key, t, strict=strict)
    if key is None:
        return Status.NULL_KEY, NEVER
    if winner is not None:
        found = Status.NULL_VALUE if winner.value is None else Status.PRESENT
        return Status.DELETED if winner.deleted else found, winner.e
    if any(row.deleted and row.id is not None for row in seen):
        return Status.DELETED, NEVER
    if seen:
        return Status.EXPIRED, NEVER
    waiting = [r for r in rows if r.key == key and r.e <= t and (r.available > t or (strict and r.available == t))]
    return Status.NOT_YET_AVAILABLE if waiting else Status.NOT_FOUND, NEVER


def simple(events, *, available=None, **options):
    events = np.array(events, np.int64)
    available = events if available is None else np.array(available, np.int64)
    return arrange(np.zeros(len(events), np.int64), events, available, None, None, keys=1, **options)[0]


def ask(records, *times, **options):
    return latest(records, np.zeros(len(times), np.int64), np.array(times, np.int64), **options).tolist()


def test_ttl_is_inclusive():
    assert ask(simple([10]), 15, 16, strict=False, ttl=5) == [0, -1]


def test_a_strict_boundary_does_not_see_the_moment_itself():
    assert ask(simple([10]), 10, 11, strict=True) == [-1, 0]
    assert ask(simple([10]), 9, 10, strict=False) == [-1, 0]


def test_a_window_ends_before_the_spine_time_and_includes_its_first_moment():
    assert ask(simple([10]), 10, 11, 15, 16, strict=False, window=5) == [-1, 0, 0, -1]


def test_of_equal_times_the_last_row_wins():
    assert ask(simple([10, 10, 10]), 10, strict=False) == [2]


def test_a_null_key_and_an_unknown_key_find_nothing():
    found = latest(simple([10]), np.array([-1, 7]), np.array([20, 20]), strict=False)
    assert found.tolist() == [-1, -1]


@pytest.mark.parametrize("time", [NEVER, FOREVER])
@pytest.mark.parametrize("strict", [False, True])
def test_moments_at_the_ends_of_time_do_not_wrap_around(time, strict):
    records = simple([-(2**55), 2**55, 5], available=[-(2**55), FOREVER, NEVER])
    expected = [-1] if time == NEVER and strict else [1]  # the one that always was known, and then the latest of all
    assert ask(records, time, strict=strict) == expected
    assert ask(records, NEVER, strict=True, window=2**61) == [-1]
    assert ask(records, FOREVER, strict=False, ttl=2**61) == [-1]


def test_a_delete_with_id_retracts_and_without_id_ends_the_state():
    ids = np.array([0, 0, -1])
    records, _ = arrange(
        np.zeros(3, np.int64), np.array([1, 1, 5]), np.array([1, 3, 5]), None, None,
        keys=1, ids=ids, deleted=np.array([False, True, True]),
    )  # fmt: skip
    assert records.kind.tolist() == [VALUE, RETRACTED, TOMBSTONE]
    assert ask(records, 2, 3, 5, strict=False) == [0, -1, 2]


def big_table():
    rng = np.random.default_rng(7)
    n, m, keys = 150_000, 60_000, 500
    event = rng.integers(0, 10_000, n)
    available = np.where(rng.random(n) < 0.1, event + rng.integers(0, 500, n), event)
    return {
        "key": rng.integers(-1, keys, n),
        "event": event,
        "available": available,
        "created": rng.integers(0, 5, n),
        "spine_key": rng.integers(-1, keys, m),
        "time": rng.integers(0, 10_500, m),
        "keys": keys,
    }


def join_both(table):
    """The winners by either algorithm as row numbers of the input."""
    t = table
    streamed = latest_unsorted(
        t["spine_key"], t["time"], t["key"], t["event"], t["available"], t["created"],
        keys=t["keys"], strict=False, ttl=300,
    )  # fmt: skip
    records, order = arrange(t["key"], t["event"], t["available"], t["created"], None, keys=t["keys"])
    place = latest(records, t["spine_key"], t["time"], strict=False, ttl=300)
    return streamed, np.where(place >= 0, order[place], -1)


@pytest.fixture
def threads():
    yield set_threads
    set_threads(None)


def test_results_do_not_depend_on_the_number_of_threads(threads):
    table = big_table()
    answers = []
    for count in (1, 2, 5):
        threads(count)
        answers += join_both(table)
    assert all(np.array_equal(answers[0], answer) for answer in answers)


def test_shuffled_records_give_what_sorted_records_give():
    table = big_table()
    table["created"] = np.random.default_rng(1).permutation(len(table["key"]))  # no exact ties
    shuffle = np.random.default_rng(2).permutation(len(table["key"]))
    shuffled = table | {name: table[name][shuffle] for name in ("key", "event", "available", "created")}
    for plain, mixed in zip(join_both(table), join_both(shuffled), strict=True):
        assert np.array_equal(plain, np.where(mixed >= 0, shuffle[mixed], -1))


def test_many_threads_can_ask_at_once():
    table = big_table()
    expected = join_both(table)[0]
    with ThreadPoolExecutor(8) as pool:
        for streamed, arranged_ in pool.map(lambda _: join_both(table), range(8)):
            assert np.array_equal(streamed, expected)
            assert np.array_equal(arranged_, expected)


def test_work_may_be_split_inside_of_work(threads):
    threads(3)
    done = np.zeros((40, 40), np.int64)

    def inner(row):
        def work(a, b):
            done[row, a:b] += 1

        return work

    def outer(a, b):
        for row in range(a, b):
            in_chunks(40, inner(row), least=1)

    in_chunks(40, outer, least=1)
    assert (done == 1).all()


def test_an_error_in_a_chunk_reaches_the_caller(threads):
    threads(2)

    def fail(start, stop):
        if start:
            raise ZeroDivisionError("from a chunk")

    with pytest.raises(ZeroDivisionError, match="from a chunk"):
        in_chunks(100, fail, least=1)


IN_A_CHILD = """
import os, sys, numpy as np
from test_kernels_asof import big_table, join_both
from tinymlops.kernels.threads import set_threads
set_threads(4)
table = big_table()
expected = join_both(table)
child = os.fork()
if child == 0:
    same = all(np.array_equal(a, b) for a, b in zip(expected, join_both(table)))
    os._exit(0 if same else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_makes_a_pool_of_its_own():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    subprocess.run([sys.executable, "-W", "ignore", "-c", IN_A_CHILD], check=True, timeout=60, env=environment)


@pytest.fixture
def cache_home(tmp_path, monkeypatch):
    """The only possible place for a cache: the others are blocked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    (tmp_path / f"tinymlops-{os.getuid()}").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cache.cache_directory.cache_clear()
    yield tmp_path
    cache.cache_directory.cache_clear()


def test_compiled_code_is_kept_where_only_its_user_can_write(cache_home):
    directory = cache.cache_directory()
    assert directory.startswith(str(cache_home))
    assert os.stat(directory).st_mode & 0o777 == 0o700


def test_a_cache_directory_that_others_can_write_is_not_used(cache_home):
    os.mkdir(cache_home / "tinymlops")
    os.chmod(cache_home / "tinymlops", 0o777)
    assert cache.cache_directory() is None


def test_a_cache_directory_that_is_a_link_is_not_used(cache_home):
    os.mkdir(cache_home / "elsewhere", 0o700)
    os.symlink(cache_home / "elsewhere", cache_home / "tinymlops")
    assert cache.cache_directory() is None


def double(value):
    return value + value


def test_without_a_cache_directory_kernels_still_work(cache_home):
    os.symlink(cache_home, cache_home / "tinymlops")
    assert compiling.compiled(double)(4) == 8


def test_a_broken_cache_file_is_compiled_anew(cache_home):
    assert compiling.compiled(double)(4) == 8
    files = [path for path in (cache_home / "tinymlops").rglob("*") if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(b"no pickle")
    assert compiling.compiled(double)(4) == 8


@EXAMPLES
@given(table=tables(), span=st.integers(1, 8))
def test_a_window_takes_the_facts_before_its_moment(table, span):
    rows, spine = table
    records, order = arranged(rows)
    for key, time in spine:
        if key is None:
            continue
        part = slice(records.offsets[key], records.offsets[key + 1])
        columns = records.event[part], records.visible_from[part], records.visible_to[part]
        counts = np.array([rows[row].keep for row in order[part]], np.bool_)
        inside = in_window(*columns, counts & (records.kind[part] == VALUE), time, span)
        found = {rows[row].n for row in order[part][inside]}
        facts = visible([row for row in rows if row.key == key], key, time, strict=True)
        assert found == {row.n for row in facts if not row.deleted and row.keep and time - span <= row.e < time}


@EXAMPLES
@given(
    event=st.one_of(st.integers(-(2**60), 2**60), st.just(FOREVER)),
    wait=st.one_of(st.just(0), st.integers(0, 2**62)),
    created=st.one_of(st.none(), st.just(NEVER), st.just(FOREVER), st.integers(-(2**60), 2**60)),
)
def test_a_record_is_known_after_its_delay_and_not_before_it_was_created(event, wait, created):
    known = min(event + wait, FOREVER)
    expected = known if created is None else max(known, created)
    column, made = np.array([event], np.int64), None if created is None else np.array([created], np.int64)
    for delay in (wait, np.array([wait], np.int64)):
        assert available_from(column, delay, made).tolist() == [expected]
