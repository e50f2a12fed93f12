"""`lint --pure`: every definition is run twice, and must give the same.

The second time its input rows are shuffled, with one thread where there were several, and Python runs in a process of its
own with another hash seed. What differs is put down to what the text of the definition shows, or else to what was changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import polars as pl

from tinymlops.errors import TinyMLOpsError
from tinymlops.features.compute.views import compute_view, plan_view
from tinymlops.features.definitions.code import is_importable
from tinymlops.features.definitions.nouns import title_of
from tinymlops.features.definitions.specs import (
    EntitySpec,
    FeatureRequest,
    OnDemandSpec,
    ServiceSpec,
    SourceSpec,
    TrainingSetSpec,
    ViewSpec,
)
from tinymlops.features.history.historical import FeatureColumns, in_order
from tinymlops.features.history.in_place import reading_once
from tinymlops.features.history.sources import SYSTEM, read_source, run_transformation
from tinymlops.features.history.stored import current_rows, stored_rows
from tinymlops.features.law.assembled import assemble
from tinymlops.features.law.readings import code_of
from tinymlops.features.law.replay import chosen_rows
from tinymlops.features.law.same import difference
from tinymlops.features.law.second_run import Ran, expression_texts, run_beside
from tinymlops.features.law.suspects import Suspects, suspects_in
from tinymlops.findings import Finding
from tinymlops.kernels.threads import set_threads, thread_count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tinymlops.features.context import Context
    from tinymlops.features.law.assembled import Assembled
    from tinymlops.features.law.same import Difference

__all__ = ["impurities"]

_ROWS = 200
"""Spine rows that views are computed for."""
_WHAT = {
    "shuffled": "its input rows are shuffled",
    "threads": "it runs in one thread",
    "beside": "the hash seed is another",
}
_FIXES = {
    "clock": "leave it out: take the time from a column, or in an on-demand view from timestamp",
    "chance": "give it a fixed seed, or compute it from the row's key",
    "row-order": "say which row with an order by, down to a column that tells all rows apart",
    "hash-seed": "walk through sorted(...) instead of a set, and use hashlib instead of hash()",
    "threads": "sort before what takes rows as they come: group_by(..., maintain_order=True), or an order by",
    "unstable": "find what it reads beside its inputs: a file, a service, something it remembers between calls",
}


class _Runs(NamedTuple):
    """A source that was run: how it came out first, and how to run it once more."""

    spec: SourceSpec
    inputs: dict[str, pl.DataFrame]
    first: pl.DataFrame
    again: Callable[[], pl.DataFrame]


def impurities(context: Context, seed: int) -> tuple[list[Finding], int]:
    """Run every definition twice.

    Args:
        context: The workspace's state.
        seed: How input rows are shuffled, and which spine rows views are computed for.

    Returns:
        What was found, and how many definitions were run.
    """
    found: list[Finding] = []
    runs: list[_Runs] = []
    for spec in context.definitions.of(SourceSpec).values():
        if spec.via in ("push", "connection"):
            continue  # rows that others write differ between two reads
        try:
            runs.append(_run(context, spec))
        except TinyMLOpsError as error:
            found += [*_not_run(spec.name, error.message), *_suspected(context, spec, differs=False)]
    views = [one for one in context.definitions.of(OnDemandSpec).values() if one.nearest is msgspec.UNSET]
    python = {one.spec.name: one.inputs for one in runs if one.spec.code is not None and is_importable(one.spec.code)}
    importable = [one.name for one in views if one.code is not None and is_importable(one.code)]
    ran, rows = run_beside(context, python, importable) if python or importable else ({}, {})
    for run in runs:
        found += _of_source(context, run, seed, ran.get(run.spec.name), rows.get(run.spec.name))
    for view in views:
        found += _of_on_demand(context, view, ran.get(view.name))
    of_views, done = _of_training_sets(context, seed)
    of_services, more = _of_services(context, seed, done)
    return found + of_views + of_services, len(runs) + len(views) + len(done) + more


def _run(context: Context, spec: SourceSpec) -> _Runs:
    """Run a source or a transformation once."""
    inputs = {name: _input(context, spec, name) for name in spec.inputs}
    again = partial(run_transformation, context, spec, inputs) if inputs else partial(read_source, context, spec)
    return _Runs(spec, inputs, again(), again)


def _input(context: Context, spec: SourceSpec, name: str) -> pl.DataFrame:
    return stored_rows(context, name) if spec.row_wise else current_rows(context, name).drop(SYSTEM)


def _of_source(
    context: Context, run: _Runs, seed: int, beside: Ran | None, rows: pl.DataFrame | None
) -> Iterator[Finding]:
    spec, differences = run.spec, dict[str, "Difference | None"]()
    one_thread = replace(context, config=msgspec.structs.replace(context.config, threads=1))
    if run.inputs:
        shuffled = {name: frame.sample(fraction=1, shuffle=True, seed=seed) for name, frame in run.inputs.items()}
        differences["shuffled"] = difference(run.first, run_transformation(one_thread, spec, shuffled))
    else:
        differences["threads"] = difference(run.first, read_source(one_thread, spec))
    if rows is not None:
        differences["beside"] = difference(run.first, rows)
    elif spec.code is not None:
        why = beside.error if beside is not None else "it lives only where it was typed"
        yield from _not_run(spec.name, f"with another hash seed: {why}")
    real = {what: one for what, one in differences.items() if one is not None and one.kind != "near"}
    if not real:
        yield from _suspected(context, spec, differs=False)
        for what, near in differences.items():
            if near is not None:
                yield _near(spec.name, what, near)
        return
    named = list(_suspected(context, spec, differs=True))
    what, found = next(iter(real.items()))
    if not named and difference(run.first, run.again()) is not None:
        named = [_impure("unstable", spec.name, "gives other rows each time that it is run")]
    rule = {"shuffled": "row-order", "threads": "threads", "beside": "hash-seed"}[what]
    named = named or [_impure(rule, spec.name, f"gives other rows when {_WHAT[what]}")]
    for one in named:
        yield msgspec.structs.replace(one, record=found.example, rows=found.rows)


def _suspected(context: Context, spec: SourceSpec | OnDemandSpec, *, differs: bool) -> Iterator[Finding]:
    """Name what the text of a definition shows; it is a warning where no run has shown it to matter."""
    found: Suspects = suspects_in(spec, code_of(context, spec))
    in_sql = isinstance(spec, SourceSpec) and spec.sql is not None
    for rule, names in (("clock", found.clocks), ("chance", found.chance), ("row-order", found.unordered)):
        if names:
            certain = differs or (in_sql and rule != "row-order")
            rule_or_hash = "hash-seed" if rule == "row-order" and not in_sql else rule
            said = f"uses {', '.join(dict.fromkeys(names))}"
            finding = _impure(rule_or_hash, spec.name, said)
            yield finding if certain else msgspec.structs.replace(finding, level="warning")


def _impure(rule: str, name: str, said: str) -> Finding:
    return Finding(rule=rule, level="impurity", where=name, message=f"{name!r} {said}", fix=_FIXES[rule])


def _near(name: str, what: str, found: Difference) -> Finding:
    return Finding(
        rule="last-digits",
        level="note",
        where=name,
        message=f"floats of {name!r} differ in their last digits when {_WHAT[what]}",
        fix="nothing, unless the bits must be the same: sums of a window are exact, those of SQL and Polars are not",
        record=found.example,
        rows=found.rows,
    )


def _not_run(name: str, why: str) -> Iterator[Finding]:
    yield Finding(
        rule="not-run",
        level="note",
        where=name,
        message=f"{name!r} was not run twice: {why}",
        fix="put it into a module of the project and ingest its sources, and lint again",
    )


def _of_on_demand(context: Context, spec: OnDemandSpec, beside: Ran | None) -> Iterator[Finding]:
    """Compare the expressions that a function gives: now, once more, and with another hash seed."""
    function = context.function(spec)
    texts, again = (expression_texts(context.definitions, spec, function) for _ in range(2))
    if beside is None or beside.error:
        yield from _not_run(
            spec.name, f"with another hash seed: {beside.error if beside else 'it lives only where it was typed'}"
        )
    differs = texts != again or (beside is not None and not beside.error and texts != beside.texts)
    named = list(_suspected(context, spec, differs=differs))
    yield from named
    if differs and not named:
        rule = "unstable" if texts != again else "hash-seed"
        yield _impure(rule, spec.name, "gives other expressions each time that it is asked")


def _of_training_sets(context: Context, seed: int) -> tuple[list[Finding], set[str]]:
    """Compute views of a few rows again from shuffled records, with one thread; return which views these were."""
    found: list[Finding] = []
    done: set[str] = set()
    for spec in context.definitions.of(TrainingSetSpec).values():
        try:
            with reading_once() as operation:
                built = assemble(context, spec, operation)
                rows = chosen_rows(built.spine.height, _ROWS, seed)
                with _one_thread():
                    found += _of_views(context, built, list(reversed(rows)), seed)
        except TinyMLOpsError:  # which the checks for leaks tell
            continue
        done |= {title_of(request) for request in spec.features if not request.on_demand}
    return found, done


def _of_services(context: Context, seed: int, done: set[str]) -> tuple[list[Finding], int]:
    """Do the same for the views that only services name, at the times of their own rows."""
    asked = [one for service in context.definitions.of(ServiceSpec).values() for one in service.features]
    wanted = {title_of(one): one for one in asked if not one.on_demand and title_of(one) not in done}
    found: list[Finding] = []
    for request in wanted.values():
        try:
            found += _of_view(context, FeatureRequest(view=request.view, version=request.version), seed)
        except TinyMLOpsError as error:
            found += _not_run(title_of(request), error.message)
    return found, len(wanted)


def _of_view(context: Context, request: FeatureRequest, seed: int) -> Iterator[Finding]:
    reader = context.for_request(request)
    view = reader.definitions.get(ViewSpec, request.view)
    entity, source = reader.definitions.get(EntitySpec, view.entity), reader.definitions.get(SourceSpec, view.source)
    records, plan = stored_rows(reader, view.source), plan_view(context.definitions, request, spine_source=None)
    rows = records[chosen_rows(records.height, _ROWS, seed)]
    key = zip(entity.key, reader.definitions.key_columns(entity, source), strict=True)
    spine, time = rows.select(pl.col(column).alias(name) for name, column in key), rows["__event"].fill_null(0) + 1
    before = compute_view(plan, records, spine, time.to_numpy()).columns
    with _one_thread():
        shuffled = records.sample(fraction=1, shuffle=True, seed=seed)
        again = compute_view(plan, shuffled, spine, time.to_numpy()).columns
    for name, column in again.items():
        if not before[name].equals(column, null_equal=True):
            finding = _impure("unstable", title_of(request), f"gives {name!r} another value for the same rows")
            at = int(before[name].ne_missing(column).arg_true()[0])
            yield msgspec.structs.replace(finding, feature=name, row=spine.row(at, named=True))


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = thread_count()
    set_threads(1)
    try:
        yield
    finally:
        set_threads(threads)


def _of_views(context: Context, built: Assembled, rows: list[int], seed: int) -> Iterator[Finding]:
    spine, time = built.spine[rows], built.time[rows]
    again: dict[str, pl.Series] = {}
    for request in built.spec.features:
        if not request.on_demand:
            reader = context.for_request(request)
            view = reader.definitions.get(ViewSpec, request.view)
            records = stored_rows(reader, view.source, as_of=built.sequence).sample(fraction=1, shuffle=True, seed=seed)
            plan = plan_view(context.definitions, request, spine_source=built.spec.spine)
            again |= compute_view(plan, records, spine, time).columns
    read = FeatureColumns(again, {}, {}, {})
    table = in_order(
        context, spine, time, built.spec.features, read, spine_source=built.spec.spine, as_of=built.sequence
    )
    yield from _unlike(built, table.columns, rows)


def _unlike(built: Assembled, again: Mapping[str, pl.Series], rows: list[int]) -> Iterator[Finding]:
    for name, column in again.items():
        before = built.table.columns[name][rows]
        if not before.equals(column, null_equal=True):
            owner = built.table.origins[name].partition(":")[0]
            finding = _impure("unstable", owner, f"gives {name!r} another value for the same rows")
            at = int(before.ne_missing(column).arg_true()[0])
            yield msgspec.structs.replace(finding, feature=name, row=built.described(rows[at]))
