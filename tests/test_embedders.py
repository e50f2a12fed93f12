"""What every embedder promises, whichever it is: the vector of a text is that of the text alone."""

import hashlib
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import embedding_models
import embedding_provider
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinymlops.embedders import fit_tfidf, open_embedder, text_key, vectors_of
from tinymlops.errors import DataError, DefinitionError, IntegrityError, NotFoundError

CORPUS = [
    "Beeswax candles burn longer than paraffin.",
    "The lamp broke after a week, I want my money back",
    "Kerzen aus Bienenwachs duften nach Honig",
    "蜡烛很好闻。我会再买",
    "شموع جميلة جدا",
    "मोमबत्ती बहुत अच्छी है",
    "great 🎉🎉 candles 🕯️",
    "a\0b and a\x1bc",
    "x" * 5000,
    "café au lait",
    "cafe\u0301 au lait",
    "tea",
] + [f"order {number} came late and the parcel was {'wet' if number % 2 else 'open'}" for number in range(28)]
KINDS = ("tfidf", "onnx", "http")


@pytest.fixture(scope="module")
def embedders(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    embedding_models.minilm(base / "minilm")
    with embedding_provider.running() as provider:
        yield {
            "tfidf": open_embedder("tfidf", base=base, state=fit_tfidf(CORPUS, dimension=16)),
            "onnx": open_embedder("minilm", base=base),
            "http": open_embedder(provider.address(), base=base, deadline=10),
        }


@pytest.fixture(params=KINDS)
def embedder(request, embedders):
    return embedders[request.param]


def test_vectors_have_the_dimension_and_are_finite(embedder):
    vectors = vectors_of(embedder, CORPUS)
    assert vectors.shape == (len(CORPUS), embedder.dimension)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert vectors_of(embedder, []).shape == (0, embedder.dimension)


def test_a_vector_is_the_same_in_any_batch_and_order(embedder):
    alone = [vectors_of(embedder, [text])[0].tobytes() for text in CORPUS]
    dice = random.Random(7)
    for size in (len(CORPUS), 2, 3, 17, 29):
        places = dice.choices(range(len(CORPUS)), k=size)  # texts may come twice
        found = vectors_of(embedder, [CORPUS[place] for place in places])
        assert [one.tobytes() for one in found] == [alone[place] for place in places]


def test_threads_get_the_same_bits(embedder):
    expected, found = vectors_of(embedder, CORPUS[:12]).tobytes(), []
    threads = [
        threading.Thread(target=lambda: found.append(vectors_of(embedder, CORPUS[:12]).tobytes())) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_a_text_without_a_vector_is_named_and_the_others_have_theirs(embedder):
    texts = ["tea", "", " \t\n\u2003", None, "lone \ud800", 7, "tea"]
    answers = list(embedder.embed(texts))
    assert [one.index for one in answers] == list(range(7))
    assert [one.index for one in answers if one.error] == [1, 2, 3, 4, 5]
    for one in answers:
        assert (one.vector is None) == (one.error is not None)
        if one.error:
            assert isinstance(one.error, DataError)
            assert one.error.message.startswith(f"text {one.index} has no vector: ")
            assert one.error.hint
    assert answers[0].vector.tobytes() == answers[6].vector.tobytes()
    with pytest.raises(DataError, match="text 1 has no vector: it is empty"):
        vectors_of(embedder, texts)


@pytest.mark.parametrize(
    "text",
    ["a b " * 262_144, "🎉" * 1000, "a\0b", "\u202eabc", "e\u0301", "\ufeff", "\U0010ffff", "!?", "\x1b[31m"],
    ids=["1 MB", "emoji", "nul", "right-to-left", "combining", "mark", "last", "signs", "escape"],
)
def test_an_odd_text_has_a_vector(embedder, text):
    (one,) = embedder.embed([text])
    assert one.error is None
    assert np.isfinite(one.vector).all()


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text(st.characters(), max_size=30), max_size=6))
def test_no_text_breaks_an_embedder(embedders, texts):
    for embedder in (embedders["tfidf"], embedders["onnx"]):  # a request takes long
        answers = list(embedder.embed(texts))
        assert [one.index for one in answers] == list(range(len(texts)))
        for one, text in zip(answers, texts, strict=True):
            empty = not text.strip() or any("\ud800" <= character <= "\udfff" for character in text)
            assert (one.error is not None) == empty


