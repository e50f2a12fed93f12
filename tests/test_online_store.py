"""The online store: ordered keys, growth, damage, forks."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tinymlops import errors
from tinymlops.errors import ConflictError, DataError, IntegrityError
from tinymlops.stores import _boot, lmdb_store
from tinymlops.stores.coverage import Coverage
from tinymlops.stores.lmdb_store import LmdbStore
from tinymlops.stores.online_store import Change, Full, Newest

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
PYTHONPATH = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1])}
OPEN = """
import sys
from pathlib import Path
from tinymlops.stores import lmdb_store
lmdb_store._FIRST_MAP = 2**20
store = lmdb_store.LmdbStore(Path(sys.argv[1]))
"""
GROWS = (
    OPEN + "store.update(lambda tx: [tx.put(b'%08d' % i, bytes(1000)) for i in range(5000)] and None); store.close()"
)
STAYS = OPEN + "store.update(lambda tx: tx.put(b'k', b'v')); print('open', flush=True); sys.stdin.readline()"
INSIDE = (
    OPEN
    + """
def change(tx):
    tx.put(b'dead', b'v')
    print('inside', flush=True)
    sys.stdin.readline()
store.update(change)
"""
)

COUNTS = (
    OPEN
    + """
import os
from tinymlops.stores.coverage import Coverage
from tinymlops.stores.online_store import Change, Newest
view, done = b'v' * 16, 0
sys.stdin.readline()
while done < 40:
    with store.read() as snapshot:
        known = snapshot.coverage(view)
    sequence = 1 if known is None else known.sequence + 1
    entry = Newest(b'r' + view + b'%d %d' % (os.getpid(), done), bytes(12), None)
    change = Change(Coverage(sequence, 0, 0, 0), [entry], (), (), None if known else b'layout', 'counting')
    done += store.write({view: change}, if_covered={view: known})
