"""Plan and apply: names are resolved, definitions checked, differences written once."""

import random
import time
from datetime import UTC, date, datetime

import polars as pl
import pytest
from conftest import shop
from inside import database_of

import tinymlops as tm
from tinymlops.errors import ConflictError, DefinitionError, LeakageError, NotFoundError
from tinymlops.records import Definition


def project_of(**options):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(**({"timestamp": "at"} | options))
    def orders() -> pl.DataFrame:
        return pl.DataFrame()

    return project, customer


def test_a_plan_says_what_apply_will_do_and_apply_does_it_once(workspace):
    project = shop(None)
    assert all(change.action == "add" for change in workspace.plan(project).changes)
    assert workspace.catalog.list() == []
    workspace.apply(project)
    assert not workspace.plan(project)
    workspace.apply(project)
    assert {row.version for row in database_of(workspace).list(Definition)} == {1}


def test_a_changed_definition_gets_a_new_version_that_names_what_changed(workspace):
    workspace.apply(shop(None))
    changed = shop(None, ttl="3d")
    changes = [change for change in workspace.plan(changed).changes if change.action != "keep"]
    assert [(change.action, change.name, change.detail) for change in changes] == [
        ("change", "spending", "ttl none -> 3d"),
        ("change", "visits_to_orders", "below: feature view spending v1 -> v2"),
    ]
    workspace.apply(changed)
    assert workspace.catalog.get("feature_view", "spending").version == 2
    assert "1 to apply" not in str(workspace.plan(changed))


def test_what_a_project_no_longer_has_is_removed_and_its_versions_kept(workspace):
    workspace.apply(shop(None))
    smaller, _ = project_of()
    workspace.apply(smaller)
    assert [row.name for row in workspace.catalog.list()] == ["customer", "orders"]
    assert len(database_of(workspace).list(Definition, where={"name": "spending"})) == 1
    with pytest.raises(NotFoundError, match="no feature view 'spending'"):
        workspace.catalog.get("feature_view", "spending")


def test_every_apply_is_in_an_unbroken_audit(workspace):
    workspace.apply(shop(None))
    workspace.apply(shop(None, ttl="3d"))
    assert database_of(workspace).verify_audit() == []


def test_a_misspelt_source_gets_its_near_match(workspace):
    project, customer = project_of()

    @project.feature_view(entity=customer)
    def spending(order: tm.Rows) -> tm.Features:
        return {"x": order["amount"].last()}

    with pytest.raises(
        NotFoundError, match="no source 'order', which feature view 'spending' names\nHint: did you mean 'orders'"
    ):
        workspace.plan(project)


def test_a_window_over_a_static_source_is_refused(workspace):
    project, customer = project_of(timestamp=None, static=True)

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"x": orders["amount"].sum(window="1d")}

    with pytest.raises(DefinitionError, match="is static"):
        workspace.plan(project)


def test_a_label_without_time_is_a_leak(workspace):
    project, customer = project_of(timestamp=None, static=True)

    @project.label(entity=customer, horizon="1d")
    def buys(orders: tm.Rows) -> tm.Label:
        return (orders["amount"] > 0).last()

    with pytest.raises(LeakageError, match="has no event time"):
        workspace.plan(project)


@pytest.mark.parametrize(
    ("ttl", "window", "message"), [("1h", None, "every value would expire"), (None, "1h", "always be empty")]
)
def test_a_delay_that_outlasts_ttl_or_window_is_refused(workspace, ttl, window, message):
    project, customer = project_of(delay="1h")

    @project.feature_view(entity=customer, ttl=ttl)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"x": orders["amount"].last(window=window)}

    with pytest.raises(DefinitionError, match=message):
        workspace.plan(project)


def test_two_features_of_one_name_are_refused_with_the_fix(workspace):
    project = shop(None)
    spending, visits, buys = (project.definitions[name] for name in ("spending", "visits", "buys"))
    project.training_set("twice", spine=visits, label=buys, features=[spending, spending["spent_1d"]])
    with pytest.raises(DefinitionError, match="two features named 'spent_1d'"):
        workspace.plan(project)


def test_a_shared_source_makes_the_boundary_strict_and_the_plan_says_so(workspace):
    project = shop(None)
    orders, spending, buys = (project.definitions[name] for name in ("orders", "spending", "buys"))
    project.training_set("own", spine=orders, label=buys, features=[spending])
    assert any("shares orders with the spine" in note for note in workspace.plan(project).notes)


def test_transformations_in_a_circle_are_refused(workspace):
    project = tm.Project("shop")

    @project.transformation(timestamp="t")
    def first(second: tm.Rows) -> str:
        return "select * from second"

    @project.transformation(timestamp="t")
    def second(first: tm.Rows) -> str:
        return "select * from first"

    with pytest.raises(DefinitionError, match="in a circle"):
        workspace.plan(project)


