"""`ingest` of several sources when some fail: the others finish, then every error is raised under its source's name."""

import copy
import pickle
from datetime import timedelta

import polars as pl
import pytest
from conftest import START, at

import tinymlops as tm
from tinymlops.errors import ConflictError, DataError, DefinitionError, IngestError, NotFoundError, TinyMLOpsError

NOW = START + timedelta(days=10)


def sold(count):
    """A number of sales of customer 1, an hour apart."""
    return pl.DataFrame(
        {"id": range(count), "customer": [1] * count, "at": [at(hour) for hour in range(count)], "amount": range(count)}
    )


def market(vendor="a_vendor"):
    """A source with a view and a transformation, between two that can fail; `state` controls them."""
    state = {"sales": 1, "fail": None, "fail_late": None}
    project = tm.Project("market")
    customer = project.entity("customer", key="customer")

    def failing(key):
        def read() -> pl.DataFrame:
            if state[key] is not None:
                raise state[key]
            return sold(1)

        return read

    for name, key in ((vendor, "fail"), ("zz_last", "fail_late")):
        function = failing(key)
        function.__name__ = name
        project.source(timestamp="at", id="id")(function)

    @project.source(timestamp="at", id="id")
    def sales() -> pl.DataFrame:
        return sold(state["sales"])

    @project.transformation(timestamp="at")
    def totals(sales: tm.Rows) -> str:
        return 'select customer, max("at") as "at", sum(amount) as total from sales group by customer'

    @project.feature_view(entity=customer)
    def newest(sales: tm.Rows) -> tm.Features:
        return {"amount": sales["amount"].last()}

    @project.feature_view(entity=customer)
    def summed(totals: tm.Rows) -> tm.Features:
        return {"total": totals["total"].last()}

    project.state = state
    return project


@pytest.fixture
def ws(tmp_path):
    with tm.connect(tmp_path / "market.tm", create=True, clock=tm.ReplayClock(NOW)) as ws:
        yield ws


def read(ws):
    """History and the online store, in that order."""
    spine = pl.DataFrame({"customer": [1], "timestamp": [NOW]})
    then = ws.get_historical_features(spine, ["newest", "summed"]).select("amount", "total").rows()
    now = ws.get_online_features(["newest", "summed"], [{"customer": 1}]).to_polars().select("amount", "total").rows()
    return then[0], now[0]


@pytest.mark.parametrize("vendor", ["a_vendor", "z_vendor"])
def test_the_others_are_ingested_rebuilt_and_online_before_the_error_is_raised(ws, vendor):
    project = market(vendor)
    ws.apply(project)
    ws.ingest()
    ws.materialize()
    project.state.update(sales=5, fail=RuntimeError("the vendor is down"))
    with pytest.raises(IngestError) as info:
        ws.ingest()
    assert read(ws) == ((4, 10), (4, 10))
    assert {report.source: report.rows_new for report in info.value.reports} == {"sales": 4, "totals": 1, "zz_last": 0}
    assert info.value.message == f"1 source could not be ingested: {vendor}"


def test_every_error_is_told_under_its_source_with_its_cause_and_its_line(ws):
    project = market()
    ws.apply(project)
    project.state.update(fail=RuntimeError("the vendor is down"), fail_late=DataError("no rows", hint="wait"))
    with pytest.raises(IngestError) as info:
        ws.ingest()
    errors = info.value.errors
    assert list(errors) == ["a_vendor", "zz_last"]
    assert tuple(errors.values()) == info.value.exceptions
    assert isinstance(errors["a_vendor"], DataError)
    assert errors["a_vendor"].message.startswith("source 'a_vendor' failed: RuntimeError: the vendor is down")
    assert isinstance(errors["a_vendor"].__cause__, RuntimeError)
    assert errors["zz_last"] is project.state["fail_late"]
    assert str(info.value).splitlines() == [
        "2 sources could not be ingested: a_vendor, zz_last",
        f"a_vendor: {errors['a_vendor'].message}",
        "zz_last: source 'zz_last': no rows",
    ]


def test_a_source_that_was_asked_for_alone_raises_its_own_error(ws):
    project = market()
    ws.apply(project)
    project.state.update(fail=ConflictError("another is first"))
    with pytest.raises(ConflictError) as info:
        ws.ingest("a_vendor")
    assert info.value is project.state["fail"]


