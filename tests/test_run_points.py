"""The points of runs: their order, their sums and curves, beside a brute-force oracle; sealed or not, they are the same."""

import math
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tinymlops as tm
from tinymlops.errors import DataError, IntegrityError
from tinymlops.records import MetricPyramid, MetricSeries
from tinymlops.registry.runs import Runs, blocks
from tinymlops.registry.runs.blocks import decode_block, encode_block
from tinymlops.registry.runs.points import Points, decode_chunk, encode_chunk, in_order, joined, points_of, split
from tinymlops.registry.runs.summaries import carried_on, follows, summary_of
from tinymlops.registry.runs.verifying import check_sums
from tinymlops.registry.scope import Scope
from tinymlops.stores.environment import open_environment

START = datetime(2024, 1, 1, tzinfo=UTC)

few_steps = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, -1.0])
few_values = st.sampled_from([0.0, -0.0, 1.5, -2.0, math.nan, math.inf, -math.inf, 5e-324, 1e308])
logged = st.lists(st.tuples(few_steps, few_values, st.integers(0, 3)), max_size=12)


def made(rows, session=0):
    return points_of([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows], session)


def oracle(sessions):
    """What counts and what is superseded, as rows of (step, session, time, place, value), by the words of the rule alone."""
    rows = [
        (step, session, time, place, value)
        for session, part in enumerate(sessions)
        for place, (step, value, time) in enumerate(part)
    ]
    seen, once = set(), []
    for row in sorted(rows, key=lambda row: row[:4]):
        same = (*row[:3], np.float64(row[4]).tobytes())
        if same not in seen:
            seen.add(same)
            once.append(row)
    newest = {step: max(row[1] for row in once if row[0] == step) for step, *_ in once}
    return [row for row in once if row[1] == newest[row[0]]], [row for row in once if row[1] < newest[row[0]]]


def as_rows(points):
    return [
        (step, session, time, np.float64(value).tobytes())
        for step, value, time, session in zip(*(column.tolist() for column in points), strict=True)
    ]


def expected(rows):
    return [(step, session, time, np.float64(value).tobytes()) for step, session, time, _, value in rows]


@given(st.lists(logged, min_size=1, max_size=3))
def test_which_points_count_is_what_the_rule_says(sessions):
    points = in_order(joined([made(part, session) for session, part in enumerate(sessions)]))
    counted, superseded = split(points)
    first, second = oracle(sessions)
    assert as_rows(counted) == expected(first)
    assert as_rows(superseded) == expected(second)


@given(logged.filter(bool), logged.filter(bool))
def test_a_sum_that_is_carried_on_is_the_sum_of_all(before, after):
    first, second = in_order(made(before)), in_order(made(after))
    summary = summary_of("r", "loss", first)
    if follows(second, summary):
        every, _ = split(in_order(joined([made(before), made(after)])))
        assert repr(carried_on(summary, second)) == repr(summary_of("r", "loss", every))


@given(logged)
def test_chunks_and_blocks_come_back_bit_for_bit(rows):
    points = made(rows, 2)
    assert as_rows(decode_chunk(encode_chunk(points), 2)) == as_rows(points)
    ordered = in_order(points)
    assert as_rows(decode_block(encode_block(ordered))) == as_rows(ordered)


def test_a_damaged_block_is_an_error_of_ours():
    content = encode_block(points_of([1.0, 2.0], [3.0, 4.0], [5, 6]))
    for damaged in (content[:5], content[:-9] + b"x" * 9, b"\x09" + content[1:], b""):
        with pytest.raises(IntegrityError):
            decode_block(damaged)
    with pytest.raises(IntegrityError):
        decode_chunk(encode_chunk(points_of([1.0], [2.0], [3]))[:-1], 0)


@settings(deadline=None, max_examples=25)
@example(sessions=[[[(0.0, math.nan, 0), (0.0, math.inf, 0)]]], seals=False)
@given(st.lists(st.lists(logged, max_size=3), min_size=1, max_size=3), st.booleans())
def test_what_is_stored_is_what_was_logged_however_it_was_committed_and_sealed(sessions, seals):
    with tempfile.TemporaryDirectory() as folder:
        environment = open_environment(Path(folder) / "r.tm", create=True, clock=lambda: START)
        runs = Runs(Scope(environment, lambda: START, "anna"))
        run = runs.start("r").id
        for number, commits in enumerate(sessions):
            if number:
                runs.finish(run) if seals else environment.live.end(run)
                runs.resume(run)
            for rows in commits:
                runs.log_points(run, {"loss": made(rows)})
        first, second = oracle([[row for rows in commits for row in rows] for commits in sessions])
        assert as_rows(runs.points(run, "loss")) == expected(first)
        assert as_rows(runs.points(run, "loss", superseded=True)) == expected(second)
        summaries = runs.summaries(run).get(run, [])
        assert len(summaries) == bool(first)
        if first:
            assert (summaries[0].count, summaries[0].session) == (len(first), first[-1][1])
            assert repr(summaries[0].last) == repr(first[-1][4])
            numbers = [row[4] for row in first if not math.isnan(row[4])]
            assert (summaries[0].min, summaries[0].max) == ((min(numbers), max(numbers)) if numbers else (None, None))
            assert summaries[0].best == summaries[0].min
        runs.finish(run)
        assert as_rows(runs.points(run, "loss")) == expected(first)
        assert environment.database.damaged_rows() == []
        runs.close()
        environment.release()


