"""`project.nearest`: aggregates of the rows whose vectors are the nearest to that of a request."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, Unpack

import msgspec

from tinymlops.errors import DefinitionError, NotFoundError, near
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.about import AboutOptions, about_of
from tinymlops.features.definitions.declared import Declared
from tinymlops.features.definitions.expressions import Aggregate, Column, Features, Rows, aggregates_in, columns_of
from tinymlops.features.definitions.hints import check_aggregates, read_hints
from tinymlops.features.definitions.nouns import Embedding, Entity, OnDemandView, Source
from tinymlops.features.definitions.specs import (
    EmbeddingSpec,
    EntitySpec,
    FeatureRequest,
    Nearest,
    OnDemandSpec,
    SourceSpec,
    ViewSpec,
)

if TYPE_CHECKING:
    from tinymlops.features.definitions.definitions import Definitions

__all__ = ["MOST_NEIGHBOURS", "DeclaresNeighbours", "Read", "check_nearest", "read_by", "views_read"]

MOST_NEIGHBOURS = 1_000
_WHAT = "view of neighbours"
_NOT_OF_NEIGHBOURS = ("first", "last", "time_since_last")
P = ParamSpec("P")


class DeclaresNeighbours(Declared):
    """A project's method for features of neighbours."""

    def nearest(
        self, embedding: Embedding, *, of: str | None = None, k: int = 10, **about: Unpack[AboutOptions]
    ) -> Callable[[Callable[P, Features]], OnDemandView[P, Features]]:
        """Define aggregates of the k rows whose vectors are the nearest, as they and their features were known at each time.

        A parameter of the function is named as the embedding's source, whose columns of the neighbours are aggregated, or
        as a feature view of the embedding's entity, whose features of the neighbours are. Offline and online, the key
        columns of the embedding are request fields: rows of the same key are no neighbours. With a null key, none is left out.

        Args:
            embedding: Whose rows are the neighbours.
            of: The request field, offline a column of the spine, with a text, or with a vector where the embedding has
                vectors of its own; by default the vector that the key has at that time.
            k: How many neighbours at most, 1 to 1,000.
            about: `owner=`, `tags=`, `unit=` of its features, `variant=`, `keep=`, `enabled=`; see `AboutOptions`.

        Returns:
            A decorator: the function, called once on symbolic rows, becomes the `OnDemandView` of its name.

        Raises:
            DefinitionError: If its hints do not fit, or it returns anything but aggregates without a window.
            ConflictError: If the project has another definition of this name.

        Example:
            >>> import tinymlops as tm
            >>> from datetime import datetime
            >>> project = tm.Project("shop")
            >>> @project.source(timestamp="at", id="ticket")
            ... def tickets() -> tm.Schema:
            ...     return {"ticket": int, "at": datetime, "text": str, "hours": float}
            >>> texts = project.embedding("texts", source=tickets, text="text", model="tfidf")
            >>> @project.nearest(texts, of="text", k=5)
            ... def similar(tickets: tm.Rows) -> tm.Features:
            ...     return {"hours": tickets["hours"].mean(), "long": (tickets["hours"] > 8).mean()}
            >>> similar
            <on-demand view similar: 5 nearest of texts to text>
        """
        if not isinstance(embedding, Embedding):
            raise DefinitionError(f"{embedding!r} is not an embedding", hint="make it with project.embedding")
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MOST_NEIGHBOURS:
            raise DefinitionError(f"k={k!r} is not a number of neighbours", hint=f"use 1 to {MOST_NEIGHBOURS:,}")
        if of is not None and (not isinstance(of, str) or not of or of.startswith("__")):
            raise DefinitionError(f"of={of!r} is not the name of a request field", hint='write of="query"')
        key = self._key_of(embedding.spec)
        if of in key:
            raise DefinitionError(
                f"of={of!r} is the key of embedding {embedding.spec.name!r}",
                hint="leave of= out for the key's own vector",
            )

        def declare(function: Callable[P, Features]) -> OnDemandView[P, Features]:
            features = _features_of(function)
            spec = OnDemandSpec(
                name=function.__name__,
                views=(),
                request=key if of is None else (*key, of),
                uses_timestamp=False,
                code=None,
                description=inspect.getdoc(function) or "",
                about=about_of(function.__name__, about, values=features),
                nearest=Nearest(embedding=embedding.spec.name, of=of, k=k, key=key, features=features),
            )
            return self._add(OnDemandView(function, spec), "on-demand view")

        return declare

    def _key_of(self, embedding: EmbeddingSpec) -> tuple[str, ...]:
        """Return the columns that name a row of an embedding in a request: those of its entity, or the id of its source."""
        if embedding.entity is not None:
            entity = self.definitions.get(embedding.entity)
            if isinstance(entity, Entity):
                return entity.spec.key
        source = self.definitions.get(embedding.source)
        while isinstance(source, Source) and source.spec.row_wise:
            source = self.definitions.get(source.spec.inputs[0])
        if not isinstance(source, Source) or embedding.entity is not None or source.spec.id is None:
            raise DefinitionError(
                f"embedding {embedding.name!r} has no key in project {self.name!r}: nothing names its rows",
                hint="declare its entity or its source, with an id, in the same project",
            )
        return (source.spec.id,)


