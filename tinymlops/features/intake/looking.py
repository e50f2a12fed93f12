"""What the checks on a source say of a batch: asked before anything is stored, decided once it is known which rows are new.

All rules that ask each row are computed in one pass over the batch. Rows that history has already are known: they were looked
at when they came, so no rule holds them back now. Rows that somebody released pass; those that wait or were dropped stay
where they are, and are not kept a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from tinymlops._warn import warn
from tinymlops.errors import DataError
from tinymlops.features.compute.rules import Broken, broken, columns_read, repeated, require_fits
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.data_checks import checks_on
from tinymlops.features.definitions.rules import Fresh, RowRule, SameDistribution, Unique, Volume, in_code, shortened
from tinymlops.features.definitions.specs import SourceSpec, ViewSpec
from tinymlops.features.history.sources import run_transformation
from tinymlops.features.history.stored import newest_progress
from tinymlops.features.intake.distribution import compared, known_then
from tinymlops.features.intake.quarantine import Before, Kept, kept_before
from tinymlops.records import CheckResult
from tinymlops.times import format_duration, from_micros

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.rules import AnyRule
    from tinymlops.features.definitions.specs import CheckSpec
    from tinymlops.features.intake.quarantine import Settling
    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction

__all__ = ["Decision", "Looked", "Verdict", "asked", "look", "look_at_stored", "numbered"]

_SHOWN_ROWS = 5
_LONGEST = 60
"""Characters of a value in an error."""


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
        self, reader: Database | Transaction, *, known: pl.Series | None = None, releasing: Settling | None = None
    ) -> Decision:
        """Say what becomes of each row.

        Args:
            reader: The database, or the transaction that stores the batch.
            known: bool[n]: rows that history has; None for none.
            releasing: What is released with this batch: these rows pass.
        """
        before = kept_before(self._context, reader, self._target, releasing=releasing)
        weighed = self._weighed(before, known)
        failing = [verdict for verdict in weighed.verdicts if verdict.fails]
        refusal = self._refusal(weighed.refused) if weighed.refused else None
        new = weighed.new if refusal is None and weighed.new is not None and weighed.new.any() else None
        at = self._context.clock()
        results = [self._result(verdict, at) for verdict in weighed.verdicts]
        kept = Kept(
            source=self._target.name,
            results=[one for one in results if self._moment != "push" or one.passed is False],
            rows=None if new is None else self._rows.filter(new),
            reasons=None if new is None else self._reasons(failing, new),
            rules={} if new is None else _counts(failing, new),
            seen=before.seen,
            sequence=reader.sequence(),
            at=at,
        )
        return Decision(
            held=weighed.held,
            kept=kept,
            refusal=refusal,
            failed=[in_code(one.rule) for one in weighed.refused],
            warnings=self._warnings(failing, kept),
            holds_batch=any(one.is_of_batch and one.spec.action != "warn" for one in failing),
        )

    def _weighed(self, before: Before, known: pl.Series | None) -> _Weighed:
        """Say which rows are held back, and which of them for the first time."""
        fresh = pl.Series([True]).new_from_index(0, self._rows.height) if known is None else ~known
        verdicts = self._verdicts if known is None else [self._of_fresh(one, known) for one in self._verdicts]
        held = _union(verdicts, fresh)
        if held is None:
            return _Weighed(verdicts, None, None, [])
        settled = before.settled(self._rows, held)
        verdicts = [_without(verdict, settled.released) for verdict in verdicts]
        held = _union(verdicts, fresh & ~settled.released)
        refused = [
            one
            for one in verdicts
            if one.spec.action == "fail" and one.fails and (one.rows is None or (one.rows & ~settled.dropped).any())
        ]
        if held is None or not held.any():
            return _Weighed(verdicts, None, None, refused)
        return _Weighed(verdicts, held, held & ~settled.kept, refused)

    def _warnings(self, failing: Sequence[Verdict], kept: Kept) -> list[str]:
        told = [self._told(verdict) for verdict in failing if verdict.spec.action == "warn"]
        if kept.rows is None:  # there is nothing to keep aside, and still the batch does not pass
            return told + [self._told(one) for one in failing if one.is_of_batch and one.spec.action == "quarantine"]
        count, names = f"{kept.rows.height:,} of {self._rows.height:,}", ", ".join(map(shortened, kept.rules))
        aside = (
            f"source {self._target.name!r}: {count} rows do not pass {names} and are in quarantine: "
            "ws.checks.quarantined(), or: tinymlops checks quarantined"
        )
        return [*told, aside]

    def _of_fresh(self, verdict: Verdict, known: pl.Series) -> Verdict:
        """Leave out the rows that history has."""
        rows = verdict.rows
        if rows is None:
            return verdict
        if isinstance(verdict.rule, Unique) and verdict.spec.target == self._target.name:
            again = repeated(verdict.rule, self._rows, where=_where(verdict.spec.target), first=known)
            rows = rows & False if again is None else again & ~self._rows["__deleted"]
        return _replaced(verdict, rows & ~known)

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
            detail=verdict.detail if verdict.rows is None else _numbers(verdict.rows),
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
        rule = shortened(in_code(verdict.rule))
        if verdict.is_of_batch:
            return f"{where}: the batch of {verdict.asked:,} rows does not pass {rule}, {verdict.detail}"
        count = f"{self._count(verdict):,} of {verdict.asked:,}"
        return f"{where}: {count} rows do not pass {rule}: {self._first(verdict)}"

    def _cure(self, verdict: Verdict) -> str:
        if verdict.spec.of_view:
            return "correct the rows that it is computed from; what is in the online store stays as it is until then"
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
            f"row {place}"
            + (f" ({', '.join(f'{name}={_short(value)}' for name, value in row.items())})" if row else "")
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
        specs = checks_on(context.definitions, context.definitions.get(SourceSpec, target))
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
        return Verdict(spec, rule, frame.height, passed=passed, detail=f"it has {numbered(frame.height, 'row')}")
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


class _Weighed(NamedTuple):
    """What becomes of the rows of a batch, before it is put into words."""

    verdicts: list[Verdict]
    """Without rows that history has, or that were released."""
    held: pl.Series | None
    """Rows that are not stored; None for none."""
    new: pl.Series | None
    """Those of them that are not in quarantine yet."""
    refused: list[Verdict]


def _counts(failing: Sequence[Verdict], new: pl.Series) -> dict[str, int]:
    """Count for each rule the rows that are kept aside by it for the first time."""
    counts = {
        in_code(one.rule): int((new if one.rows is None else one.rows & new).sum())
        for one in failing
        if one.spec.action == "quarantine"
    }
    return {rule: count for rule, count in counts.items() if count}


def _union(verdicts: Sequence[Verdict], fresh: pl.Series) -> pl.Series | None:
    """Return the rows that some rule holds back; of a rule about the batch all that are new."""
    found: pl.Series | None = None
    for verdict in verdicts:
        if verdict.fails and verdict.spec.action != "warn":
            rows = fresh if verdict.rows is None else verdict.rows
            found = rows if found is None else found | rows
    return found


def _without(verdict: Verdict, rows: pl.Series) -> Verdict:
    return verdict if verdict.rows is None else _replaced(verdict, verdict.rows & ~rows)


def _replaced(verdict: Verdict, rows: pl.Series) -> Verdict:
    return Verdict(
        verdict.spec, verdict.rule, verdict.asked, rows if rows.any() else None, verdict.passed, verdict.detail
    )


def _numbers(rows: pl.Series) -> str:
    """Say which rows do not pass, without their values: what is kept of a batch is in quarantine or in history."""
    places = rows.arg_true()
    more = ", ..." if len(places) > _SHOWN_ROWS else ""
    return f"row{'s' if len(places) > 1 else ''} {', '.join(map(str, places.head(_SHOWN_ROWS)))}{more}"


def numbered(count: int, what: str) -> str:
    """Write a number of things."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _where(target: str, *, of_view: bool = False) -> str:
    return f"check on {'feature view' if of_view else 'source'} {target!r}"
