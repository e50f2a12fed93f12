"""Indexes of embeddings: what they miss is measured, what they find is true, and without them the answer is right."""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import at
from inside import context_of, database_of, environment_of, set_clock
from torture.figures import FULL
from vector_index_child import small

import tinymlops as tm
from tinymlops.features.vectors import generation
from tinymlops.features.vectors import image as images
from tinymlops.records import VectorIndex
from tinymlops.stores import lance_index
from tinymlops.stores.doctor import check

CHILD = Path(__file__).with_name("vector_index_child.py")
ROWS, DIMENSION = 1_500, 12


def project_of(metrics=("cosine",)):
    project = tm.Project("shop")

    @project.source(timestamp="at", id="n")
    def docs() -> tm.Schema:
        return {"n": int, "at": datetime, "country": str, "v": pl.List(pl.Float32)}

    for name in metrics:
        project.embedding("near" if name == "cosine" else name, source=docs, vector="v", metric=name)
    return project


def clustered(rows=ROWS, *, dimension=DIMENSION, seed=0):
    chance = np.random.default_rng(seed)
    middles = chance.standard_normal((12, dimension))
    return (middles[chance.integers(0, 12, rows)] + 0.4 * chance.standard_normal((rows, dimension))).astype(np.float32)


def docs(vectors, *, first=0, hours=None, **more):
    return [
        {"n": n, "at": at(n % 40 if hours is None else hours), "country": "AT" if n % 3 else "DE", "v": v, **more}
        for n, v in enumerate(vectors.tolist(), first)
    ]


@pytest.fixture
def forced(monkeypatch):
    """Make images and indexes of few rows too."""
    for module, name in ((images, "MANY_ROWS"), (generation, "MANY_SPANS"), (generation, "FEW_KNOWN")):
        monkeypatch.setattr(module, name, 0)
    monkeypatch.setattr(images, "MANY_LATE_ROWS", 10**9)
    lance_index.load()


def filled(folder, metrics=("cosine",)):
    ws = tm.connect(folder, create=True, clock=tm.ReplayClock(at(0)))
    ws.apply(project_of(metrics))
    for hours, part in zip((10, 20, 30, 40), np.array_split(np.arange(ROWS), 4), strict=True):
        set_clock(ws, tm.ReplayClock(at(hours)))
        ws.push("docs", docs(clustered()[part], first=int(part[0]), hours=hours))
    set_clock(ws, tm.ReplayClock(at(50)))
    ws.vectors.follow()
    return ws


@pytest.fixture
def ws(tmp_path, forced):
    with filled(tmp_path / "shop.tm") as ws:
        yield ws


def keys(found):
    return found.to_polars()["n"].to_list()


def index_of(ws):
    (row,) = database_of(ws).list(VectorIndex)
    return row


def directories(ws):
    return sorted((environment_of(ws).path / "vectors").glob("*/*"))


def findings(ws, level="damaged"):
    return [one for one in check(environment_of(ws), lambda _: None) if one.level == level and "ind" in one.check]


def query(seed):
    return clustered(1, seed=1000 + seed)[0] * 0.3 + clustered(seed=0)[seed]


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_it_finds_nearly_what_an_exact_search_does_and_nothing_else(tmp_path, forced, metric):
    with filled(tmp_path / "shop.tm", (metric,)) as ws:
        row, name = index_of(ws), "near" if metric == "cosine" else metric
        assert (row.refused, row.covered, row.lancedb) == (None, ROWS, "0.40.0")
        assert row.recall >= 0.95
        ws.push("docs", [*docs(clustered(30, seed=7), hours=45), *docs(clustered(20, seed=3), first=100, deleted=True)])
        chance, shared, asked = random.Random(3), 0, 0
        for seed in range(600 if FULL else 16):
            hours, country = chance.choice([None, 20, 30, 45]), chance.choice([None, None, "AT", "DE"])
            options = {
                "k": chance.choice([5, 10, 25]),
                "at": None if hours is None else at(hours),
                "where": None if country is None else tm.col("country") == country,
            }
            found = ws.vectors.search(name, query(seed), **options)
            exact = ws.vectors.search(name, query(seed), exact=True, **options)
            assert (exact.mode, exact.generation, exact.indexed) == ("exact", None, None)
            known = {one["n"]: one for one in ws.vectors.search(name, query(seed), **options | {"k": 2000}).to_dicts()}
            assert all(known[one["n"]] == one for one in found.to_dicts()), (
                "each row is one of the exact answer, score and all"
            )
            if found.mode == "index":
                assert (found.generation, found.indexed) == (row.generation, ROWS)
                shared += len(set(keys(found)) & set(keys(exact)))
                asked += len(exact)
        assert asked > 20
        assert shared >= 0.97 * asked


