"""`reproduce` and `verify`: a build or an answer that is made again from history must be the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import NotFoundError, near
from tinymlops.features.context import definitions_of
from tinymlops.features.history.in_place import reading_once
from tinymlops.features.history.kept_reads import changed_since, require_unchanged
from tinymlops.features.history.training_sets import TrainingData, engine_versions, read_manifest, rebuild
from tinymlops.records import TrainingSetBuild
from tinymlops.registry.catalog import Catalog

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.history.training_sets import BuildManifest

__all__ = ["VerifiedBuild", "built_with", "find_build", "reproduce", "verify_build"]

_SHORTEST_PREFIX = 6


class VerifiedBuild(msgspec.Struct, frozen=True):
    """The result of building a training set again: whether it has the same content."""

    training_set: str
    build_id: str
    sequence: int
    """`Q` of the build."""
    rows: int
    fingerprint: str
    """The recorded fingerprint."""
    rebuilt: str
    """The fingerprint of the new build; empty if what it read in place has changed."""
    engines: dict[str, tuple[str, str]]
    """Package to its version then and now, if they differ."""
    changed: list[str] = []
    """What it read in place and is not there as it was, such as "orders/3.parquet changed"; it is not built again then."""

    @property
    def same(self) -> bool:
        """Whether it holds the same values in the same order."""
        return self.fingerprint == self.rebuilt

    def __repr__(self) -> str:
        verdict = "the same" if self.same else f"NOT THE SAME, now {self.rebuilt[:12]}"
        if self.changed:
            verdict = f"CANNOT BE BUILT AGAIN: {'; '.join(self.changed)}"
        engines = ", ".join(f"{name} {then} -> {now}" for name, (then, now) in self.engines.items())
        return (
            f"<training set {self.training_set} {self.build_id[:8]}: {self.rows:,} rows at Q={self.sequence}, "
            f"{self.fingerprint[:12]} {verdict}{f'; built by other versions: {engines}' if engines else ''}>"
        )


def find_build(context: Context, reference: str) -> TrainingSetBuild:
    """Return the build of a training set.

    Args:
        context: The workspace's state.
        reference: The id of a build, or the beginning of it, or the name of a training set for its newest build.

    Raises:
        NotFoundError: If there is none, with the near match.
    """
    database = context.environment.database
    newest = database.newest(TrainingSetBuild, name=reference)
    if newest is not None:
        return newest
    builds = database.list(TrainingSetBuild)
    if len(reference) >= _SHORTEST_PREFIX:
        found = [build for build in builds if build.id.startswith(reference)]
        if len(found) == 1:
            return found[0]
    raise NotFoundError(
        f"there is no build of a training set {reference!r}",
        hint=near(reference, {build.name for build in builds}, otherwise="build one: ws.get_training_data(...)"),
    )


def reproduce(context: Context, record: TrainingSetBuild) -> TrainingData:
    """Build a training set again, from the rows and definitions that it was built with; nothing is recorded.

    Args:
        context: The workspace's state.
        record: The build.

    Raises:
        DefinitionError: If Python code that it depends on has changed or is gone.
        NotFoundError: If rows that it read are no longer kept.
        DataError: If what it read in place is not there as it was.
    """
    manifest = read_manifest(context, record)
    pinned = built_with(context, manifest)
    with reading_once(record.sequence):
        require_unchanged(pinned, manifest.in_place, f"training set {record.name} {record.id[:8]}")
        return rebuild(pinned, record, manifest.recipe, manifest.definitions)


def built_with(context: Context, manifest: BuildManifest) -> Context:
    """Return the workspace's state, read by the definitions that a build was made with."""
    catalog, built = Catalog(context.scope), manifest.definitions
    definitions = definitions_of(
        catalog.built_with(built), catalog.variants_in(built), places=context.definitions.places
    )
    return context.with_definitions(definitions)


def verify_build(context: Context, reference: str) -> VerifiedBuild:
    """Build a training set again and compare its content with the recorded fingerprint.

    Args:
        context: The workspace's state.
        reference: As for `find_build`.
    """
    record = find_build(context, reference)
    manifest, now = read_manifest(context, record), engine_versions()
    then, pinned = manifest.engines, built_with(context, manifest)
    with reading_once(record.sequence):
        changed = changed_since(pinned, manifest.in_place)
        rebuilt = "" if changed else rebuild(pinned, record, manifest.recipe, manifest.definitions).fingerprint
    return VerifiedBuild(
        training_set=record.name,
        build_id=record.id,
        sequence=record.sequence,
        rows=record.rows,
        fingerprint=record.fingerprint,
        rebuilt=rebuilt,
        changed=changed,
        engines={name: (then.get(name, "none"), now[name]) for name in now if then.get(name) != now[name]},
    )
