"""Walks over definitions: a made-up project walked by hand, and random ones against reachability by brute force."""

from graphlib import CycleError

import msgspec
import polars as pl
import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st

import tinymlops as tm
from tinymlops.errors import NotFoundError
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.definitions import Definitions
from tinymlops.features.definitions.specs import (
    EntitySpec,
    FeatureRequest,
    LabelSpec,
    OnDemandSpec,
    SourceSpec,
    TrainingSetSpec,
    ViewSpec,
    fingerprint,
)

project = tm.Project("shop")
customer = project.entity("customer", key="customer_id")
shop = project.entity("shop", key="shop_id")


@project.source(timestamp="at", id="order_id")
def orders() -> str:
    return "select 1"


@project.source(timestamp="at")
def returns() -> str:
    return "select 1"


@project.source(static=True)
def shops() -> str:
    return "select 1"


@project.transformation(row_wise=True)
def large(orders: tm.Rows) -> str:
    return "select * from orders"


@project.transformation(row_wise=True)
def huge(large: tm.Rows) -> str:
    return "select * from large"


@project.transformation(row_wise=True)
def cheap(orders: tm.Rows) -> str:
    return "select * from orders"


@project.transformation(timestamp="at")
def kept(huge: tm.Rows, returns: tm.Rows) -> str:
    return "select * from huge"


@project.transformation(timestamp="at")
def diamond(kept: tm.Rows, cheap: tm.Rows, shops: tm.Rows) -> str:
    return "select * from kept"


@project.transformation(row_wise=True)
def facets(diamond: tm.Rows) -> str:
    return "select * from diamond"


@project.feature_view(entity=customer)
def spending(orders: tm.Rows) -> tm.Features:
    return {"spent": orders["amount"].sum(window="1d")}


@project.feature_view(entity=customer)
def splurges(huge: tm.Rows) -> tm.Features:
    return {"share": huge["amount"].sum(window="1d") / huge["amount"].sum(window="30d")}


@project.feature_view(entity=shop)
def sparkle(facets: tm.Rows) -> tm.Features:
    return {"last": facets["amount"].last()}


@project.feature_view(entity=shop)
def places(shops: tm.Rows) -> tm.Features:
    return {"city": shops["city"].last()}


@project.on_demand
def ratio(spending: tm.Inputs, home_places: tm.Inputs, limit: pl.Expr) -> dict[str, pl.Expr]:
    return {"of_limit": spending["spent"] / limit}


@project.label(entity=customer, horizon="7d")
def returned(returns: tm.Rows) -> tm.Label:
    return returns["amount"].count()


project.training_set(
    "churn",
    spine=cheap,
    label=returned,
    features=[spending, places.on("home", prefix="home_"), ratio],
)
DEFINITIONS = Definitions(project.specs())


def source(name):
    return DEFINITIONS.get(SourceSpec, name)


@pytest.mark.parametrize(
    ("name", "above"),
    [
        ("orders", {"orders"}),
        ("huge", {"huge", "large", "orders"}),
        ("kept", {"kept", "huge", "large", "orders", "returns"}),
        ("facets", {"facets", "diamond", "kept", "cheap", "huge", "large", "orders", "returns", "shops"}),
    ],
)
def test_upstream_of_a_source_is_itself_and_all_it_is_derived_from(name, above):
    found = graph.upstream(DEFINITIONS, [name])
    assert found.keys() == above
    assert all(found[one].name == one for one in found)


def test_upstream_of_several_sources_has_each_once():
    assert graph.upstream(DEFINITIONS, ["large", "cheap"]).keys() == {"large", "cheap", "orders"}


def test_upstream_of_a_name_that_is_no_source_says_which_was_meant():
    with pytest.raises(NotFoundError, match="there is no source 'order'") as raised:
        graph.upstream(DEFINITIONS, ["order"])
    assert "orders" in raised.value.hint


def test_base_sources_are_derived_from_no_other():
    assert graph.base_sources(DEFINITIONS, "orders") == {"orders"}
    assert graph.base_sources(DEFINITIONS, "facets") == {"orders", "returns", "shops"}


def test_shared_sources_lie_at_the_beginning_of_both_lineages():
    assert graph.shared_sources(DEFINITIONS, "cheap", "facets") == {"orders"}
    assert graph.shared_sources(DEFINITIONS, "cheap", "returns") == set()


