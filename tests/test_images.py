"""Join images: mapped as they were stored, removed when they are not what was written."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tinymlops.stores import images

ROWS = pl.DataFrame(
    {"event": [3, 1, 2], "word": ["a", None, "a text too long to be kept inline"], "x": [0.5, None, -0.0]}
)
KEYS = pl.DataFrame({"key": ["a", "b"]})


@pytest.fixture
def tmp(tmp_path):
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "images" / "orders" / "customer"


def test_tables_come_back_as_they_were(directory, tmp):
    images.store(directory, "one", {"rows": ROWS, "keys": KEYS}, tmp)
    loaded = images.load(directory, "one")
    assert list(loaded) == ["rows", "keys"]
    assert_frame_equal(loaded["rows"], ROWS)
    assert_frame_equal(loaded["keys"], KEYS)
    assert list(tmp.iterdir()) == []


def test_numbers_are_used_where_they_lie(directory, tmp):
    images.store(directory, "one", {"rows": pl.concat([ROWS, ROWS], rechunk=False)}, tmp)
    column = images.load(directory, "one")["rows"]["event"]
    assert column.n_chunks() == 1
    assert column.to_numpy(allow_copy=False).tolist() == [3, 1, 2, 3, 1, 2]


def test_an_empty_table_keeps_its_columns(directory, tmp):
    images.store(directory, "one", {"rows": ROWS.clear()}, tmp)
    assert_frame_equal(images.load(directory, "one")["rows"], ROWS.clear())


def test_only_the_newest_image_is_kept_and_a_mapped_one_stays_readable(directory, tmp):
    images.store(directory, "one", {"rows": ROWS}, tmp)
    mapped = images.load(directory, "one")["rows"]
    images.store(directory, "two", {"rows": KEYS}, tmp)
    assert [path.name for path in directory.iterdir()] == ["two"]
    assert images.load(directory, "one") is None
    assert_frame_equal(mapped, ROWS)


def test_what_another_process_stored_first_is_kept(directory, tmp):
    images.store(directory, "one", {"rows": ROWS}, tmp)
    images.store(directory, "one", {"rows": ROWS}, tmp)
    assert_frame_equal(images.load(directory, "one")["rows"], ROWS)
    assert list(tmp.iterdir()) == []


@pytest.mark.parametrize("file", ["rows.arrow", "manifest"])
def test_any_flipped_byte_is_found_and_the_image_removed(directory, tmp, file):
    images.store(directory, "one", {"rows": ROWS}, tmp)
    path = directory / "one" / file
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.parent.mkdir(exist_ok=True)
        images.store(directory, "one", {"rows": ROWS}, tmp)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert images.damage(path.parent) == path
        assert images.load(directory, "one") is None
        assert not path.parent.exists()


def test_a_missing_file_is_damage_and_a_missing_image_is_none(directory, tmp):
    images.store(directory, "one", {"rows": ROWS}, tmp)
    assert images.damage(directory / "one") is None
    assert list(images.listed(directory.parent.parent)) == [directory / "one"]
    (directory / "one" / "rows.arrow").unlink()
    assert images.damage(directory / "one") == directory / "one" / "rows.arrow"
    assert images.load(directory, "one") is None
    assert images.damage(directory / "one") is None
