"""Embeddings: defined, followed, searched, damaged, rebuilt."""

import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import at
from hypothesis import given
from hypothesis import strategies as st
from inside import context_of, database_of, environment_of, set_clock

import tinymlops as tm
from tinymlops.features.intake.compaction import compact
from tinymlops.features.vectors import following, reading
from tinymlops.features.vectors import image as images
from tinymlops.features.vectors.alone import alone
from tinymlops.features.vectors.arranged import Arranged, Spans, known_at
from tinymlops.features.vectors.parts import part_of
from tinymlops.kernels.nearest import exact_scores, lengths, nearest
from tinymlops.kernels.records import FOREVER
from tinymlops.records import EmbeddingState, VectorFailure, VectorFile
from tinymlops.stores.doctor import check

ROOT = Path(__file__).parents[1]
TEXTS = ["red candles smell good", "a brown bear", "blue candles", "two brown bears eat honey", "mugs of tea"]


def reviews_project(**options):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="n")
    def reviews() -> tm.Schema:
        return {"n": int, "customer": str, "at": datetime, "country": str, "text": str, "v": pl.List(pl.Float64)}

    @project.source(timestamp="at", id="n")
    def others() -> tm.Schema:
        return {"n": int, "at": datetime}

    project.embedding("near", source=reviews, vector="v", dimension=2)
    made = {"text": "text", "model": "tfidf", "dimension": 8} | options
    project.embedding("bio", source=reviews, **made)
    project.embedding("people", source=reviews, entity=customer, vector="v", dimension=2)
    return project


def review(n, text="tea", *, v=None, customer="a", **more):
    return {"n": n, "customer": customer, "at": at(n), "country": "AT", "text": text, "v": v, **more}


@pytest.fixture
def ws(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(50))) as ws:
        ws.apply(reviews_project())
        yield ws


def keys(found, column="n"):
    return found.to_polars()[column].to_list()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "does not say what its vectors are made of"),
        ({"text": "text"}, "does not say what its vectors are made of"),
        ({"text": "text", "model": "tfidf", "vector": "v"}, "has a column of vectors and a text as well"),
        ({"vector": "v", "dimension": 0}, "dimension=0"),
        ({"vector": "v", "dimension": True}, "dimension=True"),
        ({"vector": "v", "metric": "cosin"}, "metric='cosin'"),
        ({"vector": 3}, "vector=3"),
        ({"vector": "v", "key": "env:KEY"}, "is not the key of a provider"),
        ({"vector": "v", "owner": 3}, "owner=3"),
        ({"vector": "v", "entity": "customer"}, "entity='customer'"),
    ],
)
def test_a_definition_that_does_not_fit_is_refused(options, said):
    project = tm.Project("shop")

    @project.source(timestamp="at", id="n")
    def reviews() -> tm.Schema:
        return {"n": int, "at": datetime, "text": str, "v": pl.List(pl.Float64)}

    with pytest.raises(tm.DefinitionError, match=said):
        project.embedding("bio", source=reviews, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"text": "n", "model": "tfidf"}, "is Int64 and not text"),
        ({"vector": "text"}, "is String, not lists of numbers"),
        ({"vector": "w"}, "has no column 'w'"),
        ({"vector": "fixed", "dimension": 3}, "arrays have 2 numbers, and dimension=3"),
    ],
)
def test_apply_refuses_columns_that_do_not_fit(tmp_path, options, said):
    project = tm.Project("shop")

    @project.source(timestamp="at", id="n")
    def reviews() -> tm.Schema:
        return {"n": int, "at": datetime, "text": str, "fixed": pl.Array(pl.Float32, 2)}

    project.embedding("bio", source=reviews, **options)
    with tm.connect(tmp_path / "shop.tm", create=True) as ws, pytest.raises(tm.DefinitionError, match=said):
        ws.apply(project)


def test_a_source_without_a_key_is_refused(tmp_path):
    project = tm.Project("shop")

    @project.source(timestamp="at")
    def reviews() -> tm.Schema:
        return {"n": int, "at": datetime, "v": pl.List(pl.Float64)}

    project.embedding("near", source=reviews, vector="v")
    with tm.connect(tmp_path / "shop.tm", create=True) as ws, pytest.raises(tm.DefinitionError, match="has no id"):
        ws.apply(project)