def test_a_label_that_shares_the_spine_says_when_its_outcome_lies(workspace):
    project = shop(None)
    orders, spending, customer = (project.definitions[name] for name in ("orders", "spending", "customer"))

    @project.label(entity=customer, horizon="7d", gap="1h")
    def again(orders: tm.Rows) -> tm.Label:
        return orders["amount"].last()

    project.training_set("own", spine=orders, label=again, features=[spending])
    assert (
        "own: label again shares orders with the spine; a row is never its own outcome, which lies in "
        "(t + 1h, t + 7d1h]"
    ) in workspace.plan(project).notes


def test_a_changed_feature_is_named_and_a_changed_order_is_one(workspace):
    workspace.apply(shop(None))

    def detail(features):
        changed = [
            change for change in workspace.plan(shop(None, features=features)).changes if change.action != "keep"
        ]
        return [change.detail for change in changed if change.kind == "feature_view"]

    last, spent = (lambda rows: rows["amount"].last()), (lambda rows, window: rows["amount"].sum(window=window))
    assert detail(lambda rows: {"last_amount": last(rows), "spent_1d": spent(rows, "2d")}) == [
        "spent_1d.window 1d -> 2d"
    ]
    assert detail(lambda rows: {"spent_1d": spent(rows, "1d"), "last_amount": last(rows)}) == ["order of features"]
    assert detail(lambda rows: {"n": rows.count(window="1d"), "spent_1d": spent(rows, "1d")}) == ["+n, -last_amount"]


def test_a_name_that_another_project_of_the_workspace_has_is_refused(workspace):
    workspace.apply(shop(None))
    other = tm.Project("other")
    other.entity("customer", key="id")
    with pytest.raises(ConflictError, match="entity 'customer' is already defined by project 'shop'") as info:
        workspace.apply(other)
    assert "a workspace of its own" in info.value.hint
    assert workspace.catalog.get("entity", "customer").spec["key"] == ["customer"]


def test_a_plan_is_a_table_in_a_notebook_with_every_text_escaped(workspace):
    empty = workspace.plan(tm.Project("empty"))._repr_html_()
    assert empty.endswith("</style><table><caption>0 to apply, 0 unchanged</caption></table></div>")
    plan = workspace.plan(shop(None))
    plan.notes.append("<script>")
    shown = plan._repr_html_()
    assert "<td>feature view</td><td>spending</td>" in shown
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


# On-demand views


def with_view(function, *, features=("spending",)):
    """The shop with an on-demand view in its training set."""
    project = shop(None)
    view = project.on_demand(function)
    visits, buys = (project.definitions[name] for name in ("visits", "buys"))
    asked = [*(project.definitions[name] for name in features), view]
    project.training_set("with_view", spine=visits, label=buys, features=asked)
    return project


def test_an_on_demand_view_of_row_wise_expressions_is_taken(workspace):
    def rest(spending: tm.Inputs, discount: pl.Expr, code: pl.Expr, timestamp: pl.Expr) -> dict[str, pl.Expr]:
        return {
            "rest": (spending["last_amount"] * discount).fill_null(0.0).clip(0, 10),
            "hour": timestamp.dt.convert_time_zone("Europe/Vienna").dt.hour(),
            "known": code.is_in(["a", "b"]) & spending["spent_1d"].is_not_null(),
            "both": pl.max_horizontal(spending["last_amount"], discount),
            "big": pl.when(discount > 0.5).then(pl.lit("big")).otherwise(pl.lit("small")),
            "upper": code.str.to_uppercase().str.head(1),
            "of_list": code.str.split(" ").list.eval(pl.element().str.len_chars()).list.sum(),
            "always": pl.lit(1),
        }

    assert workspace.apply(with_view(rest))


@pytest.mark.parametrize(
    "write",
    [
        lambda e: e.sum(),
        lambda e: e - e.mean(),
        lambda e: e.fill_null(e.mean()),
        lambda e: pl.when(e > e.max()).then(1).otherwise(2),
        lambda e: e.shift(),
        lambda e: e.diff(),
        lambda e: e.rank(),
        lambda e: e.cum_sum(),
        lambda e: e.fill_null(strategy="forward"),
        lambda e: e.rolling_mean(3),
        lambda e: e.sum().over(e),
        lambda e: e.sort(),
        lambda e: e.reverse(),
        lambda e: e.is_duplicated(),
        lambda e: e.filter(e > 0),
        lambda e: e.drop_nulls(),
        lambda e: pl.len(),
        lambda e: e * pl.lit(pl.Series([1, 2])),
        lambda e: pl.struct(e, e.shift().alias("b")).struct.field("b"),
    ],
    ids=lambda write: "e",
)
def test_an_on_demand_view_that_sees_other_rows_is_refused(workspace, write):
    def rest(discount: pl.Expr) -> dict[str, pl.Expr]:
        return {"fine": discount * 2, "wrong": write(discount)}

    with pytest.raises(DefinitionError) as info:
        workspace.plan(with_view(rest))
    assert info.value.message == (
        "feature 'wrong' of on-demand view 'rest' depends on other rows, and a prediction has only its own"
    )
    assert "a feature view with a window" in info.value.hint


def of_now(timestamp: pl.Expr) -> dict[str, pl.Expr]:
    return {"age": timestamp - datetime.now(UTC)}


