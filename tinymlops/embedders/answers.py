"""What a provider answers: vectors as numbers or in base64, in any order, and what is wrong with them."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tinymlops.errors import DataError, TinyMLOpsError, UnavailableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["vectors_in"]


class _Item(msgspec.Struct):
    embedding: Any
    index: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Item]


def vectors_in(body: bytes, count: int, who: str) -> list[NDArray[np.float32] | TinyMLOpsError]:
    """Return the vector of each text that was sent, or what is wrong with it.

    Args:
        body: The answer.
        count: How many texts were sent.
        who: The provider, for messages.

    Raises:
        UnavailableError: If it cannot be told which vector belongs to which text.
    """
    try:
        # Not msgspec's decoder: providers in Python write NaN, which concerns one text and not all.
        items = msgspec.convert(json.loads(body), _Answer).data
    except (ValueError, RecursionError, msgspec.ValidationError):
        raise UnavailableError(
            f"{who} answers something else than vectors", hint="is this the address of embeddings in OpenAI's protocol?"
        ) from None
    if len(items) == count and all(item.index is None for item in items):
        return [_vector(item.embedding, who) for item in items]
    found: dict[int, Any] = {item.index: item.embedding for item in items if item.index is not None}
    if len(found) != len(items) or not all(0 <= index < count for index in found):
        raise UnavailableError(
            f"{who} does not tell which vector belongs to which text: it answers {len(items)} for {count}",
            hint="the numbers `index` must be those of the texts; see the provider's log",
        )
    missing = DataError(f"{who} answered no vector for it", hint="try again, or leave the text out")
    return [_vector(found[index], who) if index in found else missing for index in range(count)]


def _vector(embedding: Any, who: str) -> NDArray[np.float32] | TinyMLOpsError:
    try:
        if isinstance(embedding, str):
            numbers = np.frombuffer(base64.b64decode(embedding, validate=True), "<f4").astype(np.float64)
        else:
            numbers = np.array(msgspec.convert(embedding, list[float]))
    except (binascii.Error, ValueError, OverflowError, msgspec.ValidationError):
        return DataError(f"{who} answered something else than numbers for it", hint="see the provider's log")
    with np.errstate(over="ignore"):
        vector = numbers.astype(np.float32)
    if not np.isfinite(vector).all():
        return DataError(f"{who} answered numbers for it that are not finite", hint="leave the text out")
    if not vector.any():
        return DataError(f"{who} answered zeros alone for it", hint="see the provider's log")
    return vector
