"""The model of an embedding, as its vectors were made with it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tinymlops.embedders import open_embedder

if TYPE_CHECKING:
    from tinymlops.embedders import Embedder
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EmbeddingSpec
    from tinymlops.records import EmbeddingFit, EmbeddingState, FittedModel

__all__ = ["TFIDF", "new_model", "open_model"]

TFIDF = "tfidf"
_KEPT = 4
_open: dict[tuple[object, ...], Embedder] = {}
_lock = threading.Lock()


def open_model(context: Context, spec: EmbeddingSpec, state: EmbeddingState | EmbeddingFit | FittedModel) -> Embedder:
    """Return the model that an embedding's vectors were made with; the last ones used stay open.

    Raises:
        IntegrityError: If it is another one by now.
    """
    assert spec.model is not None, "it has a text"
    name = (context.root, spec.model, spec.key, state.model)
    with _lock:
        if name not in _open:
            fitted = None if state.fitted is None else context.environment.blobs.read(state.fitted)
            dimension = state.dimension if "://" in spec.model else None
            while len(_open) >= _KEPT:
                _open.pop(next(iter(_open)))
            _open[name] = open_embedder(
                spec.model, base=context.root, state=fitted, key=spec.key, dimension=dimension, fingerprint=state.model
            )
        return _open[name]


def new_model(context: Context, spec: EmbeddingSpec, fitted: bytes | None) -> Embedder:
    """Open the model of an embedding as it is now.

    Args:
        context: The workspace's state.
        spec: The embedding.
        fitted: The state that TF-IDF was fitted to; None for any other model.
    """
    assert spec.model is not None, "it has a text"
    dimension = spec.dimension if "://" in spec.model else None
    return open_embedder(spec.model, base=context.root, state=fitted, key=spec.key, dimension=dimension)
