"""Segment files: rows are read back as they were written, with their sequence."""

from __future__ import annotations

import os

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tinymlops.errors import DataError, IntegrityError
from tinymlops.stores import segments


@pytest.fixture
def directory(tmp_path):
    # Characters that Polars would read as a pattern or a partition.
    root = tmp_path / "a [b]*=1"
    for path in (root, root / "tmp", root / "segments"):
        path.mkdir()
    return root / "segments" / "weather"


def frame(**columns):
    rows = len(next(iter(columns.values())))
    return pl.DataFrame(columns).with_columns(
        __event=pl.int_range(rows, dtype=pl.Int64) * 10,
        __created=pl.lit(None, dtype=pl.Int64),
        __ordinal=pl.int_range(1, rows + 1, dtype=pl.Int64),
        __deleted=pl.lit(False),
    )


def write(data, directory):
    return segments.write(data, directory, directory.parent.parent / "tmp")


def test_rows_come_back_with_their_sequence(directory):
    data = frame(
        k=["a", "b", None],
        v=[1.5, None, float("nan")],
        n=pl.Series([1, 2, 3], dtype=pl.Int16),
        t=pl.Series([0, 1, None], dtype=pl.Datetime("us", "UTC")),
        c=pl.Series(["x", "y", "x"], dtype=pl.Enum(["x", "y"])),
        d=pl.Series(["1.50", "2.25", None]).cast(pl.Decimal(10, 2)),
        l=[[1], [], None],
    )
    written = write(data, directory)
    assert written.rows == 3
    assert written.bytes == (directory / written.sha256).stat().st_size
    expected = data.with_columns(__sequence=pl.col("__ordinal") + 100).drop("__ordinal")
    expected = expected.select(*data.columns[:-4], *segments.SYSTEM_COLUMNS)
    assert_frame_equal(segments.read([(directory / written.sha256, 100)], None), expected)


def test_categories_of_older_files_are_read_as_text(directory):
    older = write(
        frame(
            color=pl.Series(["red", "blue"], dtype=pl.Categorical),
            l=pl.Series([["a"], None]).cast(pl.List(pl.Categorical)),
        ),
        directory,
    )
    newer = write(frame(color=["red"], l=[["b"]]), directory)
    parts = [(directory / older.sha256, 0), (directory / newer.sha256, 2)]
    got = segments.read(parts, None)
    assert got.select("color", "l").rows() == [("red", ["a"]), ("blue", None), ("red", ["b"])]
    assert [part["color"].dtype for path, base in parts for part in segments.batches(path, base)] == [pl.String] * 2
    merged = segments.merge(
        parts, got.with_columns(pl.col("__sequence") + 3), directory, directory.parent.parent / "tmp"
    )
    assert segments.read([(directory / merged.sha256, 0)], ["color"])["color"].to_list() == ["red", "blue", "red"] * 2


def test_the_same_rows_are_one_file(directory):
    first, second = (write(frame(v=[1, 2]), directory) for _ in range(2))
    assert first == second
    assert len(list(directory.iterdir())) == 1


def test_a_new_column_is_null_in_older_segments(directory):
    old, new = write(frame(v=[1]), directory), write(frame(v=[2], w=["x"]), directory)
    found = segments.read([(directory / old.sha256, 0), (directory / new.sha256, 1)], None)
    assert found.select("v", "w", "__sequence").rows() == [(1, None, 1), (2, "x", 2)]


def test_only_the_columns_asked_for_are_read(directory):
    written = write(frame(v=[1], w=["x"]), directory)
    found = segments.read([(directory / written.sha256, 0)], ["w", "later"])
    assert found.columns == ["w", "later", *segments.SYSTEM_COLUMNS]
    assert found.row(0)[:2] == ("x", None)


def test_a_column_that_changed_its_type_is_named_with_both_types(directory):
    paths = [(directory / write(frame(v=[value]), directory).sha256, 0) for value in (1, "x")]
    with pytest.raises(DataError, match="column 'v' of weather changed its type from Int64 to String"):
        segments.read(paths, None)
    assert segments.read(paths, []).height == 2


def test_no_segments_are_no_rows(directory):
    found = segments.read([], ["v"])
    assert found.is_empty()
    assert found.columns == ["v", *segments.SYSTEM_COLUMNS]
    empty = write(frame(v=[1]).head(0), directory)
    assert segments.read([(directory / empty.sha256, 0)], None).schema["v"] == pl.Int64


def test_a_flipped_byte_is_detected_and_the_file_named(directory):
    path = directory / write(frame(v=list(range(1000))), directory).sha256
    segments.read([(path, 0)], None)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(0, 0))
    with pytest.raises(IntegrityError, match=f"{path.name} is damaged"):
        segments.read([(path, 0)], None)
    path.unlink()
    with pytest.raises(IntegrityError, match=f"{path.name} is missing"):
        segments.read([(path, 0)], None)


def test_a_file_is_hashed_once_unless_this_process_wrote_it_and_again_when_it_changes(directory, monkeypatch):
    from tinymlops.stores import publish

    path = directory / write(frame(v=[1]), directory).sha256
    hashed = []
    original = publish.hash_file
    monkeypatch.setattr(publish, "hash_file", lambda path: hashed.append(path) or original(path))
    segments.read([(path, 0)], None)
    assert hashed == []
    os.utime(path, ns=(0, 0))
    for _ in range(3):
        segments.read([(path, 0)], None)
    assert hashed == [path]
    os.utime(path, ns=(1, 1))
    segments.read([(path, 0)], None)
    assert hashed == [path, path]