def test_a_source_whose_rows_are_not_stored_is_refused(tmp_path):
    project = tm.Project("shop")
    pl.DataFrame({"n": [1], "at": [at(1)], "v": [[1.0, 0.0]]}).write_parquet(tmp_path / "rows.parquet")

    @project.source(timestamp="at", id="n", store=False)
    def reviews() -> str:
        return "select * from read_parquet('rows.parquet')"

    project.embedding("near", source=reviews, vector="v")
    with tm.connect(tmp_path / "shop.tm", create=True) as ws, pytest.raises(tm.DefinitionError, match="store=False"):
        ws.apply(project)


def test_an_embedding_is_a_definition_like_others(ws):
    assert ws.catalog.get("embedding", "bio").version == 1
    assert ws.docs("bio").facts["made of"] == "text by tfidf"
    assert "embedding bio" in str(ws.lineage("reviews", downstream=True))
    ws.apply(reviews_project(dimension=9))
    assert ws.catalog.get("embedding", "bio").version == 2
    assert "~ embedding bio" in str(ws.plan(reviews_project(dimension=8)))


@pytest.mark.parametrize("k", [0, -1, 1_000_000, True, 2.0])
def test_a_number_of_rows_that_is_none_is_refused(ws, k):
    with pytest.raises(tm.DataError, match="is not a number of rows"):
        ws.vectors.search("near", [1, 0], k=k)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ([1, 0, 0], "the query has 3 numbers, and the vectors of embedding 'near' have 2"),
        ([math.nan, 0], "number 0 of the query"),
        ([0, math.inf], "number 1 of the query"),
        ([1e300, 0], "which no float32 holds"),
        ("tea", "vectors of its own and no model"),
        ([[1, 0]], "is not a vector of numbers"),
        (["a", "b"], "is not a vector of numbers"),
        (None, "is not a vector of numbers"),
        ([], "is not a vector of numbers|has 0 numbers"),
        (np.ma.array([1.0, 2.0], mask=[False, True]), "is not a vector of numbers"),
        (np.array([True, False]), "is not a vector of numbers"),
    ],
)
def test_a_query_that_is_no_vector_is_refused(ws, query, said):
    ws.push("reviews", [review(1, v=[1.0, 0.0])])
    with pytest.raises(tm.DataError, match=said):
        ws.vectors.search("near", query)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (lambda: tm.col("contry") == "AT", "no column 'contry'"),
        (lambda: tm.col("n") + 1, "is Int64 and not a condition"),
        (lambda: tm.col("country") > 3, "cannot be computed"),
        (lambda: "country = 'AT'", "is not a condition"),
        (lambda: tm.col("n") * 2**62 * 2 > 0, "does not fit 64 bits|beyond"),
    ],
)
def test_a_condition_that_cannot_be_used_is_refused(ws, where, said):
    ws.push("reviews", [review(8, v=[1.0, 0.0])])
    with pytest.raises(tm.TinyMLOpsError, match=said):
        ws.vectors.search("near", [1, 0], where=where())


def test_zero_vectors_have_the_cosine_0_and_ties_stand_by_key(ws):
    ws.push("reviews", [review(n, v=v) for n, v in [(4, [0, 0]), (3, [0, 1]), (2, [1, 1]), (1, [0, 0]), (5, [-1, 0])]])
    found = ws.vectors.search("near", [1, 0])
    assert keys(found) == [2, 1, 3, 4, 5]
    assert found.to_polars()["score"].to_list() == [1 / math.sqrt(2), 0, 0, 0, -1]
    assert keys(ws.vectors.search("near", [0, 0])) == [1, 2, 3, 4, 5]


def test_a_row_that_has_no_vector_is_named_and_the_others_are_found(ws):
    bad = [review(2, v=[1.0]), review(3, v=[math.nan, 1.0]), review(4, v=None), review(5, v=[1e300, 0.0])]
    ws.push("reviews", [review(1, v=[1.0, 0.0]), *bad])
    assert keys(ws.vectors.search("near", [1, 0])) == [1]
    failed = ws.vectors.failures("near")
    assert failed["n"].to_list() == [2, 3, 5]
    assert "it has 1 numbers" in failed["reason"][0]


