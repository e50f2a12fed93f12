"""A page for each definition: what it says of itself, and what the workspace knows of it."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import NotFoundError, TinyMLOpsError, near
from tinymlops.features.columns import known_types
from tinymlops.features.definitions import specs
from tinymlops.features.definitions.definitions import in_words, kind_of
from tinymlops.features.definitions.reads import reads
from tinymlops.features.definitions.rules import in_code
from tinymlops.features.definitions.specs import (
    About,
    CheckSpec,
    EmbeddingSpec,
    EntitySpec,
    LabelSpec,
    Nearest,
    OnDemandSpec,
    ServiceSpec,
    SinkSpec,
    SourceSpec,
    TermSpec,
    TrainingSetSpec,
    ViewSpec,
)
from tinymlops.features.definitions.terms import terms_in
from tinymlops.features.history.generations import place_of
from tinymlops.features.history.in_place import columns_in_place
from tinymlops.features.history.row_order import own_schema
from tinymlops.features.history.stored import current_rows, state_of
from tinymlops.features.intake.committing import describe_batch
from tinymlops.features.law.health import health
from tinymlops.features.law.page_text import Page, Picture, Section
from tinymlops.registry.documentation import marks_of, models_by_definition, notes_of, statistics_of, versions_of
from tinymlops.schema import dtype_name
from tinymlops.times import format_duration, from_micros

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.expressions import Aggregate
    from tinymlops.features.definitions.specs import AnySpec
    from tinymlops.features.law.health import Health
    from tinymlops.records import ColumnStatistics, Definition

__all__ = ["about_said", "facts_of", "page", "pages", "said_of_values", "values_of"]

_SHOWN = 10
"""Versions, notes and frequent values that a page shows."""
_OF_A_VALUE = re.compile(r"\s*[-*]?\s*`?(\w+)`?\s*:\s+(\S.*)")


_STATISTICS = ("name", "type", "unit", "rows", "nulls", "different", "least", "mean", "greatest", "distribution")


@dataclass(frozen=True)
class _Known:
    """What all pages of a workspace are made from."""

    context: Context
    rows: list[Definition]
    specs: list[AnySpec]
    types: Mapping[str, Mapping[str, str]]
    models: Mapping[str, list[str]]
    health: Mapping[tuple[str, str], Health]
    reads: bool = False
    """Whether rows in place may be read for their statistics."""

    @property
    def terms(self) -> list[TermSpec]:
        return [spec for spec in self.specs if isinstance(spec, TermSpec)]


def page(context: Context, rows: list[Definition], name: str) -> Page:
    """Return the page of a definition in force.

    Args:
        context: The workspace's state.
        rows: The definitions in force, as the catalog has them.
        name: The definition's; of a term and another of one name, the other.

    Raises:
        NotFoundError: If there is none, with the near match.
    """
    found = [row for row in rows if row.name == name]
    if not found:
        raise NotFoundError(
            f"there is no definition {name!r}",
            hint=near(name, [row.name for row in rows], otherwise=f"tinymlops search {name}"),
        )
    chosen = min(found, key=lambda row: row.kind == "term")
    return _page(replace(_known(context, rows), reads=True), chosen, specs.decode(msgspec.json.encode(chosen.spec)))


def pages(context: Context, rows: list[Definition]) -> list[Page]:
    """Return the page of every definition in force."""
    known = _known(context, rows)
    return [_page(known, row, spec) for row, spec in zip(rows, known.specs, strict=True)]


def about_said(spec: AnySpec) -> About:
    """Return what was said about a definition."""
    return About() if spec.about is msgspec.UNSET else spec.about


def _known(context: Context, rows: list[Definition]) -> _Known:
    types = {
        name: {feature: dtype_name(dtype) for feature, dtype in found.items()}
        for name, found in known_types(context).items()
    }
    models = models_by_definition(context.environment.database)
    every = [specs.decode(msgspec.json.encode(row.spec)) for row in rows]
    healthy = {(one.kind, one.name): one for one in health(context, rows).definitions}
    return _Known(context, rows, every, types, models, healthy)


def _page(known: _Known, row: Definition, spec: AnySpec) -> Page:
    about, database = about_said(spec), known.context.environment.database
    versions, marks = versions_of(database, row.kind, row.name), marks_of(database, row.kind, row.name)
    facts = {
        "owner": about.owner,
        "tags": ", ".join(about.tags),
        "mark": marks.get(row.version, ""),
        "variant": about.variant,
        "enabled": "" if about.enabled else "no: new readers are refused",
        "project": row.project,
        "applied": f"{row.applied_at:%Y-%m-%d %H:%M} UTC" + (f" by {row.author}" if row.author else ""),
        **facts_of(spec),
        **_health(known.health.get((row.kind, row.name))),
    }
    sections = [
        _values(known, spec, about),
        _columns(known, spec, about),
        Section("terms", (), [(term.name, term.text) for term in _terms(known, spec)]),
        Section("reads", (), [(in_words(kind), name) for kind, name in reads(known.context.definitions, spec)]),
        Section("read by", (), _readers(known, row)),
        Section("models", (), [(one,) for one in known.models.get(f"{row.kind}:{row.name}", ())]),
        Section(
            "notes", (), [(f"v{n.version}", n.author, n.text) for n in notes_of(database, row.kind, row.name)[:_SHOWN]]
        ),
        Section(
            "versions",
            ("version", "applied", "author", "message", "mark"),
            [
                (f"v{one.version}", f"{one.applied_at:%Y-%m-%d}", one.author, one.message, marks.get(one.version, ""))
                for one in versions[:_SHOWN]
            ],
        ),
    ]
    return Page(
        kind=row.kind,
        name=row.name,
        version=row.version,
        text=spec.description,
        facts={name: fact for name, fact in facts.items() if fact},
        sections=[section for section in sections if section.rows],
    )


def _health(one: Health | None) -> dict[str, str]:
    if one is None:
        return {}
    built = "" if one.last_build is None else f"{one.last_build:%Y-%m-%d %H:%M} UTC"
    comes = one.kind == "source" and not one.in_place
    return {"last ingest" if comes else "last build": built, "health": "; ".join(one.problems)}


def facts_of(spec: AnySpec) -> dict[str, str]:
    """Return what is to be said of a definition of its kind, in words; empty where there is nothing."""
    match spec:
        case EntitySpec():
            return {"key": ", ".join(spec.key)}
        case TermSpec():
            return {"also": ", ".join(spec.aliases)}
        case ViewSpec():
            return {"ttl": "" if spec.ttl is None else format_duration(spec.ttl)}
        case LabelSpec():
            gap = f", from {format_duration(spec.gap)} on" if spec.gap else ""
            return {"horizon": format_duration(spec.horizon) + gap}
        case OnDemandSpec():
            nearest = spec.nearest
            near = {} if nearest is msgspec.UNSET else {"nearest": f"{nearest.k} of {nearest.embedding}"}
            return {"request": ", ".join(spec.request), **near}
        case TrainingSetSpec():
            return {"time zone": spec.tz}
        case ServiceSpec():
            return {"features of": str(len(spec.features))}
        case SinkSpec():
            return {"writes": f"{spec.writes} {spec.of}".strip(), "to": f"{spec.table} of {spec.connection}"}
        case CheckSpec():
            return {"rules": ", ".join(map(in_code, spec.rules)), "action": spec.action}
        case EmbeddingSpec():
            return {
                "made of": spec.vector or f"{spec.text} by {spec.model}",
                "metric": spec.metric,
                "dimension": "" if spec.dimension is None else str(spec.dimension),
            }
        case SourceSpec():
            return {
                "comes by": "rows of its inputs, each by itself" if spec.row_wise else spec.via,
                "rows": "in place: read where they are, never stored" if spec.in_place else "",
                "event time": spec.timestamp or ("" if spec.inputs else "none: it is static"),
                "id": spec.id or "",
                "created": spec.created or "",
                "delay": spec.delay_column or (format_duration(spec.delay) if spec.delay else ""),
            }


def said_of_values(description: str) -> dict[str, str]:
    r"""Return what a docstring says of features or columns, in lines such as `spent_30d: what it is`.

    Example:
        >>> said_of_values("Money.\n\n    spent_30d: in 30 days")
        {'spent_30d': 'in 30 days'}
    """
    lines = map(_OF_A_VALUE.match, description.splitlines())
    return {found[1]: found[2] for found in lines if found is not None}


def values_of(spec: AnySpec) -> dict[str, str]:
    """Return the features of a view, or the value of a label, in words; nothing of what is no data."""
    match spec:
        case ViewSpec():
            values: Mapping[str, Aggregate] = spec.features
        case LabelSpec():
            values = {spec.name: spec.expression}
        case OnDemandSpec(nearest=Nearest(features=features)):
            values = features
        case _:
            values = {}
    return {name: str(expression).strip("<>") for name, expression in values.items()}


def _values(known: _Known, spec: AnySpec, about: About) -> Section:
    """Return the features of a view, or the value of a label, each with what the docstring says of it."""
    values, described = values_of(spec), said_of_values(spec.description)
    if not values:
        return Section("features", (), [])
    types = known.types.get(spec.name, {})
    return Section(
        "value" if isinstance(spec, LabelSpec) else "features",
        ("name", "type", "unit", "is", "about"),
        [
            (name, types.get(name, ""), about.units.get(name, ""), text, described.get(name, ""))
            for name, text in values.items()
        ],
    )


def _columns(known: _Known, spec: AnySpec, about: About) -> Section:
    """Return the columns of a source with the statistics of its last ingest."""
    if not isinstance(spec, SourceSpec):
        return Section("columns", (), [])
    context = known.context
    dtypes = _stored_columns(context, spec)
    if spec.in_place:
        return _columns_in_place(known, spec, about)
    found = statistics_of(context.environment.database, place_of(context.environment.database, spec.name))
    newest = max((one.at for one in found.values()), default=None)
    told = "" if newest is None else f", statistics of the ingest of {newest:%Y-%m-%d %H:%M} UTC"
    return Section(
        f"columns{told}",
        _STATISTICS,
        [(name, dtype, about.units.get(name, ""), *_numbers(found.get(name))) for name, dtype in dtypes.items()],
    )


def _columns_in_place(known: _Known, spec: SourceSpec, about: About) -> Section:
    """Return the columns of a source that is read in place; on a page of its own with the statistics of now."""
    found: dict[str, ColumnStatistics] = {}
    dtypes = _stored_columns(known.context, spec)
    if known.reads:
        with suppress(TinyMLOpsError):  # whoever reads it is told
            rows, at = current_rows(known.context, spec.name), from_micros(known.context.now())
            found = {one.name: one for one in describe_batch(known.context, spec, spec.name, rows, at)}
            dtypes = own_schema(rows)
    told = ", statistics of what is there now" if found else ", read in place"
    return Section(
        f"columns{told}",
        _STATISTICS,
        [(name, dtype, about.units.get(name, ""), *_numbers(found.get(name))) for name, dtype in dtypes.items()],
    )


def _stored_columns(context: Context, source: SourceSpec) -> dict[str, str]:
    """Return the columns of a source's rows and their types, as far as they are known; those it was told where none came."""
    if source.in_place:
        with suppress(TinyMLOpsError):
            return columns_in_place(context, source) if source.sql is not None else {}
        return {}
    state = state_of(context, source.name)
    return source.columns if state is None else state.columns


