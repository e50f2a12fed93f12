"""What a search reads: an embedding's image, and the rows after it arranged like it; kept until something changes.

A key with later rows is read from those and its earlier rows, arranged together, and is left out of the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from tinymlops.features.definitions import graph
from tinymlops.features.definitions.declaring_embeddings import key_of_rows
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.history.payloads import read_pushed
from tinymlops.features.history.sources import SYSTEM
from tinymlops.features.history.stored import known_columns, state_of
from tinymlops.features.vectors import image as images
from tinymlops.features.vectors.arranged import VECTOR, arrange
from tinymlops.features.vectors.parts import part_of
from tinymlops.features.vectors.rows import read_rows
from tinymlops.keys import encode
from tinymlops.registry.pushes import pushed_at

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.vectors.arranged import Arranged
    from tinymlops.features.vectors.image import Image
    from tinymlops.features.vectors.parts import Part
    from tinymlops.features.vectors.standing import Standing

__all__ = ["Reading", "are_stored", "read"]

Array = np.ndarray[Any, Any]


class Reading(NamedTuple):
    """All rows up to a sequence."""

    image: Image
    parts: list[Part]
    """That of the image, and that of the keys with later rows, if there are any."""
    waiting: int
    """How many later rows have no vector yet."""


def read(context: Context, standing: Standing, sequence: int) -> Reading | None:
    """Return the rows up to a sequence; None where there is no image, or it is not what the store has.

    Args:
        context: The workspace's state.
        standing: Where the embedding stands.
        sequence: `Q`.
    """
    key = "search", standing.spec.name, standing.texts is not None and standing.texts.makes
    version = images.digest(context, standing, sequence), standing.files
    remembered = context.environment.remembered
    kept: Reading | None = remembered.get(key, version)
    if kept is not None and images.is_unchanged(context, standing, kept.image):
        return kept
    if not images.has_many_rows(context, standing):
        return None
    image = images.find_image(context, standing)
    if image is None or images.is_left_behind(context, standing, image, sequence):
        image = images.make_image(context, standing) or image
    if image is None or image.covered > sequence:
        return None
    made = _made(context, standing, image, sequence)
    if made is None or not images.is_in_force(context, standing, image):
        return None
    if images.digest(context, standing, sequence) == version[0]:
        remembered.put(key, version, made)
    return made


def _made(context: Context, standing: Standing, image: Image, sequence: int) -> Reading | None:
    late = read_rows(context, standing.spec, after=image.covered, as_of=sequence)
    kept, vectors = standing.with_vectors(late, image.arranged.vectors.shape[1])
    if kept.drop(VECTOR).schema != image.arranged.rows.schema:
        return None
    if not kept.height:
        return Reading(image, [image.part], 0)
    touched = _touched(image.arranged, kept, key_of_rows(context.definitions, standing.spec))
    anew = arrange(context.definitions, standing.spec, *_with_earlier(image.arranged, touched, kept, vectors))
    waiting = standing.waiting(kept)
    return Reading(image, [image.part.leaving_out(touched), part_of(anew)], waiting)


def _touched(arranged: Arranged, late: pl.DataFrame, names: list[str]) -> Array:
    """Return bool[K]: the keys of an image that have later rows."""
    of_late, of_keys, _ = encode([late[name] for name in names], arranged.keys.get_columns(), names)
    return np.isin(of_keys, of_late[of_late >= 0])


def _with_earlier(arranged: Arranged, touched: Array, late: pl.DataFrame, vectors: Array) -> tuple[pl.DataFrame, Array]:
    """Return later rows with the earlier ones of their keys, and the vectors of both."""
    places = np.flatnonzero(touched[arranged.key]) if arranged.key.size else np.empty(0, np.int64)
    numbers = arranged.vector[places]
    used, again = np.unique(numbers[numbers >= 0], return_inverse=True)
    numbers = numbers.copy()
    numbers[numbers >= 0] = again + len(vectors)
    earlier = arranged.rows[places].with_columns(pl.Series(VECTOR, numbers))
    return pl.concat([late, earlier]), np.concatenate([vectors, arranged.vectors[used]])


def are_stored(context: Context, standing: Standing, hits: pl.DataFrame) -> bool:
    """Return whether pushed rows that an image gave are still what is stored; files are what they were when they are named."""
    source = graph.origin(context.definitions, context.definitions.get(SourceSpec, standing.spec.source))
    if source.via != "push" or not hits.height:
        return True
    database = context.environment.database
    place, known = place_of(database, source.name), known_columns(source, state_of(context, source.name))
    for n in pushed_at(database, place, hits["__sequence"].to_list()):
        stored = read_pushed(database, place, known, after=n - 1, up_to=n)
        found = hits.filter(pl.col("__sequence") == n)
        # A row-wise transformation keeps the times of its input, and computes the rest.
        names = [
            name
            for name in stored.columns
            if name in hits.columns and (source.name == standing.spec.source or name in SYSTEM)
        ]
        if not stored.height or not found.select(names).equals(stored.select(names)):
            return False
    return True
