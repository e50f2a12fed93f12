"""Registered models of MLflow: names word for word, numbered versions of opaque models, and aliases."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import ConflictError, DataError, NotFoundError, near
from tinymlops.records import ModelVersion, OpaqueModel, OpaqueVersion, RegisteredModel
from tinymlops.stores.pseudonyms import FreeText

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping

    from tinymlops.registry.scope import Scope
    from tinymlops.stores.transaction import Transaction

__all__ = ["RegisteredModels", "slug_of"]

_LONGEST_TITLE = 250
_LONGEST_SLUG = 63
_STAGES = ("None", "Staging", "Production", "Archived")


class RegisteredModels:
    """The names that clients of MLflow registered.

    Args:
        scope: Who works on which workspace.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._database = scope.environment.database

    def __repr__(self) -> str:
        return f"<registered models of MLflow: {', '.join(one.name for one in self.list()) or 'none'}>"

    def create(self, title: str, *, description: str = "", tags: Mapping[str, str] | None = None) -> RegisteredModel:
        """Register a name.

        Args:
            title: Any text, kept word for word; here it is called by its slug.
            description: What the client says about it.
            tags: As the client says.

        Raises:
            ConflictError: If that title is registered.
            DataError: If another one has the same slug, or a model of this workspace has that name.
        """
        now = self._scope.clock()
        name = slug_of(title)
        model = RegisteredModel(
            name=name, title=title, description=description, tags=dict(tags or {}), created_at=now, updated_at=now
        )
        with self._scope.write("registered_model.create", name, title=FreeText(title)) as tx:
            if tx.get(RegisteredModel, title=title) is not None:
                raise ConflictError(f"the model {title!r} is registered already", hint="add a version to it")
            other = tx.get(RegisteredModel, name=name)
            if other is not None:
                raise DataError(
                    f"the model {title!r} would be called {name!r} here, as {other.title!r} is", hint="use another name"
                )
            if tx.list(ModelVersion, where={"name": name}, limit=1):
                raise DataError(
                    f"{name!r} is a model of this workspace, whose versions tinymlops trains and serves",
                    hint="register models of MLflow under another name",
                )
            tx.insert(model)
        return model

    def get(self, title: str) -> RegisteredModel:
        """Return a model by its title.

        Raises:
            NotFoundError: If there is none, with the near match.
        """
        found = self._database.get(RegisteredModel, title=title)
        if found is None:
            raise NotFoundError(
                f"there is no registered model {title[:100]!r}", hint=near(title, (one.title for one in self.list()))
            )
        return found

    def list(self) -> builtins.list[RegisteredModel]:
        """Return all, by title."""
        return self._database.list(RegisteredModel, order="title")

    def change(
        self,
        title: str,
        *,
        new_title: str | None = None,
        description: str | None = None,
        tags: Mapping[str, str | None] | None = None,
    ) -> RegisteredModel:
        """Change what is said about a model.

        Args:
            title: The one it has.
            new_title: Another one; what it is called here stays.
            description: Another one.
            tags: To set; None in place of a value removes one.

        Raises:
            ConflictError: If another model has the new title.
        """
        with self._scope.write("registered_model.change", self.get(title).name) as tx:
            before = _titled(tx, title)
            if new_title is not None:
                slug_of(new_title)
                if tx.get(RegisteredModel, title=new_title) is not None:
                    raise ConflictError(f"the model {new_title!r} is registered already", hint="use another name")
            return self._replace(
                tx,
                before,
                title=new_title or before.title,
                description=before.description if description is None else description,
                tags=_merged(before.tags, tags),
            )

    def delete(self, title: str) -> None:
        """Remove a name with all its versions; the files stay with the logged models."""
        with self._scope.write("registered_model.delete", self.get(title).name) as tx:
            model = _titled(tx, title)
            tx.delete(OpaqueVersion, name=model.name)
            tx.delete(RegisteredModel, name=model.name)

    def add_version(
        self,
        title: str,
        model: str,
        *,
        source: str,
        run: str | None = None,
        run_link: str = "",
        description: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> OpaqueVersion:
        """Register an opaque model as the next version of a name; the number of a deleted one is not used again.

        Args:
            title: Of the registered model.
            model: Id of the opaque model.
            source: Where the client said that it comes from.
            run: Id of the run that logged it.
            run_link: As the client says.
            description: As the client says.
            tags: As the client says.

        Raises:
            NotFoundError: If there is no such name or model.
        """
        self.get(title)
        now = self._scope.clock()
        with self._scope.write(audit="inside") as tx:
            registered = _titled(tx, title)
            if tx.get(OpaqueModel, id=model) is None:
                raise NotFoundError(f"there is no logged model {model[:100]!r}", hint="log it first")
            version = OpaqueVersion(
                name=registered.name,
                version=registered.newest + 1,
                model=model,
                source=source,
                run=run,
                run_link=run_link,
                description=description,
                tags=dict(tags or {}),
                actor=self._scope.actor,
                registered_at=now,
                updated_at=now,
            )
            tx.insert(version)
            self._replace(tx, registered, newest=version.version)
            tx.audit("registered_model.add_version", f"{version.name}:{version.version}", model=model, run=run)
        return version

    def version(self, title: str, number: int) -> OpaqueVersion:
        """Return a version.

        Raises:
            NotFoundError: If there is none.
        """
        name = self.get(title).name
        found = self._database.get(OpaqueVersion, name=name, version=number)
        if found is None:
            raise NotFoundError(f"the model {title!r} has no version {number}", hint="search-model-versions lists them")
        return found

    def by_alias(self, title: str, alias: str) -> OpaqueVersion:
        """Return the version that an alias points at.

        Raises:
            NotFoundError: If there is none, with the near match.
        """
        aliases = self.get(title).aliases
        if alias not in aliases:
            raise NotFoundError(f"the model {title!r} has no alias {alias[:100]!r}", hint=near(alias, aliases))
        return self.version(title, aliases[alias])

    def versions(self, name: str | None = None) -> builtins.list[OpaqueVersion]:
        """Return the versions of a model, by what it is called here, or of all; the newest first."""
        where = {} if name is None else {"name": name}
        return self._database.list(OpaqueVersion, where=where, order="-version")

    def of_model(self, model: str) -> builtins.list[tuple[str, OpaqueVersion]]:
        """Return the versions that were registered of an opaque model, each with the title of its name."""
        titles = {one.name: one.title for one in self.list()}
        versions = self._database.list(OpaqueVersion, where={"model": model}, order="registered_at")
        return [(titles[one.name], one) for one in versions if one.name in titles]

    def change_version(
        self,
        title: str,
        number: int,
        *,
        description: str | None = None,
        tags: Mapping[str, str | None] | None = None,
        stage: str | None = None,
        archive_existing: bool = False,
    ) -> OpaqueVersion:
        """Change what is said about a version.

        Args:
            title: Of the registered model.
            number: Of the version.
            description: Another one.
            tags: To set; None in place of a value removes one.
            stage: `None`, `Staging`, `Production` or `Archived`.
            archive_existing: Move the others of that stage to `Archived`.
        """
        subject = self.version(title, number)
        known = {one.lower(): one for one in _STAGES}
        if stage is not None and stage.lower() not in known:
            raise DataError(f"there is no stage {stage[:100]!r}", hint=f"use one of {', '.join(_STAGES)}")
        with self._scope.write("registered_model.change_version", f"{subject.name}:{number}", stage=stage) as tx:
            before = _numbered(tx, title, number)
            moved = before.stage if stage is None else known[stage.lower()]
            now = self._scope.clock()
            if archive_existing:
                for other in tx.list(OpaqueVersion, where={"name": before.name, "stage": moved}):
                    tx.update(msgspec.structs.replace(other, stage="Archived", updated_at=now))
            after = msgspec.structs.replace(
                before,
                description=before.description if description is None else description,
                tags=_merged(before.tags, tags),
                stage=moved,
                updated_at=now,
            )
            tx.update(after)
        return after

    def delete_version(self, title: str, number: int) -> None:
        """Remove a version and its aliases; its number is not used again."""
        subject = self.version(title, number)
        with self._scope.write("registered_model.delete_version", f"{subject.name}:{number}") as tx:
            version, registered = _numbered(tx, title, number), _titled(tx, title)
            tx.delete(OpaqueVersion, name=version.name, version=number)
            left = {alias: one for alias, one in registered.aliases.items() if one != number}
            self._replace(tx, registered, aliases=left)

    def set_alias(self, title: str, alias: str, number: int | None) -> None:
        """Point an alias at a version; None removes it, and one that is not there stays so."""
        if number is not None:
            self.version(title, number)
        with self._scope.write("registered_model.set_alias", f"{self.get(title).name}@{alias}", version=number) as tx:
            registered = _titled(tx, title)
            if number is not None:
                _numbered(tx, title, number)
            pointed = {**registered.aliases, alias: number}
            self._replace(tx, registered, aliases={key: one for key, one in pointed.items() if one is not None})

    def _replace(self, tx: Transaction, before: RegisteredModel, **changes: object) -> RegisteredModel:
        after = msgspec.structs.replace(before, updated_at=self._scope.clock(), **changes)
        tx.update(after)
        return after


def slug_of(title: str) -> str:
    """Return what a name of MLflow is called here.

    Raises:
        DataError: If it cannot be a name.

    Example:
        >>> slug_of("Churn Model (EU)")
        'churn-model-eu'
    """
    if not title.strip() or len(title) > _LONGEST_TITLE or not title.isprintable() or "/" in title or ":" in title:
        raise DataError(
            f"a model cannot be named {title[:100]!r}",
            hint=f"use 1 to {_LONGEST_TITLE} printable characters without / and :",
        )
    slug = re.sub(r"[^a-z0-9_]+", "-", title.lower()).strip("-_")
    if not re.match(r"[a-z]", slug):
        slug = f"model-{slug or hashlib.sha256(title.encode()).hexdigest()[:8]}"
    return slug[:_LONGEST_SLUG].rstrip("-_")


def _titled(tx: Transaction, title: str) -> RegisteredModel:
    found = tx.get(RegisteredModel, title=title)
    if found is None:
        raise NotFoundError(f"there is no registered model {title[:100]!r}", hint="another process deleted it")
    return found


def _numbered(tx: Transaction, title: str, number: int) -> OpaqueVersion:
    found = tx.get(OpaqueVersion, name=_titled(tx, title).name, version=number)
    if found is None:
        raise NotFoundError(f"the model {title!r} has no version {number}", hint="another process deleted it")
    return found


def _merged(tags: Mapping[str, str], changes: Mapping[str, str | None] | None) -> dict[str, str]:
    return {key: value for key, value in {**tags, **(changes or {})}.items() if value is not None}
