"""The nouns that a project's decorators return: the definition as data beside the user's function.

Each stays callable as the function it was made from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeAlias, TypeVar

import msgspec

from tinymlops.errors import DefinitionError, NotFoundError, near
from tinymlops.features.definitions.specs import (
    AnySpec,
    EmbeddingSpec,
    EntitySpec,
    FeatureRequest,
    LabelSpec,
    OnDemandSpec,
    ServiceSpec,
    SourceSpec,
    TrainingSetSpec,
    ViewSpec,
)
from tinymlops.references import Reference

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Embedding",
    "Entity",
    "FeatureRole",
    "FeatureView",
    "Inputs",
    "LabelDefinition",
    "OnDemandVersion",
    "OnDemandView",
    "Schema",
    "Service",
    "Source",
    "TrainingSet",
    "check_name",
    "requests_of",
    "title_of",
]

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

Schema: TypeAlias = Mapping[str, object]
"""Column to type (`str`, `float`, `datetime`, a Polars dtype): the return value of a source that accepts pushes."""


def check_name(name: str, what: str) -> str:
    """Return the name if it is valid.

    Args:
        name: The name of a definition, a feature or a project.
        what: The kind of thing that it names, for the error.

    Raises:
        DefinitionError: Unless it matches `^[a-z][a-z0-9_-]{0,62}$`.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DefinitionError(
            f"{name!r} cannot be the name of {'an' if what[0] in 'aeiou' else 'a'} {what}",
            hint="use lower-case letters, digits, _ and -, beginning with a letter, 63 at most",
        )
    return name


class Inputs:
    """A feature view inside an on-demand view: `sky["visib"]` is that feature as a Polars expression.

    Args:
        view: The view's name, after its role's prefix.
        columns: Feature name to expression.

    Example:
        >>> import polars as pl
        >>> print(Inputs("sky", {"visib": pl.col("visib")})["visib"])
        col("visib")
    """

    def __init__(self, view: str, columns: Mapping[str, pl.Expr]) -> None:
        self._view = view
        self._columns = columns

    def __getitem__(self, feature: str) -> pl.Expr:
        """Return one feature.

        Raises:
            NotFoundError: If the view has no such feature, or it was not requested.
        """
        if feature not in self._columns:
            raise NotFoundError(
                f"view {self._view!r} has no feature {feature!r}", hint=near(str(feature), self._columns)
            )
        return self._columns[feature]


class Entity:
    """The thing that features describe; made by `project.entity`."""

    def __init__(self, spec: EntitySpec) -> None:
        self.spec = spec

    def __repr__(self) -> str:
        return f"<entity {self.spec.name} key={', '.join(self.spec.key)}>"


class _Defined(Generic[P, R_co]):
    """A definition and the function it was made from."""

    def __init__(self, function: Callable[P, R_co], spec: AnySpec) -> None:
        self.function = function
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__module__ = function.__module__
        self._spec = spec

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return self.function(*args, **kwargs)


class Source(_Defined[P, R_co]):
    """Rows with an event time; made by `project.source` and `project.transformation`.

    Attributes:
        spec: The definition as data.
        was: The name that it had before; it is not part of the definition.
    """

    def __init__(self, function: Callable[P, R_co], spec: SourceSpec, *, was: str | None = None) -> None:
        super().__init__(function, spec)
        self.spec = spec
        self.was = was

    def __repr__(self) -> str:
        word = "transformation" if self.spec.inputs else "source"
        return f"<{word} {self.spec.name} by {self.spec.via}, timestamp={self.spec.timestamp}>"