store.close()
"""
)


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_store, "_FIRST_MAP", 2**20)
    return tmp_path / "online"


@pytest.fixture
def store(path):
    store = LmdbStore(path)
    yield store
    store.close()


def put(store, entries):
    def change(tx):
        for key, value in entries.items():
            tx.put(key, value)

    store.update(change)


def everything(store):
    with store.read() as tx:
        return dict(tx.scan(b"", b"\xff" * 600))


def start(code, path):
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=PYTHONPATH,
    )


def flip_in(path, needle):
    data = bytearray((path / "data.mdb").read_bytes())
    position = data.rindex(needle)
    data[position] ^= 1
    (path / "data.mdb").write_bytes(data)


def test_values_are_read_as_written(store):
    assert store.needs_rebuild()
    put(store, {b"a": b"1", b"b": b"", b"c" * 600: b"3"})
    with store.read() as tx:
        assert [tx.get(key) for key in (b"a", b"b", b"c" * 600, b"c" * 599, b"d")] == [b"1", b"", b"3", None, None]
    assert not store.needs_rebuild()


def test_an_update_sees_its_own_changes_and_returns_what_the_function_does(store):
    def change(tx):
        tx.put(b"a", b"1")
        tx.put(b"b", b"2")
        assert tx.delete(b"a")
        assert not tx.delete(b"a")
        return list(tx.scan(b"a", b"z"))

    assert store.update(change) == [(b"b", b"2")]


def test_an_update_that_raises_changes_nothing(store):
    def change(tx):
        tx.put(b"a", b"1")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.update(change)
    assert everything(store) == {}


def test_a_read_is_one_moment(store):
    put(store, {b"a": b"1"})
    with store.read() as tx:
        thread = threading.Thread(target=lambda: put(store, {b"a": b"2"}))
        thread.start()
        thread.join()
        assert tx.get(b"a") == b"1"
    assert everything(store) == {b"a": b"2"}


def test_ranges_agree_with_a_dict_also_around_the_longest_key(store):
    rng = random.Random(7)
    stems = [b"a" * 478, b"a" * 479, b"a" * 480, b"a" * 479 + b"zz" * 20, b"b" * 600, b"ab", b"\xff" * 500]
    model = {
        stem + bytes(rng.choices(b"ab\x00\xff", k=rng.randint(0, 5))): rng.randbytes(4)
        for stem in stems
        for _ in range(8)
    }
    put(store, model)
    bounds = [*model, b"", b"a", b"a" * 479, b"a" * 480, b"a" * 500, b"z"]
    with store.read() as tx:
        for _ in range(1500):
            low, high = rng.choice(bounds), rng.choice(bounds)
            expected = sorted(entry for entry in model.items() if low <= entry[0] < high)
            assert list(tx.scan(low, high)) == expected
    low, high = b"a" * 479, b"a" * 485
    removed = store.update(lambda tx: tx.delete_range(low, high))
    left = {key: value for key, value in model.items() if not low <= key < high}
    assert removed == len(model) - len(left) > 0
    assert everything(store) == left


def test_a_long_key_cannot_be_mistaken_for_a_short_one(store):
    import hashlib

    long = b"k" * 600
    for short in (long[:448] + hashlib.sha256(long).digest(), long[:479], long[:480]):
        put(store, {long: b"long", short: b"short"})
        assert everything(store)[long] == b"long"
        assert everything(store)[short] == b"short"


def test_an_empty_key_is_refused(store):
    with pytest.raises(DataError, match="empty key"):
        put(store, {b"": b"v"})


def test_the_map_grows_without_being_noticed(store):
    calls = []

    def change(tx):
        calls.append(1)
        for i in range(3000):
            tx.put(b"%08d" % i, bytes(1000))

    store.update(change)
    assert len(calls) == 4, "it ran again for each of 1, 2 and 4 MiB"
    assert len(everything(store)) == 3000


def test_the_map_grows_under_readers_in_other_threads(store):
    put(store, {b"k": b"v"})
    stop, seen, failures = threading.Event(), [], []

    def keep_reading():
        try:
            while not stop.is_set():
                with store.read() as tx:
                    seen.append(tx.get(b"k"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=keep_reading) for _ in range(3)]
    for thread in threads:
        thread.start()
    for batch in range(10):
        put(store, {b"%d-%d" % (batch, i): bytes(1000) for i in range(500)})
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(seen) == {b"v"}


def test_an_update_that_raises_under_busy_readers_ends_at_once(store):
    stop = threading.Event()

    def keep_reading():
        while not stop.is_set():
            with store.read() as tx:
                tx.get(b"k")

    def fail(tx):
        tx.put(b"k", b"v")
        raise ZeroDivisionError

    threads = [threading.Thread(target=keep_reading) for _ in range(3)]
    for thread in threads:
        thread.start()
    before = time.monotonic()
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            store.update(fail)
    taken = time.monotonic() - before
    stop.set()
    for thread in threads:
        thread.join()
    assert taken < 5
    assert everything(store) == {}


def test_growth_inside_a_read_of_the_same_thread_is_refused_instead_of_waiting_forever(store):
    with store.read(), pytest.raises(ConflictError, match="cannot grow"):
        put(store, {b"%d" % i: bytes(1000) for i in range(2000)})
    assert everything(store) == {}


def test_updates_do_not_nest(store):
    with pytest.raises(ConflictError, match="inside an update"):
        store.update(lambda tx: store.update(lambda tx: None))
    put(store, {b"k": b"v"})


def test_growth_by_another_process_is_adopted(store, path):
    put(store, {b"k": b"v"})
    with start(GROWS, path) as process:
        assert process.wait(20) == 0
    assert len(everything(store)) == 5001
    put(store, {b"l": b"w"})
    assert len(everything(store)) == 5002


def test_a_process_killed_inside_an_update_leaves_nothing_and_blocks_nobody(store, path):
    put(store, {b"k": b"v"})
    with start(INSIDE, path) as process:
        assert process.stdout.readline() == "inside\n"
        process.send_signal(signal.SIGKILL)
    put(store, {b"l": b"w"})
    assert everything(store) == {b"k": b"v", b"l": b"w"}


@pytest.mark.parametrize("key", [b"key", b"key" * 200], ids=["short", "long"])
def test_a_flipped_byte_of_a_value_is_detected_on_read(path, key):
    store = LmdbStore(path)
    put(store, {key: b"a value to be damaged"})
    store.close()
    flip_in(path, b"damaged")
    store = LmdbStore(path)
    try:
        with pytest.raises(IntegrityError, match="is damaged at key b'key"), store.read() as tx:
            tx.get(key)
        with pytest.raises(IntegrityError, match="is damaged"), store.read() as tx:
            tx.get_many([key, b"other"])
        with pytest.raises(IntegrityError, match="is damaged"), store.read() as tx:
            tx.get_many([key])
        with pytest.raises(IntegrityError, match="is damaged"), store.read() as tx:
            list(tx.scan(b"a", b"z"))
        store.reset()
        assert store.needs_rebuild()
        put(store, {key: b"new"})
        assert everything(store) == {key: b"new"}
    finally:
        store.close()


@pytest.mark.parametrize("keys", [[b"a", b"b" * 600], [b"a"], [None, b"a", b"none"], []])
def test_many_values_are_those_of_one_by_one(store, keys):
    put(store, {b"a": b"1", b"b" * 600: b"22"})
    with store.read() as tx:
        wanted = [None if key is None else tx.get(key) for key in keys]
        assert [value and value[:-4] for value in tx.get_many(keys)] == wanted
        assert [value and bytes(value[:-4]) for value in tx.get_many(keys, lasting=False)] == wanted


@pytest.mark.parametrize("keys", [[b"a"], [b"a", b"b"]])
def test_values_outlast_their_transaction(store, keys):
    put(store, {b"a": b"1", b"b": b"2"})
    with store.read() as tx:
        values, scanned = tx.get_many(keys), list(tx.scan(b"a", b"z"))
    for number in range(20):  # the pages are used again
        put(store, {b"a": bytes([number]) * 3000, b"b": b""})
    assert [value and value[:-4] for value in values] == [b"1", b"2"][: len(keys)]
    assert scanned == [(b"a", b"1"), (b"b", b"2")]


def test_a_version_of_the_store_is_one_state_of_it(store):
    versions = []
    for value in (b"1", b"2"):
        put(store, {b"k": value})
        for _ in range(2):
            with store.read() as tx:
                versions.append(tx.version)
    store.reset()
    put(store, {b"k": b"3"})
    with store.read() as tx:
        versions.append(tx.version)
    assert versions[0] == versions[1] != versions[2] == versions[3]
    assert versions[4] not in versions[:4]


def test_a_clean_end_survives_another_boot(path, monkeypatch):
    store = LmdbStore(path)
    put(store, {b"k": b"v"})
    store.close()
    monkeypatch.setattr(_boot, "boot_id", lambda: "another boot")
    store = LmdbStore(path)
    assert everything(store) == {b"k": b"v"}
    put(store, {b"k": b"w"})
    assert (path / "state").read_text().strip() == "another boot"
    store.close()


def test_a_killed_process_loses_nothing_within_one_boot_and_everything_after_another(path, monkeypatch):
    for boot, lost in ((None, False), ("another boot", True)):
        with start(STAYS, path) as process:
            assert process.stdout.readline() == "open\n"
            process.kill()
        if boot:
            monkeypatch.setattr(_boot, "boot_id", lambda: "another boot")
        store = LmdbStore(path)
        assert store.needs_rebuild() is lost
        store.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:8192],
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"\xff" * len(data),
        lambda data: b"\xff" * 4096 + data[4096:],
    ],
    ids=["two pages", "half", "empty", "junk", "first page"],
)
def test_an_environment_that_cannot_be_opened_is_made_anew(path, damage):
    store = LmdbStore(path)
    put(store, {b"%d" % i: bytes(100) for i in range(1000)})
    store.close()
    (path / "data.mdb").write_bytes(damage((path / "data.mdb").read_bytes()))
    store = LmdbStore(path)
    assert store.needs_rebuild()
    put(store, {b"k": b"v"})
    store.close()


def test_reset_while_another_process_has_it_open_empties_it_for_both(store, path):
    with start(STAYS, path) as process:
        assert process.stdout.readline() == "open\n"
        store.reset()
        assert store.needs_rebuild()
        process.communicate("\n")
    put(store, {b"l": b"w"})
    assert everything(store) == {b"l": b"w"}


def test_a_store_used_after_fork_says_so(store):
    put(store, {b"k": b"v"})
    pid = os.fork()
    if pid == 0:
        try:
            store.close()
            with store.read() as tx:
                tx.get(b"k")
        except ConflictError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert everything(store) == {b"k": b"v"}


def test_a_closed_store_says_so(store):
    store.close()
    with pytest.raises(ConflictError, match="is closed"), store.read():
        pass


def test_a_search_that_a_damaged_tree_leads_astray_is_noticed(tmp_path):
    keys = [b"key %06d" % number for number in range(0, 3000, 2)]
    store = LmdbStore(tmp_path / "online")
    store.update(lambda writer: [writer.put(key, b"x" * 40) for key in keys])
    store.close()
    data = tmp_path / "online" / "data.mdb"
    content = data.read_bytes()
    # The flags of a page are at byte 10, and 1 is a branch, which holds the first key of each page below.
    (branch,) = [page for page in range(0, len(content), 4096) if content[page + 10] == 1]
    places = [found.end() - 4 for found in re.finditer(rb"key \d{6}", content[branch : branch + 4096])]
    assert len(places) > 10
    for place in (branch + one for one in places):
        data.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        store = LmdbStore(tmp_path / "online")
        missed = 0
        with store.read() as reader:
            for key in (*keys, b"key 000001", b"key 002001"):
                try:
                    assert (reader.get(key) is None) == (key not in keys)
                    assert [one for one, _ in reader.scan(key, key + b"0")] == [key] * (key in keys)
                except IntegrityError:
                    missed += 1
        store.close()
        assert 0 < missed < len(keys)


def test_views_lie_where_earlier_versions_look_for_them(store):
    view, key = b"v" * 16, b"r" + b"v" * 16 + b"key"
    full = [Full(key, 3, b"full", b"beside it")]
    change = Change(Coverage(1, 2, 3, 4), [Newest(key, b"newest", b"beside")], full, (), b"layout", "spending")
    store.write({view: change})
    store.put_token(b"token")
    assert everything(store) == {
        b"c" + view: b"".join(number.to_bytes(8, "little") for number in (1, 2, 3, 4)),
        b"l" + view: b"layout",
        key: b"newest",
        b"o" + view + b"key": b"beside",
        b"f" + view + b"key\0\0\0\3": b"full",
        b"p" + view + b"key\0\0\0\3": b"beside it",
        b"g": b"token",
        b"v": (2).to_bytes(4, "big"),
    }


def test_processes_that_write_at_once_lose_no_change(store, path):
    with start(COUNTS, path) as first, start(COUNTS, path) as second, start(COUNTS, path) as third:
        for process in (first, second, third):
            process.stdin.write("\n")
            process.stdin.flush()
        assert [process.wait(60) for process in (first, second, third)] == [0, 0, 0]
    view = b"v" * 16
    with store.read() as snapshot:
        assert snapshot.coverage(view).sequence == 120
        assert len(list(snapshot.keys_of(view))) == 120
