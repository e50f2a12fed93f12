"""The answer to a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd
    import polars as pl

__all__ = ["Nearest", "SearchMode"]

SearchMode: TypeAlias = Literal["vector", "text", "hybrid"]
"""How rows are compared with a query."""


class Nearest:
    """The rows nearest to a query, the best first; of equal scores the smaller key first.

    Attributes:
        timestamp: `t`: what was known then was searched.
        sequence: `Q`: rows up to it were searched.
        covered: The sequence up to which every row has its vector, or failed.
        waiting: Rows up to `Q` whose texts have no vector yet: `ws.vectors.follow` makes them.
        failed: Rows up to `Q` whose texts have no vector for a reason, which `ws.vectors.failures` tells.
    """

    def __init__(
        self, *, rows: pl.DataFrame, timestamp: datetime, sequence: int, covered: int, waiting: int, failed: int
    ) -> None:
        self._rows = rows
        self.timestamp, self.sequence = timestamp, sequence
        self.covered, self.waiting, self.failed = covered, waiting, failed

    def __len__(self) -> int:
        return self._rows.height

    def __repr__(self) -> str:
        more = f", {self.waiting} wait" if self.waiting else ""
        return f"<nearest: {len(self)} rows at {self.timestamp.isoformat()}, Q={self.sequence}{more}>\n{self._rows}"

    def to_polars(self) -> pl.DataFrame:
        """Return `score`, the key columns, the event time and the other columns of the source's rows."""
        return self._rows

    def to_pandas(self) -> pd.DataFrame:
        """Return the same as a pandas frame."""
        return self._rows.to_pandas()

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the same, a dict for each row."""
        return self._rows.to_dicts()
