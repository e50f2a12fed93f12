"""The pages of the catalog and of lineage: what is found, what is told of each, and who is told what."""

import html
import re
import time
from datetime import datetime, timedelta

import houses
import pytest
import served_shop
from inside import database_of
from litestar.testing import TestClient
from test_server import LOCAL

import tinymlops as tm
from tinymlops.features.law.lineage import whole_graph

HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}"


@pytest.fixture
def client(served):
    with TestClient(tm.create_app(served), base_url=LOCAL) as client:
        client.headers["accept"] = "text/html"
        client.follow_redirects = False
        yield client


def words(answer):
    """What a person reads of a page."""
    assert answer.status_code == 200, answer.text
    main = answer.text.partition('<main id="main"')[2].partition("</main>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main.partition(">")[2])).split())


def links(answer):
    return [html.unescape(one) for one in re.findall(r'href="([^"]+)"', answer.text.partition('<main id="main"')[2])]


def test_the_catalog_lists_definitions_by_kind_with_what_they_say(client):
    assert "All 11 Sources 4 Feature views 2" in words(client.get("/catalog"))
    views = client.get("/catalog?kind=view")
    assert "What this customer spends." in words(views)
    assert "/catalog/view/spending" in links(views)
    assert "/catalog/source/orders" not in links(views)
    assert "6 d ago" in words(client.get("/catalog?kind=source"))


def test_a_filter_that_finds_none_says_so_and_hides_no_definition(client):
    for said in ("owner=nobody", "tag=none", "owner=nobody&kind=view"):
        told = words(client.get(f"/catalog?{said}"))
        assert "None is like that" in told
        assert "11 definitions in force" in told
        assert "There is no definition yet" not in told


def test_values_and_models_that_are_left_out_are_counted(workspace):
    houses.register(workspace)
    build = workspace.models.get("price").run
    for _ in range(21):
        workspace.register_model("price", run=build)
    with TestClient(tm.create_app(workspace), base_url=LOCAL) as client:
        told = words(client.get("/catalog/feature/past/last_city"))
        assert "and 13 more values, in 1" in told
        assert "The outer bars" not in told
        assert len(re.findall(r"price:\d+ last_city", told)) == 20
        assert "last_city Enum its report and 2 more" in told
        assert "and 12 earlier model versions" in words(client.get("/catalog/view/past"))


def test_a_search_finds_also_misspelled_words_and_says_so(client):
    found = client.get("/catalog?q=spendng")
    assert "no word 'spendng'; searched for spending" in words(found)
    assert "/catalog/view/spending" in links(found)
    assert "Nothing has these words" in words(client.get("/catalog?q=zzzzz"))
    assert "no results" in words(client.get("/catalog", params={"q": "--"}))


@pytest.mark.parametrize("said", ["kind=views", "first=x", "colour=red"])
def test_what_cannot_be_asked_is_told(client, said):
    assert client.get(f"/catalog?{said}").status_code in (400, 422)


def test_a_list_longer_than_a_page_has_parts(workspace):
    project = tm.Project("wide")
    for number in range(230):
        project.entity(f"one_{number:03}", key="key")
    workspace.apply(project)
    with TestClient(tm.create_app(workspace), base_url=LOCAL) as client:
        seen, path = [], "/catalog?kind=entity"
        while path:
            page = client.get(path)
            seen += re.findall(r"/catalog/entity/(one_\d+)", page.text)
            path = next((one for one in links(page) if 'rel="next"' in page.text and f"first={len(seen)}" in one), None)
        assert seen == [f"one_{number:03}" for number in range(230)]
        assert "201 to 230 of 230" in words(client.get("/catalog?kind=entity&first=200"))
        assert client.get("/catalog?first=-5").status_code == client.get("/catalog?first=99999").status_code == 200


def test_a_source_tells_its_columns_and_what_their_values_are_like(client):
    page = client.get("/catalog/source/orders")
    told = words(page)
    assert "amount Float64 0 % 14 0 27.99 56" in told
    assert 'aria-label="distribution of amount, 0 to 56"' in page.text
    assert "Newest event" in told
    assert {"/catalog/view/spending", "/models/splurge/1"} <= set(links(page))


def test_a_view_tells_its_features_why_it_is_so_and_who_reads_it(served, client):
    served.catalog.note("spending", f"as agreed {HOSTILE}")
    served.catalog.mark("spending", "golden")
    served.get_online_features([served_shop.spending], [{"customer": 1}], consumer="checkout")
    served.access.list()
    told = words(client.get("/catalog/view/spending"))
    assert "spent_7d Float64 sum of amount over 7d" in told
    assert f"as agreed {HOSTILE}" in told
    assert "golden" in told
    assert "checkout online, 1 read" in told
    assert "visits_to_orders training set" in told


def test_a_feature_tells_its_distribution_in_training_and_the_models_that_take_it(client):
    page = client.get("/catalog/feature/spending/last_amount")
    told = words(page)
    assert "In the 192 training rows of splurge:" in told
    assert "splurge:1 champion last_amount Float64" in told
    assert 'aria-label="distribution of last_amount in the training rows"' in page.text
    assert "Most from 1 to 55" in told
    assert client.get("/catalog/feature/spending/first_amount").status_code == 404
    assert "Computed by Python code" in words(client.get("/catalog/feature/room/left"))


@pytest.mark.parametrize("kind", ["source/order", "view/orders", "nothing/orders", "check/x", "term/late%20arrival"])
def test_what_is_not_there_is_told_with_the_near_name(client, kind):
    answer = client.get(f"/catalog/{kind}")
    assert answer.status_code == 404
    assert "Not found" in answer.text


def test_values_are_for_roles_that_may_read_them(served, client):
    served.catalog.note("spending", "of ana@example.org")
    page = client.get("/catalog/source/orders").text
    assert "27.99" in page
    app = tm.create_app(served, auth=lambda _: ("otto", "auditor"))
    with TestClient(app, base_url=LOCAL) as auditor:
        page = auditor.get("/catalog/source/orders").text
        assert "27.99" not in page
        assert "distribution" not in page.replace("distribution-title", "")
        assert "training rows" not in auditor.get("/catalog/feature/spending/last_amount").text
        assert "note" not in words(auditor.get("/catalog?q=ana"))
        assert "note" in words(client.get("/catalog?q=ana"))


def test_a_search_of_who_may_read_no_values_is_as_if_there_were_definitions_alone(served):
    for _ in range(200):
        served.runs.start("spending", params={"spending": "zweitwort"}, patch=False, origin="test")
    with TestClient(tm.create_app(served, auth=lambda _: ("otto", "auditor")), base_url=LOCAL) as auditor:
        assert "/catalog/view/spending" in links(auditor.get("/catalog?q=spending"))
        for typed in ("zweitwart", "zweitwor", "weitwor", "zweitwort"):
            told = words(auditor.get(f"/catalog?q={typed}"))
            assert "zweitwort" not in told.replace(f"“{typed}”", "")
            assert "no results" in told
            assert "searched for" not in told
        assert "searched for spending" in words(auditor.get("/catalog?q=spendign"))
    with TestClient(tm.create_app(served), base_url=LOCAL) as reader:
        assert "searched for zweitwort" in words(reader.get("/catalog?q=zweitwart"))


def test_checks_tell_what_they_said_last(tmp_path):
    project = tm.Project("shop")

    @project.source(timestamp="at", id="order", owner=HOSTILE[:40], tags=["money"])
    def orders() -> tm.Schema:
        return {"order": int, "at": datetime, "amount": float}

    project.check(orders, tm.between("amount", 0, 100), action="quarantine")
    project.check(orders, tm.not_null("amount"), action="warn")
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(project, message=f"because {HOSTILE}")
        amounts = enumerate((1.0, 500.0, None))
        rows = [{"order": number, "at": served_shop.START, "amount": amount} for number, amount in amounts]
        with pytest.warns(UserWarning, match="do not pass"):
            ws.push(orders, rows)
        with TestClient(tm.create_app(ws), base_url=LOCAL) as client:
            told = words(client.get("/catalog/source/orders"))
            assert "1 row in quarantine" in told
            assert "warn 1 of 3" in told
            assert "quarantine" in told
            assert f"because {HOSTILE}" in told
            owned = [one for one in links(client.get("/catalog")) if "owner=" in one]
            assert "orders" in words(client.get(owned[0]))


def test_lineage_goes_one_hop_and_opens_what_is_asked_for(client):
    page = client.get("/lineage/source/orders")
    told = words(page)
    assert "amount → last_amount identity" in told
    assert "visits_to_orders" not in told
    opened = client.get(next(one for one in links(page) if "down=feature_view" in one))
    assert "visits_to_orders training set" in words(opened)
    closed = next(one for one in links(opened) if one == "/lineage/source/orders")
    assert "visits_to_orders" not in words(client.get(closed))


def test_columns_that_keep_their_name_are_one_line(client):
    told = words(client.get("/lineage/view/spending?down=training_set:visits_to_orders"))
    assert "last_amount, spent_7d identity" in told
    assert "last_amount → last_amount" not in told


def test_lineage_of_a_column_leaves_out_what_does_not_come_from_it(client):
    told = words(client.get("/lineage/source/orders?part=amount"))
    assert "amount → spent_7d aggregation" in told
    assert "customer group" not in told
    assert client.get("/lineage/source/orders?part=amounts").status_code == 404


@pytest.mark.parametrize("what", ["model/splurge%3A1", "training-set/visits_to_orders", "reader/checkout"])
def test_lineage_leads_on_to_builds_runs_models_and_readers(served, client, what):
    served.get_online_features([served_shop.spending], [{"customer": 1}], consumer="checkout")
    served.access.list()
    seen, waiting = set(), [f"/lineage/{what}"]
    while waiting:
        path = waiting.pop()
        page = client.get(path)
        assert page.status_code == 200, path
        seen.add(path)
        waiting += [
            one for one in set(links(page)) if one.startswith("/lineage/") and "?" not in one and one not in seen
        ]
    assert {one.split("/")[2] for one in seen} >= {"source", "view", "training-set", "build", "run", "model", "reader"}


def test_hops_have_the_edges_of_the_whole_graph(served):
    """The oracle: what the whole graph says of every definition, run, build, model and reader."""
    from tinymlops.features.law.neighbours import Walk

    served.get_online_features([served_shop.spending], [{"customer": 1}], consumer="checkout")
    served.access.list()
    context = served._context()
    graph, walk = whole_graph(context), Walk(context)
    wholes = {node.whole for node in graph.nodes}
    for node in wholes:
        own = [node, *graph.parts(node)]
        after = {edge.target.whole for one in own for edge in graph.after(one)} - {node}
        before = {edge.source.whole for one in own for edge in graph.before(one)} - {node}
        found = {one.node for one in walk.after(node).found}, {one.node for one in walk.before(node).found}
        assert found[0] >= after, node
        assert found[1] >= before, node
        # The graph leads from a feature to a model through the training set; a hop also tells it at once.
        assert {one.kind for one in found[0] - after} <= {"model"}, node
        assert {one.kind for one in found[1] - before} <= (
            {"feature_view", "on_demand"} if node.kind == "model" else set()
        )
        assert walk.leads_on(node, downstream=True) == bool(walk.after(node).found)
        assert walk.leads_on(node, downstream=False) == bool(walk.before(node).found)


@pytest.mark.parametrize(
    "what", ["source/order", "model/splurge%3A9", "model/splurge", "model/%3A", "run/abc", "zoo/x"]
)
def test_lineage_of_what_is_not_there_is_told(client, what):
    assert client.get(f"/lineage/{what}").status_code == 404


def test_an_open_tree_has_an_end(client):
    """Every opener of every side, clicked until there is none left."""
    path, opened = "/lineage/source/orders", 0
    while path and opened < 60:
        page = client.get(path)
        assert page.status_code == 200
        path = next(
            (html.unescape(one) for one in re.findall(r'class="opens" href="([^"]+)" aria-label="Open', page.text)),
            None,
        )
        opened += 1
    assert opened < 40


def test_builds_beyond_the_newest_are_counted(served):
    from tinymlops.features.law import neighbours
    from tinymlops.records import TrainingSetBuild

    (build,) = database_of(served).list(TrainingSetBuild)
    walk = neighbours.Walk(served._context())
    found = walk.after(walk.require("training_set", build.name))
    assert (len(found.found), found.left_out) == (1, 0)


def test_a_service_is_told_as_a_reader_of_what_it_names(tmp_path):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def orders() -> tm.Schema:
        return {"customer": int, "at": datetime, "amount": float}

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"last": orders["amount"].last()}

    project.service("checkout", features=[spending])
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(project)
        assert "service  checkout" in str(ws.docs("spending"))
        with TestClient(tm.create_app(ws), base_url=LOCAL) as client:
            assert "checkout service" in words(client.get("/catalog/view/spending"))
            assert "spending" in words(client.get("/catalog/service/checkout"))


