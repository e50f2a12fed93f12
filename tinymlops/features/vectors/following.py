"""Make the vectors of rows that came: each text once for each model, in pieces that are durable one by one.

A piece is a published file and the commit that names it; what is covered moves when all rows up to it are done. So a process
that dies has lost one piece at most, and the next one goes on from what is stored.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl

from tinymlops.embedders import NoTermsError, fit_tfidf, text_key
from tinymlops.errors import DefinitionError
from tinymlops.features.embedded.models import TFIDF, new_model, open_model
from tinymlops.features.embedded.texts import KnownTexts
from tinymlops.features.history.embedding_columns import reads_of
from tinymlops.features.vectors.alone import alone
from tinymlops.features.vectors.arranged import VECTOR, arrange, known_at
from tinymlops.features.vectors.derived import arrange_anew
from tinymlops.features.vectors.fits import fit_of
from tinymlops.features.vectors.merging import merge_small_files
from tinymlops.features.vectors.rows import read_rows
from tinymlops.features.vectors.standing import standing_of
from tinymlops.progress import progress
from tinymlops.records import EmbeddingState, VectorFailure, VectorFile
from tinymlops.registry.vectors import add_vectors, failures_of, save_state, state_of_embedding
from tinymlops.stores.vector_files import store_vectors
from tinymlops.times import from_micros, system_clock

if TYPE_CHECKING:
    from tinymlops.embedders import Embedded, Embedder
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EmbeddingSpec
    from tinymlops.records import EmbeddingFit

__all__ = ["Followed", "embed_by", "follow"]

_PIECE = 4_096
_SECONDS = 5.0
"""A piece is stored when it has so many vectors, or is so old."""
_ASKED_AT_ONCE = 1_024


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """What following an embedding did."""

    embedding: str
    embedded: int
    """Texts that got a vector now; a text of several rows counts once."""
    failed: int
    """Rows without a vector for a reason, as of now."""
    covered: int
    """Every row up to this sequence has its vector, or failed."""
    model: str | None = None
    """Fingerprint of the model; None for a column of vectors."""


def follow(context: Context, spec: EmbeddingSpec, *, anew: bool = False, index_anew: bool = False) -> Followed:
    """Make the vectors of all rows that have none yet.

    Args:
        context: The workspace's state.
        spec: The embedding.
        anew: Take the model as it is now, fitted on what is known now, though there are vectors by an earlier one.
        index_anew: Make the index anew, though there is one.

    Raises:
        TinyMLOpsError: If the model does not work at all; what was made before is stored.
    """
    with alone(context):
        if spec.vector is None:
            return _followed(context, spec, anew=anew, index_anew=index_anew)
        standing = standing_of(context, spec)
        arrange_anew(context, standing, anew=index_anew)
    return Followed(embedding=spec.name, embedded=0, failed=0, covered=standing.covered)


def _followed(context: Context, spec: EmbeddingSpec, *, anew: bool, index_anew: bool) -> Followed:
    assert spec.text is not None, "it has a text"
    sequence = context.environment.database.sequence()
    state = state_of_embedding(context.environment.database, spec.name)
    if state is None or state.reads != reads_of(context, spec) or anew:
        begun = _begun(context, spec, sequence)
        if begun is None:
            return Followed(embedding=spec.name, embedded=0, failed=0, covered=0)
        state = begun
    rows = read_rows(context, spec, [spec.text], after=state.covered, as_of=sequence)
    made = embed_by(context, spec, state, rows)
    if made:
        merge_small_files(context, state.model)
    if sequence != state.covered:
        state = msgspec.structs.replace(state, covered=sequence, at=system_clock())
        save_state(context.scope, state, begins=False)
    arrange_anew(context, standing_of(context, spec), anew=index_anew)
    failed = len(failures_of(context.environment.database, spec.name))
    return Followed(embedding=spec.name, embedded=made, failed=failed, covered=state.covered, model=state.model)


def _begun(context: Context, spec: EmbeddingSpec, sequence: int) -> EmbeddingState | None:
    """Begin with a model: fit it where it must be; None where there is no text to fit it on."""
    fitted, fitted_at, now = None, None, context.now()
    if spec.model == TFIDF:
        now = now if spec.fitted_at is msgspec.UNSET else min(now, spec.fitted_at)
        texts = _texts_known(context, spec, now, sequence)
        try:
            fitted = fit_tfidf(texts) if spec.dimension is None else fit_tfidf(texts, dimension=spec.dimension)
        except NoTermsError:
            return None
        fitted_at = from_micros(now)
    model = new_model(context, spec, fitted)
    if spec.dimension is not None and spec.dimension != model.dimension:
        raise DefinitionError(
            f"embedding {spec.name!r} has dimension={spec.dimension}, and its model makes vectors of {model.dimension}",
            hint="leave dimension= out, or correct it, and apply",
        )
    with context.scope.publishing():
        state = EmbeddingState(
            embedding=spec.name,
            reads=reads_of(context, spec),
            model=model.fingerprint,
            fitted=None if fitted is None else context.environment.blobs.put(fitted),
            fitted_at=fitted_at,
            dimension=model.dimension,
            covered=0,
            at=system_clock(),
        )
        save_state(context.scope, state, begins=True, fits=fit_of(spec, state, sequence))
    return state


def _texts_known(context: Context, spec: EmbeddingSpec, t: int, sequence: int) -> list[str]:
    """Return the texts of what is known at a time."""
    assert spec.text is not None, "it has a text"
    rows = read_rows(context, spec, as_of=sequence)
    arranged = arrange(
        context.definitions, spec, rows.with_columns(pl.lit(-1, pl.Int64).alias(VECTOR)), np.empty((0, 1), np.float32)
    )
    return arranged.rows[spec.text][known_at(arranged.spans, t)].drop_nulls().to_list()


def _by_text(rows: pl.DataFrame, text: str) -> dict[str, list[int]]:
    found = rows.filter(pl.col(text).is_not_null()).group_by(text, maintain_order=True).agg("__sequence")
    return dict(zip(found[text].to_list(), found["__sequence"].to_list(), strict=True))


def embed_by(context: Context, spec: EmbeddingSpec, state: EmbeddingState | EmbeddingFit, rows: pl.DataFrame) -> int:
    """Embed the texts of rows that have no vector by a model; return how many got one. One process at a time may.

    Args:
        context: The workspace's state.
        spec: The embedding.
        state: By which model.
        rows: With the text, `__sequence` and `__deleted`.
    """
    assert spec.text is not None, "it has a text"
    by_text = _by_text(rows.filter(~pl.col("__deleted")), spec.text)
    missing = KnownTexts(context.environment, state.model, state.dimension).missing(by_text)
    return _embed(context, spec, state, open_model(context, spec, state), missing, by_text) if missing else 0


def _embed(
    context: Context,
    spec: EmbeddingSpec,
    state: EmbeddingState | EmbeddingFit,
    model: Embedder,
    texts: Sequence[str],
    rows: dict[str, list[int]],
) -> int:
    """Embed texts and store their vectors piece by piece; return how many got one."""
    piece, made = _Piece(context, spec, state), 0
    with progress(f"embedding {spec.name}", len(texts)) as advance:
        try:
            for start in range(0, len(texts), _ASKED_AT_ONCE):
                asked = texts[start : start + _ASKED_AT_ONCE]
                for answer in model.embed(asked):
                    made += piece.take(answer, asked[answer.index], rows[asked[answer.index]])
                    advance(1)
        finally:  # what was made is stored, whatever comes after it
            piece.store()
    return made


class _Piece:
    """Vectors and failures that are not stored yet."""

    def __init__(self, context: Context, spec: EmbeddingSpec, state: EmbeddingState | EmbeddingFit) -> None:
        self._context, self._spec, self._state = context, spec, state
        self._begin()

    def take(self, answer: Embedded, text: str, sequences: list[int]) -> int:
        """Take what became of a text; return 1 if it has a vector."""
        vector = answer.vector
        if vector is not None and vector.shape == (self._state.dimension,) and np.isfinite(vector).all():
            self._keys.append(text_key(text))
            self._vectors.append(vector.astype(np.float32))
            done = 1
        else:
            reason = (
                "the model gave no vector of finite numbers of its dimension"
                if answer.error is None
                else _reason(answer)
            )
            now = system_clock()
            self._failures += [VectorFailure(embedding=self._spec.name, n=n, reason=reason, at=now) for n in sequences]
            done = 0
        if len(self._keys) + len(self._failures) >= _PIECE or time.monotonic() - self._begun > _SECONDS:
            self.store()
        return done

    def store(self) -> None:
        """Store what was taken, durably."""
        if self._keys or self._failures:
            with self._context.scope.publishing():
                add_vectors(self._context.scope, self._file(), self._failures)
        self._begin()

    def _file(self) -> VectorFile | None:
        if not self._keys:
            return None
        sha256 = store_vectors(self._context.environment.blobs, self._keys, np.stack(self._vectors))
        return VectorFile(
            model=self._state.model,
            sha256=sha256,
            dimension=self._state.dimension,
            rows=len(self._keys),
            created_at=system_clock(),
        )

    def _begin(self) -> None:
        self._keys = list[bytes]()
        self._vectors = list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]()
        self._failures = list[VectorFailure]()
        self._begun = time.monotonic()


def _reason(answer: Embedded) -> str:
    """Return why a text has no vector, without its place among those that were asked for together."""
    assert answer.error is not None, "asked of errors"
    return answer.error.message.removeprefix(f"text {answer.index} has no vector: ")
