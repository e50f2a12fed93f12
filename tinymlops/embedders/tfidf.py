"""TF-IDF with a truncated SVD: its fitted state as bytes, and the vectors that it gives.

A state is `tmtfidf1`, the SHA-256 of what follows, the length of a JSON header, the header, and three arrays in little endian:
the hashes of the terms in ascending order, their weights, and the rows that they project to. Nothing in it is code.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from tinymlops.embedders.embedder import Embedded
from tinymlops.embedders.terms import terms_of
from tinymlops.embedders.texts import flaw_of
from tinymlops.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["TfidfEmbedder", "pack", "weights_of"]

_MAGIC = b"tmtfidf1"
_HASH = 32
_SHORTEST = 1e-4
"""Of the projection of a text, whose weights have length 1: a shorter one is made of rounding, and has no direction."""


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    """What the arrays of a state are."""

    dimension: int
    rank: int
    """Columns of the projection; the other numbers of a vector are zero."""
    terms: int
    texts: int
    """How many texts it was fitted on."""


class TfidfEmbedder:
    """Counts words and short sequences of characters, weighs them by how rare they are, and projects them.

    Args:
        state: What `fit_tfidf` returned.

    Raises:
        IntegrityError: If the state is not what was fitted.
    """

    def __init__(self, state: bytes) -> None:
        self._header, arrays = _unpack(state)
        terms, rank = self._header.terms, self._header.rank
        self._terms = np.frombuffer(arrays, "<u8", terms)
        self._rarity = np.frombuffer(arrays, "<f4", terms, offset=8 * terms)
        self._rows = np.frombuffer(arrays, "<f4", terms * rank, offset=12 * terms).reshape(terms, rank)
        self._fingerprint = hashlib.sha256(state).hexdigest()

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        return self._header.dimension

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the state."""
        return self._fingerprint

    def embed(self, texts: Sequence[str]) -> Iterator[Embedded]:
        """Embed texts; see `Embedder`. A text without a known term has zeros, which are similar to nothing."""
        for index, text in enumerate(texts):
            flaw = flaw_of(text, index)
            yield Embedded(index, None, flaw) if flaw else Embedded(index, self._vector(text))

    def _vector(self, text: str) -> NDArray[np.float32]:
        vector = np.zeros(self.dimension)
        places, weights = weights_of(*terms_of(text), self._terms, self._rarity)
        # Not the product of a BLAS, whose bits would depend on its threads.
        vector[: self._header.rank] = np.add.reduce(self._rows[places] * weights[:, None], axis=0)
        length = np.sqrt(np.add.reduce(vector * vector))
        return (vector / length if length > _SHORTEST else np.zeros_like(vector)).astype(np.float32)


def weights_of(
    hashes: NDArray[np.uint64], counts: NDArray[np.float64], terms: NDArray[np.uint64], rarity: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return where the known terms of a text are, and their weights: `(1 + log count) * rarity`, scaled to length 1.

    Args:
        hashes: Of the text, ascending.
        counts: How often each occurs in it.
        terms: All that are known, ascending.
        rarity: Of each known term, its inverse document frequency.
    """
    places = np.searchsorted(terms, hashes)
    known = terms[np.minimum(places, len(terms) - 1)] == hashes
    places = places[known]
    weights = (1 + np.log(counts[known])) * rarity[places]
    length = np.sqrt(np.add.reduce(weights * weights))
    return places, weights / length if length else weights


def pack(
    terms: NDArray[np.uint64], rarity: NDArray[np.float32], rows: NDArray[np.float32], *, dimension: int, texts: int
) -> bytes:
    """Return the state that holds these arrays: terms (terms,), rarity (terms,), rows (terms, rank)."""
    header = msgspec.json.encode(_Header(dimension, rows.shape[1], len(terms), texts))
    arrays = terms.astype("<u8").tobytes() + rarity.astype("<f4").tobytes() + rows.astype("<f4").tobytes()
    content = len(header).to_bytes(4, "little") + header + arrays
    return _MAGIC + hashlib.sha256(content).digest() + content


def _unpack(state: bytes) -> tuple[_Header, bytes]:
    start = len(_MAGIC) + _HASH
    content = state[start:]
    if not state.startswith(_MAGIC) or len(content) < 4:
        raise IntegrityError("the state of the model 'tfidf' is not one that fit_tfidf makes", hint="fit it again")
    told, found = state[len(_MAGIC) : start].hex(), hashlib.sha256(content).hexdigest()
    if told != found:
        raise IntegrityError(
            f"the state of the model 'tfidf' is damaged: its SHA-256 is {found} and not {told}", hint="fit it again"
        )
    end = 4 + int.from_bytes(content[:4], "little")
    try:
        header, arrays = msgspec.json.decode(content[4:end], type=_Header), content[end:]
    except msgspec.MsgspecError:
        header, arrays = None, b""
    if header is None or len(arrays) != header.terms * (12 + 4 * header.rank) or header.rank > header.dimension:
        raise IntegrityError("the state of the model 'tfidf' contradicts itself", hint="fit it again")
    return header, arrays
