"""Experiments: the questions that runs belong to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import ConflictError, DataError, NotFoundError, near
from tinymlops.records import Experiment, RunRow
from tinymlops.registry.runs.values import checked_text, tags_of
from tinymlops.stores.pseudonyms import FreeText

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping

    from tinymlops.registry.scope import Scope
    from tinymlops.stores.transaction import Transaction

__all__ = ["DEFAULT", "Experiments", "experiment_in"]

DEFAULT = Experiment(id=0, name="Default", created_at=datetime(1970, 1, 1, tzinfo=UTC))
"""The experiment of runs that name none."""
_LONGEST_NAME = 500


class Experiments:
    """The experiments of a workspace: one of the parts of `ws.runs`.

    Args:
        scope: The workspace and the actor.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._database = scope.environment.database

    def experiments(self, *, deleted: bool | None = False) -> builtins.list[Experiment]:
        """Return the experiments, by name.

        Args:
            deleted: Those in the trash, or those that are not; None for both.
        """
        found = self._database.list(Experiment)
        if all(one.id != DEFAULT.id for one in found):
            found.append(DEFAULT)
        kept = [one for one in found if deleted is None or (one.deleted_at is not None) == deleted]
        return sorted(kept, key=lambda one: one.name)

    def experiment(self, reference: str | int) -> Experiment:
        """Return an experiment by its name or its id, also one in the trash.

        Raises:
            NotFoundError: If there is none, with the near match.
        """
        found = self.experiments(deleted=None)
        named = [one for one in found if reference in (one.name, one.id)] or [
            one for one in found if str(one.id) == reference
        ]
        if not named:
            names = [one.name for one in found]
            otherwise = f"start a run in it: ws.start_run('baseline', experiment={reference!r})"
            raise NotFoundError(
                f"there is no experiment {reference!r}", hint=near(str(reference), names, otherwise=otherwise)
            )
        return named[0]

    def count_by_experiment(self) -> dict[int, int]:
        """Return how many runs each experiment has, by its id; those in the trash do not count."""
        return dict(
            self._database.rows("SELECT experiment, count(*) FROM runs WHERE deleted_at IS NULL GROUP BY experiment")
        )

    def create_experiment(
        self, name: str, *, notes: str | None = None, tags: Mapping[str, object] | None = None
    ) -> Experiment:
        """Create an experiment.

        Raises:
            ConflictError: If there is one of that name, in the trash too.
        """
        with self._scope.write("experiment.create", "", name=FreeText(_checked(name))) as tx:
            if _named(tx, name) is not None:
                raise ConflictError(f"there is an experiment {name!r}", hint="use it, or choose another name")
            return _new(tx, name, self._scope.clock(), notes=checked_text(notes, "the notes"), tags=tags_of(tags))

    def rename_experiment(self, reference: str | int, name: str) -> Experiment:
        """Give an experiment another name.

        Raises:
            ConflictError: If another one has it.
        """
        _checked(name)
        with self._scope.write("experiment.rename", str(self._stored(reference)), name=FreeText(name)) as tx:
            other = _named(tx, name)
            if other is not None and other.id != self._stored(reference):
                raise ConflictError(f"there is an experiment {name!r}", hint="choose another name")
            return self._changed(tx, reference, name=name)

    def set_experiment_tags(self, reference: str | int, tags: Mapping[str, object | None]) -> Experiment:
        """Set tags of an experiment; None removes one."""
        number = self._stored(reference)
        removed = {key for key, value in tags.items() if value is None}
        added = tags_of({key: value for key, value in tags.items() if value is not None})
        with self._scope.write("experiment.tag", str(number)) as tx:
            before = experiment_in(tx, number).tags
            kept = {key: value for key, value in before.items() if key not in removed}
            return self._changed(tx, reference, tags={**kept, **added})

    def set_experiment_notes(self, reference: str | int, notes: str | None) -> Experiment:
        """Set the notes of an experiment."""
        text = checked_text(notes, "the notes")
        with self._scope.write("experiment.notes", str(self._stored(reference))) as tx:
            return self._changed(tx, reference, notes=text)

    def trash_experiment(self, reference: str | int) -> Experiment:
        """Put an experiment and its runs into the trash.

        Raises:
            DataError: If it is the one of runs that name none.
        """
        number = self._stored(reference)
        if number == DEFAULT.id:
            raise DataError("the experiment of runs that name none cannot be deleted")
        now = self._scope.clock()
        with self._scope.write("experiment.trash", str(number)) as tx:
            for run in tx.list(RunRow, where={"experiment": number, "deleted_at": None}):
                tx.update(msgspec.structs.replace(run, deleted_at=now))
            return self._changed(tx, reference, deleted_at=now)

    def restore_experiment(self, reference: str | int) -> Experiment:
        """Take an experiment out of the trash, with the runs that were put there with it."""
        found = self.experiment(reference)
        with self._scope.write("experiment.restore", str(found.id)) as tx:
            for run in tx.list(RunRow, where={"experiment": found.id}):
                if run.deleted_at is not None and run.deleted_at == found.deleted_at:
                    tx.update(msgspec.structs.replace(run, deleted_at=None))
            return self._changed(tx, reference, deleted_at=None)

    def _stored(self, reference: str | int) -> int:
        number = self.experiment(reference).id
        assert number is not None, "a stored experiment has an id"
        return number

    def _changed(self, tx: Transaction, reference: str | int, **fields: object) -> Experiment:
        record = msgspec.structs.replace(experiment_in(tx, self._stored(reference)), **fields)
        tx.put(record)
        return record


def experiment_in(tx: Transaction, reference: str | int, *, create_at: datetime | None = None) -> Experiment:
    """Return an experiment inside a transaction.

    Args:
        tx: The transaction.
        reference: Its id, or its name.
        create_at: Create one of that name at this time if there is none.

    Raises:
        NotFoundError: If there is none and it is not to be created.
        ConflictError: If it is in the trash and runs are to be added.
    """
    found = tx.get(Experiment, id=reference) if isinstance(reference, int) else _named(tx, reference)
    if found is None and reference in (DEFAULT.id, DEFAULT.name):
        return DEFAULT
    if found is None and create_at is not None and isinstance(reference, str):
        return _new(tx, _checked(reference), create_at)
    if found is None:
        raise NotFoundError(f"there is no experiment {reference!r}", hint="list them with ws.runs.experiments()")
    if create_at is not None and found.deleted_at is not None:
        raise ConflictError(
            f"experiment {found.name!r} is in the trash", hint=f"ws.runs.restore_experiment({found.name!r})"
        )
    return found


def _new(
    tx: Transaction, name: str, at: datetime, *, notes: str | None = None, tags: dict[str, str] | None = None
) -> Experiment:
    return tx.insert(Experiment(name=name, notes=notes, tags=tags or {}, created_at=at))


def _named(tx: Transaction, name: str) -> Experiment | None:
    return DEFAULT if name == DEFAULT.name and tx.get(Experiment, id=0) is None else tx.get(Experiment, name=name)


def _checked(name: str) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise DataError(
            f"an experiment cannot be named {name!r:.300}", hint=f"use 1 to {_LONGEST_NAME} printable characters"
        )
    return name
