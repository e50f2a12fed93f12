"""`Project`: the definitions of one project. Importing one does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from tinymlops.errors import ConflictError, DefinitionError
from tinymlops.features.definitions.about import AboutOptions, about_of
from tinymlops.features.definitions.aliases import parse_aliases
from tinymlops.features.definitions.code import is_interactive
from tinymlops.features.definitions.declaring_embeddings import DeclaresEmbeddings
from tinymlops.features.definitions.declaring_rows import DeclaresRows
from tinymlops.features.definitions.declaring_sinks import DeclaresSinks
from tinymlops.features.definitions.neighbours import DeclaresNeighbours
from tinymlops.features.definitions.nouns import (
    Entity,
    FeatureView,
    LabelDefinition,
    OnDemandView,
    Service,
    Source,
    TrainingSet,
)
from tinymlops.features.definitions.recording import (
    label_spec,
    on_demand_spec,
    view_spec,
)
from tinymlops.features.definitions.scheduling import DeclaresJobs
from tinymlops.features.definitions.specs import EntitySpec, ServiceSpec, TrainingSetSpec
from tinymlops.features.definitions.terms import Term, term_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from tinymlops.features.definitions.asking import Asked
    from tinymlops.features.definitions.class_views import ViewDecorator
    from tinymlops.features.definitions.expressions import Features, Label

__all__ = ["Project"]

P = ParamSpec("P")
R = TypeVar("R")


class Project(DeclaresRows, DeclaresEmbeddings, DeclaresNeighbours, DeclaresJobs, DeclaresSinks):
    """The definitions of one project, in the order they were made.

    Args:
        name: The project's name.
        tz: Zone of the dates of time splits, an IANA name.

    Attributes:
        definitions: Name to noun.
        terms: Name to term of the glossary; these names are apart from those of definitions.
        jobs: Name to job; these names are apart from those of definitions too.

    Raises:
        DefinitionError: If the name cannot be one, or there is no such zone.

    Example:
        >>> import tinymlops as tm
        >>> project = tm.Project("shop", tz="Europe/Vienna")
        >>> customer = project.entity("customer", key="customer_id")
        >>> @project.source(timestamp="at")
        ... def orders() -> str:
        ...     return "select * from read_parquet('orders.parquet')"
        >>> @project.feature_view(entity=customer)
        ... def spending(orders: tm.Rows) -> tm.Features:
        ...     return {"spent_30d": orders["amount"].sum(window="30d")}
        >>> spending
        <feature view spending of customer: spent_30d>
    """

    def entity(
        self,
        name: str,
        *,
        key: str | Sequence[str],
        description: str = "",
        aliases: Mapping[str, Sequence[str]] | Sequence[str] = (),
        **about: Unpack[AboutOptions],
    ) -> Entity:
        """Name what features describe, and the column or columns that identify one.

        Args:
            name: The entity's name.
            key: Its key column, or columns in order; a source where one has another name says so in `keys=`.
            description: What it is, in a sentence.
            aliases: Names that HTTP clients may send in place of the key column, such as ["customerId"]; of several key
                columns a mapping from column to names. The answer has the name that was sent.
            about: `owner=`, `tags=`, `unit=` of its key columns; see `AboutOptions`.

        Returns:
            The entity, for `feature_view` and `label`.

        Raises:
            DefinitionError: If the name cannot be one, the key columns are none or not different, or an alias is not a
                name of its own.
            ConflictError: If the project has another definition of this name.

        Example:
            >>> Project("flights").entity("route", key=["origin", "dest"])
            <entity route key=origin, dest>
        """
        columns = (key,) if isinstance(key, str) else tuple(key)
        if (
            not columns
            or len(set(columns)) != len(columns)
            or not all(isinstance(column, str) and column for column in columns)
        ):
            raise DefinitionError(
                f"entity {name!r} needs different key columns, not {key!r}", hint='write key="customer_id"'
            )
        named = parse_aliases(name, columns, aliases)
        said = about_of(name, about, values=columns, what="key column")
        spec = EntitySpec(name=name, key=columns, description=description, aliases=named, about=said)
        return self._add(Entity(spec), "entity")

    def term(self, name: str, text: str, *, aliases: Sequence[str] = (), **about: Unpack[AboutOptions]) -> Term:
        """Say what a word means that docstrings, features and columns use; pages link it, and search knows its aliases.

        Args:
            name: In words, such as "late arrival".
            text: What it means.
            aliases: Other names of the same thing.
            about: `owner=` and `tags=`; see `AboutOptions`.

        Returns:
            The term.

        Raises:
            DefinitionError: If a name cannot be one, or there is no text.
            ConflictError: If the project has another term of this name.

        Example:
            >>> Project("flights").term("late arrival", "More than 15 minutes after the plan.", aliases=["delay"])
            <term late arrival (delay)>
        """
        term = term_of(name, text, aliases, about_of(name, about))
        known = self.terms.get(name)
        if known is not None and known.spec != term.spec and not is_interactive("__main__"):
            raise ConflictError(
                f"project {self.name!r} already says what {name!r} means", hint="keep one of the two, or rename one"
            )
        self.terms[name] = term
        return term

    def feature_view(
        self, *, entity: Entity, ttl: str | timedelta | None = None, **about: Unpack[AboutOptions]
    ) -> ViewDecorator:
        """Define features as expressions over the rows of one source: the function's one parameter.

        A class says the same: an attribute that is `tm.Rows()` is named as the source, the others are the features, and
        `CarrierDelays` becomes `carrier_delays`.

        Args:
            entity: What the features describe.
            ttl: How old a value without a window may be, such as "3h"; without it, any age.
            about: `owner=`, `tags=`, `unit=` of its features, `variant=`, `keep=`, `enabled=`; see `AboutOptions`.

        Returns:
            A decorator: the function, called once on symbolic rows, or the class becomes the `FeatureView` of its name.

        Raises:
            DefinitionError: If its hints do not fit, or what it returns is no features.
            ConflictError: If the project has another definition of this name.

        Example:
            >>> import tinymlops as tm
            >>> project = tm.Project("flights")
            >>> airport = project.entity("airport", key="origin")
            >>> @project.feature_view(entity=airport, ttl="3h")
            ... def sky(weather: tm.Rows) -> tm.Features:
            ...     return {"wind": weather["wind"].last(), "rain_1d": weather["rain"].sum(window="1d")}
            >>> sky["wind"], sky.on("dest", prefix="dest_")
            (<features sky[wind]>, <features sky on dest>)
            >>> @project.feature_view(entity=airport)
            ... class Rain:
            ...     weather = tm.Rows()
            ...     rain_1d = weather["rain"].sum(window="1d")
            >>> Rain
            <feature view rain of airport: rain_1d>
        """

        def declare(written: Any) -> FeatureView[Any, Features]:
            function, spec = view_spec(written, entity, ttl, about)
            return self._add(FeatureView(function, spec), "feature view")

        return declare

    @overload
    def on_demand(self, function: Callable[P, R]) -> OnDemandView[P, R]: ...

    @overload
    def on_demand(
        self, function: None = None, **about: Unpack[AboutOptions]
    ) -> Callable[[Callable[P, R]], OnDemandView[P, R]]: ...

    def on_demand(self, function: Callable[..., Any] | None = None, **about: Unpack[AboutOptions]) -> Any:
        """Define row-level Polars expressions of features, request fields and `timestamp`.

        A parameter hinted `tm.Inputs` is a feature view (of that name, after a role's prefix if any); one
        hinted `pl.Expr` is a request field, offline a column of the spine; `timestamp` is the prediction time. The
        same function answers offline and online, and each row has only itself: aggregates, shifts and the clock are
        refused by `plan`.

        Args:
            function: Returns feature name to expression.
            about: `owner=`, `tags=`, `unit=` of its features, `variant=`, `keep=`, `enabled=`; see `AboutOptions`.

        Returns:
            The `OnDemandView` of the function's name; with options alone, the decorator that makes it.

        Raises:
            DefinitionError: If its hints do not fit.
            ConflictError: If the project has another definition of this name.

        Example:
            >>> import polars as pl
            >>> project = Project("flights")
            >>> @project.on_demand
            ... def calendar(timestamp: pl.Expr, distance: pl.Expr) -> dict[str, pl.Expr]:
            ...     return {"hour": timestamp.dt.hour(), "far": distance > 1000}
            >>> calendar
            <on-demand view calendar of distance>
        """

        def declare(function: Callable[..., Any]) -> OnDemandView[..., Any]:
            return self._add(OnDemandView(function, on_demand_spec(function, about)), "on-demand view")

        return declare if function is None else declare(function)

    def label(
        self,
        *,
        entity: Entity,
        horizon: str | timedelta,
        gap: str | timedelta | None = None,
        **about: Unpack[AboutOptions],
    ) -> Callable[[Callable[P, Label]], LabelDefinition[P, Label]]:
        """Define an outcome over the source rows with an event time in `(t + gap, t + gap + horizon]`.

        Args:
            entity: Whose outcome it is.
            horizon: How far ahead of the prediction the outcome may lie.
            gap: How long after the prediction the look-ahead begins.
            about: `owner=`, `tags=`, `unit=`, `variant=`, `keep=`, `enabled=`; see `AboutOptions`.

        Returns:
            A decorator: the function, called once on symbolic rows, becomes the `LabelDefinition` of its name.

        Raises:
            DefinitionError: If its hints do not fit, or it returns anything but one aggregate without a window.
            ConflictError: If the project has another definition of this name.

        Example:
            >>> import tinymlops as tm
            >>> project = tm.Project("flights")
            >>> flight = project.entity("flight", key="flight_id")
            >>> @project.label(entity=flight, horizon="36h")
            ... def late(landings: tm.Rows) -> tm.Label:
            ...     return (landings["arr_delay"] > 15).last()
            >>> late
            <label late of flight from landings>
        """

        def declare(function: Callable[P, Label]) -> LabelDefinition[P, Label]:
            spec = label_spec(function, entity, about, horizon=horizon, gap=gap)
            return self._add(LabelDefinition(function, spec), "label")

        return declare

    def training_set(
        self,
        name: str,
        *,
        spine: Source[..., Any],
        label: LabelDefinition[..., Any],
        features: Asked,
        description: str = "",
        **about: Unpack[AboutOptions],
    ) -> TrainingSet:
        """Put together spine, label and features.

        Args:
            name: The training set's name.
            spine: The source whose rows are the moments of prediction.
            label: The outcome to learn.
            features: Views, picked features (`sky["visib"]`), roles (`sky.on("dest", prefix="dest_")`), on-demand
                views and services, or their names, in the order of the columns of `X`.
            description: What it is for, in a sentence.
            about: `owner=`, `tags=`, `variant=`, `keep=`, `enabled=`; see `AboutOptions`.

        Returns:
            The training set, for `ws.get_training_data`.

        Raises:
            DefinitionError: If one of them is not what it should be, or there are no features.
            NotFoundError: If a name is not one that the project has so far.
            ConflictError: If the project has another definition of this name.
        """
        if not isinstance(spine, Source):
            raise DefinitionError(f"the spine of {name!r} is {spine!r}, not a source", hint="write spine=departures")
        if not isinstance(label, LabelDefinition):
            raise DefinitionError(
                f"the label of {name!r} is {label!r}, not a label", hint="make it with @project.label"
            )
        if not features:
            raise DefinitionError(f"training set {name!r} has no features", hint="list at least one view")
        spec = TrainingSetSpec(
            name=name,
            spine=spine.spec.name,
            label=label.spec.name,
            features=self._requests(features),
            tz=self.tz,
            description=description,
            about=about_of(name, about),
        )
        return self._add(TrainingSet(spec, self.specs), "training set")

    def service(self, name: str, *, features: Asked, description: str = "", **about: Unpack[AboutOptions]) -> Service:
        """Name a set of features, to be asked for by this name wherever features are.

        Args:
            name: The service's name.
            features: As for `training_set`.
            description: What it is for, in a sentence.
            about: `owner=`, `tags=`, `variant=`, `keep=`, `enabled=`; see `AboutOptions`.

        Returns:
            The service: `features=[service]` or `features=["delay_inputs"]` means all that it lists, in order.

        Raises:
            DefinitionError: If something in the list is not features, or nothing is.
            NotFoundError: If a name is not one that the project has so far.
            ConflictError: If the project has another definition of this name.

        Example:
            >>> import tinymlops as tm
            >>> project = tm.Project("flights")
            >>> airport = project.entity("airport", key="origin")
            >>> @project.feature_view(entity=airport, ttl="3h")
            ... def sky(weather: tm.Rows) -> tm.Features:
            ...     return {"wind": weather["wind"].last(), "rain_1d": weather["rain"].sum(window="1d")}
            >>> project.service("delay_inputs", features=[sky["wind"], sky.on("dest", prefix="dest_")])
            <service delay_inputs: sky, dest_sky>
        """
        if not features:
            raise DefinitionError(f"service {name!r} has no features", hint="list at least one view")
        requests, said = self._requests(features), about_of(name, about)
        spec = ServiceSpec(name=name, features=requests, description=description, about=said)
        return self._add(Service(spec, self.specs), "service")
