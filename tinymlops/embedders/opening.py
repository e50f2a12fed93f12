"""The embedder that a definition names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tinymlops.errors import DefinitionError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tinymlops.embedders.embedder import Embedder

__all__ = ["TFIDF", "fit_tfidf", "open_embedder"]

TFIDF = "tfidf"
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


def open_embedder(
    model: str,
    *,
    base: Path,
    state: bytes | None = None,
    key: str | None = None,
    dimension: int | None = None,
    fingerprint: str | None = None,
    deadline: float = 60.0,
) -> Embedder:
    """Open what makes vectors from texts.

    Args:
        model: "tfidf", the path of a directory with `model.onnx` and `tokenizer.json`, or a provider's address and
            model such as "https://api.openai.com/v1#text-embedding-3-small".
        base: The directory where a relative path starts.
        state: Of "tfidf": what `fit_tfidf` returned.
        key: Of a provider: "env:NAME", the variable (or with `_FILE` the private file) that holds its key; None sends none.
        dimension: Of a provider: the dimension that is known from before; None asks for one vector to learn it.
        fingerprint: What the embedder must be; None takes it as it is.
        deadline: Of a provider: seconds for one request with all that is tried again.

    Returns:
        The embedder, which has shown that it can be used. An address with a known dimension is not asked.

    Raises:
        DefinitionError: If the model is named wrongly, or is of a kind that cannot be used.
        NotFoundError: If there is no such directory, file, variable or model.
        DataError: If a file of the model is damaged.
        IntegrityError: If it is not the one with the fingerprint, or the state is damaged.
        MissingDependencyError: If the packages for ONNX are not installed.
        AccessError: If the provider refuses the key.
        UnavailableError: If the provider does not answer.
    """
    scheme = _SCHEME.match(model)
    remote = scheme is not None and scheme[1].lower() in ("http", "https")
    if scheme is not None and not remote:
        raise DefinitionError(f"{scheme[1]}:// is no address of a provider", hint="write http://... or https://...")
    if key is not None and not remote:
        raise DefinitionError("only a provider has a key", hint="leave key= out")
    found: Embedder
    if remote:
        from tinymlops.embedders.providers import ProviderEmbedder

        found = ProviderEmbedder(model, key=key, dimension=dimension, deadline=deadline)
    elif model == TFIDF:
        from tinymlops.embedders.tfidf import TfidfEmbedder

        if state is None:
            raise DefinitionError("the model 'tfidf' is not fitted", hint="give state=, which fit_tfidf returns")
        found = TfidfEmbedder(state)
    else:
        from tinymlops.embedders.onnx_models import OnnxEmbedder

        found = OnnxEmbedder(base / model)
    if fingerprint is not None and found.fingerprint != fingerprint:
        raise IntegrityError(
            f"the model {model!r} is not the one that its vectors were made with: its fingerprint is {found.fingerprint}, "
            f"theirs is {fingerprint}",
            hint="put the former files back, or make all vectors anew with the model as it is",
        )
    return found


def fit_tfidf(texts: Iterable[str | None], *, dimension: int = 128) -> bytes:
    """Fit TF-IDF with a truncated SVD; see `tinymlops.embedders.fitting`."""
    from tinymlops.embedders.fitting import fit

    return fit(texts, dimension=dimension)
