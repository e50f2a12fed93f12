"""From texts to vectors: TF-IDF, ONNX models and providers over HTTP. Knows nothing of workspaces, features and SQLite.

`open_embedder` gives an `Embedder`; `fit_tfidf` makes what the TF-IDF embedder is opened with; `vectors_of` and `text_key` serve
whoever keeps vectors.
"""

from __future__ import annotations

from tinymlops.embedders.embedder import Embedded, Embedder, NoTermsError, vectors_of
from tinymlops.embedders.opening import fit_tfidf, open_embedder
from tinymlops.embedders.texts import text_key

__all__ = ["Embedded", "Embedder", "NoTermsError", "fit_tfidf", "open_embedder", "text_key", "vectors_of"]
