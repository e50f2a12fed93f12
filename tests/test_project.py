"""Definitions: what a project accepts, what it refuses at the decorator and with which error, and what it stores."""

import re
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import ModuleType

import msgspec
import polars as pl
import pytest

import tinymlops as tm
from tinymlops.errors import ConflictError, DefinitionError, NotFoundError
from tinymlops.features.definitions import specs
from tinymlops.features.definitions.expressions import Aggregate, Column


@pytest.fixture
def project():
    return tm.Project("shop", tz="Europe/Vienna")


@pytest.fixture
def customer(project):
    return project.entity("customer", key="customer_id")


@pytest.fixture
def orders(project):
    @project.source(timestamp="at", id="order_id")
    def orders() -> str:
        """Every order."""
        return "select * from read_parquet('orders.parquet')"

    return orders


@pytest.fixture
def spending(project, customer):
    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        """What a customer spends."""
        return {"amount": orders["amount"].last(), "spent_30d": orders["amount"].sum(window="30d")}

    return spending


@pytest.fixture
def buys(project, customer):
    @project.label(entity=customer, horizon="7d", gap="1h")
    def buys(orders: tm.Rows) -> tm.Label:
        """Whether a customer buys within a week."""
        return (orders["amount"] > 0).last()

    return buys


@pytest.fixture
def calendar(project, spending):
    @project.on_demand
    def calendar(spending: tm.Inputs, discount: pl.Expr, timestamp: pl.Expr) -> dict[str, pl.Expr]:
        """When and how much, of the request."""
        return {"hour": timestamp.dt.hour(), "rest": spending["amount"] * discount}

    return calendar


@pytest.fixture
def whole(project, orders, spending, buys, calendar):
    """A project with every kind of definition."""

    @project.source(timestamp="at")
    def clicks() -> tm.Schema:
        return {"customer_id": str, "at": datetime, "page": pl.String}

    @project.source(static=True, keys={"customer_id": "id"})
    def customers() -> pl.LazyFrame:
        return pl.LazyFrame({"id": ["a"]})

    @project.transformation(row_wise=True)
    def large(orders: tm.Rows) -> str:
        return "select * from orders where amount > 100"

    @project.transformation(timestamp="at")
    def joined(orders: pl.LazyFrame, clicks: pl.LazyFrame) -> pl.LazyFrame:
        return orders.join(clicks, on="customer_id")

    roles = [spending, spending["amount"].on("friend", prefix="friend_"), calendar]
    project.training_set("buyers", spine=orders, label=buys, features=roles)
    return project


def refused(error, message, hint, make):
    """Check that something is refused with that message and that hint."""
    with pytest.raises(error) as info:
        make()
    assert info.value.message == message
    assert info.value.hint == hint


# Names


@pytest.mark.parametrize("name", ["", "Orders", "1st", "_x", "größe", "a b", "a.b", "../a", "a\n", "a" * 64])
def test_a_name_that_could_not_be_a_path_or_a_command_is_refused(project, name):
    with pytest.raises(DefinitionError, match=re.escape(repr(name)) + " cannot be the name of an? entity") as info:
        project.entity(name, key="k")
    assert info.value.hint == "use lower-case letters, digits, _ and -, beginning with a letter, 63 at most"


@pytest.mark.parametrize("name", ["a", "a" * 63, "user-2_x"])
def test_names_within_the_rule_are_taken(project, name):
    assert project.entity(name, key="k").spec.name == name


@pytest.mark.parametrize("name", ["Shop", "my shop", ""])
def test_a_project_has_such_a_name_too(name):
    with pytest.raises(DefinitionError, match=re.escape(f"{name!r} cannot be the name of a project")):
        tm.Project(name)


def test_a_function_with_a_capital_cannot_be_a_source(project):
    def Orders() -> str:  # noqa: N802
        return "select 1"

    with pytest.raises(DefinitionError, match="'Orders' cannot be the name of a source"):
        project.source(timestamp="at")(Orders)


