"""The contract of every online store, tested on LMDB and on one in memory: the same answers."""

import os
import random
import threading

import pytest
import served_shop
from memory_store import MemoryStore

import tinymlops as tm
from tinymlops.errors import ConflictError
from tinymlops.stores import environment
from tinymlops.stores.coverage import HIDDEN, Coverage, decode, encode
from tinymlops.stores.lmdb_store import LmdbStore
from tinymlops.stores.online_store import Change, Full, Newest, prefix_of

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
STORES = {"lmdb": LmdbStore, "memory": MemoryStore}
VIEW, OTHER = b"v" * 16, b"v" * 15 + b"w"
LONG = b"long" * 300


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    store = STORES[request.param](tmp_path / "online")
    yield store
    store.close()


def covering(sequence=1, *, at=5, keys=0, stamp=7):
    return Coverage(sequence, at, keys, stamp)


def key_of(text, view=VIEW):
    return prefix_of(view) + text


def words(number):
    """Return bytes whose length is a multiple of eight with four more."""
    return number.to_bytes(4, "little") * 3


def entry(text, number, view=VIEW, beside=None):
    return Newest(key_of(text, view), words(number), beside)


def put(store, view=VIEW, coverage=None, *newest, full=(), description=b"laid out", name="spending"):
    """Rewrite a view."""
    change = Change(coverage or covering(), newest, full, (), description, name)
    assert store.write({view: change})


def add(store, view, coverage, *newest, known=None, **more):
    return store.write({view: Change(coverage, newest, **more)}, if_covered={} if known is None else {view: known})


def newest_of(store, *texts, view=VIEW):
    with store.read() as snapshot:
        coverage, found = snapshot.read(view, [None if text is None else key_of(text, view) for text in texts])
        return coverage, [None if value is None else bytes(value)[:-4] for value in found]


def keys_in(store, view=VIEW):
    with store.read() as snapshot:
        return [key.removeprefix(prefix_of(view)) for key in snapshot.keys_of(view)]


def everything(store):
    """Return everything that a reader can see."""
    with store.read() as snapshot:
        found = {}
        for view, coverage in snapshot.coverages().items():
            keys = list(snapshot.keys_of(view))
            values = [bytes(value)[:-4] for value in snapshot.read(view, keys)[1]]
            found[view] = coverage, snapshot.description(view), dict(zip(keys, values, strict=True))
        return snapshot.token, found


def test_coverage_has_one_form():
    coverage = Coverage(2**40, -5, 3, 2**62)
    assert encode(coverage).hex() == "0000000000010000fbffffffffffffff03000000000000000000000000000040"
    assert decode(encode(coverage)) == coverage
    assert Coverage(1, HIDDEN, 0, 0).is_hidden
    assert not coverage.is_hidden


def test_one_read_gives_coverage_and_entries(store):
    put(store, VIEW, covering(3), entry(b"a", 1), entry(LONG, 2))
    assert newest_of(store, b"a", b"none", None, LONG, b"a") == (
        covering(3),
        [words(1), None, None, words(2), words(1)],
    )
    assert newest_of(store, b"a") == (covering(3), [words(1)])
    assert newest_of(store) == (covering(3), [])


def test_a_view_that_is_not_there_has_neither(store):
    assert newest_of(store, b"a", None) == (None, [None, None])
    with store.read() as snapshot:
        assert (snapshot.coverage(VIEW), snapshot.coverages(), list(snapshot.keys_of(VIEW))) == (None, {}, [])


def test_words_come_with_four_bytes_more(store):
    put(store, VIEW, None, entry(b"a", 1), full=[Full(key_of(b"a"), 0, words(9), None)])
    with store.read() as snapshot:
        (newest,) = snapshot.read(VIEW, [key_of(b"a")])[1]
        (full,) = snapshot.full([key_of(b"a")], [1])
        assert [len(newest), len(full)] == [16, 16]