def test_pages_are_quick_with_a_thousand_definitions(tmp_path):
    """A bound far above what is measured (`benchmarks/pages.py`): it fails if a page decodes or computes all of them."""
    project = tm.Project("big")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def orders() -> tm.Schema:
        return {"customer": int, "at": datetime, "amount": float}

    for number in range(300):

        def view(orders: tm.Rows) -> tm.Features:
            return {"total": orders["amount"].sum(window=timedelta(days=1))}

        view.__name__ = f"view_{number}"
        project.feature_view(entity=customer)(view)
    with tm.connect(tmp_path / "big.tm", create=True) as ws:
        ws.apply(project)
        with TestClient(tm.create_app(ws), base_url=LOCAL) as client:
            for path in ("/catalog", "/catalog?q=view", "/catalog/source/orders", "/lineage/source/orders"):
                client.get(path)
                begun = time.perf_counter()
                assert client.get(path).status_code == 200
                assert time.perf_counter() - begun < 1, path


def test_every_kind_of_definition_has_an_address():
    from tinymlops.features.definitions.specs import AnySpec
    from tinymlops.server.pages.addresses import KINDS, SLUGS

    assert set(SLUGS) == {spec.__struct_config__.tag for spec in AnySpec.__args__}
    assert "feature" not in KINDS
