"""What is searched for as a vector: a text is embedded by the model that made the vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinymlops.errors import DataError

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.vectors.standing import Standing

__all__ = ["embedded"]


def embedded(context: Context, standing: Standing, query: Any) -> Any:
    """Return the vector of a query that is a text; any other query as it is.

    Raises:
        DataError: If it is a text and the embedding has no model, or the text has no vector.
    """
    if not isinstance(query, str):
        return query
    spec = standing.spec
    if spec.text is None:
        raise DataError(
            f"embedding {spec.name!r} has vectors of its own and no model, which would make one of a text",
            hint="make the vector with the model that made the others, and pass it",
        )
    if standing.state is None:
        return None  # there is no vector to compare it with
    from tinymlops.features.embedded.models import open_model

    (answer,) = open_model(context, spec, standing.state).embed([query])
    if answer.error is not None:
        why = answer.error.message.removeprefix("text 0 has no vector: ")
        raise DataError(f"the query {query[:40]!r} has no vector: {why}", hint=answer.error.hint)
    return answer.vector
