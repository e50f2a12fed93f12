"""What people say about a definition: owner, tags, units, the name of a variant, whether it stays and is open.

None of it is part of what a definition computes, so it lies outside both of its hashes and is stored in place.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypedDict

import msgspec

from tinymlops.errors import DefinitionError, near
from tinymlops.features.definitions.specs import About, AnySpec
from tinymlops.references import is_number

__all__ = ["AboutOptions", "about_of", "changes_of", "is_open"]

_VARIANT = re.compile(r"[a-z][a-z0-9_-]{0,62}")


class AboutOptions(TypedDict, total=False):
    """What every decorator and method that defines something takes beside its own options."""

    owner: str
    """Who answers for it, such as "ana" or "team-risk"."""
    tags: Sequence[str]
    """Words to find it by."""
    unit: str | Mapping[str, str]
    """Unit of all its values, or feature (or column) to unit."""
    variant: str
    """A name for this version, beside its number."""
    keep: bool
    """Whether this version stays when nothing reads it and a newer one has come."""
    enabled: bool
    """False to refuse new readers, and to tell the others."""


def about_of(
    name: str, options: AboutOptions, *, values: Collection[str] | None = (), what: str = "feature"
) -> About | msgspec.UnsetType:
    """Return what was said about a definition; UNSET where nothing was.

    Args:
        name: The definition's.
        options: As they were given.
        values: What may have a unit: features of a view, columns of a source; none for a definition without values; None
            where they are not known yet.
        what: What these are, for the errors.

    Raises:
        DefinitionError: If an option is not known or is not what it should be.
    """
    for option in options:
        if option not in AboutOptions.__annotations__:
            raise DefinitionError(
                f"{name!r} has an option {option!r}, which does not exist",
                hint=near(option, AboutOptions.__annotations__, otherwise="see the options of its decorator"),
            )
    about = About(
        owner=_text(name, "owner", options.get("owner", "-")) if "owner" in options else "",
        tags=_tags(name, options.get("tags", ())),
        units=_units(name, options["unit"], values, what) if "unit" in options else {},
        variant=_variant(name, options["variant"]) if "variant" in options else "",
        keep=_flag(name, "keep", options.get("keep", False)),
        enabled=_flag(name, "enabled", options.get("enabled", True)),
    )
    return msgspec.UNSET if about == About() else about


def is_open(spec: AnySpec) -> bool:
    """Return whether a definition takes new readers."""
    return spec.about is msgspec.UNSET or spec.about.enabled


def changes_of(before: About | msgspec.UnsetType, after: About | msgspec.UnsetType) -> list[str]:
    """Name what was said otherwise: fields, and of units which ones.

    Example:
        >>> changes_of(msgspec.UNSET, About(owner="ana", units={"spent": "EUR"}))
        ['owner', 'units.spent']
    """
    old, new = (About() if about is msgspec.UNSET else about for about in (before, after))
    found = []
    for field in About.__struct_fields__:
        one, other = getattr(old, field), getattr(new, field)
        if field == "units":
            found += [f"units.{key}" for key in {**one, **other} if one.get(key) != other.get(key)]
        elif one != other:
            found.append(field)
    return found


def _text(name: str, option: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DefinitionError(f"{option}={value!r} of {name!r} is not a text", hint=f'write {option}="..."')
    return value


def _tags(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise DefinitionError(f"tags={value!r} of {name!r} is not a list of texts", hint='write tags=["finance"]')
    return tuple(dict.fromkeys(_text(name, "tags", tag) for tag in value))


def _units(name: str, value: object, values: Collection[str] | None, what: str) -> dict[str, str]:
    if values is not None and not values:
        raise DefinitionError(f"unit={value!r} of {name!r}: it has no values of its own", hint="leave unit out")
    if not isinstance(value, Mapping):
        unit = _text(name, "unit", value)
        if values is None:
            raise DefinitionError(
                f"unit={value!r} of {name!r} does not say whose unit it is", hint=f'write unit={{"{what}": {unit!r}}}'
            )
        return dict.fromkeys(values, unit)
    for key in value:
        if not isinstance(key, str) or (values is not None and key not in values):
            raise DefinitionError(
                f"unit of {name!r} names {key!r}, which is not a {what} of it", hint=near(str(key), values or ())
            )
    return {key: _text(name, "unit", unit) for key, unit in value.items()}


def _variant(name: str, value: object) -> str:
    if isinstance(value, str) and is_number(value):
        raise DefinitionError(
            f"variant={value!r} of {name!r} would stand for a number: versions have theirs already",
            hint='name it after what is different, such as variant="ana"',
        )
    if not isinstance(value, str) or not _VARIANT.fullmatch(value):
        raise DefinitionError(
            f"variant={value!r} of {name!r} cannot be the name of a variant",
            hint="use lower-case letters, digits, _ and -, beginning with a letter, 63 at most",
        )
    return value


def _flag(name: str, option: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise DefinitionError(f"{option}={value!r} of {name!r} is not True or False", hint=f"write {option}=True")
    return value
