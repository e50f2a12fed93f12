"""What a decorator records: a user's function and the options that were given with it, as a definition."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import DefinitionError
from tinymlops.features.definitions.about import about_of
from tinymlops.features.definitions.class_views import read_class
from tinymlops.features.definitions.code import reference_of
from tinymlops.features.definitions.connection_options import ConnectionOptions, check_connection_text, connected
from tinymlops.features.definitions.expressions import (
    Aggregate,
    Features,
    Label,
    Rows,
    aggregates_in,
    aggregates_of,
)
from tinymlops.features.definitions.hints import (
    check_features,
    evaluated,
    read_hints,
    require_expressions,
    require_table,
)
from tinymlops.features.definitions.in_place import read_in_place
from tinymlops.features.definitions.nouns import Entity, Inputs, Schema
from tinymlops.features.definitions.source_options import (
    check_pushed,
    check_row_wise,
    check_times,
    incremental,
    known_of,
)
from tinymlops.features.definitions.specs import LabelSpec, OnDemandSpec, SourceSpec, ViewSpec
from tinymlops.times import parse_duration

if TYPE_CHECKING:
    from datetime import timedelta

    from tinymlops.features.definitions.about import AboutOptions
    from tinymlops.features.definitions.source_options import SourceOptions

__all__ = ["label_spec", "on_demand_spec", "source_spec", "transformation_spec", "view_spec"]


def source_spec(
    function: Callable[..., Any],
    options: SourceOptions,
    about: AboutOptions,
    *,
    static: bool,
    cursor: str | None,
    lookback: str | timedelta | None,
    database: ConnectionOptions,
    store: bool,
) -> SourceSpec:
    """Return the definition of a source; the arguments are those of `project.source`.

    Raises:
        DefinitionError: If the options or the function's hints do not fit.
    """
    check_times(function.__name__, options, static=static)
    hints, parameters = read_hints(function, "source")
    takes_since = list(parameters) == ["since"]
    if parameters and not takes_since:
        raise DefinitionError(
            f"source {function.__name__!r} takes {', '.join(parameters)}",
            hint="a source takes nothing, or `since`; rows made from other sources are a @project.transformation",
        )
    if database.connection is not None:
        check_connection_text(function.__name__, hints["return"], parameters=bool(parameters))
        via, sql, columns = "connection", None, dict[str, str]()
    elif database.overlap is not None or database.snapshot_deletes:
        given = "snapshot_deletes" if database.overlap is None else "overlap"
        raise DefinitionError(
            f"source {function.__name__!r} has {given} and no connection",
            hint='name the database of its rows, connection="shop", or leave it out',
        )
    else:
        via, sql, columns = _how_rows_come(function, hints["return"], takes_since=takes_since)
    spec = SourceSpec(
        name=function.__name__,
        via=via,
        **options.fields(),
        sql=sql,
        columns=columns,
        takes_since=takes_since,
        code=reference_of(function) if via == "function" else None,
        description=_description(function),
        about=about_of(function.__name__, about, values=columns or None, what="column"),
    )
    if via == "push":
        check_pushed(spec)
    if database.connection is not None:
        query = _sql_of(function, hints["return"], arguments=0)
        spec = msgspec.structs.replace(spec, connection=database.connection, query=query)
        read = connected(spec, database, cursor=cursor, lookback=lookback)
        spec = msgspec.structs.replace(spec, known=known_of(spec, options.known), **read)
    else:
        column, span = incremental(spec, cursor=cursor, lookback=lookback)
        spec = msgspec.structs.replace(spec, cursor=column, lookback=span, known=known_of(spec, options.known))
    return spec if store else read_in_place(spec, options.known)


def transformation_spec(
    function: Callable[..., Any],
    options: SourceOptions,
    about: AboutOptions,
    *,
    row_wise: bool,
    max_age: str | timedelta | None,
) -> SourceSpec:
    """Return the definition of a transformation; the arguments are those of `project.transformation`.

    Raises:
        DefinitionError: If the options or the function's hints do not fit.
    """
    hints, parameters = read_hints(function, "transformation")
    if not parameters:
        raise DefinitionError(
            f"transformation {function.__name__!r} has no inputs", hint="name the sources it reads as its parameters"
        )
    if row_wise:
        check_row_wise(function.__name__, options, inputs=len(parameters), max_age=max_age)
    else:
        check_times(function.__name__, options, static=False)
    require_table(function, "transformation", hints["return"])
    sql = _sql_of(function, hints["return"], arguments=len(parameters))
    spec = SourceSpec(
        name=function.__name__,
        via="sql" if sql is not None else "function",
        **options.fields(),
        sql=sql,
        inputs=tuple(parameters),
        row_wise=row_wise,
        max_age=msgspec.UNSET if max_age is None else parse_duration(max_age, name="max_age"),
        code=None if sql is not None else reference_of(function),
        description=_description(function),
        about=about_of(function.__name__, about, values=None, what="column"),
    )
    return msgspec.structs.replace(spec, known=known_of(spec, options.known))


def view_spec(
    written: type | Callable[..., Any], entity: Entity, ttl: str | timedelta | None, about: AboutOptions
) -> tuple[Callable[..., Any], ViewSpec]:
    """Return the function and the definition of a feature view; the arguments are those of `project.feature_view`.

    Raises:
        DefinitionError: If the hints of the function or the attributes of the class do not fit, or there are no features.
    """
    function: Callable[..., Any]
    if isinstance(written, type):
        source, features, function = read_class(written)
    else:
        (source, features), function = evaluated(written, "feature view", Features), written
    view = ViewSpec(
        name=function.__name__,
        entity=_entity_name(entity, function.__name__),
        source=source,
        ttl=None if ttl is None else parse_duration(ttl, name="ttl"),
        features=check_features(function.__name__, features),
        description=_description(function),
        about=about_of(function.__name__, about, values=features),
    )
    if view.ttl is not None and all(part.window for part in aggregates_in(view.features).values()):
        raise DefinitionError(
            f"feature view {view.name!r} has a ttl, but all its features have windows",
            hint="leave ttl out: a window already says how old a row may be",
        )
    return function, view


def on_demand_spec(function: Callable[..., Any], about: AboutOptions) -> OnDemandSpec:
    """Return the definition of an on-demand view; the arguments are those of `project.on_demand`.

    Raises:
        DefinitionError: If the function's hints do not fit.
    """
    hints, parameters = read_hints(function, "on-demand view")
    views = tuple(name for name in parameters if hints[name] is Inputs)
    others = tuple(name for name in parameters if name not in views)
    for name in others:
        if getattr(hints[name], "__name__", "") != "Expr":
            raise DefinitionError(
                f"parameter {name!r} of on-demand view {function.__name__!r} is hinted {hints[name]!r}",
                hint="hint a feature view as tm.Inputs and a request field as pl.Expr",
            )
    require_expressions(function, hints["return"])
    return OnDemandSpec(
        name=function.__name__,
        views=views,
        request=tuple(name for name in others if name != "timestamp"),
        uses_timestamp="timestamp" in others,
        code=reference_of(function),
        description=_description(function),
        about=about_of(function.__name__, about, values=None),
    )


def label_spec(
    function: Callable[..., Any],
    entity: Entity,
    about: AboutOptions,
    *,
    horizon: str | timedelta,
    gap: str | timedelta | None,
) -> LabelSpec:
    """Return the definition of a label; the arguments are those of `project.label`.

    Raises:
        DefinitionError: If the function's hints do not fit, or it returns anything but one aggregate without a window.
    """
    source, expression = evaluated(function, "label", Label)
    if not isinstance(expression, Aggregate):
        raise DefinitionError(
            f"label {function.__name__!r} returned {expression!r}, not one aggregate",
            hint=f'return for example ({source}["amount"] > 0).last(), or {source}.count() == 0',
        )
    if any(part.window is not None for part in aggregates_of(expression)):
        raise DefinitionError(
            f"label {function.__name__!r} has a window in its expression",
            hint="leave window out: horizon and gap say which rows count",
        )
    return LabelSpec(
        name=function.__name__,
        entity=_entity_name(entity, function.__name__),
        source=source,
        horizon=parse_duration(horizon, name="horizon"),
        gap=0 if gap is None else parse_duration(gap, name="gap"),
        expression=expression,
        description=_description(function),
        about=about_of(function.__name__, about, values=(function.__name__,), what="label"),
    )


def _how_rows_come(
    function: Callable[..., Any], returns: Any, *, takes_since: bool
) -> tuple[str, str | None, dict[str, str]]:
    if returns == Schema:
        from tinymlops.schema import parse_schema

        if takes_since:
            raise DefinitionError(
                f"source {function.__name__!r} takes `since` and returns a schema: pushed rows come by themselves",
                hint="leave `since` out",
            )
        return "push", None, parse_schema(function(), where=f"source {function.__name__!r}")
    require_table(function, "source", returns)
    if takes_since and returns is str:
        raise DefinitionError(
            f"source {function.__name__!r} takes `since` and returns SQL, which is stored as text and has no `since`",
            hint="return a frame, or leave `since` out",
        )
    sql = None if takes_since else _sql_of(function, returns, arguments=0)
    return ("function", None, {}) if sql is None else ("sql", sql, {})


def _sql_of(function: Callable[..., Any], returns: Any, *, arguments: int) -> str | None:
    """Return the SQL text of a function hinted `-> str`; null for one that gives a frame."""
    if returns is not str:
        return None
    text = function(*[Rows()] * arguments)
    if not isinstance(text, str) or not text.strip():
        raise DefinitionError(
            f"{function.__name__!r} is hinted to return SQL and returned {text!r}",
            hint="return one SELECT statement as text",
        )
    return text


def _entity_name(entity: object, used_by: str) -> str:
    if not isinstance(entity, Entity):
        raise DefinitionError(
            f"entity={entity!r} of {used_by!r} is not an entity",
            hint='make it with project.entity("customer", key="customer_id") and pass the object',
        )
    return entity.spec.name


def _description(function: Callable[..., Any]) -> str:
    return inspect.getdoc(function) or ""