def test_a_condition_that_leaves_few_candidates_is_answered_exactly(ws):
    found = ws.vectors.search("near", query(1), where=tm.col("n") < 60)
    assert (found.mode, len(found)) == ("exact", 10)
    assert ws.vectors.search("near", query(1), where=tm.col("n") < ROWS).mode == "index"
    assert ws.vectors.search("near", [0.0] * DIMENSION).mode == "exact", "by cosine all are equally near"
    assert ws.vectors.search("near", [1e-30] * DIMENSION).mode == "exact"
    assert ws.vectors.search("near", query(1), k=1000).mode == "exact"
    assert ws.vectors.search("near", query(1), as_of=700).mode == "exact"


def test_few_rows_known_then_are_all_compared(ws, monkeypatch):
    monkeypatch.setattr(generation, "FEW_KNOWN", 1000)
    assert ws.vectors.search("near", query(1)).mode == "index"
    assert ws.vectors.search("near", query(1), at=at(20)).mode == "exact"


def test_vectors_of_zeros_are_found_where_others_point_away(tmp_path, forced):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(50))) as ws:
        ws.apply(project_of())
        vectors = -np.abs(clustered())
        vectors[700:705] = 0
        ws.push("docs", docs(vectors))
        ws.vectors.follow()
        assert index_of(ws).generation is not None
        assert keys(ws.vectors.search("near", [1.0] * DIMENSION, k=5)) == [700, 701, 702, 703, 704]


def test_one_that_misses_too_many_is_refused_and_told(ws, monkeypatch, caplog):
    before = index_of(ws)
    monkeypatch.setattr(generation, "LEAST_RECALL", 1.1)
    ws.vectors.rebuild("near")
    row = index_of(ws)
    assert (row.generation, directories(ws)) == (None, [])
    assert "is refused, searches stay exact: it finds" in caplog.text
    assert ws.vectors.search("near", query(1)).mode == "exact"
    ws.vectors.follow("near")
    assert index_of(ws).at == row.at, "it is not tried again over the same rows"
    (told,) = findings(ws, "warning")
    assert "near has none and is searched exactly" in told.detail
    assert before.generation is not None


def test_vectors_beyond_float32_have_none(tmp_path, forced):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(50))) as ws:
        ws.apply(project_of())
        ws.push("docs", docs(clustered() * np.float32(1e30)))
        ws.vectors.follow()
        assert "leave the range" in index_of(ws).refused
        assert len(ws.vectors.search("near", query(1))) == 10


def test_it_stays_while_few_rows_come_and_is_made_anew_when_many_have(ws, monkeypatch):
    first = index_of(ws)
    ws.push("docs", docs(clustered(10, seed=5), first=5000))
    ws.vectors.follow()
    assert index_of(ws) == first
    assert keys(ws.vectors.search("near", clustered(10, seed=5)[4], k=1)) == [5004]
    assert ws.vectors.search("near", query(1)).mode == "index"
    monkeypatch.setattr(images, "MANY_LATE_ROWS", 5)
    ws.push("docs", docs(clustered(200, seed=6), first=6000))
    ws.vectors.follow()
    assert index_of(ws).generation != first.generation
    assert [path.name for path in directories(ws)] == [index_of(ws).generation]