def test_a_feature_name_obeys_the_rule(project, customer):
    def view(orders: tm.Rows) -> tm.Features:
        return {"Spent": orders["amount"].last()}

    with pytest.raises(DefinitionError, match="'Spent' cannot be the name of a feature"):
        project.feature_view(entity=customer)(view)


def test_a_zone_that_does_not_exist_is_refused():
    refused(
        DefinitionError,
        "there is no time zone 'Mars/Olympus'",
        'use an IANA name such as "Europe/Vienna" or "UTC"',
        lambda: tm.Project("shop", tz="Mars/Olympus"),
    )


def test_a_name_is_taken_once_in_a_project_whatever_the_kind(project, customer):
    refused(
        ConflictError,
        "project 'shop' already has <entity customer key=customer_id>; source 'customer' needs another name",
        "names are shared by everything in a project: rename one of the two",
        lambda: project.source(timestamp="at")(source_called("customer")),
    )
    assert list(project.definitions) == ["customer"]


def test_a_refused_definition_leaves_the_project_as_it_was(project, customer):
    with pytest.raises(DefinitionError):
        project.feature_view(entity=customer, ttl="1h")(windows_only)
    assert list(project.definitions) == ["customer"]


@pytest.fixture
def notebook(monkeypatch):
    """A `__main__` without a file, as in a notebook."""
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))


@pytest.mark.usefixtures("notebook")
def test_a_notebook_cell_that_runs_again_replaces_its_definition(project):
    for sql in ["select 1", "select 2"]:

        def orders() -> str:
            return sql  # noqa: B023

        orders.__module__ = "__main__"
        project.source(timestamp="at")(orders)
    assert [spec.sql for spec in project.specs()] == ["select 2"]


@pytest.mark.usefixtures("notebook")
def test_a_notebook_cell_with_an_entity_or_a_training_set_can_run_again(project, orders, spending, buys):
    for key, features in [("customer_id", [spending]), ("buyer_id", [spending["amount"]])]:
        project.entity("customer", key=key)
        project.training_set("buyers", spine=orders, label=buys, features=features)
    again = {spec.name: spec for spec in project.specs()}
    assert again["customer"].key == ("buyer_id",)
    assert again["buyers"].features == (spending["amount"].request,)


@pytest.mark.usefixtures("notebook")
def test_a_notebook_does_not_excuse_a_module_or_another_kind_with_the_same_name(project, customer, orders):
    for make in (
        lambda: project.source(timestamp="at")(source_called("orders")),  # of this module, not of the notebook
        lambda: project.source(timestamp="at")(source_called("customer")),
        lambda: project.entity("orders", key="order_id"),
    ):
        with pytest.raises(ConflictError, match="needs another name"):
            make()


def test_the_same_entity_twice_is_one_and_another_of_its_name_is_refused(project):
    assert project.entity("customer", key="customer_id").spec == project.entity("customer", key="customer_id").spec
    with pytest.raises(ConflictError, match="entity 'customer' needs another name"):
        project.entity("customer", key="buyer_id")


def test_a_script_with_one_name_twice_is_refused(project):
    for function in (first := source_called("orders"), second := source_called("orders")):
        function.__module__ = "__main__"
    project.source(timestamp="at")(first)
    with pytest.raises(ConflictError, match="source 'orders' needs another name"):
        project.source(timestamp="at")(second)


def test_two_projects_do_not_know_each_other():
    assert tm.Project("a").entity("x", key="x").spec == tm.Project("b").entity("x", key="x").spec


# Entities and sources


@pytest.mark.parametrize("key", [[], ["a", "a"], "", ["a", ""], [3]])
def test_an_entity_needs_key_columns_that_differ(project, key):
    refused(
        DefinitionError,
        f"entity 'user' needs different key columns, not {key!r}",
        'write key="customer_id"',
        lambda: project.entity("user", key=key),
    )


def test_an_entity_may_have_a_key_of_two_columns(project):
    assert project.entity("leg", key=["origin", "dest"]).spec.key == ("origin", "dest")