def test_only_texts_that_are_new_are_embedded(ws, monkeypatch):
    asked = []
    original = following.open_model

    def counting(*given_):
        model = original(*given_)

        class Counting:
            dimension, fingerprint = model.dimension, model.fingerprint

            def embed(self, texts):
                asked.extend(texts)
                return model.embed(texts)

        return Counting()

    monkeypatch.setattr(following, "open_model", counting)
    ws.push("reviews", [review(n, text) for n, text in enumerate(TEXTS)])
    (before,) = ws.vectors.follow("bio")
    assert (before.embedded, before.covered) == (5, 5)
    ws.push("reviews", [review(9, TEXTS[0]), review(10, "green candles"), review(11, "green candles")])
    found = ws.vectors.search("bio", "candles")
    assert (found.covered, found.waiting) == (5, 2)
    assert 9 in keys(found), "its text is known, so nothing waits for it"
    ws.vectors.follow()
    ws.vectors.rebuild("bio")
    ws.vectors.rebuild("bio", purge=True)
    assert sorted(asked) == sorted([*TEXTS, "green candles"])
    assert (ws.vectors.search("bio", "candles").waiting, database_of(ws).count(VectorFile)) == (0, 1)


def test_many_small_files_become_one_and_every_vector_stays(ws):
    for n in range(40):
        ws.push("reviews", [review(n, f"{TEXTS[n % 5]} number {n}")])
        ws.vectors.follow("bio")
    files = database_of(ws).list(VectorFile)
    assert len(files) < 20
    assert sum(file.rows for file in files) == 40
    on_disk = {path.name for path in (environment_of(ws).path / "blobs").rglob("*") if path.is_file()}
    assert {file.sha256 for file in files} <= on_disk
    assert len(on_disk) == len(files) + 1, "and what TF-IDF was fitted to"
    assert len(ws.vectors.search("bio", "candles", k=100)) == 40
    assert ws.vectors.follow("bio")[0].embedded == 0


def test_texts_that_fail_are_named_with_their_rows_and_others_go_on(ws):
    ws.push(
        "reviews",
        [review(1, ""), review(2, "tea " * 250_000), review(3, "🕯️ свечи 蜡烛"), review(4, None), review(5, " ")],
    )
    (done,) = ws.vectors.follow("bio")
    assert (done.embedded, done.failed, done.covered) == (2, 2, 5)
    assert ws.vectors.failures("bio").rows() == [(1, 1, "it is empty"), (5, 5, "it is empty")]
    assert keys(ws.vectors.search("bio", "свечи"))[0] == 3
    ws.push("reviews", [review(1, "candles")])
    assert ws.vectors.follow("bio")[0].covered == database_of(ws).sequence()


def test_texts_without_a_word_wait_for_others(ws):
    ws.push("reviews", [review(1, "-"), review(2, "!?")])
    assert ws.vectors.follow("bio")[0].covered == 0
    ws.push("reviews", [review(3, "candles")])
    assert ws.vectors.follow("bio")[0].covered == 3
    assert keys(ws.vectors.search("bio", "candles"))[0] == 3


def test_tfidf_is_fitted_on_what_is_known_then_and_anew_when_asked(ws):
    ws.push("reviews", [review(1, "candles"), review(60, "honey")])  # the second one happens after the clock
    before = ws.vectors.follow("bio")[0].model
    (state,) = database_of(ws).list(EmbeddingState)
    assert state.fitted_at == at(50)
    assert b'"texts":1' in environment_of(ws).blobs.read(state.fitted)
    set_clock(ws, tm.ReplayClock(at(70)))
    assert ws.vectors.rebuild("bio").model == before
    assert ws.vectors.rebuild("bio", anew=True).model != before
    (state,) = database_of(ws).list(EmbeddingState)
    assert b'"texts":2' in environment_of(ws).blobs.read(state.fitted)
    ws.vectors.rebuild("bio", purge=True)
    assert {file.model for file in database_of(ws).list(VectorFile)} == {before, state.model}