@pytest.mark.parametrize("text", [b"a", LONG])
def test_full_entries_come_in_order_with_what_lies_beside_them(store, text):
    key, another = key_of(text), key_of(b"another")
    full = [Full(key, number, words(number), b"beside %d" % number) for number in range(12)]
    put(store, VIEW, None, entry(b"another", 1), Newest(key, words(99), b"beside"), full=full)
    with store.read() as snapshot:
        snapshot.read(VIEW, [another, None, key])
        found = snapshot.full([another, None, key], [0, 0, 12])
        assert [bytes(value)[:-4] for value in found] == [words(number) for number in range(12)]
        assert [bytes(value)[:-4] for value in snapshot.full([key], [2], beside=True)] == [b"beside 0", b"beside 1"]
        beside = [value and bytes(value)[:-4] for value in snapshot.beside([another, None, key])]
        assert beside == [None, None, b"beside"]
    coverage = covering(2)
    assert add(store, VIEW, coverage, gone=[(key, number) for number in range(1, 12)])
    with store.read() as snapshot:
        assert len(snapshot.full([key], [1])) == 1


def test_a_change_of_keys_leaves_the_others(store):
    put(store, VIEW, None, entry(b"a", 1), entry(b"b", 2), entry(b"c", 3))
    assert add(store, VIEW, covering(2), entry(b"b", 20), Newest(key_of(b"c"), None, None), entry(b"d", 4))
    assert newest_of(store, b"a", b"b", b"c", b"d") == (covering(2), [words(1), words(20), None, words(4)])
    assert keys_in(store) == [b"a", b"b", b"d"]
    with store.read() as snapshot:
        assert snapshot.description(VIEW) == b"laid out"


def test_a_view_that_is_written_anew_keeps_nothing_and_its_neighbours_all(store):
    for view in (VIEW, OTHER):
        put(
            store,
            view,
            None,
            entry(b"a", 1, view),
            entry(b"b", 2, view),
            full=[Full(key_of(b"b", view), 0, b"f" * 12, None)],
        )
    put(store, VIEW, covering(9, stamp=8), entry(b"c", 3), description=b"otherwise")
    assert (keys_in(store), keys_in(store, OTHER)) == ([b"c"], [b"a", b"b"])
    with store.read() as snapshot:
        assert (snapshot.description(VIEW), snapshot.description(OTHER)) == (b"otherwise", b"laid out")
        assert len(snapshot.full([key_of(b"b", OTHER)], [1])) == 1


def test_a_removed_view_is_gone_and_its_neighbour_is_not(store):
    for view in (VIEW, OTHER):
        put(store, view, None, entry(b"a", 1, view))
    assert store.write({VIEW: None})
    assert store.write({VIEW: None}), "what is not there may be removed"
    assert (newest_of(store, b"a"), keys_in(store)) == ((None, [None]), [])
    assert newest_of(store, b"a", view=OTHER) == (covering(), [words(1)])


def test_nothing_is_written_where_the_coverage_is_not_what_the_writer_read(store):
    put(store, VIEW, covering(1), entry(b"a", 1))
    put(store, OTHER, covering(1), entry(b"a", 1, OTHER))
    before = everything(store)
    moved = Change(covering(2), [entry(b"a", 2)])
    for stale in (None, covering(0), covering(1, at=6), covering(1, keys=1), covering(1, stamp=8)):
        batch = {OTHER: Change(covering(2), [entry(b"a", 2, OTHER)]), VIEW: moved}
        assert not store.write(batch, if_covered={OTHER: covering(1), VIEW: stale})
        assert not store.write({VIEW: None, OTHER: None}, if_covered={VIEW: stale})
    assert everything(store) == before
    assert store.write({VIEW: moved}, if_covered={OTHER: covering(1), VIEW: covering(1)})
    assert newest_of(store, b"a") == (covering(2), [words(2)])


def test_a_view_can_be_written_on_condition_that_it_is_not_there(store):
    anew = Change(covering(), [entry(b"a", 1)], (), (), b"laid out", "spending")
    assert store.write({VIEW: anew}, if_covered={VIEW: None})
    assert not store.write({VIEW: anew}, if_covered={VIEW: None})