def _numbers(one: ColumnStatistics | None) -> tuple[str | Picture, ...]:
    if one is None:
        return ("",) * 7
    nulls = f"{one.nulls / one.rows:.1%}" if one.nulls else "0"
    more = "of " + f"{one.sampled:,}" if one.sampled < one.rows else ""
    different = "" if one.distinct is None else f"{one.distinct:,} {more}".strip()
    top = ", ".join(f"{value} {share:.0%}" for value, share in list(one.top.items())[:_SHOWN])
    drawn: str | Picture = Picture(one.histogram) if len(one.histogram) > 1 else top
    return f"{one.rows:,}", nulls, different, _short(one.minimum), _short(one.mean), _short(one.maximum), drawn


def _short(value: float | str | None) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float | int) else value[:19]


def _terms(known: _Known, spec: AnySpec) -> list[TermSpec]:
    """Return the terms that a definition uses in its name, its docstring, its features or its columns."""
    texts = [spec.name, spec.description]
    if not isinstance(spec, LabelSpec):
        texts += values_of(spec)
    if isinstance(spec, SourceSpec):
        texts += _stored_columns(known.context, spec)
    return [term for term in terms_in(texts, known.terms) if term is not spec]


def _readers(known: _Known, row: Definition) -> list[tuple[str, str]]:
    """Return what reads a definition itself; of a term, what uses it."""
    if row.kind == "term":
        used = [spec for spec in known.specs if row.name in [term.name for term in _terms(known, spec)]]
    else:
        used = [spec for spec in known.specs if (row.kind, row.name) in reads(known.context.definitions, spec)]
    return [(in_words(kind_of(spec)), spec.name) for spec in used if (kind_of(spec), spec.name) != (row.kind, row.name)]