def source_called(name):
    def orders() -> str:
        return "select 1"

    orders.__name__ = name
    return orders


def windows_only(orders: tm.Rows) -> tm.Features:
    return {"spent": orders["amount"].sum(window="30d"), "last_1d": orders["amount"].last(window="1d")}


def test_a_source_without_a_timestamp_is_refused(project):
    refused(
        DefinitionError,
        "source 'orders' has no timestamp",
        'name its event-time column, timestamp="at", or say static=True if its rows have no time',
        lambda: project.source()(source_called("orders")),
    )


@pytest.mark.parametrize("times", [{"timestamp": "at"}, {"created": "at"}, {"delay": "1h"}])
def test_a_static_source_with_times_is_refused(project, times):
    refused(
        DefinitionError,
        "source 'orders' is static and has times",
        "leave out timestamp, created and delay",
        lambda: project.source(static=True, **times)(source_called("orders")),
    )


def test_a_source_without_a_return_type_is_refused(project):
    def orders():
        return "select 1"

    refused(
        DefinitionError,
        "source 'orders' does not say the return type",
        "write `-> str` for SQL, `-> pl.LazyFrame` for a frame, `-> tm.Schema` for a source of pushes",
        lambda: project.source(timestamp="at")(orders),
    )


def test_a_source_with_inputs_is_told_of_transformations(project):
    def large(orders: str) -> str:
        return "select 1"

    refused(
        DefinitionError,
        "source 'large' takes orders",
        "a source takes nothing, or `since`; rows made from other sources are a @project.transformation",
        lambda: project.source(timestamp="at")(large),
    )


@pytest.mark.parametrize("text", ["", "  \n"])
def test_a_source_of_empty_sql_is_refused(project, text):
    def orders() -> str:
        return text

    refused(
        DefinitionError,
        f"'orders' is hinted to return SQL and returned {text!r}",
        "return one SELECT statement as text",
        lambda: project.source(timestamp="at")(orders),
    )


def test_a_hint_that_only_the_type_checker_can_read_is_refused(project):
    def orders() -> "pl.LazyFrame | Unseen":  # noqa: F821
        return pl.LazyFrame()

    refused(
        DefinitionError,
        "a hint of source 'orders' cannot be read: name 'Unseen' is not defined",
        "import the name at the top of the module, not under TYPE_CHECKING",
        lambda: project.source(timestamp="at")(orders),
    )


@pytest.mark.parametrize(
    ("schema", "message"),
    [({}, "source 'clicks' returned no schema"), ({"at": object}, "column 'at' of source 'clicks' has the type")],
)
def test_a_schema_without_types_is_refused(project, schema, message):
    def clicks() -> tm.Schema:
        return schema

    with pytest.raises(DefinitionError, match=message):
        project.source(timestamp="at")(clicks)


def test_a_schema_is_stored_as_the_names_of_types(whole):
    columns = {"customer_id": "String", "at": "Datetime[us, UTC]", "page": "String"}
    assert whole.definitions["clicks"].spec.columns == columns
    assert whole.definitions["clicks"].spec.via == "push"


@pytest.mark.parametrize(
    ("delay", "micros", "column"),
    [("15m", 900_000_000, None), (timedelta(hours=1), 3_600_000_000, None), ("lag", 0, "lag"), (None, 0, None)],
)
def test_a_delay_is_a_duration_or_a_column(project, delay, micros, column):
    spec = project.source(timestamp="at", delay=delay)(source_called("orders")).spec
    assert (spec.delay, spec.delay_column) == (micros, column)


@pytest.mark.parametrize("delay", ["15 minutes", "1mo", "0d", timedelta(hours=-1), "-1h", "", "+1h"])
def test_a_delay_that_is_no_duration_is_refused(project, delay):
    with pytest.raises(DefinitionError, match="delay="):
        project.source(timestamp="at", delay=delay)(source_called("orders"))


