"""Which files the database names, and which of them are still needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["NamedFile", "named_files"]

_BLOBS = """
    SELECT sha256, 'artifact ' || name || ' of run ' || run FROM artifacts
    UNION ALL SELECT sha256, 'model ' || name || ' of run ' || run FROM logged_models
    UNION ALL SELECT baseline_sha256, 'baseline of ' || name || ' of run ' || run FROM logged_models
        WHERE baseline_sha256 IS NOT NULL
    UNION ALL SELECT manifest_sha256, 'manifest of ' || name || ':' || version FROM model_versions
    UNION ALL SELECT manifest_sha256, 'manifest of training set ' || id FROM training_sets
"""
_SEGMENTS = "SELECT source, sha256 FROM segments WHERE dead_at IS NULL ORDER BY id"


class NamedFile(NamedTuple):
    """A file that the database names."""

    name: str
    """Its path in the workspace."""
    sha256: str
    owner: str
    """What it is part of, for people."""


def named_files(query: Callable[[str], Iterable[tuple[Any, ...]]]) -> list[NamedFile]:
    """Return the blobs and the living segments that a database names, each once.

    Args:
        query: Runs one SELECT on it.
    """
    found: dict[str, NamedFile] = {}
    for sha256, owner in query(_BLOBS):
        name = f"blobs/{sha256[:2]}/{sha256}"
        found.setdefault(name, NamedFile(name, sha256, owner))
    for source, sha256 in query(_SEGMENTS):
        name = f"segments/{source}/{sha256}"
        found.setdefault(name, NamedFile(name, sha256, f"rows of source {source}"))
    return list(found.values())
