"""How two versions of a definition differ, field by field, as people write it: `window 30d -> 31d`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.features.definitions.about import changes_of
from tinymlops.features.definitions.rules import in_code
from tinymlops.features.definitions.specs import FeatureRequest, SourceSpec
from tinymlops.times import format_duration

if TYPE_CHECKING:
    from tinymlops.features.definitions.expressions import Aggregate
    from tinymlops.features.definitions.specs import AnySpec, CodeReference

__all__ = ["differences"]

_DURATIONS = {"ttl", "delay", "horizon", "gap", "lookback", "max_age", "window"}
_TEXTS = {"sql", "description", "text"}
"""Too long to be shown on one line."""
_NOTHING: tuple[Any, ...] = (None, msgspec.UNSET, "", (), {})


def differences(before: AnySpec, after: AnySpec) -> list[str]:
    """Say which fields of a definition differ, and how.

    Args:
        before: A version of a definition.
        after: Another version of it.

    Returns:
        Such as `spent.window 30d -> 31d`, `+late`, `ttl none -> 7d` and `sql`; of a text only that it differs.
    """
    found: list[str] = []
    for name in after.__struct_fields__:
        old, new = getattr(before, name), getattr(after, name)
        if _plain(old) == _plain(new):
            continue
        if name == "known" and isinstance(before, SourceSpec) and isinstance(after, SourceSpec):
            found.append(f"known {before.knowledge} -> {after.knowledge}")
        elif name == "store":
            found.append("stored -> in place" if new is False else "in place -> stored")
        elif name == "features" and isinstance(old, Mapping):
            found += _of_features(old, new)
        elif name == "features":
            found += _of_names({*map(_requested, old)}, {*map(_requested, new)}) or ["order of features"]
        elif name == "rules":
            found += _of_names({*map(in_code, old)}, {*map(in_code, new)}) or ["order of rules"]
        elif name == "expression":
            found += _of_aggregate("expression", old, new)
        elif isinstance(old, Mapping) or isinstance(new, Mapping):
            found += _of_mapping(name, old or {}, new or {})
        elif name == "about":
            found += changes_of(old, new)
        elif name == "code":
            found += _of_code(old, new)
        elif name in _TEXTS:
            found.append(name)
        else:
            found.append(f"{name} {_shown(name, old)} -> {_shown(name, new)}")
    return found


def _of_code(old: CodeReference | None, new: CodeReference | None) -> list[str]:
    """Name the functions, classes and constants that differ beside the definition's own function."""
    if old is None or new is None or old.covers is msgspec.UNSET or new.covers is msgspec.UNSET:
        return ["code"]
    before, now = old.covers.parts, new.covers.parts
    others = [name for name in dict.fromkeys([*before, *now]) if before.get(name) != now.get(name)]
    others = [name for name in others if name not in (old.name, new.name)]
    said = [f"code of {name}" for name in others]
    return said if said and before.get(old.name) == now.get(new.name) else ["code", *said]


def _of_features(old: Mapping[str, Aggregate], new: Mapping[str, Aggregate]) -> list[str]:
    found = _of_names(set(old), set(new), order=[*old, *new])
    for name in (name for name in new if name in old):
        found += _of_aggregate(name, old[name], new[name])
    return found or ["order of features"]


def _of_aggregate(name: str, old: Aggregate, new: Aggregate) -> Iterator[str]:
    if _plain(old) == _plain(new):
        return
    parts = [
        f"{name}.{field} {_shown(field, getattr(old, field))} -> {_shown(field, getattr(new, field))}"
        for field in ("function", "window", "q", "skip_nulls")
        if _plain(getattr(old, field)) != _plain(getattr(new, field))
    ]
    same = msgspec.structs.replace(new, function=old.function, window=old.window, q=old.q, skip_nulls=old.skip_nulls)
    if parts and _plain(same) == _plain(old):
        yield from parts
    else:
        described = [repr(side)[1:-1] for side in (old, new)]
        yield f"{name} {' -> '.join(described)}" if described[0] != described[1] else f"{name}: what it is computed of"


def _of_mapping(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    found = _of_names({f"{name}.{key}" for key in old}, {f"{name}.{key}" for key in new})
    for key in (key for key in new if key in old and old[key] != new[key]):
        found.append(f"{name}.{key} {_shown(key, old[key])} -> {_shown(key, new[key])}")
    return found or [f"order of {name}"]


def _of_names(old: set[str], new: set[str], order: list[str] | None = None) -> list[str]:
    places = {name: place for place, name in reversed(list(enumerate(order or [])))}

    def sorted_names(names: set[str]) -> list[str]:
        return sorted(names, key=lambda name: (places.get(name, 0), name))

    return [f"+{name}" for name in sorted_names(new - old)] + [f"-{name}" for name in sorted_names(old - new)]


def _requested(request: FeatureRequest) -> str:
    only = "" if request.features is None else f":{','.join(request.features)}"
    role = "" if request.on is None and not request.prefix else f" as {request.prefix or ', '.join(request.on or ())}"
    return f"{request.view}{only}{role}"


def _shown(name: str, value: Any) -> str:
    if value in _NOTHING or (value == 0 and name in _DURATIONS):
        return "none"
    if name in _DURATIONS and isinstance(value, int):
        return format_duration(value)
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return str(value)


def _plain(value: Any) -> bytes:
    return b"" if value is msgspec.UNSET else msgspec.json.encode(value)
