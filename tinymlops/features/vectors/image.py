"""The image of an embedding: its arranged rows and their vectors in files that are mapped into memory.

An image is derived and may be removed at any time. Its name says up to which sequence it has the rows, and a digest of all
that it was made from: where a file was replaced, or a pushed row is gone, no image has that name, and none is used.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import polars as pl

from tinymlops.errors import NotFoundError
from tinymlops.features.definitions import graph, specs
from tinymlops.features.definitions.declaring_embeddings import key_of_rows
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.history.reading_notes import rows_of
from tinymlops.features.history.stored import segments_of, state_of, stored_rows
from tinymlops.features.vectors.arranged import Arranged, Spans, arrange
from tinymlops.features.vectors.parts import part_of
from tinymlops.features.vectors.rows import read_rows
from tinymlops.registry.pushes import extent_of_pushed
from tinymlops.stores import images

if TYPE_CHECKING:
    from pathlib import Path

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EmbeddingSpec
    from tinymlops.features.vectors.parts import Part
    from tinymlops.features.vectors.standing import Standing

__all__ = [
    "MANY_LATE_ROWS",
    "MANY_ROWS",
    "Image",
    "digest",
    "directory_of",
    "find_image",
    "has_many_rows",
    "is_in_force",
    "is_left_behind",
    "is_unchanged",
    "make_image",
]

MANY_ROWS = 5_000
"""Rows from which on an image is made: fewer are arranged for each search."""
MANY_LATE_ROWS = 5_000
"""Rows after an image from which on it is made anew, if they are a fifth of it as well."""
_FORMAT = 2
"""Raised when an image's meaning changes: images of another format have another name."""


class Image(NamedTuple):
    """The rows up to a sequence, arranged."""

    part: Part
    covered: int
    name: str
    identity: object
    """Of its files: an image that is made again has the same name."""

    @property
    def arranged(self) -> Arranged:
        """Its rows."""
        return self.part.arranged


def has_many_rows(context: Context, standing: Standing) -> bool:
    """Return whether an embedding's source has so many rows that an image pays."""
    source = _origin(context, standing)
    return rows_of(context, source, segments_of(context, source)) >= MANY_ROWS


def find_image(context: Context, standing: Standing) -> Image | None:
    """Return the image in force, mapped into memory; None if there is none, or it is damaged."""
    directory = directory_of(context, standing.spec)
    with suppress(OSError):
        for path in directory.iterdir():
            covered = path.name.partition("-")[0]
            if covered.isdecimal() and path.name == _name(context, standing, int(covered)):
                return _mapped(context, standing, int(covered), path.name)
    return None


def is_unchanged(context: Context, standing: Standing, image: Image) -> bool:
    """Return whether the files that an image is mapped from are still there, as they were."""
    return images.identity(directory_of(context, standing.spec), image.name) == image.identity


def is_in_force(context: Context, standing: Standing, image: Image) -> bool:
    """Return whether all that an image was made from is still there."""
    return image.name == _name(context, standing, image.covered)