def test_a_write_that_fails_in_the_middle_changes_nothing_and_blocks_nobody(store):
    put(store, VIEW, covering(1), entry(b"a", 1))
    before = everything(store)
    with pytest.raises((TypeError, ValueError)):
        add(store, VIEW, covering(2), entry(b"a", 2), ("no entry",))
    assert everything(store) == before
    assert add(store, VIEW, covering(2), entry(b"a", 2), known=covering(1))


def test_a_snapshot_is_one_moment(store):
    put(store, VIEW, covering(1), entry(b"a", 1), full=[Full(key_of(b"a"), 0, words(5), None)])
    store.put_token(b"before")

    def change():
        put(store, VIEW, covering(2, stamp=8), entry(b"a", 2), entry(b"b", 3), description=b"otherwise")
        put(store, OTHER, covering(2))
        store.put_token(b"after")

    with store.read() as snapshot:
        thread = threading.Thread(target=change)
        thread.start()
        thread.join()
        coverage, (value,) = snapshot.read(VIEW, [key_of(b"a")])
        assert (coverage, bytes(value)[:-4]) == (covering(1), words(1))
        assert [bytes(value)[:-4] for value in snapshot.full([key_of(b"a")], [1])] == [words(5)]
        assert (list(snapshot.keys_of(VIEW)), snapshot.coverages()) == ([key_of(b"a")], {VIEW: covering(1)})
        assert (snapshot.description(VIEW), snapshot.token) == (b"laid out", b"before")
        with store.read() as later:
            assert (later.coverage(VIEW), later.token) == (covering(2, stamp=8), b"after")
            assert later.read(VIEW, [])[0] == covering(2, stamp=8)
        assert snapshot.read(VIEW, [])[0] == covering(1)


def test_a_version_is_one_state_of_the_store(store):
    versions = []
    for change in (
        lambda: put(store, VIEW, covering(1), entry(b"a", 1)),
        lambda: add(store, VIEW, covering(2)),
        lambda: store.put_token(b"token"),
        lambda: store.write({VIEW: None}),
        store.reset,
        lambda: put(store, VIEW, covering(1), entry(b"a", 1)),
    ):
        change()
        seen = []
        for _ in range(2):
            with store.read() as snapshot:
                seen.append(snapshot.version)
        assert seen[0] == seen[1]
        versions.append(seen[0])
    assert len(set(versions)) == len(versions)


def test_entries_outlast_their_snapshot(store):
    put(store, VIEW, covering(1), entry(b"a", 1), entry(b"b", 2))
    with store.read() as snapshot:
        found = [snapshot.read(VIEW, [key_of(b"a")])[1], snapshot.read(VIEW, [key_of(b"a"), key_of(b"b")])[1]]
    for number in range(20):  # what is no longer needed is written over
        add(store, VIEW, covering(number), Newest(key_of(b"a"), words(number) * 200 + words(0), None))
    assert [[value[:-4] for value in values] for values in found] == [[words(1)], [words(1), words(2)]]


def test_keys_come_in_order_and_after_a_key(store):
    rng = random.Random(7)
    texts = {rng.randbytes(rng.choice([1, 2, 30, 463, 464, 465, 900])) for _ in range(60)} | {
        b"k" * 900 + b"a",
        b"k" * 900,
    }
    texts = sorted(b"s" + text for text in texts)
    put(store, VIEW, None, *(entry(text, number) for number, text in enumerate(texts)))
    put(store, OTHER, None, entry(b"a", 1, OTHER))
    assert keys_in(store) == texts
    with store.read() as snapshot:
        for place in (0, 30, len(texts) - 1):
            rest = list(snapshot.keys_of(VIEW, key_of(texts[place])))
            assert rest == [key_of(text) for text in texts[place + 1 :]]


def test_many_views_are_apart(store):
    views = [number.to_bytes(16, "big") for number in range(100)] + [b"\xff" * 16, b"\0" * 15 + b"\xff"]
    for number, view in enumerate(views):
        put(store, view, covering(number), entry(b"a", number, view), name=str(number))
    with store.read() as snapshot:
        assert snapshot.coverages() == {view: covering(number) for number, view in enumerate(views)}
        for number, view in enumerate(views):
            assert snapshot.read(view, [key_of(b"a", view)])[0] == covering(number)
    assert len(store.remembered()) == len(views)
    assert store.write(dict.fromkeys(views[:50]))
    with store.read() as snapshot:
        assert snapshot.coverages().keys() == set(views[50:])


