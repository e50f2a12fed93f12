"""Rows from the command line: what is JSON, what is text, and what is not a row."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.errors import DataError
from tinymlops_cli.rows import parse_rows, read_file, split_names

names = st.text("abc_", min_size=1, max_size=8)
texts = st.text('aé漢 7=\\"{}[],', max_size=8)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | texts


@given(st.lists(st.dictionaries(names, scalars), max_size=4))
def test_json_rows_come_back_as_they_were(rows):
    assert parse_rows([msgspec.json.encode(row).decode() for row in rows]) == rows
    assert parse_rows([msgspec.json.encode(rows).decode()]) == rows


@given(st.dictionaries(names, scalars, min_size=1))
def test_pairs_whose_values_are_json_are_one_row(row):
    assert parse_rows([f"{name}={msgspec.json.encode(value).decode()}" for name, value in row.items()]) == [row]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("7.5", 7.5),
        ("true", True),
        ("null", None),
        ('"7"', "7"),
        ("UA", "UA"),
        ("", ""),
        ("007", "007"),
        ("NaN", "NaN"),
        ("a=b", "a=b"),
        ("2024-01-01", "2024-01-01"),
        ("\udc80", "\udc80"),
    ],
)
def test_a_value_is_json_if_it_can_be_and_text_if_not(text, value):
    ((found),) = parse_rows([f"x={text}"])
    assert found == {"x": value}
    assert type(found["x"]) is type(value)


@pytest.mark.parametrize("argument", ["x", "=1", '{"x":', "[1, 2]", '["x"]', "[[]]", "{}x"])
def test_what_is_no_row_is_refused_by_name(argument):
    with pytest.raises(DataError) as caught:
        parse_rows([argument])
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"{"),
        ("a.jsonl", b'{"x": 1}\n{'),
        ("a.parquet", b"PAR1"),
        ("a.csv", b""),
        ("a.xlsx", b"x"),
        ("a", b""),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=str(tmp_path / name)):
        read_file(tmp_path / name)


def test_names_are_split_at_commas():
    assert split_names("sky, carrier_delays:mean_1h,") == ["sky", "carrier_delays:mean_1h"]