def is_left_behind(context: Context, standing: Standing, image: Image, sequence: int, *, share: int = 5) -> bool:
    """Return whether so many rows came after an image that it pays to make it anew.

    Args:
        context: The workspace's state.
        standing: Where the embedding stands.
        image: Its image.
        sequence: Rows up to it are asked for.
        share: One in so many rows are many.
    """
    if standing.covered <= image.covered or sequence < standing.covered:
        return False
    late = stored_rows(context, standing.spec.source, [], after=image.covered, as_of=standing.covered)
    return late.height > max(MANY_LATE_ROWS, image.arranged.rows.height // share)


def make_image(context: Context, standing: Standing) -> Image | None:
    """Make the image anew of the rows that the embedding covers, in the place of the one before.

    Returns:
        The image; None where something was committed meanwhile that makes it another one, the rows were rebuilt
        since, or they have no vectors.
    """
    if _is_superseded(context, standing):
        return None
    name = _name(context, standing, standing.covered)
    rows = read_rows(context, standing.spec, as_of=standing.covered)
    dimension = standing.dimension(rows)
    if dimension is None:
        return None
    rows, vectors = standing.with_vectors(rows, dimension)
    arranged = arrange(context.definitions, standing.spec, rows, vectors)
    if name != _name(context, standing, standing.covered):
        return None
    directory = directory_of(context, standing.spec)
    images.store(directory, name, _tables(arranged), context.environment.tmp)
    return _mapped(context, standing, standing.covered, name)


def directory_of(context: Context, spec: EmbeddingSpec) -> Path:
    """Return the directory of an embedding's image."""
    # Named apart from the join images of its source.
    purpose = hashlib.sha256(msgspec.json.encode(("embedding", spec.name))).hexdigest()[:16]
    return context.environment.path / "images" / spec.source / purpose


def _is_superseded(context: Context, standing: Standing) -> bool:
    """Return whether the rows up to what an embedding covers are not in force any more: the source was rebuilt since."""
    source = graph.lineage(context.definitions, context.definitions.get(SourceSpec, standing.spec.source))[-1]
    now = {one.sha256 for one in segments_of(context, source) if one.base < standing.covered}
    try:
        then = segments_of(context, source, as_of=standing.covered)
    except NotFoundError:  # collected
        return True
    return now != {one.sha256 for one in then if one.base < standing.covered}


def _origin(context: Context, standing: Standing) -> SourceSpec:
    return graph.origin(context.definitions, context.definitions.get(SourceSpec, standing.spec.source))


def digest(context: Context, standing: Standing, sequence: int) -> str:
    """Return a digest of all that the rows up to a sequence, and their vectors, are made from."""
    spec, database = standing.spec, context.environment.database
    lineage = graph.lineage(context.definitions, context.definitions.get(SourceSpec, spec.source))
    state = state_of(context, lineage[-1].name)
    failed = sorted(n for n in standing.failed if n <= sequence)
    segments = [one for one in segments_of(context, lineage[-1]) if one.base < sequence]
    pushed = extent_of_pushed(database, place_of(database, lineage[-1].name), up_to=sequence)
    reach = max((one.last for one in segments), default=0)
    if not segments and not pushed[0]:
        reach = sequence  # those of before a rebuild are of segments that are not in force any more
    content = (
        _FORMAT,
        [specs.fingerprint(spec), *(specs.fingerprint(one) for one in lineage)],
        key_of_rows(context.definitions, spec),
        None if standing.state is None else standing.state.model,
        failed,
        [] if state is None else sorted(state.columns.items()),
        0 if state is None else sum(schema.after < sequence for schema in state.schemas),
        [(one.sha256, one.base) for one in segments],
        min(sequence, reach),
        pushed,
    )
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:32]


def _name(context: Context, standing: Standing, covered: int) -> str:
    return f"{covered}-{digest(context, standing, covered)}"


def _mapped(context: Context, standing: Standing, covered: int, name: str) -> Image | None:
    """Return an image by its name, which this process keeps mapped."""
    directory, remembered = directory_of(context, standing.spec), context.environment.remembered
    key = "image", standing.spec.name
    identity = images.identity(directory, name)
    kept: Image | None = remembered.get(key, identity)
    if kept is not None and kept.name == name:
        return kept
    tables = images.load(directory, name)
    if tables is None:
        return None
    image = Image(part_of(_opened(tables)), covered, name, identity)
    remembered.put(key, identity, image)
    return image


def _tables(arranged: Arranged) -> dict[str, pl.DataFrame]:
    return {
        "rows": arranged.rows,
        "keys": arranged.keys,
        "of_rows": pl.DataFrame({"key": arranged.key, "vector": arranged.vector}),
        "spans": pl.DataFrame(arranged.spans._asdict()),
        "lengths": pl.DataFrame({"length": arranged.lengths}),
        "vectors": pl.DataFrame({"value": arranged.vectors.reshape(-1)}),
        "shape": pl.DataFrame({"dimension": [arranged.vectors.shape[1]]}),
    }


def _opened(tables: dict[str, pl.DataFrame]) -> Arranged:
    spans = {name: column.to_numpy() for name, column in tables["spans"].to_dict().items()}
    values = tables["vectors"]["value"].to_numpy().astype(np.float32, copy=False)
    return Arranged(
        rows=tables["rows"],
        keys=tables["keys"],
        key=tables["of_rows"]["key"].to_numpy(),
        spans=Spans(**spans),
        vectors=values.reshape(-1, int(tables["shape"]["dimension"][0])),
        lengths=tables["lengths"]["length"].to_numpy(),
        vector=tables["of_rows"]["vector"].to_numpy(),
    )
