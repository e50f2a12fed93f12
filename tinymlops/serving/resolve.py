"""Resolve a name to a version and a loaded model, from memory: the database is read only after a change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.stores.generation import Kept

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.records import ModelVersion
    from tinymlops.registry.models import Models
    from tinymlops.serving.model import Model
    from tinymlops.stores.online_store import Snapshot

__all__ = ["Resolver"]

_MOST = 1_000
"""The most references that are kept."""


class Resolver:
    """The models of a workspace by reference.

    Args:
        models: The registry.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        self._versions = Kept(dict[str, "ModelVersion"])

    def resolve(self, context: Context, snapshot: Snapshot, reference: str) -> Model:
        """Return a registered model: the version that the reference means as of a snapshot, or later.

        Args:
            context: The workspace's state.
            snapshot: A snapshot of the online store.
            reference: "delay" (its champion, else its newest version), "delay@latest", "delay@challenger" or "delay:3".

        Raises:
            NotFoundError: If there is none, with the near match.
            IntegrityError: If a file is missing or damaged.
            UntrustedModelError: As for `load_version`.
        """
        from tinymlops.serving.model import load_version

        known = self._versions.read(snapshot)
        version = known.get(reference)
        if version is None:
            version = self._models.get(reference)
            if len(known) >= _MOST:
                known.clear()
            known[reference] = version
        return load_version(context, self._models, version)