def test_the_real_model_knows_what_is_alike(embedders):
    near = ["a cat sits on the mat", "a kitten rests on a rug", "shares fell on Monday"]
    vectors = vectors_of(embedders["onnx"], near)
    assert vectors[0] @ vectors[1] > 0.6 > 0.2 > vectors[0] @ vectors[2]


def test_another_process_with_other_threads_gets_the_same_bits(embedders, tmp_path):
    embedding_models.minilm(tmp_path / "minilm")
    state = fit_tfidf(CORPUS, dimension=16)
    (tmp_path / "state").write_bytes(state)
    program = f"""
import hashlib, sys
from pathlib import Path
sys.path.insert(0, {str(embedding_models.__file__.rpartition("/")[0])!r})
from test_embedders import CORPUS
from tinymlops.embedders import fit_tfidf, open_embedder, vectors_of
base = Path({str(tmp_path)!r})
state = fit_tfidf(CORPUS[::-1], dimension=16)
assert state == (base / "state").read_bytes()
for embedder in (open_embedder("tfidf", base=base, state=state), open_embedder("minilm", base=base)):
    print(embedder.fingerprint, hashlib.sha256(vectors_of(embedder, CORPUS[:12]).tobytes()).hexdigest())
"""
    for threads in ("1", "3"):
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        result = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **dict.fromkeys(names, threads)},
            capture_output=True,
            text=True,
            check=True,
        )
        mine = [
            f"{one.fingerprint} {hashlib.sha256(vectors_of(one, CORPUS[:12]).tobytes()).hexdigest()}"
            for one in (embedders["tfidf"], embedders["onnx"])
        ]
        assert result.stdout.split("\n")[:2] == mine
        assert result.stderr == ""


def test_the_example_of_the_guide_runs():
    page = Path(__file__).parent.parent / "docs" / "guide" / "embeddings.md"
    names = {}
    exec(page.read_text().partition("```python\n")[2].partition("```")[0], names)
    assert names["vectors"].shape == (2, 3)


def test_a_key_is_the_hash_of_the_characters():
    assert text_key("tea") == hashlib.sha256(b"tea").digest()
    assert text_key("") == hashlib.sha256(b"").digest()
    assert len({text_key(text) for text in ("café", "cafe\u0301", "café ", "Café")}) == 4
    with pytest.raises(DataError, match="lone surrogate"):
        text_key("\udfff")


@pytest.mark.parametrize("kind", KINDS)
def test_a_fingerprint_that_is_not_expected_is_told_with_both(kind, embedders, tmp_path):
    embedding_models.minilm(tmp_path / "minilm")
    with embedding_provider.running() as provider:
        model = {"tfidf": "tfidf", "onnx": "minilm", "http": provider.address()}[kind]
        state = fit_tfidf(CORPUS[:5], dimension=4) if kind == "tfidf" else None
        found = open_embedder(model, base=tmp_path, state=state)
        assert len(bytes.fromhex(found.fingerprint)) == 32
        again = open_embedder(model, base=tmp_path, state=state, fingerprint=found.fingerprint)
        assert again.fingerprint == found.fingerprint
        with pytest.raises(IntegrityError) as raised:
            open_embedder(model, base=tmp_path, state=state, fingerprint="0" * 64)
        assert found.fingerprint in raised.value.message
        assert "0" * 64 in raised.value.message


@pytest.mark.parametrize(
    ("model", "options", "error", "words"),
    [
        ("tf-idf", {}, NotFoundError, "no directory"),
        ("", {}, NotFoundError, "model.onnx"),
        ("missing/model", {}, NotFoundError, "missing/model"),
        ("a\0b", {}, NotFoundError, "no directory"),
        ("tfidf", {}, DefinitionError, "not fitted"),
        ("ftp://host/v1#m", {}, DefinitionError, "ftp://"),
        ("s3://bucket/model", {}, DefinitionError, "s3://"),
        ("tfidf", {"state": b"", "key": "env:K"}, DefinitionError, "only a provider has a key"),
    ],
)
def test_a_model_that_is_named_wrongly_is_refused(model, options, error, words, tmp_path):
    with pytest.raises(error, match=words) as raised:
        open_embedder(model, base=tmp_path, **options)
    assert raised.value.hint


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    with pytest.raises(NotFoundError, match="no directory"):
        open_embedder("x" * 5000, base=tmp_path)
