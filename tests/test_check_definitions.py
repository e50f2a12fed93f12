"""Checks on data as definitions: what is refused when they are written, planned or applied, and how they are shown."""

from datetime import date, datetime, timedelta
from decimal import Decimal

import msgspec
import polars as pl
import pytest
from test_data_checks import POSITIVE, orders_of, shop

import tinymlops as tm
from tinymlops.errors import ConflictError, DefinitionError, NotFoundError
from tinymlops.features.definitions import polars_rules, specs
from tinymlops.features.definitions.rules import in_code, rule_of
from tinymlops.features.definitions.specs import CheckSpec

RULES = [
    tm.not_null("a"),
    tm.between("a", 0, 1e5),
    tm.between("a", low=Decimal("0.10")),
    tm.between("a", high=date(2024, 1, 1)),
    tm.one_of("a", ["x", "y"]),
    tm.one_of("a", [2**70, 1, True, datetime(2024, 1, 1), timedelta(hours=1)]),
    tm.matches("a", r"\d+"),
    tm.unique("a", "b"),
    tm.fresh("2h"),
    tm.volume(1, 10),
    tm.volume(max_rows=3),
    tm.same_distribution("a", as_of="30d"),
    (tm.Rows()["a"] > 0) & tm.Rows()["b"].is_not_null(),
    pl.col("a").is_in([1, 2]) | pl.col("b").str.contains("x"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: in_code(rule_of(rule)))
def test_a_rule_is_data(rule):
    spec = CheckSpec(name="c", target="orders", rules=(rule_of(rule),), action="warn")
    again = specs.decode(specs.encode(spec))
    assert specs.fingerprint(again) == specs.fingerprint(spec)
    assert in_code(again.rules[0]) == in_code(spec.rules[0])


@pytest.mark.parametrize("rule", RULES[:3] + RULES[4:5] + RULES[6:12], ids=in_code)
def test_a_rule_is_shown_as_the_code_that_makes_it(rule):
    assert in_code(eval(f"tm.{in_code(rule)}", {"tm": tm, "Decimal": Decimal})) == in_code(rule)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tm.between("a"), "has no bound"),
        (lambda: tm.between("a", 2, 1), "greater than"),
        (lambda: tm.between("a", 2, "b"), "'<' not supported|'>' not supported"),
        (lambda: tm.between("a", float("inf")), "no stored value"),
        (lambda: tm.between("a", b"x"), "no column is compared with"),
        (lambda: tm.between("", 1), "does not name a column"),
        (lambda: tm.one_of("a", "xy"), "in place of a list"),
        (lambda: tm.one_of("a", []), "has no values"),
        (lambda: tm.matches("a", 3), "has the pattern 3"),
        (lambda: tm.unique(), "needs different columns"),
        (lambda: tm.volume(), "not a range"),
        (lambda: tm.volume(3, 2), "empty range"),
        (lambda: tm.volume(-1), "not a range"),
        (lambda: tm.fresh("soon"), "not a duration"),
    ],
)
def test_a_wrong_rule_is_refused_where_it_is_written(make, said):
    with pytest.raises(DefinitionError, match=said):
        make()


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (pl.col("amount").mean() > 0, "depends on other rows"),
        (pl.col("amount") > pl.col("amount").shift(), "depends on other rows"),
        (pl.col("amount").sum().over("customer") > 0, "depends on other rows"),
        (pl.all() > 0, "several columns"),
        (pl.col("amount").map_batches(lambda x: x > 0, return_dtype=pl.Boolean), "calls Python"),
        (tm.Rows()["amount"].last(), "is not a check"),
        ("amount > 0", "is not a check"),
    ],
)
def test_an_expression_of_more_than_a_row_is_refused(rule, said):
    with pytest.raises(DefinitionError, match=said):
        shop(rule)


def test_code_in_a_stored_expression_is_not_read():
    planted = pl.col("amount").map_batches(lambda x: x > 0, return_dtype=pl.Boolean).meta.serialize(format="json")
    with pytest.raises(tm.DataError, match="holds code"):
        polars_rules.read(planted, "check 'x'")
    with pytest.raises(tm.DataError, match="another version of Polars"):
        polars_rules.read('{"Function":{"input":[],"function":{"Boolean":"NoSuchThing"}}}', "check 'x'")


