"""Merge small files of a model's vectors: each follow adds a file, and a lookup asks every file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinymlops.records import VectorFile
from tinymlops.registry.vectors import files_of, replace_files
from tinymlops.stores.collection import remove_unnamed
from tinymlops.stores.vector_files import open_vectors, store_vectors
from tinymlops.times import system_clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.context import Context

__all__ = ["merge_small_files"]

_MANY = 16
"""So many files of about one size become one, whose size is of the next step: there are few files, and a vector moves rarely."""


def merge_small_files(context: Context, model: str) -> None:
    """Merge files of a model until there are few of each size; the caller is the only one that does.

    Args:
        context: The workspace's state.
        model: Its fingerprint.
    """
    while (old := _of_one_size(files_of(context.environment.database, model))) is not None:
        with context.scope.publishing():
            tables = [open_vectors(context.environment.blobs, file.sha256) for file in old]
            by_hash = {row.tobytes(): (table, place) for table in tables for place, row in enumerate(table.hashes)}
            vectors = np.stack([table.vectors[place] for table, place in by_hash.values()])
            new = VectorFile(
                model=model,
                sha256=store_vectors(context.environment.blobs, list(by_hash), vectors),
                dimension=old[0].dimension,
                rows=len(by_hash),
                created_at=system_clock(),
            )
            replace_files(context.scope, model, old, new)
        remove_unnamed(context.environment, [file.sha256 for file in old])


def _of_one_size(files: Sequence[VectorFile]) -> list[VectorFile] | None:
    """Return the smallest files of one size that are many; sizes go up by steps of sixteen."""
    by_size = dict[int, list[VectorFile]]()
    for file in files:
        by_size.setdefault((max(1, file.rows).bit_length() - 1) // 4, []).append(file)
    return next((by_size[size] for size in sorted(by_size) if len(by_size[size]) >= _MANY), None)
