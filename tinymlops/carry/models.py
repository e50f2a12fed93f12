"""Bring logged models and registered names of MLflow into a workspace, opaque: their files are kept and never opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.carry.carried import run_id_of
from tinymlops.carry.fitting import fitting_name
from tinymlops.errors import DataError, IntegrityError, NotFoundError
from tinymlops.records import Artifact, OpaqueFile, OpaqueModel, OpaqueVersion, RegisteredModel, RunRow
from tinymlops.registry.opaque.carrying import store_model, store_registered
from tinymlops.registry.opaque.registered import slug_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinymlops.carry.carried import CarriedFile, CarriedModel, CarriedName, CarriedVersion, Source
    from tinymlops.registry.scope import Scope

    Publish = Callable[[CarriedFile], tuple[str, int]]

__all__ = ["import_models"]


def import_models(scope: Scope, source: Source, publish: Publish) -> list[str]:
    """Import the models of a source, whose runs are here; return what became of them, in lines.

    Args:
        scope: The workspace and the actor.
        source: Where they come from.
        publish: Publishes a file, and returns its hash and size.
    """
    told: list[str] = []
    for model in source.models():
        told += _model(scope, model, publish)
    for name in source.registered():
        told += _name(scope, name)
    return told


def _model(scope: Scope, model: CarriedModel, publish: Publish) -> list[str]:
    label, database = f"model {model.name} ({model.id})", scope.environment.database
    if model.run is not None and database.get(RunRow, id=model.run) is None:
        return [f"{label}: left out: its run is not here"]
    if database.get(OpaqueModel, id=model.id) is not None:
        return []
    told = [f"{label}: left out: {what}" for what in model.left_out]
    with scope.publishing():
        files = []
        for file in model.files:
            try:
                sha256, size = publish(file)
            except (DataError, NotFoundError, IntegrityError) as error:
                told.append(f"{label}: left out: {file.name}: {error.message}")
                continue
            at = file.at or model.created_at
            files.append(OpaqueFile(model=model.id, name=file.name, sha256=sha256, bytes=size, at=at))
        record = OpaqueModel(
            id=model.id,
            experiment=0,
            name=model.name,
            run=model.run,
            model_type=model.model_type,
            status=model.status,
            params=model.params,
            tags={fitting_name(name): text for name, text in model.tags.items()},
            created_at=model.created_at,
            updated_at=model.updated_at,
        )
        store_model(scope, record, files)
    return [f"{label}: new, with {len(files)} files", *told]


def _name(scope: Scope, name: CarriedName) -> list[str]:
    told, versions = [], []
    try:
        slug = slug_of(name.title)
        for one in name.versions:
            model = _model_of(scope, one)
            if model is None:
                told.append(
                    f"model {name.title}, version {one.version}: left out: its files at {one.source} are not here"
                )
                continue
            versions.append(_version(slug, one, model, scope.actor))
        record = RegisteredModel(
            name=slug,
            title=name.title,
            description=name.description,
            tags=name.tags,
            aliases=name.aliases,
            created_at=name.created_at,
            updated_at=name.updated_at,
        )
        added, differences = store_registered(scope, record, versions)
    except DataError as error:
        return [*told, f"model {name.title}: left out: {error.message}"]
    told += [f"model {name.title}: {what}" for what in differences]
    return [f"model {name.title}: versions that are new: {added}", *told] if added else told


def _version(name: str, one: CarriedVersion, model: str, actor: str) -> OpaqueVersion:
    return OpaqueVersion(
        name=name,
        version=one.version,
        model=model,
        source=one.source,
        run=one.run,
        run_link=one.run_link,
        description=one.description,
        tags=one.tags,
        stage=one.stage,
        actor=actor,
        registered_at=one.created_at,
        updated_at=one.updated_at,
    )


def _model_of(scope: Scope, version: CarriedVersion) -> str | None:
    """Return the id of the model of a version: as MLflow 3 names it, or one made of files of its run, as MLflow 2 did."""
    database = scope.environment.database
    if version.source.startswith("models:/"):
        model = version.source.removeprefix("models:/")
        return model if database.get(OpaqueModel, id=model) is not None else None
    if version.run is None:
        return None
    for mark in (f"runs:/{version.run}/", f"{version.run}/artifacts/"):
        _, found, path = version.source.partition(mark)
        if found:
            return _of_files(scope, version, path.strip("/"))
    return None


def _of_files(scope: Scope, version: CarriedVersion, path: str) -> str | None:
    model = f"m-{run_id_of('mlflow', version.run or '', path)}"
    artifacts = scope.environment.database.list(Artifact, where={"run": version.run}, order="name")
    inside = [one for one in artifacts if one.name.startswith(f"{path}/")]
    if not inside:
        return None
    files = [
        OpaqueFile(model=model, name=one.name.removeprefix(f"{path}/"), sha256=one.sha256, bytes=one.bytes, at=one.at)
        for one in inside
    ]
    record = OpaqueModel(
        id=model,
        experiment=0,
        name=path,
        run=version.run,
        status="READY",
        created_at=version.created_at,
        updated_at=version.updated_at,
    )
    store_model(scope, record, files)
    return model