class FeatureRole:
    """A view as a training set requests it: some of its features, or its entity in a second role."""

    def __init__(self, view: ViewSpec, request: FeatureRequest) -> None:
        self.view = view
        self.request = request

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FeatureRole) and self.view is other.view and self.request == other.request

    def __hash__(self) -> int:
        return hash((id(self.view), self.request))

    def __getitem__(self, feature: str) -> FeatureRole:
        """Pick one feature.

        Raises:
            NotFoundError: If the view has none of this name, with the near match.
        """
        if self.request.version is msgspec.UNSET and feature not in self.view.features:
            raise NotFoundError(
                f"feature view {self.view.name!r} has no feature {feature!r}",
                hint=near(str(feature), self.view.features),
            )
        return FeatureRole(self.view, msgspec.structs.replace(self.request, features=(feature,)))

    def on(self, *columns: str, prefix: str) -> FeatureRole:
        """Use the entity in another role: read its key from these spine columns.

        Args:
            columns: One spine column for each key column of the view's entity.
            prefix: Put before each feature's name, so that the two roles differ.

        Raises:
            DefinitionError: If no column is named, or the prefix cannot begin a name.
        """
        said = f"{self.view.name}.on({', '.join(map(repr, columns))})"
        if not columns:
            raise DefinitionError(
                f"{said} names no column", hint=f"name the columns that hold the key of entity {self.view.entity!r}"
            )
        if not prefix:
            raise DefinitionError(f"{said} needs a prefix", hint=f'write prefix="{columns[0]}_"')
        check_name(prefix, "prefix")
        return FeatureRole(self.view, msgspec.structs.replace(self.request, on=columns, prefix=prefix))

    def variant(self, name: str, *, prefix: str | None = None) -> FeatureRole:
        """Read another version of the view, beside the newest or in its place.

        Args:
            name: "v1" for a number, or the name of a variant.
            prefix: Put before each feature's name; by default the version and an underscore: `v1_`. "" for none.

        Raises:
            NotFoundError: If the name cannot be one, with the right form.
            DefinitionError: If the prefix cannot begin a name.
        """
        return FeatureRole(self.view, _in_version(self.request, name, prefix))

    def __repr__(self) -> str:
        picked = "" if self.request.features is None else f"[{', '.join(self.request.features)}]"
        role = f" on {', '.join(self.request.on)}" if self.request.on else ""
        return f"<features {title_of(self.request)}{picked}{role}>"


def _in_version(request: FeatureRequest, name: str, prefix: str | None) -> FeatureRequest:
    chosen = Reference.parse(f"{request.view}@{name}").chosen
    before = f"{name}_{request.prefix}" if prefix is None else prefix
    if before:
        check_name(before, "prefix")
    return msgspec.structs.replace(request, version=chosen, prefix=before)


class FeatureView(_Defined[P, R_co]):
    """Expressions over one source for one entity; made by `project.feature_view`."""

    def __init__(self, function: Callable[P, R_co], spec: ViewSpec) -> None:
        super().__init__(function, spec)
        self.spec = spec

    def as_role(self) -> FeatureRole:
        """Return the whole view for its entity's own key columns."""
        return FeatureRole(self.spec, FeatureRequest(view=self.spec.name))

    def __getitem__(self, feature: str) -> FeatureRole:
        """Pick one feature: `sky["visib"]`; see `FeatureRole`."""
        return self.as_role()[feature]

    def on(self, *columns: str, prefix: str) -> FeatureRole:
        """Use the entity in another role: `sky.on("dest", prefix="dest_")`; see `FeatureRole.on`."""
        return self.as_role().on(*columns, prefix=prefix)

    def variant(self, name: str, *, prefix: str | None = None) -> FeatureRole:
        """Read another version: `spending.variant("v1")`, `spending.variant("ana", prefix="")`; see `FeatureRole.variant`."""
        return self.as_role().variant(name, prefix=prefix)

    def __repr__(self) -> str:
        return f"<feature view {self.spec.name} of {self.spec.entity}: {', '.join(self.spec.features)}>"


class OnDemandView(_Defined[P, R_co]):
    """Row-level expressions of features and request fields (`project.on_demand`), or aggregates of neighbours (`nearest`)."""

    def __init__(self, function: Callable[P, R_co], spec: OnDemandSpec) -> None:
        super().__init__(function, spec)
        self.spec = spec

    def variant(self, name: str, *, prefix: str | None = None) -> OnDemandVersion:
        """Read another version: `rest.variant("v1")`, which reads `v1_spending` first where that is listed too.

        Args:
            name: "v1" for a number, or the name of a variant.
            prefix: As of `FeatureRole.variant`.

        Raises:
            NotFoundError: If the name cannot be one, with the right form.
            DefinitionError: If the prefix cannot begin a name.
        """
        request = FeatureRequest(view=self.spec.name, on_demand=True)
        return OnDemandVersion(self.spec, _in_version(request, name, prefix))

    def __repr__(self) -> str:
        nearest = self.spec.nearest
        if nearest is not msgspec.UNSET:
            to = ", ".join(nearest.key) if nearest.of is None else nearest.of
            return f"<on-demand view {self.spec.name}: {nearest.k} nearest of {nearest.embedding} to {to}>"
        return f"<on-demand view {self.spec.name} of {', '.join((*self.spec.views, *self.spec.request))}>"


