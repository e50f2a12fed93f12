"""One view from its plan, its rows and a spine: a plan can be sent to another process, and computes the same bits there."""

import pickle
import subprocess
import sys
from datetime import timedelta

import msgspec
import numpy as np
import polars as pl
import pytest
from conftest import START, at, shop
from inside import context_of
from polars.testing import assert_frame_equal
from test_historical_features import every_feature

import tinymlops as tm
from tinymlops.errors import DataError
from tinymlops.features.compute.views import compute_view, plan_view
from tinymlops.features.definitions.definitions import Definitions
from tinymlops.features.definitions.specs import FeatureRequest
from tinymlops.features.history.stored import stored_rows

COMPUTE_ELSEWHERE = """
import pickle, sys
given, answer = sys.argv[1:]
with open(given, "rb") as file:
    plan, rows, spine, time = pickle.load(file)
from tinymlops.features.compute.views import compute_view
found = compute_view(plan, rows, spine, time, details=True)
with open(answer, "wb") as file:
    pickle.dump(found, file)
above = "records", "registry", "stores.database", "features.context", "features.history"
print(*sorted(name for name in sys.modules if name.startswith(tuple("tinymlops." + one for one in above))))
"""


def features(rows):
    """Every function over every window, and what is computed of aggregates."""
    return every_feature(rows) | {
        "times_6h": rows["amount"].sum(window="6h") / rows.count(window="6h"),
        "busy": rows.count(window="1d") > 2,
        "text": rows["order"].last(where=rows["customer"].is_in(["a", "b"])),
    }


def orders(count=300):
    """Rows with repeated ids, late ones, and every kind of number."""
    rng = np.random.default_rng(4)
    event = rng.integers(0, 3_000, count)
    amount = pl.Series(rng.normal(size=count) * 10.0 ** rng.integers(-6, 12, count))
    return pl.DataFrame(
        {
            "customer": rng.choice(["a", "b", "c", None], count).tolist(),
            "at": [START + timedelta(minutes=int(minute)) for minute in event],
            "made": [START + timedelta(minutes=int(minute)) for minute in event + rng.integers(0, 90, count)],
            "order": rng.integers(0, 1 + count // 2, count),
            "amount": amount.set(pl.Series(rng.random(count) < 0.1), None),
        }
    )


@pytest.fixture
def stored_shop(tmp_path):
    project = shop(
        orders(), order_options={"id": "order", "created": "made", "delay": "30s"}, features=features, ttl="6h"
    )
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(project)
        ws.ingest("orders")
        yield ws


def spine(count=200):
    rng = np.random.default_rng(5)
    minutes = rng.integers(0, 3_200, count)
    return pl.DataFrame(
        {
            "customer": rng.choice(["a", "b", "c", "d", None], count).tolist(),
            "timestamp": [START + timedelta(minutes=int(minute)) for minute in minutes],
        }
    ).with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))


def asked(ws, points, **request):
    """The plan of a view, the rows of its source, and when each point is."""
    context = context_of(ws)
    plan = plan_view(context.definitions, FeatureRequest(view="spending", **request), spine_source=None)
    return plan, stored_rows(context, "orders"), points["timestamp"].to_physical().to_numpy()


def test_a_view_computed_by_itself_is_what_the_workspace_says(stored_shop):
    points = spine()
    plan, rows, time = asked(stored_shop, points)
    found = compute_view(plan, rows, points, time, details=True)
    expected = stored_shop.get_historical_features(points, ["spending"], details=True)
    assert_frame_equal(pl.DataFrame(found.columns), expected.select(list(found.columns)), check_exact=True)
    assert_frame_equal(pl.DataFrame(found.details), expected.select(list(found.details)))


def test_a_plan_computes_the_same_bits_in_a_process_without_a_workspace(stored_shop, tmp_path):
    points = spine()
    plan, rows, time = asked(stored_shop, points)
    given, answer = tmp_path / "given", tmp_path / "answer"
    given.write_bytes(pickle.dumps((plan, rows, points, time)))
    command = [sys.executable, "-c", COMPUTE_ELSEWHERE, str(given), str(answer)]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.split()
    elsewhere, here = pickle.loads(answer.read_bytes()), compute_view(plan, rows, points, time, details=True)
    for one, other in ((elsewhere.columns, here.columns), (elsewhere.details, here.details)):
        assert list(one) == list(other)
        for name, values in one.items():
            assert values.dtype == other[name].dtype
            assert bits(values) == bits(other[name]), name
    assert elsewhere.not_finite == here.not_finite
    assert loaded == []


def bits(values):
    """Text that differs where any bit does."""
    return [value.hex() if isinstance(value, float) else value for value in values.to_list()]


def test_a_plan_is_data(stored_shop):
    plan, _, _ = asked(stored_shop, spine())
    again = pickle.loads(pickle.dumps(plan))
    assert msgspec.json.encode(again) == msgspec.json.encode(plan)
    assert again.columns == {"amount", "customer", "order"}


def test_a_request_chooses_features_and_the_columns_of_its_role(stored_shop):
    points = spine(20).rename({"customer": "payer"})
    plan, rows, time = asked(stored_shop, points, features=("newest", "n_1h"), on=("payer",), prefix="payer_")
    found = compute_view(plan, rows, points, time)
    assert list(found.columns) == ["payer_newest", "payer_n_1h"]
    assert found.details == {}
    whole, _, _ = asked(stored_shop, points)
    expected = compute_view(whole, rows, points.rename({"payer": "customer"}), time)
    assert found.columns["payer_n_1h"].to_list() == expected.columns["n_1h"].to_list()


def test_a_spine_without_the_key_says_whose_it_is(stored_shop):
    points = spine(3)
    plan, rows, time = asked(stored_shop, points)
    with pytest.raises(DataError, match="the spine has no column 'customer', the key of 'spending'"):
        compute_view(plan, rows, points.drop("customer"), time)


def test_a_row_does_not_see_itself_where_the_spine_is_made_of_the_same_source():
    definitions = Definitions(shop(orders(1)).specs())
    request = FeatureRequest(view="spending")
    assert plan_view(definitions, request, spine_source="orders").strict
    assert not plan_view(definitions, request, spine_source="visits").strict
    rows = pl.DataFrame(
        {
            "customer": ["a"],
            "amount": [5.0],
            "__event": [7],
            "__created": [None],
            "__sequence": [1],
            "__deleted": [False],
        },
        schema_overrides={"__created": pl.Int64},
    )
    for spine_source, seen in (("orders", [None, 5.0]), (None, [5.0, 5.0])):
        plan = plan_view(definitions, request, spine_source=spine_source)
        points = pl.DataFrame({"customer": ["a", "a"], "timestamp": [at(0), at(1)]})
        found = compute_view(plan, rows, points, np.array([7, 8]))
        assert found.columns["last_amount"].to_list() == seen
