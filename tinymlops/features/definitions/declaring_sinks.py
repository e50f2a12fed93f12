"""`project.sink`: rows that go out again, to a database of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack

from tinymlops.errors import DefinitionError
from tinymlops.features.definitions.about import AboutOptions, about_of
from tinymlops.features.definitions.declared import Declared
from tinymlops.features.definitions.nouns import FeatureView, check_name
from tinymlops.features.definitions.sinks import Sink, check_sink
from tinymlops.features.definitions.specs import SinkSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DeclaresSinks"]

_Writes = Literal["predictions", "outcomes", "features"]


class DeclaresSinks(Declared):
    """A project's sinks."""

    def sink(
        self,
        name: str,
        *,
        connection: str,
        table: str,
        predictions: str | None = None,
        outcomes: bool = False,
        features: FeatureView[..., Any] | str | None = None,
        columns: Mapping[str, str] | None = None,
        create: bool = False,
        description: str = "",
        **about: Unpack[AboutOptions],
    ) -> Sink:
        """Write predictions, outcomes or features to a table of a database; `tinymlops sinks run` does it.

        Rows are upserted by their key: the id of the prediction, or the entity's key columns. What is deleted here is
        deleted there.

        Args:
            name: The sink's name.
            connection: The database, a connection of `tinymlops.toml`: PostgreSQL or SQLite.
            table: Such as "scores" or "ml.scores"; empty at first, and written by this sink alone.
            predictions: The model whose logged predictions are written, all its versions.
            outcomes: Whether all outcomes are written.
            features: The feature view whose values are written: of every known key as of the run.
            columns: Of what is written to a column of the table, where the names differ, such as {"at": "scored_at"}.
            create: Make the table if there is none.
            description: What it is for, in a sentence.
            about: `owner=` and `tags=`; see `AboutOptions`.

        Returns:
            The sink.

        Raises:
            DefinitionError: If there is not exactly one of `predictions`, `outcomes` and `features`, or an option cannot
                be used.
            ConflictError: If the project has another definition of this name.

        Example:
            >>> import tinymlops as tm
            >>> project = tm.Project("shop")
            >>> project.sink("churn_scores", predictions="churn", connection="shop", table="ml.churn_scores", create=True)
            <sink churn_scores: predictions churn to ml.churn_scores of shop>
        """
        writes, of = _what(name, predictions, features, outcomes=outcomes)
        spec = SinkSpec(
            name=check_name(name, "sink"),
            writes=writes,
            of=of,
            connection=connection,
            table=table,
            columns=dict(columns or {}),
            create=create,
            description=description,
            about=about_of(name, about),
        )
        check_sink(spec)
        return self._add(Sink(spec), "sink")


def _what(name: str, predictions: object, features: object, *, outcomes: bool) -> tuple[_Writes, str]:
    given = [predictions is not None, outcomes, features is not None]
    if sum(given) != 1:
        raise DefinitionError(
            f"sink {name!r} writes {'nothing' if not any(given) else 'several things'}",
            hint='say one of predictions="churn", outcomes=True and features=spending',
        )
    if outcomes:
        return "outcomes", ""
    if predictions is not None:
        return "predictions", check_name(str(predictions), "model")
    if isinstance(features, FeatureView):
        return "features", features.spec.name
    if isinstance(features, str):
        return "features", check_name(features, "feature view")
    raise DefinitionError(
        f"features={features!r} of sink {name!r} is not a feature view", hint="write features=spending"
    )
