"""TF-IDF: its terms, its fit and its state, compared with plain Python and with an exact decomposition."""

import hashlib
import random
import re
import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinymlops.embedders import fit_tfidf, fitting, open_embedder, vectors_of
from tinymlops.embedders.terms import _BETWEEN, terms_of
from tinymlops.errors import DataError, DefinitionError, IntegrityError

TEXTS = [
    *("red candles burn", "blue candles burn slowly", "the brown bear sleeps", "a bear and a bee", "bees make wax"),
    *("wax candles", "tea with honey", "honey from bees", "honey honey honey", "蜡烛很好闻", "再买蜡烛", "🎉 party 🎉"),
]


def embed(state, texts, tmp_path):
    return vectors_of(open_embedder("tfidf", base=tmp_path, state=state), texts)


def counted(text):
    """The terms of a text in plain Python: words, and sequences of characters with the spaces around words."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    plain = " ".join(word for word in re.split(_BETWEEN.pattern, plain) if word)
    if not plain:
        return Counter()
    padded = f" {plain} "
    found = Counter(("word", word) for word in plain.split(" "))
    for length in (2, 3, 4):
        found.update((length, padded[at : at + length]) for at in range(len(padded) - length + 1))
    return found


def cosines(vectors):
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled = vectors / np.where(lengths == 0, 1, lengths)
    return scaled @ scaled.T


def exact(texts, dimension):
    """The cosines of texts by a full decomposition, over terms that are no hashes."""
    rows = [counted(text) for text in texts]
    terms = sorted({term for row in rows for term in row}, key=repr)
    frequency = Counter(term for row in rows for term in row)
    matrix = np.zeros((len(texts), len(terms)))
    for place, row in enumerate(rows):
        for column, term in enumerate(terms):
            if term in row:
                rarity = np.log((1 + len(texts)) / (1 + frequency[term])) + 1
                matrix[place, column] = (1 + np.log(row[term])) * rarity
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    projected = matrix @ np.linalg.svd(matrix, full_matrices=False)[2][:dimension].T
    return cosines(np.where(np.linalg.norm(projected, axis=1, keepdims=True) > 1e-4, projected, 0))


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("ab ,.\u0301ßŁ😀\u200dﷺ"), max_size=40))
def test_terms_are_those_of_plain_python(text):
    expected = counted(text)
    hashes, counts = terms_of(text)
    assert (np.diff(hashes.astype(object)) > 0).all()
    assert sorted(counts) == sorted(expected.values())
    assert len(hashes) == len(expected)


def test_different_terms_have_different_hashes():
    words = [f"word{number}" for number in range(20_000)]
    assert len(terms_of(" ".join(words))[0]) == len(counted(" ".join(words)))


@pytest.mark.parametrize("dimension", [1, 2, 5, 11, 12, 40])
def test_cosines_are_those_of_an_exact_decomposition(dimension, tmp_path):
    state = fit_tfidf(TEXTS, dimension=dimension)
    vectors = embed(state, TEXTS, tmp_path)
    assert vectors.shape == (12, dimension)
    np.testing.assert_allclose(cosines(vectors), exact(TEXTS, dimension), atol=2e-5)
    assert not vectors[:, 12:].any()  # 12 texts have no more directions
    lengths = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(lengths[lengths > 0], 1, atol=1e-6)


def test_a_fit_of_many_texts_is_near_the_exact_one(tmp_path):
    dice = random.Random(3)
    words = sorted({word for text in TEXTS for word in text.split()})
    texts = [" ".join(dice.choices(words, k=12)) for _ in range(150)]
    vectors = embed(fit_tfidf(texts, dimension=8), texts, tmp_path)
    assert np.abs(cosines(vectors) - exact(texts, 8)).mean() < 0.02


def test_the_order_of_texts_makes_no_difference():
    state = fit_tfidf(TEXTS, dimension=6)
    for seed in range(5):
        shuffled = random.Random(seed).sample(TEXTS, len(TEXTS))
        assert fit_tfidf(iter(shuffled), dimension=6) == state
    assert fit_tfidf([*TEXTS, None, "", "  ", "\ud800"], dimension=6) == state
    assert fit_tfidf([*TEXTS, TEXTS[0]], dimension=6) != state  # one more text


def test_a_sample_of_many_texts_does_not_depend_on_their_order(monkeypatch):
    monkeypatch.setattr(fitting, "MOST_TEXTS", 5)
    monkeypatch.setattr(fitting, "MOST_TERMS", 20)
    state = fit_tfidf(TEXTS, dimension=3)
    assert fit_tfidf(TEXTS[::-1], dimension=3) == state
    monkeypatch.setattr(fitting, "MOST_TEXTS", 6)
    assert fit_tfidf(TEXTS, dimension=3) != state


def test_the_terms_of_most_texts_are_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(fitting, "MOST_TERMS", 12)
    vectors = embed(fit_tfidf(["wax tea", "wax bee", "wax 123", "zoo"], dimension=4), ["wax", "zoo", "123"], tmp_path)
    assert [bool(one.any()) for one in vectors] == [True, False, False]


def test_blocks_make_no_difference(monkeypatch):
    state = fit_tfidf(TEXTS, dimension=3)
    monkeypatch.setattr(fitting, "_BLOCK", 2)
    assert fit_tfidf(TEXTS, dimension=3) == state


def test_one_text_and_identical_texts_have_one_direction(tmp_path):
    for texts in (["wax"], ["wax"] * 9):
        vectors = embed(fit_tfidf(texts, dimension=3), ["wax", "wax wax", "tea"], tmp_path)
        np.testing.assert_allclose(vectors, [[1, 0, 0], [1, 0, 0], [0, 0, 0]], atol=1e-6)


def test_a_text_without_known_terms_is_similar_to_nothing(tmp_path):
    vectors = embed(fit_tfidf(TEXTS, dimension=3), ["qqq", "!!!", "\0"], tmp_path)
    assert not vectors.any()


def test_composition_and_case_make_no_difference(tmp_path):
    state = fit_tfidf(["Café ﬁne", "tea"], dimension=2)
    one, other, width = embed(state, ["CAFE\u0301 FINE", "café fine", "ｃａｆé fine"], tmp_path)
    assert one.tobytes() == other.tobytes() == width.tobytes()
    assert one.any()


@pytest.mark.parametrize("texts", [[], [None], ["", "  "], ["!?"], ["\ud800"]])
def test_nothing_to_fit_on_is_told(texts):
    with pytest.raises(DataError, match="no text has a term"):
        fit_tfidf(texts)


@pytest.mark.parametrize("dimension", [0, -1, 4097])
def test_an_impossible_dimension_is_told(dimension):
    with pytest.raises(DefinitionError, match=f"dimension of {dimension} "):
        fit_tfidf(TEXTS, dimension=dimension)


def test_a_damaged_state_is_found(tmp_path):
    state = fit_tfidf(TEXTS, dimension=3)
    dice = random.Random(1)
    for place in {*range(60), *(dice.randrange(len(state)) for _ in range(60))}:
        damaged = bytearray(state)
        damaged[place] ^= 1 << dice.randrange(8)
        with pytest.raises(IntegrityError):
            open_embedder("tfidf", base=tmp_path, state=bytes(damaged))
    for end in (0, 3, 8, 40, 44, len(state) - 1):
        with pytest.raises(IntegrityError):
            open_embedder("tfidf", base=tmp_path, state=state[:end])
    with pytest.raises(IntegrityError):
        open_embedder("tfidf", base=tmp_path, state=state + b"\0")


@pytest.mark.parametrize(
    "change", [(b'"terms":', b'"terms":1'), (b'"rank":', b'"rank":9'), (b"{", b"["), (b"texts", b"tests")]
)
def test_a_state_that_contradicts_itself_is_refused(tmp_path, change):
    content = fit_tfidf(TEXTS, dimension=3)[40:].replace(*change, 1)
    with pytest.raises(IntegrityError, match="contradicts itself"):
        open_embedder("tfidf", base=tmp_path, state=b"tmtfidf1" + hashlib.sha256(content).digest() + content)
