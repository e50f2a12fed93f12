"""Apply: columns and types are checked where they are known without reading a row; after an error nothing is written."""

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from inside import database_of, environment_of

import tinymlops as tm
from tinymlops.errors import AccessError, ConflictError, DataError, DefinitionError
from tinymlops.records import Definition

ORDERS = pl.DataFrame(
    {
        "customer": ["a"],
        "at": [datetime(2024, 1, 1)],
        "amount": [1.5],
        "paid": [True],
        "page": ["home"],
        "friend": ["b"],
    }
).with_columns(pl.col("at").dt.replace_time_zone("UTC"))


def sql(project, name, text, **options):
    """A source of SQL, as its decorator makes it."""

    def orders() -> str:
        return text

    orders.__name__ = name
    return project.source(**({"timestamp": "at"} | options))(orders)


class Shop:
    """A project over a Parquet file of orders; each part can be made differently."""

    def __init__(self, path: Path, frame=ORDERS, **options):
        frame.write_parquet(path / "orders.parquet")
        self.project = tm.Project("shop")
        self.customer = self.project.entity("customer", key="customer")
        self.orders = sql(self.project, "orders", "select * from 'orders.parquet'", **options)

    def view(self, features, name="spending", entity=None, **options):
        def spending(orders: tm.Rows) -> tm.Features:
            return features(orders)

        spending.__name__ = name
        return self.project.feature_view(entity=entity or self.customer, **options)(spending)

    def label(self, write=lambda rows: rows["amount"].last()):
        def buys(orders: tm.Rows) -> tm.Label:
            return write(orders)

        return self.project.label(entity=self.customer, horizon="1d")(buys)


def refused(workspace, project, error, message, hint):
    """Check the refusal, and that the workspace is as empty as it was."""
    with pytest.raises(error) as info:
        workspace.apply(project)
    assert message in info.value.message, info.value.message
    assert hint in info.value.hint, info.value.hint
    database = database_of(workspace)
    assert database.list(Definition) == []
    assert database.sequence() == 0
    assert not list(environment_of(workspace).segments_dir.rglob("*.parquet"))


@pytest.fixture
def make(tmp_path):
    """Make the shop beside the workspace, whose directory is the project's root."""
    return lambda *args, **options: Shop(tmp_path, *args, **options)


@pytest.mark.parametrize(
    ("features", "message", "hint"),
    [
        (
            lambda rows: {"x": rows["amout"].last()},
            "'x' of feature view 'spending': source 'orders' has no",
            "'amount'?",
        ),
        (
            lambda rows: {"fine": rows["amount"].last(), "x": rows["amount"].sum(window="1d", where=rows["payd"])},
            "'x' of feature view 'spending': source 'orders' has no column 'payd'",
            "did you mean 'paid'?",
        ),
        (
            lambda rows: {"x": (rows["page"] > 3).last()},
            "an expression over source 'orders' in feature 'x' cannot be",
            "check the types",
        ),
        (lambda rows: {"x": rows["page"].sum(window="1d")}, "needs numbers and got String", "first or last"),
        (lambda rows: {"x": rows["at"].mean(window="1d")}, "needs numbers and got Datetime", "first or last"),
    ],
)
def test_an_expression_that_does_not_fit_its_columns_is_refused(workspace, make, features, message, hint):
    shop = make()
    shop.view(features)
    refused(workspace, shop.project, DefinitionError, message, hint)


def test_a_label_that_does_not_fit_its_columns_is_refused(workspace, make):
    shop = make()
    shop.label(lambda rows: (rows["amont"] > 0).last())
    refused(workspace, shop.project, DefinitionError, "'buys' as a label: source 'orders' has no", "'amount'?")


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"timestamp": "att"}, "source 'orders' has no column 'att', which its timestamp= names", "did you mean 'at'?"),
        ({"id": "order"}, "source 'orders' has no column 'order', which its id= names", "known names:"),
        ({"created": "made"}, "source 'orders' has no column 'made', which its created= names", ""),
        ({"delay": "lag"}, "source 'orders' has no column 'lag', which its delay= names", ""),
        ({"keys": {"customer": "custmer"}}, "no column 'custmer', which its keys= names", "did you mean 'customer'?"),
        (
            {"timestamp": "amount"},
            "'amount' of source 'orders' is a column of Float64, not of times",
            "convert it first",
        ),
    ],
)
def test_a_source_whose_options_name_no_such_column_is_refused(workspace, make, options, message, hint):
    refused(workspace, make(**options).project, DataError, message, hint)


