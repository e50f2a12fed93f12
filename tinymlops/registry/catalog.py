"""The catalog: every version of every applied definition, whatever its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import NotFoundError, near
from tinymlops.records import Definition
from tinymlops.registry.remarks import Remarks

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping
    from datetime import datetime

    from tinymlops.records import Mark, Note
    from tinymlops.registry.remarks import VersionStory
    from tinymlops.registry.scope import Scope
    from tinymlops.stores.transaction import Transaction

__all__ = ["Catalog"]


class Catalog:
    """Applied definitions, as records whose `spec` is data.

    Args:
        scope: The workspace and the actor.
    """

    def __init__(self, scope: Scope) -> None:
        self._database = scope.environment.database
        self.remarks = Remarks(scope)
        """Notes and marks: `note`, `mark` and `why` are its ways in."""

    def __repr__(self) -> str:
        return f"<catalog: {len(self.list())} definitions>"

    def list(self, kind: str | None = None, *, tx: Transaction | None = None) -> list[Definition]:
        """Return the definitions in force, newest version of each, in order of kind and name.

        Args:
            kind: Only these.
            tx: Read inside this transaction, during which they cannot change.
        """
        where: dict[str, object] = {"removed_at": None}
        if kind is not None:
            where["kind"] = kind
        newest: dict[tuple[str, str], Definition] = {}
        for definition in (tx or self._database).list(Definition, where=where, order="version"):
            newest[definition.kind, definition.name] = definition
        return [newest[key] for key in sorted(newest)]

    def get(self, kind: str, name: str) -> Definition:
        """Return the version in force.

        Raises:
            NotFoundError: If none was applied, with the near match.
        """
        known = {definition.name: definition for definition in self.list(kind)}
        if name not in known:
            raise NotFoundError(
                f"there is no {kind.replace('_', ' ')} {name!r} in this workspace",
                hint=near(name, known, otherwise="apply the project first: ws.apply(project)"),
            )
        return known[name]

    def note(self, reference: str, text: str, *, kind: str | None = None) -> Note:
        """Keep a note about a version of a definition or a model: `Remarks.note`."""
        return self.remarks.note(reference, text, kind=kind)

    def mark(self, reference: str, mark: str | None, *, kind: str | None = None) -> Mark | None:
        """Mark a version as "golden", "silver" or "experimental"; None takes the mark away: `Remarks.mark`."""
        return self.remarks.mark(reference, mark, kind=kind)

    def why(self, reference: str, *, kind: str | None = None) -> builtins.list[VersionStory]:
        """Return every version of a definition or a model, newest first, with who, when and why: `Remarks.story`."""
        return self.remarks.story(reference, kind=kind)

    def versions(self, kind: str, name: str) -> builtins.list[Definition]:
        """Return every version of a definition that was ever applied, oldest first."""
        return self._database.list(Definition, where={"kind": kind, "name": name}, order="version")

    def built_with(self, fingerprints: Mapping[str, str]) -> builtins.list[Definition]:
        """Return the versions of definitions with these fingerprints, in force or not.

        Args:
            fingerprints: `kind:name` to fingerprint.

        Raises:
            NotFoundError: If one cannot be found.
        """
        return [self._version(key, fingerprints[key]) for key in sorted(fingerprints)]

    def _version(self, key: str, fingerprint: str) -> Definition:
        kind, _, name = key.partition(":")
        where = {"kind": kind, "name": name, "fingerprint": fingerprint}
        found = self._database.list(Definition, where=where, order="-version", limit=1)
        if not found:
            raise NotFoundError(
                f"the workspace has no {kind.replace('_', ' ')} {name!r} with fingerprint {fingerprint[:12]}, "
                "which this depends on",
                hint="apply the project, and build the training data from what was applied",
            )
        return found[0]

    def put(self, tx: Transaction, definition: Definition) -> Definition:
        """Write a definition as its next version, which replaces the one in force."""
        of = {"kind": definition.kind, "name": definition.name}
        for row in tx.list(Definition, where={**of, "removed_at": None}):
            self.remove(tx, row, at=definition.applied_at)
        newest = tx.list(Definition, where=of, order="-version", limit=1)
        return tx.insert(msgspec.structs.replace(definition, version=newest[0].version + 1 if newest else 1))

    def remove(self, tx: Transaction, definition: Definition, *, at: datetime) -> None:
        """Withdraw a definition; its versions stay for what was built with them."""
        tx.update(msgspec.structs.replace(definition, removed_at=at))
