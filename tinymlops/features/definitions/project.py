"""`Project`: the definitions of one project. Importing one does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, Unpack, overload

from tinymlops.errors import ConflictError, DefinitionError
from tinymlops.features.definitions.about import AboutOptions, about_of
from tinymlops.features.definitions.aliases import parse_aliases
from tinymlops.features.definitions.asking import Asked, requests_of
from tinymlops.features.definitions.code import is_interactive
from tinymlops.features.definitions.data_checks import Check, check_of
from tinymlops.features.definitions.definitions import Definitions
from tinymlops.features.definitions.nouns import (
    Entity,
    FeatureView,
    LabelDefinition,
    OnDemandView,
    Service,
    Source,
    TrainingSet,
    check_name,
)
from tinymlops.features.definitions.recording import (
    label_spec,
    on_demand_spec,
    source_spec,
    transformation_spec,
    view_spec,
)
from tinymlops.features.definitions.source_options import SourceOptions
from tinymlops.features.definitions.specs import EntitySpec, ServiceSpec, TrainingSetSpec, fingerprint
from tinymlops.features.definitions.terms import Term, term_of
from tinymlops.times import parse_zone

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from tinymlops.features.definitions.class_views import ViewDecorator
    from tinymlops.features.definitions.expressions import Features, Label
    from tinymlops.features.definitions.specs import AnySpec, CheckAction, FeatureRequest
    from tinymlops.frames import Ambiguous, DateMeans

__all__ = ["Project"]

P = ParamSpec("P")
R = TypeVar("R")
Definition = (
    Entity
    | Source[..., Any]
    | FeatureView[..., Any]
    | OnDemandView[..., Any]
    | LabelDefinition[..., Any]
    | TrainingSet
    | Service
    | Check
)


class Project:
    """The definitions of one project, in the order they were made.

    Args:
        name: The project's name.
        tz: Zone of the dates of time splits, an IANA name.

    Attributes:
        definitions: Name to noun.
        terms: Name to term of the glossary; these names are apart from those of definitions.

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

    def __init__(self, name: str, *, tz: str = "UTC") -> None:
        self.name = check_name(name, "project")
        self.tz = parse_zone(tz).key
        self.definitions: dict[str, Definition] = {}
        self.terms: dict[str, Term] = {}

    def __repr__(self) -> str:
        return f"<project {self.name}: {len(self.definitions)} definitions>"

    def specs(self) -> list[AnySpec]:
        """Return the definitions as data, in order."""
        return [noun.spec for noun in (*self.definitions.values(), *self.terms.values())]

    def renamed(self) -> dict[str, str]:
        """Return the sources that had another name before, each with that name."""
        sources = [noun for noun in self.definitions.values() if isinstance(noun, Source)]
        return {source.spec.name: source.was for source in sources if source.was is not None}

    def functions(self) -> dict[str, Callable[..., Any]]:
        """Return the Python functions that definitions were made from, by name."""
        return {
            name: noun.function
            for name, noun in self.definitions.items()
            if not isinstance(noun, Entity | TrainingSet | Service | Check)
        }

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

    def source(
        self,
        *,
        timestamp: str | None = None,
        static: bool = False,
        id: str | None = None,  # noqa: A002  # the word of the design, and keyword-only
        created: str | None = None,
        delay: str | timedelta | None = None,
        tz: str | None = None,
        ambiguous: Ambiguous = "raise",
        date_means: DateMeans | None = None,
        keys: Mapping[str, str] | None = None,
        cursor: str | None = None,
        lookback: str | timedelta | None = None,
        known: Literal["observed", "latest"] | None = None,
        was: str | None = None,
        **about: Unpack[AboutOptions],
    ) -> Callable[[Callable[P, R]], Source[P, R]]:
        """Declare rows by a function that returns SQL, a frame, or (for pushes) a schema.

        Args:
            timestamp: Event-time column; required unless static.
            static: The rows have no time and are always visible; their edits are not versioned in time.
            id: Column of the event's id: a later row with the same key and id replaces the earlier one.
            created: Column of when the row became known.
            delay: How long after its event time a row can be known: "15m", or the name of a column holding
                a duration.
            tz: Zone of naive times and of dates.
            ambiguous: What a naive time is that a clock change skipped or repeated: of its two readings the
                "earliest" or the "latest"; by default an error.
            date_means: Whether a date is the "start" or the "end" of its day; by default the end as a fact, and the
                start as a moment of prediction or an outcome, so that nothing is known early.
            keys: Entity key column to this source's column, where the names differ.
            cursor: For a function that takes `since`: the column of times that says which rows are new, by
                default `created`, or else `timestamp`. It is called with None at first, and then with the greatest
                cursor in history less the lookback. It needs `id`.
            lookback: How far `since` goes back, for rows that came late; by default "1d".
            known: How corrections count where there is no `created`. "observed", the default: a changed row counts from
                the ingest that brought it, so a correction never rewrites what a past row saw, and the rows that first
                bring an id count from their event times. "latest": the final version counts, whenever it came.
            was: The name that the source had before: its rows stay with it.
            about: `owner=`, `tags=`, `unit=` of its columns, `variant=`, `keep=`, `enabled=`; see `AboutOptions`.

        Returns:
            A decorator: the function becomes the `Source` of its name.

        Raises:
            DefinitionError: If the options or the function's hints do not fit.
            ConflictError: If the project has another definition of this name.
        """
        options = SourceOptions(timestamp, id, created, delay, tz, ambiguous, date_means, keys, known)

        def declare(function: Callable[P, R]) -> Source[P, R]:
            spec = source_spec(function, options, about, static=static, cursor=cursor, lookback=lookback)
            return self._add(Source(function, spec, was=None if was is None else check_name(was, "source")), "source")

        return declare

    def transformation(
        self,
        *,
        timestamp: str | None = None,
        row_wise: bool = False,
        id: str | None = None,  # noqa: A002  # the word of the design, and keyword-only
        created: str | None = None,
        delay: str | timedelta | None = None,
        tz: str | None = None,
        ambiguous: Ambiguous = "raise",
        date_means: DateMeans | None = None,
        keys: Mapping[str, str] | None = None,
        max_age: str | timedelta | None = None,
        known: Literal["observed", "latest"] | None = None,
        **about: Unpack[AboutOptions],
    ) -> Callable[[Callable[P, R]], Source[P, R]]:
        """Derive a source from others, which are its parameters: in SQL (returns `str`) or in Polars.

        Args:
            timestamp: Event-time column of the result; a row-wise one keeps its input's.
            row_wise: Each output row comes from one input row and keeps its times, sequence and id; such a
                transformation has one input and runs on pushed rows at once.
            id: As for `source`; a row-wise one keeps its input's.
            created: For a join, the created time of each row's latest parent.
            delay: As for `source`.
            tz: As for `source`.
            ambiguous: As for `source`.
            date_means: As for `source`.
            keys: As for `source`.
            max_age: Of one that is rebuilt, at ingest and materialize: how old its rows may be for an online read, such
                as "1d"; None for any age.
            known: As for `source`, of one that is rebuilt and has an id: a row that a rebuild changes counts from then on.
            about: As for `source`.

        Returns:
            A decorator: the function becomes the `Source` of its name.

        Raises:
            DefinitionError: If the options or the function's hints do not fit.
            ConflictError: If the project has another definition of this name.

        Example:
            >>> import tinymlops as tm
            >>> project = tm.Project("shop")
            >>> @project.transformation(row_wise=True)
            ... def large_orders(orders: tm.Rows) -> str:
            ...     return "select * from orders where amount > 100"
            >>> large_orders.spec.inputs
            ('orders',)
        """
        options = SourceOptions(timestamp, id, created, delay, tz, ambiguous, date_means, keys, known)

        def declare(function: Callable[P, R]) -> Source[P, R]:
            spec = transformation_spec(function, options, about, row_wise=row_wise, max_age=max_age)
            return self._add(Source(function, spec), "transformation")

        return declare

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

    def check(
        self,
        target: Source[..., Any] | FeatureView[..., Any],
        *rules: object,
        action: CheckAction = "warn",
        name: str | None = None,
    ) -> Check:
        """Say what rows must be like: of a source or a transformation when they come, of a view when it is materialized.

        Args:
            target: A source, a transformation or a feature view.
            rules: `tm.not_null`, `tm.between`, `tm.one_of`, `tm.matches`, an expression over `tm.Rows()` or a Polars expression
                ask each row; `tm.unique`, `tm.fresh`, `tm.volume` and `tm.same_distribution` ask the batch.
            action: What becomes of rows that do not pass: they are stored ("warn"), kept aside until somebody releases or
                drops them ("quarantine"), or refused with all that came with them ("fail").
            name: By default `<target>_<action>_checks`.

        Returns:
            The check.

        Raises:
            DefinitionError: If a rule is none, or the action is unknown.
            ConflictError: If the project has another definition of this name.

        Example:
            >>> import tinymlops as tm
            >>> project = Project("shop")
            >>> @project.source(timestamp="at")
            ... def orders() -> str:
            ...     return "select * from read_parquet('orders.parquet')"
            >>> project.check(orders, tm.not_null("customer"), tm.Rows()["amount"] >= 0, action="quarantine")
            <check orders_quarantine_checks on orders, quarantine: not_null("customer"), rows['amount'] >= 0>
        """
        return self._add(check_of(target, rules, action=action, name=name), "check")

    def _requests(self, asked: Asked) -> tuple[FeatureRequest, ...]:
        return requests_of(asked, Definitions(self.specs()))

    def _add(self, definition: D, what: str) -> D:
        name = check_name(definition.spec.name, what)
        known = self.definitions.get(name)
        if known is not None and not _is_again(known, definition):
            raise ConflictError(
                f"project {self.name!r} already has {known!r}; {what} {name!r} needs another name",
                hint="names are shared by everything in a project: rename one of the two",
            )
        self.definitions[name] = definition
        return definition


D = TypeVar(
    "D",
    Entity,
    Source[Any, Any],
    FeatureView[Any, Any],
    OnDemandView[Any, Any],
    LabelDefinition[Any, Any],
    TrainingSet,
    Service,
    Check,
)


def _is_again(known: Definition, new: Definition) -> bool:
    """Say whether a notebook cell is merely run again: the same kind of definition, made in the notebook itself.

    Where an entity, a training set or a service was made is not known, so that one is taken again when it is the same.
    """
    if type(known) is not type(new):
        return False
    if isinstance(new, Entity | TrainingSet | Service | Check):
        return fingerprint(known.spec) == fingerprint(new.spec) or is_interactive("__main__")
    return is_interactive(new.function.__module__)
