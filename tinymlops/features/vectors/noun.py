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
    from tinymlops.features.vectors.answer import Nearest, SearchMode
    from tinymlops.features.vectors.following import Followed
    from tinymlops.features.vectors.listing import EmbeddingStatus

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

        Raises:
            NotFoundError: If there is no such embedding, or its source was never ingested.
            DataError: If the query has another dimension, or NaN; if `k`, `as_of`, `mode` or a column in `where` is not known; if
                `rerank` fails, or its scores are not a finite number for each row.

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
        from tinymlops.features.history.stored import require_past
        from tinymlops.features.vectors.search import search
        from tinymlops.times import parse_instant, to_micros

        context = self._context()
        spec = _spec(context, embedding)
        t = context.now() if at is None else to_micros(parse_instant(at, name="at"))
        as_of = require_past(context, as_of)
        return search(context, spec, query, k=k, at=t, as_of=as_of, where=where, mode=mode, rerank=rerank)

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
            anew: Take the model as it is now, TF-IDF fitted on what is known now, and embed every text by it.
        """
        from tinymlops.features.vectors.rebuilding import rebuild

        context = self._context()
        return rebuild(context, _spec(context, embedding), purge=purge, anew=anew)

    def failures(self, embedding: Embedding | str) -> pl.DataFrame:
        """Return the rows without a vector: their keys, `__sequence` and the `reason`.

        Args:
            embedding: Which, or its name.
        """
        from tinymlops.features.vectors.failures import failures

        context = self._context()
        return failures(context, _spec(context, embedding))


def _spec(context: Context, embedding: Embedding | str) -> EmbeddingSpec:
    from tinymlops.features.definitions.applied import require_applied
    from tinymlops.features.definitions.nouns import Embedding
    from tinymlops.features.definitions.specs import EmbeddingSpec

    if isinstance(embedding, Embedding):
        require_applied(embedding, context.definitions)
        return context.definitions.get(EmbeddingSpec, embedding.spec.name)
    return context.definitions.get(EmbeddingSpec, embedding)
