"""What is derived from an embedding's vectors, so that searches are fast: its image, and the generation of its index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.features.definitions.specs import EmbeddingSpec
from tinymlops.features.vectors.by_words import directory_of_words
from tinymlops.features.vectors.generation import make_generation, pays, remove_generations
from tinymlops.features.vectors.image import (
    directory_of,
    find_image,
    has_many_rows,
    is_left_behind,
    make_image,
)
from tinymlops.registry.vector_indexes import drop_indexes, named_generations
from tinymlops.stores import images

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.vectors.image import Image
    from tinymlops.features.vectors.standing import Standing

__all__ = ["arrange_anew", "forget_undefined", "remove_derived"]

_LATE_SHARE = 20
"""Where there is an index, the image is made anew when one in so many rows is late: both take a while."""


def arrange_anew(context: Context, standing: Standing, *, anew: bool = False) -> None:
    """Make the image of the rows that an embedding covers, and its index, where there are many rows.

    Args:
        context: The workspace's state; the caller lets one process do so.
        standing: Where the embedding stands.
        anew: Also the index that is over this image.
    """
    if not has_many_rows(context, standing):
        remove_generations(context, standing.spec)
        return
    image = None if anew else _kept(context, standing)
    image = make_image(context, standing) if image is None else image
    if image is not None:
        make_generation(context, standing, image, anew=anew)


def forget_undefined(context: Context) -> None:
    """Forget the indexes of embeddings that are not defined any more; `gc` removes their files."""
    defined = context.definitions.of(EmbeddingSpec)
    named = {name for name, _ in named_generations(context.environment.database)}
    if named - set(defined):
        drop_indexes(context.scope, named - set(defined))


def remove_derived(context: Context, spec: EmbeddingSpec) -> None:
    """Remove the images and the index of an embedding, every file of them."""
    remove_generations(context, spec)
    context.environment.remembered.clear()  # a mapped file keeps its bytes
    for directory in (directory_of(context, spec), directory_of_words(context, spec)):
        images.remove_all(directory)


def _kept(context: Context, standing: Standing) -> Image | None:
    """Return the image if it is so large that a few late rows are no reason to make it anew."""
    image = find_image(context, standing)
    if image is None or not pays(image.arranged):
        return None
    behind = is_left_behind(context, standing, image, standing.covered, share=_LATE_SHARE)
    return None if behind else image
