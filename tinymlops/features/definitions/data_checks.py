"""Checks on data as definitions: made by `project.check`, and what can be told of them without rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, get_args

from tinymlops.errors import DefinitionError
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.about import AboutOptions, about_of
from tinymlops.features.definitions.expressions import columns_of
from tinymlops.features.definitions.in_place import refuse_quarantine
from tinymlops.features.definitions.nouns import FeatureView, Source
from tinymlops.features.definitions.rules import (
    AnyRule,
    Fresh,
    Holds,
    HoldsInPolars,
    Matches,
    SameDistribution,
    Unique,
    Volume,
    in_code,
    rule_of,
)
from tinymlops.features.definitions.specs import About, CheckAction, CheckSpec, SourceSpec, ViewSpec

if TYPE_CHECKING:
    import msgspec

    from tinymlops.features.definitions.definitions import Definitions

__all__ = ["Check", "check_of", "checks_on", "columns_asked", "require_sound", "whole"]

_OF_BATCHES = (Fresh, Volume, SameDistribution)


class Check:
    """What the rows of a source, a transformation or a feature view must be like; made by `project.check`.

    Attributes:
        spec: The definition as data.
    """

    def __init__(self, spec: CheckSpec) -> None:
        self.spec = spec

    def __repr__(self) -> str:
        rules = ", ".join(map(in_code, self.spec.rules))
        return f"<check {self.spec.name} on {self.spec.target}, {self.spec.action}: {rules}>"


def check_of(
    target: object, rules: Sequence[object], *, action: CheckAction, name: str | None, about: AboutOptions | None = None
) -> Check:
    """Make a check of what a user writes.

    Args:
        target: A source, a transformation or a feature view.
        rules: At least one.
        action: What becomes of rows that do not pass.
        name: By default the target's and the action's.
        about: `owner=` and `tags=`.

    Raises:
        DefinitionError: If one of them is not what it should be.
    """
    if not isinstance(target, Source | FeatureView):
        raise DefinitionError(
            f"{target!r} is not a source, a transformation or a feature view",
            hint='write project.check(orders, tm.not_null("customer_id"))',
        )
    of = target.spec.name
    if action not in get_args(CheckAction):
        raise DefinitionError(
            f"action={action!r} of the check on {of!r} is unknown", hint='use "warn", "quarantine" or "fail"'
        )
    if not rules:
        raise DefinitionError(
            f"the check on {of!r} checks nothing", hint=f'write project.check({of}, tm.not_null("..."))'
        )
    title = name if name is not None else f"{of}_{action}_checks"
    spec = CheckSpec(
        name=title,
        target=of,
        of_view=isinstance(target, FeatureView),
        rules=tuple(rule_of(rule) for rule in rules),
        action=action,
        about=_about_of(title, about or {}),
    )
    twice = [rule for place, rule in enumerate(spec.rules) if in_code(rule) in map(in_code, spec.rules[:place])]
    if twice:
        raise DefinitionError(f"the check on {of!r} has {in_code(twice[0])} twice", hint="leave one out")
    return Check(spec)


def _about_of(name: str, about: AboutOptions) -> About | msgspec.UnsetType:
    said = about_of(name, about)
    for option in about:
        if option not in ("owner", "tags"):
            raise DefinitionError(
                f"check {name!r} has an option {option!r}, which means nothing here: nothing reads a check",
                hint="a check takes owner= and tags=; leave the check out to stop it",
            )
    return said


def checks_on(definitions: Definitions, target: SourceSpec | ViewSpec) -> list[CheckSpec]:
    """Return the checks on a source, a transformation or a view, in the order of their definitions."""
    of_view = isinstance(target, ViewSpec)  # which another project may have called as this one its source
    every = definitions.of(CheckSpec).values()
    return [spec for spec in every if spec.target == target.name and spec.of_view == of_view]


def columns_asked(spec: CheckSpec, definitions: Definitions) -> list[str]:
    """Return the columns that a check reads, of a view its features and keys, each once.

    Args:
        spec: The check.
        definitions: Those that have its target: what is fresh is told by the source's own time.
    """
    found: dict[str, None] = {}
    for rule in spec.rules:
        if isinstance(rule, Fresh) and not spec.of_view:
            timestamp = graph.origin(definitions, definitions.get(SourceSpec, spec.target)).timestamp
            found |= {} if timestamp is None else {timestamp: None}
        else:
            found |= dict.fromkeys(sorted(_columns_of(rule)))
    return list(found)


def _columns_of(rule: AnyRule) -> Collection[str]:
    match rule:
        case Unique():
            return rule.columns
        case Holds():
            return columns_of(rule.operand)
        case HoldsInPolars():
            from tinymlops.features.definitions.polars_rules import columns_in

            return columns_in(rule.json)
        case Fresh() | Volume():
            return ()
    return (rule.column,)


def require_sound(spec: CheckSpec, definitions: Definitions) -> None:
    """Refuse a check that could not be asked of any row.

    Raises:
        NotFoundError: If there is no such source or view.
        DefinitionError: If a regular expression is wrong, or a rule does not suit its target.
    """
    where = f"check {spec.name!r} on {spec.target!r}"
    for rule in spec.rules:
        if isinstance(rule, Matches):
            _require_pattern(rule, where)
        if isinstance(rule, HoldsInPolars):
            from tinymlops.features.definitions.polars_rules import read

            read(rule.json, where)
    if spec.of_view:
        definitions.get(ViewSpec, spec.target, used_by=where)
        _require_of_view(spec, where)
        return
    source = definitions.get(SourceSpec, spec.target, used_by=where)
    refuse_quarantine(spec, definitions, where)
    timed = graph.origin(definitions, source).timestamp is not None
    for rule in spec.rules:
        if isinstance(rule, Fresh | SameDistribution) and not timed:
            raise DefinitionError(
                f"{where}: {in_code(rule)} needs event times, and {source.name!r} is static", hint="leave it out"
            )
        if isinstance(rule, _OF_BATCHES) and source.inputs and spec.action == "quarantine":
            raise DefinitionError(
                f"{where}: {in_code(rule)} is about a whole batch, and a transformation is computed again from its inputs: "
                "there is no batch to keep aside",
                hint='use action="fail", which keeps what was computed before, or action="warn"',
            )


def _require_of_view(spec: CheckSpec, where: str) -> None:
    if spec.action == "quarantine":
        raise DefinitionError(
            f"{where}: features are computed, and only rows of a source can be kept aside",
            hint='use action="fail", which does not materialize the view, or check its source',
        )
    for rule in spec.rules:
        if isinstance(rule, Fresh):
            raise DefinitionError(
                f"{where}: {in_code(rule)} is about events, and a view has keys", hint="check its source"
            )


def _require_pattern(rule: Matches, where: str) -> None:
    import polars as pl

    text: Any = pl.Series([""])
    for pattern in (rule.pattern, whole(rule.pattern)):
        try:
            text.str.contains(pattern)
        except pl.exceptions.PolarsError as error:
            raise DefinitionError(
                f"{where}: {in_code(rule)} has a wrong regular expression: {error}",
                hint="the syntax is that of Rust's regex: no look-around and no back references",
            ) from error


def whole(pattern: str) -> str:
    """Return a pattern that matches where another matches from the beginning to the end."""
    return rf"\A(?:{pattern})\z"
