"""What people say about versions of definitions and models: notes on why, and marks of how far one is trusted."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tinymlops.errors import ConflictError, DataError, DefinitionError, NotFoundError, near
from tinymlops.records import Definition, LoggedModel, Mark, ModelAlias, ModelVersion, Note, RunRow
from tinymlops.references import Reference
from tinymlops.registry.predictions import predictions_by_version
from tinymlops.registry.runs.summed import with_metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.registry.scope import Scope
    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction

__all__ = ["MARKS", "MODEL", "Remarks", "Target", "VersionStory", "refuse_experimental", "require_note"]

MARKS = ("golden", "silver", "experimental")
MODEL = "model"
_MOST_CHARACTERS = 10_000


class Target(NamedTuple):
    """A version that something is said about."""

    kind: str
    """A definition's kind, or `model`."""
    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} {self.name}@v{self.version}"


class VersionStory(msgspec.Struct, frozen=True, kw_only=True):
    """One version, and all that is known of why it is as it is."""

    kind: str
    name: str
    version: int
    at: datetime
    """When it was applied, or registered."""
    author: str
    """Who did so; "" where nobody wrote that down."""
    message: str
    """What `apply -m` was told."""
    notes: list[Note]
    mark: str | None
    runs: dict[str, dict[str, float]]
    """Runs that used it, by name and the beginning of the id, with their metrics."""
    replaced_by: int | None
    """The next version; None of the newest one."""
    in_force: bool


