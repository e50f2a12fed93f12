"""Neighbours of many queries in blocks: what a search for one after the other finds, bit for bit."""

import numpy as np
import pytest
from fuzzing import examples
from hypothesis import example, given
from hypothesis import strategies as st

from tinymlops.kernels import neighbours as kernel
from tinymlops.kernels.nearest import lengths, nearest
from tinymlops.kernels.neighbours import Candidates, neighbours
from tinymlops.kernels.records import FOREVER

METRICS = ("cosine", "dot", "l2")


def one_by_one(matrix, candidates, queries, time, own, k, metric):
    """Answer each query by `nearest` over what is known at its time."""
    places, scores = np.full((len(queries), k), -1), np.full((len(queries), k), np.nan)
    for row, query in enumerate(queries):
        some = [
            place
            for place in range(candidates.key.size)
            if candidates.begins[place] <= time[row]
            and (candidates.ends[place] == FOREVER or time[row] < candidates.ends[place])
            and candidates.key[place] != own[row]
        ]
        some = np.array(some, np.int64)
        found = nearest(
            matrix, lengths(matrix), candidates.vector[some], query, k, order=candidates.key[some], metric=metric
        )
        places[row, : found.places.size], scores[row, : found.places.size] = some[found.places], found.scores
    return places, scores


def made(rng, vectors, keys, spans, queries, *, dimension, grid):
    """Vectors and queries, on a grid where many scores are equal or anywhere, of keys whose spans follow each other."""
    scale = 1 if grid else 10.0 ** rng.integers(-3, 4)
    draw = (lambda n: rng.integers(-2, 3, (n, dimension))) if grid else (lambda n: rng.normal(size=(n, dimension)))
    matrix = (draw(max(1, vectors)) * scale).astype(np.float32)
    key = np.sort(rng.integers(0, keys, spans))
    begins = np.sort(rng.integers(0, 50, spans))
    begins = begins[np.lexsort((begins, key))] if spans else begins
    order = np.lexsort((begins, key))
    key, begins = key[order], begins[order] + np.arange(spans)
    ends = np.full(spans, FOREVER)
    if spans:
        apart = np.where(rng.random(spans - 1) < 0.3, begins[:-1] + 9, FOREVER)
        ends[:-1] = np.where(key[1:] == key[:-1], begins[1:], apart)
    candidates = Candidates(rng.integers(0, len(matrix), spans), key, begins, ends)
    return (
        matrix,
        candidates,
        (draw(queries) * scale).astype(np.float32),
        rng.integers(-5, 80, queries),
        rng.integers(-1, keys, queries),
    )


@examples(150)
@example(seed=332847, sizes=(10, 7, 10, 1), dimension=1, k=1, grid=True, metric="l2")  # a vector of zeros
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.tuples(st.integers(1, 12), st.integers(1, 10), st.integers(0, 60), st.integers(0, 20)),
    dimension=st.integers(1, 9),
    k=st.integers(1, 8),
    grid=st.booleans(),
    metric=st.sampled_from(METRICS),
)
def test_blocks_find_what_one_search_after_the_other_finds(seed, sizes, dimension, k, grid, metric):
    rng = np.random.default_rng(seed)
    given_ = made(rng, *sizes, dimension=dimension, grid=grid)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kernel, "_QUERIES", int(rng.integers(1, 9)))
        patched.setattr(kernel, "_FIRST", int(rng.integers(1, 9)))
        patched.setattr(kernel, "_MOST", int(rng.integers(8, 20)))
        found = neighbours(given_[0], lengths(given_[0]), *given_[1:], k, metric=metric)
    places, scores = one_by_one(*given_, k, metric)
    assert found.places.tolist() == places.tolist()
    assert found.scores.tobytes() == scores.tobytes()


@pytest.mark.parametrize("metric", METRICS)
def test_vectors_of_any_length_are_compared(metric):
    rng = np.random.default_rng(3)
    scale = 10.0 ** rng.uniform(-38, 18, 200)
    matrix = (rng.normal(size=(200, 4)) * scale[:, None]).astype(np.float32)
    matrix[::17] = 0
    span = np.zeros(200, np.int64)
    candidates = Candidates(np.arange(200), np.arange(200), span, span + FOREVER)
    given_ = (matrix, candidates, matrix[:60], np.arange(60), np.arange(60))
    found = neighbours(matrix, lengths(matrix), *given_[1:], 5, metric=metric)
    places, scores = one_by_one(*given_, 5, metric)
    assert found.places.tolist() == places.tolist()
    assert found.scores.tobytes() == scores.tobytes()