def gives_a_number() -> int:
    return 3


def gives_nothing() -> None:
    return None


def sql_with_since(since: datetime | None) -> str:
    return "select 1"


def schema_without_time() -> tm.Schema:
    return {"customer_id": str, "att": datetime}


SOURCE_HINT = "write `-> str` for SQL, `-> pl.LazyFrame` for a frame, `-> tm.Schema` for a source of pushes"


@pytest.mark.parametrize(
    ("function", "message", "hint"),
    [
        (gives_a_number, "source 'gives_a_number' is hinted to return int, which is not a table", SOURCE_HINT),
        (gives_nothing, "source 'gives_nothing' is hinted to return NoneType, which is not a table", SOURCE_HINT),
        (
            sql_with_since,
            "source 'sql_with_since' takes `since` and returns SQL, which is stored as text and has no `since`",
            "return a frame, or leave `since` out",
        ),
        (
            schema_without_time,
            "the schema of source 'schema_without_time' has no column 'at', which its timestamp= names",
            "did you mean 'att'?",
        ),
    ],
)
def test_a_source_that_could_never_give_its_rows_is_refused(project, function, message, hint):
    refused(DefinitionError, message, hint, lambda: project.source(timestamp="at")(function))
    assert project.specs() == []


@pytest.mark.parametrize("options", [{"id": "n"}, {"delay": "n"}, {"keys": {"customer": "n"}}])
def test_a_schema_has_every_column_that_the_options_name(project, options):
    def clicks() -> tm.Schema:
        return {"customer": str, "at": datetime}

    with pytest.raises(DefinitionError, match=f"has no column 'n', which its {next(iter(options))}= names"):
        project.source(timestamp="at", **options)(clicks)


def test_a_function_of_since_is_asked_only_at_ingest(project):
    def orders(since: datetime | None) -> pl.DataFrame:
        raise AssertionError("a definition does no I/O")

    spec = project.source(timestamp="at", id="order_id")(orders).spec
    assert (spec.via, spec.takes_since, spec.code.name) == ("function", True, orders.__qualname__)


# Transformations


def test_a_transformation_reads_its_parameters(whole):
    large, joined = (whole.definitions[name].spec for name in ["large", "joined"])
    assert (large.inputs, large.row_wise, large.via) == (("orders",), True, "sql")
    assert (joined.inputs, joined.row_wise, joined.via) == (("orders", "clicks"), False, "function")


def test_a_transformation_without_inputs_is_refused(project):
    refused(
        DefinitionError,
        "transformation 'orders' has no inputs",
        "name the sources it reads as its parameters",
        lambda: project.transformation(timestamp="at")(source_called("orders")),
    )


def two_inputs(orders: pl.LazyFrame, clicks: pl.LazyFrame) -> pl.LazyFrame:
    return orders


def one_input(orders: pl.LazyFrame) -> pl.LazyFrame:
    return orders


@pytest.mark.parametrize(
    ("function", "options"),
    [(two_inputs, {}), *((one_input, {option: "1h"}) for option in ["timestamp", "id", "created", "delay"])],
)
def test_a_row_wise_transformation_has_one_input_and_keeps_its_times(project, function, options):
    refused(
        DefinitionError,
        f"row-wise transformation {function.__name__!r} must have one input and keep its times and id",
        "leave out timestamp, id, created, delay, max_age and known, or row_wise=True",
        lambda: project.transformation(row_wise=True, **options)(function),
    )


def test_a_rebuilt_transformation_needs_a_timestamp(project):
    with pytest.raises(DefinitionError, match="'one_input' has no timestamp"):
        project.transformation()(one_input)


def test_an_input_without_a_type_is_refused(project):
    def large(orders) -> str:
        return "select 1"

    refused(
        DefinitionError,
        "transformation 'large' does not say the type of parameter 'orders'",
        "write `def name(orders: tm.Rows) -> str` for SQL, or `(orders: pl.LazyFrame) -> pl.LazyFrame`",
        lambda: project.transformation(row_wise=True)(large),
    )


