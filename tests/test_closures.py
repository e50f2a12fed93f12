"""A version is its content and all that it stands on: what changes below makes the next version, and none changes."""

import random
from datetime import datetime

import msgspec
import polars as pl
import pytest
from inside import database_of

import tinymlops as tm
from tinymlops.errors import ConflictError, NotFoundError
from tinymlops.features.definitions.specs import fingerprint, logic
from tinymlops.records import Definition
from tinymlops.registry.scope import system_user


def shop(*, amount=float, sql="select * from orders", ttl=None, feature="30d", factor=1, variant="", name="spending"):
    """A small project, each part of which can be made differently."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def orders() -> tm.Schema:
        return {"customer": str, "at": datetime, "amount": amount}

    @project.source(timestamp="at")
    def visits() -> tm.Schema:
        return {"customer": str, "at": datetime}

    def large(orders: tm.Rows) -> str:
        return sql

    project.transformation(row_wise=True)(large)

    def spending(large: tm.Rows) -> tm.Features:
        return {"spent": large["amount"].sum(window=feature), "last": large["amount"].last()}

    spending.__name__ = name
    view = project.feature_view(entity=customer, ttl=ttl, **({"variant": variant} if variant else {}))(spending)

    @project.feature_view(entity=customer)
    def visiting(visits: tm.Rows) -> tm.Features:
        return {"visits": visits.count(window="7d")}

    @project.label(entity=customer, horizon="7d")
    def buys(orders: tm.Rows) -> tm.Label:
        return orders["amount"].sum() * factor

    project.training_set("buyers", spine=visits, label=buys, features=[view, visiting])
    return project


def versions(workspace):
    return {row.name: row.version for row in workspace.catalog.list()}


def test_what_stands_on_a_changed_source_becomes_the_next_version(workspace):
    workspace.apply(shop())
    changed = shop(amount=int)
    assert str(workspace.plan(changed)).splitlines()[:6] == [
        "5 to apply, 3 unchanged",
        "  ~ source orders  (columns.amount Float64 -> Int64)",
        "  ~ source large  (below: source orders v1 -> v2)",
        "  ~ feature view spending  (below: source orders v1 -> v2)",
        "  ~ label buys  (below: source orders v1 -> v2)",
        "  ~ training set buyers  (below: source orders v1 -> v2)",
    ]
    workspace.apply(changed)
    assert versions(workspace) == {
        "customer": 1,
        "orders": 2,
        "visits": 1,
        "large": 2,
        "spending": 2,
        "visiting": 1,
        "buys": 2,
        "buyers": 2,
    }
    spending = workspace.catalog.get("feature_view", "spending")
    assert spending.below == {"entity:customer": 1, "source:large": 2, "source:orders": 2}
    assert spending.fingerprint == workspace.catalog.version("feature_view", "spending", 1).fingerprint
    assert workspace.catalog.get("training_set", "buyers").below == {
        "entity:customer": 1,
        "feature_view:spending": 2,
        "feature_view:visiting": 1,
        "label:buys": 2,
        "source:large": 2,
        "source:orders": 2,
        "source:visits": 1,
    }
    assert not workspace.plan(changed)


def test_a_row_says_who_applied_it_and_its_logic(workspace):
    workspace.apply(shop())
    for row in workspace.catalog.list():
        assert row.author == system_user()
        assert len(row.logic) == 64


PARTS = {
    "amount": [float, int],
    "sql": ["select * from orders", "select * from orders where amount > 1"],
    "ttl": [None, "3d"],
    "feature": ["30d", "20d"],
    "factor": [1, 2],
}


def test_any_history_of_changes_gives_versions_that_are_closures(workspace):
    """The rule in plain Python: two rows of one name have one version if, and only if, nothing differs in them or below."""
    random_one = random.Random(7)
    before = {}
    for _ in range(25):
        chosen = {name: random_one.choice(values) for name, values in PARTS.items()}
        workspace.apply(shop(**chosen))
        rows = {f"{row.kind}:{row.name}": row for row in workspace.catalog.list()}
        content = {
            key: (row.fingerprint, *sorted((one, rows[one].fingerprint) for one in row.below))
            for key, row in rows.items()
        }
        for key, row in rows.items():
            assert row.below == {one: rows[one].version for one in row.below}
            if key in before:
                was, version = before[key]
                assert (row.version != version) == (content[key] != was), key
                assert row.version in (version, version + 1)
        before = {key: (content[key], row.version) for key, row in rows.items()}
    # No row but what it is about has changed: every version is what it was when it came.
    for row in database_of(workspace).list(Definition):
        closure = workspace.catalog.version(row.kind, row.name, row.version)
        assert (closure.fingerprint, closure.below) == (row.fingerprint, row.below)


def test_rows_of_before_are_filled_without_a_new_version(workspace):
    project = shop()
    workspace.apply(project)
    with database_of(workspace).write(actor="test") as tx:
        for row in tx.list(Definition):
            tx.update(msgspec.structs.replace(row, below={}, logic="", author=""))
    assert not workspace.plan(project)
    workspace.apply(project)
    assert set(versions(workspace).values()) == {1}
    assert workspace.catalog.get("feature_view", "spending").below == {
        "entity:customer": 1,
        "source:large": 1,
        "source:orders": 1,
    }
    assert all(row.logic for row in workspace.catalog.list())


def test_rows_of_before_are_filled_where_something_changes(workspace):
    workspace.apply(shop())
    with database_of(workspace).write(actor="test") as tx:
        for row in tx.list(Definition):
            tx.update(msgspec.structs.replace(row, below={}, logic=""))
    workspace.apply(shop(amount=int))
    assert versions(workspace)["spending"] == 2
    first = workspace.catalog.version("feature_view", "spending", 1)
    assert first.below == {"entity:customer": 1, "source:large": 1, "source:orders": 1}


def test_a_definition_that_comes_back_gets_the_next_number(workspace):
    workspace.apply(shop())
    workspace.apply(shop(name="buying"))
    assert "spending" not in versions(workspace)
    workspace.apply(shop())
    assert versions(workspace)["spending"] == 2


def test_equal_logic_under_two_names_is_said(workspace):
    workspace.apply(shop())
    project = shop()
    customer = project.definitions["customer"]

    @project.feature_view(entity=customer)
    def other(large: tm.Rows) -> tm.Features:
        """The same in other words."""
        return {"spent": large["amount"].sum(window="30d"), "last": large["amount"].last()}

    assert "equal logic: feature view spending and feature view other" in workspace.plan(project).notes
    workspace.apply(project)
    assert not [note for note in workspace.plan(project).notes if "equal logic" in note]  # said once


def test_equal_code_under_two_names_has_one_logic():
    project = tm.Project("shop")

    @project.on_demand
    def one(discount: pl.Expr) -> dict[str, pl.Expr]:
        return {"rest": discount * 2}

    @project.on_demand
    def two(discount: pl.Expr) -> dict[str, pl.Expr]:
        """What is left."""
        # In other words.
        return {
            "rest": discount * 2,
        }

    @project.on_demand
    def three(discount: pl.Expr) -> dict[str, pl.Expr]:
        return {"rest": discount * 3}

    assert logic(one.spec) == logic(two.spec) != logic(three.spec)
    assert len({fingerprint(noun.spec) for noun in (one, two, three)}) == 3


def test_a_named_variant_is_not_applied_again_with_other_content(workspace):
    workspace.apply(shop(variant="ana"))
    with pytest.raises(ConflictError) as info:
        workspace.apply(shop(variant="ana", feature="20d"))
    assert info.value.message == (
        "variant 'ana' of feature view 'spending' is version 1 already, and differs from this one in "
        "spent.window 30d -> 20d"
    )
    assert "give this one another name" in info.value.hint
    with pytest.raises(ConflictError, match="differs from this one in source large v1 -> v2, source orders v1 -> v2"):
        workspace.apply(shop(variant="ana", amount=int))
    workspace.apply(shop(variant="bob", feature="20d"))
    with pytest.raises(ConflictError, match="is version 1 already"):
        workspace.apply(shop(variant="ana", feature="20d"))
    workspace.apply(shop(variant="ana"))  # the same content again is the same variant
    assert workspace.catalog.version("feature_view", "spending", "ana").version == 3


def test_a_version_that_is_not_there_is_named(workspace):
    workspace.apply(shop(variant="ana"))
    with pytest.raises(NotFoundError, match="feature view 'spending' has no version 7\nHint: it has v1 to v1"):
        workspace.catalog.version("feature_view", "spending", 7)
    with pytest.raises(NotFoundError, match="has no variant 'anna'\nHint: did you mean 'ana'"):
        workspace.catalog.version("feature_view", "spending", "anna")
    with pytest.raises(NotFoundError, match="there is no feature view 'spendin'"):
        workspace.catalog.version("feature_view", "spendin", 1)
