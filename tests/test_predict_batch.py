"""Batches: a table or a file in, a Parquet or CSV file out, complete or not at all."""

from datetime import datetime

import polars as pl
import pytest
from conftest import at
from inside import clock_of, context_of, database_of, set_clock
from trained import orders_frame, project_of_orders, replay, train, visits_frame

from tinymlops.errors import DataError, NotFoundError, TinyMLOpsError
from tinymlops.records import Prediction
from tinymlops.serving import batch


@pytest.fixture
def ws(tmp_path):
    with replay(tmp_path) as ws:
        train(ws, project_of_orders())
        yield ws


@pytest.fixture
def output(tmp_path):
    return tmp_path / "answers.parquet"


def left_over(directory):
    return [path.name for path in directory.iterdir() if path.name.endswith(".part")]


def test_a_batch_of_past_times_is_the_model_on_the_features_of_then(ws, output):
    visits = visits_frame(range(20, 200))
    report = ws.predict_batch("buyer@champion", visits, output, timestamp="at")
    features = ws.get_historical_features(visits, ["spending"], timestamp="at")
    expected = visits.hstack(ws.load_model("buyer").predict(features))
    assert pl.read_parquet(output).equals(expected)
    assert (report.rows, report.version, report.path) == (180, 1, str(output))
    assert report.bytes == output.stat().st_size
    assert str(report).startswith("180 predictions of buyer:1 in ")
    assert database_of(ws).count(Prediction) == 0


def test_a_batch_without_times_is_as_of_one_moment_for_all_chunks(ws, output, monkeypatch):
    monkeypatch.setattr(batch, "_CHUNK", 7)
    clock = clock_of(ws)
    set_clock(ws, lambda: (clock.advance("1h"), clock())[1])  # a clock that does not stand still
    visits = visits_frame(range(50))
    ws.predict_batch("buyer", visits, output)
    answers = pl.read_parquet(output)
    assert answers.drop("prediction", "probability").equals(visits)
    assert answers.group_by("customer").agg(pl.col("probability").n_unique())["probability"].to_list() == [1, 1, 1]
    # The batch was the last to ask the clock; one answer at that moment is the same.
    set_clock(ws, clock)
    single = {row["customer"]: row["probability"] for row in answers.to_dicts()}
    assert [one["probability"] for one in ws.predict("buyer", {"customer": list("abc")})] == [single[c] for c in "abc"]


