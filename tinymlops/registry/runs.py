"""Experiment runs: parameters, metrics, files and models, each stored when it is logged."""

from __future__ import annotations

import math
import uuid
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import ConflictError, DataError, NotFoundError, near
from tinymlops.records import Artifact, LoggedModel, Metric, Run, Scalar
from tinymlops.registry._search import compile_search
from tinymlops.registry.surroundings import git_state, package_versions
from tinymlops.secrets import without_secrets
from tinymlops.stores.pseudonyms import FreeText

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping

    from tinymlops.registry.scope import Scope
    from tinymlops.stores.transaction import Transaction

__all__ = ["Runs"]

_ENDED = ("finished", "failed")
_LONGEST_NAME = 250
_LONGEST_TEXT = 2_000


class Runs:
    """The experiment runs of a workspace.

    Args:
        scope: The workspace and the actor.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._database, self._blobs = scope.environment.database, scope.environment.blobs

    def __repr__(self) -> str:
        return f"<runs: {self._database.count(Run)}>"

    def start(
        self,
        name: str,
        *,
        training_set: str | None = None,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Run:
        """Start a run; it records the git commit, whether there are uncommitted changes, and package versions.

        Args:
            name: Its name; several runs may have the same one.
            training_set: The id of the training set build that it uses.
            params: Its first parameters.
            tags: Text to find it by.
        """
        commit, dirty = git_state(Path.cwd())
        run = Run(
            id=uuid.uuid4().hex,
            name=_checked(name, "a run's name"),
            status="running",
            params=_scalars(params or {}),
            tags={_checked(key, "a tag"): str(value) for key, value in (tags or {}).items()},
            training_set=training_set,
            git_commit=commit,
            git_dirty=dirty,
            packages=package_versions(),
            started_at=self._scope.clock(),
        )
        with self._scope.write("run.start", run.id, name=FreeText(run.name)) as tx:
            tx.insert(run)
        return run

    def log_params(self, run: str, params: Mapping[str, object]) -> Run:
        """Add parameters; a logged one keeps its value.

        Raises:
            ConflictError: If a parameter was logged with another value.
        """
        added = _scalars(params)
        with self._scope.write(audit=None) as tx:
            record = _of(tx, run)
            for name, value in added.items():
                if name in record.params and not _same(record.params[name], value):
                    raise ConflictError(
                        f"run {record.name!r} has logged {name} as {record.params[name]!r}, not {value!r}",
                        hint="log it under another name, or start a new run",
                    )
            record = msgspec.structs.replace(record, params={**record.params, **added})
            tx.update(record)
        return record

    def log_metrics(self, run: str, metrics: Mapping[str, float], *, step: int | None = None) -> Run:
        """Add one value to each metric.

        Args:
            run: Its id.
            metrics: Name to value; NaN is stored, because a diverged loss is a fact.
            step: The step of the training; by default one after the metric's last step, from 0 on.
        """
        values = {_checked(name, "a metric's name"): _number(name, value) for name, value in metrics.items()}
        with self._scope.write(audit=None) as tx:
            record = _of(tx, run)
            at = self._scope.clock()
            steps = {name: _next_step(tx, run, name) if step is None else step for name in values}
            tx.insert_many(
                Metric(run=run, name=name, step=steps[name], value=value, at=at) for name, value in values.items()
            )
            record = msgspec.structs.replace(record, metrics={**record.metrics, **values})
            tx.update(record)
        return record

    def log_artifact(self, run: str, name: str, content: str | Path | bytes) -> Artifact:
        """Store a file, or bytes, under a name; the same name again replaces it.

        Args:
            run: Its id.
            name: Such as "report.html"; it is a label, never a path.
            content: The path of a regular file, or bytes.
        """
        checked = _checked_file_name(name)
        with self._scope.publishing():
            sha256 = self._blobs.put(content) if isinstance(content, bytes) else self._blobs.put_file(Path(content))
            size = self._blobs.bytes_of(sha256)
            artifact = Artifact(run=run, name=checked, sha256=sha256, bytes=size, at=self._scope.clock())
            with self._scope.write("run.log_artifact", run, name=FreeText(name), sha256=sha256) as tx:
                _of(tx, run)
                tx.put(artifact)
        return artifact

    def log_model(self, model: LoggedModel, files: Mapping[str, bytes]) -> LoggedModel:
        """Store a model with its files; for `tinymlops.training`, which makes the record.

        Args:
            model: The record; the same run and name again replace it.
            files: SHA-256 to content of every file that the record names.

        Raises:
            DataError: If a file is not what the record names.
        """
        with self._scope.publishing():
            for sha256, content in files.items():
                if self._blobs.put(content) != sha256:
                    raise DataError(f"a file of model {model.name!r} is not the {sha256[:12]} its record names")
            with self._scope.write("run.log_model", model.run, name=FreeText(model.name), sha256=model.sha256) as tx:
                _of(tx, model.run)
                tx.put(model)
        return model

    def finish(self, run: str, *, status: str = "finished", error: str | None = None) -> Run:
        """End a run.

        Args:
            run: Its id.
            status: `finished` or `failed`.
            error: What went wrong.
        """
        if status not in _ENDED:
            raise DataError(f"a run cannot end as {status!r}", hint="use 'finished' or 'failed'")
        text = without_secrets(error)[:_LONGEST_TEXT] if error is not None else None
        with self._scope.write("run.finish", run, status=status) as tx:
            record = msgspec.structs.replace(_of(tx, run), status=status, ended_at=self._scope.clock(), error=text)
            tx.update(record)
        return record

    def get(self, reference: str) -> Run:
        """Return a run by id, by the beginning of one, or the newest by name.

        Raises:
            NotFoundError: If there is none, with the near match, or the beginning fits several.
        """
        run = self._database.get(Run, id=reference) or self._database.newest(Run, name=reference)
        return run or self._by_prefix(reference)

    def search(
        self, where: str | None = None, *, order_by: str = "-started_at", limit: int | None = 100
    ) -> builtins.list[Run]:
        """Find runs.

        Args:
            where: Comparisons joined by `and`, such as "metrics.auc > 0.7 and params.depth = 3"; fields are
                `metrics.<name>`, `params.<name>`, `tags.<name>`, `name`, `status`, `id`, `training_set` and
                `git_commit`; operators are =, !=, <, <=, > and >=; text is in quotes.
            order_by: A field, descending with a leading minus; runs without it come last.
            limit: The most runs to return; None for all.

        Raises:
            DataError: If `where` or `order_by` cannot be read.

        Example:
            >>> runs.search("metrics.auc > 0.7", order_by="-metrics.auc")  # doctest: +SKIP
        """
        sql, bound = compile_search(where, order_by, limit)
        # Otherwise a run with a damaged value would be left out silently.
        self._database.require_rows(Run)
        ids = [row[0] for row in self._database.rows(sql, bound)]
        found = {run.id: run for run in self._database.list(Run, where={"id": ids})}
        return [found[one] for one in ids if one in found]

    def metrics(self, run: str, name: str | None = None) -> builtins.list[Metric]:
        """Return the metric values that a run logged, of one name or all, in the order of logging."""
        where: dict[str, object] = {"run": run} if name is None else {"run": run, "name": name}
        return self._database.list(Metric, where=where, order="id")

    def artifacts(self, run: str) -> builtins.list[Artifact]:
        """Return the files that a run keeps, by name."""
        return self._database.list(Artifact, where={"run": run}, order="name")

    def read_artifact(self, run: str, name: str) -> bytes:
        """Return a file's content, checked against its hash.

        Raises:
            NotFoundError: If the run has none of that name.
        """
        artifact = self._database.get(Artifact, run=run, name=name)
        if artifact is None:
            known = [other.name for other in self.artifacts(run)]
            raise NotFoundError(f"the run keeps no file {name!r}", hint=near(name, known))
        return self._blobs.read(artifact.sha256)

    def models(self, run: str) -> builtins.list[LoggedModel]:
        """Return the models that a run logged, by name."""
        return self._database.list(LoggedModel, where={"run": run}, order="name")

    def _by_prefix(self, reference: str) -> Run:
        ids = []
        if reference and set(reference) <= set("0123456789abcdef"):
            # All hexadecimal ids with this prefix sort before the prefix followed by "g".
            ids = [
                row[0]
                for row in self._database.rows(
                    "SELECT id FROM runs WHERE id >= ? AND id < ? ORDER BY id LIMIT 3", (reference, reference + "g")
                )
            ]
        if len(ids) > 1:
            raise NotFoundError(
                f"{reference!r} begins the id of several runs", hint=f"write more of it: {', '.join(ids)}"
            )
        run = self._database.get(Run, id=ids[0]) if ids else None
        if run is None:
            known = [row[0] for row in self._database.rows("SELECT DISTINCT name FROM runs")]
            hint = near(reference, known, otherwise="" if known else "start one: ws.start_run('baseline')")
            raise NotFoundError(f"there is no run {reference!r}", hint=hint)
        return run


def _of(tx: Transaction, run: str) -> Run:
    record = tx.get(Run, id=run)
    if record is None:
        raise NotFoundError(f"there is no run with the id {run!r}", hint="find it with ws.runs.search()")
    return record


def _next_step(tx: Transaction, run: str, name: str) -> int:
    last = tx.list(Metric, where={"run": run, "name": name}, order="-step", limit=1)
    return last[0].step + 1 if last else 0


def _scalars(params: Mapping[str, object]) -> dict[str, Scalar]:
    return {_checked(name, "a parameter's name"): _scalar(value) for name, value in params.items()}


def _scalar(value: Any) -> Scalar:  # a parameter of any type; what is not a scalar is kept as its text
    value = _unboxed(value)
    if value is None or type(value) in (bool, int, float, str):
        scalar: Scalar = value
        return scalar
    return str(value)


def _number(name: str, value: Any) -> float:  # includes NumPy's numbers
    plain = _unboxed(value)
    if isinstance(plain, str) or plain is None:
        raise DataError(f"metric {name!r} is {value!r}, which is not a number", hint="log text as a parameter or a tag")
    try:
        return float(plain)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"metric {name!r} is not a number: {error}", hint="pass one number") from error


def _unboxed(value: Any) -> Any:  # NumPy's scalars have `item`, and so has an array of one value
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def _same(left: Scalar, right: Scalar) -> bool:
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right):
        return True
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def _checked(name: str, what: str) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise DataError(f"{what} cannot be {name!r}", hint=f"use 1 to {_LONGEST_NAME} printable characters")
    if '"' in name or "\\" in name:
        raise DataError(f"{what} cannot be {name!r}", hint="leave out quotes and backslashes")
    return name


def _checked_file_name(name: str) -> str:
    parts = PurePosixPath(_checked(name, "an artifact's name")).parts
    if ".." in parts or name.startswith("/"):
        raise DataError(f"an artifact's name cannot be {name!r}", hint="use a plain name, such as 'report.html'")
    return name
