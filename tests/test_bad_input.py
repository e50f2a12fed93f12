"""Common mistakes: each gives a clear error with what to type next, and nothing is half written."""

import contextlib
import sqlite3
from pathlib import Path

import polars as pl
import pytest
from conftest import at
from sklearn.tree import DecisionTreeClassifier

import tinymlops as tm
from tinymlops.errors import ConflictError, DataError, DefinitionError, LeakageError, NotFoundError

ORDERS = pl.DataFrame(
    {
        "customer": ["abc"[hour % 3] for hour in range(120)],
        "at": [at(hour) for hour in range(120)],
        "amount": [float(hour % 5) - 2 for hour in range(120)],
    }
)
VISITS = pl.DataFrame(
    {
        "visit": list(range(120)),
        "customer": ["abc"[hour % 3] for hour in range(120)],
        "discount": [0.5] * 120,
        "at": [at(hour + 0.5) for hour in range(120)],
    }
)


class Shop:
    """A project whose frames a test can exchange."""

    def __init__(self, *, ttl=None, factor=1.0, orders=ORDERS):
        self.frames = {"orders": orders, "visits": VISITS}
        self.project = project = tm.Project("shop")
        self.customer = project.entity("customer", key="customer")

        @project.source(timestamp="at")
        def orders() -> pl.DataFrame:
            return self.frames["orders"]

        @project.source(timestamp="at", id="visit")
        def visits() -> pl.DataFrame:
            return self.frames["visits"]

        @project.feature_view(entity=self.customer, ttl=ttl)
        def spending(orders: tm.Rows) -> tm.Features:
            return {"last_amount": (orders["amount"] * factor).last(), "spent_1d": orders["amount"].sum(window="1d")}

        @project.on_demand
        def rest(spending: tm.Inputs, discount: pl.Expr) -> dict[str, pl.Expr]:
            return {"rest": spending["last_amount"] * discount}

        @project.label(entity=self.customer, horizon="1d")
        def buys(orders: tm.Rows) -> tm.Label:
            return (orders["amount"] > 0).last()

        self.orders, self.visits, self.spending, self.rest, self.buys = orders, visits, spending, rest, buys
        self.visitors = project.training_set("visitors", spine=visits, label=buys, features=[spending])
        self.with_code = project.training_set("with_code", spine=visits, label=buys, features=[spending, rest])


@pytest.fixture
def shop():
    return Shop()


@pytest.fixture
def applied(workspace, shop):
    """The shop, applied and never ingested."""
    workspace.apply(shop.project)
    return shop


@pytest.fixture
def ingested(workspace, applied):
    workspace.ingest()
    return applied


def fit(workspace, data):
    with workspace.start_run("tree", data=data) as run:
        run.log_model(DecisionTreeClassifier(max_depth=2).fit(data.train.X, data.train.y))
    return run


@pytest.fixture
def model(workspace, ingested):
    run = fit(workspace, workspace.get_training_data(ingested.visitors))
    workspace.register_model("buyer", run=run, alias="champion")
    workspace.materialize()
    return ingested


