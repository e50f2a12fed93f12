"""`ingest`: take what is new at a source into history, once, in one commit."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tinymlops.errors import ConflictError, DataError, NotFoundError, near
from tinymlops.features import specs
from tinymlops.features.sources import read_source, run_transformation, stored_rows, with_times
from tinymlops.records import Ingestion, Segment, SourceState
from tinymlops.schema import schema_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.features.specs import SourceSpec

__all__ = ["ingest", "ingest_all", "rebuild"]

_ATTEMPTS = 5
_SEEDS = (0x7D1, 0x2013)


class _New(NamedTuple):
    """The rows of one read that history does not have yet, and what became of the others."""

    rows: pl.DataFrame
    corrected: int
    known: int


def ingest_all(
    context: Context, names: Sequence[str], *, full: bool = False, complete_until: int | None = None
) -> list[Ingestion]:
    """Ingest the named sources, or all that are not pushed, and rebuild the transformations over them.

    Raises:
        NotFoundError: If a name is unknown, with the near match.
    """
    known = context.definitions.of(specs.SourceSpec)
    for name in names:
        if name not in known:
            raise NotFoundError(f"there is no source {name!r}", hint=near(name, known))
    chosen = [known[name] for name in names] or [
        spec for spec in known.values() if not spec.inputs and spec.via != "push"
    ]
    reports = [ingest(context, spec, complete_until=complete_until) for spec in chosen if not spec.inputs]
    rebuilt = [rebuild(context, spec) for spec in context.definitions.derived_in_order() if not spec.row_wise]
    return reports + [report for report in rebuilt if report is not None]


def ingest(context: Context, source: SourceSpec, *, complete_until: int | None = None) -> Ingestion:
    """Read a source and store the rows that history does not have: the same rows twice change nothing.

    Under a replay clock rows not yet available by it are held back for a later ingest. Rows without an event
    time are counted and left out.

    Args:
        context: The workspace's state.
        source: A source with SQL or a function.
        complete_until: The user's word that no row with an earlier event time is missing, microseconds UTC.

    Returns:
        What was read, new, corrected, known, held back and refused.

    Raises:
        DataError: If columns, types or times do not fit; nothing is stored then.
        ConflictError: If other ingests of the same source keep coming first.
    """
    begun = time.perf_counter()
    frame = with_times(read_source(context, source), source)
    read = frame.height
    frame, quarantined = _with_event_time(frame, source)
    frame, held_back = _available(context, frame, source)
    _check_schema(context, source, frame)
    for _ in range(_ATTEMPTS):
        before = _live(context, source)
        new = _unknown(context, source, frame) if before else _New(frame, 0, 0)
        report = Ingestion(
            source=source.name,
            rows_read=read,
            rows_new=new.rows.height - new.corrected,
            rows_corrected=new.corrected,
            rows_known=new.known,
            rows_held_back=held_back,
            rows_quarantined=quarantined,
            seconds=time.perf_counter() - begun,
            at=context.clock(),
        )
        committed = _commit(context, source, new, report, before, complete_until=complete_until)
        if committed is not None:
            return committed
    raise ConflictError(
        f"source {source.name!r} is being ingested by others all the time", hint="ingest it from one place"
    )


def rebuild(context: Context, source: SourceSpec) -> Ingestion | None:
    """Compute a rebuilt transformation anew if its inputs have changed since; its new rows replace the old.

    Returns:
        What was stored; None if it is up to date or an input was never ingested.
    """
    begun = time.perf_counter()
    live = _live(context, source)
    inputs = {segment.id: segment for name in source.inputs for segment in _inputs(context, name)}
    newest = max((segment.base + segment.rows for segment in inputs.values()), default=None)
    if newest is None or (live and live[-1].covers is not None and live[-1].covers >= newest):
        return None
    parents = {name: stored_rows(context, name) for name in source.inputs}
    plain = {name: rows.drop("__event", "__created", "__sequence", "__deleted") for name, rows in parents.items()}
    frame = with_times(run_transformation(context, source, plain), source)
    rows, quarantined = _with_event_time(frame, source)
    report = Ingestion(
        source=source.name,
        rows_read=frame.height,
        rows_new=rows.height,
        rows_quarantined=quarantined,
        seconds=time.perf_counter() - begun,
        at=context.clock(),
    )
    return _commit(context, source, _New(rows, 0, 0), report, live, covers=newest)


def _inputs(context: Context, name: str) -> list[Segment]:
    source = context.definitions.get(specs.SourceSpec, name)
    if source.row_wise:
        return _inputs(context, source.inputs[0])
    return _live(context, source)


def _live(context: Context, source: SourceSpec) -> list[Segment]:
    return context.environment.database.list(Segment, where={"source": source.name, "dead_at": None}, order="id")


def _with_event_time(frame: pl.DataFrame, source: SourceSpec) -> tuple[pl.DataFrame, int]:
    """Leave out rows without an event time; return how many they were."""
    if source.timestamp is None:
        return frame, 0
    kept = frame.filter(frame["__event"].is_not_null())
    return kept, frame.height - kept.height


def _available(context: Context, frame: pl.DataFrame, source: SourceSpec) -> tuple[pl.DataFrame, int]:
    """Under a replay clock, leave out rows that nobody could have known by then; return how many they were."""
    import polars as pl

    if not context.replays or source.timestamp is None:
        return frame, 0
    available = pl.max_horizontal(pl.col("__event") + source.delay, "__created")
    kept = frame.filter(available <= context.now())
    return kept, frame.height - kept.height


def _check_schema(context: Context, source: SourceSpec, frame: pl.DataFrame) -> None:
    """Refuse a column whose type changed; a new column is null in the rows before it."""
    state = context.environment.database.get(SourceState, source=source.name)
    if state is None:
        return
    now = _user_schema(frame)
    for name, dtype in state.columns.items():
        if now.get(name, dtype) not in (dtype, "Null"):
            raise DataError(
                f"column {name!r} of source {source.name!r} was {dtype} and is now {now[name]}",
                hint=f"cast it to {dtype} in the source, or give the changed column a new name",
            )


def _user_schema(frame: pl.DataFrame) -> dict[str, str]:
    return {name: dtype for name, dtype in schema_of(frame).items() if not name.startswith("__")}


def _unknown(context: Context, source: SourceSpec, frame: pl.DataFrame) -> _New:
    """Leave out the rows that history has: by id its latest version, without id the row itself, counted."""
    import polars as pl

    columns = sorted(_user_schema(frame))
    stored = stored_rows(context, source.name)
    missing = [pl.lit(None, frame.schema[name]).alias(name) for name in columns if name not in stored.columns]
    old = stored.with_columns(missing)
    old, new = _hashed(old, columns), _hashed(frame, columns)
    if source.id is None or new[source.id].n_unique() < new.height:
        fresh = _numbered(new).join(_numbered(old), on=["__h0", "__h1", "__copy"], how="anti", maintain_order="left")
    else:
        latest = old.sort("__sequence").unique(source.id, keep="last")
        on = [source.id, "__h0", "__h1"]
        fresh = new.join(latest, on=on, how="anti", maintain_order="left")
    rows = fresh.select(frame.columns)
    corrected = 0
    if source.id is not None:
        corrected = rows.join(old.select(source.id).unique(), on=source.id, how="semi").height
    return _New(rows, corrected, frame.height - rows.height)


def _hashed(frame: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """Add a 128-bit hash of the rows; only ever compared within this process."""
    values = frame.select(columns)
    return frame.with_columns(values.hash_rows(seed).alias(f"__h{i}") for i, seed in enumerate(_SEEDS))


def _numbered(frame: pl.DataFrame) -> pl.DataFrame:
    """Number equal rows, so that a join keeps count of them."""
    import polars as pl

    return frame.with_columns(pl.int_range(pl.len()).over("__h0", "__h1").alias("__copy"))


def _commit(
    context: Context,
    source: SourceSpec,
    new: _New,
    report: Ingestion,
    before: list[Segment],
    *,
    complete_until: int | None = None,
    covers: int | None = None,
) -> Ingestion | None:
    """Publish the rows and name them in one transaction; None if another commit came between."""
    from tinymlops.stores import segments

    environment = context.environment
    with environment.gc_lock.shared(deadline=60):
        file = None
        if new.rows.height:
            directory = environment.segments_dir / source.name
            file = segments.write(_sorted(new.rows), directory, environment.tmp)
        with environment.database.write(actor="local") as tx:
            if [segment.id for segment in before] != [
                row[0]
                for row in tx.execute(
                    "select id from segments where source = ? and dead_at is null order by id", (source.name,)
                )
            ]:
                return None
            state = tx.get(SourceState, source=source.name)
            if file is not None:
                events = new.rows["__event"].drop_nulls()
                tx.insert(
                    Segment(
                        source=source.name,
                        sha256=file.sha256,
                        base=tx.take_sequence(file.rows),
                        rows=file.rows,
                        bytes=file.bytes,
                        min_event=_whole(events.min()),
                        max_event=_whole(events.max()),
                        corrections=new.corrected,
                        covers=covers,
                        created_at=report.at,
                    )
                )
            if covers is not None:
                for segment in before:
                    tx.execute("update segments set dead_at = ? where id = ?", (context.now(), segment.id))
            tx.put(_next_state(source, new.rows, state, report, replaced=covers is not None, until=complete_until))
            stored = tx.insert(msgspec.structs.replace(report, sequence=tx.sequence()))
            if file is not None:
                tx.audit("ingest", source.name, rows=file.rows, sha256=file.sha256)
            return stored


def _next_state(
    source: SourceSpec,
    rows: pl.DataFrame,
    state: SourceState | None,
    report: Ingestion,
    *,
    replaced: bool,
    until: int | None,
) -> SourceState:
    greatest = [_whole(rows["__event"].max()), state.max_event if state else None]
    said = [until, state.complete_until if state else None]
    return SourceState(
        source=source.name,
        definition=specs.fingerprint(source),
        columns={**(state.columns if state and not replaced else {}), **_user_schema(rows)},
        rows=rows.height + (state.rows if state and not replaced else 0),
        max_event=max((value for value in greatest if value is not None), default=None),
        complete_until=max((value for value in said if value is not None), default=None),
        quarantined=report.rows_quarantined,
        ingested_at=report.at,
    )


def _sorted(rows: pl.DataFrame) -> pl.DataFrame:
    """Put rows in the order that decides their sequence: event time, created time, then their own content."""
    import polars as pl

    hashed = _hashed(rows, sorted(_user_schema(rows)))
    return (
        hashed.sort("__event", "__created", "__h0", "__h1", nulls_last=False, maintain_order=True)
        .drop("__h0", "__h1")
        .with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("__ordinal"))
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
