"""The rows of an embedding that have no vector, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from tinymlops.features.definitions.declaring_embeddings import key_of_rows
from tinymlops.features.embedded.column import dimension_of, matrix_of
from tinymlops.features.history.stored import stored_rows
from tinymlops.features.vectors.rows import read_rows
from tinymlops.registry.vectors import failures_of

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EmbeddingSpec

__all__ = ["failures"]


def failures(context: Context, spec: EmbeddingSpec) -> pl.DataFrame:
    """Return key columns, `__sequence` and `reason` of the rows without a vector, in the order of their sequence."""
    names = key_of_rows(context.definitions, spec)
    if spec.vector is not None:
        rows = read_rows(context, spec, [*names, spec.vector])
        rows = rows.filter(~pl.col("__deleted"))
        refused = matrix_of(rows[spec.vector], dimension_of(spec, rows)).refused
        found = {int(rows["__sequence"][row]): reason for row, reason in refused.items()}
    else:
        rows = stored_rows(context, spec.source, names)
        found = {one.n: one.reason for one in failures_of(context.environment.database, spec.name)}
    reasons = pl.DataFrame(
        {"__sequence": list(found), "reason": list(found.values())},
        schema={"__sequence": pl.Int64, "reason": pl.String},
    )
    return rows.select(*names, "__sequence").join(reasons, on="__sequence").sort("__sequence")