def test_a_flipped_byte_or_a_missing_file_is_found_and_the_answer_stays_right(ws, caplog):
    right = keys(ws.vectors.search("near", query(1), exact=True))
    for path in sorted(directories(ws)[0].rglob("*")):
        if not path.is_file() or not path.stat().st_size:
            continue
        content = path.read_bytes()
        for broken in (flipped(content), None):
            path.unlink()
            if broken is not None:
                path.write_bytes(broken)
            (found,) = findings(ws)
            assert found.file == str(path)
            assert ws.vectors.search("near", query(1)).mode == "exact"
            assert keys(ws.vectors.search("near", query(1))) == right
            path.write_bytes(content)
        assert findings(ws) == []
    assert "is not used, searches are exact" in caplog.text
    path.write_bytes(flipped(content))
    ws.repair()
    assert (directories(ws), findings(ws), database_of(ws).count(VectorIndex)) == ([], [], 0)
    ws.vectors.follow()
    assert ws.vectors.search("near", query(1)).mode == "index"
    path = next(path for path in sorted(directories(ws)[0].rglob("*.lance")) if path.is_file())
    path.write_bytes(flipped(path.read_bytes()))
    ws.vectors.follow()
    assert findings(ws) == [], "follow makes a damaged one anew"


def flipped(content):
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


def test_an_index_of_another_metric_is_not_searched(ws):
    directory = directories(ws)[0]
    with pytest.raises(tm.IntegrityError, match="is not an index by l2"):
        lance_index.LanceIndex(directory, "l2")
    with pytest.raises(tm.IntegrityError, match="LanceDB cannot use"):
        lance_index.LanceIndex(directory / "vectors", "cosine")


def test_files_that_go_while_it_is_open_make_the_answer_exact(ws):
    assert ws.vectors.search("near", query(1)).mode == "index"
    opened = lance_index.open_index(directories(ws)[0], "cosine")
    shutil.rmtree(directories(ws)[0] / "spans.lance" / "_indices")
    with pytest.raises(tm.IntegrityError, match="LanceDB cannot use"):
        for seed in range(40):  # a part may be in its cache
            opened.near(clustered(1, seed=seed)[0], 0, 200, 39)
        lance_index.LanceIndex(directories(ws)[0], "cosine")
    assert ws.vectors.search("near", query(1)).mode == "exact"


def test_gc_removes_what_a_crash_left_and_what_is_not_defined(ws, tmp_path):
    (orphan := environment_of(ws).path / "vectors" / "near" / "0123").mkdir()
    (orphan / "file").write_bytes(b"1")
    assert ws.gc().orphans == 1
    assert [path.name for path in directories(ws)] == [index_of(ws).generation]
    ws.backup(tmp_path / "copy")
    assert not [path for path in (tmp_path / "copy").rglob("*") if "vectors" in path.parts]
    tm.restore(tmp_path / "copy", tmp_path / "again.tm")
    with tm.connect(tmp_path / "again.tm", clock=tm.ReplayClock(at(50))) as again:
        assert findings(again) == []
        assert keys(again.vectors.search("near", query(1))) == keys(ws.vectors.search("near", query(1), exact=True))
        again.vectors.follow()
        assert again.vectors.search("near", query(1)).mode == "index"
    ws.apply(project_of(("l2",)))
    ws.gc()
    assert directories(ws) == []


def test_a_purge_leaves_no_byte_of_a_deleted_vector(ws):
    planted = np.linspace(0.1234567, 0.7654321, DIMENSION, dtype="<f4")
    ws.push("docs", docs(planted[None], first=9000))
    ws.vectors.rebuild("near")
    assert any(planted.tobytes() in path.read_bytes() for path in files(ws, "vectors"))
    with database_of(ws).write(actor=None) as tx:
        tx.execute("DELETE FROM pushed_rows WHERE event_id = '9000'")
    assert 9000 not in keys(ws.vectors.search("near", planted))
    ws.vectors.rebuild("near", purge=True)
    assert not any(planted.tobytes() in path.read_bytes() for path in files(ws, "vectors") + files(ws, "images"))
    assert ws.vectors.search("near", planted).mode == "index"


def files(ws, name):
    return [path for path in (environment_of(ws).path / name).rglob("*") if path.is_file()]


def child(folder, when, purge=""):
    command = [sys.executable, str(CHILD), str(folder), str(when), purge]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def still_right(folder, right):
    with tm.connect(folder) as ws:
        for exact in (True, False):
            assert keys(ws.vectors.search("near", query(1), exact=exact)) == right
        assert findings(ws) == []
        ws.gc()
        named = database_of(ws).list(VectorIndex)
        assert [path.name for path in directories(ws)] == [row.generation for row in named]


