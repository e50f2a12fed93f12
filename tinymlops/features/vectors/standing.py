"""Where an embedding stands: by which model, up to which row, and the vectors that rows have."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from tinymlops.features.embedded.column import Array, dimension_of, matrix_of
from tinymlops.features.history.embedding_columns import reads_of
from tinymlops.features.vectors.arranged import VECTOR
from tinymlops.registry.vectors import failures_of, state_of_embedding

if TYPE_CHECKING:
    from datetime import datetime

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EmbeddingSpec
    from tinymlops.features.embedded.texts import KnownTexts
    from tinymlops.records import EmbeddingState

__all__ = ["Standing", "standing_of"]


class Standing(NamedTuple):
    """Where an embedding stands."""

    spec: EmbeddingSpec
    state: EmbeddingState | None
    """None for a column of vectors, and before the first vector by this definition."""
    covered: int
    """Every row up to this sequence has its vector, or none for good."""
    texts: KnownTexts | None
    """None for a column of vectors."""
    failed: frozenset[int] = frozenset()
    """The sequences of the rows whose texts have no vector for a reason, until `rebuild` tries them again."""
    until: int | None = None
    """Set where it stands by an earlier model than images and indexes do: no row of after this time is searched."""

    @property
    def fitted_at(self) -> datetime | None:
        """Return `t` of the rows that TF-IDF was fitted on; None for other models."""
        return None if self.state is None else self.state.fitted_at

    @property
    def files(self) -> tuple[str, ...]:
        """Return the names of the files that have the vectors of its texts."""
        return () if self.texts is None else self.texts.files

    def dimension(self, rows: pl.DataFrame) -> int | None:
        """Return how many numbers a vector has, given all rows; None where there is no vector yet."""
        if self.spec.vector is not None:
            return dimension_of(self.spec, rows)
        return None if self.state is None else self.state.dimension

    def with_vectors(self, rows: pl.DataFrame, dimension: int | None) -> tuple[pl.DataFrame, Array]:
        """Return rows with the numbers of their vectors in place of a column of vectors, and these vectors.

        Args:
            rows: As `stored_rows` returns them.
            dimension: How many numbers a vector has.
        """
        if self.spec.vector is not None:
            matrix = matrix_of(rows[self.spec.vector], dimension)
            rows = rows.drop(self.spec.vector)
        else:
            assert self.texts is not None, "it has a text"
            assert self.spec.text is not None, "it has a text"
            known = pl.col("__sequence").is_in(list(self.failed)).not_()
            if self.until is not None:  # a row without a time is known at all times
                known &= (pl.col("__event") <= self.until).fill_null(value=True)
            matrix = self.texts.matrix_of(rows.select(pl.when(known).then(pl.col(self.spec.text))).to_series())
        return rows.with_columns(pl.Series(VECTOR, matrix.of_row)), matrix.values

    def waiting(self, rows: pl.DataFrame) -> int:
        """Return how many rows, as `with_vectors` returns them, have a text and no vector, and did not fail."""
        if self.spec.text is None or self.texts is None or self.texts.makes:
            return 0
        without = rows.filter(pl.col(VECTOR) < 0, ~pl.col("__deleted"), pl.col(self.spec.text).is_not_null())
        return sum(n not in self.failed for n in without["__sequence"].to_list())


def standing_of(context: Context, spec: EmbeddingSpec) -> Standing:
    """Return where an embedding stands now.

    Args:
        context: The workspace's state.
        spec: The embedding.
    """
    if spec.vector is not None:
        return Standing(spec, None, context.environment.database.sequence(), None)
    from tinymlops.features.embedded.texts import KnownTexts

    state = state_of_embedding(context.environment.database, spec.name)
    failed = frozenset(one.n for one in failures_of(context.environment.database, spec.name))
    if state is None or state.reads != reads_of(context, spec):
        return Standing(spec, None, 0, KnownTexts(context.environment, None, 1), failed)
    texts = KnownTexts(context.environment, state.model, state.dimension)
    return Standing(spec, state, state.covered, texts, failed)
