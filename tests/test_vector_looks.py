"""Near duplicates and clusters: as a plain reading of all pairs finds them, and what is said and drawn of groups."""

import itertools
import math
import re
import xml.etree.ElementTree as ET
from datetime import datetime

import numpy as np
import polars as pl
import pytest
import vector_oracle
from conftest import at
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from inside import context_of, set_clock

import tinymlops as tm
from tinymlops.features.history.stored import stored_rows
from tinymlops.features.vectors import clusters as clusters_module
from tinymlops.features.vectors import duplicates as duplicates_module
from tinymlops.features.vectors import image as images
from tinymlops.features.vectors.scatter import Scatter, scatter_svg, scatter_text
from tinymlops.kernels import close_pairs as kernel
from tinymlops.kernels.close_pairs import close_pairs
from tinymlops.kernels.nearest import exact_scores, lengths

METRICS = ("cosine", "dot", "l2")


def project_of():
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="n")
    def reviews() -> tm.Schema:
        return {"n": int, "customer": str, "at": datetime, "country": str, "text": str, "v": pl.List(pl.Float64)}

    for metric in METRICS:
        project.embedding(metric, source=reviews, vector="v", dimension=2, metric=metric)
    project.embedding("people", source=reviews, entity=customer, vector="v", dimension=2)
    project.embedding("bio", source=reviews, text="text", model="tfidf", dimension=8)
    return project


@pytest.fixture
def ws(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(1000))) as ws:
        ws.apply(project_of())
        yield ws


def review(n, v=None, text="tea", *, customer="a", country="AT", **more):
    return {"n": n, "customer": customer, "at": at(n), "country": country, "text": text, "v": v, **more}


def all_pairs(vectors, least, metric):
    """Every pair of numbered vectors with its score, in the order of the answer, by exact sums of fractions' digits."""
    found = []
    for one, other in itertools.combinations(sorted(vectors), 2):
        score = float(
            exact_scores(np.array([vectors[other]], "f4"), np.array([0]), np.array(vectors[one], "f4"), metric=metric)[
                0
            ]
        )
        assert math.isclose(score, vector_oracle.score(vectors[one], vectors[other], metric), abs_tol=1e-12)
        if score >= least:
            found.append((-score, one, other))
    return sorted(found)


numbers = st.integers(-3, 3).map(float)
few = st.lists(st.tuples(numbers, numbers), max_size=14)
LEAST = {"cosine": (0.95, 0.5, 0.0, -1.0), "dot": (0.0, 3.0, 4.5), "l2": (0.0, -1.0, -1.5, -4.0)}


@examples(200)
@given(
    vectors=few,
    metric=st.sampled_from(METRICS),
    place=st.integers(0, 3),
    limit=st.integers(1, 30),
    block=st.integers(1, 5),
)
def test_pairs_are_those_of_brute_force(vectors, metric, place, limit, block):
    least = LEAST[metric][place % len(LEAST[metric])]
    matrix = np.array(vectors, "f4").reshape(-1, 2)
    first, number = duplicates_module.without_repeats(matrix)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "_BLOCK", block)
        patch.setattr(kernel, "_MANY", 2)
        pairs, count = duplicates_module._pairs(matrix[first], number, least, limit, metric)
    wanted = all_pairs(dict(enumerate(vectors)), least, metric)
    assert pairs == wanted[:limit]
    assert count == len(wanted)


