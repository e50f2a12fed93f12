"""Join images: the same answers as rows arranged at each read, and never those of an older history."""

from datetime import timedelta

import polars as pl
import pytest
from conftest import START, at, shop
from fuzzing import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from inside import environment_of
from polars.testing import assert_frame_equal
from test_historical_features import every_feature, frame_of, orders_strategy

import tinymlops as tm
from tinymlops.errors import DataError
from tinymlops.features.history import reading_notes


@pytest.fixture
def images_for_all(monkeypatch):
    monkeypatch.setattr(reading_notes, "MANY_ROWS", 0)


def both_ways(monkeypatch, ask):
    """Ask without images, and twice with them: made, and mapped."""
    answers = []
    for rows in (10**9, 0, 0):
        with monkeypatch.context() as patch:
            patch.setattr(reading_notes, "MANY_ROWS", rows)
            answers.append(ask())
    return answers


@pytest.mark.parametrize(("ids", "created"), [(False, False), (True, True)])
def test_an_image_answers_as_rows_arranged_anew(tmp_path_factory, monkeypatch, ids, created):
    options = ({"id": "order"} if ids else {}) | ({"created": "made"} if created else {}) | {"delay": "30s"}

    @examples(20, heavy=True, suppress_health_check=list(HealthCheck))
    @given(orders_strategy, st.lists(st.tuples(st.sampled_from(["a", "b", "z", None]), st.integers(0, 20)), max_size=6))
    def check(rows, spine_rows):
        project = shop(frame_of(rows), order_options=options, features=every_feature)
        spine = pl.DataFrame(
            {
                "customer": [customer for customer, _ in spine_rows],
                "timestamp": [START + timedelta(minutes=minute) for _, minute in spine_rows],
            },
            schema={"customer": pl.String, "timestamp": pl.Datetime("us", "UTC")},
        )
        with tm.connect(tmp_path_factory.mktemp("ws") / "shop.tm", create=True) as ws:
            ws.apply(project)
            ws.ingest("orders")
            ask = lambda: ws.get_historical_features(spine, ["spending"], details=True)  # noqa: E731
            anew, made, mapped = both_ways(monkeypatch, ask)
            assert_frame_equal(made, anew)
            assert_frame_equal(mapped, anew)

    check()


def orders(*rows):
    return pl.DataFrame(
        [{"customer": c, "at": at(h), "amount": a} for c, h, a in rows],
        schema={"customer": pl.String, "at": pl.Datetime("us", "UTC"), "amount": pl.Float64},
    )


def last_amount(ws):
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [at(9)]})
    return ws.get_historical_features(spine, ["spending"])["last_amount"].to_list()


def images_of(ws):
    return [path for path in (environment_of(ws).path / "images").rglob("*") if (path / "manifest").exists()]


@pytest.mark.usefixtures("images_for_all")
def test_new_rows_make_a_new_image_in_place_of_the_old(workspace):
    project = shop(orders(("a", 1, 1.0)))
    workspace.apply(project)
    workspace.ingest("orders")
    assert last_amount(workspace) == last_amount(workspace) == [1.0]
    (before,) = images_of(workspace)
    project.frames["orders"] = orders(("a", 1, 1.0), ("a", 2, 5.0))
    workspace.ingest("orders")
    assert last_amount(workspace) == [5.0]
    (after,) = images_of(workspace)
    assert after != before


@pytest.mark.usefixtures("images_for_all")
def test_a_damaged_image_is_made_anew(workspace):
    workspace.apply(shop(orders(("a", 1, 1.0))))
    workspace.ingest("orders")
    assert last_amount(workspace) == [1.0]
    (image,) = images_of(workspace)
    values = image / "values.arrow"
    values.write_bytes(values.read_bytes()[:-8] + b"whatever")
    assert last_amount(workspace) == [1.0]


@pytest.mark.usefixtures("images_for_all")
def test_a_key_of_another_type_is_refused_as_without_an_image(workspace):
    workspace.apply(shop(orders(("a", 1, 1.0))))
    workspace.ingest("orders")
    for _ in range(2):
        with pytest.raises(DataError, match="key column 'customer'"):
            workspace.get_historical_features(pl.DataFrame({"customer": [7], "timestamp": [at(9)]}), ["spending"])


@pytest.mark.usefixtures("images_for_all")
def test_a_column_that_only_an_older_definition_reads_is_there_too(workspace):
    project = shop(orders(("a", 1, 1.0)).with_columns(tip=pl.lit(0.5)))
    workspace.apply(project)
    workspace.ingest("orders")
    assert last_amount(workspace) == [1.0]
    workspace.apply(shop(project.frames["orders"], features=lambda rows: {"tip": rows["tip"].last()}))
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [at(9)]})
    assert workspace.get_historical_features(spine, ["spending"])["tip"].to_list() == [0.5]


@pytest.mark.usefixtures("images_for_all")
def test_labels_have_an_image_of_their_own(workspace):
    visits = pl.DataFrame({"visit": [0], "customer": ["a"], "at": [at(2)]})
    workspace.apply(shop(orders(("a", 1, 1.0), ("a", 3, 2.0), ("a", 99, 1.0)), visits))
    workspace.ingest()
    first = workspace.get_training_data("visits_to_orders")
    again = workspace.get_training_data("visits_to_orders")
    assert first.fingerprint == again.fingerprint
    assert first.train.y.to_list() == [True]


def test_the_plan_says_which_way_a_view_is_read(workspace, monkeypatch):
    project = shop(orders(("a", 1, 1.0), ("a", 2, 1.0)))
    workspace.apply(project)
    workspace.ingest("orders")
    assert not any("join image" in note for note in workspace.plan(project).notes)
    monkeypatch.setattr(reading_notes, "MANY_ROWS", 2)
    assert "spending reads orders from a join image: it has 2 rows, 2 or more" in workspace.plan(project).notes


@pytest.mark.usefixtures("images_for_all")
def test_images_of_features_and_of_outcomes_stay_beside_each_other(workspace):
    visits = pl.DataFrame({"visit": [0], "customer": ["a"], "at": [at(2)]})
    workspace.apply(shop(orders(("a", 1, 1.0), ("a", 3, 2.0), ("a", 99, 1.0)), visits))
    workspace.ingest()
    workspace.get_training_data("visits_to_orders")
    before = {path: path.stat().st_mtime_ns for path in images_of(workspace)}
    workspace.get_training_data("visits_to_orders")
    assert len(before) == 2
    assert {path: path.stat().st_mtime_ns for path in images_of(workspace)} == before