def contents(directory: Path):
    """Return the whole content of a workspace: its rows, counted by table, and its files."""
    with contextlib.closing(sqlite3.connect(f"file:{directory / 'meta.db'}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        rows = {name: database.execute(f'select count(*) from "{name}"').fetchone()[0] for name in tables}
    files = {
        str(path.relative_to(directory))
        for part in ("segments", "blobs", "tmp")
        for path in (directory / part).rglob("*")
        if path.is_file()
    }
    return rows, files


@pytest.fixture
def refused(workspace, tmp_path):
    """Check an error by its words, and that the workspace holds what it held before."""

    def check(error, message, hint, do):
        before = contents(tmp_path / "shop.tm")
        with pytest.raises(error) as info:
            do()
        assert message in info.value.message, info.value.message
        assert hint in info.value.hint, info.value.hint
        assert info.value.hint, "every mistake has a hint"
        assert contents(tmp_path / "shop.tm") == before

    return check


# Names and columns


def test_an_unknown_column_is_refused_at_apply_once_the_columns_are_known(workspace, ingested, refused):
    @ingested.project.feature_view(entity=ingested.customer)
    def mistaken(orders: tm.Rows) -> tm.Features:
        return {"x": orders["amuont"].last()}

    refused(
        DefinitionError,
        "'x' of feature view 'mistaken': source 'orders' has no column 'amuont'",
        "did you mean 'amount'?",
        lambda: workspace.apply(ingested.project),
    )


def test_an_unknown_column_is_refused_at_the_ingest_where_it_could_not_be_known_before(workspace, shop, refused):
    @shop.project.feature_view(entity=shop.customer)
    def mistaken(orders: tm.Rows) -> tm.Features:
        return {"x": orders["amuont"].last()}

    workspace.apply(shop.project)
    refused(
        DefinitionError,
        "'x' of feature view 'mistaken': source 'orders' has no column 'amuont'",
        "did you mean 'amount'?",
        lambda: workspace.ingest("orders"),
    )


@pytest.mark.parametrize(
    ("do", "message", "hint"),
    [
        (lambda ws: ws.ingest("order"), "there is no source 'order'", "did you mean 'orders'?"),
        (lambda ws: ws.materialize("spendin"), "there is no feature view 'spendin'", "did you mean 'spending'?"),
        (
            lambda ws: ws.get_online_features(["spending:last_amont"], [{"customer": "a"}]),
            "feature view 'spending' has no feature 'last_amont'",
            "did you mean 'last_amount'?",
        ),
        (lambda ws: ws.get_training_data("vistors"), "there is no training set 'vistors'", "did you mean 'visitors'?"),
        (lambda ws: ws.load_model("buyr@champion"), "no model 'buyr'", "did you mean 'buyer'?"),
        (lambda ws: ws.load_model("buyer@champoin"), "'champoin'", "champion"),
        (lambda ws: ws.catalog.get("source", "oders"), "there is no source 'oders'", "did you mean 'orders'?"),
    ],
)
def test_a_misspelt_name_gets_its_near_match(workspace, model, refused, do, message, hint):
    refused(NotFoundError, message, hint, lambda: do(workspace))


def test_a_missing_hint_is_refused_with_what_to_write(workspace, shop, refused):
    def spent(orders) -> tm.Features:
        return {"x": orders["amount"].last()}

    refused(
        DefinitionError,
        "feature view 'spent' does not say the type of parameter 'orders'",
        "write `def name(orders: tm.Rows) -> tm.Features`",
        lambda: shop.project.feature_view(entity=shop.customer)(spent),
    )
    assert "spent" not in shop.project.definitions


def orders() -> str:
    return "select 1"


@pytest.mark.parametrize(
    "define",
    [
        lambda shop: shop.project.entity("spending", key="customer"),
        lambda shop: shop.project.entity("customer", key="buyer"),
        lambda shop: shop.project.source(timestamp="at")(orders),
        lambda shop: shop.project.training_set("orders", spine=shop.visits, label=shop.buys, features=[shop.spending]),
        lambda shop: shop.project.feature_view(entity=shop.customer, ttl="1h")(shop.spending.function),
    ],
)
def test_a_name_that_is_taken_is_refused(shop, refused, define):
    before = shop.project.specs()
    refused(ConflictError, "project 'shop' already has <", "rename one of the two", lambda: define(shop))
    assert [spec.name for spec in shop.project.specs()] == [spec.name for spec in before]


# Keys and times


def test_a_number_where_the_key_is_text_is_refused(workspace, ingested, refused):
    spine = pl.DataFrame({"customer": [7], "timestamp": [at(5)]})
    message, hint = "key column 'customer' is Int64 in the spine", "cast one of them"
    refused(DataError, message, hint, lambda: workspace.get_historical_features(spine, [ingested.spending]))
    refused(DataError, message, hint, lambda: workspace.get_online_features([ingested.spending], [{"customer": 7}]))


def test_a_spine_whose_key_is_of_another_type_is_refused(workspace, applied, refused):
    applied.frames["visits"] = VISITS.with_columns(customer=pl.lit(7))
    workspace.ingest()
    refused(
        DataError,
        "key column 'customer' is Int32 in the spine",
        "cast one of them",
        lambda: workspace.get_training_data(applied.visitors),
    )


def test_naive_times_are_refused_wherever_they_come_in(workspace, applied, refused):
    naive = pl.col("at").dt.replace_time_zone(None)
    applied.frames["orders"] = ORDERS.with_columns(naive)
    message, hint = "holds times without a time zone", 'tz="America/New_York"'
    refused(DataError, f"'at' of source 'orders' {message}", hint, lambda: workspace.ingest(applied.orders))
    spine = VISITS.with_columns(naive)
    refused(
        DataError,
        f"'at' {message}",
        hint,
        lambda: workspace.get_historical_features(spine, [applied.spending], timestamp="at"),
    )
    refused(
        DataError,
        "complete_until='2024-01-01' has no time zone",
        "",
        lambda: workspace.ingest(applied.visits, complete_until="2024-01-01"),
    )


def test_a_missing_key_or_request_field_is_named(workspace, ingested, refused):
    refused(
        DataError,
        "the spine has no column 'customer', the key of 'spending'",
        "did you mean 'custmer'?",
        lambda: workspace.get_online_features([ingested.spending], [{"custmer": "a"}]),
    )
    refused(
        DataError,
        "the spine has no column 'discount', a request field of on-demand view 'rest'",
        "did you mean 'discont'?",
        lambda: workspace.get_online_features([ingested.spending, ingested.rest], [{"customer": "a", "discont": 0.5}]),
    )


# Order of work


@pytest.mark.parametrize(
    "do",
    [
        lambda ws, shop: ws.get_historical_features(VISITS.rename({"at": "timestamp"}), [shop.spending]),
        lambda ws, shop: ws.get_online_features([shop.spending], [{"customer": "a"}]),
        lambda ws, shop: ws.materialize(shop.spending),
        lambda ws, shop: ws.get_training_data(shop.visitors),
    ],
)
def test_a_view_over_a_source_that_was_never_ingested_is_refused(workspace, applied, refused, do):
    with pytest.raises(NotFoundError, match="was never ingested") as info:
        do(workspace, applied)
    refused(NotFoundError, info.value.message, "run ws.ingest() or: tinymlops ingest", lambda: do(workspace, applied))


@pytest.mark.parametrize(
    "do",
    [
        lambda ws, shop: ws.ingest(shop.orders),
        lambda ws, shop: ws.materialize(shop.spending),
        lambda ws, shop: ws.get_online_features([shop.spending], [{"customer": "a"}]),
        lambda ws, shop: ws.get_online_features([shop.spending["spent_1d"]], [{"customer": "a"}]),
        lambda ws, shop: ws.get_training_data(shop.visitors),
    ],
)
def test_what_was_never_applied_is_refused(workspace, shop, refused, do):
    other = tm.Project("other")
    other.entity("other", key="other")
    workspace.apply(other)
    refused(
        NotFoundError,
        "is not in this workspace",
        "apply the project first: ws.apply(project)",
        lambda: do(workspace, shop),
    )


def test_a_definition_that_changed_after_apply_is_refused_by_every_verb_that_takes_it(workspace, ingested, refused):
    changed = Shop(ttl="3d", factor=2.0)
    hint = "apply the project again: ws.apply(project)"
    message = "feature view 'spending' has changed since it was applied, in feature_view:spending"
    spine = VISITS.rename({"at": "timestamp"})
    for asked in (changed.spending, changed.spending["spent_1d"], changed.spending.on("customer", prefix="x_")):
        refused(DefinitionError, message, hint, lambda asked=asked: workspace.get_historical_features(spine, [asked]))
    refused(
        DefinitionError, message, hint, lambda: workspace.get_online_features([changed.spending], [{"customer": "a"}])
    )
    refused(DefinitionError, message, hint, lambda: workspace.materialize(changed.spending))
    refused(
        DefinitionError,
        "training set 'visitors' has changed since it was applied, in feature_view:spending",
        hint,
        lambda: workspace.get_training_data(changed.visitors),
    )
    workspace.apply(changed.project)
    assert workspace.get_training_data(changed.visitors).train.X.height > 0


def test_a_training_set_whose_label_has_no_time_is_refused(workspace, shop, refused):
    @shop.project.source(static=True)
    def outcomes() -> pl.DataFrame:
        return ORDERS.drop("at")

    @shop.project.label(entity=shop.customer, horizon="1d")
    def bought(outcomes: tm.Rows) -> tm.Label:
        return (outcomes["amount"] > 0).last()

    shop.project.training_set("timeless", spine=shop.visits, label=bought, features=[shop.spending])
    for do in (workspace.plan, workspace.apply):
        refused(
            LeakageError,
            "label 'bought' reads 'outcomes', which has no event time",
            'give the source one: @project.source(timestamp="...") on outcomes',
            lambda do=do: do(shop.project),
        )


def test_a_mistyped_workspace_path_creates_nothing(workspace, tmp_path, refused):
    before = sorted(path.name for path in tmp_path.iterdir())
    for create in ("shop.mt", "shp.tm"):
        refused(NotFoundError, create, "shop.tm", lambda create=create: tm.connect(tmp_path / create))
    assert sorted(path.name for path in tmp_path.iterdir()) == before


# Models


def test_a_model_that_needs_code_from_inside_a_function_is_not_registered(workspace, ingested, refused):
    run = fit(workspace, workspace.get_training_data(ingested.with_code))
    refused(
        DefinitionError,
        "needs the Python code of on-demand view 'rest', which lives only in a notebook or inside another function",
        "move rest to the top level of a module, such as features.py",
        lambda: workspace.register_model("buyer", run=run),
    )


@pytest.mark.parametrize(
    ("rows", "message", "hint"),
    [
        (
            [{"last_amount": 1.0, "spent_2d": 2.0}],
            "there is no column 'spent_1d', which model",
            "did you mean 'spent_2d'?",
        ),
        ([{"customr": "a"}], "there is no column 'customer', an entity key that model", "did you mean 'customr'?"),
        ([{"customer": "a", "last_amount": 1.0}], "column 'last_amount' is a feature that model", "leave it out"),
        ([{"customer": 7}], "'customer'", ""),
        (7, "a int is not a table", "give a Polars or pandas frame"),
    ],
)
def test_a_model_asked_with_what_it_does_not_know_says_what_it_takes(workspace, model, refused, rows, message, hint):
    refused(DataError, message, hint, lambda: workspace.predict("buyer@champion", rows))


def test_a_model_is_not_fitted_to_a_run_without_its_data(workspace, ingested, refused):
    def without_data():
        with workspace.start_run("tree") as run:
            run.log_model(DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1]))

    with pytest.raises(tm.TinyMLOpsError) as info:
        without_data()
    assert info.value.hint
    assert workspace.models.list() == []