@examples(60)
@given(
    metric=st.sampled_from(METRICS),
    scale=st.sampled_from([1e-44, 1e-38, 1e-3, 1.0, 1e12, 1e37]),
    seed=st.integers(0, 10_000),
    limit=st.sampled_from([1, 7, 1000]),
)
def test_vectors_of_any_length_are_compared_exactly(metric, scale, seed, limit):
    rng = np.random.default_rng(seed)
    matrix = (rng.normal(size=(24, 5)) * scale).astype("f4")
    matrix[3::4] = matrix[2::4] * np.float32(1 + rng.choice([0, 2**-23, 2**-12]))
    matrix = matrix[duplicates_module.without_repeats(matrix)[0]]
    scored = sorted(
        (-float(exact_scores(matrix, np.array([b]), matrix[a], metric=metric)[0]), a, b)
        for a, b in itertools.combinations(range(len(matrix)), 2)
    )
    least = -scored[min(len(scored) - 1, 9)][0]
    found = close_pairs(matrix, lengths(matrix), np.ones(len(matrix), int), least, limit, metric=metric)
    wanted = [one for one in scored if -one[0] >= least]
    assert found.total == len(wanted)
    assert (
        list(zip((-found.scores).tolist(), found.first.tolist(), found.second.tolist(), strict=True)) == wanted[:limit]
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_pairs_are_of_what_was_known_then(seed, tmp_path):
    rng = np.random.default_rng(seed)
    with tm.connect(tmp_path / "a.tm", create=True, clock=tm.ReplayClock(at(0))) as ws:
        ws.apply(project_of())
        for hour in (10, 20, 30):
            set_clock(ws, tm.ReplayClock(at(hour)))
            sent = [review(int(n), rng.integers(-3, 4, 2).tolist()) for n in rng.choice(12, 7, replace=False)]
            ws.push(
                "reviews",
                [one | {"customer": str(rng.choice(list("abc"))), "deleted": rng.random() < 0.2} for one in sent],
            )
        newest = context_of(ws).environment.database.sequence()
        for name, key, metric in (("cosine", "n", "cosine"), ("l2", "n", "l2"), ("people", "customer", "cosine")):
            for hour, as_of in ((25, None), (40, None), (40, newest // 2), (-1, None)):
                least = -2.0 if name == "l2" else 0.7
                found = ws.vectors.duplicates(name, at=at(hour), as_of=as_of, threshold=least, limit=50)
                wanted = all_pairs(known_vectors(ws, key, hour, newest if as_of is None else as_of), least, metric)
                rows = found.to_polars().select("score", f"{key}_1", f"{key}_2").rows()
                assert [(-score, a, b) for score, a, b in rows] == wanted[:50]
                assert found.sequence == (newest if as_of is None else as_of)
            keys = ws.vectors.cluster(name, k=2, at=at(25)).to_polars()[key].to_list()
            assert keys == sorted(known_vectors(ws, key, 25, newest))


def known_vectors(ws, key, hour, sequence):
    """The vector of each key that was known then, by the plain rule: its products with two axes are its numbers."""
    rows = stored_rows(context_of(ws), "reviews").to_dicts()
    t = int(at(hour).timestamp() * 1e6)
    asked = {"key": key, "vector": "v", "k": 100, "t": t, "sequence": sequence, "metric": "dot", "ids": "n"}
    across, up = (dict(map(reversed, vector_oracle.nearest(rows, axis, **asked))) for axis in ([1, 0], [0, 1]))
    return {value: (across[value], up[value]) for value in across}


def test_equal_vectors_zeros_and_one_row(ws):
    assert len(ws.vectors.duplicates("cosine")) == 0
    ws.push("reviews", [review(0, [1.0, 2.0])])
    assert ws.vectors.duplicates("cosine").count == 0
    ws.push(
        "reviews",
        [review(n, v) for n, v in enumerate([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0], [-0.0, 0.0], [2.0, 4.0], None])],
    )
    found = ws.vectors.duplicates("cosine")
    assert found.to_polars().select("n_1", "n_2").rows() == [(0, 2), (0, 4), (2, 4)]
    assert set(found.to_polars()["score"]) == {1.0}
    zeros = ws.vectors.duplicates("l2", threshold=0)
    assert zeros.to_polars().select("score", "n_1", "n_2").rows() == [(0.0, 0, 2), (0.0, 1, 3)]
    assert ws.vectors.duplicates("cosine", at=at(-5)).count == 0
    assert ws.vectors.cluster("cosine", at=at(-5)).to_polars().height == 0


def test_many_equal_rows_are_counted_and_the_best_pairs_returned(ws):
    ws.push("reviews", [review(n, [1.0, 1.0]) for n in range(300)])
    found = ws.vectors.duplicates("cosine", limit=5)
    assert found.count == 300 * 299 // 2
    assert found.to_polars().select("n_1", "n_2").rows() == [(0, n) for n in range(1, 6)]
    assert "the best 5 here" in repr(found)
    assert found.to_polars().columns[:3] == ["score", "n_1", "n_2"]
    assert found.to_pandas().shape == (5, 11)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("cosine", {"threshold": 1.5}, "is no cosine"),
        ("cosine", {"threshold": math.nan}, "not a finite number"),
        ("cosine", {"threshold": "a"}, "not a finite number"),
        ("cosine", {"threshold": True}, "not a finite number"),
        ("l2", {"threshold": 0.5}, "no pair has it"),
        ("l2", {}, "no usual threshold"),
        ("dot", {}, "no usual threshold"),
        ("cosine", {"limit": 0}, "limit=0"),
        ("cosine", {"limit": 10**6}, "limit=1000000"),
        ("cosine", {"limit": True}, "limit=True"),
    ],
)
def test_what_cannot_be_asked_is_refused(ws, name, options, said):
    with pytest.raises(tm.DataError, match=said):
        ws.vectors.duplicates(name, **options)