def test_points_logged_in_bulk_to_a_resumed_run_supersede_in_its_sum_too(tmp_path):
    with tm.connect(tmp_path / "r.tm", create=True) as ws:
        with ws.start_run("r") as run:
            ws.runs.log_points(run.id, {"loss": made([(0.0, 1.0, 1), (1.0, 2.0, 2)])})
        with ws.start_run(resume=run):
            ws.runs.log_points(run.id, {"loss": made([(1.0, 3.0, 5), (2.0, 4.0, 6)])})
            (summary,) = ws.runs.summaries(run.id)[run.id]
            assert (summary.count, summary.session) == (ws.runs.points(run.id, "loss").size, 1) == (3, 1)


@pytest.mark.parametrize(
    "parts", [(1_000, 15_384, 1, 30_000, 64, 5), (16_384, 16_384), (40_000, 1), (16_385, 16_383, 2)]
)
@pytest.mark.parametrize("resumes", [False, True])
def test_points_sealed_in_parts_are_stored_as_those_that_are_sealed_at_once(tmp_path, parts, resumes):
    environment = open_environment(tmp_path / "r.tm", create=True, clock=lambda: START)
    runs, number = Runs(Scope(environment, lambda: START, "anna")), np.arange(sum(parts))
    steps, values = number // 3 * 0.5, np.where(number % 7, np.cos(number), math.nan)
    at_once, in_parts = runs.start("whole").id, runs.start("parts").id
    begin, sessions = 0, []
    for place, size in enumerate(parts):
        part = slice(begin, begin + size)
        if place and resumes:
            runs.resume(in_parts)
            steps[begin:] += 1.0  # on a step of its own, or it would supersede
        runs.log_points(in_parts, {"loss": points_of(steps[part], values[part], number[part])})
        runs.finish(in_parts)
        sessions += [place * resumes] * size
        begin += size
    runs.log_points(at_once, {"loss": points_of(steps, values, number)})
    runs.finish(at_once)
    stored = [environment.database.list(MetricSeries, where={"run": run}) for run in (in_parts, at_once)]
    assert [(one.block, one.count) for one in stored[0]] == [(one.block, one.count) for one in stored[1]]
    assert runs.points(in_parts, "loss").sessions.tolist() == sessions
    assert as_rows(runs.points(in_parts, "loss")._replace(sessions=number * 0)) == as_rows(runs.points(at_once, "loss"))
    pyramids = [environment.database.get(MetricPyramid, run=run, name="loss") for run in (in_parts, at_once)]
    assert pyramids[0].count == pyramids[1].count == number.size
    assert pyramids[0].content == pyramids[1].content
    assert [one.detail for one in check_sums(environment.database) if one.level != "ok"] == []
    runs.close()
    environment.release()


@pytest.fixture
def long_run(tmp_path):
    """A run of 200,000 points at uneven steps with spikes, sealed; and one that goes on with the same, most of it sealed."""
    random = np.random.default_rng(0)
    steps = np.cumsum(random.integers(1, 5, 200_000)).astype(float)
    values = np.sin(steps / 9_000) + random.normal(0, 0.01, len(steps))
    values[random.integers(0, len(steps), 50)] = 9.0
    values[random.integers(0, len(steps), 50)] = math.nan
    points = Points(steps, values, np.arange(len(steps)), np.zeros(len(steps), np.int32))
    with tm.connect(tmp_path / "r.tm", create=True) as ws:
        sealed, goes_on = ws.runs.start("sealed").id, ws.runs.start("goes on").id
        ws.runs.log_points(sealed, {"loss": points})
        ws.runs.finish(sealed)
        for part in (slice(197_000), slice(197_000, None)):
            ws.runs.log_points(goes_on, {"loss": points.take(part)})
        (summary,) = ws.runs.summaries(goes_on)[goes_on]
        assert (summary.count, summary.chunks) == (200_000, 1)
        yield ws, sealed, goes_on, points


@pytest.mark.parametrize(
    ("start", "stop"),
    [(None, None), (None, 3e5), (1e5, 4e5), (123_456, 130_000), (2e5, 2e5 + 3), (9e9, None), (5, 4), (4.9e5, None)],
)
def test_a_curve_shows_every_spike_and_says_how_many_points_it_stands_for(long_run, start, stop):
    ws, sealed, goes_on, points = long_run
    inside = (points.steps >= (-math.inf if start is None else start)) & (
        points.steps <= (math.inf if stop is None else stop)
    )
    steps, values = points.steps[inside], points.values[inside]
    known = set(zip(steps.tolist(), values.tolist(), strict=True))
    for run in (sealed, goes_on):
        curve = ws.runs.curve(run, "loss", pixels=300, start=start, stop=stop)
        assert curve.total == len(steps)
        assert curve.shown <= 4 * 300
        assert (np.diff(curve.x) >= 0).all()
        drawn = set(zip(curve.x.tolist(), curve.y.tolist(), strict=True))
        assert {one for one in drawn if not math.isnan(one[1])} <= known
        if len(steps):
            assert (curve.x[0], curve.x[-1]) == (steps[0], steps[-1])
            assert np.nanmax(curve.y) == np.nanmax(values)
            assert np.nanmin(curve.y) == np.nanmin(values)


