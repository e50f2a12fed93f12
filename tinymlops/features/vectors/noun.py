"""`ws.vectors`: search by vectors, and what makes them."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date, datetime

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.expressions import Operand
    from tinymlops.features.definitions.nouns import Embedding
    from tinymlops.features.definitions.specs import EmbeddingSpec
    from tinymlops.features.vectors.answer import Nearest, Pairs, SearchMode
    from tinymlops.features.vectors.clusters import Clusters
    from tinymlops.features.vectors.following import Followed
    from tinymlops.features.vectors.listing import EmbeddingStatus
    from tinymlops.frames import Frame

__all__ = ["Vectors"]


class Vectors:
    """The embeddings of a workspace.

    Args:
        context: Gives the workspace's state, by the definitions in force.
    """

    def __init__(self, context: Callable[[], Context]) -> None:
        self._context = context

    def __repr__(self) -> str:
        from tinymlops.features.definitions.specs import EmbeddingSpec

        names = ", ".join(self._context().definitions.of(EmbeddingSpec)) or "none"
        return f'<vectors of embeddings: {names}; ws.vectors.search("...", "words")>'

    def list(self) -> builtins.list[EmbeddingStatus]:
        """List the embeddings by name: what each is made of, and how far its vectors are."""
        from tinymlops.features.vectors.listing import listed

        return listed(self._context())

    def search(
        self,
        embedding: Embedding | str,
        query: Any,
        *,
        k: int = 10,
        at: datetime | date | str | None = None,
        as_of: int | None = None,
        where: Operand | Mapping[str, object] | None = None,
        mode: SearchMode = "vector",
        rerank: Callable[[Any, pl.DataFrame], Any] | None = None,
        exact: bool = False,
    ) -> Nearest:
        """Return the rows nearest to a query, of what was known at a time: of each key the row that any read would find.

        Args:
            embedding: Which, or its name.
            query: A text, which the model of the embedding makes a vector of; or a vector of float32 numbers.
            k: How many rows at most, 1 to 10,000.
            at: `t`, a datetime with a zone, a date, or ISO 8601 text; by default now, by the workspace's clock.
            as_of: `Q`: only by rows with a sequence up to this one, as if nothing had come since.
            where: A condition on columns of the source's rows, such as `tm.col("country") == "AT"`; null is no. Or a
                dict of what columns must be, such as `{"country": "AT"}`, where None is null.
            mode: "vector"; "text", by BM25, where a row has at least one word of the query; or "hybrid", the reciprocal rank
                fusion of both. The last two need an embedding with `text=`, and a query that is a text.
            rerank: A function of the query and the frame of the best rows, `k` of them or 100, the best first. It returns a
                finite number for each row, in the same order; these become the scores.
            exact: Compare every vector, though there is an index, which may miss a row.

        Raises:
            NotFoundError: If there is no such embedding, or its source was never ingested.
            DataError: If the query has another dimension, or NaN; if `k`, `as_of`, `mode` or a column in `where` is not known; if
                `rerank` fails, or its scores are not a finite number for each row; if no TF-IDF was in force yet at `at` and
                `as_of`.

        Example:
            >>> import tempfile, tinymlops as tm, polars as pl
            >>> from datetime import datetime
            >>> project = tm.Project("shop")
            >>> @project.source(timestamp="at", id="review")
            ... def reviews() -> tm.Schema:
            ...     return {"review": int, "at": datetime, "stars": int, "place": pl.List(pl.Float32)}
            >>> near = project.embedding("near", source=reviews, vector="place", metric="l2")
            >>> with tm.connect(tempfile.mkdtemp() + "/shop.tm", create=True) as ws:
            ...     _ = ws.apply(project)
            ...     _ = ws.push("reviews", [
            ...         {"review": 1, "at": "2024-01-01T00:00Z", "stars": 5, "place": [0.0, 1.0]},
            ...         {"review": 2, "at": "2024-01-02T00:00Z", "stars": 2, "place": [3.0, 1.0]},
            ...     ])
            ...     ws.vectors.search(near, [0.0, 0.0], where=tm.col("stars") > 1).to_dicts()[0]["review"]
            1
        """
        from tinymlops.features.vectors.search import search

        context, spec, t, sequence = self._asked(embedding, at, as_of)
        return search(
            context, spec, query, k=k, at=t, as_of=sequence, where=where, mode=mode, rerank=rerank, exact=exact
        )

    def neighbours(
        self,
        embedding: Embedding | str,
        spine: Frame,
        *,
        k: int = 5,
        of: str | None = None,
        timestamp: str = "timestamp",
        tz: str | None = None,
        as_of: int | None = None,
    ) -> pl.DataFrame:
        """Return the nearest rows of each row of a spine, of what was known at its time; its own key is left out.

        With these keys and times, `ws.get_historical_features` gives the features of the neighbours as they were known then.

        Args:
            embedding: Which, or its name.
            spine: Times, and the key of the embedding's entity (or its id).
            k: How many at most, 1 to 1,000. A row may have fewer, and has none if it has no vector.
            of: The column of texts or vectors to find neighbours of; by default the vector of the key itself, as known then.
            timestamp: The time column.
            tz: Zone of times that carry none.
            as_of: `Q`: only by rows with a sequence up to this one.

        Returns:
            `row` (the number of the spine's row), the neighbour's key, the time and `score`; the nearest first, ties by key.

        Raises:
            NotFoundError: If there is no such embedding.
            DataError: If the spine lacks a column, the embedding has no vectors yet, or there are so many rows and vectors that
                it would take too long; the error says how long, and how many rows to ask for at a time.

        Example:
            >>> import tempfile, tinymlops as tm, polars as pl
            >>> from datetime import datetime
            >>> project = tm.Project("shop")
            >>> customer = project.entity("customer", key="customer")
            >>> @project.source(timestamp="at", id="n")
            ... def places() -> tm.Schema:
            ...     return {"n": int, "customer": str, "at": datetime, "v": pl.List(pl.Float32)}
            >>> near = project.embedding("near", source=places, entity=customer, vector="v", metric="l2")
            >>> with tm.connect(tempfile.mkdtemp() + "/shop.tm", create=True) as ws:
            ...     _ = ws.apply(project)
            ...     _ = ws.push("places", [
            ...         {"n": n, "customer": name, "at": "2024-01-01T00:00Z", "v": [place, 0.0]}
            ...         for n, (name, place) in enumerate([("ann", 0.0), ("bob", 1.0), ("eve", 5.0)])
            ...     ])
            ...     spine = pl.DataFrame({"customer": ["ann"], "timestamp": [datetime(2099, 1, 1)]})
            ...     ws.vectors.neighbours(near, spine, k=1, tz="UTC")["customer"][0]
            'bob'
        """
        from tinymlops.features.history.stored import require_past
        from tinymlops.features.vectors.neighbours import find_neighbours

        context = self._context()
        return find_neighbours(
            context,
            _spec(context, embedding),
            spine,
            k=k,
            of=of,
            timestamp=timestamp,
            tz=tz,
            as_of=require_past(context, as_of),
        )

    def duplicates(
        self,
        embedding: Embedding | str,
        *,
        at: datetime | date | str | None = None,
        as_of: int | None = None,
        threshold: float | None = None,
        limit: int = 1_000,
    ) -> Pairs:
        """Return the pairs of rows whose vectors are nearly the same, of what was known at a time.

        Each row is compared with all others, exactly, in blocks: 100,000 different vectors of 384 numbers take minutes.

        Args:
            embedding: Which, or its name.
            at: `t`, as in `search`.
            as_of: `Q`, as in `search`.
            threshold: The least score of a pair; 0.95 by cosine, to be said for other metrics (by l2: minus the distance).
            limit: How many pairs at most, the best; 1 to 10,000. `count` of the answer tells how many there are.

        Raises:
            NotFoundError: If there is no such embedding, or its source was never ingested.
            DataError: If there are more than 100,000 different vectors, with an estimate; if an argument cannot be used.

        Example:
            >>> ws.vectors.duplicates("texts", threshold=0.9).to_polars()  # doctest: +SKIP
        """
        from tinymlops.features.vectors.duplicates import duplicates

        context, spec, t, sequence = self._asked(embedding, at, as_of)
        return duplicates(context, spec, at=t, as_of=sequence, threshold=threshold, limit=limit)

    def cluster(
        self,
        embedding: Embedding | str,
        k: int = 8,
        *,
        at: datetime | date | str | None = None,
        as_of: int | None = None,
        seed: int = 0,
    ) -> Clusters:
        """Put the rows known at a time into groups of similar vectors (k-means), and say what each group is.

        The same rows, `k` and seed give the same groups on one machine. By cosine, vectors are compared by direction.

        Args:
            embedding: Which, or its name.
            k: How many groups, 1 to 100; fewer where there are fewer different vectors.
            at: `t`, as in `search`.
            as_of: `Q`, as in `search`.
            seed: Where the search for groups begins, 0 or more.

        Returns:
            Keys and their cluster as a frame, a `summary` of the clusters, and in notebooks a picture.

        Raises:
            NotFoundError: If there is no such embedding, or its source was never ingested.
            DataError: If `k` or `seed` cannot be used, or the vectors do not fit into memory.

        Example:
            >>> ws.vectors.cluster("texts", k=4).summary  # doctest: +SKIP
        """
        from tinymlops.features.vectors.clusters import cluster

        context, spec, t, sequence = self._asked(embedding, at, as_of)
        return cluster(context, spec, k=k, at=t, as_of=sequence, seed=seed)

    def follow(self, *embeddings: Embedding | str) -> builtins.list[Followed]:
        """Make the vectors of the rows that came; a text that has one is not embedded again. May be stopped at any time.

        A column of vectors needs none of it. A push or an ingest does not do this, because a model may be slow: call it, have a
        job do it, or run `tinymlops vectors embed`.

        Args:
            embeddings: Which, or their names; none for all.

        Raises:
            NotFoundError: If there is no such embedding, or its source was never ingested.
            ConflictError: If another process makes vectors.
            TinyMLOpsError: If a model does not work; what was made before is stored. A text that fails is no error: `failures`.
        """
        from tinymlops.features.definitions.specs import EmbeddingSpec
        from tinymlops.features.vectors.following import follow

        context = self._context()
        chosen = [_spec(context, one) for one in embeddings] or [*context.definitions.of(EmbeddingSpec).values()]
        return [follow(context, spec) for spec in chosen]

    def rebuild(self, embedding: Embedding | str, *, purge: bool = False, anew: bool = False) -> Followed:
        """Look at every row again; failures are tried again, and no text that has a vector is embedded again.

        Args:
            embedding: Which, or its name.
            purge: Also rewrite the files without the vectors that no stored row needs, and remove the old files at once.
            anew: Take the model as it is now, TF-IDF fitted on what is known now, and embed every text by it. Searches of
                before are by the earlier fit, unless `purge` forgets it.
        """
        from tinymlops.features.vectors.rebuilding import rebuild

        context = self._context()
        return rebuild(context, _spec(context, embedding), purge=purge, anew=anew)

    def warm_up(self) -> None:
        """Load in the background what searches by an index need, if an embedding has one. Else the second search loads it."""
        from tinymlops.features.vectors.generation import warm_up

        warm_up(self._context())

    def failures(self, embedding: Embedding | str) -> pl.DataFrame:
        """Return the rows without a vector: their keys, `__sequence` and the `reason`.

        Args:
            embedding: Which, or its name.
        """
        from tinymlops.features.vectors.failures import failures

        context = self._context()
        return failures(context, _spec(context, embedding))

    def _asked(
        self, embedding: Embedding | str, at: datetime | date | str | None, as_of: int | None
    ) -> tuple[Context, EmbeddingSpec, int | None, int | None]:
        """Return the state, the embedding, `t` in microseconds if it is said, and `Q`."""
        from tinymlops.features.history.stored import require_past
        from tinymlops.times import parse_instant, to_micros

        context = self._context()
        spec = _spec(context, embedding)
        t = None if at is None else to_micros(parse_instant(at, name="at"))
        return context, spec, t, require_past(context, as_of)


def _spec(context: Context, embedding: Embedding | str) -> EmbeddingSpec:
    from tinymlops.features.definitions.applied import require_applied
    from tinymlops.features.definitions.nouns import Embedding
    from tinymlops.features.definitions.specs import EmbeddingSpec

    if isinstance(embedding, Embedding):
        require_applied(embedding, context.definitions)
        return context.definitions.get(EmbeddingSpec, embedding.spec.name)
    return context.definitions.get(EmbeddingSpec, embedding)