class _Neighbours(Rows):
    """The neighbours, each with the columns of one parameter."""

    def __getitem__(self, column: str) -> Column:
        super().__getitem__(column)
        return Column(f"{self._name}:{column}")


def _features_of(function: Callable[..., Any]) -> dict[str, Aggregate]:
    hints, parameters = read_hints(function, _WHAT)
    if not parameters or any(hints[name] is not Rows for name in parameters) or hints["return"] != Features:
        raise DefinitionError(
            f"{_WHAT} {function.__name__!r} must take parameters hinted tm.Rows and return tm.Features",
            hint="name each as the embedding's source or as a feature view: `def similar(tickets: tm.Rows) -> tm.Features`",
        )
    features = check_aggregates(function.__name__, function(**{name: _Neighbours(name) for name in parameters}))
    for name, part in aggregates_in(features).items():
        said = f"feature {name.partition(':')[0]!r} of {function.__name__!r}: {part!r}"
        if part.window is not None:
            raise DefinitionError(f"{said} has a window", hint="leave window= out: the neighbours are the rows")
        if part.function in _NOT_OF_NEIGHBOURS or part.embedding is not msgspec.UNSET:
            raise DefinitionError(
                f"{said} is of rows in the order of time, which neighbours are not in",
                hint="use .mean(), .count(), .min(), ...; what is last of each neighbour is a feature of a view",
            )
    return features


class Read(NamedTuple):
    """What a parameter of a view of neighbours gives: the rows themselves, or features of theirs."""

    name: str
    """Of the source or the view."""
    view: ViewSpec | None
    """None for the embedding's source."""
    columns: tuple[str, ...]
    """The columns or features that are read, in order."""


def read_by(definitions: Definitions, spec: OnDemandSpec) -> list[Read]:
    """Return what a view of neighbours reads of them; a count alone reads nothing.

    Raises:
        NotFoundError: If a parameter is neither the embedding's source nor a feature view.
        DefinitionError: If the view is of another entity than the embedding.
    """
    assert spec.nearest is not msgspec.UNSET, "asked of views of neighbours"
    embedding = definitions.get(EmbeddingSpec, spec.nearest.embedding, used_by=f"on-demand view {spec.name!r}")
    columns: dict[str, list[str]] = {}
    for column in sorted(set().union(*map(columns_of, spec.nearest.features.values()))):
        name, _, rest = column.partition(":")
        columns.setdefault(name, []).append(rest)
    return [Read(name, _view_of(definitions, spec, embedding, name), tuple(read)) for name, read in columns.items()]


def _view_of(definitions: Definitions, spec: OnDemandSpec, embedding: EmbeddingSpec, name: str) -> ViewSpec | None:
    if name == embedding.source:
        return None
    view = definitions.of(ViewSpec).get(name)
    if view is None:
        raise NotFoundError(
            f"on-demand view {spec.name!r} reads {name!r}, which is neither {embedding.source!r}, the source of embedding "
            f"{embedding.name!r}, nor a feature view",
            hint=near(name, [embedding.source, *definitions.of(ViewSpec)]),
        )
    if view.entity != embedding.entity:
        whose = "has no entity" if embedding.entity is None else f"is of {embedding.entity!r}"
        raise DefinitionError(
            f"on-demand view {spec.name!r} reads feature view {name!r} of entity {view.entity!r}, and embedding "
            f"{embedding.name!r} {whose}",
            hint=f"give the embedding entity={view.entity}, or aggregate columns of {embedding.source!r}",
        )
    return view


def views_read(definitions: Definitions, spec: OnDemandSpec) -> list[FeatureRequest]:
    """Return the features of views that a view of neighbours reads of them, each as the column `view:feature`."""
    return [
        FeatureRequest(view=one.name, features=one.columns, prefix=f"{one.name}:")
        for one in read_by(definitions, spec)
        if one.view is not None
    ]


def check_nearest(spec: OnDemandSpec, definitions: Definitions) -> None:
    """Check that what a view of neighbours reads is there.

    Raises:
        NotFoundError: If there is no such embedding, view or feature.
        DefinitionError: If they do not fit together.
    """
    nearest, where = spec.nearest, f"on-demand view {spec.name!r}"
    assert nearest is not msgspec.UNSET, "asked of views of neighbours"
    embedding = definitions.get(EmbeddingSpec, nearest.embedding, used_by=where)
    for one in read_by(definitions, spec):
        for feature in one.columns:
            if one.view is None and feature == embedding.vector:
                raise DefinitionError(
                    f"{where} reads {feature!r}, the vectors themselves", hint="aggregate another column"
                )
            if one.view is not None and feature not in one.view.features:
                raise NotFoundError(
                    f"feature view {one.name!r}, which {where} reads, has no feature {feature!r}",
                    hint=near(feature, one.view.features),
                )
    key: tuple[str | None, ...] = (graph.origin(definitions, definitions.get(SourceSpec, embedding.source)).id,)
    if embedding.entity is not None:
        key = definitions.get(EntitySpec, embedding.entity).key
    if key != nearest.key:
        raise DefinitionError(
            f"{where} leaves out the row of {', '.join(nearest.key)}, and the key of embedding {embedding.name!r} is "
            f"{', '.join(map(str, key))}",
            hint="define it after the entity and the source that it is of",
        )