def test_times_without_a_zone_are_refused_until_the_source_says_it(workspace, make):
    naive = ORDERS.with_columns(pl.col("at").dt.replace_time_zone(None))
    refused(
        workspace,
        make(naive).project,
        DataError,
        "'at' of source 'orders' holds times without a time zone",
        'tz="America/New_York"',
    )
    assert workspace.apply(make(naive, tz="Europe/Vienna").project)


def test_a_key_that_a_source_does_not_have_is_refused_with_the_option_that_renames_it(workspace, make):
    shop = make(ORDERS.rename({"customer": "customer_id"}))
    shop.view(lambda rows: {"x": rows["amount"].last()})
    refused(
        workspace,
        shop.project,
        DefinitionError,
        "the key of feature view 'spending': source 'orders' has no key column 'customer'",
        'did you mean \'customer_id\'? If it has another name there: keys={"customer": "..."}',
    )


def test_an_entity_with_numbers_here_and_text_there_is_refused(workspace, make):
    shop = make()
    shop.view(lambda rows: {"x": rows["amount"].last()})
    sql(shop.project, "visits", "select 7 as customer, timestamptz '2024-01-01 00:00:00+00' as \"at\", 1 as n")

    @shop.project.feature_view(entity=shop.customer)
    def visiting(visits: tm.Rows) -> tm.Features:
        return {"n": visits["n"].last()}

    refused(
        workspace,
        shop.project,
        DefinitionError,
        "entity 'customer', in 'orders' and 'visits': key column 'customer' is String in",
        "cast one of them",
    )


@pytest.mark.parametrize(
    ("columns", "message", "hint"),
    [
        (
            "'v' as visit, \"at\", 'a' as custmer",
            "has no column 'customer', which 'buys' needs",
            "did you mean 'custmer'?",
        ),
        ('7 as customer, "at"', "'buys': key column 'customer' is Int32 in the spine", "cast one of them"),
        ('customer, "at"', "has no column 'friend', which 'spending' needs", "known names: at, customer"),
        (
            "customer, \"at\", 'b' as friend, 1 as friend_x",
            "has a feature named 'friend_x', and so has its spine",
            "role",
        ),
        ("customer, \"at\", 'b' as friend", "has no column 'discount', which 'rest' needs", "known names:"),
    ],
)
def test_a_spine_without_what_keys_and_request_fields_need_is_refused(workspace, make, columns, message, hint):
    shop = make()
    view = shop.view(lambda rows: {"x": rows["amount"].last()})

    @shop.project.on_demand
    def rest(discount: pl.Expr) -> dict[str, pl.Expr]:
        return {"double": discount * 2}

    visits = sql(shop.project, "visits", f"select {columns} from 'orders.parquet'")
    features = [view, view.on("friend", prefix="friend_"), rest]
    shop.project.training_set("buyers", spine=visits, label=shop.label(), features=features)
    refused(workspace, shop.project, DefinitionError, message, hint)


def with_on_demand(shop, write):
    view = shop.view(lambda rows: {"amount_last": rows["amount"].last(), "page_last": rows["page"].last()})

    @shop.project.on_demand
    def rest(spending: tm.Inputs, friend: pl.Expr, timestamp: pl.Expr) -> dict[str, pl.Expr]:
        return write(spending, friend, timestamp)

    visits = sql(shop.project, "visits", "select customer, \"at\", friend from 'orders.parquet'")
    shop.project.training_set("buyers", spine=visits, label=shop.label(), features=[view, rest])
    return shop.project


@pytest.mark.parametrize(
    "write",
    [
        lambda e: (e * 3).is_in(e),  # Polars treats it as row-wise, although it compares with all rows
        lambda e: e.map_batches(lambda series: series.shift(1), return_dtype=pl.Float64),
        lambda e: e.map_batches(lambda series: series * 0 + (series.mean() or 0.0), return_dtype=pl.Float64),
    ],
)
def test_what_hides_that_it_sees_other_rows_is_found_by_computing_row_by_row(workspace, make, write):
    project = with_on_demand(make(), lambda spending, friend, timestamp: {"x": write(spending["amount_last"])})
    refused(workspace, project, DefinitionError, "'x' of on-demand view 'rest' depends on other rows", "feature view")


def test_an_on_demand_view_that_does_not_fit_its_types_is_refused(workspace, make):
    project = with_on_demand(make(), lambda spending, friend, timestamp: {"x": spending["page_last"].dt.hour()})
    refused(workspace, project, DefinitionError, "on-demand view 'rest' cannot be computed", "check the types")


