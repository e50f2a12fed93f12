"""The model registry: numbered versions that never change, and aliases such as champion that move."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import ConflictError, DataError, IntegrityError, NotFoundError, near
from tinymlops.records import (
    Definition,
    LoggedModel,
    ModelAlias,
    ModelVersion,
    Note,
    RegisteredModel,
    Run,
    TrainingSetBuild,
)
from tinymlops.references import Reference, is_number
from tinymlops.registry.alias_moves import AliasMove, alias_moves
from tinymlops.registry.catalog import Catalog
from tinymlops.registry.opaque import OpaqueModels, RegisteredModels
from tinymlops.registry.remarks import MODEL, refuse_experimental, require_note
from tinymlops.registry.runs import Runs
from tinymlops.stores.generation import changing
from tinymlops.stores.json_text import to_json

if TYPE_CHECKING:
    import builtins
    from contextlib import AbstractContextManager

    from tinymlops.registry.scope import Scope
    from tinymlops.stores.transaction import Transaction

__all__ = ["CHAMPION", "LATEST", "ModelManifest", "Models"]

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
CHAMPION = "champion"
"""The alias that a bare name stands for, where a model has it."""
LATEST = "latest"
"""The alias that every model has by itself: its newest version."""
_PROTOCOL = 1
"""Raised when the manifest's meaning changes; the reader of an older one stays."""


class ModelManifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a registered version depends on, in one file named by its hash."""

    protocol: int
    model: LoggedModel
    run: Run
    training_set: TrainingSetBuild | None
    definitions: list[Definition]
    """The definitions in full, by kind and name, as they were when the training set was built."""
    variants: list[Definition] = []
    """Versions that it names beside those, each with all that it stands on."""
    embeddings: dict[str, str] = {}
    """Embedding to the fingerprint of the model that made its vectors in the training set."""


class _Build(msgspec.Struct):
    """What the manifest of a build says of models of embeddings."""

    embeddings: dict[str, str] = {}


class Models:
    """The registered models of a workspace.

    Args:
        scope: Who works on which workspace.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._database, self._blobs = scope.environment.database, scope.environment.blobs

    def __repr__(self) -> str:
        return f"<models: {', '.join(self._names()) or 'none'}>"

    @property
    def opaque(self) -> OpaqueModels:
        """Models that clients of MLflow logged: files that nothing here opens."""
        return OpaqueModels(self._scope)

    @property
    def registered(self) -> RegisteredModels:
        """Names that clients of MLflow registered, with versions of opaque models."""
        return RegisteredModels(self._scope)

    def register(self, name: str, run: Any, *, logged_name: str = "model", alias: str | None = None) -> ModelVersion:
        """Register a logged model as the next version of a name: 1, 2, 3, ... without gaps.

        Args:
            name: The name of the model, such as "delay".
            run: A run, its id, the beginning of it, or its name; or anything that has an `id`.
            logged_name: What the run logged it as.
            alias: Point this alias at it in the same transaction.

        Raises:
            NotFoundError: If the run logged no such model, or one of its definitions cannot be found.
            IntegrityError: If the model's file is missing or damaged.
        """
        _check_name(name, "model")
        if alias is not None:
            _check_alias(name, alias)
        manifest = self.manifest_of(run, logged_name)
        content = to_json(manifest).encode()
        self._blobs.path(manifest.model.sha256)
        with self._scope.publishing():
            sha256 = self._blobs.put(content)
            with self._write() as tx:
                if (other := tx.get(RegisteredModel, name=name)) is not None:
                    raise _opaque(other)
                newest = tx.list(ModelVersion, where={"name": name}, order="-version", limit=1)
                version = ModelVersion(
                    name=name,
                    version=newest[0].version + 1 if newest else 1,
                    run=manifest.run.id,
                    logged_name=logged_name,
                    manifest_sha256=sha256,
                    registered_at=self._scope.clock(),
                )
                tx.insert(version)
                tx.audit("model.register", f"{name}:{version.version}", run=version.run, manifest=sha256)
                if alias is not None:
                    self._point(tx, name, alias, version.version, tx.get(ModelAlias, name=name, alias=alias))
        return version

    def get(self, reference: str) -> ModelVersion:
        """Return a version.

        Args:
            reference: "delay" for the champion, or the newest version where there is no champion; "delay@latest" for
                the newest; "delay@challenger" for that alias; "delay@v3" or "delay:3" for version 3.

        Raises:
            NotFoundError: If there is none, with the near match.
        """
        said = Reference.parse(reference)
        name = said.name
        if said.part is not None:
            raise NotFoundError(
                f"{reference!r} names a part, and a model has none",
                hint=f"write {name}, {name}@v1 or {name}@{CHAMPION}",
            )
        versions = {version.version: version for version in self.versions(name)}
        if said.version is not None:
            return self._numbered(name, said.version, versions)
        if said.mark is None:
            champion = self._database.get(ModelAlias, name=name, alias=CHAMPION)
            return versions[champion.version if champion is not None else max(versions)]
        if said.mark == LATEST:
            return versions[max(versions)]
        found = self._database.get(ModelAlias, name=name, alias=said.mark)
        if found is None:
            known = [alias.alias for alias in self.aliases(name)]
            otherwise = "" if known else f"set one: promote({name!r}, {max(versions)}, {said.mark!r})"
            raise NotFoundError(
                f"model {name!r} has no alias {said.mark!r}", hint=near(said.mark, known, otherwise=otherwise)
            )
        return versions[found.version]

    def list(self) -> builtins.list[ModelVersion]:
        """Return the newest version of each model, by name."""
        newest = {version.name: version for version in self._database.list(ModelVersion, order="version")}
        return [newest[name] for name in sorted(newest)]

    def versions(self, name: str) -> builtins.list[ModelVersion]:
        """Return every version of a model, oldest first.

        Raises:
            NotFoundError: If there is no such model, with the near match.
            DataError: If a client of MLflow registered it: its files are opaque.
        """
        found = self._database.list(ModelVersion, where={"name": name}, order="version")
        if not found:
            registered = self._database.get(RegisteredModel, name=name)
            if registered is not None:
                raise _opaque(registered)
            known = self._names()
            otherwise = "" if known else f"register one: ws.register_model({name!r}, run=run)"
            raise NotFoundError(f"there is no model {name!r}", hint=near(name, known, otherwise=otherwise))
        return found

    def aliases(self, name: str) -> builtins.list[ModelAlias]:
        """Return the aliases of a model, by name."""
        return self._database.list(ModelAlias, where={"name": name}, order="alias")

    def moves(self, name: str) -> builtins.list[AliasMove]:
        """Return where each alias of a model pointed when, the newest first: who was champion at a time."""
        return alias_moves(self._database, name)

    def promote(
        self,
        name: str,
        version: int,
        alias: str = CHAMPION,
        *,
        expected: int | None = None,
        force: bool = False,
        message: str = "",
    ) -> ModelAlias:
        """Point an alias at a version; it keeps in mind where it pointed before.

        Args:
            name: The name of the model.
            version: The version to point at.
            alias: The alias to move, created if needed.
            expected: Move it only from this version (0: only if it does not exist); None moves it from anywhere.
            force: Let a version that is marked experimental be the champion.
            message: Why: a note on the version, in the same commit. None is kept where the alias points there already.

        Raises:
            ConflictError: If the alias points somewhere else than expected, or the version is marked experimental.
            NotFoundError: If there is no such version.
            DataError: If the message is too long.
        """
        _check_alias(name, alias)
        if message:
            require_note(message)
        self._numbered(name, version, {one.version: one for one in self.versions(name)})
        with self._write() as tx:
            current = tx.get(ModelAlias, name=name, alias=alias)
            at = current.version if current is not None else 0
            if expected is not None and at != expected:
                where = f"version {at}" if at else "no version"
                raise ConflictError(
                    f"{name}@{alias} points at {where}, not at {expected or 'none'}: another process moved it first",
                    hint=f"look at it again, then promote with expected={at}",
                )
            return self._point(tx, name, alias, version, current, force=force, message=message)

    def rollback(self, name: str, alias: str = CHAMPION, *, message: str = "") -> ModelAlias:
        """Point an alias back at the version before its last move; once, so that two people do not undo each other.

        Args:
            name: The name of the model.
            alias: The alias to move back.
            message: Why: a note on the version that it points at again, in the same commit.

        Raises:
            ConflictError: If it was not moved, or is rolled back already.
            NotFoundError: If there is no such alias, with the near match.
            DataError: If the message is too long.
        """
        if message:
            require_note(message)
        self.get(f"{name}@{alias}")
        with self._write() as tx:
            current = tx.get(ModelAlias, name=name, alias=alias)
            if current is None or current.previous is None:
                raise ConflictError(
                    f"{name}@{alias} has no earlier version to go back to",
                    hint=f"name one: promote({name!r}, version, {alias!r})",
                )
            back = ModelAlias(name=name, alias=alias, version=current.previous, changed_at=self._scope.clock())
            tx.put(back)
            said = self._said(tx, name, back.version, f"Rolled back to as {alias}", message)
            tx.audit("model.rollback", f"{name}@{alias}", version=back.version, previous=current.version, **said)
        return back

    def manifest(self, version: ModelVersion | str) -> ModelManifest:
        """Read the manifest of a version, checked against its hash.

        Args:
            version: A version, or a reference such as "delay@champion".

        Raises:
            IntegrityError: If the file is missing, damaged or from a newer tinymlops.
        """
        version = self.get(version) if isinstance(version, str) else version
        content = self._blobs.read(version.manifest_sha256)
        named = f"the manifest of {version.name}:{version.version}"
        try:
            protocol = msgspec.json.decode(content, type=_Protocol).protocol
            if protocol > _PROTOCOL:
                raise IntegrityError(f"{named} has protocol {protocol}", hint="pip install --upgrade tinymlops")
            return _decode(content)
        except msgspec.MsgspecError as error:
            raise IntegrityError(f"{named} cannot be read: {error}") from error

    def read(self, version: ModelVersion | str) -> bytes:
        """Return the model's file, checked against the hash in its manifest."""
        return self._blobs.read(self.manifest(version).model.sha256)

    def manifest_of(self, run: Any, logged_name: str) -> ModelManifest:
        """Return what a logged model would be registered with.

        Args:
            run: A run, its id, the beginning of it, or its name.
            logged_name: What the run logged it as.

        Raises:
            NotFoundError: If the run logged no such model, or one of its definitions cannot be found.
        """
        reference = run if isinstance(run, str) else getattr(run, "id", None)
        if not isinstance(reference, str):
            raise DataError(f"{run!r} is not a run", hint="pass the run, its id or its name")
        record = Runs(self._scope).get(reference)
        model = self._database.get(LoggedModel, run=record.id, name=logged_name)
        if model is None:
            known = [one.name for one in self._database.list(LoggedModel, where={"run": record.id})]
            hint = near(logged_name, known, otherwise="" if known else "log one first: run.log_model(model)")
            raise NotFoundError(f"run {record.name!r} logged no model {logged_name!r}", hint=hint)
        catalog = Catalog(self._scope)
        build = self._database.get(TrainingSetBuild, id=model.training_set) if model.training_set else None
        return ModelManifest(
            protocol=_PROTOCOL,
            model=model,
            run=record,
            training_set=build,
            definitions=catalog.built_with(model.definitions),
            variants=catalog.variants_in(model.definitions),
            embeddings={} if build is None else self._embeddings(build),
        )

    def _embeddings(self, build: TrainingSetBuild) -> dict[str, str]:
        try:
            return msgspec.json.decode(self._blobs.read(build.manifest_sha256), type=_Build).embeddings
        except msgspec.MsgspecError as error:
            raise IntegrityError(f"the manifest of training set {build.id} cannot be read: {error}") from error

    def _point(
        self,
        tx: Transaction,
        name: str,
        alias: str,
        version: int,
        current: ModelAlias | None,
        *,
        force: bool = False,
        message: str = "",
    ) -> ModelAlias:
        if current is not None and current.version == version:
            return current
        if alias == CHAMPION and not force:
            refuse_experimental(tx, name, version, alias=alias)
        moved = ModelAlias(
            name=name,
            alias=alias,
            version=version,
            previous=current.version if current is not None else None,
            changed_at=self._scope.clock(),
        )
        tx.put(moved)
        said = self._said(tx, name, version, f"Promoted to {alias}", message)
        tx.audit("model.promote", f"{name}@{alias}", version=version, previous=moved.previous, **said)
        return moved

    def _said(self, tx: Transaction, name: str, version: int, what: str, message: str) -> dict[str, int]:
        """Keep why an alias is moved; return what the audit log says of it: the number of the note, not its text."""
        if not message:
            return {}
        text = f"{what}: {message}"
        note = Note(kind=MODEL, name=name, version=version, text=text, author=self._scope.actor, at=self._scope.clock())
        return {"note": tx.insert(note).id or 0}

    def _numbered(self, name: str, number: int, versions: dict[int, ModelVersion]) -> ModelVersion:
        if number not in versions:
            raise NotFoundError(f"model {name!r} has no version {number}", hint=f"it has 1 to {max(versions)}")
        return versions[number]

    def _names(self) -> builtins.list[str]:
        # Out of the index; the versions of each name are read with their checksums.
        return [row[0] for row in self._database.rows("SELECT DISTINCT name FROM model_versions ORDER BY name")]

    def _write(self) -> AbstractContextManager[Transaction]:
        """Begin a write of versions and aliases, which processes keep in memory."""
        return changing(self._scope.write(audit="inside"), self._scope.environment.online)


