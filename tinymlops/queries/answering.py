"""From a question to the answer: open the workspace to read, make the tables that are named, run the SELECT, write it down."""

from __future__ import annotations

import errno
import time
import traceback
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import AccessError, DataError, TinyMLOpsError, is_fault
from tinymlops.queries.cells import WHOLE, column_texts, is_beyond, type_name
from tinymlops.queries.charts import chart_of
from tinymlops.queries.messages import (
    MEMORY_SHARE,
    Chart,
    Column,
    Done,
    File,
    Question,
    Refused,
    Shown,
    too_large,
    too_slow,
)
from tinymlops.queries.places import place_of, without_place

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.stores.engine import Limits

__all__ = ["answered", "preload"]

_LONGEST = 2_000
"""Characters of a message."""
_FILE = "SQL here reads tables of the workspace, and no files"
_NEEDED = (
    "config",
    "features.context",
    "features.history.newest_values",
    "opened",
    "querying",
    "registry.catalog",
    "registry.runs.reading",
    "registry.scope",
    "stores.environment",
    "stores.lookup",
    "stores.row_index",
    "stores.segments",
)


def preload() -> None:
    """Load what every answer needs, and run one query, so that the next is as fast as it can be."""
    from importlib import import_module

    import polars as pl

    from tinymlops.stores.engine import Limits, first_rows

    for name in _NEEDED:
        import_module(f"tinymlops.{name}")
    limits = Limits(time=60_000_000, memory=2**26)
    frame, _ = first_rows("select a from t", tables={"t": pl.DataFrame({"a": [1]})}, limits=limits, threads=1)
    frame.rows()


def answered(question: Question) -> Done:
    """Answer a question; what is wrong is an answer too."""
    begun = time.monotonic()
    try:
        return _answered(question, begun)
    except TinyMLOpsError as error:
        return Done(_refused(error, question))
    except MemoryError:
        return Done(too_large(question))
    except BaseException as error:
        if not is_fault(error):
            raise
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            message = "the server is not ready for this table yet: it still compiles what computes it"
            return Done(Refused(kind="UnavailableError", message=message, hint="try again in a minute"))
        return Done(Refused(kind="", message="".join(traceback.format_exception(error))[-20_000:]))


def _answered(question: Question, begun: float) -> Done:
    from tinymlops.querying import spelled_out
    from tinymlops.stores.engine import Limits, first_rows, names_files

    text, bounds = spelled_out(question.text), question.bounds
    if names_files(text):
        raise AccessError(_FILE, hint="name a table; `show tables` lists them")
    tables, sequence = _tables(question, text)
    left = bounds.seconds - (time.monotonic() - begun)
    memory = bounds.memory // MEMORY_SHARE
    limits = Limits(rows=bounds.rows, bytes=bounds.bytes, time=max(1, int(left * 1e6)), memory=memory)
    if question.form != "page":
        return _file(_all_rows(text, tables, limits), question)
    frame, is_whole = first_rows(text, tables=tables, limits=limits, threads=1)
    return Done(_shown(frame, question, is_whole=is_whole, sequence=sequence, begun=begun))


def _tables(question: Question, text: str) -> tuple[dict[str, pl.DataFrame], int]:
    """Return the tables that a SELECT names, as of one commit, and the number of the last change that they know of."""
    from tinymlops.config import read_config
    from tinymlops.features.context import Context, load_definitions
    from tinymlops.opened import neighbours_of
    from tinymlops.querying import tables_of
    from tinymlops.registry.catalog import Catalog
    from tinymlops.registry.scope import Scope, system_user
    from tinymlops.stores.environment import reading
    from tinymlops.times import from_micros, system_clock

    now, root = question.now, Path(question.root)
    clock = system_clock if now is None else (lambda: from_micros(now))
    with reading(Path(question.workspace)) as environment:
        scope = Scope(environment, clock, system_user())
        # Transformations that are computed on the way take as little of the machine as the SELECT.
        config = msgspec.structs.replace(read_config(root), threads=1)
        context = Context(scope, load_definitions(Catalog(scope)), {}, root, config, neighbours_of)
        return tables_of(context, text, question.hidden), environment.database.sequence()


def _all_rows(text: str, tables: dict[str, pl.DataFrame], limits: Limits) -> pl.DataFrame:
    from tinymlops.stores.engine import query

    return query(text, tables=tables, root=Path("/"), threads=1, limits=limits)


def _shown(frame: pl.DataFrame, question: Question, *, is_whole: bool, sequence: int, begun: float) -> Shown:
    bounds = question.bounds
    columns = [Column(name, type_name(dtype), dtype.is_numeric()) for name, dtype in frame.schema.items()]
    width = min(len(columns), bounds.columns)
    height = min(bounds.shown, max(1, bounds.cells // max(1, width)))
    texts = [column_texts(frame.to_series(at).head(height), bounds.characters) for at in range(width)]
    chart, why = _chart(frame, question)
    return Shown(
        columns=columns[:width],
        width=len(columns),
        rows=[list(row) for row in zip(*texts, strict=True)],
        count=frame.height,
        is_whole=is_whole,
        names=columns[: bounds.columns],
        sequence=sequence,
        seconds=time.monotonic() - begun,
        chart=chart,
        no_chart=why,
    )


def _chart(frame: pl.DataFrame, question: Question) -> tuple[Chart | None, str]:
    if question.chart is None or not frame.height:
        return None, ""
    try:
        return chart_of(frame, question.chart, question.bounds), ""
    except DataError as error:
        return None, f"{error.message}; {error.hint}" if error.hint else error.message
    except BaseException as error:  # Polars panics
        if not is_fault(error):
            raise
        return None, "this picture cannot be drawn"


def _file(frame: pl.DataFrame, question: Question) -> Done:
    import polars as pl

    out = BytesIO()
    try:
        _flat(frame).write_csv(out) if question.form == "csv" else frame.write_parquet(out)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        form = {"csv": "CSV", "parquet": "Parquet"}[question.form]
        raise DataError(
            f"a column of these rows cannot be written as {form}: {error}", hint="cast what is nested to text"
        ) from error
    content = out.getvalue()
    if len(content) > 2 * question.bounds.bytes:
        raise DataError(
            f"the file has {len(content):,} bytes, and at most {2 * question.bounds.bytes:,} are sent",
            hint="select fewer columns or rows, or aggregate",
        )
    return Done(File(rows=frame.height, bytes=len(content)), content)


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Write as text what a CSV file cannot hold."""
    import polars as pl

    held = (pl.Binary, pl.Duration, pl.Object)
    odd = [
        one for one in frame.iter_columns() if one.dtype.is_nested() or isinstance(one.dtype, held) or is_beyond(one)
    ]
    return frame.with_columns([pl.Series(one.name, column_texts(one, WHOLE), dtype=pl.String) for one in odd])


def _refused(error: TinyMLOpsError, question: Question) -> Refused:
    """Say what is wrong and where, without the paths of this machine."""
    said = error.message[:_LONGEST]  # a query may raise an error of any length
    message, hint = without_place(said), error.hint
    for path, name in ((question.workspace, "the workspace"), (question.root, "the project")):
        if len(path) > 1:
            message, hint = message.replace(path, name), hint.replace(path, name)
    if isinstance(error, AccessError) and "data_dirs" in hint:
        hint = _FILE
    if "was stopped after" in message:
        return too_slow(question)
    if "needs too much memory" in message:
        return too_large(question)
    return Refused(kind=type(error).__name__, message=message, hint=hint, place=place_of(said, question.text))