# Feature views


VIEW_HINT = "write `def name(orders: tm.Rows) -> tm.Features`"


def no_hint(orders) -> tm.Features:
    return {}


def no_return(orders: tm.Rows):
    return {}


def two_sources(orders: tm.Rows, clicks: tm.Rows) -> tm.Features:
    return {}


def no_source() -> tm.Features:
    return {}


def a_frame(orders: pl.LazyFrame) -> tm.Features:
    return {}


def a_dict(orders: tm.Rows) -> dict[str, int]:
    return {}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_hint, "feature view 'no_hint' does not say the type of parameter 'orders'"),
        (no_return, "feature view 'no_return' does not say the return type"),
        (two_sources, "feature view 'two_sources' must take one parameter, named as its source and hinted tm.Rows"),
        (no_source, "feature view 'no_source' must take one parameter, named as its source and hinted tm.Rows"),
        (a_frame, "feature view 'a_frame' must take one parameter, named as its source and hinted tm.Rows"),
        (a_dict, "feature view 'a_dict' is hinted to return dict[str, int]"),
    ],
)
def test_a_view_whose_hints_do_not_fit_is_refused(project, customer, function, message):
    refused(DefinitionError, message, VIEW_HINT, lambda: project.feature_view(entity=customer)(function))


def view_of(features):
    def spending(orders: tm.Rows) -> tm.Features:
        return features(orders)

    return spending


@pytest.mark.parametrize(
    ("features", "message", "hint"),
    [
        (
            lambda orders: {},
            "feature view 'spending' returned no features",
            'return {"name": rows["column"].last()}',
        ),
        (
            lambda orders: None,
            "feature view 'spending' returned no features",
            'return {"name": rows["column"].last()}',
        ),
        (
            lambda orders: {"amount": orders["amount"]},
            "feature 'amount' of 'spending' is a column, not an aggregate",
            'aggregate it: .last(), .mean(window="7d"), ...',
        ),
        (
            lambda orders: {"same": orders["amount"].last() == orders.count()},
            "feature 'same' of 'spending': count needs a window",
            'write .count(window="30d")',
        ),
        (
            lambda orders: {"total": orders["amount"].sum(window=None)},
            "feature 'total' of 'spending': sum needs a window",
            'write .sum(window="30d")',
        ),
        (
            lambda orders: {"n": orders.count(window=None)},
            "feature 'n' of 'spending': count needs a window",
            'write .count(window="30d")',
        ),
        (
            lambda orders: {"total": orders["amount"].sum(window="1mo")},
            "window='1mo' is not a duration",
            'write a number and a unit (us, ms, s, m, h, d, w), such as "30d" or "1h30m"; '
            "months and years have no fixed length",
        ),
    ],
)
def test_features_that_are_no_aggregates_are_refused(project, customer, features, message, hint):
    refused(DefinitionError, message, hint, lambda: project.feature_view(entity=customer)(view_of(features)))


def test_a_feature_whose_name_is_no_text_is_refused(project, customer):
    with pytest.raises(DefinitionError, match="1 cannot be the name of a feature"):
        project.feature_view(entity=customer)(view_of(lambda orders: {1: orders["amount"].last()}))


@pytest.mark.parametrize("name", ["count", "sum", "mean", "min", "max", "var", "std", "n_unique", "any", "all"])
def test_an_aggregate_without_a_window_is_a_label_but_no_feature(project, customer, name):
    def outcome(orders: tm.Rows) -> tm.Label:
        return getattr(orders["amount"], name)()

    assert project.label(entity=customer, horizon="7d")(outcome).spec.expression.function == name
    with pytest.raises(DefinitionError, match=f"{name} needs a window"):
        project.feature_view(entity=customer)(view_of(lambda orders: {"a": getattr(orders["amount"], name)()}))


