"""Fitting TF-IDF with a truncated SVD: the same texts give the same bits on one machine, in whatever order they come."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from tinymlops.embedders.embedder import NoTermsError
from tinymlops.embedders.terms import terms_of
from tinymlops.embedders.texts import flaw_of, text_key
from tinymlops.embedders.tfidf import pack, weights_of
from tinymlops.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

__all__ = ["LARGEST_DIMENSION", "MOST_TERMS", "MOST_TEXTS", "fit"]

MOST_TEXTS = 10_000
"""Texts that are fitted on; of more, those with the smallest keys are a sample that does not depend on their order."""
MOST_TERMS = 20_000
"""Terms that are kept: those in most texts."""
LARGEST_DIMENSION = 4096
_BLOCK = 500
_OVERSAMPLED = 16
_ROUNDS = 3
_NOTHING = 1e-6
"""A singular value below this part of the largest one is rounding."""
_single = threading.Lock()


def fit(texts: Iterable[str | None], *, dimension: int = 128) -> bytes:
    """Fit on texts, and return the state that `TfidfEmbedder` is made from.

    Where the texts span fewer directions than `dimension`, the other numbers of all vectors are zero.

    Args:
        texts: Those that may be known. Texts without a vector (None, empty ones) are left out.
        dimension: How many numbers a vector shall have, from 1 to 4096.

    Returns:
        Bytes with a version and a SHA-256: at most 20,000 terms, 10 MB with 128 numbers each.

    Raises:
        NoTermsError: If no text has a term.
        DefinitionError: If the dimension is out of range.

    Example:
        >>> state = fit(["red candles", "blue candles", "a brown bear"], dimension=2)
        >>> state == fit(["a brown bear", "blue candles", "red candles"], dimension=2)
        True
    """
    if not 1 <= dimension <= LARGEST_DIMENSION:
        raise DefinitionError(f"a dimension of {dimension} is not possible", hint=f"1 to {LARGEST_DIMENSION} are")
    chosen = sorted((text for text in texts if text is not None and flaw_of(text, 0) is None), key=text_key)[
        :MOST_TEXTS
    ]
    terms, frequency = _most_frequent(chosen)
    if not len(terms):
        raise NoTermsError(
            "no text has a term that TF-IDF could be fitted on", hint="fit once there are texts with words"
        )
    rarity = (np.log((1 + len(chosen)) / (1 + frequency)) + 1).astype(np.float32)
    return pack(
        terms, rarity, _projection(_matrix(chosen, terms, rarity), dimension), dimension=dimension, texts=len(chosen)
    )


def _most_frequent(texts: list[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the terms that most texts have, ascending, and how many have each; of equals the smaller hash."""
    terms, frequency = np.empty(0, np.uint64), np.empty(0, np.int64)
    for start in range(0, len(texts), _BLOCK):
        of_texts = [terms_of(text)[0] for text in texts[start : start + _BLOCK]]
        found, counts = np.unique(np.concatenate(of_texts), return_counts=True)
        merged, places = np.unique(np.concatenate([terms, found]), return_inverse=True)
        frequency = np.bincount(places, np.concatenate([frequency, counts]), len(merged)).astype(np.int64)
        terms = merged
    most = np.sort(np.lexsort((terms, -frequency))[:MOST_TERMS])
    return terms[most], frequency[most]


def _matrix(texts: list[str], terms: NDArray[np.uint64], rarity: NDArray[np.float32]) -> csr_array:
    """Return the weights of all texts, shape (texts, terms)."""
    from scipy.sparse import csr_array

    rows = [weights_of(*terms_of(text), terms, rarity) for text in texts]
    ends = np.cumsum([0, *(len(places) for places, _ in rows)])
    places, weights = np.concatenate([one for one, _ in rows]), np.concatenate([one for _, one in rows])
    return csr_array((weights, places, ends), shape=(len(texts), len(terms)))


def _projection(matrix: csr_array, dimension: int) -> NDArray[np.float32]:
    """Return the right singular vectors of the largest singular values as columns, shape (terms, rank).

    Randomized subspace iteration from a fixed seed (Halko, Martinsson and Tropp, SIAM Review 53, 2011, algorithm 4.4).
    """
    from threadpoolctl import threadpool_limits  # scikit-learn brings it

    wide = min(dimension + _OVERSAMPLED, *matrix.shape)
    basis = np.random.default_rng(0).standard_normal((matrix.shape[0], wide))
    with _single, threadpool_limits(1):  # how a BLAS with threads adds up depends on their number
        for _ in range(_ROUNDS):
            basis = np.linalg.qr(matrix @ np.linalg.qr(matrix.T @ basis)[0])[0]
        _, values, vectors = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
    vectors = vectors[: min(dimension, int((values > values[0] * _NOTHING).sum()))]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
    columns: NDArray[np.float32] = (vectors * np.sign(largest)).T.astype(np.float32)
    return columns