def test_a_curve_has_each_columns_extremes(long_run):
    ws, _, _, every = long_run
    points, run = every.take(slice(60_000)), ws.runs.start("few").id
    ws.runs.log_points(run, {"loss": points})
    curve = ws.runs.curve(run, "loss", pixels=100)
    column = np.minimum((points.steps - points.steps[0]) / np.ptp(points.steps) * 100, 99).astype(int)
    drawn = np.minimum((curve.x - points.steps[0]) / np.ptp(points.steps) * 100, 99).astype(int)
    for one in range(100):
        values, shown = points.values[column == one], curve.y[drawn == one]
        assert {np.nanmin(values), np.nanmax(values)} <= set(shown.tolist())


def test_a_curve_of_a_run_that_goes_on_shows_what_was_superseded_meanwhile_no_more(long_run):
    ws, sealed, _, points = long_run
    ws.runs.resume(sealed)
    again = Points(points.steps[-3:], np.full(3, -7.0), points.times[-3:], points.sessions[-3:])
    ws.runs.log_points(sealed, {"loss": again})
    curve = ws.runs.curve(sealed, "loss", pixels=300)
    assert curve.total == 200_000
    assert curve.y[-1] == np.nanmin(curve.y) == -7.0
    longer = ws.runs.curve(sealed, "loss", pixels=300, start=points.steps[-5])
    assert longer.x.tolist() == points.steps[-5:].tolist()
    assert longer.y[-3:].tolist() == [-7.0, -7.0, -7.0]


def test_a_curve_over_time_and_over_another_metric(tmp_path):
    with tm.connect(tmp_path / "r.tm", create=True) as ws, ws.start_run("r") as run:
        for step in range(10):
            run.log_metrics({"loss": 1 / (step + 1), "epoch": step / 4}, step=step)
        run.log_metric("loss", 0.01, step=0.5)
        curve = ws.runs.curve(run.id, "loss", x="epoch")
        assert curve.x.tolist() == [step / 4 for step in range(10)]
        assert curve.y.tolist() == [1 / (step + 1) for step in range(10)]
        over_time = ws.runs.curve(run.id, "loss", x="time")
        assert over_time.total == 11
        assert over_time.y[-1] == 0.01
        assert ws.runs.curve(run.id, "nothing").total == 0
        assert ws.runs.curve(run.id, "loss", x="nothing").total == 0
        with pytest.raises(DataError, match="width"):
            ws.runs.curve(run.id, "loss", pixels=0)
        assert curve.to_frame().shape == (10, 2)


def test_steps_that_are_none_are_refused(tmp_path):
    with tm.connect(tmp_path / "r.tm", create=True) as ws, ws.start_run("r") as run:
        for step in (math.nan, math.inf, "3", True, 2**60, [1]):
            with pytest.raises(DataError, match="step"):
                run.log_metric("loss", 1.0, step=step)
        with pytest.raises(DataError, match="step"):
            ws.runs.log_points(run.id, {"loss": points_of([math.nan], [1.0], [1])})
        for value in ("1", None, [1, 2], object()):
            with pytest.raises(DataError, match="loss"):
                run.log_metric("loss", value)
            with pytest.raises(DataError, match="loss"):
                run.log_metrics({"fine": 1, "loss": value})
        run.log_metrics({})
        assert ws.runs.summaries(run.id) == {}


def test_a_run_that_goes_on_for_days_is_sealed_now_and_then(tmp_path):
    with tm.connect(tmp_path / "r.tm", create=True) as ws:
        run = ws.runs.start("r").id
        for step in range(1_100):
            ws.runs.log_metrics(run, {"loss": float(step)}, at=START + timedelta(seconds=step))
        (summary,) = ws.runs.summaries(run)[run]
        assert summary.count == 1_100
        assert summary.chunks < 512
        assert ws.runs.points(run, "loss").values.tolist() == [float(step) for step in range(1_100)]
        assert blocks.BLOCK > 1_100
        assert ws.sql(f"SELECT count(*) FROM metrics WHERE run = '{run}'").item() == 1_100


def test_metrics_of_two_runs_do_not_mix(tmp_path):
    with tm.connect(tmp_path / "r.tm", create=True) as ws, ws.start_run("a") as one, ws.start_run("b") as two:
        for step in range(5):
            one.log_metric("loss", step)
            two.log_metric("loss", -step)
        assert ws.runs.points(one.id, "loss").values.tolist() == [0, 1, 2, 3, 4]
        assert ws.runs.points(two.id, "loss").values.tolist() == [0, -1, -2, -3, -4]
