"""What is said about a definition: taken by every decorator, outside its hashes, stored in place by `apply`."""

from datetime import datetime

import polars as pl
import pytest
from inside import database_of

import tinymlops as tm
from tinymlops.errors import DefinitionError
from tinymlops.features.definitions.specs import About, fingerprint, logic
from tinymlops.records import Definition

SAID = {"owner": "ana", "tags": ["finance", "finance"], "variant": "first", "keep": True, "enabled": False}


def shop(description="", unit="EUR", **about):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer", **about)

    @project.source(timestamp="at", unit={"amount": unit}, **about)
    def orders() -> tm.Schema:
        return {"customer": str, "at": datetime, "amount": float}

    @project.transformation(row_wise=True, **about)
    def large(orders: tm.Rows) -> str:
        return "select * from orders where amount > 100"

    def spending(orders: tm.Rows) -> tm.Features:
        return {"spent": orders["amount"].sum(window="30d"), "last": orders["amount"].last()}

    spending.__doc__ = description
    view = project.feature_view(entity=customer, unit=unit, **about)(spending)

    @project.on_demand(unit={"rest": unit}, **about)
    def rest(spending: tm.Inputs, discount: pl.Expr) -> dict[str, pl.Expr]:
        return {"rest": spending["last"] * discount}

    @project.label(entity=customer, horizon="7d", unit=unit, **about)
    def buys(orders: tm.Rows) -> tm.Label:
        return orders["amount"].sum()

    project.training_set("buyers", spine=orders, label=buys, features=[view], **about)
    return project


def test_every_kind_takes_what_is_said_and_hashes_none_of_it():
    said, silent = shop(**SAID).definitions, shop().definitions
    for name, noun in said.items():
        about = noun.spec.about
        assert (about.owner, about.tags, about.variant) == ("ana", ("finance",), "first")
        assert (about.keep, about.enabled) == (True, False)
        assert fingerprint(noun.spec) == fingerprint(silent[name].spec)
        assert logic(noun.spec) == logic(silent[name].spec)
    assert said["spending"].spec.about.units == {"spent": "EUR", "last": "EUR"}
    assert said["buys"].spec.about.units == {"buys": "EUR"}
    assert said["rest"].spec.about.units == {"rest": "EUR"}
    assert "about" not in {
        field for field in silent["customer"].spec.__struct_fields__ if getattr(silent["customer"].spec, field)
    }


def test_what_is_said_is_stored_in_place(workspace):
    workspace.apply(shop())
    changed = shop(description="What a customer spent.", unit="USD", owner="ana", tags=["finance"])
    planned = workspace.plan(changed)
    assert {change.action for change in planned.changes} == {"describe"}
    assert "* feature view spending  (owner, tags, units.spent, units.last, description)" in str(planned)
    assert "* source orders  (owner, tags, units.amount)" in str(planned)
    workspace.apply(changed)
    rows = database_of(workspace).list(Definition)
    assert {row.version for row in rows} == {1}
    stored = workspace.catalog.get("feature_view", "spending").spec
    assert stored["about"] == {"owner": "ana", "tags": ["finance"], "units": {"spent": "USD", "last": "USD"}}
    assert stored["description"] == "What a customer spent."
    assert not workspace.plan(changed)
    assert workspace.plan(shop())  # nothing said is a change as well


def test_a_change_of_content_says_what_else_is_said_otherwise(workspace):
    workspace.apply(shop())

    project = shop(owner="ana")
    project.definitions["large"].spec = tm.Project("other").transformation(row_wise=True, owner="bob")(large).spec
    (change,) = [change for change in workspace.plan(project).changes if change.name == "large"]
    assert (change.action, change.detail) == ("change", "sql, owner")


def large(orders: tm.Rows) -> str:
    return "select * from orders where amount > 200"


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        ({"ownr": "ana"}, "option 'ownr', which does not exist", "owner"),
        ({"owner": ""}, "owner='' of", 'owner="..."'),
        ({"owner": 7}, "owner=7 of", 'owner="..."'),
        ({"tags": "finance"}, "tags='finance' of", 'tags=["finance"]'),
        ({"tags": [1]}, "tags=1 of", 'tags="..."'),
        ({"variant": "v3"}, "would stand for a number", "variant="),
        ({"variant": "3"}, "would stand for a number", "variant="),
        ({"variant": "Ana"}, "cannot be the name of a variant", "lower-case"),
        ({"variant": "a:b"}, "cannot be the name of a variant", "lower-case"),
        ({"keep": 1}, "keep=1 of", "keep=True"),
        ({"enabled": "no"}, "enabled='no' of", "enabled=True"),
        ({"unit": {"spend": "EUR"}}, "names 'spend', which is not a feature", "spent"),
        ({"unit": 7}, "unit=7 of", 'unit="..."'),
    ],
)
def test_what_cannot_be_said_is_refused(said, message, hint):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    with pytest.raises(DefinitionError) as info:

        @project.feature_view(entity=customer, **said)
        def spending(orders: tm.Rows) -> tm.Features:
            return {"spent": orders["amount"].sum(window="30d")}

    assert message in info.value.message
    assert hint in info.value.hint


def test_a_unit_says_whose_it_is():
    project = tm.Project("shop")

    def orders() -> str:
        return "select 1"

    with pytest.raises(DefinitionError, match="does not say whose unit") as info:
        project.source(timestamp="at", unit="EUR")(orders)
    assert info.value.hint == """write unit={"column": 'EUR'}"""
    assert project.entity("customer", key="id", unit={"id": "number"}).spec.about == About(units={"id": "number"})