def test_a_ttl_with_only_windows_is_refused(project, customer):
    refused(
        DefinitionError,
        "feature view 'windows_only' has a ttl, but all its features have windows",
        "leave ttl out: a window already says how old a row may be",
        lambda: project.feature_view(entity=customer, ttl="1h")(windows_only),
    )


@pytest.mark.parametrize("ttl", ["0h", "3 hours", timedelta(0)])
def test_a_ttl_that_is_no_duration_is_refused(project, customer, ttl):
    with pytest.raises(DefinitionError, match="ttl="):
        project.feature_view(entity=customer, ttl=ttl)(view_of(lambda orders: {"a": orders["amount"].last()}))


@pytest.mark.parametrize("entity", ["customer", None, 3])
def test_an_entity_by_name_is_refused(project, entity):
    refused(
        DefinitionError,
        f"entity={entity!r} of 'spending' is not an entity",
        'make it with project.entity("customer", key="customer_id") and pass the object',
        lambda: project.feature_view(entity=entity)(view_of(lambda orders: {"a": orders["amount"].last()})),
    )


def test_a_ttl_and_windows_are_stored_in_microseconds(project, customer):
    both = view_of(lambda orders: {"a": orders["x"].last(), "b": orders["x"].sum(window="1h30m")})
    spec = project.feature_view(entity=customer, ttl=timedelta(hours=3))(both).spec
    assert (spec.ttl, spec.features["b"].window) == (3 * 3_600_000_000, 5_400_000_000)
    assert list(spec.features) == ["a", "b"]


# Picking features and roles


@pytest.mark.parametrize(
    ("name", "hint"), [("amout", "did you mean 'amount'?"), ("zzz", "known names: amount, spent_30d")]
)
def test_an_unknown_feature_is_refused_with_the_near_match(spending, name, hint):
    for view in (spending, spending.on("friend", prefix="friend_")):
        refused(
            NotFoundError,
            f"feature view 'spending' has no feature {name!r}",
            hint,
            lambda view=view: view[name],
        )


def test_a_role_without_a_prefix_is_refused(spending):
    refused(
        DefinitionError,
        "spending.on('friend') needs a prefix",
        'write prefix="friend_"',
        lambda: spending.on("friend", prefix=""),
    )
    with pytest.raises(TypeError, match="prefix"):
        spending.on("friend")


@pytest.mark.parametrize(
    ("columns", "prefix", "message", "hint"),
    [
        ((), "friend_", "spending.on() names no column", "name the columns that hold the key of entity 'customer'"),
        (
            ("friend",),
            "My Friend ",
            "'My Friend ' cannot be the name of a prefix",
            "use lower-case letters, digits, _ and -, beginning with a letter, 63 at most",
        ),
    ],
)
def test_a_role_that_could_name_no_column_is_refused(spending, columns, prefix, message, hint):
    refused(DefinitionError, message, hint, lambda: spending.on(*columns, prefix=prefix))


def test_a_view_cannot_be_walked_through(spending):
    for view in (spending, spending.as_role(), tm.Inputs("sky", {"visib": pl.col("visib")})):
        with pytest.raises(NotFoundError, match="no feature 0"):
            list(view)


def test_a_feature_is_picked_before_or_after_its_role(spending):
    role = spending.on("friend", prefix="friend_")["amount"]
    assert role.request == spending["amount"].on("friend", prefix="friend_").request
    assert (role.request.features, role.request.on, role.request.prefix) == (("amount",), ("friend",), "friend_")
    assert repr(role) == "<features spending[amount] on friend>"


# On-demand views


def od_number(distance: int) -> dict[str, pl.Expr]:
    return {}


def od_rows(sky: tm.Rows) -> dict[str, pl.Expr]:
    return {}


@pytest.mark.parametrize(("function", "name"), [(od_number, "distance"), (od_rows, "sky")])
def test_an_on_demand_view_with_a_wrong_hint_is_refused(project, function, name):
    with pytest.raises(DefinitionError) as info:
        project.on_demand(function)
    assert f"parameter {name!r} of on-demand view {function.__name__!r} is hinted" in info.value.message
    assert info.value.hint == "hint a feature view as tm.Inputs and a request field as pl.Expr"