class OnDemandVersion:
    """Another version of an on-demand view, as it is asked for; made by `OnDemandView.variant`."""

    def __init__(self, spec: OnDemandSpec, request: FeatureRequest) -> None:
        self.spec = spec
        self.request = request

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OnDemandVersion) and self.spec is other.spec and self.request == other.request

    def __hash__(self) -> int:
        return hash((id(self.spec), self.request))

    def __repr__(self) -> str:
        return f"<on-demand view {title_of(self.request)}>"


class LabelDefinition(_Defined[P, R_co]):
    """An outcome over a look-ahead window; made by `project.label`."""

    def __init__(self, function: Callable[P, R_co], spec: LabelSpec) -> None:
        super().__init__(function, spec)
        self.spec = spec

    def __repr__(self) -> str:
        return f"<label {self.spec.name} of {self.spec.entity} from {self.spec.source}>"


class TrainingSet:
    """Spine, label and features; made by `project.training_set`.

    Attributes:
        spec: The definition as data.
        siblings: Returns all current definitions of its project: a training set names them and does not hold them.
    """

    def __init__(self, spec: TrainingSetSpec, siblings: Callable[[], list[AnySpec]]) -> None:
        self.spec = spec
        self.siblings = siblings

    def __repr__(self) -> str:
        views = _listed(self.spec.features)
        return f"<training set {self.spec.name}: spine={self.spec.spine}, label={self.spec.label}, {views}>"


def _listed(requests: Sequence[FeatureRequest]) -> str:
    return ", ".join(one.prefix + one.view if one.version is msgspec.UNSET else title_of(one) for one in requests)


def title_of(request: FeatureRequest) -> str:
    """Return the reference to what a request reads: `spending`, or `spending@v1`.

    Example:
        >>> title_of(FeatureRequest(view="spending", version=1))
        'spending@v1'
    """
    version = request.version
    if isinstance(version, int):
        return str(Reference(request.view, version))
    return str(Reference(request.view, mark=version if isinstance(version, str) else None))


class Service:
    """A named set of features; made by `project.service`.

    Attributes:
        spec: The definition as data.
        siblings: Gives all definitions of its project as they are now: it names them and does not hold them.
    """

    def __init__(self, spec: ServiceSpec, siblings: Callable[[], list[AnySpec]]) -> None:
        self.spec = spec
        self.siblings = siblings

    def __repr__(self) -> str:
        return f"<service {self.spec.name}: {_listed(self.spec.features)}>"


class Embedding:
    """A vector for each row of a source; made by `project.embedding`."""

    def __init__(self, spec: EmbeddingSpec) -> None:
        self.spec = spec

    def __repr__(self) -> str:
        made = self.spec.vector if self.spec.model is None else f"{self.spec.text} by {self.spec.model}"
        return f"<embedding {self.spec.name} of {self.spec.source}: {made}>"


def requests_of(
    features: Sequence[FeatureView[..., object] | FeatureRole | OnDemandView[..., object] | OnDemandVersion | Service],
) -> tuple[FeatureRequest, ...]:
    """Return features as objects as data; a service is what it names.

    Raises:
        DefinitionError: If an item is not a feature view, a feature, an on-demand view or a service.
    """
    requests: list[FeatureRequest] = []
    for item in features:
        if isinstance(item, FeatureView):
            requests.append(item.as_role().request)
        elif isinstance(item, FeatureRole | OnDemandVersion):
            requests.append(item.request)
        elif isinstance(item, OnDemandView):
            requests.append(FeatureRequest(view=item.spec.name, on_demand=True))
        elif isinstance(item, Service):
            requests += item.spec.features
        else:
            raise DefinitionError(
                f"{item!r} is not a feature view, a feature of one, an on-demand view or a service",
                hint="list the views themselves: features=[sky, sky.on('dest', prefix='dest_'), calendar]",
            )
    return tuple(requests)