def test_a_rebuild_that_is_killed_at_any_step_leaves_the_answer_right(tmp_path, forced):
    folder = tmp_path / "shop.tm"
    with filled(folder) as ws:
        right = keys(ws.vectors.search("near", query(1), exact=True))
    steps = range(1, 60) if FULL else (3, 14, 21)
    for purge in ("", "purge") if FULL else ("",):
        for when in steps:
            process = child(folder, when, purge)
            out, err = process.communicate(timeout=120)
            assert process.returncode in (0, -signal.SIGKILL), err
            still_right(folder, right)
            if process.returncode == 0:
                assert "done" in out
                break


def test_random_kills_of_a_rebuild_leave_the_answer_right(tmp_path, forced):
    folder, chance = tmp_path / "shop.tm", random.Random(5)
    with filled(folder) as ws:
        right = keys(ws.vectors.search("near", query(1), exact=True))
    for _ in range(100 if FULL else 2):
        process = child(folder, 0)
        try:
            assert process.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0, 0.7))
        finally:
            process.kill()
            process.communicate()
        still_right(folder, right)


def test_one_process_rebuilds_while_another_searches(ws):
    exact = [set(keys(ws.vectors.search("near", query(seed), exact=True))) for seed in range(20)]
    folder, seen, shared, rounds = environment_of(ws).path, set(), 0, 0
    process = child(folder, 0)
    try:
        assert process.stdout.readline() == "ready\n"
        until = time.monotonic() + (60 if FULL else 4)
        while time.monotonic() < until or len(seen - {None}) < 2:
            for seed, best in enumerate(exact):
                found = ws.vectors.search("near", query(seed))
                seen.add(found.generation)
                shared, rounds = shared + len(set(keys(found)) & best), rounds + 1
            assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
    assert shared >= 0.97 * 10 * rounds


def test_a_fork_does_not_use_it(ws):
    assert ws.vectors.search("near", query(1)).mode == "index"
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        try:
            told = f"{lance_index.is_ready()}"
            try:
                lance_index.load()
            except tm.ConflictError as error:
                told += f" {error.hint}"
            os.write(writer, told.encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader) as stream:
        assert stream.read().startswith("False start the child by")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(searched, (str(environment_of(ws).path),)) == ["exact", "index"]


def searched(path):
    small()
    with tm.connect(path) as ws:
        return [ws.vectors.search("near", query(1)).mode for _ in range(2)]


def test_searching_exactly_does_not_load_it(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(CHILD.parent)!r})
from vector_index_child import small
small()
import test_vector_indexes as tests
import tinymlops as tm
with tm.connect({str(tmp_path / "shop.tm")!r}) as ws:
    assert ws.vectors.search("near", tests.query(1), exact=True).mode == "exact"
    assert ws.vectors.search("near", tests.query(1)).mode == "exact"
assert "lancedb" not in sys.modules
"""
    with pytest.MonkeyPatch.context() as patched:
        for module, name in ((images, "MANY_ROWS"), (generation, "MANY_SPANS"), (generation, "FEW_KNOWN")):
            patched.setattr(module, name, 0)
        filled(tmp_path / "shop.tm").close()
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_server_loads_it_beforehand_if_there_is_an_index(ws, monkeypatch):
    loaded = []
    monkeypatch.setattr(lance_index, "load", lambda: loaded.append(threading.current_thread().name))
    ws.vectors.warm_up()
    for thread in threading.enumerate():
        if thread.name == "loading LanceDB":
            thread.join()
    assert loaded == ["loading LanceDB"]
    ws.repair()
    ws.vectors.warm_up()
    assert len(loaded) == 1


def test_a_rebuild_is_refused_while_another_one_makes_vectors(ws):
    from concurrent.futures import ThreadPoolExecutor

    from tinymlops.features.vectors.alone import alone

    with (
        alone(context_of(ws)),
        ThreadPoolExecutor(1) as threads,
        pytest.raises(tm.ConflictError, match="are being made"),
    ):
        threads.submit(ws.vectors.rebuild, "near").result()
