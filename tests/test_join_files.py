"""Joins with features that stay in Parquet files: the same answers, a few rows at a time."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tinymlops.errors import DataError
from tinymlops.features.join import search, tables
from tinymlops.features.join.gathering import gather, gather_batches
from tinymlops.features.join.point_in_time import point_in_time_join

START = datetime(2024, 1, 1, tzinfo=UTC)


def rows(count, *, seed=3):
    """Composite keys with nulls, and values of many types with nulls."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 9, count)
    sometimes = pl.Series(rng.random(count) < 0.2)
    frame = pl.DataFrame(
        {
            "carrier": [f"a carrier with a long name, {n % 3}" for n in numbers],
            "flight": numbers,
            "at": pl.Series([START + timedelta(seconds=int(s)) for s in rng.integers(0, 500, count)]),
            "made": pl.Series([START + timedelta(seconds=int(s)) for s in rng.integers(0, 600, count)]),
            "f": rng.normal(size=count),
            "i": rng.integers(-(2**62), 2**62, count),
            "u": pl.Series(rng.integers(0, 2**63, count), dtype=pl.UInt64) + 2**63,
            "small": pl.Series(rng.integers(0, 9, count), dtype=pl.Int8),
            "when": pl.Series([START.astimezone()] * count).cast(pl.Datetime("ns", "Europe/Berlin")),
            "took": pl.Series([timedelta(seconds=int(n)) for n in numbers]),
            "text": [f"text {n}" for n in numbers],
            "list": [[int(n)] * (n % 3) for n in numbers],
            "struct": [{"a": int(n), "b": [str(n)]} for n in numbers],
            "category": pl.Series([f"c{n}" for n in numbers], dtype=pl.Categorical),
            "price": pl.Series([Decimal(int(n)) / 4 for n in numbers], dtype=pl.Decimal(9, 2)),
        }
    )
    return frame.with_columns(
        pl.when(~sometimes).then(pl.col(name)).name.keep() for name in frame.columns if name != "at"
    )


def spine(count):
    return rows(count, seed=4).select("carrier", "flight", "at")


def join(left, right, **options):
    return point_in_time_join(left, right, key=["carrier", "flight"], timestamp="at", **options)


@pytest.fixture
def few_rows_at_a_time(monkeypatch):
    monkeypatch.setattr(tables, "_BATCH_ROWS", 17)
    monkeypatch.setattr(search, "_CODED_ROWS", 5)


@pytest.mark.parametrize(
    "options",
    [{}, {"ttl": "30s"}, {"created": "made"}, {"delay": "took"}, {"delay": "3s", "boundary": "<"}, {"details": True}],
)
def test_a_file_gives_what_its_rows_in_memory_give(options, tmp_path, few_rows_at_a_time):
    right = rows(200).with_columns(pl.col("took").fill_null(timedelta()))
    right.write_parquet(tmp_path / "rows.parquet", row_group_size=23)
    right = pl.read_parquet(tmp_path / "rows.parquet")
    expected = join(spine(60), right, **options)
    assert expected["f"].null_count() < 60
    for table in (str(tmp_path / "rows.parquet"), tmp_path / "*.parquet", pl.scan_parquet(tmp_path / "rows.parquet")):
        assert_frame_equal(join(spine(60), table, **options), expected)


def test_several_files_are_one_table_in_the_order_of_their_names(tmp_path, few_rows_at_a_time):
    right = rows(100)
    for name, part in zip("ba", (right[:40], right[40:]), strict=True):
        part.write_parquet(tmp_path / f"{name}.parquet")
    expected = join(spine(30), pl.concat([right[40:], right[:40]]))
    assert_frame_equal(join(spine(30), tmp_path / "*.parquet"), expected, categorical_as_str=True)


def test_a_frame_in_pieces_gives_what_one_piece_gives():
    right = rows(200)
    pieces = pl.concat([right[:70], right[70:71], right[:0], right[71:]], rechunk=False)
    assert pieces.n_chunks() > 1
    uneven = pieces.with_columns(right["f"].alias("g"))
    assert_frame_equal(join(spine(60), pieces), join(spine(60), right))
    assert_frame_equal(join(spine(60), uneven), join(spine(60), right.with_columns(g="f")))


def test_features_without_values_add_no_columns(tmp_path):
    right = rows(20).select("carrier", "flight", "at")
    right.write_parquet(tmp_path / "rows.parquet")
    for table in (right, pl.concat([right, right]), tmp_path / "rows.parquet"):
        assert_frame_equal(join(spine(5), table), spine(5))


def test_a_lazy_frame_that_does_more_than_scan_is_collected(tmp_path):
    right = rows(100)
    right.write_parquet(tmp_path / "rows.parquet")
    lazy = pl.scan_parquet(tmp_path / "rows.parquet").filter(pl.col("small") > 2)
    assert_frame_equal(join(spine(30), lazy), join(spine(30), lazy.collect()))


def test_an_empty_file_and_an_empty_spine_are_possible(tmp_path):
    rows(0).write_parquet(tmp_path / "none.parquet")
    rows(9).write_parquet(tmp_path / "some.parquet")
    assert join(spine(3), tmp_path / "none.parquet")["f"].null_count() == 3
    assert join(spine(3).clear(), tmp_path / "some.parquet").height == 0


def test_what_is_no_parquet_file_is_refused(tmp_path):
    (tmp_path / "text.parquet").write_text("no parquet")
    for path in (tmp_path / "text.parquet", tmp_path / "missing.parquet", str(tmp_path / "*.nothing")):
        with pytest.raises(DataError, match="cannot be read as Parquet"):
            join(spine(3), path)


