"""Logged models of MLflow: what the client says about them, and their files under labels."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import ConflictError, DataError, NotFoundError
from tinymlops.records import OpaqueFile, OpaqueModel, OpaqueVersion, RunModel
from tinymlops.registry.runs.values import checked_file_name
from tinymlops.stores.pseudonyms import FreeText

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable, Mapping

    from tinymlops.records import Artifact
    from tinymlops.registry.scope import Scope
    from tinymlops.stores.publish import Published
    from tinymlops.stores.transaction import Transaction

__all__ = ["OpaqueModels"]

_STATUSES = ("PENDING", "READY", "UPLOAD_FAILED")
_MOST_METRICS = 1_000


class OpaqueModels:
    """The logged models of MLflow in a workspace.

    Args:
        scope: Who works on which workspace.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._database = scope.environment.database

    def __repr__(self) -> str:
        return f"<opaque models: {self._database.count(OpaqueModel, {'deleted_at': None})}>"

    def create(
        self,
        name: str,
        *,
        experiment: int = 0,
        run: str | None = None,
        model_type: str = "",
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> OpaqueModel:
        """Begin a model: `PENDING` until `finish`.

        Args:
            name: Any text; several models may have the same one.
            experiment: Id of its experiment.
            run: Id of the run that logs it.
            model_type: As the client says.
            params: As the client says.
            tags: As the client says.
        """
        now = self._scope.clock()
        model = OpaqueModel(
            id=f"m-{uuid.uuid4().hex}",
            experiment=experiment,
            name=name,
            run=run,
            model_type=model_type,
            params=dict(params or {}),
            tags=dict(tags or {}),
            created_at=now,
            updated_at=now,
        )
        with self._scope.write("opaque_model.create", model.id, name=FreeText(name), run=run) as tx:
            tx.insert(model)
        return model

    def get(self, model: str, *, deleted: bool = False) -> OpaqueModel:
        """Return a model.

        Args:
            model: Its id.
            deleted: Return it also if it was deleted.

        Raises:
            NotFoundError: If there is none.
        """
        found = self._database.get(OpaqueModel, id=model)
        if found is None or (found.deleted_at is not None and not deleted):
            raise _unknown(model)
        return found

    def list(self, experiments: Iterable[int] | None = None) -> builtins.list[OpaqueModel]:
        """Return the models that were not deleted, the newest first; of some experiments or of all."""
        where: dict[str, object] = {"deleted_at": None}
        if experiments is not None:
            where["experiment"] = list(experiments)
        return self._database.list(OpaqueModel, where=where, order="-created_at")

    def change(
        self,
        model: str,
        *,
        status: str | None = None,
        tags: Mapping[str, str | None] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> OpaqueModel:
        """Change what is said about a model.

        Args:
            model: Its id.
            status: `READY` or `UPLOAD_FAILED` once its files are there.
            tags: To set; None in place of a value removes one.
            params: To add.

        Raises:
            DataError: If there is no such status.
            ConflictError: If a param has another value.
        """
        if status is not None and status not in _STATUSES:
            raise DataError(f"a model cannot be {status!r}", hint=f"use one of {', '.join(_STATUSES)}")
        with self._scope.write("opaque_model.change", model, status=status) as tx:
            before = _of(tx, model)
            wrong = next((key for key, value in (params or {}).items() if before.params.get(key, value) != value), None)
            if wrong is not None:
                raise ConflictError(f"the model has the param {wrong!r} with another value", hint="a param stays")
            kept = {key: value for key, value in {**before.tags, **(tags or {})}.items() if value is not None}
            after = msgspec.structs.replace(
                before,
                status=status or before.status,
                tags=kept,
                params={**before.params, **(params or {})},
                updated_at=self._scope.clock(),
            )
            tx.update(after)
        return after

    def log_metrics(self, metrics: Mapping[str, builtins.list[dict[str, Any]]]) -> None:
        """Keep the last value of each metric and dataset of models; of a model that is unknown nothing is kept.

        Args:
            metrics: Id of a model to points, as MLflow spells them.

        Raises:
            DataError: If a model has too many metrics.
        """
        with self._scope.write(audit=None) as tx:
            for model, points in metrics.items():
                record = tx.get(OpaqueModel, id=model)
                if record is None:
                    continue
                last = {_series(point): point for point in record.metrics}
                for point in points:
                    if _series(point) not in last or _order(last[_series(point)]) <= _order(point):
                        last[_series(point)] = point
                if len(last) > _MOST_METRICS:
                    raise DataError(
                        f"a model keeps {_MOST_METRICS} metrics, not {len(last)}", hint="log the rest to its run"
                    )
                tx.update(msgspec.structs.replace(record, metrics=list(last.values())))

    def delete(self, model: str) -> None:
        """Put a model where `get` does not find it; its files stay for versions that were registered of it."""
        with self._scope.write("opaque_model.delete", model) as tx:
            tx.update(msgspec.structs.replace(_of(tx, model), deleted_at=self._scope.clock()))

    def purge(self, model: str) -> None:
        """Remove a model and its files for good, deleted or not; the next `gc` frees their disk.

        Raises:
            ConflictError: If a version was registered of it.
        """
        self.get(model, deleted=True)
        with self._scope.write("opaque_model.purge", model) as tx:
            if tx.list(OpaqueVersion, where={"model": model}, limit=1):
                raise ConflictError(f"a version was registered of model {model}", hint="delete the version first")
            for cls in (OpaqueFile, RunModel):
                tx.delete(cls, model=model)
            tx.delete(OpaqueModel, id=model)

    def link(self, run: str, models: Mapping[str, int], direction: str) -> None:
        """Say that a run read (`input`) or made (`output`) models.

        Args:
            run: Its id.
            models: Id of each model to the step.
            direction: `input` or `output`.
        """
        with self._scope.write(audit=None) as tx:
            tx.put_many(RunModel(run=run, model=one, direction=direction, step=step) for one, step in models.items())

    def links(self, runs: builtins.list[str]) -> builtins.list[RunModel]:
        """Return what these runs read and made."""
        return self._database.list(RunModel, where={"run": runs})

    def put_file(self, model: str, name: str, publish: Callable[[], Published]) -> OpaqueFile:
        """Store a file of a model.

        Args:
            model: Its id.
            name: A label, such as "data/model.skops".
            publish: Stores the file in `blobs`.

        Raises:
            ConflictError: If a registered version has another file of that name.
        """
        label = checked_file_name(name)
        with self._scope.publishing():
            published = publish()
            file = OpaqueFile(
                model=model, name=label, sha256=published.sha256, bytes=published.bytes, at=self._scope.clock()
            )
            with self._scope.write("opaque_model.put_file", model, name=FreeText(label), sha256=file.sha256) as tx:
                _of(tx, model)
                before = tx.get(OpaqueFile, model=model, name=label)
                is_other = before is None or before.sha256 != file.sha256
                if is_other and tx.list(OpaqueVersion, where={"model": model}, limit=1):
                    raise ConflictError(
                        f"a version was registered of model {model}, so its files stay as they are",
                        hint="log a new model",
                    )
                tx.put(file)
        return file

    def files(self, model: str) -> builtins.list[OpaqueFile]:
        """Return the files of a model, by name."""
        return self._database.list(OpaqueFile, where={"model": model}, order="name")

    def delete_files(self, model: str, names: Iterable[str]) -> None:
        """Remove files of a model.

        Raises:
            ConflictError: If a version was registered of it.
        """
        with self._scope.write("opaque_model.delete_files", model) as tx:
            if tx.list(OpaqueVersion, where={"model": model}, limit=1):
                raise ConflictError(
                    f"a version was registered of model {model}, so its files stay", hint="delete the version first"
                )
            for name in names:
                tx.delete(OpaqueFile, model=model, name=name)

    def of_artifacts(self, run: str, experiment: int, name: str, artifacts: Iterable[Artifact]) -> OpaqueModel:
        """Make a model of files that a run keeps, without copying them.

        Args:
            run: Its id.
            experiment: Id of the run's experiment.
            name: Of the model.
            artifacts: With the names that they have in the model.
        """
        now = self._scope.clock()
        model = OpaqueModel(
            id=f"m-{uuid.uuid4().hex}",
            experiment=experiment,
            name=name,
            run=run,
            status="READY",
            created_at=now,
            updated_at=now,
        )
        with self._scope.write("opaque_model.create", model.id, run=run) as tx:
            tx.insert(model)
            tx.insert_many(
                OpaqueFile(model=model.id, name=one.name, sha256=one.sha256, bytes=one.bytes, at=now)
                for one in artifacts
            )
        return model


def _of(tx: Transaction, model: str) -> OpaqueModel:
    found = tx.get(OpaqueModel, id=model)
    if found is None or found.deleted_at is not None:
        raise _unknown(model)
    return found


def _unknown(model: str) -> NotFoundError:
    return NotFoundError(f"there is no logged model {model[:100]!r}", hint="search-logged-models lists them")


def _series(point: dict[str, Any]) -> tuple[Any, ...]:
    return point["key"], point.get("dataset_name"), point.get("dataset_digest"), point.get("run_id")


def _order(point: dict[str, Any]) -> tuple[int, int]:
    return point["step"], point["timestamp"]
