"""The stored rows that an embedding reads, with the column that its vectors are made of checked.

`apply` checks it where the columns are known by then. Those of a function are known when it has run, and may change later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from tinymlops.errors import DefinitionError, near
from tinymlops.features.embedded.column import require_texts, require_vectors
from tinymlops.features.history.stored import stored_rows

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EmbeddingSpec

__all__ = ["read_rows"]


def read_rows(
    context: Context,
    spec: EmbeddingSpec,
    columns: list[str] | None = None,
    *,
    after: int = 0,
    as_of: int | None = None,
) -> pl.DataFrame:
    """Return rows as `stored_rows` does; a column without any value is one of texts, or of vectors.

    Args:
        context: The workspace's state.
        spec: The embedding.
        columns: Of the user's, with that of the texts or vectors; None for all.
        after: Only rows with greater sequences.
        as_of: Only rows up to this sequence.

    Raises:
        DefinitionError: If the rows do not have that column, or it is of another type.
    """
    made_of = spec.text or spec.vector
    assert made_of is not None, "it has a text or a vector"
    rows = stored_rows(context, spec.source, columns, after=after, as_of=as_of)
    if made_of not in rows.columns:
        known = [name for name in rows.columns if not name.startswith("__")]
        raise DefinitionError(
            f"source {spec.source!r} has no column {made_of!r}, which embedding {spec.name!r} is made of",
            hint=near(made_of, known),
        )
    dtype = rows.schema[made_of]
    if spec.text is not None:
        require_texts(spec, dtype)
        return rows if dtype == pl.String else rows.with_columns(pl.col(made_of).cast(pl.String))
    if dtype == pl.Null:
        return rows.with_columns(pl.col(made_of).cast(pl.List(pl.Float32)))
    require_vectors(spec, dtype)
    return rows