def test_a_model_by_another_definition_begins_anew(ws):
    ws.push("reviews", [review(n, text) for n, text in enumerate(TEXTS)])
    ws.vectors.follow("bio")
    ws.apply(reviews_project(dimension=4))
    assert ws.vectors.search("bio", "candles").waiting == 5
    assert ws.vectors.follow("bio")[0].embedded == 5
    assert len(ws.vectors.search("bio", "candles")) == 5


def with_image(ws, monkeypatch, late=10**9):
    monkeypatch.setattr(images, "MANY_ROWS", 0)
    monkeypatch.setattr(images, "MANY_LATE_ROWS", late)
    ws.push("reviews", [review(n, text, v=[1.0, n / 8]) for n, text in enumerate(TEXTS)])
    ws.vectors.follow()
    return environment_of(ws).path / "images" / "reviews"


def test_rows_after_an_image_are_searched_and_replace_earlier_ones(ws, monkeypatch):
    folder = with_image(ws, monkeypatch)
    made = sorted(folder.rglob("*-*"))
    ws.push(
        "reviews",
        [
            review(0, v=[0.0, 1.0]),
            review(1, v=None),
            review(2, TEXTS[2], v=[1.0, 0.25], deleted=True),
            review(7, v=[1.0, 0.0]),
        ],
    )
    assert keys(ws.vectors.search("near", [1, 0])) == [7, 3, 4, 0]
    assert sorted(folder.rglob("*-*")) == made, "the image was not made anew"
    assert keys(ws.vectors.search("near", [1, 0], as_of=5)) == [0, 1, 2, 3, 4]
    monkeypatch.setattr(images, "MANY_LATE_ROWS", 0)
    assert keys(ws.vectors.search("near", [1, 0])) == [7, 3, 4, 0]
    assert sorted(folder.rglob("*-*")) != made


def test_what_a_search_has_read_is_kept_until_something_changes(ws, monkeypatch):
    with_image(ws, monkeypatch)
    assert keys(ws.vectors.search("near", [1, 0])) == [0, 1, 2, 3, 4]
    with monkeypatch.context() as patched:
        patched.setattr(reading, "read_rows", None)  # as no row is read anew
        ws.push("others", [{"n": 1, "at": at(1)}])
        assert keys(ws.vectors.search("near", [1, 0])) == [0, 1, 2, 3, 4]
    ws.push("reviews", [review(n, v=[0.0, 1.0]) for n in (7, 8)])
    compact(context_of(ws), ["reviews"])  # both rows, and all before them, are in one segment
    newest = database_of(ws).sequence()
    assert keys(ws.vectors.search("near", [0, 1], k=2)) == [7, 8]
    assert keys(ws.vectors.search("near", [0, 1], k=2, as_of=newest - 1)) == [7, 4]
    assert keys(ws.vectors.search("near", [0, 1], k=2)) == [7, 8]


def test_an_image_that_the_store_no_longer_bears_out_is_not_used(ws, monkeypatch):
    with_image(ws, monkeypatch)
    monkeypatch.setattr(images, "make_image", lambda *_: None)
    with database_of(ws).write(actor=None) as tx:  # as a removal would, row and all
        tx.execute("DELETE FROM pushed_rows WHERE n = 1")
    assert keys(ws.vectors.search("near", [1, 0])) == [1, 2, 3, 4]


def test_a_flipped_byte_is_found_and_the_answer_stays_right(ws, monkeypatch):
    folder = with_image(ws, monkeypatch)
    right = ws.vectors.search("near", [1, 0.5]).to_dicts()
    for path in sorted(folder.rglob("*.arrow")):
        flip(path)
        assert "join images" in damaged(ws)
        assert ws.vectors.search("near", [1, 0.5]).to_dicts() == right
    (file,) = database_of(ws).list(VectorFile)
    shutil.rmtree(folder)
    flip(environment_of(ws).path / "blobs" / file.sha256[:2] / file.sha256)
    assert "files" in damaged(ws)
    with pytest.raises(tm.IntegrityError, match="is damaged"):
        ws.vectors.search("bio", "candles")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def damaged(ws):
    return {found.check for found in check(environment_of(ws), lambda _: None) if found.level == "damaged"}