def test_derived_sources_come_after_their_inputs():
    found = [one.name for one in graph.derived_in_order(DEFINITIONS)]
    assert set(found) == {"large", "huge", "cheap", "kept", "diamond", "facets"}
    assert all(
        found.index(before) < found.index(one) for one in found for before in source(one).inputs if before in found
    )


def test_a_circle_has_no_order():
    circle = Definitions([_source("a", ("b",)), _source("b", ("a",))])
    with pytest.raises(CycleError):
        graph.derived_in_order(circle)


def test_only_rebuilt_transformations_are_rebuilt_under_a_view():
    views = DEFINITIONS.of(ViewSpec)
    assert [one.name for one in graph.rebuilt_under(DEFINITIONS, [views["sparkle"]])] == ["kept", "diamond"]
    assert graph.rebuilt_under(DEFINITIONS, [views["spending"], views["splurges"]]) == []


def test_the_origin_is_where_rows_get_their_times():
    assert [one.name for one in graph.lineage(DEFINITIONS, source("huge"))] == ["huge", "large", "orders"]
    assert [one.name for one in graph.lineage(DEFINITIONS, source("facets"))] == ["facets", "diamond"]
    assert graph.origin(DEFINITIONS, source("huge")) is source("orders")
    assert graph.origin(DEFINITIONS, source("kept")) is source("kept")


def test_row_wise_inputs_lie_between_a_rebuilt_source_and_stored_rows():
    assert [one.name for one in graph.row_wise_inputs(DEFINITIONS, source("kept"))] == ["huge", "large"]
    assert [one.name for one in graph.row_wise_inputs(DEFINITIONS, source("diamond"))] == ["cheap"]
    assert graph.row_wise_inputs(DEFINITIONS, source("orders")) == []


def test_downstream_are_the_sources_with_the_same_rows():
    assert [one.name for one in graph.row_wise_over(DEFINITIONS, "orders")] == ["large", "cheap"]
    assert graph.downstream(DEFINITIONS, "orders") == ["orders", "large", "huge", "cheap"]
    assert graph.downstream(DEFINITIONS, "returns") == ["returns"]


def test_what_reads_a_source():
    assert [one.name for one in graph.views_reading(DEFINITIONS, "orders")] == ["spending"]
    every = graph.downstream(DEFINITIONS, "orders")
    assert [one.name for one in graph.views_reading(DEFINITIONS, *every)] == ["spending", "splurges"]
    assert [one.name for one in graph.labels_reading(DEFINITIONS, "returns")] == ["returned"]
    assert graph.labels_reading(DEFINITIONS, "orders") == []


def test_views_under_an_on_demand_view_have_the_role_of_its_parameter():
    on_demand = DEFINITIONS.get(OnDemandSpec, "ratio")
    found = graph.views_under(DEFINITIONS, on_demand)
    assert found == [FeatureRequest(view="spending"), FeatureRequest(view="places", prefix="home_")]
    assert [graph.parameter_of(one) for one in found] == list(on_demand.views)
    assert graph.parameter_of(FeatureRequest(view="ratio", on_demand=True)) is None


def test_views_under_an_on_demand_view_must_be_there():
    lost = msgspec.structs.replace(DEFINITIONS.get(OnDemandSpec, "ratio"), views=("spendings",))
    with pytest.raises(NotFoundError, match="'spendings', which on-demand view 'ratio' names"):
        graph.views_under(DEFINITIONS, lost)


def test_a_version_of_a_view_is_the_view_its_entity_and_the_lineage_of_its_source():
    version = graph.version_of(DEFINITIONS, DEFINITIONS.get(ViewSpec, "splurges"))
    assert [one.name for one in version] == ["splurges", "customer", "huge", "large", "orders"]
    assert graph.fingerprints(version) == tuple(fingerprint(one) for one in version)


@pytest.mark.parametrize(
    ("changed", "anew"),
    [("orders", {"spending", "splurges"}), ("large", {"splurges"}), ("facets", {"sparkle"}), ("kept", set())],
)
def test_a_changed_source_makes_another_version_of_the_views_with_its_rows(changed, anew):
    def identities(definitions):
        views = definitions.of(ViewSpec).values()
        return {view.name: graph.fingerprints(graph.version_of(definitions, view)) for view in views}

    after = [msgspec.structs.replace(one, delay=7) if one.name == changed else one for one in DEFINITIONS.all]
    before, now = identities(DEFINITIONS), identities(Definitions(after))
    assert {name for name in before if before[name] != now[name]} == anew