@pytest.mark.parametrize("options", [{"k": 0}, {"k": 101}, {"k": 2.0}, {"k": True}, {"seed": -1}, {"seed": None}])
def test_clusters_that_cannot_be_are_refused(ws, options):
    with pytest.raises(tm.DataError, match="not a whole number"):
        ws.vectors.cluster("cosine", **options)


def test_too_many_vectors_are_refused_with_an_estimate(ws, monkeypatch):
    ws.push("reviews", [review(n, [1.0, float(n)]) for n in range(5)])
    monkeypatch.setattr(duplicates_module, "MOST_VECTORS", 4)
    with pytest.raises(tm.DataError, match=r"5 different vectors, which make 10 pairs: about 1 minutes"):
        ws.vectors.duplicates("cosine")
    monkeypatch.setattr(clusters_module, "MOST_NUMBERS", 9)
    with pytest.raises(tm.DataError, match="GB of memory"):
        ws.vectors.cluster("cosine")


def blobs(rows=60):
    """Three clouds of points, the first of half of the rows, in three countries."""
    rng = np.random.default_rng(1)
    for n in range(rows):
        which = 0 if n % 2 else 1 + n // 2 % 2
        middle = np.array([[10.0, 0.0], [0.0, 10.0], [-10.0, -10.0]])[which]
        text = ("red candles smell", "brown bears eat honey", "blue mugs of tea")[which]
        yield review(n, (middle + rng.normal(size=2)).tolist(), f"{text} number", country=("AT", "DE", "<b>")[which])


def test_clusters_are_found_numbered_by_size_and_described(ws):
    ws.push("reviews", list(blobs()))
    ws.vectors.follow()
    found = ws.vectors.cluster("l2", k=3, seed=4)
    frame = found.to_polars()
    assert frame.columns == ["n", "cluster", "distance", "x", "y"]
    assert frame.filter(pl.col("n") % 2 == 1)["cluster"].unique().to_list() == [0]
    assert found.summary["rows"].to_list() == [30, 15, 15]
    assert found.summary["values"].list.first().to_list()[0] == "country=AT (100%, elsewhere 0%)"
    vectors = {row["n"]: np.array(row["v"], "f4") for row in blobs()}
    for number in range(3):
        members = frame.filter(pl.col("cluster") == number)
        middle = np.mean([vectors[n] for n in members["n"]], axis=0, dtype=float)
        apart = {n: np.linalg.norm(vectors[n] - middle) for n in members["n"]}
        assert np.allclose(members["distance"], list(apart.values()))
        assert found.summary["nearest"][number].to_list() == sorted(apart, key=apart.get)[:3]
    words = ws.vectors.cluster("bio", k=3).summary
    assert [set(one) & {"candles", "honey", "mugs"} for one in words["words"]] == [{"candles"}, {"honey"}, {"mugs"}]
    assert words["words"].list.contains("number").any() is False


def test_clusters_are_the_same_each_time_and_groups_are_fewer_where_vectors_are(ws):
    rng = np.random.default_rng(2)
    ws.push("reviews", [review(n, v.tolist()) for n, v in enumerate(rng.normal(size=(400, 2)))])
    one, other = (ws.vectors.cluster("cosine", k=5, seed=3) for _ in range(2))
    assert one.to_polars().equals(other.to_polars())
    assert one.summary.equals(other.summary)
    assert one.to_svg() == other.to_svg()
    early = ws.vectors.cluster("cosine", k=5, at=at(-1))
    assert len(early) == 0
    assert "0 clusters of 0 rows" in repr(early)
    assert "0 clusters" in early._repr_html_()


def test_k_of_more_than_there_are_directions(ws, recwarn):
    ws.push(
        "reviews",
        [review(n, v) for n, v in enumerate([[1.0, 0.0], [3.0, 0.0], [0.0, 7.0], [0.0, 0.0], [0.1, 0.1], [3.0, 3.0]])],
    )
    assert ws.vectors.cluster("cosine", k=50).summary["rows"].to_list() == [2, 2, 1, 1]
    assert ws.vectors.cluster("l2", k=50).summary.height == 6
    assert ws.vectors.cluster("people", k=2).summary["nearest"].to_list() == [["a"]]
    assert not recwarn.list