class _Protocol(msgspec.Struct):
    protocol: int


def _decode(content: bytes) -> ModelManifest:
    try:
        return msgspec.json.decode(content, type=ModelManifest)
    except msgspec.ValidationError:
        # A metric that is NaN is the text 'NaN', which only this reads; tried second, because it also reads '1' as a number.
        return msgspec.json.decode(content, type=ModelManifest, strict=False)


def _opaque(model: RegisteredModel) -> DataError:
    return DataError(
        f"{model.name!r} was registered by a client of MLflow: its files are opaque, and nothing here opens them",
        hint=f"load it there: mlflow.pyfunc.load_model('models:/{model.title}/{model.newest}'); "
        "to serve a model here, log it with run.log_model(model)",
    )


def _check_alias(name: str, alias: str) -> None:
    _check_name(alias, "alias")
    if alias == LATEST:
        raise DataError(
            f"the alias {LATEST!r} cannot be set: {name}@{LATEST} is always the newest version",
            hint=f"use another alias, such as {CHAMPION!r}",
        )
    if is_number(alias):
        raise DataError(
            f"the alias {alias!r} would stand for a number: {name}@{alias} is that version",
            hint=f"use another alias, such as {CHAMPION!r}",
        )


def _check_name(name: str, what: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DataError(
            f"{what} cannot be named {name!r}",
            hint="use lower-case letters, digits, _ and -, beginning with a letter, at most 63",
        )