@pytest.mark.filterwarnings("ignore::polars.exceptions.PolarsInefficientMapWarning")
def test_an_on_demand_view_that_fails_only_on_made_up_values_is_taken(workspace, make):
    project = with_on_demand(
        make(),
        lambda spending, friend, timestamp: {
            "number": friend.cast(pl.Int64),  # the made-up text is not a number
            "python": spending["amount_last"].map_elements(lambda value: value + 1, return_dtype=pl.Float64),
            "hour": timestamp.dt.hour(),
        },
    )
    assert workspace.apply(project)


# Where columns are known, and where they are not


def test_a_file_that_is_not_there_yet_is_a_note_and_a_wrong_select_is_refused(workspace):
    project = tm.Project("shop")
    sql(project, "orders", "select * from 'nowhere.parquet'")
    (note,) = workspace.apply(project).notes
    assert note.startswith("the columns of source orders are checked when it is ingested: a file cannot be read")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("select nothing from 'orders.parquet'", DefinitionError, "source 'orders': the SQL is wrong"),
        ("drop table orders", DefinitionError, "source 'orders': "),
        ("select * from read_csv('/etc/passwd')", AccessError, "source 'orders': SQL may not do this"),
    ],
)
def test_sql_that_could_never_run_is_refused(workspace, make, text, error, message):
    make()
    project = tm.Project("shop")
    sql(project, "orders", text)
    refused(workspace, project, error, message, "")


def test_a_lazy_frame_is_asked_for_its_columns_and_a_function_that_reads_is_not_called(workspace):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def eager() -> pl.DataFrame:
        raise AssertionError("a client is read at ingest alone")

    @project.source(timestamp="at")
    def orders() -> pl.LazyFrame:
        return ORDERS.lazy()

    @project.feature_view(entity=customer)
    def from_eager(eager: tm.Rows) -> tm.Features:
        return {"x": eager["whatever"].last()}

    assert workspace.apply(project).notes == ["the columns of source eager are checked when it is ingested"]

    @project.feature_view(entity=customer)
    def from_lazy(orders: tm.Rows) -> tm.Features:
        return {"y": orders["whatever"].last()}

    with pytest.raises(DefinitionError, match="'y' of feature view 'from_lazy': source 'orders' has no column"):
        workspace.apply(project)


def test_the_columns_of_a_function_are_those_it_was_ingested_with_while_it_is_the_same(workspace):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return ORDERS

    workspace.apply(project)
    workspace.ingest()

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"x": orders["amout"].last()}

    with pytest.raises(DefinitionError, match="no column 'amout'\nHint: did you mean 'amount'"):
        workspace.apply(project)


def test_a_pushed_source_has_the_columns_of_its_schema(workspace):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def clicks() -> tm.Schema:
        return {"customer": str, "at": datetime, "page": str}

    @project.feature_view(entity=customer)
    def clicking(clicks: tm.Rows) -> tm.Features:
        return {"x": clicks["pge"].last()}

    refused(workspace, project, DefinitionError, "source 'clicks' has no column 'pge'", "did you mean 'page'?")


def test_a_transformation_has_the_columns_that_its_inputs_give_it(workspace, make):
    shop = make()

    @shop.project.transformation(row_wise=True)
    def large(orders: tm.Rows) -> str:
        return "select *, amount > 100 as is_large from orders"

    @shop.project.transformation(timestamp="at")
    def daily(large: pl.LazyFrame) -> pl.LazyFrame:
        return large.group_by("customer", "at").agg(pl.col("amount").sum().alias("total"))

    @shop.project.feature_view(entity=shop.customer)
    def of_large(large: tm.Rows) -> tm.Features:
        return {"share": large["is_large"].mean(window="7d")}

    @shop.project.feature_view(entity=shop.customer)
    def of_daily(daily: tm.Rows) -> tm.Features:
        return {"total": daily["totl"].last()}

    refused(workspace, shop.project, DefinitionError, "source 'daily' has no column 'totl'", "did you mean 'total'?")


def lazy_missing(orders: pl.LazyFrame) -> pl.LazyFrame:
    return orders.with_columns(x=pl.col("amout") * 2)


def lazy_without_times(orders: pl.LazyFrame) -> pl.LazyFrame:
    return orders.select("customer", "amount")


def lazy_no_frame(orders: pl.LazyFrame) -> pl.LazyFrame:
    return 3


@pytest.mark.parametrize(
    ("function", "message", "hint"),
    [
        (lazy_missing, "source 'lazy_missing' cannot be computed", "correct its columns"),
        (lazy_without_times, "row-wise transformation 'lazy_without_times' drops columns", "keep all columns"),
        (lazy_no_frame, "is hinted to return a LazyFrame and returned a int", "return frame.lazy()"),
    ],
)
def test_a_transformation_that_does_not_fit_its_inputs_is_refused(workspace, make, function, message, hint):
    project = make().project
    project.transformation(row_wise=True)(function)
    refused(workspace, project, DefinitionError, message, hint)