def of_today(timestamp: pl.Expr) -> dict[str, pl.Expr]:
    return {"age": timestamp.dt.date() - date.today()}


def of_the_clock(timestamp: pl.Expr) -> dict[str, pl.Expr]:
    return {"age": timestamp.dt.epoch("s") - time.perf_counter_ns()}


def of_chance(timestamp: pl.Expr) -> dict[str, pl.Expr]:
    return {"age": timestamp.dt.hour() + random.random()}


@pytest.mark.parametrize("function", [of_now, of_today, of_the_clock, of_chance])
def test_an_on_demand_view_that_depends_on_when_it_is_defined_is_refused(workspace, function):
    with pytest.raises(DefinitionError, match="'age' of on-demand view 'of_.*' depends on the time") as info:
        workspace.plan(with_view(function))
    assert info.value.hint == "add the parameter timestamp: pl.Expr, which is the time of each prediction"


@pytest.mark.parametrize(
    ("write", "message", "hint"),
    [
        (lambda e: {"x": pl.col("distance") * e}, "'x' of on-demand view 'rest' reads distance", "distance: pl.Expr"),
        (lambda e: {"x": pl.all().sum()}, "'x' of on-demand view 'rest' reads several columns at once", "add a param"),
        (lambda e: {"x": 3}, "'x' of on-demand view 'rest' is 3, not a Polars expression", "pl.lit"),
        (lambda e: {}, "on-demand view 'rest' returned no features", 'return {"name"'),
        (lambda e: {"X": e}, "'X' cannot be the name of a feature", "lower-case"),
        (lambda e: {"discount": e}, "a feature named 'discount' (rest:discount), which is a request field", "rename"),
        (lambda e: {"spent_1d": e}, "two features named 'spent_1d': spending:spent_1d and rest:spent_1d", "rename one"),
        (lambda e: {"customer": e}, "a feature named 'customer' (rest:customer), which is a key column of", "rename"),
        (lambda e: {"timestamp": e}, "a feature named 'timestamp' (rest:timestamp), which is the prediction", "rename"),
    ],
)
def test_features_of_an_on_demand_view_that_could_not_be_computed_are_refused(workspace, write, message, hint):
    def rest(discount: pl.Expr) -> dict[str, pl.Expr]:
        return write(discount)

    with pytest.raises(DefinitionError) as info:
        workspace.plan(with_view(rest))
    assert message in info.value.message
    assert hint in info.value.hint


def test_a_parameter_that_names_no_view_gets_the_near_match(workspace):
    def rest(spendings: tm.Inputs) -> dict[str, pl.Expr]:
        return {"x": spendings["last_amount"]}

    with pytest.raises(NotFoundError, match="no feature view 'spendings', which on-demand view 'rest' names") as info:
        workspace.plan(with_view(rest))
    assert info.value.hint == "did you mean 'spending'?"


def test_an_unknown_feature_gets_the_near_match(workspace):
    def rest(spending: tm.Inputs) -> dict[str, pl.Expr]:
        return {"x": spending["last_amont"]}

    with pytest.raises(NotFoundError, match="view 'spending' has no feature 'last_amont'") as info:
        workspace.plan(with_view(rest))
    assert info.value.hint == "did you mean 'last_amount'?"


def test_a_view_that_the_training_set_does_not_list_is_refused(workspace):
    def rest(spending: tm.Inputs) -> dict[str, pl.Expr]:
        return {"x": spending["last_amount"]}

    with pytest.raises(NotFoundError, match="reads 'spending', which is not a feature view of this list") as info:
        workspace.plan(with_view(rest, features=()))
    assert "list that view too" in info.value.hint


def test_a_feature_that_the_training_set_does_not_pick_is_refused(workspace):
    project = shop(None)

    @project.on_demand
    def rest(spending: tm.Inputs) -> dict[str, pl.Expr]:
        return {"x": spending["last_amount"]}

    visits, buys, spending = (project.definitions[name] for name in ("visits", "buys", "spending"))
    project.training_set("picks", spine=visits, label=buys, features=[spending["spent_1d"], rest])
    with pytest.raises(NotFoundError, match="has no feature 'last_amount'\nHint: known names: spent_1d"):
        workspace.plan(project)


def test_a_view_in_a_role_is_read_by_its_prefix(workspace):
    project = shop(None)

    @project.on_demand
    def gap(spending: tm.Inputs, friend_spending: tm.Inputs) -> dict[str, pl.Expr]:
        return {"gap": spending["last_amount"] - friend_spending["last_amount"]}

    visits, buys, spending = (project.definitions[name] for name in ("visits", "buys", "spending"))
    features = [spending, spending.on("friend", prefix="friend_"), gap]
    project.training_set("friends", spine=visits, label=buys, features=features)
    assert workspace.plan(project)


def test_a_mistyped_workspace_path_gets_its_near_match(tmp_path):
    tm.connect(tmp_path / "flights.tm", create=True).close()
    with pytest.raises(NotFoundError, match=r"flights\.tm"):
        tm.connect(tmp_path / "flihgts.tm")
    assert [path.name for path in tmp_path.iterdir()] == ["flights.tm"]