def test_a_purge_leaves_no_byte_of_what_is_gone(ws, monkeypatch, tmp_path):
    with_image(ws, monkeypatch)
    planted = np.array([0.123456, 0.654321], "<f4")
    secret = "my secret is quicksand"
    ws.push("reviews", [review(8, secret, v=planted.tolist()), review(9, "", v=None)])
    ws.vectors.follow()
    ws.vectors.search("near", [1, 0])
    vector = vector_of(ws, secret)
    assert holds(ws, vector)
    assert holds(ws, planted.tobytes())
    with database_of(ws).write(actor=None) as tx:
        tx.execute("DELETE FROM pushed_rows WHERE n > 5")
    assert 8 not in keys(ws.vectors.search("bio", secret))
    for name in ("bio", "near", "people"):
        ws.vectors.rebuild(name, purge=True)
    assert not holds(ws, vector)
    assert not holds(ws, planted.tobytes())
    assert not holds(ws, secret.encode(), but="meta.db")
    assert database_of(ws).count(VectorFailure) == 0
    assert len(ws.vectors.search("bio", "candles")) == 5
    ws.gc(grace="1ms")
    copy = ws.backup(tmp_path / "copy")
    tm.restore(tmp_path / "copy", tmp_path / "again.tm")
    assert sum(file.path.startswith("blobs/") for file in copy.files) == 2
    with tm.connect(tmp_path / "again.tm", clock=tm.ReplayClock(at(50))) as again:
        assert keys(again.vectors.search("bio", "candles")) == keys(ws.vectors.search("bio", "candles"))
        assert damaged(again) == set()


def vector_of(ws, text):
    from tinymlops.features.definitions.specs import EmbeddingSpec
    from tinymlops.features.vectors.standing import standing_of

    context = context_of(ws)
    standing = standing_of(context, context.definitions.get(EmbeddingSpec, "bio"))
    return standing.texts.matrix_of(pl.Series([text])).values[0].tobytes()


def holds(ws, planted, *, but="nothing"):
    files = [path for path in environment_of(ws).path.rglob("*") if path.is_file() and not path.name.startswith(but)]
    return any(planted in path.read_bytes() for path in files)


CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_vectors
import tinymlops as tm
from tinymlops.features.vectors import following
from tinymlops.stores import publish
following._PIECE = 1
count = 0
def dying(name, original):
    def call(*args, **options):
        global count
        count += 1
        if count == {when}:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **options)
    return call
publish.fsync = dying("fsync", publish.fsync)
publish.fsync_directory = dying("directory", publish.fsync_directory)
following.add_vectors = dying("commit", following.add_vectors)
following.save_state = dying("state", following.save_state)
with tm.connect({path!r}, clock=tm.ReplayClock(test_vectors.at(50))) as ws:
    ws.vectors.follow("bio")
