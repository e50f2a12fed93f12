"""The registered models of a workspace as MLflow shows them: opaque ones, and those that tinymlops trains and serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import ConflictError, DataError, NotFoundError
from tinymlops.registry.comparisons import Field
from tinymlops.server.mlflow import answers
from tinymlops.server.mlflow.mapping import millis, model_uri, pairs, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tinymlops.records import ModelVersion, OpaqueVersion
    from tinymlops.workspace import Workspace

__all__ = ["NO_PROMPT", "Registry", "refuse_prompt"]

Fields = dict[Field, float | str | None]
_PROMPT = "mlflow.prompt.is_prompt"
NO_PROMPT: Fields = {Field("tag", _PROMPT): "false"}
"""What is found of each: clients look for models that are not prompts, and mean those without the tag."""
_STAGES = ("None", "Staging", "Production", "Archived")


class Registry:
    """Answers about registered models of both kinds.

    Args:
        ws: The workspace.
    """

    def __init__(self, ws: Workspace) -> None:
        self._models = ws.models
        self.registered = ws.models.registered

    def is_own(self, name: str) -> bool:
        """Whether a name is one of a model that tinymlops trains and serves."""
        return any(one.name == name for one in self._models.list())

    def refuse_own(self, name: str) -> None:
        """Refuse to change what tinymlops trains and serves.

        Raises:
            DataError: If it is that.
        """
        if self.is_own(name):
            raise DataError(
                f"{name!r} is a model of this workspace, which clients of MLflow read and promote, and do not change",
                hint="change it in Python or with the tinymlops command",
            )

    def refuse_taken(self, name: str) -> None:
        """Refuse a name that a model of this workspace has.

        Raises:
            ConflictError: If it has.
        """
        if self.is_own(name):
            raise ConflictError(f"{name!r} is a model of this workspace", hint="register under another name")

    def model(self, name: str) -> answers.RegisteredModel:
        """Show a model.

        Raises:
            NotFoundError: If there is none, with the near match.
        """
        return self._own_model(name) if self.is_own(name) else self._opaque_model(name)

    def model_fields(self) -> list[tuple[str, Fields]]:
        """Return the name of each model, and what it may be found by."""
        found = []
        for one in self.registered.list():
            fields: Fields = {
                Field("attribute", "name"): one.title,
                Field("attribute", "description"): one.description,
                Field("attribute", "creation_timestamp"): float(millis(one.created_at)),
                Field("attribute", "last_updated_timestamp"): float(millis(one.updated_at)),
            }
            found.append(
                (one.title, NO_PROMPT | fields | {Field("tag", key): value for key, value in one.tags.items()})
            )
        for newest in self._models.list():
            first = self._models.versions(newest.name)[0]
            fields = {
                Field("attribute", "name"): newest.name,
                Field("attribute", "creation_timestamp"): float(millis(first.registered_at)),
                Field("attribute", "last_updated_timestamp"): float(millis(newest.registered_at)),
            }
            found.append((newest.name, NO_PROMPT | fields))
        return found

    def version(self, name: str, number: int) -> answers.ModelVersion:
        """Show a version.

        Raises:
            NotFoundError: If there is none.
        """
        if not self.is_own(name):
            return self._opaque(name, self.registered.version(name, number))
        found = [one for one in self._models.versions(name) if one.version == number]
        if not found:
            raise NotFoundError(f"the model {name!r} has no version {number}")
        return self._own(found[0])

    def versions(self) -> list[answers.ModelVersion]:
        """Show all versions of all models, the newest of each first."""
        titles = {one.name: one.title for one in self.registered.list()}
        opaque = [self._opaque(titles[one.name], one) for one in self.registered.versions() if one.name in titles]
        own = [version for one in self._models.list() for version in reversed(self._models.versions(one.name))]
        return [*opaque, *map(self._own, own)]

    def latest(self, name: str, stages: Iterable[str]) -> list[answers.ModelVersion]:
        """Show the newest version of each stage; of all stages if none is named."""
        wanted = {one.lower() for one in stages} or {one.lower() for one in _STAGES}
        if self.is_own(name):
            return [self._own(self._models.versions(name)[-1])] if "none" in wanted else []
        model = self.registered.get(name)
        newest: dict[str, OpaqueVersion] = {}
        for one in self.registered.versions(model.name):
            newest.setdefault(one.stage, one)
        return [self._opaque(name, one) for stage, one in newest.items() if stage.lower() in wanted]

    def download_uri(self, name: str, number: int) -> str:
        """Return where a client finds the files of a version.

        Raises:
            DataError: If it is a model that tinymlops trains and serves.
        """
        if self.is_own(name):
            raise DataError(
                f"{name!r} is a model of this workspace, whose file is not one of MLflow's",
                hint=f"ask it: POST /v1/models/{name}/invocations, or load it in Python: ws.load_model({name!r})",
            )
        return model_uri(self.registered.version(name, number).model)

    def _opaque_model(self, name: str) -> answers.RegisteredModel:
        model = self.registered.get(name)
        return answers.RegisteredModel(
            name=model.title,
            creation_timestamp=millis(model.created_at),
            last_updated_timestamp=millis(model.updated_at),
            description=text_of(model.description),
            latest_versions=self.latest(name, ()),
            tags=pairs(model.tags),
            aliases=_aliases(model.aliases),
        )

    def _own_model(self, name: str) -> answers.RegisteredModel:
        versions = self._models.versions(name)
        return answers.RegisteredModel(
            name=name,
            creation_timestamp=millis(versions[0].registered_at),
            last_updated_timestamp=millis(versions[-1].registered_at),
            latest_versions=[self._own(versions[-1])],
            aliases=_aliases({one.alias: one.version for one in self._models.aliases(name)}),
        )

    def _opaque(self, title: str, version: OpaqueVersion) -> answers.ModelVersion:
        model = self._models.opaque.get(version.model, deleted=True)
        aliases = self.registered.get(title).aliases
        return answers.ModelVersion(
            name=title,
            version=str(version.version),
            creation_timestamp=millis(version.registered_at),
            last_updated_timestamp=millis(version.updated_at),
            user_id=version.actor,
            current_stage=version.stage,
            description=text_of(version.description),
            source=version.source,
            run_id=version.run,
            status="READY",
            tags=pairs(version.tags),
            run_link=text_of(version.run_link),
            aliases=sorted(alias for alias, number in aliases.items() if number == version.version),
            model_id=version.model,
            model_params=[answers.ModelParam(name=key, value=value) for key, value in sorted(model.params.items())],
            model_metrics=[answers.Metric(**one) for one in model.metrics],
        )

    def _own(self, version: ModelVersion) -> answers.ModelVersion:
        at = millis(version.registered_at)
        aliases = [one.alias for one in self._models.aliases(version.name) if one.version == version.version]
        return answers.ModelVersion(
            name=version.name,
            version=str(version.version),
            creation_timestamp=at,
            last_updated_timestamp=at,
            current_stage="None",
            source=f"tinymlops:/{version.name}/{version.version}",
            run_id=version.run,
            status="READY",
            aliases=aliases,
        )


def refuse_prompt(tags: Mapping[str, str]) -> None:
    """Refuse a prompt, which MLflow keeps among registered models.

    Raises:
        DataError: If it is one.
    """
    if tags.get(_PROMPT, "").lower() == "true":
        raise DataError("prompts of MLflow are not kept here", hint="keep the text as an artifact of a run")


def _aliases(found: Mapping[str, int]) -> list[answers.RegisteredAlias]:
    return [answers.RegisteredAlias(alias=alias, version=str(number)) for alias, number in sorted(found.items())]