@pytest.mark.parametrize("chunk", [7, 1000])
def test_a_file_named_as_csv_is_one_and_can_be_sent_again(ws, output, tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(batch, "_CHUNK", chunk)
    visits = visits_frame(range(20, 60)).with_columns(note=pl.lit("007, 7"))
    ws.predict_batch("buyer", visits, output, timestamp="at")
    expected = pl.read_parquet(output)
    ws.predict_batch("buyer", visits.to_pandas(), tmp_path / "answers.csv", timestamp="at")
    written = pl.read_csv(tmp_path / "answers.csv", infer_schema_length=None)
    assert written["at"].str.to_datetime(time_unit="us", time_zone="UTC").equals(expected["at"])
    assert written.drop("at").equals(expected.drop("at"))
    written.drop("prediction", "probability").write_csv(tmp_path / "again.csv")
    ws.predict_batch("buyer", tmp_path / "again.csv", tmp_path / "twice.csv", timestamp="at")
    assert (tmp_path / "twice.csv").read_text() == (tmp_path / "answers.csv").read_text()


def test_a_file_that_cannot_be_what_its_name_says_is_refused(ws, tmp_path):
    lists = pl.DataFrame({"customer": ["a"], "words": [["x"]]})
    for rows, name, message in [
        (visits_frame([20]), "answers.json", "named neither as Parquet nor as CSV"),
        (lists, "answers.csv", "cannot have the column 'words', which is List"),
    ]:
        before = sorted(tmp_path.iterdir())
        with pytest.raises(DataError, match=message):
            ws.predict_batch("buyer", rows, tmp_path / name)
        assert sorted(tmp_path.iterdir()) == before
    ws.predict_batch("buyer", lists, tmp_path / "answers.parquet")
    assert pl.read_parquet(tmp_path / "answers.parquet")["words"].to_list() == [["x"]]


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_chunks_do_not_show(ws, output, monkeypatch, chunk):
    visits = visits_frame(range(20, 60))
    ws.predict_batch("buyer", visits, output, timestamp="at")
    whole = pl.read_parquet(output)
    monkeypatch.setattr(batch, "_CHUNK", chunk)
    ws.predict_batch("buyer", visits, output, timestamp="at")
    assert pl.read_parquet(output).equals(whole)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_file_gives_what_its_table_gives(ws, output, tmp_path, kind):
    visits = visits_frame(range(20, 60))
    path = tmp_path / f"visits.{kind}"
    visits.write_parquet(path) if kind == "parquet" else visits.write_csv(path, datetime_format="%+")
    ws.predict_batch("buyer", visits, output, timestamp="at")
    expected = pl.read_parquet(output)
    ws.predict_batch("buyer", str(path), output, timestamp="at")
    assert pl.read_parquet(output).drop("at").equals(expected.drop("at"))


def test_a_key_in_a_csv_file_is_text_even_if_it_looks_like_a_number(tmp_path, output):
    project = project_of_orders()
    for name in ("orders", "visits"):
        frame = project.frames[name]
        project.frames[name] = frame.with_columns(pl.col("customer").replace_strict({"a": "007", "b": "7", "c": "8"}))
    (tmp_path / "now.csv").write_text("customer,note\n007,x\n7,y\n,z\n")
    with replay(tmp_path) as ws:
        train(ws, project)
        ws.predict_batch("buyer", tmp_path / "now.csv", output)
        single = ws.predict("buyer", {"customer": ["007", "7", None]})
    answers = pl.read_parquet(output)
    assert answers["customer"].to_list() == ["007", "7", None]
    assert answers["note"].to_list() == ["x", "y", "z"]
    assert answers["probability"].to_list() == [one["probability"] for one in single]


def test_full_rows_of_features_keep_only_what_is_no_feature(ws, output):
    visits = visits_frame(range(20, 60))
    features = ws.get_historical_features(visits, ["spending"], timestamp="at")
    ws.predict_batch("buyer", features, output)
    assert pl.read_parquet(output).equals(visits.hstack(ws.load_model("buyer").predict(features)))
    ws.predict_batch("buyer", features.select("last_amount", "spent_1d"), output)
    assert pl.read_parquet(output).columns == ["prediction", "probability"]


@pytest.mark.parametrize("timestamp", [None, "at"])
def test_no_rows_are_a_file_with_the_same_columns(ws, output, timestamp):
    report = ws.predict_batch("buyer", visits_frame([]), output, timestamp=timestamp)
    assert report.rows == 0
    empty = pl.read_parquet(output)
    ws.predict_batch("buyer", visits_frame([20]), output, timestamp=timestamp)
    assert empty.equals(pl.read_parquet(output).clear())
    ws.predict_batch("buyer", [], output)
    assert pl.read_parquet(output).columns == ["prediction", "probability"]


@pytest.mark.parametrize(
    ("rows", "timestamp", "message"),
    [
        (visits_frame([20]), "att", "no time column 'att'"),
        (visits_frame([20]).drop("customer"), "at", "no column 'customer', an entity key"),
        (visits_frame([20]).with_columns(customer=pl.lit(7)), None, "column 'customer' is Int32"),
        (visits_frame([20]).with_columns(probability=0.5), None, "'probability' has the name of an answer"),
        (
            visits_frame([20]).with_columns(at=pl.lit(datetime(2024, 1, 2))),
            "at",
            "'at' holds times without a time zone",
        ),
        (visits_frame([20]).with_columns(at=pl.lit("2024-01-02T00:00:00")), "at", "has no time zone"),
        (visits_frame([20]).with_columns(at=pl.lit("soon")), "at", "'soon' is not a time"),
        (visits_frame([20]).with_columns(at=pl.lit(7)), "at", "'at' is a column of Int32, not of times"),
        (
            visits_frame([20, 21]).with_columns(at=pl.lit(None, pl.Datetime("us", "UTC"))),
            "at",
            "'at' is null in 2 rows",
        ),
        (
            visits_frame([20]).with_columns(spent_1d=1.0),
            None,
            "'spent_1d' is a feature that model buyer:1 reads itself",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_refused_and_nothing_is_written(ws, output, rows, timestamp, message):
    output.write_bytes(b"before")
    with pytest.raises(DataError, match=message):
        ws.predict_batch("buyer", rows, output, timestamp=timestamp)
    assert output.read_bytes() == b"before"
    assert left_over(output.parent) == []


def test_a_fault_in_a_later_chunk_leaves_what_was_there(ws, output, monkeypatch):
    monkeypatch.setattr(batch, "_CHUNK", 10)
    output.write_bytes(b"before")
    rows = visits_frame(range(20, 50)).with_columns(at=pl.when(pl.col("visit") < 25).then("at"))
    with pytest.raises(DataError, match="'at' is null"):
        ws.predict_batch("buyer", rows, output, timestamp="at")
    assert output.read_bytes() == b"before"
    assert left_over(output.parent) == []


def test_files_that_are_not_there_or_no_tables_are_named(ws, output, tmp_path):
    orders_frame([1]).write_parquet(tmp_path / "visits.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not")
    (tmp_path / "notes.txt").write_text("x")
    for rows, error, message in [
        (tmp_path / "visit.parquet", NotFoundError, "did you mean 'visits.parquet'"),
        (tmp_path / "nowhere" / "visits.parquet", NotFoundError, "check the path"),
        (tmp_path / "broken.parquet", DataError, "cannot be read"),
        (tmp_path / "notes.txt", DataError, "neither a Parquet nor a CSV file"),
        (tmp_path, NotFoundError, "there is no file"),
    ]:
        with pytest.raises(error, match=message):
            ws.predict_batch("buyer", rows, output)
    with pytest.raises(NotFoundError, match="there is no directory"):
        ws.predict_batch("buyer", visits_frame([20]), tmp_path / "nowhere" / "out.parquet")
    with pytest.raises(DataError, match="is a directory"):
        ws.predict_batch("buyer", visits_frame([20]), tmp_path)


def test_a_full_disk_is_said_and_nothing_is_left(ws):
    from pathlib import Path

    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")

    class Full(type(Path())):
        """A path whose unfinished file is the device that is always full."""

        def open(self, mode="r", *_, **__):
            return open("/dev/full", "wb")

    directory = Full(ws._root)
    with pytest.raises(TinyMLOpsError, match="is full; nothing was written"):
        ws_predict(ws, directory / "out.parquet")
    assert left_over(ws._root) == []


def ws_predict(ws, output):
    model = ws.load_model("buyer")
    return batch.predict_batch(context_of(ws), model, visits_frame(range(20, 2000)), output, timestamp=None)


def test_times_before_any_row_have_no_features(ws, output):
    ws.predict_batch("buyer", [{"customer": "a", "at": at(-5)}], output, timestamp="at")
    assert pl.read_parquet(output).height == 1