@pytest.fixture
def between_passes(monkeypatch):
    """Do something between the pass over keys and times and the one over values."""

    def arrange(deed):
        def winners(looking):
            deed()
            return found(looking)

        found = search.Search.winners
        monkeypatch.setattr(search.Search, "winners", winners)

    return arrange


@pytest.mark.parametrize("scanned", [False, True])
def test_a_file_replaced_or_written_between_two_passes_is_an_error(tmp_path, between_passes, scanned):
    path = tmp_path / "rows.parquet"
    rows(50).write_parquet(path)
    rows(50, seed=9).write_parquet(tmp_path / "new")
    table = pl.scan_parquet(path) if scanned else path
    between_passes(lambda: (tmp_path / "new").replace(path))
    with pytest.raises(DataError, match=r"rows\.parquet changed while it was read\nHint: read it again"):
        join(spine(5), table)


def test_a_file_that_grows_or_goes_between_two_passes_is_an_error(tmp_path, between_passes):
    path = tmp_path / "rows.parquet"
    rows(50).write_parquet(path)
    between_passes(lambda: rows(60).write_parquet(path))
    with pytest.raises(DataError, match="changed while it was read"):
        join(spine(5), tmp_path / "*.parquet")
    between_passes(path.unlink)
    with pytest.raises(DataError, match="changed while it was read"):
        join(spine(5), path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (rows(9).drop("f"), r"column 'f' is in .*a\.parquet and not in .*b\.parquet"),
        (rows(9).with_columns(g=1), r"column 'g' is in .*b\.parquet and not in .*a\.parquet"),
        (
            rows(9).with_columns(pl.col("f").cast(pl.String)),
            r"column 'f' is Float64 in .*a\.parquet and String in .*b\.parquet",
        ),
    ],
)
def test_files_that_differ_are_named_with_their_column(tmp_path, other, message):
    rows(9).write_parquet(tmp_path / "a.parquet")
    other.write_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=message):
        join(spine(5), tmp_path / "*.parquet")


def test_a_scan_may_say_what_becomes_of_files_that_differ(tmp_path):
    rows(9).write_parquet(tmp_path / "a.parquet")
    rows(9).drop("f").write_parquet(tmp_path / "b.parquet")
    scan = pl.scan_parquet(tmp_path / "*.parquet", missing_columns="insert")
    assert_frame_equal(join(spine(5), scan), join(spine(5), scan.collect()), categorical_as_str=True)


def test_errors_count_rows_from_the_start_of_the_file(tmp_path, few_rows_at_a_time):
    good = rows(40).with_columns(pl.col("took").fill_null(timedelta()), flight=pl.col("flight").cast(pl.Float64))
    late = pl.arange(40, eager=True) == 38
    good.with_columns(took=pl.when(late).then(timedelta(-1)).otherwise("took")).write_parquet(tmp_path / "took.parquet")
    with pytest.raises(DataError, match=r"'took' is negative.* \[38\]"):
        join(spine(3), tmp_path / "took.parquet", delay="took")
    good.with_columns(flight=pl.when(late).then(0.5).otherwise("flight")).write_parquet(tmp_path / "key.parquet")
    with pytest.raises(DataError, match=r"'flight' has floats .*rows \[38\]"):
        join(spine(3), tmp_path / "key.parquet")
    naive = good.with_columns(at=pl.when(late).then(datetime(2024, 3, 10, 2, 30)).otherwise(datetime(2024, 1, 1)))
    naive.write_parquet(tmp_path / "at.parquet")
    with pytest.raises(DataError, match=r"'at' holds 1 times .*\n?.*rows \[38\]"):
        join(spine(3), tmp_path / "at.parquet", tz="America/New_York")


def test_a_file_is_left_as_it_was_when_the_join_is_interrupted(tmp_path, few_rows_at_a_time, monkeypatch):
    rows(100).write_parquet(tmp_path / "rows.parquet")
    before = (tmp_path / "rows.parquet").read_bytes()

    class Interrupting(search.Coder):
        def number(self, records, *, first_row=0):
            if first_row > 50:
                raise KeyboardInterrupt
            return super().number(records, first_row=first_row)

    monkeypatch.setattr(search, "Coder", Interrupting)
    with pytest.raises(KeyboardInterrupt):
        join(spine(30), tmp_path / "rows.parquet")
    assert [Path(path).name for path in tmp_path.iterdir()] == ["rows.parquet"]
    assert (tmp_path / "rows.parquet").read_bytes() == before


@examples(100)
@given(
    count=st.integers(0, 30), picks=st.lists(st.integers(-1, 29), max_size=40), cuts=st.lists(st.integers(0, 30)),
    skip=st.integers(0, 3),
)  # fmt: skip
def test_gathered_rows_are_the_chosen_ones(count, picks, cuts, skip):
    frame = rows(count + skip).slice(skip)
    chosen = np.array([pick if pick < count else -1 for pick in picks], np.int64)
    index = pl.Series([None if pick < 0 else int(pick) for pick in chosen], dtype=pl.get_index_type())
    expected = frame.select(pl.all().gather(index))
    edges = [0, *sorted(cut for cut in cuts if cut < count), count]
    pieces = (frame[start:stop] for start, stop in itertools.pairwise(edges))
    assert_frame_equal(pl.DataFrame(gather(frame, chosen)), expected)
    assert_frame_equal(pl.DataFrame(gather_batches(pieces, chosen, frame.schema)), expected)
