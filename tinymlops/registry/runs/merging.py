"""Store a run that comes from elsewhere: all of it or nothing; one that is here already gets what it lacks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from tinymlops.errors import ConflictError
from tinymlops.records import ConsoleText, DeletedRun, Experiment, RunRow
from tinymlops.registry.runs.experiments import DEFAULT
from tinymlops.registry.runs.storing import seal, store_points, store_sealed
from tinymlops.registry.runs.values import same
from tinymlops.registry.runs.whole import WholeRun, read_run
from tinymlops.stores.pseudonyms import FreeText

if TYPE_CHECKING:
    from tinymlops.registry.runs.points import Points
    from tinymlops.registry.runs.whole import Stored
    from tinymlops.registry.scope import Scope
    from tinymlops.stores.transaction import Transaction

__all__ = ["Merge", "compared", "experiment_for", "merge", "tombstone_of"]

_EXACT = (
    "name",
    "started_at",
    "training_set",
    "git_commit",
    "git_dirty",
    "group",
    "parent",
    "notes",
    "user",
    "patch_sha256",
)
_MAPPINGS = ("params", "tags", "packages", "machine")


@dataclass(kw_only=True)
class Merge:
    """What a run from elsewhere has that is not here, and where the two differ."""

    here: WholeRun | None
    row: RunRow
    """As it will be."""
    points: dict[str, Points] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    models: list[Any] = field(default_factory=list)
    console: list[Any] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    """Where both have something, and not the same: what is here stays, except files of an `update`."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to store."""
        lists = (self.points, self.artifacts, self.inputs, self.models, self.console)
        return self.here is None or any(lists) or self.row != self.here.row


def merge(scope: Scope, whole: WholeRun, *, update: bool, origin: str) -> Merge:
    """Store a run, or what is new of it, in one transaction; its files are there already.

    Args:
        scope: The workspace and the actor.
        whole: The run.
        update: Let files of the run replace those of the same name, and later ends earlier ones: for a source that goes on.
            Otherwise a difference is refused.
        origin: Where it comes from, for the audit log.

    Raises:
        ConflictError: If the run was deleted here, or differs and this is no update.
    """
    found = compared(scope.environment.database, whole, update=update)
    if not found.changes:
        return found
    with scope.write("run.import", whole.row.id, name=FreeText(whole.row.name), origin=origin) as tx:
        found = compared(tx, whole, update=update)
        if found.differences and not update:
            raise ConflictError(
                f"run {whole.row.name!r} ({whole.row.id[:12]}) is here with other content: {'; '.join(found.differences)}"
            )
        _store(tx, found, whole)
    return found


def compared(source: Stored, whole: WholeRun, *, update: bool) -> Merge:
    """Return what a run has that is not here, without storing it.

    Raises:
        ConflictError: If the run was deleted here.
    """
    here = read_run(source, whole.row.id, console=bool(whole.console))
    if here is None:
        gone = tombstone_of(source, whole.row.id)
        if gone is not None:
            raise ConflictError(
                f"run {gone.name!r} ({gone.id[:12]}) was deleted here at {gone.deleted_at:%Y-%m-%d %H:%M} UTC",
                hint="it stays deleted",
            )
        return Merge(
            here=None,
            row=whole.row,
            points=dict(whole.points),
            artifacts=list(whole.artifacts),
            inputs=list(whole.inputs),
            models=list(whole.models),
            console=list(whole.console),
        )
    found = Merge(here=here, row=_row(here.row, whole.row, update=update))
    found.differences += _row_differences(here, whole)
    _compare_points(found, here, whole)
    _compare_lists(found, here, whole, update=update)
    return found


def experiment_for(tx: Transaction, wanted: Experiment) -> Experiment:
    """Return the experiment of this name, created as it is wanted if there is none."""
    if wanted.name == DEFAULT.name:
        return tx.get(Experiment, id=DEFAULT.id) or DEFAULT
    return tx.get(Experiment, name=wanted.name) or tx.insert(msgspec.structs.replace(wanted, id=None))


def tombstone_of(source: Stored, run: str) -> DeletedRun | None:
    """Return what is left of a run that was deleted for good."""
    return source.get(DeletedRun, id=run)


def _store(tx: Transaction, found: Merge, whole: WholeRun) -> None:
    if found.here is None:
        experiment = experiment_for(tx, whole.experiment)
        deleted_at = found.row.deleted_at or experiment.deleted_at
        assert experiment.id is not None, "a stored experiment has an id"
        tx.insert(msgspec.structs.replace(found.row, experiment=experiment.id, deleted_at=deleted_at))
    elif found.row != found.here.row:
        tx.update(found.row)
    known = found.here.points if found.here is not None else {}
    store_sealed(tx, found.row.id, {name: points for name, points in found.points.items() if name not in known})
    grown = {name: points for name, points in found.points.items() if name in known}
    for session in sorted({int(one) for points in grown.values() for one in np.unique(points.sessions)}):
        parts = {name: points.take(points.sessions == session) for name, points in grown.items()}
        store_points(tx, found.row.id, session, {name: part for name, part in parts.items() if part.size})
    seal(tx, found.row.id, grown)
    for records in (found.artifacts, found.inputs, found.models):
        tx.put_many(records)
    tx.insert_many(msgspec.structs.replace(one, id=None) for one in found.console)


