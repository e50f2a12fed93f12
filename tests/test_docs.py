"""Documentation from code: pages of definitions, as text, HTML and Markdown, and what is not documented."""

from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
import pytest
from inside import database_of

import tinymlops as tm
from tinymlops.errors import DataError, NotFoundError
from tinymlops.features.law.documented import Lack
from tinymlops.pictures import sparkline, svg_bars
from tinymlops.records import Mark, Note

NOW = datetime(2024, 1, 1, tzinfo=UTC)
ORDERS = pl.DataFrame(
    {
        "order": range(200),
        "customer": [f"customer {n % 7}" for n in range(200)],
        "at": [NOW - timedelta(hours=n) for n in range(200)],
        "amount": [float(n % 50) for n in range(200)],
        "status": ["paid", "open"] * 100,
    }
)


def shop(**about):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer", description="A person.", owner="ana")
    project.term("late order", "Paid after a month.", aliases=["overdue order"], owner="ana")

    @project.source(timestamp="at", id="order", owner="ana", unit={"amount": "EUR"})
    def orders() -> pl.DataFrame:
        """All orders; a late order counts when it is paid.

        <script>alert(1)</script>
        """
        return ORDERS

    @project.transformation(row_wise=True, owner="ana")
    def large(orders: tm.Rows) -> str:
        """Orders of at least 10 EUR."""
        return "select * from orders where amount >= 10"

    @project.feature_view(entity=customer, **{"owner": "ana", "tags": ["finance"], "unit": "EUR", **about})
    def spending(large: tm.Rows) -> tm.Features:
        """What somebody has spent.

        spent_30d: of late orders too
        """
        return {"spent_30d": large["amount"].sum(window="30d"), "last": large["amount"].last()}

    @project.on_demand(owner="ana")
    def rest(home_spending: tm.Inputs, budget: pl.Expr) -> dict[str, pl.Expr]:
        """What is left."""
        return {"rest": budget - home_spending["last"]}

    @project.label(entity=customer, horizon="7d", gap="1d", owner="ana", unit="EUR")
    def buys(orders: tm.Rows) -> tm.Label:
        """What somebody buys."""
        return orders["amount"].sum()

    role = spending.on("customer", prefix="home_")
    project.training_set(
        "buyers", spine=orders, label=buys, features=[spending, role], owner="ana", description="Who buys."
    )
    return project


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    with tm.connect(tmp_path_factory.mktemp("docs") / "shop.tm", create=True) as ws:
        ws.apply(shop())
        ws.ingest()
        yield ws


def section(page, title):
    (found,) = [one for one in page.sections if one.title.startswith(title)]
    return [tuple(map(str, row)) for row in found.rows]


def test_the_page_of_a_view_says_what_it_is_and_what_reads_it(ws):
    page = ws.docs("spending")
    assert page.title == "feature view spending, version 1"
    assert page.text.startswith("What somebody has spent.")
    assert page.facts["owner"] == "ana"
    assert page.facts["tags"] == "finance"
    assert section(page, "features") == [
        ("spent_30d", "Float64", "EUR", "sum of amount over 30d", "of late orders too"),
        ("last", "Float64", "EUR", "last of amount", ""),
    ]
    assert section(page, "reads") == [("source", "large"), ("entity", "customer")]
    assert section(page, "read by") == [("on-demand view", "rest"), ("training set", "buyers")]
    assert section(page, "terms") == [("late order", "Paid after a month.")]
    assert len(section(page, "versions")) == 1


def test_the_page_of_a_source_has_the_statistics_of_its_last_ingest(ws):
    rows = {row[0]: row for row in section(ws.docs("orders"), "columns, statistics of the ingest of")}
    assert rows["amount"][:9] == ("amount", "Float64", "EUR", "200", "0", "50", "0", "24.5", "49")
    assert set(rows["amount"][9]) <= set("▁▂▃▄▅▆▇█ ")
    assert rows["status"][9] == "open 50%, paid 50%"
    assert rows["customer"][6:] == ("", "", "", "")
    assert "customer 3" not in str(ws.docs("orders"))


def test_every_definition_has_a_page_as_text_html_and_markdown(ws):
    for row in ws.catalog.list():
        page = ws.docs(row.name)
        assert row.name in str(page)
        assert "</style><h3>" in page._repr_html_()
        assert page.markdown().startswith("# ")
        assert msgspec.json.decode(msgspec.json.encode(page))["name"] == row.name


def test_the_page_of_a_term_says_what_uses_it(ws):
    page = ws.docs("late order")
    assert page.facts["also"] == "overdue order"
    assert section(page, "read by") == [("feature view", "spending"), ("source", "orders")]


def test_a_page_draws_distributions_in_html_and_runs_no_text_as_html(ws):
    page = ws.docs("orders")
    assert page._repr_html_().count("<svg") == 2
    assert "<script>" not in page._repr_html_()
    assert "<script>" not in page.markdown()


def test_a_page_has_models_marks_and_notes(served):
    with database_of(served).write(actor=None) as tx:
        tx.put(Mark(kind="feature_view", name="spending", version=1, mark="golden", author="ana", at=NOW))
        tx.insert(Note(kind="feature_view", name="spending", version=1, text="why | a day", author="ana", at=NOW))
    page = served.docs("spending")
    assert page.facts["mark"] == "golden"
    assert section(page, "notes") == [("v1", "ana", "why | a day")]
    assert "splurge:1 (champion)" in [row[0] for row in section(page, "models")]
    assert r"why \| a day" in page.markdown()
    with database_of(served).write(actor=None) as tx:
        tx.delete(Mark, kind="feature_view")
        tx.delete(Note, kind="feature_view")