"""


def test_a_process_that_is_killed_while_it_embeds_loses_nothing(tmp_path):
    folder = tmp_path / "shop.tm"
    with tm.connect(folder, create=True, clock=tm.ReplayClock(at(50))) as ws:
        ws.apply(reviews_project())
        ws.push("reviews", [review(n, text) for n, text in enumerate(TEXTS)])
    for when in (2, 6, 11):
        code = CHILD.format(tests=str(ROOT / "tests"), when=when, path=str(folder))
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    with tm.connect(folder, clock=tm.ReplayClock(at(50))) as ws:
        ws.vectors.follow("bio")
        assert len(ws.vectors.search("bio", "candles")) == 5
        assert damaged(ws) == set()
        assert sum(file.rows for file in database_of(ws).list(VectorFile)) == 5


def test_two_processes_see_one_another(ws, monkeypatch):
    with_image(ws, monkeypatch)
    code = f"""
        import sys
        sys.path.insert(0, {str(ROOT / "tests")!r})
        import test_vectors
        import tinymlops as tm
        with tm.connect({str(environment_of(ws).path)!r}, clock=tm.ReplayClock(test_vectors.at(50))) as ws:
            ws.push("reviews", [test_vectors.review(0, deleted=True), test_vectors.review(7, "new candles", v=[1.0, 0.0])])
            ws.vectors.follow("bio")
            print(test_vectors.keys(ws.vectors.search("bio", "candles", k=2)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == str(keys(ws.vectors.search("bio", "candles", k=2)))
    assert 0 not in keys(ws.vectors.search("near", [1, 0]))
    assert 7 in keys(ws.vectors.search("near", [1, 0]))


def test_two_that_make_vectors_do_not_get_in_each_others_way(ws):
    with alone(context_of(ws)), pytest.raises(tm.ConflictError, match="vectors are being made"):
        in_thread(lambda: ws.vectors.follow("bio"))


def in_thread(work):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(work).result()


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@given(
    scale=st.sampled_from([1.0, 1e-30, 1e30, 1e-44]),
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 60),
    k=st.integers(1, 12),
)
def test_scores_are_those_of_exact_sums_whatever_is_beside_them(metric, scale, seed, rows, k):
    random = np.random.default_rng(seed)
    matrix = (random.standard_normal((rows, 5)) * scale).astype(np.float32)
    matrix[random.random(rows) < 0.3] = matrix[0]  # ties
    query = (random.standard_normal(5) * scale).astype(np.float32)
    vector = random.integers(0, rows, 80)
    found = nearest(matrix, lengths(matrix), vector, query, k, metric=metric)
    exact = [plainly(matrix[place].tolist(), query.tolist(), metric) for place in vector]
    best = sorted(range(80), key=lambda place: (-exact[place], place))[:k]
    assert found.places.tolist() == best
    assert found.scores.tolist() == [exact[place] for place in best]


def plainly(row, query, metric):
    dot = sum(Fraction(a) * Fraction(b) for a, b in zip(row, query, strict=True))
    if metric == "dot":
        return float(dot)
    if metric == "l2":
        return -math.sqrt(float(sum((Fraction(a) - Fraction(b)) ** 2 for a, b in zip(row, query, strict=True))))
    squares = [float(sum(Fraction(a) ** 2 for a in one)) for one in (row, query)]
    return max(-1.0, min(1.0, float(dot) / math.sqrt(squares[0] * squares[1]))) if dot else 0.0


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("k", [1, 3, 40])
def test_many_candidates_are_left_out_by_groups_and_ties_by_place(metric, k):
    chance = np.random.default_rng(k)
    matrix = chance.integers(-2, 3, (4_000, 3)).astype(np.float32)  # with many equal scores
    vector, query = chance.permutation(4_000), np.array([1, 0.5, -2], np.float32)
    found = nearest(matrix, lengths(matrix), vector, query, k, metric=metric)
    scores = exact_scores(matrix, vector, query, metric=metric)
    assert found.places.tolist() == np.argsort(-scores, kind="stable")[:k].tolist()


def test_a_part_has_the_rows_that_spans_say_without_those_left_out():
    chance = np.random.default_rng(0)
    for size in [0, 1, 40, 40, 40]:
        begins = chance.integers(0, 30, size)
        spans = Spans(np.arange(size), begins, np.where(chance.random(size) < 0.5, FOREVER, begins + 5))
        key, vector = np.arange(size) // 3, np.where(chance.random(size) < 0.8, np.arange(size), -1)
        arranged = Arranged(pl.DataFrame(), pl.DataFrame(), key, spans, np.empty((0, 2)), np.empty(0), vector)
        out = chance.random(size // 3 + 1) < 0.3
        for part, gone in ((part_of(arranged), np.zeros_like(out)), (part_of(arranged).leaving_out(out), out)):
            for t in range(-1, 40):
                known = [row for row in known_at(spans, t).tolist() if not gone[key[row]]]
                assert part.known_at(t).tolist() == known
                rows, number = part.searched_at(t)
                assert rows.tolist() == [row for row in known if vector[row] >= 0]
                assert number.tolist() == vector[rows].tolist()
                assert part.count(t) == known_at(spans, t).size
