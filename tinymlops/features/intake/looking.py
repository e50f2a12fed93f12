"""What the checks on a source say of a batch: asked before anything is stored, decided once it is known which rows are new.

All rules that ask each row are computed in one pass over the batch. Rows that history has already are known: they were looked
at when they came, so no rule holds them back now. Rows that somebody released pass; those that wait or were dropped stay
where they are, and are not kept a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from tinymlops._warn import warn
from tinymlops.errors import DataError
from tinymlops.features.compute.rules import Broken, broken, columns_read, repeated, require_fits
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.data_checks import checks_on
from tinymlops.features.definitions.rules import Fresh, RowRule, SameDistribution, Unique, Volume, in_code
from tinymlops.features.definitions.specs import SourceSpec, ViewSpec
from tinymlops.features.history.sources import run_transformation
from tinymlops.features.history.stored import newest_progress
from tinymlops.features.intake.distribution import compared, known_then
from tinymlops.features.intake.quarantine import Kept, kept_before
from tinymlops.records import CheckResult
from tinymlops.times import format_duration, from_micros

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.rules import AnyRule
    from tinymlops.features.definitions.specs import CheckSpec
    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction

__all__ = ["Decision", "Looked", "Verdict", "asked", "look", "look_at_stored"]

_SHOWN_ROWS = 5


@dataclass(frozen=True)
class Verdict:
    """What one rule says of a batch."""

    spec: CheckSpec
    rule: AnyRule
    asked: int
    """Rows that were looked at."""
    rows: pl.Series | None = None
    """bool[n]: rows of the batch that do not pass; None where none fails, or the rule is about the batch."""
    passed: bool | None = True
    """Of a rule about the batch; None if it was skipped."""
    detail: str = ""

    @property
    def is_of_batch(self) -> bool:
        """Whether the rule is about the batch as a whole."""
        return isinstance(self.rule, Fresh | Volume | SameDistribution)

    @property
    def fails(self) -> bool:
        """Whether some row, or the batch, does not pass."""
        return self.rows is not None or self.passed is False


@dataclass(frozen=True)
class Decision:
    """What becomes of a batch."""

    held: pl.Series | None
    """bool[n]: rows that are not stored; None for none."""
    kept: Kept
    """What the commit writes."""
    refusal: DataError | None
    """Why nothing of the batch may be stored."""
    failed: list[str]
    """The rules for which nothing may be stored; no values, for the audit log keeps them."""
    warnings: list[str]
    holds_batch: bool
    """Whether a rule about the batch keeps all of it aside."""

    @property
    def held_rows(self) -> int:
        """How many rows are not stored."""
        return 0 if self.held is None else int(self.held.sum())

    def tell(self) -> None:
        """Warn of what did not pass, once the batch is stored."""
        for message in self.warnings:
            warn(message)

    def refuse(self, context: Context) -> None:
        """Keep what was found and refuse the batch, if a check whose action is "fail" does not pass.

        Raises:
            DataError: If one does not.
        """
        if self.refusal is not None:
            with context.scope.write("checks.refuse", self.kept.source, rules=list(self.failed)) as tx:
                self.kept.record(tx, tx.sequence())
            raise self.refusal


class Looked:
    """A batch with what every rule says of it.

    Args:
        context: The workspace's state.
        target: The source or the view that is asked about.
        rows: n rows with their times.
        verdicts: Of its rules, in order.
        moment: What brought the rows.
    """

    def __init__(
        self, context: Context, target: SourceSpec | ViewSpec, rows: pl.DataFrame, verdicts: list[Verdict], moment: str
    ) -> None:
        self._context, self._target, self._rows = context, target, rows
        self._verdicts, self._moment = verdicts, moment

    @property
    def fails(self) -> bool:
        """Whether some rule does not pass."""
        return any(verdict.fails for verdict in self._verdicts)

    def results(self) -> list[CheckResult]:
        """Return what each rule says, whatever the rows are in history or in quarantine."""
        at = self._context.clock()
        return [self._result(verdict, at) for verdict in self._verdicts]

    def decide(
        self, reader: Database | Transaction, *, known: pl.Series | None = None, releasing: int | None = None
    ) -> Decision:
        """Say what becomes of each row.

        Args:
            reader: The database, or the transaction that stores the batch.
            known: bool[n]: rows that history has; None for none.
            releasing: The quarantine that is released with this batch: its rows pass.
        """
        fresh = None if known is None else ~known
        verdicts = [self._of_fresh(verdict, known, fresh) for verdict in self._verdicts]
        before = kept_before(self._context, reader, self._target, releasing=releasing)
        failing = [verdict for verdict in verdicts if verdict.fails and verdict.spec.action != "warn"]
        union = self._union(failing, fresh)
        if union is not None and before.any:
            settled = before.settled(self._rows, union)
            verdicts = [_without(verdict, settled.released) for verdict in verdicts]
            failing = [verdict for verdict in verdicts if verdict.fails and verdict.spec.action != "warn"]
            union = self._union(failing, fresh)
            union = None if union is None else union & ~settled.released
            new = None if union is None else union & ~settled.kept
        else:
            new = union
        refused = [verdict for verdict in failing if verdict.spec.action == "fail"]
        if union is not None and before.any:
            refused = [verdict for verdict in refused if verdict.is_of_batch or self._is_new(verdict, settled.dropped)]
        refusal = self._refusal(refused) if refused else None
        at = self._context.clock()
        results = [self._result(verdict, at) for verdict in verdicts]
        rows = self._rows.filter(new) if new is not None and new.any() and refusal is None else None
        rules = {in_code(one.rule): self._count(one) for one in failing if one.spec.action == "quarantine"}
        kept = Kept(
            source=self._target.name,
            results=[one for one in results if self._moment != "push" or one.passed is False],
            rows=rows,
            reasons=None if rows is None or new is None else self._reasons(failing, new),
            rules=rules,
            seen=before.seen,
            at=at,
        )
        holds = any(one.is_of_batch for one in failing)
        held = union if union is not None and union.any() else None
        warned = [verdict for verdict in verdicts if verdict.fails and verdict.spec.action == "warn"]
        told = [self._told(verdict) for verdict in warned]
        if rows is not None:
            names = ", ".join(rules)
            told.append(
                f"source {self._target.name!r}: {rows.height:,} of {self._rows.height:,} rows do not pass {names} and are in "
                "quarantine: ws.checks.quarantined(), or: tinymlops checks quarantined"
            )
        return Decision(held, kept, refusal, [in_code(one.rule) for one in refused], told, holds)

    def _of_fresh(self, verdict: Verdict, known: pl.Series | None, fresh: pl.Series | None) -> Verdict:
        """Leave out the rows that history has."""
        if known is None or fresh is None or verdict.rows is None:
            return verdict
        rows = verdict.rows
        if isinstance(verdict.rule, Unique) and verdict.spec.target == self._target.name:
            again = repeated(verdict.rule, self._rows, where=_where(verdict.spec.target), first=known)
            rows = rows & False if again is None else again & ~self._rows["__deleted"]
        rows = rows & fresh
        return _replaced(verdict, rows)

    def _union(self, verdicts: Sequence[Verdict], fresh: pl.Series | None) -> pl.Series | None:
        """Return the rows that some rule holds back; of a rule about the batch all that history does not have."""
        found: pl.Series | None = None
        every = pl.Series([True]).new_from_index(0, self._rows.height) if fresh is None else fresh
        for verdict in verdicts:
            rows = every if verdict.is_of_batch else verdict.rows
            if rows is not None:
                found = rows if found is None else found | rows
        return found

    def _is_new(self, verdict: Verdict, dropped: pl.Series) -> bool:
        return verdict.rows is not None and bool((verdict.rows & ~dropped).any())

    def _count(self, verdict: Verdict) -> int:
        if verdict.is_of_batch:
            return self._rows.height if verdict.passed is False else 0
        return 0 if verdict.rows is None else int(verdict.rows.sum())

    def _result(self, verdict: Verdict, at: object) -> CheckResult:
        return CheckResult(
            target=verdict.spec.target,
            definition=verdict.spec.name,
            rule=in_code(verdict.rule),
            action=verdict.spec.action,
            moment=self._moment,
            rows=verdict.asked,
            failed=self._count(verdict),
            passed=False if verdict.fails else verdict.passed,
            detail=verdict.detail if verdict.rows is None else self._first(verdict),
            at=at,  # type: ignore[arg-type]  # the clock's
        )

    def _reasons(self, verdicts: Sequence[Verdict], new: pl.Series) -> pl.Series:
        """Return for each row that is kept the rules that it does not pass."""
        parts = [
            pl.DataFrame({"failed": new if one.rows is None else one.rows})
            .select(pl.when("failed").then(pl.lit(in_code(one.rule))))
            .to_series()
            for one in verdicts
            if one.spec.action == "quarantine"
        ]
        frame = pl.DataFrame({f"{place}": part for place, part in enumerate(parts)})
        return frame.filter(new).select(pl.concat_str(pl.all(), separator="; ", ignore_nulls=True)).to_series()

    def _refusal(self, refused: Sequence[Verdict]) -> DataError:
        others = f" (and {len(refused) - 1} more checks do not pass)" if len(refused) > 1 else ""
        return DataError(
            f"{self._told(refused[0])}{others}: nothing of it is {'materialized' if refused[0].spec.of_view else 'stored'}",
            hint=self._cure(refused[0]),
        )

    def _told(self, verdict: Verdict) -> str:
        where = f"{self._kind(verdict.spec)} {verdict.spec.target!r}"
        if verdict.is_of_batch:
            return (
                f"{where}: the batch of {verdict.asked:,} rows does not pass {in_code(verdict.rule)}, {verdict.detail}"
            )
        return (
            f"{where}: {self._count(verdict):,} of {verdict.asked:,} rows do not pass {in_code(verdict.rule)}: "
            f"{self._first(verdict)}"
        )

    def _cure(self, verdict: Verdict) -> str:
        if verdict.spec.of_view:
            return "correct the rows that it is computed from; the online store holds what it held before"
        if verdict.is_of_batch and self._kind(verdict.spec) == "transformation":
            return "correct the rows that it is computed from; what was computed before stays"
        return f'correct the rows, or let the check {verdict.spec.name!r} keep them aside: action="quarantine"'

    def _kind(self, spec: CheckSpec) -> str:
        if spec.of_view:
            return "feature view"
        own = isinstance(self._target, SourceSpec) and not self._target.inputs and spec.target == self._target.name
        return "source" if own else "transformation"

    def _first(self, verdict: Verdict) -> str:
        """Name the first rows that do not pass, with the values that the rule reads."""
        assert verdict.rows is not None, "asked where rows fail"
        places = verdict.rows.arg_true().head(_SHOWN_ROWS)
        read = columns_read(verdict.rule, self._rows)
        identifier = self._target.id if isinstance(self._target, SourceSpec) else None
        names = list(dict.fromkeys([*([identifier] if identifier else []), *read]))
        shown = self._rows.select(names)[places]
        rows = [
            f"row {place}" + (f" ({', '.join(f'{name}={value!r}' for name, value in row.items())})" if row else "")
            for place, row in zip(places, shown.iter_rows(named=True) if names else [{}] * len(places), strict=True)
        ]
        return ", ".join(rows) + (", ..." if int(verdict.rows.sum()) > len(rows) else "")


def look(context: Context, source: SourceSpec, rows: pl.DataFrame, *, moment: str) -> Looked | None:
    """Ask the checks on a source, and on the row-wise transformations over it, about a batch.

    Args:
        context: The workspace's state.
        source: Whose rows.
        rows: n rows with their times; deletes are not looked at.
        moment: What brought them.

    Returns:
        What they say; None if there are none.

    Raises:
        DataError: If a check reads a column that is not there, or cannot be computed.
    """
    verdicts: list[Verdict] = []
    batch = partial(_of_batch, context)
    for target in graph.downstream(context.definitions, source.name):
        specs = checks_on(context.definitions, target)
        if specs:
            verdicts += asked(target, specs, _made(context, source, target, rows), rows.height, batch)
    return Looked(context, source, rows, verdicts, moment) if verdicts else None


def look_at_stored(context: Context, target: SourceSpec, specs: Sequence[CheckSpec], rows: pl.DataFrame) -> Looked:
    """Ask checks about the rows that are stored of a source, which are not a batch.

    Args:
        context: The workspace's state.
        target: Whose rows.
        specs: The checks on it.
        rows: Its rows of now.

    Raises:
        DataError: As for `look`.
    """

    def of_batch(spec: CheckSpec, rule: AnyRule, frame: pl.DataFrame) -> Verdict:
        if isinstance(rule, Volume):
            return Verdict(spec, rule, frame.height, passed=None, detail="it is about a batch")
        return _of_batch(context, spec, rule, frame)

    frame = rows.with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("__sequence"))
    return Looked(context, target, frame, asked(target.name, specs, frame, frame.height, of_batch), "run")


def _made(context: Context, source: SourceSpec, target: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return what a row-wise transformation makes of a batch, or the batch; `__sequence` is the row's place, from 1."""
    numbered = rows.drop("__sequence", strict=False).with_columns(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("__sequence")
    )
    spec = context.definitions.get(SourceSpec, target)
    if spec.name == source.name:
        return numbered
    return run_transformation(context, spec, {spec.inputs[0]: _made(context, source, spec.inputs[0], rows)})