def test_what_is_checked_and_how_must_be_known():
    with pytest.raises(DefinitionError, match="action='stop'"):
        shop(POSITIVE, action="stop")
    project = shop(POSITIVE)
    with pytest.raises(DefinitionError, match="is not a source"):
        project.check("orders", POSITIVE)
    with pytest.raises(DefinitionError, match="checks nothing"):
        project.check(project.definitions["orders"])
    with pytest.raises(DefinitionError, match="twice"):
        project.check(project.definitions["orders"], POSITIVE, POSITIVE, name="other")
    project.check(project.definitions["orders"], POSITIVE)  # the same again
    with pytest.raises(ConflictError, match="already has"):
        project.check(project.definitions["orders"], tm.not_null("amount"))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (tm.not_null("amont"), "did you mean 'amount'"),
        (tm.unique("ordr"), "did you mean 'order'"),
        (tm.same_distribution("amont", as_of="1d"), "did you mean 'amount'"),
        (tm.Rows()["amont"] > 0, "did you mean 'amount'"),
        (pl.col("amont") > 0, "did you mean 'amount'"),
        (tm.between("amount", "a"), "does not fit a column of type Float64"),
        (tm.between("at", date(2024, 1, 1)), "does not fit a column of type Datetime"),
        (tm.matches("amount", "x"), "does not fit a column of type Float64"),
        (tm.matches("customer", "("), "wrong regular expression"),
        (tm.matches("customer", "a)|(b"), "wrong regular expression"),
        (pl.col("amount") + 1, "not true or false"),
        (tm.Rows()["amount"] + 1, "not true or false"),
        (tm.Rows()["customer"] + 1 > 2, "cannot be computed"),
    ],
    ids=str,
)
def test_a_check_that_does_not_fit_is_refused_by_apply(workspace, rule, said):
    project = tm.Project("shop")

    @project.source(timestamp="at")
    def orders() -> pl.LazyFrame:
        return orders_of(1.0).lazy()

    project.check(orders, rule)
    with pytest.raises(DefinitionError) as raised:
        workspace.apply(project)
    assert "orders_warn_checks" in str(raised.value)
    assert pl.Series([str(raised.value)]).str.contains(said).item()
    assert len(workspace.catalog.list()) == 0


def test_a_column_that_is_missing_at_ingest_is_named_and_nothing_is_stored(workspace):
    project = shop(tm.not_null("email"), orders=orders_of(1.0))
    workspace.apply(project)  # what its function returns is not known yet
    with pytest.raises(tm.DataError, match=r"check on source 'orders': not_null\(\"email\"\) reads 'email'"):
        workspace.ingest()
    with pytest.raises(NotFoundError):
        workspace.sql("select * from orders")


def test_a_check_that_raises_stores_nothing_whatever_its_action(workspace):
    project = shop(pl.col("customer").str.to_integer() > 0, POSITIVE, orders=orders_of(1.0))
    workspace.apply(project)
    with pytest.raises(tm.DataError, match="cannot be computed") as raised:
        workspace.ingest()
    assert "to_integer" in raised.value.message
    assert list(workspace.checks.results()) == []


def test_static_sources_and_views_and_transformations_have_the_rules_that_suit_them(workspace):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(static=True)
    def people() -> pl.DataFrame:
        return pl.DataFrame({"customer": ["a"]})

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return orders_of(1.0)

    @project.transformation(timestamp="at")
    def big(orders: tm.Rows) -> str:
        return "select * from orders"

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"spent": orders["amount"].last()}

    def refused(target, rule, action, said):
        project.check(target, rule, action=action, name="tried")
        with pytest.raises(DefinitionError, match=said):
            workspace.plan(project)
        del project.definitions["tried"]

    refused(people, tm.fresh("2h"), "warn", "static")
    refused(big, tm.volume(1), "quarantine", "no batch to keep aside")
    refused(spending, POSITIVE, "quarantine", "only rows of a source")
    refused(spending, tm.fresh("1h"), "warn", "a view has keys")


def test_a_change_of_a_check_is_planned(workspace):
    workspace.apply(shop(POSITIVE, orders=orders_of(1.0)))
    assert not workspace.plan(shop(POSITIVE, orders=orders_of(1.0))).changes[-1].detail
    changed = workspace.plan(shop(tm.between("amount", 1), orders=orders_of(1.0)))
    told = f"+{in_code(rule_of(tm.between('amount', 1)))}, -{in_code(rule_of(POSITIVE))}"
    assert f"~ check orders_warn_checks  ({told})" in str(changed)
    assert "- check orders_warn_checks" in str(workspace.plan(shop(orders=orders_of(1.0))))
    assert [spec.name for spec in workspace.checks.list()] == ["orders_warn_checks"]
    assert msgspec.to_builtins(workspace.checks.list()[0])["action"] == "warn"


def test_a_changed_source_reaches_the_checks_on_it(workspace):
    workspace.apply(shop(POSITIVE, orders=orders_of(1.0)))
    planned = workspace.plan(tm.Project("shop"))
    assert "check orders_warn_checks" in {one.name: one.definitions for one in planned.reach}["orders"]


def test_a_view_is_checked_against_its_features_by_apply(workspace):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def orders() -> pl.LazyFrame:
        return orders_of(1.0).lazy()

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"spent": orders["amount"].last()}

    project.check(spending, tm.not_null("spend"))
    with pytest.raises(DefinitionError, match="reads 'spend'"):
        workspace.apply(project)
