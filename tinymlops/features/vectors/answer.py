"""The answers to a search, and to what looks at all vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd
    import polars as pl

__all__ = ["Answer", "Nearest", "Pairs", "SearchMode"]

SearchMode: TypeAlias = Literal["vector", "text", "hybrid"]
"""How rows are compared with a query."""


class Answer:
    """A frame, and what it rests on.

    Attributes:
        timestamp: `t`: what was known then was read.
        sequence: `Q`: rows up to it were read.
        covered: The sequence up to which every row has its vector, or failed.
        waiting: Rows up to `Q` whose texts have no vector: not yet, which `ws.vectors.follow` makes, or not any more, as a purge
            leaves none of rows that a rebuild has replaced.
        failed: Rows up to `Q` whose texts have no vector for a reason, which `ws.vectors.failures` tells.
        generation: That of the index which chose what was compared; None for "exact".
        indexed: The sequence up to which it has the rows; later ones were compared one by one.
        fitted_at: `t` of the rows that TF-IDF was fitted on; None where no vector was compared, and for other models.
    """

    def __init__(
        self,
        *,
        rows: pl.DataFrame,
        timestamp: datetime,
        sequence: int,
        covered: int,
        waiting: int,
        failed: int,
        generation: str | None = None,
        indexed: int | None = None,
        fitted_at: datetime | None = None,
    ) -> None:
        self._rows = rows
        self.timestamp, self.sequence = timestamp, sequence
        self.covered, self.waiting, self.failed = covered, waiting, failed
        self.generation, self.indexed = generation, indexed
        self.fitted_at = fitted_at

    @property
    def mode(self) -> str:
        """Return "exact" where every vector was compared; "index" where an index chose which, and may miss a row."""
        return "exact" if self.generation is None else "index"

    def __len__(self) -> int:
        return self._rows.height

    def to_polars(self) -> pl.DataFrame:
        """Return the rows."""
        return self._rows

    def to_pandas(self) -> pd.DataFrame:
        """Return the same as a pandas frame."""
        return self._rows.to_pandas()

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the same, a dict for each row."""
        return self._rows.to_dicts()

    def _rests_on(self) -> str:
        more = f", {self.waiting} wait" if self.waiting else ""
        return f"at {self.timestamp.isoformat()}, Q={self.sequence}{more}"


class Nearest(Answer):
    """The rows nearest to a query, the best first; of equal scores the smaller key first.

    Its frame has `score`, the key columns, the event time and the other columns of the source's rows.
    """

    def __repr__(self) -> str:
        return f"<nearest: {len(self)} rows {self._rests_on()}>\n{self._rows}"


class Pairs(Answer):
    """Pairs of rows with nearly the same vector, the best first; of equal scores those of the smaller keys first.

    Its frame has `score`, and each column of the source twice: `review_1` of the row with the smaller key, and
    `review_2` of the other.

    Attributes:
        count: How many pairs there are; the frame has as many as `limit` allows.
        threshold: The least score.
    """

    def __init__(self, *, count: int, threshold: float, **rests_on: Any) -> None:
        super().__init__(**rests_on)
        self.count, self.threshold = count, threshold

    def __repr__(self) -> str:
        shown = "" if len(self) == self.count else f", the best {len(self):,} here"
        return f"<{self.count:,} pairs from score {self.threshold} on{shown}, {self._rests_on()}>\n{self._rows}"
