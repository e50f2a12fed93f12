"""Vectors of texts that a read makes itself, because no file has them: kept in memory, so that a process makes each once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops.embedders.texts import text_key
from tinymlops.features.embedded.models import open_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EmbeddingSpec
    from tinymlops.records import EmbeddingFit, EmbeddingState, FittedModel

__all__ = ["made_vectors"]

Array = np.ndarray[Any, Any]
_MOST = 64_000_000
"""Numbers that are kept, 256 MB of float32; what is more is made again."""
_made: dict[tuple[str, bytes], Array] = {}
_lock = threading.Lock()


def made_vectors(
    context: Context, spec: EmbeddingSpec, model: EmbeddingFit | EmbeddingState | FittedModel, texts: Sequence[str]
) -> dict[str, Array]:
    """Return the vectors of those texts that have one, by a model.

    Args:
        context: The workspace's state.
        spec: The embedding.
        model: Its model.
        texts: Different texts.

    Raises:
        IntegrityError: If the model is another one by now.
    """
    keys = {text: (model.model, text_key(text)) for text in texts}
    with _lock:
        known = {text: _made[key] for text, key in keys.items() if key in _made}
    left = [text for text in texts if text not in known]
    answers = open_model(context, spec, model).embed(left) if left else ()
    made = {left[one.index]: one.vector for one in answers if one.vector is not None}
    with _lock:
        if (len(_made) + len(made)) * model.dimension > _MOST:
            _made.clear()
        if len(made) * model.dimension <= _MOST:
            _made.update({keys[text]: vector for text, vector in made.items()})
    return known | made
