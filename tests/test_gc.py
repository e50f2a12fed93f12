"""Collection: what nothing needs goes, after its grace; everything else stays."""

import os

import polars as pl
from conftest import at, shop

from tinymlops._time import system_clock, to_micros
from tinymlops.stores.collection import collect

HOUR = 3_600_000_000


def orders(count):
    return pl.DataFrame({"customer": ["a"] * count, "at": [at(i) for i in range(count)], "amount": [1.0] * count})


def files(root):
    return {path for folder in ("blobs", "segments") for path in (root / folder).rglob("*") if path.is_file()}


def now():
    return to_micros(system_clock())


def test_orphans_go_once_they_are_old_enough_and_what_is_named_stays(workspace, tmp_path):
    workspace.apply(shop(orders(3)))
    workspace.ingest("orders")
    environment = workspace._environment
    kept = files(environment.path)
    fresh, old = environment.blobs.put(b"fresh"), environment.blobs.put(b"old")
    path = environment.blobs.path(old)
    os.utime(path, (0, 0))
    collected = collect(environment, now=now(), grace=HOUR)
    assert (collected.orphans, collected.segments, collected.bytes) == (1, 0, 3)
    assert files(environment.path) == kept | {environment.blobs.path(fresh)}


def test_a_segment_out_of_use_stays_for_its_grace_and_then_goes_with_its_row(workspace):
    workspace.apply(shop(orders(3)))
    workspace.ingest("orders")
    environment = workspace._environment
    with environment.database.write(actor="test") as tx:
        tx.execute("UPDATE segments SET dead_at = ?", (now() - HOUR,))
    assert collect(environment, now=now(), grace=2 * HOUR).segments == 0
    assert len(files(environment.path)) == 1
    assert collect(environment, now=now(), grace=HOUR).segments == 1
    assert files(environment.path) == set()
    assert environment.database.rows("SELECT count(*) FROM segments") == [(0,)]
    assert environment.database.verify_audit() == []


def test_a_file_that_another_row_names_stays(workspace):
    workspace.apply(shop(orders(3)))
    workspace.ingest("orders")
    environment = workspace._environment
    with environment.database.write(actor="test") as tx:
        tx.execute(
            "INSERT INTO segments (source, sha256, base, rows, last, bytes, corrections, created_at, dead_at) "
            "SELECT source, sha256, base, rows, last, bytes, corrections, created_at, 1 FROM segments"
        )
    assert collect(environment, now=now(), grace=HOUR).segments == 0
    assert len(files(environment.path)) == 1


def test_it_waits_for_readers_and_writers(workspace):
    environment = workspace._environment
    order = []
    import threading

    started = threading.Event()

    def run():
        started.set()
        collect(environment, now=now(), grace=HOUR)
        order.append("collected")

    with environment.gc_lock.shared(deadline=1):
        thread = threading.Thread(target=run)
        thread.start()
        started.wait()
        order.append("read")
    thread.join()
    assert order == ["read", "collected"]
