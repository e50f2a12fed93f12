"""Plan and apply: names resolved, definitions checked, differences written once."""

import polars as pl
import pytest
from conftest import shop

import tinymlops as tm
from tinymlops.errors import DefinitionError, LeakageError, NotFoundError
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
    assert {row.version for row in workspace._environment.database.list(Definition)} == {1}


def test_a_changed_definition_gets_a_new_version_that_names_what_changed(workspace):
    workspace.apply(shop(None))
    changed = shop(None, ttl="3d")
    (change,) = [change for change in workspace.plan(changed).changes if change.action != "keep"]
    assert (change.action, change.name, change.detail) == ("change", "spending", "ttl")
    workspace.apply(changed)
    assert workspace.catalog.get("feature_view", "spending").version == 2
    assert "1 to apply" not in str(workspace.plan(changed))


def test_what_a_project_no_longer_has_is_removed_and_its_versions_kept(workspace):
    workspace.apply(shop(None))
    smaller, _ = project_of()
    workspace.apply(smaller)
    assert [row.name for row in workspace.catalog.list()] == ["customer", "orders"]
    assert len(workspace._environment.database.list(Definition, where={"name": "spending"})) == 1
    with pytest.raises(NotFoundError, match="no feature view 'spending'"):
        workspace.catalog.get("feature_view", "spending")


def test_every_apply_is_in_an_unbroken_audit(workspace):
    workspace.apply(shop(None))
    workspace.apply(shop(None, ttl="3d"))
    assert workspace._environment.database.verify_audit() == []


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


def test_a_mistyped_workspace_path_gets_its_near_match(tmp_path):
    tm.connect(tmp_path / "flights.tm", create=True).close()
    with pytest.raises(NotFoundError, match=r"flights\.tm"):
        tm.connect(tmp_path / "flihgts.tm")
    assert [path.name for path in tmp_path.iterdir()] == ["flights.tm"]
