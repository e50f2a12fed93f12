"""An index of rows: it finds every piece that has a value, whatever shares a hash, and nothing damaged is believed."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinymlops.stores import row_index

NAME = b"n" * 32
PIECE = 7


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("workspace")
    (root / "tmp").mkdir()
    return root


def put(place, hashes, piece=PIECE, identity=NAME):
    path = place / "indexes" / "orders" / "segment"
    array = np.array(hashes, np.uint64)
    parts = np.array_split(array, 3)
    row_index.store(path, identity, row_index.numbers_of(parts, rows=array.size, piece=piece), place / "tmp")
    return path


def found(path, asked, identity=NAME):
    pieces = row_index.find(path, identity, np.unique(np.array(asked, np.uint64)))
    return None if pieces is None else pieces.tolist()


def expected(hashes, asked, piece=PIECE):
    """Return each piece with a hash whose upper 48 bits are those of an asked one, by looking at all of them."""
    upper = {value >> 16 for value in asked}
    return sorted({at // piece for at, value in enumerate(hashes) if value >> 16 in upper})


FEW = st.integers(0, 5).map(lambda n: n << 16)
"""Hashes that collide all the time."""
ANY = st.integers(0, 2**64 - 1)


@settings(max_examples=150, deadline=None)
@given(st.lists(FEW | ANY, max_size=120), st.lists(FEW | ANY, max_size=20), st.sampled_from([1, 2, 5, 4096]))
def test_it_finds_what_a_look_at_all_rows_finds(place, hashes, others, block):
    asked = [*others, *hashes[::7]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_index, "_BLOCK", block)
        patch.setattr(row_index, "_BLOCKS_AT_ONCE", 3)
        path = put(place, hashes)
        assert found(path, asked) == expected(hashes, asked)
        assert row_index.damage(path) is None


def test_a_large_one_is_read_by_the_blocks_that_are_needed(place):
    hashes = np.random.default_rng(3).integers(0, 2**63, 300_000, np.uint64) * np.uint64(2)
    path = put(place, hashes, piece=1_000)
    for asked in (hashes[[7, 299_999]], hashes[::1_000], hashes + np.uint64(2**17)):
        assert found(path, asked) == expected(hashes.tolist(), asked.tolist(), piece=1_000)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # the last block holds the greatest numbers
    path.write_bytes(content)
    assert found(path, [hashes.min()]) == expected(hashes.tolist(), [hashes.min()], piece=1_000)
    assert row_index.damage(path) == path
    assert found(path, [hashes.max()]) is None
    assert not path.exists()


def test_each_flipped_byte_is_found_or_does_no_harm(place):
    hashes = [n * 2**50 // 3 for n in range(40)]
    whole = put(place, hashes).read_bytes()
    for at in range(len(whole)):
        path = put(place, hashes)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        assert row_index.damage(path) == path
        assert found(path, hashes[::5]) is None
        assert not path.exists()


@pytest.mark.parametrize("cut", [0, 1, 47, 48, 100, -1, -8])
def test_one_that_is_cut_or_grown_is_removed(place, cut):
    path = put(place, range(0, 2**40, 2**32))
    whole = path.read_bytes()
    for content in (whole[:cut], whole + b"\x00" * (cut % 16 + 1), bytes(len(whole))):
        path.write_bytes(content)
        assert row_index.damage(path) == path
        assert found(path, [2**33]) is None
        assert not path.exists()


def test_one_of_something_else_is_removed(place):
    path = put(place, [1, 2], identity=b"o" * 32)
    assert found(path, [1]) is None
    assert not path.exists()


@pytest.mark.parametrize("what", ["directory", "link", "dangling link", "pipe"])
def test_what_is_in_its_place_neither_blocks_nor_redirects(place, tmp_path, what):
    path = put(place, [1, 2])
    kept = path.rename(tmp_path / "kept")
    if what == "directory":
        path.mkdir()
        (path / "file").touch()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(kept if what == "link" else tmp_path / "nowhere")
    assert found(path, [1]) is None
    assert not os.path.lexists(path)
    put(place, [1, 2])
    assert found(path, [1]) == [0]
    assert kept.exists()


def test_where_it_cannot_be_written_there_is_none(place, tmp_path):
    path = tmp_path / "indexes" / "orders" / "segment"
    row_index.store(path, NAME, np.array([1], np.uint64), tmp_path / "no such directory")
    assert found(path, [1]) is None
    (tmp_path / "file").touch()
    row_index.store(tmp_path / "file" / "orders" / "segment", NAME, np.array([1], np.uint64), place / "tmp")
    assert (tmp_path / "file").is_file()
    assert not list((place / "tmp").iterdir())


def test_those_of_other_segments_are_removed(place):
    path = put(place, [1])
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    row_index.remove_others(place / "indexes", {("orders", "segment"), ("clicks", "other")})
    assert list(row_index.listed(place / "indexes")) == [path]