def _row(here: RunRow, there: RunRow, *, update: bool) -> RunRow:
    """Return the row here with what the other one has beside it."""
    filled: dict[str, Any] = {}
    for name in _EXACT:
        if getattr(here, name) is None and getattr(there, name) is not None:
            filled[name] = getattr(there, name)
    for name in _MAPPINGS:
        mine, theirs = getattr(here, name), getattr(there, name)
        if theirs.keys() - mine.keys():
            filled[name] = {**theirs, **mine}
    if _goes_further(here, there, update=update):
        filled |= {name: getattr(there, name) for name in ("status", "ended_at", "error", "session")}
    return msgspec.structs.replace(here, **filled) if filled else here


def _goes_further(here: RunRow, there: RunRow, *, update: bool) -> bool:
    if there.session != here.session:
        return there.session > here.session
    if here.status == "running":
        return there.status != "running"
    later = there.ended_at is not None and here.ended_at is not None and there.ended_at > here.ended_at
    return update and there.status != "running" and later


def _row_differences(here: WholeRun, there: WholeRun) -> list[str]:
    mine, theirs, found = here.row, there.row, []
    for name in _EXACT:
        left, right = getattr(mine, name), getattr(theirs, name)
        if left is not None and right is not None and left != right:
            found.append(f"{name.replace('_', ' ')} is {_shown(left)} here and {_shown(right)} there")
    if here.experiment.name != there.experiment.name:
        found.append(f"its experiment is {here.experiment.name!r} here and {there.experiment.name!r} there")
    for name in _MAPPINGS:
        left, right = getattr(mine, name), getattr(theirs, name)
        found += [
            f"{name.removesuffix('s')} {key} is {_shown(left[key])} here and {_shown(right[key])} there"
            for key in left
            if key in right and not same(left[key], right[key])
        ]
    ended = mine.session == theirs.session and "running" not in (mine.status, theirs.status)
    if ended and (mine.status, mine.error) != (theirs.status, theirs.error):
        found.append(f"its status is {mine.status} here and {theirs.status} there")
    return found


def _compare_points(found: Merge, here: WholeRun, there: WholeRun) -> None:
    for name, points in there.points.items():
        mine = here.points.get(name)
        if mine is None:
            found.points[name] = points
            continue
        added = _without(points, mine)
        if added.size:
            found.points[name] = added
            others = _without(mine, points).size
            if others and here.row.session == there.row.session:
                found.differences.append(
                    f"metric {name} has {added.size:,} points there that are not here, and {others:,} here that are not there"
                )


def _without(points: Points, known: Points) -> Points:
    """Return the points that are not among the known ones, in their order."""
    mine, theirs = _bits(points), _bits(known)
    shared = min(points.size, known.size)
    if np.array_equal(mine[:, :shared], theirs[:, :shared]):  # the usual case: all of them, or some that follow
        return points.take(slice(shared, None))
    both = np.concatenate([theirs, mine], axis=1)
    order = np.lexsort(both)  # stable: of equal points the known one comes first
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (both[:, order[1:]] != both[:, order[:-1]]).any(axis=0)
    new = np.sort(order[is_first & (order >= known.size)]) - known.size
    return points.take(new)


def _bits(points: Points) -> npt.NDArray[np.int64]:
    """Return points as whole numbers that are equal where they are, NaN too: a row a column."""
    steps = np.ascontiguousarray(points.steps + 0.0)  # -0 is 0
    values = np.ascontiguousarray(points.values)
    return np.stack([steps.view(np.int64), points.sessions.astype(np.int64), points.times, values.view(np.int64)])


def _compare_lists(found: Merge, here: WholeRun, there: WholeRun, *, update: bool) -> None:
    artifacts = {one.name: one for one in here.artifacts}
    for artifact in there.artifacts:
        mine = artifacts.get(artifact.name)
        if mine is None:
            found.artifacts.append(artifact)
        elif mine.sha256 != artifact.sha256:
            found.differences.append(f"artifact {artifact.name} has other content{': replaced' if update else ''}")
            found.artifacts += [artifact] if update else []
    inputs = {(one.name, one.digest) for one in here.inputs}
    found.inputs += [one for one in there.inputs if (one.name, one.digest) not in inputs]
    models = {one.name: one for one in here.models}
    found.models += [one for one in there.models if one.name not in models]
    for model in there.models:
        if model.name in models and models[model.name].sha256 != model.sha256:
            found.differences.append(f"model {model.name} has other content")
    texts = {_text_key(one) for one in here.console}
    found.console += [one for one in there.console if _text_key(one) not in texts]


def _text_key(text: ConsoleText) -> tuple[object, ...]:
    return text.session, text.at, text.text


def _shown(value: object) -> str:
    text = repr(value) if not hasattr(value, "isoformat") else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
