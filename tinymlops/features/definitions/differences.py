"""In what two definitions of one kind and name differ, field by field."""

from __future__ import annotations

import msgspec

from tinymlops.features.definitions.about import changes_of
from tinymlops.features.definitions.specs import AnySpec, SourceSpec

__all__ = ["differences"]


def differences(before: AnySpec, after: AnySpec) -> list[str]:
    """Name the fields that differ; of features, columns and keys, which ones."""
    found = []
    plain_before, plain_after = (msgspec.to_builtins(spec) for spec in (before, after))
    for name in after.__struct_fields__:
        if name == "about":
            found += changes_of(before.about, after.about)
            continue
        old, new = plain_before.get(name), plain_after.get(name)
        if msgspec.json.encode(old) == msgspec.json.encode(new):  # where the order of features counts
            continue
        if isinstance(old, dict) and isinstance(new, dict) and name != "code":
            parts = [key for key in {**old, **new} if old.get(key) != new.get(key)]
            found += [f"{name}.{key}" for key in parts] or [f"order of {name}"]
        elif name == "known" and isinstance(before, SourceSpec) and isinstance(after, SourceSpec):
            found.append(f"known: {before.knowledge} -> {after.knowledge}")
        else:
            found.append(name)
    return found
