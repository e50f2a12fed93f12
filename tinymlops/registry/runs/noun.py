"""Experiment runs: parameters, metrics, files and models, each stored when it is logged."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tinymlops._warn import warn
from tinymlops.errors import DataError, NotFoundError, near
from tinymlops.records import Artifact, LoggedModel, Run, RunInput, RunRow
from tinymlops.registry.run_search import find_runs
from tinymlops.registry.runs.changing import RunChange, changed, row_of
from tinymlops.registry.runs.deleting import delete_run, restore_run, trash_run
from tinymlops.registry.runs.experiments import experiment_in
from tinymlops.registry.runs.log import RunLog
from tinymlops.registry.runs.measuring import MeasuredRuns
from tinymlops.registry.runs.remote import RemoteRuns
from tinymlops.registry.runs.standing import RunSurroundings
from tinymlops.registry.runs.summed import with_metrics
from tinymlops.registry.runs.values import (
    checked_file_name,
    checked_name,
    checked_text,
    scalars,
    step_of,
    tags_of,
)
from tinymlops.secrets import without_secrets
from tinymlops.stores.pseudonyms import FreeText

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from tinymlops.registry.run_search import Condition, Order
    from tinymlops.registry.scope import Scope
    from tinymlops.stores.transaction import Transaction

__all__ = ["Runs"]

_ENDED = ("finished", "failed", "killed")
_LONGEST_ERROR = 2_000


class Runs(MeasuredRuns):
    """The experiment runs of a workspace.

    Args:
        scope: The workspace and the actor.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._blobs, self._live = scope.environment.blobs, scope.environment.live
        self.log = RunLog(scope)
        self._surroundings = RunSurroundings(scope, self.log)
        self.remote = RemoteRuns(scope, self)

    def __repr__(self) -> str:
        return f"<runs: {self._database.count(RunRow)}>"

    def close(self) -> None:
        """Write what is pending."""
        self._surroundings.wait()
        self.log.close()

    def start(
        self,
        name: str,
        *,
        experiment: str | int | None = None,
        group: str | None = None,
        parent: str | None = None,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        notes: str | None = None,
        training_set: str | None = None,
        origin: str | None = None,
        id: str | None = None,  # noqa: A002 - the field's name
        started_at: datetime | None = None,
        patch: bool = True,
    ) -> Run:
        """Start a run: it goes on until it is finished, or this process ends.

        Commit, packages and machine are read in the background once a process, so the first run may get them later.

        Args:
            name: Its name; several runs may have the same one.
            experiment: The name of its experiment, created if need be, or its id.
            group: What it is one of, such as the seeds of one configuration.
            parent: The id of the run that starts it.
            params: Its first parameters.
            tags: Text to find it by.
            notes: What people should know of it.
            training_set: The id of the training set build that it uses.
            origin: `http` for one that a client logs, or what it was imported from.
            id: Its id, 32 hexadecimal digits; made if it is None.
            started_at: When it began; by default now.
            patch: Whether to keep the uncommitted changes of the code.

        Raises:
            NotFoundError: If there is no such parent, or experiment of that id.
            ConflictError: If the experiment is in the trash, or there is a run of that id.
        """
        record = RunRow(
            id=id or uuid.uuid4().hex,
            name=checked_name(name, "a run's name"),
            status="running",
            params=scalars(params),
            tags=tags_of(tags),
            training_set=training_set,
            started_at=started_at or self._scope.clock(),
            group=None if group is None else checked_name(group, "a group"),
            parent=parent,
            notes=checked_text(notes, "the notes"),
            user=self._scope.actor,
            origin=origin,
        )
        if origin is not None:
            return self._insert(record, experiment)
        self._live.begin(record.id)
        try:
            with self._surroundings.of(record.id, patch=patch) as columns:
                return self._insert(msgspec.structs.replace(record, **columns), experiment)
        except BaseException:
            self._live.end(record.id)
            raise

    def _insert(self, record: RunRow, experiment: str | int | None) -> Run:
        with self._scope.write("run.start", record.id, name=FreeText(record.name)) as tx:
            if record.parent is not None:
                row_of(tx, record.parent)
            if experiment is not None:
                number_ = experiment_in(tx, experiment, create_at=self._scope.clock()).id
                record = msgspec.structs.replace(record, experiment=number_)
            tx.insert(record)
        return Run(**msgspec.structs.asdict(record))

    def resume(self, reference: str) -> Run:
        """Let a run that has ended, or was lost, go on in this process.

        Steps that it logs again supersede those that were logged before; those stay readable.

        Raises:
            ConflictError: If it goes on, here or in another process.
        """
        run = self.get(reference)
        self._live.begin(run.id)
        try:
            with self._scope.write("run.resume", run.id) as tx:
                before = row_of(tx, run.id)
                record = msgspec.structs.replace(
                    before, status="running", ended_at=None, error=None, session=before.session + 1
                )
                tx.update(record)
        except BaseException:
            self._live.end(run.id)
            raise
        return self.get(run.id)

    def log_params(self, run: str, params: Mapping[str, object]) -> Run:
        """Add parameters; a logged one keeps its value.

        Raises:
            ConflictError: If a parameter was logged with another value.
        """
        return self._change(RunChange(run, params=scalars(params)))

    def set_tags(self, run: str, tags: Mapping[str, object]) -> Run:
        """Set tags; one of the same name is replaced."""
        return self._change(RunChange(run, tags=tags_of(tags)))

    def delete_tag(self, run: str, name: str) -> Run:
        """Remove a tag.

        Raises:
            NotFoundError: If the run has none of that name.
        """
        with self._scope.write(audit=None) as tx:
            record = row_of(tx, run)
            if name not in record.tags:
                raise NotFoundError(f"run {record.name!r} has no tag {name!r}", hint=near(name, list(record.tags)))
            kept = {key: value for key, value in record.tags.items() if key != name}
            tx.update(msgspec.structs.replace(record, tags=kept))
        return self.get(run)

    def set_notes(self, run: str, notes: str | None) -> Run:
        """Set the notes of a run."""
        return self._change(RunChange(run, fields={"notes": checked_text(notes, "the notes")}))

    def rename(self, run: str, name: str) -> Run:
        """Give a run another name."""
        return self._change(RunChange(run, fields={"name": checked_name(name, "a run's name")}))

    def log_input(self, record: RunInput) -> RunInput:
        """Say which dataset a run read; the same again replaces it."""
        with self._scope.write(audit=None) as tx:
            row_of(tx, record.run)
            tx.put(record)
        return record

    def inputs(self, run: str) -> builtins.list[RunInput]:
        """Return the datasets that a run read, by name."""
        return self._database.list(RunInput, where={"run": run}, order="name")

    def log_artifact(
        self,
        run: str,
        name: str,
        content: str | Path | bytes,
        *,
        kind: str = "file",
        series: str | None = None,
        step: float | None = None,
    ) -> Artifact:
        """Store a file, or bytes, under a name; the same name again replaces it.

        Args:
            run: Its id.
            name: Such as "plots/roc.png"; it is a label, never a path.
            content: The path of a regular file, or bytes.
            kind: `file`, `text`, `table`, `figure` or `image`.
            series: What it is one step of.
            step: Which step.
        """
        checked = checked_file_name(name)
        at_step = None if step is None else step_of(step)
        with self._scope.publishing():
            sha256 = self._blobs.put(content) if isinstance(content, bytes) else self._blobs.put_file(Path(content))
            artifact = Artifact(
                run=run,
                name=checked,
                sha256=sha256,
                bytes=self._blobs.bytes_of(sha256),
                at=self._scope.clock(),
                kind=kind,
                series=series,
                step=at_step,
            )
            with self._scope.write("run.log_artifact", run, name=FreeText(name), sha256=sha256) as tx:
                row_of(tx, run)
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
                row_of(tx, model.run)
                tx.put(model)
        return model

    def finish(
        self, run: str, *, status: str = "finished", error: str | None = None, ended_at: datetime | None = None
    ) -> Run:
        """End a run: what it logged is written, and its points are sealed.

        Args:
            run: Its id.
            status: `finished`, `failed` or `killed`.
            error: What went wrong.
            ended_at: When it ended; by default now.

        Raises:
            TinyMLOpsError: If something that it logged could not be written.
        """
        if status not in _ENDED:
            raise DataError(f"a run cannot end as {status!r}", hint="use 'finished', 'failed' or 'killed'")
        text = without_secrets(error)[:_LONGEST_ERROR] if error is not None else None
        end = {"status": status, "ended_at": ended_at or self._scope.clock(), "error": text}

        def work(tx: Transaction) -> None:
            from tinymlops.registry.runs.storing import seal

            changed(tx, run, [RunChange(run, fields=end)])
            seal(tx, run)
            tx.audit("run.finish", run, status=status)

        self.log.commit_with(work)
        self._live.end(run)
        self.log.require(run)
        return self.get(run)

    def get(self, reference: str) -> Run:
        """Return a run by id, by the beginning of one, or the newest by name; one whose process ended early is `lost`.

        Raises:
            NotFoundError: If there is none, with the near match, or the beginning fits several.
        """
        self.log.flush()
        row = self._database.get(RunRow, id=reference) or self._database.newest(RunRow, name=reference, deleted_at=None)
        return self._complete([row or self._by_prefix(reference)])[0]

    def search(
        self,
        where: str | Condition | None = None,
        *,
        order_by: str | Sequence[str | Order] = "-started_at",
        limit: int | None = 100,
        offset: int = 0,
    ) -> builtins.list[Run]:
        """Find runs.

        A run that lacks a field is found neither by a condition on it nor by its opposite, only by `is null`.

        Args:
            where: Such as "metrics.auc.best > 0.7 and (params.depth in (3, 5) or not tags.team like 'ops%')". Fields are
                `metrics.<name>` with `.best`, `.last`, `.min`, `.max`, `.count` or `.step`, `params.<name>`, `tags.<name>`,
                and those of a run, such as `experiment`, `group`, `status` or `started_at`.
            order_by: A field, descending with a leading minus, or several; runs without it come last.
            limit: The most runs to return; None for all.
            offset: How many to leave out before them.

        Raises:
            DataError: If `where` or `order_by` cannot be read.
            IntegrityError: If a row that the search rests on is not what was written.

        Example:
            >>> runs.search("metrics.auc > 0.7 or tags.keep = 'yes'", order_by="-metrics.auc.best")  # doctest: +SKIP
        """
        return self.of_ids(self.ids(where, order_by=order_by, limit=limit, offset=offset))

    def ids(
        self,
        where: str | Condition | None = None,
        *,
        order_by: str | Sequence[str | Order] = "-started_at",
        limit: int | None = None,
        offset: int = 0,
        tell: Callable[[str], None] = warn,
    ) -> builtins.list[str]:
        """Return the ids of the runs that `search` finds, in order: quicker, where few of many are then looked at.

        Args:
            where: As for `search`, as are the others.
            order_by: The order.
            limit: The most ids; None for all.
            offset: How many to leave out before them.
            tell: Called with what is most likely a mistake, such as a name that no run has.
        """
        self.log.flush()
        clock = self._scope.clock
        return find_runs(self._database, where, order_by, limit, offset, clock=clock, lost=self._lost, tell=tell)

    def children(self, run: str) -> builtins.list[Run]:
        """Return the runs whose parent a run is, in the order of their start; those in the trash are among them."""
        self.log.flush()
        return self._complete(self._database.list(RunRow, where={"parent": run}, order="started_at"))

    def of_ids(self, ids: Sequence[str]) -> builtins.list[Run]:
        """Return runs by their full ids, in that order; those that are not there are left out."""
        found = {run.id: run for run in self._complete(self._database.list(RunRow, where={"id": list(ids)}))}
        return [found[one] for one in ids if one in found]

    def models(self, run: str) -> builtins.list[LoggedModel]:
        """Return the models that a run logged, by name."""
        return self._database.list(LoggedModel, where={"run": run}, order="name")

    def trash(self, run: str) -> None:
        """Put a run into the trash: searches leave it out, and it can be restored."""
        trash_run(self._scope, run)

    def restore(self, run: str) -> None:
        """Take a run out of the trash."""
        restore_run(self._scope, run)

    def delete(self, run: str) -> None:
        """Delete a run for good, and free the disk that it took; what is left is that it was there.

        Raises:
            ConflictError: If it goes on, a registered model version comes from it, or it is the parent of other runs.
        """
        delete_run(self._scope, self.get(run))

    def _change(self, change: RunChange) -> Run:
        self.log.flush()
        with self._scope.write(audit=None) as tx:
            changed(tx, change.run, [change])
        return self.get(change.run)

    def _complete(self, rows: Iterable[RunRow]) -> builtins.list[Run]:
        """Return runs with their metrics, and those as lost that go on no more."""
        return self._live.judged(with_metrics(self._database, list(rows)), self._scope.clock)

    def _lost(self) -> builtins.list[str]:
        rows = self._database.list(RunRow, where={"status": "running"})
        judged = self._live.judged([Run(**msgspec.structs.asdict(row)) for row in rows], self._scope.clock)
        return [run.id for run in judged if run.status == "lost"]

    def _by_prefix(self, reference: str) -> RunRow:
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
        run = self._database.get(RunRow, id=ids[0]) if ids else None
        if run is None:
            known = [row[0] for row in self._database.rows("SELECT DISTINCT name FROM runs")]
            hint = near(reference, known, otherwise="" if known else "start one: ws.start_run('baseline')")
            raise NotFoundError(f"there is no run {reference!r}", hint=hint)
        return run
