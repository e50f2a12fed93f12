"""What an ablation is going to do: its drops, its folds, and what must be the same where it goes on."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from tinymlops.errors import ConflictError, DataError, IntegrityError
from tinymlops.training.ablation.code import Code, code_of
from tinymlops.training.ablation.drops import Drop, drops_of
from tinymlops.training.ablation.scoring import unfit
from tinymlops.training.backtest import Backtest, Fold, FoldRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinymlops.features.history.training_sets import TrainingData

__all__ = ["EVERYTHING", "PLAN", "FoldPlan", "Plan", "Rows", "plan_of", "read_plan"]

EVERYTHING = "everything"
"""The group of the runs that leave nothing out."""
PLAN = "ablation.json"
"""The file of the parent run that holds its plan."""
_PROTOCOL = 1


class Rows(Protocol):
    """A fold: the rows to train on, and those to test on."""

    @property
    def train(self) -> FoldRows:
        """The rows to train on."""

    @property
    def test(self) -> FoldRows:
        """The rows to test on."""


class FoldPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A fold of an ablation."""

    name: str
    start: datetime | None = None
    """The first moment that is tested on; None for the split that the training data came with."""
    stop: datetime | None = None
    train_rows: int
    test_rows: int
    purged: int
    skipped: str = ""
    """Why it is not used, such as "no row to train on"."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an ablation does, as its parent run keeps it."""

    protocol: int = _PROTOCOL
    training_set: str
    build: str
    fingerprint: str
    drop: str
    """`view`, `feature`, `variant`, or `own` for names that the caller gave."""
    drops: dict[str, tuple[str, ...]]
    features: tuple[str, ...]
    folds: list[FoldPlan]
    backtest: Backtest | None = None
    metric: str | None = None
    seed: int = 0
    code: Code
    notes: list[str] = []
    """What is odd about the data, such as constant features."""

    def differences(self, now: Plan) -> list[str]:
        """Return what a caller who goes on has changed since."""
        found = []
        if self.fingerprint != now.fingerprint:
            found.append(f"training data {self.fingerprint[:12]} (build {self.build}) is now {now.fingerprint[:12]}")
        for name in ("training_set", "drop", "seed", "metric"):
            before, after = getattr(self, name), getattr(now, name)
            if before != after:
                found.append(f"{name.replace('_', ' ')} {before!r} is now {after!r}")
        if (self.drops, self.features) != (now.drops, now.features):
            found.append("what is left out" if self.features == now.features else "the features")
        if self.folds != now.folds:
            found.append(f"folds {_names(self.folds)} are now {_names(now.folds)}")
        return found + self.code.changes(now.code)

    def require_same(self, now: Plan, run: str) -> None:
        """Refuse to go on with other data or other code.

        Raises:
            ConflictError: With everything that differs.
        """
        found = self.differences(now)
        if found:
            hint = "start a new ablation without resume="
            if self.fingerprint != now.fingerprint:
                hint = f"build the same data: ws.reproduce({self.build!r}); or {hint}"
            raise ConflictError(f"ablation {run} was begun otherwise: {'; '.join(found)}", hint=hint)

    @property
    def used(self) -> list[str]:
        """The names of the folds that are used."""
        return [fold.name for fold in self.folds if not fold.skipped]

    def kept(self, left_out: str) -> list[str]:
        """Return the features that stay if something is left out."""
        gone = set(self.drops.get(left_out, ()))
        return [name for name in self.features if name not in gone]


def plan_of(
    data: TrainingData,
    train: Any,
    *,
    drop: Drop | Mapping[str, Sequence[str]],
    folds: Backtest | None,
    metric: str | None,
    seed: int,
) -> tuple[Plan, dict[str, Rows]]:
    """Return the plan, and the rows of each fold that is used.

    Raises:
        DataError: If no fold can be used, or nothing can be left out.
    """
    found = _folds(data, folds)
    plans = [plan for plan, _ in found]
    if all(plan.skipped for plan in plans):
        raise DataError(
            "no fold can be used: " + "; ".join(f"{plan.name}: {plan.skipped}" for plan in plans[:5])
            if plans
            else "there is no fold: the training data have no row",
            hint="choose other periods: folds=tm.backtest(every=..., start=...)",
        )
    drops = drops_of(data.signature, drop)
    if EVERYTHING in drops:
        raise DataError(
            f"{EVERYTHING!r} cannot be left out: the whole set has this name", hint="drop={'another name': [...]}"
        )
    plan = Plan(
        training_set=data.name,
        build=data.build_id,
        fingerprint=data.fingerprint,
        drop=drop if isinstance(drop, str) else "own",
        drops=drops,
        features=tuple(field.name for field in data.signature.features),
        folds=plans,
        backtest=folds,
        metric=metric,
        seed=seed,
        code=code_of(train),
        notes=_notes(data),
    )
    return plan, {plan.name: rows for plan, rows in found if not plan.skipped}


def read_plan(content: bytes, run: str) -> Plan:
    """Read the plan of an ablation.

    Raises:
        IntegrityError: If it cannot be read, or is of a newer tinymlops.
    """
    try:
        plan = msgspec.json.decode(content, type=Plan)
    except msgspec.MsgspecError as error:
        raise IntegrityError(f"the plan of ablation {run} cannot be read: {error}") from error
    if plan.protocol > _PROTOCOL:
        raise IntegrityError(
            f"the plan of ablation {run} has protocol {plan.protocol}", hint="pip install --upgrade tinymlops"
        )
    return plan


def _folds(data: TrainingData, folds: Backtest | None) -> list[tuple[FoldPlan, Rows]]:
    if folds is not None:
        return [(_planned(fold, data), fold) for fold in folds.periods(data)]
    if data.test is None:
        raise DataError(
            f"training set {data.name!r} was built without test rows",
            hint='pass folds=tm.backtest(every="1mo"), or build it with test_from=',
        )
    known = [part.y.is_not_null() for part in (data.train, data.test)]
    both = [
        FoldRows(part.X.filter(chosen), part.y.filter(chosen), part.spine.filter(chosen))
        for part, chosen in zip((data.train, data.test), known, strict=True)
    ]
    split = _OwnSplit(*both)
    return [(_judged("split", split, data, purged=data.report.purged), split)]


class _OwnSplit:
    """The split that training data came with."""

    def __init__(self, train: FoldRows, test: FoldRows) -> None:
        self.train, self.test = train, test


def _planned(fold: Fold, data: TrainingData) -> FoldPlan:
    plan = _judged(fold.name, fold, data, purged=fold.purged, missing=fold.missing)
    return msgspec.structs.replace(plan, start=fold.start, stop=fold.stop)


def _judged(name: str, rows: Rows, data: TrainingData, *, purged: int, missing: str = "") -> FoldPlan:
    train, test = rows.train.y, rows.test.y
    if not missing and not (len(train) and len(test)):
        missing = "no row to train on" if not len(train) else "no row to test on"
    return FoldPlan(
        name=name,
        train_rows=len(train),
        test_rows=len(test),
        purged=purged,
        skipped=missing or unfit(train, data.signature),
    )


def _notes(data: TrainingData) -> list[str]:
    """Name the features that cannot tell anything, because they have one value, or none."""
    X = data.train.X
    flat = [name for name in X.columns if X[name].drop_nulls().n_unique() < 2]
    return [f"{name} has one value at most in all training rows, so leaving it out shows nothing" for name in flat]


def _names(folds: Sequence[FoldPlan]) -> str:
    names = [fold.name for fold in folds if not fold.skipped]
    return f"{len(names)} ({names[0]} to {names[-1]})" if names else "none"