def test_a_refused_apply_leaves_what_was_applied_in_force(workspace, make):
    shop = make()
    shop.view(lambda rows: {"x": rows["amount"].last()})
    workspace.apply(shop.project)
    wrong = make()
    wrong.view(lambda rows: {"x": rows["amout"].last()})
    with pytest.raises(DefinitionError, match="amout"):
        workspace.apply(wrong.project)
    assert [row.version for row in workspace.catalog.list()] == [1, 1, 1]
    assert not workspace.plan(shop.project)


# Two at once


OTHER = """
import sys
import polars as pl
import tinymlops as tm
name, ttl, path = sys.argv[1:]
project = tm.Project(name)
customer = project.entity("customer", key="customer")

@project.source(timestamp="at")
def orders() -> tm.Schema:
    return {"customer": str, "at": "Datetime[us, UTC]", "amount": float}

@project.feature_view(entity=customer, ttl=ttl)
def spending(orders: tm.Rows) -> tm.Features:
    return {"x": orders["amount"].last()}

with tm.connect(path) as ws:
    ws.apply(project)
"""


def shop_that_meanwhile(name, ttl, meanwhile):
    """A project that another process of the workspace overtakes, between its plan and its change."""
    project = tm.Project(name)
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def orders() -> pl.LazyFrame:
        meanwhile()
        return ORDERS.lazy()

    @project.feature_view(entity=customer, ttl=ttl)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"x": orders["amount"].last()}

    return project


def other_process(path, name="shop", ttl="9d"):
    subprocess.run([sys.executable, "-c", OTHER, name, ttl, str(path)], check=True, timeout=120)


def test_a_plan_that_another_process_has_overtaken_is_refused_and_its_change_stays(workspace, tmp_path):
    workspace.apply(shop_that_meanwhile("shop", "1d", lambda: None))
    behind = shop_that_meanwhile("shop", "2d", lambda: other_process(tmp_path / "shop.tm"))
    with pytest.raises(ConflictError, match="another process has applied to this workspace") as caught:
        workspace.apply(behind)
    assert "plan again" in caught.value.hint
    view = workspace.catalog.get("feature_view", "spending")
    assert (view.version, view.spec["ttl"]) == (2, 9 * 86_400_000_000)
    workspace.apply(shop_that_meanwhile("shop", "2d", lambda: None))
    assert workspace.catalog.get("feature_view", "spending").version == 3
    assert database_of(workspace).verify_audit() == []


def test_a_definition_that_another_project_has_taken_meanwhile_stays_that_projects(workspace, tmp_path):
    behind = shop_that_meanwhile("mine", "2d", lambda: other_process(tmp_path / "shop.tm", "theirs"))
    with pytest.raises(ConflictError, match="is already defined by project 'theirs'"):
        workspace.apply(behind)
    assert {(row.name, row.project) for row in workspace.catalog.list()} == {
        (name, "theirs") for name in ("customer", "orders", "spending")
    }


def test_another_project_that_applies_something_else_meanwhile_is_no_conflict(workspace, tmp_path):
    theirs = OTHER.replace("customer", "guest").replace("orders", "stays").replace("spending", "staying")
    run = [sys.executable, "-c", theirs, "theirs", "9d", str(tmp_path / "shop.tm")]
    behind = shop_that_meanwhile("mine", "2d", lambda: subprocess.run(run, check=True, timeout=120))
    assert workspace.apply(behind)
    assert {row.project for row in workspace.catalog.list()} == {"mine", "theirs"}


def test_of_processes_that_apply_at_once_each_wins_or_is_refused(workspace, tmp_path):
    run = [sys.executable, "-c", OTHER, "shop"]
    started = [
        subprocess.Popen([*run, f"{days}d", str(tmp_path / "shop.tm")], stderr=subprocess.PIPE, text=True)
        for days in range(1, 5)
    ]
    said = [process.communicate(timeout=120)[1] for process in started]
    won = sum(process.returncode == 0 for process in started)
    assert all("ConflictError" in text for text, process in zip(said, started, strict=True) if process.returncode)
    versions = database_of(workspace).list(Definition, where={"kind": "feature_view"}, order="version")
    assert [row.version for row in versions] == list(range(1, won + 1))
    assert [row.removed_at is None for row in versions] == [False] * (won - 1) + [True]
    assert database_of(workspace).verify_audit() == []