class Remarks:
    """Notes and marks of a workspace.

    Args:
        scope: Who works on which workspace.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._database = scope.environment.database

    def note(self, reference: str, text: str, *, kind: str | None = None) -> Note:
        """Keep a note about a version, signed with who wrote it.

        Args:
            reference: "spending" for the version in force (of a model the newest), "spending@v2", or "spending@ana" for a
                variant; of a model also an alias.
            text: Why, in plain words; at most 10,000 characters.
            kind: Which of several that have the name, such as "source" or "model".

        Raises:
            NotFoundError: If there is no such version, with the near match.
            DefinitionError: If several kinds have the name and none was said.
            DataError: If the text is empty or too long.
        """
        require_note(text)
        target = self.find(reference, kind=kind)
        note = Note(**target._asdict(), text=text, author=self._scope.actor, at=self._scope.clock())
        with self._scope.write("note", f"{target.kind}:{target.name}", version=target.version) as tx:
            return tx.insert(note)

    def mark(self, reference: str, mark: str | None, *, kind: str | None = None) -> Mark | None:
        """Say how far a version is trusted.

        Args:
            reference: As for `note`.
            mark: "golden", "silver" or "experimental"; None takes the mark away.
            kind: As for `note`.

        Raises:
            DefinitionError: If there is no such mark.
            NotFoundError: As for `note`.
        """
        if mark is not None and mark not in MARKS:
            raise DefinitionError(f"there is no mark {mark!r}", hint=near(mark, MARKS))
        target = self.find(reference, kind=kind)
        with self._scope.write("mark", f"{target.kind}:{target.name}", version=target.version, mark=mark) as tx:
            if mark is None:
                tx.delete(Mark, **target._asdict())
                return None
            record = Mark(**target._asdict(), mark=mark, author=self._scope.actor, at=self._scope.clock())
            tx.put(record)
            return record

    def marks(self) -> list[Mark]:
        """Return all marks, by kind, name and version."""
        return sorted(self._database.list(Mark), key=lambda one: (one.kind, one.name, one.version))

    def calls(self) -> dict[tuple[str, int], int]:
        """Return how many predictions of each model version are logged, by name and version."""
        return {(model, version): count for model, version, count in predictions_by_version(self._database)}

    def find(self, reference: str, *, kind: str | None = None) -> Target:
        """Return the version that a reference means; the arguments are those of `note`."""
        name, number, mark, _ = said = Reference.parse(reference)
        found = [one for one in self._versions_of(name) if kind in (None, one.kind)]
        if not found:
            raise NotFoundError(f"nothing is called {name!r} here", hint=near(name, self._names()))
        kinds = sorted({one.kind for one in found})
        if len(kinds) > 1:
            raise DefinitionError(
                f"{name!r} is the name of a {' and of a '.join(one.replace('_', ' ') for one in kinds)}",
                hint=f"say which one: kind={kinds[0]!r}",
            )
        if said.chosen is None:
            return max(found, key=lambda one: one.version)
        if mark is not None:
            number = self._number_of(found[0], mark)
        for one in found:
            if one.version == number:
                return one
        known = ", ".join(f"v{one.version}" for one in found)
        raise NotFoundError(f"{name!r} has no version {said.chosen}", hint=f"it has {known}")

    def story(self, reference: str, *, kind: str | None = None) -> list[VersionStory]:
        """Return every version of a definition or a model, newest first, and why each is as it is.

        Args:
            reference: A name; with "@v2" or the name of a variant or an alias, only that version.
            kind: As for `note`.
        """
        target = self.find(reference, kind=kind)
        stories = _of_model(self._database, target) if target.kind == MODEL else _of_definition(self._database, target)
        chosen = Reference.parse(reference).chosen
        return [one for one in stories if chosen is None or one.version == target.version]

    def _number_of(self, target: Target, mark: str) -> int | None:
        """Return the version that the name of a variant or an alias stands for; None if it stands for none."""
        if target.kind == MODEL:
            alias = self._database.get(ModelAlias, name=target.name, alias=mark)
            return None if alias is None else alias.version
        rows = self._database.list(Definition, where={"kind": target.kind, "name": target.name}, order="version")
        return next((row.version for row in reversed(rows) if row.variant == mark), None)

    def _versions_of(self, name: str) -> list[Target]:
        definitions = self._database.list(Definition, where={"name": name}, order="version")
        models = self._database.list(ModelVersion, where={"name": name}, order="version")
        return [Target(one.kind, one.name, one.version) for one in definitions] + [
            Target(MODEL, one.name, one.version) for one in models
        ]

    def _names(self) -> set[str]:
        return {one.name for one in self._database.list(Definition)} | {
            one.name for one in self._database.list(ModelVersion)
        }


def require_note(text: str) -> None:
    """Refuse a note that is empty or too long.

    Raises:
        DataError: If it is.
    """
    if not text.strip() or len(text) > _MOST_CHARACTERS:
        raise DataError(
            f"a note of {len(text):,} characters cannot be kept", hint=f"write 1 to {_MOST_CHARACTERS:,} characters"
        )


def refuse_experimental(tx: Transaction, name: str, version: int, *, alias: str) -> None:
    """Refuse to let an alias stand for a model that is marked experimental.

    Raises:
        ConflictError: If it is.
    """
    found = tx.get(Mark, kind=MODEL, name=name, version=version)
    if found is not None and found.mark == "experimental":
        raise ConflictError(
            f"model {name}:{version} is marked experimental (by {found.author}), so it cannot be {alias}",
            hint="mark it silver or golden once it is trusted, or promote it with force=True (--force)",
        )


def _of_definition(database: Database, target: Target) -> list[VersionStory]:
    rows = database.list(Definition, where={"kind": target.kind, "name": target.name}, order="version")
    notes, marks = _remarks(database, target)
    models = database.list(LoggedModel)
    place = f"{target.kind}:{target.name}"
    return [
        VersionStory(
            kind=row.kind,
            name=row.name,
            version=row.version,
            at=row.applied_at,
            author=row.author,
            message=row.message,
            notes=[one for one in notes if one.version == row.version],
            mark=marks.get(row.version),
            runs=_runs(database, [one.run for one in models if one.definitions.get(place) == row.fingerprint]),
            replaced_by=after.version if after is not None else None,
            in_force=row.removed_at is None,
        )
        for row, after in reversed(list(zip(rows, [*rows[1:], None], strict=True)))
    ]


def _of_model(database: Database, target: Target) -> list[VersionStory]:
    rows = database.list(ModelVersion, where={"name": target.name}, order="version")
    notes, marks = _remarks(database, target)
    return [
        VersionStory(
            kind=MODEL,
            name=row.name,
            version=row.version,
            at=row.registered_at,
            author="",
            message="",
            notes=[one for one in notes if one.version == row.version],
            mark=marks.get(row.version),
            runs=_runs(database, [row.run]),
            replaced_by=after.version if after is not None else None,
            in_force=after is None,
        )
        for row, after in reversed(list(zip(rows, [*rows[1:], None], strict=True)))
    ]


def _remarks(database: Database, target: Target) -> tuple[list[Note], dict[int, str]]:
    where: dict[str, object] = {"kind": target.kind, "name": target.name}
    marks = {one.version: one.mark for one in database.list(Mark, where=where)}
    return database.list(Note, where=where, order="id"), marks


def _runs(database: Database, ids: Sequence[str]) -> dict[str, dict[str, float]]:
    runs = database.list(RunRow, where={"id": list(dict.fromkeys(ids))}, order="started_at") if ids else []
    return {f"{run.name} {run.id[:8]}": dict(run.metrics) for run in with_metrics(database, runs)}
