"""What a file that is handed on may say of texts and distributions: nothing of one row, of a secret, or of a place here."""

import math
import re
from pathlib import Path

import polars as pl
import pytest

from tinymlops.display.discretion import Cleaner, class_of_error, plain_setting
from tinymlops.display.feature_facts import distribution
from tinymlops.training.baseline import Histogram, histogram_of


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *(
            (one, True)
            for one in (1, 0.5, True, "", "adam", "reg:squarederror", "0.001", "1e-4", "(100, 50)", "[0.1, 0.9]")
        ),
        *(
            (one, False)
            for one in ("Ana Sanz", "a@b.example", "/home/ana/x", "+43 660 1234567", "顧客", "7712345678901")
        ),
        *((one, False) for one in ("x" * 40, "a/b", "(Ana)")),
    ],
)
def test_a_setting_is_told_if_it_is_a_number_or_a_plain_word(value, shown):
    told = plain_setting("solver", value, rows=False)
    assert told == (str(value) if shown else None)
    assert plain_setting("solver", value, rows=True) == str(value)
    assert plain_setting("db_password", "adam", rows=True) == "<secret>"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("see /srv/ana/a b/x.csv", "see …/a b/x.csv"),
        ("in /home/ana or /Users/ana, x=/home/ana/in/x.csv", "in … or …, x=…/x.csv"),
        ("-I/home/ana/include and mlflow:/srv/ana/runs/1", "-I…/include and mlflow:…/1"),
        ("sqlite:////srv/ana/mlflow.db", "…/mlflow.db"),
        (r"at C:\Users\ana", "at …"),
        ("file:///srv/data/x.parquet!", "…/x.parquet!"),
        (r"in C:\Users\ana\x.csv", "in …/x.csv"),
        ("~ana/in/x and ~/in/x", "…/x and …/x"),
        ("https://shop.example/a/b, a/b and 1/2 and /", "https://shop.example/a/b, a/b and 1/2 and /"),
        ("postgresql://shop:hunter2@db/shop", "postgresql://shop:<secret>@db/shop"),
        ("in /opt/my place/x", "in …/x"),
        ("on box-1234, not box-12345", "on <host>, not box-12345"),
        ("<b>/x</b>", "<b>/x</b>"),
    ],
)
def test_places_hosts_and_secrets_are_left_out_of_texts(text, cleaned):
    assert Cleaner(["box-1234"], [Path("/opt/my place")])(text) == cleaned


def test_a_long_text_is_cleaned_in_time_that_grows_with_it():
    for hostile in ("/a" * 50_000, "~" * 100_000, "file:" * 20_000, "C:\\" * 30_000, "/" * 100_000, "a/" * 50_000):
        assert len(Cleaner()(hostile)) <= len(hostile)


def test_one_value_is_told_only_where_bins_know_it():
    def told(histogram):
        return [distribution("x", histogram, rows=rows).told for rows in (False, True)]

    assert told(histogram_of(pl.Series([5.0] * 90))) == ["one value", "one value, 5"]
    assert told(Histogram([0, 90, 0, 0], edges=[5.0, math.nextafter(5.0, 6.0)])) == ["one value", "one value, 5"]
    assert told(Histogram([0, 90, 0], edges=[5.0])) == ["most in one bin", "most from 5 on"]
    assert told(histogram_of(pl.Series([0, 1] * 50))) == ["most from 0 to 1", "most from 0 to 1"]
    assert told(histogram_of(pl.Series([None] * 90, dtype=pl.Int64))) == ["no value; 90 nulls"] * 2
    assert told(histogram_of(pl.Series([math.inf] * 90))) == ["no finite value"] * 2
    assert told(histogram_of(pl.Series([-1.7e308, 1.7e308] * 50)))[0] == "most in one bin"


def test_a_distribution_tells_no_single_row():
    few = Histogram([1] * 10 + [0], edges=[float(one) for one in range(9)])
    assert distribution("age", few, rows=False) is None
    assert distribution("age", few, rows=True) is not None
    many = Histogram([100, 100, 100, 3], edges=[1234.56, 98765.4])
    assert distribution("pay", many, rows=False).told == "most from 1,000 to 99,000; 3 nulls"
    assert "98765" not in str(distribution("pay", many, rows=False))
    crowded = Histogram([10, 10, 10, 10, 10, 0], edges=[0.0, 0.001, 0.002, 100.0])
    assert distribution("pay", crowded, rows=False).picture.count("<rect") == 3
    rare = histogram_of(pl.Series([5432.1] * 95 + [6543.2] * 5 + [None]))
    assert distribution("pay", rare, rows=False).told == "one value in 94.1 % of the rows; 1 null"
    assert not {"5432", "6543"} & set(re.findall(r"\d{4}", str(distribution("pay", rare, rows=False))))
    assert distribution("pay", rare, rows=True).told == "5,432.1 in 94.1 % of the rows; 1 null"
    names = Histogram([90, 9, 1], categories=["Ana", "Bea"])
    assert distribution("who", names, rows=False).categories == []
    assert "Ana" not in str(distribution("who", names, rows=False))
    flags = Histogram([90, 9, 1], categories=["false", "true"])
    assert distribution("is_new", flags, rows=False).categories == [("false", 90), ("true", 9)]


@pytest.mark.parametrize("error", ["ana@b.example: x", "Ana is not here", "", "x" * 200, "Zoë: KeyError"])
def test_of_an_error_only_its_kind_is_told(error):
    assert class_of_error(error) == "an error"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("password=hunter22, then", "password=<secret>, then"),
        ("pw: hunter22", "pw: <secret>"),
        ("AccountKey=abcd1234==;x", "AccountKey=<secret>;x"),
        ("Authorization: Bearer eyJhbGciOi.eyJzdWIi.abc", "Authorization: Bearer <secret>"),
        ("eyJhbGciOi.eyJzdWIi.abc", "<secret>"),
        ("https://x.example/y?X-Amz-Signature=deadbeef&z=1", "https://x.example/y?X-Amz-Signature=<secret>&z=1"),
        (r"\\files\share\ana\x.csv", "…/x.csv"),
        ("max_tokens=512, a basic authentication, primary key: order_id", None),
    ],
)
def test_what_is_a_secret_by_how_it_is_written_is_left_out(text, cleaned):
    assert Cleaner()(text) == (text if cleaned is None else cleaned)


def test_a_number_under_the_name_of_a_secret_and_a_key_under_any_name_are_not_told():
    assert plain_setting("db_password", 48213377, rows=False) == "<secret>"
    assert plain_setting("azure_sas", "Zm9vYmFyYmF6cXV4MTIz", rows=False) is None
    assert plain_setting("model", "RandomForestClassifier", rows=False) == "RandomForestClassifier"
