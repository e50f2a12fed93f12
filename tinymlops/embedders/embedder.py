"""What every embedder can do, and what it says of one text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tinymlops.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tinymlops.errors import TinyMLOpsError

__all__ = ["Embedded", "Embedder", "NoTermsError", "vectors_of"]


class NoTermsError(DataError):
    """No text has a term to fit TF-IDF on, which can be as long as there are few."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """What became of one text: a vector or an error."""

    index: int
    """The place of the text among those given."""
    vector: NDArray[np.float32] | None
    """Shape (dimension,), finite; None if there is an error."""
    error: TinyMLOpsError | None = None
    """Why this text has no vector. The error names its index, and says nothing about the other texts."""
    truncated: bool = False
    """Whether the model read only the beginning of the text, as far as it is known."""


class Embedder(Protocol):
    """Makes vectors from texts. May be used by several threads, needs no closing, and is not made for a fork."""

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal over all that decides the numbers: model, tokenizer, pooling, limits, address, dimension.

        Vectors of two fingerprints are not compared with each other. Secrets are no part of it.
        """

    def embed(self, texts: Sequence[str]) -> Iterator[Embedded]:
        """Embed texts, each as if it were alone.

        Args:
            texts: A text that is empty or white space has no vector, which is told as its error.

        Yields:
            One answer for each text, in the order of the texts.

        Raises:
            TinyMLOpsError: What concerns no text in particular, such as a provider that does not answer. What was yielded before
                is good, and the texts after it are not embedded.
        """


def vectors_of(embedder: Embedder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the vectors of texts that all must have one.

    Args:
        embedder: Makes the vectors.
        texts: Any number of them.

    Returns:
        Shape (number of texts, dimension).

    Raises:
        TinyMLOpsError: Of the first text without a vector; it names the text's index.
    """
    import numpy as np

    vectors = np.empty((len(texts), embedder.dimension), np.float32)
    for one in embedder.embed(texts):
        if one.error is not None:
            raise one.error
        vectors[one.index] = one.vector
    return vectors
