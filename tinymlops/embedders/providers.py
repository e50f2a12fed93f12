"""Providers that speak OpenAI's protocol of embeddings over HTTP."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import httpx
import msgspec

from tinymlops.embedders.addresses import key_of, provider_of
from tinymlops.embedders.answers import vectors_in
from tinymlops.embedders.embedder import Embedded
from tinymlops.embedders.requests import asking
from tinymlops.embedders.texts import flaw_of
from tinymlops.errors import DataError, DefinitionError, IntegrityError, TinyMLOpsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tinymlops.embedders.requests import Refusal

    Vector = NDArray[np.float32]
    Ask = Callable[[Sequence[str]], "bytes | Refusal"]

__all__ = ["MOST_BYTES", "MOST_TEXTS", "ProviderEmbedder"]

MOST_TEXTS = 64
"""In one request."""
MOST_BYTES = 256 * 1024
"""Of the texts in one request; a longer text goes alone."""
_PROBE = "a"


class ProviderEmbedder:
    """Asks a provider for vectors, which are kept as they come.

    Args:
        address: Its URL, and the model after `#`.
        key: "env:NAME", or None if it wants none.
        dimension: What is known of it; None asks for one vector.
        deadline: Seconds for one request with all that is tried again.

    Raises:
        DefinitionError: If the address or the key is not written as it should be.
        NotFoundError: If the key's variable is not set, or the provider has no such model.
        AccessError: If the key is refused.
        UnavailableError: If the provider does not answer.
    """

    def __init__(
        self, address: str, *, key: str | None = None, dimension: int | None = None, deadline: float = 60.0
    ) -> None:
        self._provider, self._key, self._deadline = provider_of(address), key_of(key), deadline
        if dimension is not None and dimension < 1:
            raise DefinitionError(
                f"a dimension of {dimension} is not possible", hint="leave it out to ask the provider"
            )
        self._tls = httpx.create_ssl_context()
        self._serves = False
        self._dimension = dimension or self._probe()
        told = {
            "kind": "http/1",
            "url": self._provider.url,
            "model": self._provider.model,
            "dimension": self._dimension,
        }
        self._fingerprint = hashlib.sha256(msgspec.json.encode(told, order="deterministic")).hexdigest()

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        return self._dimension

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of address, model and dimension; what is behind the address is not known."""
        return self._fingerprint

    def embed(self, texts: Sequence[str]) -> Iterator[Embedded]:
        """Embed texts; see `Embedder`. Several go in one request; where it is refused, they go in smaller ones."""
        with asking(self._provider, self._key, self._deadline, self._tls) as ask:
            for batch in _batches(texts):
                good = [(index, text) for index, text, flaw in batch if flaw is None]
                found = dict(zip([index for index, _ in good], self._vectors(ask, good), strict=True)) if good else {}
                for index, _, flaw in batch:
                    answer = flaw or found[index]
                    if isinstance(answer, TinyMLOpsError):
                        yield Embedded(index, None, answer)
                    else:
                        yield Embedded(index, answer)

    def _vectors(self, ask: Ask, texts: list[tuple[int, str]]) -> list[Vector | TinyMLOpsError]:
        """Return a vector or an error for each text; halve what is refused, to find the text that is meant."""
        body = ask([text for _, text in texts])
        if isinstance(body, bytes):
            answers = vectors_in(body, len(texts), self._provider.url)
            self._serves = True
            return [self._checked(answer, index) for (index, _), answer in zip(texts, answers, strict=True)]
        if not self._serves:
            self._require_service(ask)
        if len(texts) == 1:
            index = texts[0][0]
            error = DataError(
                f"text {index} has no vector: {self._provider.url} refuses it: {body.reason}",
                hint="leave it out, or shorten it",
            )
            return [error]
        half = len(texts) // 2
        return self._vectors(ask, texts[:half]) + self._vectors(ask, texts[half:])

    def _checked(self, answer: Vector | TinyMLOpsError, index: int) -> Vector | TinyMLOpsError:
        if isinstance(answer, TinyMLOpsError):
            return DataError(f"text {index} has no vector: {answer.message}", hint=answer.hint)
        if len(answer) != self._dimension:
            raise IntegrityError(
                f"text {index}: {self._provider.url} answers {len(answer)} numbers and not {self._dimension}: the model "
                f"{self._provider.model!r} behind it is another one",
                hint="make all vectors anew with the model as it is, or name the former one",
            )
        return answer

    def _probe(self) -> int:
        """Ask for one vector to learn the dimension."""
        with asking(self._provider, self._key, self._deadline, self._tls) as ask:
            return self._require_service(ask)

    def _require_service(self, ask: Ask) -> int:
        """Return the dimension of the vector of a plain word, which no provider can have a reason to refuse."""
        body = ask([_PROBE])
        if not isinstance(body, bytes):
            raise DefinitionError(
                f"{self._provider.url} refuses every text: {body.reason}", hint="see the name of the model after #"
            )
        (vector,) = vectors_in(body, 1, self._provider.url)
        if isinstance(vector, TinyMLOpsError):
            raise DefinitionError(f"{self._provider.url} gives no vector: {vector.message}", hint=vector.hint)
        self._serves = True
        return len(vector)


def _batches(texts: Iterable[str]) -> Iterator[list[tuple[int, str, DataError | None]]]:
    """Divide texts into batches for one request each; texts that are not sent take no place."""
    batch: list[tuple[int, str, DataError | None]] = []
    count = size = 0
    for index, text in enumerate(texts):
        flaw = flaw_of(text, index)
        length = 0 if flaw else len(text.encode())
        if batch and (
            count + (flaw is None) > MOST_TEXTS or size + length > MOST_BYTES or len(batch) > 16 * MOST_TEXTS
        ):
            yield batch
            batch, count, size = [], 0, 0
        batch.append((index, text, flaw))
        count, size = count + (flaw is None), size + length
    if batch:
        yield batch