def test_concurrent_writers_lose_no_change(store):
    put(store, VIEW, covering(0))
    failures = []

    def count(name):
        try:
            done = 0
            while done < 25:
                with store.read() as snapshot:
                    known = snapshot.coverage(VIEW)
                done += add(
                    store, VIEW, covering(known.sequence + 1), entry(b"%d %d" % (name, done), done), known=known
                )
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=count, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert newest_of(store)[0] == covering(100)
    assert len(keys_in(store)) == 100


def test_a_token_is_what_was_put_last(store):
    with store.read() as snapshot:
        assert snapshot.token == b""
    for token in (b"one", b"", b"two"):
        store.put_token(token)
        with store.read() as snapshot:
            assert snapshot.token == token


def test_what_is_remembered_outlives_the_content(store):
    assert store.remembered() == {}
    put(store, VIEW, None, name="spending")
    put(store, OTHER, None, name="clicking")
    both = {VIEW.hex(): "spending", OTHER.hex(): "clicking"}
    assert store.remembered() == both
    store.reset()
    assert everything(store) == (b"", {})
    assert store.remembered() == both
    put(store, VIEW, None, name="spending")
    store.remember({"ab": "another"})
    assert store.remembered() == {VIEW.hex(): "spending", "ab": "another"}, "and what is there"
    store.write({VIEW: None})
    store.remember({})
    assert store.remembered() == {}


def test_verify_counts_and_a_store_of_this_version_is_kept(store):
    put(store, VIEW, None, entry(b"a", 1), entry(LONG, 2))
    before = everything(store)
    store.drop_other_format()
    assert store.verify() >= 2
    assert everything(store) == before


def test_a_fork_is_refused_and_harms_nobody(store):
    put(store, VIEW, None, entry(b"a", 1))
    pid = os.fork()
    if pid == 0:
        refused = 0
        store.close()
        for use in (lambda: newest_of(store, b"a"), lambda: store.write({VIEW: None}), lambda: store.put_token(b"x")):
            try:
                use()
            except ConflictError:
                refused += 1
        os._exit(0 if refused == 3 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert newest_of(store, b"a") == (covering(), [words(1)])


def test_a_closed_store_says_so(store):
    store.close()
    for use in (lambda: newest_of(store), lambda: store.write({VIEW: None}), store.reset):
        with pytest.raises(ConflictError, match="is closed"):
            use()


def answers_on(store, path, monkeypatch):
    """Return the online answers of a workspace, read by read."""
    monkeypatch.setattr(environment, "LmdbStore", store)
    clock, answers = tm.ReplayClock(served_shop.START), []
    views = ["spending", "interest"]
    keys = {"customer": [0, 1, None, 99], "shopper": ["ann", "bob", None, "ann"]}
    with tm.connect(path, create=True, clock=clock) as ws:
        ws.apply(served_shop.project)
        for step in range(8):
            clock.advance("30h")
            ws.ingest()
            at = clock()
            pushed = ws.push("clicks", [{"click": step % 5, "shopper": "ann", "at": at, "seconds": float(step)}])
            if step % 3 == 0:
                ws.materialize()
            read = ws.get_online_features(views, keys, details=True)
            answers.append((pushed.online, read.sequence, read.to_polars().rows()))
            spine = read.to_polars().select(*keys).with_columns(timestamp=clock())
            history = ws.get_historical_features(spine, views, details=True, as_of=read.sequence)
            assert read.to_polars().equals(history.drop("timestamp"))
        answers.append([covered.view for covered in ws.materialize()])
    return answers


def test_a_workspace_answers_alike_on_every_store(tmp_path, monkeypatch):
    first, second = (answers_on(store, tmp_path / f"{name}.tm", monkeypatch) for name, store in STORES.items())
    assert first == second
