"""The catalog: every version of every applied definition, whatever its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import DefinitionError, NotFoundError, near
from tinymlops.records import Definition, RenamedSource
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
        self._scope = scope
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

    def newest(self, *, tx: Transaction | None = None) -> dict[tuple[str, str], int]:
        """Return kind and name to the greatest version that a definition ever had, in force or not."""
        sql = f"SELECT kind, name, MAX(version) FROM {Definition.table} GROUP BY kind, name"
        return {(kind, name): version for kind, name, version in (tx.execute(sql) if tx else self._database.rows(sql))}

    def last_apply(self) -> Definition | None:
        """Return the definition that was applied last: when, by whom and why the definitions last changed."""
        return next(iter(self._database.list(Definition, order="-applied_at", limit=1)), None)

    def versions(self, kind: str, name: str) -> builtins.list[Definition]:
        """Return every version of a definition, oldest first; none if it was never applied."""
        return self._database.list(Definition, where={"kind": kind, "name": name}, order="version")

    def version(self, kind: str, name: str, chosen: int | str) -> Definition:
        """Return a version, in force or not.

        Args:
            kind: Of the definition.
            name: Its name.
            chosen: The version's number, or the name of a variant.

        Raises:
            NotFoundError: If there is none, with the near match.
        """
        every = self.versions(kind, name)
        if not every:
            self.get(kind, name)  # which says what there is
        if isinstance(chosen, int):
            found = [row for row in every if row.version == chosen]
            hint = f"it has v1 to v{every[-1].version}"
        else:
            found = [row for row in every if row.variant == chosen]
            known = sorted({row.variant for row in every} - {""})
            hint = near(chosen, known, otherwise=f"it has no variants; its versions are v1 to v{every[-1].version}")
        if not found:
            said = f"version {chosen}" if isinstance(chosen, int) else f"variant {chosen!r}"
            raise NotFoundError(f"{kind.replace('_', ' ')} {name!r} has no {said}", hint=hint)
        return found[-1]

    def places(self) -> dict[str, str]:
        """Return the sources that have another name now, each with the name that its rows are stored under."""
        return {row.name: row.place for row in self._database.list(RenamedSource)}

    def kept(self) -> builtins.list[Definition]:
        """Return the versions out of force that say `keep=True`."""
        where = "WHERE removed_at IS NOT NULL AND json_extract(spec, '$.about.keep') = 1 ORDER BY kind, name, version"
        return self._database.select(Definition, where)

    def keep(self, reference: str, keep: bool, *, kind: str | None = None) -> Definition:  # noqa: FBT001 - what is said of it
        """Let a version out of force stay beside its successors, or let it go: then `gc` drops it where nothing names it.

        Args:
            reference: Such as "spending@v1".
            keep: Whether it stays.
            kind: As for `note`.

        Returns:
            The version as it is now.

        Raises:
            NotFoundError: If there is no such version.
            DefinitionError: If it is a model; or in force, where its definition says so.
        """
        target = self.remarks.find(reference, kind=kind)
        row = next((one for one in self.versions(target.kind, target.name) if one.version == target.version), None)
        if row is None:
            raise DefinitionError(f"{reference!r} is a model, and models stay", hint="keep= is for definitions")
        title = f"{row.name}@v{row.version}"
        if row.removed_at is None:
            raise DefinitionError(
                f"{title} is in force, and its definition says whether it stays",
                hint=f"write keep={keep} there, and apply the project",
            )
        about = {name: value for name, value in row.spec.get("about", {}).items() if name != "keep"}
        about |= {"keep": True} if keep else {}
        spec = {name: value for name, value in row.spec.items() if name != "about"} | (
            {"about": about} if about else {}
        )
        changed = msgspec.structs.replace(row, spec=spec)
        with self._scope.write("definition.keep", f"{row.kind}:{row.name}", version=row.version, keep=keep) as tx:
            tx.update(changed)
        return changed

    def note(self, reference: str, text: str, *, kind: str | None = None) -> Note:
        """Keep a note about a version of a definition or a model: `Remarks.note`."""
        return self.remarks.note(reference, text, kind=kind)

    def mark(self, reference: str, mark: str | None, *, kind: str | None = None) -> Mark | None:
        """Mark a version as "golden", "silver" or "experimental"; None takes the mark away: `Remarks.mark`."""
        return self.remarks.mark(reference, mark, kind=kind)

    def why(self, reference: str, *, kind: str | None = None) -> builtins.list[VersionStory]:
        """Return every version of a definition or a model, newest first, with who, when and why: `Remarks.story`."""
        return self.remarks.story(reference, kind=kind)

    def built_with(self, fingerprints: Mapping[str, str]) -> builtins.list[Definition]:
        """Return the versions of definitions with these fingerprints, in force or not.

        Args:
            fingerprints: `kind:name` to fingerprint.

        Raises:
            NotFoundError: If one cannot be found.
        """
        return [self._version(key, fingerprints[key], fingerprints) for key in sorted(fingerprints) if "@" not in key]

    def variants_in(self, fingerprints: Mapping[str, str]) -> builtins.list[Definition]:
        """Return the named versions that something was built with beside the definitions then in force.

        Args:
            fingerprints: `kind:name@v1` to fingerprint, among others.

        Raises:
            NotFoundError: If one is nowhere to be found.
        """
        return [self._version(key, fingerprints[key]) for key in sorted(fingerprints) if "@" in key]

    def _version(self, key: str, fingerprint: str, beside: Mapping[str, str] | None = None) -> Definition:
        kind, _, named = key.partition(":")
        name, _, number = named.partition("@v")
        where: dict[str, object] = {"kind": kind, "name": name, "fingerprint": fingerprint}
        if number:
            where["version"] = int(number)
        found = self._database.list(Definition, where=where, order="-version")
        if not found:
            raise NotFoundError(
                f"the workspace has no {kind.replace('_', ' ')} {name!r} with fingerprint {fingerprint[:12]}, "
                "which this depends on",
                hint="apply the project, and build the training data from what was applied",
            )
        # Several have this content where only what they stand on has changed.
        return next((row for row in found if self._stands_on(row, beside or {})), found[0])

    def _stands_on(self, row: Definition, fingerprints: Mapping[str, str]) -> bool:
        """Say whether a version stands on definitions with these fingerprints, as far as they are given."""
        for key, number in row.below.items():
            kind, _, name = key.partition(":")
            if key in fingerprints:
                under = self._database.get(Definition, kind=kind, name=name, version=number)
                if under is None or under.fingerprint != fingerprints[key]:
                    return False
        return True

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
