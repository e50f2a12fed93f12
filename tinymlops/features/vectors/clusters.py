"""`ws.vectors.cluster`: groups of rows with similar vectors, what each is, and a picture of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tinymlops.errors import DataError
from tinymlops.features.vectors.answer import Answer
from tinymlops.features.vectors.describing import described
from tinymlops.features.vectors.grouping import Groups, groups_of, in_the_plane
from tinymlops.features.vectors.known import known_rows
from tinymlops.features.vectors.scatter import Scatter, scatter_svg, scatter_text
from tinymlops.notebook import in_notebook
from tinymlops.tables import html_table, text_table

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EmbeddingSpec
    from tinymlops.features.vectors.known import Known

__all__ = ["MOST_CLUSTERS", "Clusters", "cluster"]

Array = np.ndarray[Any, Any]
MOST_CLUSTERS = 100
MOST_NUMBERS = 2**28
"""The most numbers of all vectors together: 2 GB as float64."""
_MOST_POINTS = 2_000
_NEAREST = 3


class Clusters(Answer):
    """Groups of rows with similar vectors, the largest first.

    Its frame has the key columns, `cluster` (0 is the largest), `distance` to the middle of the cluster, and `x` and `y`: the
    place in the picture, which is the first two principal components.

    Attributes:
        summary: A frame of clusters: `cluster`, `rows`, `share`, the mean `distance`, `words` that are more frequent there than
            elsewhere, `values` of columns that are, and the keys of the rows `nearest` to the middle.
        explained: The shares of the variance that `x` and `y` show.
    """

    def __init__(
        self, *, title: str, summary: pl.DataFrame, explained: tuple[float, float], seed: int, **rests_on: Any
    ) -> None:
        super().__init__(**rests_on)
        self.summary, self.explained = summary, explained
        self._title, self._seed = title, seed

    def __repr__(self) -> str:
        head = f"<{self._said()}>"
        if not len(self):
            return head
        return "\n".join([head, text_table([_HEAD, *self._lines()]), scatter_text(self._scatter())])

    def _repr_html_(self) -> str:
        if not len(self):
            return in_notebook(html_table(self._said(), []))
        return in_notebook(html_table(self._said(), [_HEAD, *self._lines()]), self.to_svg())

    def to_svg(self) -> str:
        """Draw the rows in the plane of their first two principal components: at most 2,000, drawn by lot."""
        return scatter_svg(self._scatter(), title=self._said())

    def _said(self) -> str:
        return f"{self._title}: {self.summary.height} clusters of {len(self):,} rows {self._rests_on()}"

    def _lines(self) -> list[tuple[str, ...]]:
        return [
            (
                str(one["cluster"]),
                f"{one['rows']:,}",
                f"{one['share']:.1%}",
                f"{one['distance']:.3g}",
                _short(", ".join([*(one["words"] or []), *one["values"]])),
                _short(", ".join(map(_key, one["nearest"]))),
            )
            for one in self.summary.iter_rows(named=True)
        ]

    def _scatter(self) -> Scatter:
        frame, total = self._rows, len(self)
        if total > _MOST_POINTS:
            lot = np.random.default_rng(self._seed).choice(total, _MOST_POINTS, replace=False)
            frame = frame[np.sort(lot)]
        words = self.summary.select("cluster", said=pl.coalesce("words", "values").list.head(3).list.join(", "))
        return Scatter(
            x=frame["x"].to_list(),
            y=frame["y"].to_list(),
            group=frame["cluster"].to_list(),
            names=[f"{number} {_short(said or '', 28)}".strip() for number, said in words.iter_rows()],
            axes=tuple(
                f"principal component {place} ({share:.1%} of the variance)"
                for place, share in enumerate(self.explained, 1)
            ),
            total=total,
        )


_HEAD = ("cluster", "rows", "share", "distance", "what it is", "nearest to its middle")


def cluster(context: Context, spec: EmbeddingSpec, *, k: int, at: int | None, as_of: int | None, seed: int) -> Clusters:
    """Put rows into groups by k-means.

    Args:
        context: The workspace's state.
        spec: The embedding.
        k: How many groups at most.
        at: `t`, microseconds UTC; None for now.
        as_of: `Q`, which the workspace has reached; None for all rows.
        seed: Where the search for groups begins.

    Raises:
        DataError: If `k` or `seed` cannot be used, or the vectors do not fit into memory.
    """
    for name, value, low, high in (("k", k, 1, MOST_CLUSTERS), ("seed", seed, 0, 2**32 - 1)):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise DataError(f"{name}={value!r} is not a whole number that clusters take", hint=f"use {low} to {high:,}")
    known = known_rows(context, spec, at=at, as_of=as_of)
    if known.vectors.size > MOST_NUMBERS:
        gigabytes = known.vectors.size * 16 / 1e9
        raise DataError(
            f"embedding {spec.name!r} has {len(known.vectors):,} vectors of {known.vectors.shape[1]} numbers: clusters of "
            f"them take about {gigabytes:.0f} GB of memory",
            hint="define an embedding of a row-wise transformation that keeps fewer rows",
        )
    points = _points(known.vectors, spec.metric)
    groups = groups_of(points, k, seed)
    places, explained = in_the_plane(points)
    return Clusters(
        title=f"embedding {spec.name!r}",
        summary=_summary(known, spec, groups),
        explained=explained,
        seed=seed,
        rows=known.rows.select(known.names).with_columns(
            pl.Series("cluster", groups.group, dtype=pl.Int64),
            pl.Series("distance", groups.distance, dtype=pl.Float64),
            pl.Series("x", places[:, 0], dtype=pl.Float64),
            pl.Series("y", places[:, 1], dtype=pl.Float64),
        ),
        **known.rests_on,
    )


def _points(vectors: Array, metric: str) -> Array:
    """Return float64[n, d]; by cosine of length 1, except zeros."""
    points = vectors.astype(np.float64)
    if metric != "cosine" or not points.size:
        return points
    size = np.sqrt(np.einsum("ij,ij->i", points, points))[:, None]
    return points / np.where(size > 0, size, 1.0)


def _summary(known: Known, spec: EmbeddingSpec, groups: Groups) -> pl.DataFrame:
    """Return a row for each cluster."""
    keys = known.rows.select(known.names)
    named = keys.to_series() if keys.width == 1 else keys.to_struct()
    columns = [name for name in known.rows.columns if name not in (*known.names, spec.text, spec.vector)]
    said = described(known.rows, spec.text, columns, groups.group, groups.number)
    lines = []
    for number in range(groups.number):
        rows = np.flatnonzero(groups.group == number)
        nearest = rows[np.argsort(groups.distance[rows], kind="stable")[:_NEAREST]]
        lines.append(
            {
                "cluster": number,
                "rows": rows.size,
                "share": rows.size / known.rows.height,
                "distance": float(groups.distance[rows].mean()),
                "words": said[number].words,
                "values": said[number].values,
                "nearest": named[nearest.tolist()].to_list(),
            }
        )
    schema = pl.Schema(
        {
            "cluster": pl.Int64(),
            "rows": pl.Int64(),
            "share": pl.Float64(),
            "distance": pl.Float64(),
            "words": pl.List(pl.String),
            "values": pl.List(pl.String),
            "nearest": pl.List(named.dtype),
        }
    )
    return pl.DataFrame(lines, schema=schema, orient="row")


def _key(key: object) -> str:
    return "/".join(map(str, key.values())) if isinstance(key, dict) else str(key)


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