def asked(
    target: str,
    specs: Sequence[CheckSpec],
    frame: pl.DataFrame,
    height: int,
    of_batch: Callable[[CheckSpec, AnyRule, pl.DataFrame], Verdict],
) -> list[Verdict]:
    """Ask the rules of checks about rows.

    Args:
        target: Whose rows.
        specs: The checks on it.
        frame: Rows with `__sequence`, the place in the batch of what each was made of, and `__deleted`.
        height: n, of the batch.
        of_batch: Asks a rule about a batch.

    Returns:
        A verdict for each rule, in order.

    Raises:
        DataError: As for `look`.
    """
    where = _where(target, of_view=specs[0].of_view)
    frame = frame.filter(~pl.col("__deleted")) if frame["__deleted"].any() else frame
    of_rows = [(spec, rule) for spec in specs for rule in spec.rules if isinstance(rule, RowRule)]
    found = iter(broken([rule for _, rule in of_rows], frame, where=where) if of_rows else [])
    verdicts = []
    for spec in specs:
        require_fits([rule for rule in spec.rules if not isinstance(rule, RowRule)], frame, where=where)
        for rule in spec.rules:
            if isinstance(rule, RowRule):
                verdicts.append(_of_rows(spec, next(found), frame, height))
            elif isinstance(rule, Unique):
                again = repeated(rule, frame, where=where)
                verdicts.append(Verdict(spec, rule, frame.height, _placed(again, frame, height)))
            else:
                verdicts.append(of_batch(spec, rule, frame))
    return verdicts