def test_an_on_demand_view_without_a_hint_is_refused(project):
    def rest(distance) -> dict[str, pl.Expr]:
        return {}

    refused(
        DefinitionError,
        "on-demand view 'rest' does not say the type of parameter 'distance'",
        "write `def name(sky: tm.Inputs, distance: pl.Expr) -> dict[str, pl.Expr]`",
        lambda: project.on_demand(rest),
    )


def od_returns_number(distance: pl.Expr) -> int:
    return 3


def od_returns_one(distance: pl.Expr) -> pl.Expr:
    return distance


def od_returns_numbers(distance: pl.Expr) -> dict[str, float]:
    return {}


@pytest.mark.parametrize("function", [od_returns_number, od_returns_one, od_returns_numbers])
def test_an_on_demand_view_that_gives_no_expressions_is_refused(project, function):
    with pytest.raises(DefinitionError, match=f"on-demand view {function.__name__!r} is hinted to return") as info:
        project.on_demand(function)
    assert info.value.hint == "write `def name(sky: tm.Inputs, distance: pl.Expr) -> dict[str, pl.Expr]`"


def test_an_on_demand_view_may_be_hinted_to_return_a_mapping(project):
    def far(distance: pl.Expr) -> Mapping[str, pl.Expr]:
        return {"far": distance > 1000}

    assert project.on_demand(far).spec.request == ("distance",)


def test_an_on_demand_view_knows_its_views_fields_and_time(calendar):
    spec = calendar.spec
    assert (spec.views, spec.request, spec.uses_timestamp) == (("spending",), ("discount",), True)


def test_inputs_name_the_near_feature():
    inputs = tm.Inputs("sky", {"visib": pl.col("visib")})
    refused(NotFoundError, "view 'sky' has no feature 'visb'", "did you mean 'visib'?", lambda: inputs["visb"])


# Labels and training sets


def test_a_label_with_a_window_is_refused(project, customer):
    def buys(orders: tm.Rows) -> tm.Label:
        return orders["amount"].sum(window="7d")

    refused(
        DefinitionError,
        "label 'buys' has a window in its expression",
        "leave window out: horizon and gap say which rows count",
        lambda: project.label(entity=customer, horizon="7d")(buys),
    )


def test_a_label_that_is_a_column_is_refused(project, customer):
    def buys(orders: tm.Rows) -> tm.Label:
        return orders["amount"]

    refused(
        DefinitionError,
        "label 'buys' returned <rows['amount']>, not one aggregate",
        'return for example (orders["amount"] > 0).last(), or orders.count() == 0',
        lambda: project.label(entity=customer, horizon="7d")(buys),
    )


def test_a_label_without_hints_is_refused(project, customer):
    def buys(orders):
        return orders["amount"].last()

    refused(
        DefinitionError,
        "label 'buys' does not say the type of parameter 'orders'",
        "write `def name(orders: tm.Rows) -> tm.Label`",
        lambda: project.label(entity=customer, horizon="7d")(buys),
    )


def test_a_label_needs_a_horizon(project, customer):
    with pytest.raises(TypeError, match="horizon"):
        project.label(entity=customer)


def test_horizon_and_gap_are_stored_in_microseconds(buys):
    assert (buys.spec.horizon, buys.spec.gap) == (7 * 86_400_000_000, 3_600_000_000)


def test_a_training_set_takes_a_source_and_a_label_not_their_names(project, orders, spending, buys):
    def make(**changes):
        return lambda: project.training_set("t", **{"spine": orders, "label": buys, "features": [spending], **changes})

    refused(
        DefinitionError, "the spine of 't' is 'orders', not a source", "write spine=departures", make(spine="orders")
    )
    refused(
        DefinitionError, "the label of 't' is 'buys', not a label", "make it with @project.label", make(label="buys")
    )
    refused(DefinitionError, "training set 't' has no features", "list at least one view", make(features=[]))
    refused(
        DefinitionError,
        "7 is not a feature view, a feature of one, an on-demand view or a service",
        "list the views themselves: features=[sky, sky.on('dest', prefix='dest_'), calendar]",
        make(features=[7]),
    )


