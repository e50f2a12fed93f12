"""`project.embedding`: a vector for each row of a source, by which rows are searched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack, get_args

from tinymlops.errors import DefinitionError, near
from tinymlops.features.definitions.about import AboutOptions, about_of
from tinymlops.features.definitions.declared import Declared
from tinymlops.features.definitions.nouns import Embedding, Entity, Source, check_name
from tinymlops.features.definitions.specs import EmbeddingSpec, Metric, SourceSpec

if TYPE_CHECKING:
    from tinymlops.features.definitions.definitions import Definitions

__all__ = ["MOST_DIMENSIONS", "DeclaresEmbeddings", "check_embedding", "key_of_rows"]

MOST_DIMENSIONS = 16_384


class DeclaresEmbeddings(Declared):
    """A project's method for embeddings."""

    def embedding(
        self,
        name: str,
        *,
        source: Source[..., Any],
        entity: Entity | None = None,
        text: str | None = None,
        model: str | None = None,
        key: str | None = None,
        vector: str | None = None,
        dimension: int | None = None,
        metric: Metric = "cosine",
        description: str = "",
        **about: Unpack[AboutOptions],
    ) -> Embedding:
        """Give each row of a source a vector, by which `ws.vectors.search` finds the rows that are nearest to a query.

        Args:
            name: The embedding's name.
            source: Whose rows are searched.
            entity: Search the newest row of each entity, as known at the time of the search; without it, each id of the source
                is searched by itself.
            text: The column of text that a model makes vectors of.
            model: "tfidf", fitted on the texts themselves; a directory with an ONNX model; or the URL of a provider.
            key: Of a provider: "env:NAME", the environment variable that holds its key.
            vector: In place of text and model: a column of vectors, lists or arrays of numbers.
            dimension: How many numbers a vector has; by default what the model, or the first row, says.
            metric: What is near: "cosine" (a zero vector has the score 0), "dot" (the dot product), or "l2" (the score is the
                Euclidean distance with a minus sign). The greatest score is the nearest.
            description: What it is for, in a sentence.
            about: `owner=`, `tags=`, `variant=`, `keep=`, `enabled=`; see `AboutOptions`.

        Returns:
            The embedding.

        Raises:
            DefinitionError: If the options do not fit, or the source has neither an entity here nor an id.
            ConflictError: If the project has another definition of this name.

        Example:
            >>> import tinymlops as tm
            >>> from datetime import datetime
            >>> project = tm.Project("shop")
            >>> customer = project.entity("customer", key="customer")
            >>> @project.source(timestamp="at")
            ... def customers() -> tm.Schema:
            ...     return {"customer": str, "at": datetime, "bio": str}
            >>> project.embedding("bio", source=customers, entity=customer, text="bio", model="tfidf")
            <embedding bio of customers: bio by tfidf>
        """
        where = f"embedding {check_name(name, 'embedding')!r}"
        if not isinstance(source, Source):
            raise DefinitionError(
                f"the source of {where} is {source!r}, not a source", hint="write source=customers, the function itself"
            )
        if entity is not None and not isinstance(entity, Entity):
            raise DefinitionError(f"entity={entity!r} of {where} is not an entity", hint="make it with project.entity")
        _check_made(where, text, model, vector)
        if key is not None and not (isinstance(key, str) and key.startswith("env:") and "://" in str(model)):
            raise DefinitionError(
                f"key={'...' if isinstance(key, str) else key!r} of {where} is not the key of a provider",
                hint='only a model at a URL has a key; write key="env:NAME", the variable that holds it',
            )
        _check_measure(where, dimension, metric)
        spec = EmbeddingSpec(
            name=name,
            source=source.spec.name,
            entity=None if entity is None else entity.spec.name,
            text=text,
            vector=vector,
            model=model,
            key=key,
            dimension=dimension,
            metric=metric,
            description=description,
            about=about_of(name, about),
        )
        return self._add(Embedding(spec), "embedding")


def check_embedding(spec: EmbeddingSpec, definitions: Definitions) -> None:
    """Check that an embedding fits the source that it names.

    Raises:
        NotFoundError: If there is no such source or entity.
        DefinitionError: If its rows have no key, or are not stored.
    """
    from tinymlops.features.definitions.in_place import in_place_under

    definitions.get(SourceSpec, spec.source, used_by=f"embedding {spec.name!r}")
    found = in_place_under(definitions, spec.source)
    if found:
        raise DefinitionError(
            f"embedding {spec.name!r} reads {found[0]!r}, which has store=False: vectors belong to rows that are stored",
            hint=f"leave store=False of {found[0]} out, apply, and ingest it",
        )
    key_of_rows(definitions, spec)


def key_of_rows(definitions: Definitions, spec: EmbeddingSpec) -> list[str]:
    """Return the columns of an embedding's source that say which rows are of one thing: of each, one is searched.

    Raises:
        NotFoundError: If there is no such entity.
        DefinitionError: If there is no entity and the source has no id.
    """
    from tinymlops.features.definitions import graph
    from tinymlops.features.definitions.specs import EntitySpec

    source = definitions.get(SourceSpec, spec.source)
    if spec.entity is not None:
        entity = definitions.get(EntitySpec, spec.entity, used_by=f"embedding {spec.name!r}")
        return definitions.key_columns(entity, source)
    column = graph.origin(definitions, source).id
    if column is None:
        raise DefinitionError(
            f"embedding {spec.name!r} has no entity, and its source {spec.source!r} has no id, so nothing says which rows "
            "are of one thing",
            hint='write entity=customer, or give the source an id: @project.source(timestamp="at", id="review")',
        )
    return [column]


def _check_made(where: str, text: str | None, model: str | None, vector: str | None) -> None:
    for option, value in (("text", text), ("model", model), ("vector", vector)):
        if value is not None and (not isinstance(value, str) or not value or value.startswith("__")):
            raise DefinitionError(f"{option}={value!r} of {where} is not a name", hint=f'write {option}="..."')
    if vector is not None:
        if text is not None or model is not None:
            raise DefinitionError(
                f"{where} has a column of vectors and {'a text' if text is not None else 'a model'} as well",
                hint="leave vector= out, or text= and model=",
            )
    elif text is None or model is None:
        raise DefinitionError(
            f"{where} does not say what its vectors are made of",
            hint='write text="bio", model="tfidf", or vector="column" for vectors of your own',
        )


def _check_measure(where: str, dimension: int | None, metric: str) -> None:
    whole = isinstance(dimension, int) and not isinstance(dimension, bool)
    if dimension is not None and not (whole and 1 <= dimension <= MOST_DIMENSIONS):
        raise DefinitionError(
            f"dimension={dimension!r} of {where} is not a number of numbers",
            hint=f"use 1 to {MOST_DIMENSIONS:,}, or leave it out",
        )
    if metric not in get_args(Metric):
        raise DefinitionError(
            f"metric={metric!r} of {where} is unknown",
            hint=near(str(metric), get_args(Metric), otherwise='use "cosine", "dot" or "l2"'),
        )