def test_the_same_source_is_ingested_once_it_is_put_right(ws):
    project = market()
    ws.apply(project)
    project.state.update(fail=RuntimeError("down"))
    with pytest.raises(IngestError):
        ws.ingest("a_vendor", "sales")
    project.state.update(fail=None)
    assert {report.source: report.rows_new for report in ws.ingest()} == {"a_vendor": 1, "sales": 0, "zz_last": 1}


def test_a_transformation_that_fails_is_named_and_its_input_is_kept(ws):
    project = tm.Project("p")

    @project.source(timestamp="at", id="id")
    def sales() -> pl.DataFrame:
        return sold(3)

    @project.transformation(timestamp="at")
    def broken(sales: tm.Rows) -> pl.DataFrame:
        return sales.collect().select("nothing")

    ws.apply(project)
    with pytest.raises(DataError) as info:
        ws.ingest()
    assert info.value.message.startswith("transformation 'broken' failed: ColumnNotFoundError: ")
    assert ws.sql("select count(*) as n from sales")["n"].to_list() == [3]


@pytest.mark.parametrize("error", [SystemExit(3), MemoryError("none left"), RecursionError("too deep")])
def test_whatever_user_code_raises_is_an_error_of_ours(ws, error):
    project = market()
    ws.apply(project)
    project.state.update(fail=error)
    with pytest.raises(DataError) as info:
        ws.ingest("a_vendor")
    assert type(error).__name__ in info.value.message
    assert info.value.__cause__ is error


def test_a_panic_of_a_library_is_an_error_of_ours(ws):
    project = tm.Project("p")

    @project.source(timestamp="at")
    def panics() -> pl.DataFrame:
        from decimal import Decimal

        return pl.DataFrame([{"at": Decimal("NaN")}])

    ws.apply(project)
    with pytest.raises(DataError) as info:
        ws.ingest()
    assert "source 'panics' failed: PanicException" in info.value.message


def test_an_interrupt_ends_the_whole_at_once(ws):
    project = market()
    ws.apply(project)
    project.state.update(fail=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        ws.ingest()


def test_before_apply_there_is_nothing_to_do_and_it_is_said(ws):
    for verb in (ws.ingest, ws.materialize):
        with pytest.raises(DefinitionError) as info:
            verb()
        assert info.value.message == "nothing is applied to this workspace yet"
        assert info.value.hint == "apply the project first: tinymlops apply, or ws.apply(project)"
    for verb in (
        lambda: ws.ingest("sales"),
        lambda: ws.push("sales", [{"id": 1}]),
        lambda: ws.materialize("newest"),
        lambda: ws.get_online_features(["newest"], [{"customer": 1}]),
        lambda: ws.get_historical_features(pl.DataFrame({"timestamp": [NOW]}), ["newest"]),
    ):
        with pytest.raises((NotFoundError, DefinitionError)) as info:
            verb()
        assert "apply the project first" in info.value.hint


# The group itself


def test_the_group_is_one_of_python_and_one_of_ours():
    errors = {"a": DataError("x", hint="h"), "b": NotFoundError("y")}
    group = IngestError(errors, [])
    assert isinstance(group, ExceptionGroup)
    assert isinstance(group, TinyMLOpsError)
    found = {}
    try:
        raise group
    except* DataError as some:
        found["data"] = some.errors
    except* NotFoundError as some:
        found["missing"] = some.errors
    assert found == {"data": {"a": errors["a"]}, "missing": {"b": errors["b"]}}


@pytest.mark.parametrize("again", [copy.copy, lambda group: pickle.loads(pickle.dumps(group))])
def test_the_group_survives_a_copy_and_another_process(again):
    group = again(IngestError({"a": DataError("x", hint="h")}, []))
    assert str(group) == "1 source could not be ingested: a\na: x"
    assert group.errors["a"].hint == "h"


def test_the_common_class_is_the_nearest():
    assert IngestError({"a": DataError("x"), "b": DataError("y")}).common_class() is DataError
    assert IngestError({"a": DataError("x"), "b": NotFoundError("y")}).common_class() is TinyMLOpsError
