"""Runs that a client logs over HTTP: what comes in one request is one commit, and is known again if it is sent twice."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from tinymlops.errors import ConflictError, DataError, NotFoundError, near
from tinymlops.records import Artifact, Run, RunInput, RunModel, RunRow, TrainingSetBuild
from tinymlops.registry.runs.changing import RunChange, changed, row_of
from tinymlops.registry.runs.compared import compile_comparisons
from tinymlops.registry.runs.values import checked_file_name, checked_name, scalars, step_of, tags_of
from tinymlops.stores.live_runs import HTTP
from tinymlops.stores.pseudonyms import FreeText

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from io import BufferedReader

    from tinymlops.registry.comparisons import Comparison, Order
    from tinymlops.registry.runs.log import RunLog
    from tinymlops.registry.runs.points import Points
    from tinymlops.registry.scope import Scope
    from tinymlops.stores.publish import Published, Unfinished
    from tinymlops.stores.transaction import Transaction

__all__ = ["Batch", "RemoteRuns"]

_MINUTE = timedelta(minutes=1)


class Batch(NamedTuple):
    """What one request logs to a run."""

    points: Mapping[str, Points] = {}
    params: Mapping[str, str] = {}
    tags: Mapping[str, str | None] = {}
    """None in place of a value removes one."""
    fields: Mapping[str, str | None] = {}
    """`name`, `notes` and `parent`."""


class _Noun(Protocol):
    """What is used of `Runs`, which this is a part of."""

    log: RunLog

    def get(self, reference: str) -> Run: ...
    def of_ids(self, ids: Sequence[str]) -> list[Run]: ...


class RemoteRuns:
    """Runs as clients over HTTP see them: by their full id, outside of the trash.

    Args:
        scope: The workspace and the actor.
        runs: The noun that this is a part of.
    """

    def __init__(self, scope: Scope, runs: _Noun) -> None:
        self._scope, self._runs = scope, runs
        self._database = scope.environment.database

    def __repr__(self) -> str:
        return f"<runs of clients: {self._database.count(RunRow, {'origin': HTTP})}>"

    def get(self, run: str) -> Run:
        """Return a run by its id, also one in the trash.

        Raises:
            NotFoundError: If there is none.
        """
        row = self._database.get(RunRow, id=run)
        if row is None:
            raise NotFoundError(f"there is no run with the id {run[:100]!r}", hint="runs/search lists them")
        return self._runs.get(run)

    def log(self, run: str, batch: Batch) -> None:
        """Log points, params and tags, and return when they are durable: all of them or none.

        Args:
            run: Its id.
            batch: A point that is there already, equal in step, time and value, counts once.

        Raises:
            NotFoundError: If there is no such run, or tag to remove.
            ConflictError: If it is in the trash, or a param has another value.
        """
        for name, points in batch.points.items():
            checked_name(name, "a metric's name")
            for step in (points.steps.min(), points.steps.max()):
                step_of(float(step))
        removed = [key for key, value in batch.tags.items() if value is None]
        tags = tags_of({key: value for key, value in batch.tags.items() if value is not None})
        fields = dict(batch.fields)
        if fields.get("name") is not None:
            checked_name(str(fields["name"]), "a run's name")
        change = RunChange(run, params=scalars(batch.params), tags=tags, fields=fields)
        now = self._scope.clock()

        def work(tx: Transaction) -> None:
            from tinymlops.registry.runs.storing import seal, store_points

            before = _active(tx, run)
            if fields.get("parent") == run:
                raise DataError("a run cannot be the parent of itself", hint="name another run")
            for key in removed:
                if key not in before.tags:
                    raise NotFoundError(f"the run has no tag {key[:100]!r}", hint=near(key, before.tags))
            if batch.points:
                store_points(tx, run, before.session, batch.points)
                if before.status != "running":
                    seal(tx, run, batch.points)
            record = before
            if change.params or change.tags or change.fields:
                changed(tx, run, [change])
                record = row_of(tx, run)
            if removed:
                kept = {key: value for key, value in record.tags.items() if key not in removed}
                record = msgspec.structs.replace(record, tags=kept)
                tx.update(record)
            _seen(tx, record, now)

        self._runs.log.flush()
        self._scope.write_together(work)

    def resume(self, run: str) -> None:
        """Let a run that has ended go on: its points stand beside those before, as the client wants them.

        Raises:
            ConflictError: If it was not logged by a client: only a process can let that go on.
        """
        now = self._scope.clock()
        if self._runs.get(run).origin != HTTP:
            raise ConflictError(
                f"run {run} was not logged over HTTP, so a client cannot let it go on",
                hint="resume it in Python: ws.start_run(name, resume=run)",
            )
        with self._scope.write("run.resume", run) as tx:
            before = _active(tx, run)
            tx.update(msgspec.structs.replace(before, status="running", ended_at=None, error=None, seen_at=now))

    def log_inputs(self, run: str, inputs: Sequence[RunInput], models: Iterable[str] = ()) -> None:
        """Say which datasets and models a run read; one whose digest is a training set build joins its lineage.

        Args:
            run: Its id.
            inputs: The datasets.
            models: Ids of logged models.
        """
        now = self._scope.clock()

        def work(tx: Transaction) -> None:
            before = _active(tx, run)
            builds = []
            for one in inputs:
                build = tx.get(TrainingSetBuild, id=one.digest)
                builds += [] if build is None else [build.id]
                tx.put(msgspec.structs.replace(one, training_set=build.id if build is not None else None))
            if builds and before.training_set is None:
                tx.update(msgspec.structs.replace(before, training_set=builds[0]))
            tx.put_many(RunModel(run=run, model=one, direction="input") for one in models)
            _seen(tx, row_of(tx, run), now)

        self._scope.write_together(work)

    def search(
        self,
        comparisons: Sequence[Comparison],
        orders: Sequence[Order],
        *,
        experiments: builtins.list[int],
        deleted: bool | None = False,
        start: int = 0,
        limit: int = 1_000,
    ) -> builtins.list[Run]:
        """Find runs.

        Args:
            comparisons: All must hold.
            orders: What to order by, then the newest first.
            experiments: Ids of theirs.
            deleted: Those in the trash, or those that are not; None for both.
            start: How many to pass over.
            limit: The most to return.

        Raises:
            DataError: If a comparison cannot be.
        """
        self._runs.log.flush()
        fields = [one.field for one in comparisons] + [one.field for one in orders]
        lost = self._lost() if any(one.name == "status" for one in fields) else []
        sql, bound = compile_comparisons(
            comparisons, orders, experiments=experiments, deleted=deleted, lost=lost, start=start, limit=limit
        )
        return self._runs.of_ids([row[0] for row in self._database.rows(sql, bound)])

    def _lost(self) -> builtins.list[str]:
        """Return the ids of the runs that are stored as running and go on no more."""
        going = self._database.rows("SELECT id FROM runs WHERE status = 'running'")
        return [one.id for one in self._runs.of_ids([row[0] for row in going]) if one.status == "lost"]

    def inputs(self, runs: builtins.list[str]) -> builtins.list[RunInput]:
        """Return the datasets that runs read."""
        return self._database.list(RunInput, where={"run": runs}, order="name")

    def datasets(self, experiments: builtins.list[int]) -> builtins.list[tuple[int, str, str, str]]:
        """Return experiment, name, digest and context of each dataset that runs of experiments read."""
        marks = ", ".join("?" * len(experiments))
        rows = self._database.rows(
            "SELECT DISTINCT r.experiment, i.name, i.digest, i.context FROM run_inputs i JOIN runs r ON r.id = i.run "
            f"WHERE r.deleted_at IS NULL AND r.experiment IN ({marks}) ORDER BY 1, 2, 3, 4",
            experiments,
        )
        return [(int(row[0]), row[1], row[2], row[3]) for row in rows]

    def begin_file(self) -> Unfinished:
        """Begin a file whose content comes piece by piece."""
        return self._scope.environment.blobs.begin()

    def publish(self, file: Unfinished) -> Published:
        """Make a file that was begun durable under its hash; for `put_artifact` and its like."""
        return self._scope.environment.blobs.publish(file)

    def open_file(self, sha256: str) -> BufferedReader:
        """Open a stored file for reading, after it was compared with its hash."""
        return self._scope.environment.blobs.open(sha256)

    def put_artifact(self, run: str, name: str, publish: Callable[[], Published]) -> Artifact:
        """Store a file of a run.

        Args:
            run: Its id.
            name: A label, never a path.
            publish: Stores the file in `blobs`.
        """
        label = checked_file_name(name)
        with self._scope.publishing():
            published = publish()
            artifact = Artifact(
                run=run, name=label, sha256=published.sha256, bytes=published.bytes, at=self._scope.clock()
            )
            with self._scope.write("run.log_artifact", run, name=FreeText(label), sha256=artifact.sha256) as tx:
                _active(tx, run)
                tx.put(artifact)
                _seen(tx, row_of(tx, run), artifact.at)
        return artifact

    def delete_artifacts(self, run: str, names: Iterable[str]) -> None:
        """Remove files of a run; `gc` frees their disk.

        Args:
            run: Its id.
            names: Their names.
        """
        with self._scope.write("run.delete_artifacts", run) as tx:
            _active(tx, run)
            for name in names:
                tx.delete(Artifact, run=run, name=name)


def _active(tx: Transaction, run: str) -> RunRow:
    record = row_of(tx, run)
    if record.deleted_at is not None:
        raise ConflictError(f"run {run} is in the trash", hint="restore it first")
    return record


def _seen(tx: Transaction, record: RunRow, now: datetime) -> None:
    """Keep, to the minute, when a client last wrote to a run, so that one that goes silent is known as lost."""
    if record.origin == HTTP and (record.seen_at is None or now - record.seen_at >= _MINUTE):
        tx.update(msgspec.structs.replace(record, seen_at=now.replace(second=0, microsecond=0)))
