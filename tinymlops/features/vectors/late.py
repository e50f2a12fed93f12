"""The rows of an embedding as its image has them, and the rows after it; and whether that is what the store has."""

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
from tinymlops.features.history.stored import known_columns, state_of, stored_rows
from tinymlops.features.vectors import image as images
from tinymlops.features.vectors.arranged import VECTOR, Arranged, arrange
from tinymlops.keys import encode
from tinymlops.registry.pushes import pushed_at

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.vectors.image import Image
    from tinymlops.features.vectors.standing import Standing

__all__ = ["LateParts", "late_parts", "still_holds"]

Array = np.ndarray[Any, Any]


class LateParts(NamedTuple):
    """An image, and what came after it."""

    image: Image
    touched: Array
    """bool[K]: the keys of the image that have later rows; these are not to be read from it."""
    late: pl.DataFrame
    """The later rows, as `stored_rows` returns them."""
    anew: list[Arranged]
    """All rows of the keys that have later ones, arranged; empty where there is none."""


def late_parts(context: Context, standing: Standing, sequence: int) -> LateParts | None:
    """Read the image and the rows after it, up to a sequence; None where there is no image, or it is of other columns."""
    if not images.has_many_rows(context, standing):
        return None
    image = images.find_image(context, standing)
    if image is None or images.is_left_behind(context, standing, image, sequence):
        image = images.make_image(context, standing) or image
    if image is None or image.covered > sequence:
        return None
    late = stored_rows(context, standing.spec.source, after=image.covered, as_of=sequence)
    kept, vectors = standing.with_vectors(late, image.arranged.vectors.shape[1])
    if kept.drop(VECTOR).schema != image.arranged.rows.schema:
        return None
    touched = _touched(image.arranged, kept, key_of_rows(context.definitions, standing.spec))
    anew = []
    if kept.height:
        rows = _with_earlier(image.arranged, touched, kept, vectors)
        anew.append(arrange(context.definitions, standing.spec, *rows))
    return LateParts(image, touched, late, anew)


def still_holds(context: Context, standing: Standing, image: Image, hits: pl.DataFrame) -> bool:
    """Return whether an image, and the rows that were found in it, are still what the store has."""
    return images.is_in_force(context, standing, image) and _are_stored(context, standing, hits)


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


def _are_stored(context: Context, standing: Standing, hits: pl.DataFrame) -> bool:
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