# What is stored


def test_every_definition_survives_json(whole):
    assert {spec.__struct_config__.tag for spec in whole.specs()} == {
        *("entity", "source", "feature_view", "on_demand", "label", "training_set")
    }
    for spec in whole.specs():
        again = specs.decode(specs.encode(spec))
        assert specs.encode(again) == specs.encode(spec)
        assert specs.fingerprint(again) == specs.fingerprint(spec)


def test_definitions_keep_their_order(whole):
    assert [spec.name for spec in whole.specs()] == list(whole.definitions)
    assert repr(whole) == "<project shop: 10 definitions>"


def test_a_description_is_no_part_of_the_fingerprint(whole):
    for spec in whole.specs():
        other = msgspec.structs.replace(spec, description="Said in other words.")
        assert specs.fingerprint(other) == specs.fingerprint(spec)


def test_where_the_code_lies_is_no_part_of_the_fingerprint(calendar):
    moved = msgspec.structs.replace(calendar.spec.code, file="elsewhere.py", module="elsewhere")
    assert specs.fingerprint(msgspec.structs.replace(calendar.spec, code=moved)) == specs.fingerprint(calendar.spec)
    edited = msgspec.structs.replace(calendar.spec.code, digest="0" * 64)
    assert specs.fingerprint(msgspec.structs.replace(calendar.spec, code=edited)) != specs.fingerprint(calendar.spec)


@pytest.mark.parametrize(
    "change",
    [
        {"ttl": 1},
        {"entity": "other"},
        {"source": "other"},
        {"features": {"amount": Aggregate("last", Column("total"))}},
        {"features": {"price": Aggregate("last", Column("amount"))}},
    ],
)
def test_every_other_field_is_part_of_the_fingerprint(spending, change):
    view = msgspec.structs.replace(spending.spec, features={"amount": Aggregate("last", Column("amount"))})
    assert specs.fingerprint(msgspec.structs.replace(view, **change)) != specs.fingerprint(view)


def test_a_fingerprint_stays_what_it_was_when_a_workspace_was_written():
    # A change here makes every workspace say that its definitions changed: raise the format version instead.
    view = specs.ViewSpec(
        name="spending",
        entity="customer",
        source="orders",
        ttl=3_600_000_000,
        features={"late": Aggregate("mean", tm.Rows()["delay"] > 15, window=86_400_000_000)},
    )
    assert specs.fingerprint(view) == "4048d07b3cef0306bef4a4a1fdd783703273f9e8b6023a46d397aa776cdb8831"


# The nouns themselves


def test_nouns_stay_callable_and_documented(whole, orders, spending, buys):
    assert orders() == "select * from read_parquet('orders.parquet')"
    assert isinstance(spending(tm.Rows()), Mapping)
    assert isinstance(buys(tm.Rows()), Aggregate)
    assert (orders.__name__, orders.__doc__, orders.spec.description) == ("orders", "Every order.", "Every order.")


def test_nouns_say_what_they_are(whole):
    said = {name: repr(definition) for name, definition in whole.definitions.items()}
    assert said == {
        "customer": "<entity customer key=customer_id>",
        "orders": "<source orders by sql, timestamp=at>",
        "spending": "<feature view spending of customer: amount, spent_30d>",
        "buys": "<label buys of customer from orders>",
        "calendar": "<on-demand view calendar of spending, discount>",
        "clicks": "<source clicks by push, timestamp=at>",
        "customers": "<source customers by function, timestamp=None>",
        "large": "<transformation large by sql, timestamp=None>",
        "joined": "<transformation joined by function, timestamp=at>",
        "buyers": "<training set buyers: spine=orders, label=buys, spending, friend_spending, calendar>",
    }
