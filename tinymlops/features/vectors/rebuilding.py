"""Rebuild an embedding: look at every row again, and leave in files only the vectors that a stored row needs."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl

from tinymlops.embedders import text_key
from tinymlops.errors import DefinitionError, NotFoundError
from tinymlops.features.definitions.specs import EmbeddingSpec
from tinymlops.features.vectors.alone import alone
from tinymlops.features.vectors.derived import remove_derived
from tinymlops.features.vectors.fits import fits_in_force
from tinymlops.features.vectors.following import Followed, embed_by, follow
from tinymlops.features.vectors.rows import read_rows
from tinymlops.features.vectors.standing import standing_of
from tinymlops.records import VectorFile
from tinymlops.registry.vectors import (
    forget_failures,
    forget_fits,
    models_kept,
    replace_files,
    save_state,
    state_of_embedding,
    unneeded_files,
)
from tinymlops.stores.collection import remove_unnamed
from tinymlops.stores.vector_files import open_vectors, store_vectors
from tinymlops.times import system_clock, to_micros

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.records import EmbeddingFit, EmbeddingState, FittedModel

__all__ = ["rebuild"]


def rebuild(context: Context, spec: EmbeddingSpec, *, purge: bool, anew: bool) -> Followed:
    """Look at every row again: failures are tried again, and a text that has a vector is not embedded again.

    Args:
        context: The workspace's state.
        spec: The embedding.
        purge: Also rewrite the files without the vectors that no stored row needs, and remove the old ones at once.
        anew: Take the model as it is now, fitted on what is known now. With `purge`, earlier fits are forgotten.
    """
    with alone(context):
        state = state_of_embedding(context.environment.database, spec.name)
        if state is not None and not anew:
            save_state(context.scope, msgspec.structs.replace(state, covered=0), begins=True)
        if purge:
            remove_derived(context, spec)
            if spec.text is not None:
                _purge(context)
    done = follow(context, spec, anew=anew, index_anew=True)
    with alone(context):
        if purge and anew and done.model is not None:
            _forget_earlier(context, spec, done.model)
        elif spec.text is not None:
            _embed_by_earlier(context, spec)
    return done


def _embed_by_earlier(context: Context, spec: EmbeddingSpec) -> None:
    """Make the vectors that searches of the past need by earlier fits, of rows that came after these were replaced."""
    fits = fits_in_force(context, standing_of(context, spec))
    for fit, following in pairwise(fits):
        rows = read_rows(context, spec)
        then = (pl.col("__event") < to_micros(following.fitted_at)).fill_null(value=True) | (
            pl.col("__sequence") <= following.sequence
        )
        embed_by(context, spec, fit, rows.filter(then))


def _forget_earlier(context: Context, spec: EmbeddingSpec, model: str) -> None:
    """Forget the fits before a model, whose states hold hashes of words that may be gone, and remove their files."""
    gone = forget_fits(context.scope, spec.name, but=model)
    remove_unnamed(context.environment, [*gone, *_unneeded(context)])


def _purge(context: Context) -> None:
    """Rewrite the files of every model that an embedding in force has, or a training set was built by; the others go."""
    embeddings, standing = _of_texts(context), _states(context)
    gone = list[str]()
    for model in {state.model for _, state in standing}:
        of_model = [(spec, state) for spec, state in standing if state.model == model]
        gone += _rewrite(context, [spec for spec, _ in of_model], of_model[0][1])
    models = {state.model for _, state in standing}
    earlier: dict[str, EmbeddingFit | FittedModel] = {fit.model: fit for fit in _fits(context)}
    earlier |= {kept.model: kept for kept in models_kept(context.environment.database, models)}
    for one in earlier.values():
        if one.model not in models:
            gone += _rewrite(context, embeddings, one)
    remove_unnamed(context.environment, [*gone, *_unneeded(context)])


def _unneeded(context: Context) -> list[str]:
    """Forget what no embedding in force needs; return the hashes of its files."""
    models = {spec.name: state.model for spec, state in _states(context)}
    return unneeded_files(context.scope, models, _fits(context))


def _fits(context: Context) -> list[EmbeddingFit]:
    return [fit for spec in _of_texts(context) for fit in fits_in_force(context, standing_of(context, spec))]


def _of_texts(context: Context) -> list[EmbeddingSpec]:
    return [one for one in context.definitions.of(EmbeddingSpec).values() if one.text is not None]


def _states(context: Context) -> list[tuple[EmbeddingSpec, EmbeddingState]]:
    standing = [(spec, standing_of(context, spec).state) for spec in _of_texts(context)]
    return [(spec, state) for spec, state in standing if state is not None]


def _rewrite(
    context: Context, embeddings: list[EmbeddingSpec], state: EmbeddingState | EmbeddingFit | FittedModel
) -> list[str]:
    """Put into one file what rows of these embeddings need of a model's vectors; return the hashes of the files before."""
    needed, stored = set[bytes](), dict[str, set[int]]()
    for spec in embeddings:
        assert spec.text is not None, "asked of texts"
        try:
            rows = read_rows(context, spec, [spec.text])
        except (DefinitionError, NotFoundError):  # it has no texts, as its own rebuild says
            continue
        needed |= set(map(text_key, rows[spec.text].drop_nulls().unique().to_list()))
        stored[spec.name] = set(rows["__sequence"].to_list())
    with context.scope.publishing():
        old = forget_failures(context.scope, state.model, stored)
        hashes, vectors = list[bytes](), []
        for file in old:
            table = open_vectors(context.environment.blobs, file.sha256)
            keys = [row.tobytes() for row in np.asarray(table.hashes)]
            places = [place for place, key in enumerate(keys) if key in needed]
            needed -= set(keys)
            hashes += [keys[place] for place in places]
            vectors.append(np.asarray(table.vectors[places]))
        if len(old) <= 1 and len(hashes) == sum(file.rows for file in old):
            return []
        new = None
        if hashes:
            sha256 = store_vectors(context.environment.blobs, hashes, np.concatenate(vectors))
            new = VectorFile(
                model=state.model,
                sha256=sha256,
                dimension=state.dimension,
                rows=len(hashes),
                created_at=system_clock(),
            )
        replace_files(context.scope, state.model, old, new)
    return [file.sha256 for file in old]