def _of_rows(spec: CheckSpec, said: Broken, frame: pl.DataFrame, height: int) -> Verdict:
    return Verdict(spec, said.rule, frame.height, _placed(said.rows, frame, height))


def _of_batch(context: Context, spec: CheckSpec, rule: AnyRule, frame: pl.DataFrame) -> Verdict:
    if isinstance(rule, Volume):
        low, high = rule.min_rows, rule.max_rows
        passed = (low is None or frame.height >= low) and (high is None or frame.height <= high)
        return Verdict(spec, rule, frame.height, passed=passed, detail=f"it has {frame.height:,} rows")
    if isinstance(rule, Fresh):
        return _of_age(context, spec, rule, frame)
    assert isinstance(rule, SameDistribution)
    moment = context.now() - rule.as_of
    now = frame.filter(pl.col("__event") > moment)[rule.column]
    said = compared(now, known_then(context, spec.target, rule))
    return Verdict(spec, rule, frame.height, passed=said.passed, detail=said.detail)


def _of_age(context: Context, spec: CheckSpec, rule: Fresh, frame: pl.DataFrame) -> Verdict:
    now = context.now()
    newest = frame["__event"].filter(frame["__event"] <= now).max()
    if not isinstance(newest, int) or newest < now - rule.within:
        origin = graph.origin(context.definitions, context.definitions.get(SourceSpec, spec.target))
        stored = newest_progress(context, origin.name)
        newest = max((one for one in (newest, stored) if isinstance(one, int)), default=None)
    if newest is None:
        return Verdict(spec, rule, frame.height, passed=False, detail="there is no event")
    detail = (
        f"the newest event is of {from_micros(newest).isoformat()}, {format_duration(max(now - newest, 0))} before now"
    )
    return Verdict(spec, rule, frame.height, passed=newest >= now - rule.within, detail=detail)


def _placed(rows: pl.Series | None, frame: pl.DataFrame, height: int) -> pl.Series | None:
    """Bring rows of a frame to their places in the batch that it was made of."""
    if rows is None:
        return None
    if frame.height == height and len(rows) == height and frame["__sequence"].is_sorted():
        return rows
    places = frame["__sequence"].filter(rows) - 1
    return pl.Series([False]).new_from_index(0, height).scatter(places.unique(), True)


def _without(verdict: Verdict, rows: pl.Series) -> Verdict:
    return verdict if verdict.rows is None else _replaced(verdict, verdict.rows & ~rows)


def _replaced(verdict: Verdict, rows: pl.Series) -> Verdict:
    return Verdict(
        verdict.spec, verdict.rule, verdict.asked, rows if rows.any() else None, verdict.passed, verdict.detail
    )


def _where(target: str, *, of_view: bool = False) -> str:
    return f"check on {'feature view' if of_view else 'source'} {target!r}"