def test_a_described_view_is_the_same_version():
    view = DEFINITIONS.get(ViewSpec, "spending")
    described = msgspec.structs.replace(view, description="What a customer spent.")
    versions = [graph.version_of(DEFINITIONS, one) for one in (view, described)]
    assert graph.fingerprints(versions[0]) == graph.fingerprints(versions[1])


def test_a_training_set_stands_on_spine_label_features_and_all_below_them():
    spec = DEFINITIONS.get(TrainingSetSpec, "churn")
    found = graph.stands_on(DEFINITIONS, spec)
    assert list(found) == [
        "entity:customer",
        "entity:shop",
        "feature_view:places",
        "feature_view:spending",
        "label:returned",
        "on_demand:ratio",
        "source:cheap",
        "source:orders",
        "source:returns",
        "source:shops",
        "training_set:churn",
    ]
    assert found["source:orders"] == fingerprint(source("orders"))


def _source(name, inputs=(), *, row_wise=False):
    timestamp = None if row_wise else "at"
    return SourceSpec(name=name, via="sql", timestamp=timestamp, sql="", inputs=inputs, row_wise=row_wise)


@st.composite
def projects(draw):
    """Up to nine sources, each derived from some before it, in any order, with a view and a label for each."""
    made = []
    for number in range(draw(st.integers(1, 9))):
        names = st.sampled_from([one.name for one in made]) if made else st.nothing()
        inputs = tuple(draw(st.lists(names, max_size=3, unique=True))) if made else ()
        made.append(_source(f"s{number}", inputs, row_wise=len(inputs) == 1 and draw(st.booleans())))
    view = DEFINITIONS.get(ViewSpec, "spending")
    label = DEFINITIONS.get(LabelSpec, "returned")
    readers = [
        msgspec.structs.replace(one, name=f"{kind}_{made_.name}", source=made_.name)
        for kind, one in (("v", view), ("l", label))
        for made_ in made
    ]
    return Definitions(draw(st.permutations([*made, *readers, DEFINITIONS.get(EntitySpec, "customer")])))


def reachable(edges):
    """Return which pairs of nodes a path of any length joins, by trying every node in between."""
    names = {name for edge in edges for name in edge}
    paths = set(edges) | {(name, name) for name in names}
    for middle in names:
        paths |= {(a, b) for a in names for b in names if (a, middle) in paths and (middle, b) in paths}
    return paths


@examples(200)
@given(projects())
def test_walks_find_what_brute_force_reaches(definitions):
    sources = definitions.of(SourceSpec)
    edges = [(name, name) for name in sources] + [(one.name, up) for one in sources.values() for up in one.inputs]
    kept = [edge for edge in edges if edge[0] == edge[1] or sources[edge[0]].row_wise]
    above, same_rows = reachable(edges), reachable(kept)
    order = [one.name for one in graph.derived_in_order(definitions)]
    assert sorted(order) == sorted(name for name in sources if sources[name].inputs)
    for name, one in sources.items():
        up = {b for a, b in above if a == name}
        assert graph.upstream(definitions, [name]).keys() == up
        assert graph.base_sources(definitions, name) == {b for b in up if not sources[b].inputs}
        down = {a for a, b in same_rows if b == name}
        assert sorted(graph.downstream(definitions, name)) == sorted(down)
        lineage = [ancestor.name for ancestor in graph.lineage(definitions, one)]
        assert sorted(lineage) == sorted(b for a, b in same_rows if a == name)
        assert graph.origin(definitions, one).name == next(b for b in lineage if not sources[b].row_wise)
        between = {b for parent in one.inputs for a, b in same_rows if a == parent and sources[b].row_wise}
        assert {found.name for found in graph.row_wise_inputs(definitions, one)} == between
        assert {view.source for view in graph.views_reading(definitions, *down)} == down
        assert {label.source for label in graph.labels_reading(definitions, *down)} == down
        needed = [b for b in order if b in up and not sources[b].row_wise]
        view = definitions.get(ViewSpec, f"v_{name}")
        assert [found.name for found in graph.rebuilt_under(definitions, [view])] == needed
        assert all(order.index(b) < order.index(name) for b in up - {name} if b in order and name in order)