@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1e18, 3e38])
def test_clusters_of_very_small_and_great_numbers(ws, scale):
    ws.push("reviews", [review(n, [scale * one, scale]) for n, one in enumerate([1, 0.9, -1, -0.9])])
    for name in METRICS:
        found = ws.vectors.cluster(name, k=2)
        assert found.to_polars()["cluster"].to_list() == [0, 0, 1, 1]
        assert np.isfinite(found.to_polars().select("distance", "x", "y").to_numpy()).all()
        assert found.to_svg()


def test_the_picture_has_axes_a_legend_and_says_how_many_points_it_draws(ws, monkeypatch):
    ws.push("reviews", list(blobs()))
    found = ws.vectors.cluster("l2", k=3)
    assert "all 60 rows" in repr(found)
    monkeypatch.setattr(clusters_module, "_MOST_POINTS", 20)
    page = found._repr_html_()
    assert "<b>" not in page
    assert "script" not in page
    svg = ET.fromstring(found.to_svg())
    said = [one.text for one in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert "20 of 60 rows, by lot" in said
    shares = [float(re.search(r"\((.*)% of the variance\)", text)[1]) for text in said if "variance" in text]
    assert sum(shares) == pytest.approx(100, abs=0.11)
    marks = [one for one in svg.iter() if one.tag.endswith(("circle", "rect", "polygon"))]
    assert len(marks) == 20 + 3
    values = np.array([row["v"] for row in blobs()], "f4").astype(float)
    apart = values - values.mean(axis=0)
    across = apart @ np.linalg.svd(apart, full_matrices=False)[2][0]
    assert np.allclose(np.abs(found.to_polars()["x"]), np.abs(across))


def test_points_that_are_all_alike_and_many_groups_are_drawn():
    one = Scatter(x=[2.0, 2.0], y=[0.0, 0.0], group=[0, 0], names=["0 a\x1b[2J"], axes=("a", "b"), total=2)
    assert "\x1b" not in scatter_text(one) + scatter_svg(one, title="\x1b")
    many = Scatter(
        x=range(40), y=range(40), group=range(40), names=[str(n) for n in range(40)], axes=("a", "b"), total=40
    )
    assert "+" in scatter_text(many)
    looks = set(re.findall(r"<(circle|rect|polygon)[^>]*?(#\w+)", scatter_svg(many._replace(names=[]), title="")))
    assert len(looks) == 24  # a triangle and a diamond are both polygons


def test_a_row_that_a_rebuild_drops_is_not_found_by_an_image(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MANY_ROWS", 0)
    kept = pl.DataFrame(
        {"n": range(4), "at": [at(n) for n in range(4)], "text": ["candles", "a bear", "mugs", "two bears"]}
    )
    frames = {"all": kept}
    project = tm.Project("shop")

    @project.source(timestamp="at", id="n")
    def notes() -> pl.DataFrame:
        return frames["all"]

    project.embedding("notes_of", source=notes, text="text", model="tfidf", dimension=4)
    with tm.connect(tmp_path / "a.tm", create=True, clock=tm.ReplayClock(at(30))) as ws:
        ws.apply(project)
        ws.ingest()
        ws.vectors.follow()
        assert 1 in ws.vectors.search("notes_of", "a bear").to_polars()["n"]
        frames["all"] = kept.filter(pl.col("n") != 1)
        with pytest.warns(UserWarning, match="1 stored events are not in it"):
            ws.ingest("notes", rebuild=True, drop_missing=True)
        for _ in range(2):
            assert sorted(ws.vectors.search("notes_of", "a bear").to_polars()["n"]) == [0, 2, 3]
            assert sorted(ws.vectors.search("notes_of", "a bear", at=at(40)).to_polars()["n"]) == [0, 2, 3]
            ws.vectors.follow()
        assert sorted(ws.vectors.search("notes_of", "a bear", as_of=4).to_polars()["n"]) == [0, 1, 2, 3]
        ws.vectors.rebuild("notes_of", purge=True)
        assert sorted(ws.vectors.search("notes_of", "a bear", as_of=4).to_polars()["n"]) == [0, 1, 2, 3]