def test_an_unknown_name_has_its_near_match(ws):
    with pytest.raises(NotFoundError, match="did you mean 'spending'"):
        ws.docs("spendin")


def test_a_definition_comes_before_a_term_of_its_name(workspace):
    project = tm.Project("shop")
    project.term("customer", "Somebody.")
    project.entity("customer", key="customer")
    workspace.apply(project)
    assert workspace.docs("customer").kind == "entity"
    assert workspace.check_docs().checked == 2


def test_pages_are_files_with_an_index_and_a_later_build_removes_what_is_gone(ws, tmp_path):
    folder = tmp_path / "deep" / "docs"
    files = ws.build_docs(folder)
    assert {path.name for path in files} == {path.name for path in folder.iterdir()}
    assert "term-late-order.md" in {path.name for path in files}
    index = (folder / "index.md").read_text()
    assert "[spending](feature_view-spending.md): What somebody has spent." in index
    kept = folder / "mine.md"
    kept.write_text("my own")
    with tm.connect(tmp_path / "other.tm", create=True) as other:
        project = tm.Project("small")
        project.entity("customer", key="customer")
        other.apply(project)
        other.build_docs(folder)
    assert {path.name for path in folder.iterdir()} == {"entity-customer.md", "index.md", "mine.md"}
    assert kept.read_text() == "my own"


def test_a_file_of_somebody_else_is_not_overwritten(ws, tmp_path):
    (tmp_path / "index.md").write_text("my own")
    with pytest.raises(DataError, match=r"index\.md is not a page that was made here"):
        ws.build_docs(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.md"]
    with pytest.raises(DataError, match="cannot be written"):
        ws.build_docs(tmp_path / "index.md" / "docs")


def test_two_terms_whose_files_would_have_one_name_have_two(workspace, tmp_path):
    project = tm.Project("shop")
    project.term("late-order", "one")
    project.term("late order's", "two")
    project.term("Früh", "three")
    workspace.apply(project)
    assert len({path.name.casefold() for path in workspace.build_docs(tmp_path)}) == 4


def test_what_is_documented_lacks_nothing(ws):
    found = ws.check_docs()
    assert found.lacking == []
    assert (found.checked, found.share) == (11, 1.0)


def test_what_lacks_is_listed(tmp_path):
    with tm.connect(tmp_path / "a.tm", create=True) as ws:
        project = shop(unit={"last": "EUR"}, owner="bob")

        @project.feature_view(entity=project.definitions["customer"])
        def bare(orders: tm.Rows) -> tm.Features:
            return {"status": orders["status"].last(), "orders_1d": orders.count(window="1d")}

        ws.apply(project)
        before = ws.check_docs()  # no row was ingested, so that no type is known
        assert "unit" not in str(before)
        ws.ingest()
        found = ws.check_docs()
        assert found.lacking == [
            Lack("feature_view", "bare", ["docstring", "owner"]),
            Lack("feature", "bare:status", ["docstring"]),
            Lack("feature", "bare:orders_1d", ["docstring", "unit"]),
            Lack("feature", "spending:spent_30d", ["unit"]),
        ]
        assert found.share == pytest.approx(10 / 14)
        assert str(found).startswith("10 of 14 definitions and features are documented (71.4%)\n")


def test_an_empty_workspace_lacks_nothing(workspace):
    assert (workspace.check_docs().share, workspace.check_docs().checked) == (1.0, 0)


def test_pictures_show_every_count_that_is_not_zero():
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "  "
    assert sparkline([1, 1_000_000]) == "▁█"
    assert svg_bars([0, 1, 4]).count("<rect") == 3
    assert 'height="24"' in svg_bars([1])


def test_features_of_on_demand_views_and_training_sets_are_looked_at(workspace):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer", description="Somebody.", owner="ana")

    @project.source(timestamp="at", id="order", owner="ana")
    def orders() -> tm.Schema:
        """What is bought."""
        return {"order": int, "customer": str, "at": datetime, "amount": float}

    @project.feature_view(entity=customer, owner="ana", unit="EUR")
    def spending(orders: tm.Rows) -> tm.Features:
        """What is spent."""
        return {"spent": orders["amount"].sum(window="30d")}

    @project.on_demand(owner="ana")
    def ratios(spending: tm.Inputs, budget: pl.Expr) -> dict[str, pl.Expr]:
        return {"doubled": spending["spent"] * 2, "share": spending["spent"] / budget}

    @project.label(entity=customer, horizon="1d", owner="ana", unit="EUR")
    def buys(orders: tm.Rows) -> tm.Label:
        """What is bought next."""
        return orders["amount"].sum()

    project.training_set("bare", spine=orders, label=buys, features=[spending], owner="ana")
    project.training_set("told", spine=orders, label=buys, features=[spending], owner="ana", description="Who buys.")
    workspace.apply(project)
    assert sorted(str(one) for one in workspace.check_docs().lacking) == [
        "feature ratios:doubled: no docstring, no unit",
        "feature ratios:share: no docstring",
        "on-demand view ratios: no docstring",
        "training set bare: no docstring",
    ]
