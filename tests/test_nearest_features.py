"""Features of neighbours: aggregates of what was known of the nearest rows at each time, offline as online."""

import math
from datetime import UTC, datetime, timedelta

import embedding_models
import polars as pl
import pytest
import vector_oracle
from conftest import at
from fuzzing import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from inside import context_of, database_of, set_clock
from litestar.testing import TestClient
from mlflow_calls import LOCAL
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import tinymlops as tm
from tinymlops.features.embedded import made
from tinymlops.features.history.stored import stored_rows
from tinymlops.features.vectors import compared, image

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMES = "abcde"
K = 3


def defined(*, feature=None, model=None, of="question"):
    """Customers with a vector and a text, their orders, and who asks."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="id")
    def clicks() -> tm.Schema:
        columns = {"id": int, "customer": str, "at": datetime, "n": int, "text": str}
        return {**columns, "v": pl.List(pl.Float64)}

    @project.source(timestamp="at", id="order")
    def orders() -> tm.Schema:
        return {"order": int, "customer": str, "at": datetime, "amount": float}

    @project.source(timestamp="at", id="visit")
    def visits() -> tm.Schema:
        return {
            "visit": int,
            "customer": str,
            "at": datetime,
            "question": str,
            "topic": str,
            "place": pl.List(pl.Float64),
        }

    near = project.embedding("near", source=clicks, entity=customer, vector="v", metric="l2")
    texts = project.embedding(
        "texts", source=clicks, entity=customer, text="text", **({"model": "tfidf", "dimension": 3} | (model or {}))
    )
    project.embedding("each", source=clicks, vector="v")

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"last": orders["amount"].last(), "total": orders["amount"].sum(window="9h")}

    @project.nearest(near, of="place", k=K)
    def around(clicks: tm.Rows, spending: tm.Rows) -> tm.Features:
        return {
            "n": clicks["n"].mean(),
            "high": (clicks["n"] > 2).mean(),
            "rows": clicks.count(),
            "spent": spending["last"].mean(),
            "spenders": spending["last"].count(where=spending["last"] > 0),
            "per_row": spending["total"].sum() / clicks.count(),
        }

    @project.nearest(near, k=K)
    def like_me(clicks: tm.Rows) -> tm.Features:
        return {"mine": clicks["n"].mean(), "others": clicks.count()}

    @project.nearest(texts, of=of, k=2)
    def said(clicks: tm.Rows, spending: tm.Rows) -> tm.Features:
        return {"said": clicks["n"].mean(), "said_spent": spending["last"].mean(), "said_rows": clicks.count()}

    if feature is not None:

        @project.nearest(near, k=1)
        def other(clicks: tm.Rows, spending: tm.Rows) -> tm.Features:
            return {"x": feature(clicks, spending)}

    @project.label(entity=customer, horizon="5h")
    def buys(orders: tm.Rows) -> tm.Label:
        return (orders["amount"] > 0).any()

    project.training_set("sales", spine=visits, label=buys, features=[spending["last"], said, around, like_me])
    return project


def click(id_, name, hours, *, n=None, v=None, text=None, **more):
    return {"id": id_, "customer": name, "at": at(hours), "n": n, "text": text, "v": v, **more}


def order(id_, name, hours, amount, **more):
    return {"order": id_, "customer": name, "at": at(hours), "amount": amount, **more}


@pytest.fixture
def ws(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(0))) as ws:
        yield ws


def told(ws, hours, source, rows):
    """Push rows at a time."""
    set_clock(ws, tm.ReplayClock(at(hours)))
    return ws.push(source, rows)


numbers = st.integers(-2, 2).map(float)
vectors = st.none() | st.lists(numbers, min_size=2, max_size=2)
values = st.none() | st.integers(-1, 5)
row = st.tuples(st.integers(0, 7), st.sampled_from(NAMES), st.integers(-5, 2), vectors, values, st.booleans())
sums = st.tuples(st.integers(0, 5), st.sampled_from(NAMES), st.integers(-5, 2), values, st.booleans())
batches = st.lists(st.tuples(st.lists(row, max_size=6), st.lists(sums, max_size=4)), min_size=1, max_size=4)
asked = st.lists(st.tuples(st.sampled_from([*NAMES, "zz", None]), st.integers(-7, 9), vectors), min_size=1, max_size=8)


@examples(6, heavy=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    batches=batches,
    asked=asked,
    share=st.none() | st.floats(0, 1),
    few=st.sampled_from([0, 1, 32]),
    many_rows=st.sampled_from([1, 5_000]),
)
def test_aggregates_are_of_what_was_known_of_the_nearest(tmp_path_factory, batches, asked, share, few, many_rows):
    folder = tmp_path_factory.mktemp("near") / "shop.tm"
    with (
        pytest.MonkeyPatch.context() as patched,
        tm.connect(folder, create=True, clock=tm.ReplayClock(at(0))) as ws,
    ):
        patched.setattr(compared, "FEW", few)
        patched.setattr("tinymlops.features.vectors.neighbour_rows.FEW", few)
        patched.setattr(image, "MANY_ROWS", many_rows)
        ws.apply(defined())
        ws.push("clicks", [click(99, "f", -9, v=[0.0, 0.0], n=1)])
        ws.push("orders", [order(99, "f", -9, 0.5)])
        ws.materialize()
        for place, (clicks, orders) in enumerate(batches):
            hour = 2 * place
            rows = [
                click(id_, name, hour + hours, v=v, n=n, deleted=deleted) for id_, name, hours, v, n, deleted in clicks
            ]
            told(ws, hour, "clicks", rows)
            amounts = [order(id_, name, hour + hours, n, deleted=deleted) for id_, name, hours, n, deleted in orders]
            told(ws, hour, "orders", amounts)
            if place == 1:
                ws.vectors.follow("near")
        newest = database_of(ws).sequence()
        sequence = newest if share is None else round(share * newest)
        spine = spine_of(asked)
        found = ws.get_historical_features(spine, ["around", "like_me"], as_of=None if share is None else sequence)
        stored = {name: stored_rows(context_of(ws), name).to_dicts() for name in ("clicks", "orders")}
        for answer, (name, hours, place) in zip(found.to_dicts(), asked, strict=True):
            check(stored, answer, name, at(hours), place, sequence)
        online_is_offline(ws, spine)


def spine_of(asked):
    schema = {"customer": pl.String, "hours": pl.Int64, "place": pl.List(pl.Float64)}
    frame = pl.DataFrame(asked, schema=schema, orient="row")
    times = pl.Series("timestamp", [at(hours) for hours in frame["hours"]], pl.Datetime("us", "UTC"))
    return frame.with_columns(times).drop("hours")


def check(stored, answer, name, moment, place, sequence):
    found = nearest(stored, place, name, moment, sequence)
    numbers = [one["n"] for one in found if one["n"] is not None]
    assert answer["n"] == mean(numbers)
    assert answer["high"] == mean([float(n > 2) for n in numbers])
    assert answer["rows"] == len(found)
    people = [known(stored["orders"], one["customer"], "order", moment, sequence) for one in found]
    amounts = [one["amount"] for one in people if one is not None and one["amount"] is not None]
    assert answer["spent"] == mean(amounts)
    assert answer["spenders"] == sum(amount > 0 for amount in amounts)
    totals = [window(stored["orders"], one["customer"], moment, sequence) for one in found]
    assert answer["per_row"] == (math.fsum(totals) / len(found) if found else None)
    mine = None if name is None else known(stored["clicks"], name, "id", moment, sequence)
    own = mine["v"] if mine is not None and vector_oracle.is_vector(mine["v"], 2) else None
    like = nearest(stored, own, name, moment, sequence)
    assert answer["others"] == len(like)
    assert answer["mine"] == mean([one["n"] for one in like if one["n"] is not None])


def nearest(stored, query, name, moment, sequence):
    """The rows of the nearest customers but one, by the plain reading of the rule in `vector_oracle`."""
    if query is None:
        return []
    asked = {"key": "customer", "vector": "v", "ids": "id", "t": micros(moment), "sequence": sequence, "metric": "l2"}
    best = [key for _, key in vector_oracle.nearest(stored["clicks"], query, k=100, **asked) if key != name]
    return [known(stored["clicks"], key, "id", moment, sequence) for key in best[:K]]


def known(rows, name, ids, moment, sequence):
    """The row of a customer that is known."""
    numbered = [{**row, "__place": [float(place)]} for place, row in enumerate(rows) if row["customer"] == name]
    facts = {"key": "customer", "ids": ids, "vector": "__place", "k": 1, "sequence": sequence, "metric": "dot"}
    found = vector_oracle.nearest(numbered, [1.0], t=micros(moment), **facts)
    mine = [one for one in numbered if one["__place"] == [found[0][0]]] if found else []
    return mine[0] if mine else None


def window(rows, name, moment, sequence):
    """The sum of a customer's orders of 9 hours; what is known at exactly the time is left out."""
    t = micros(moment)
    mine = [row for row in rows if row["customer"] == name and row["__sequence"] <= sequence]
    facts = [
        row
        for row in mine
        if vector_oracle.available(row, False) < t
        and not vector_oracle.is_replaced(row, mine, t - 1, "customer", "order", False)
        and t - 9 * 3_600_000_000 <= row["__event"]
        and not row["__deleted"]
    ]
    return math.fsum(row["amount"] for row in facts if row["amount"] is not None)


def micros(moment):
    return (moment - EPOCH) // timedelta(microseconds=1)


def mean(numbers):
    return math.fsum(numbers) / len(numbers) if numbers else None


def online_is_offline(ws, spine):
    keys = spine.drop("timestamp")
    online = ws.get_online_features(["around", "like_me", "spending"], keys)
    moments = keys.with_columns(timestamp=pl.lit(online.timestamp).cast(pl.Datetime("us", "UTC")))
    offline = ws.get_historical_features(moments, ["around", "like_me", "spending"], as_of=online.sequence)
    assert online.to_polars().equals(offline.drop("timestamp"), null_equal=True)
    alone = ws.get_online_features(["around", "like_me"], keys[:1]).to_polars()
    assert alone.equals(online.to_polars().select(alone.columns)[:1], null_equal=True)


WORDS = ["red candles", "blue candles", "red tea", "brown bear", "green tea in mugs", "honey for bears"]


def filled(ws, *, hours=20):
    """A click, an order and a visit each hour; the model is fitted at hour 10."""
    ws.apply(defined())
    for hour in range(hours):
        name = f"c{hour % 7}"
        v = [float(hour % 3), float(hour % 4)]
        told(ws, hour, "clicks", [click(hour, name, hour, n=hour, v=v, text=WORDS[hour % 6])])
        told(ws, hour, "orders", [order(hour, f"c{hour % 5}", hour, float(hour % 4))])
        visit = {"visit": hour, "customer": f"c{hour % 6}", "at": at(hour), "question": WORDS[(hour + 1) % 6]}
        told(ws, hour, "visits", [{**visit, "topic": "red tea", "place": [0.0, float(hour % 2)]}])
        if hour == 10:
            ws.vectors.follow()
    set_clock(ws, tm.ReplayClock(at(hours + 10)))
    ws.materialize()


def trained(ws, name="sale"):
    data = ws.get_training_data("sales")
    with ws.start_run("linear", data=data) as run:
        model = make_pipeline(SimpleImputer(keep_empty_features=True), LogisticRegression())
        run.log_model(model.fit(data.train.X, data.train.y))
    ws.register_model(name, run=run, alias="champion")
    return data


ASKED = [
    {"customer": "c1", "question": "red candles", "place": [0.0, 1.0]},
    {"customer": None, "question": "words that nobody knows", "place": [9.0, 9.0]},
    {"customer": "nobody", "question": "", "place": None},
]


def test_a_model_is_asked_with_what_it_was_trained_on(ws):
    filled(ws)
    data = trained(ws)
    assert data.train.X.columns[:4] == ["last", "said", "said_spent", "said_rows"]
    spine = data.train.spine
    read = ws.get_historical_features(spine.select("customer", "question", "place", "timestamp"), ["said", "around"])
    assert read.select("said", "spent").cast(pl.Float64).equals(data.train.X.select("said", "spent"), null_equal=True)
    answers = ws.predict("sale", ASKED).to_rows()
    online = ws.get_online_features(["said", "around"], ASKED).to_polars()
    assert online["said_rows"].to_list() == [2, 2, 0]  # unknown words are a vector of zeros
    assert online["rows"].to_list() == [K, K, 0]
    assert ws.verify_online().same
    with TestClient(tm.create_app(ws), base_url=LOCAL) as client:
        for many in ([*ASKED], ASKED[:1]):
            sent = client.post("/v1/models/sale/predict", json={"rows": many}).json()["predictions"]
            expected = [one["probability"] for one in answers[: len(many)]]
            assert [one["probability"] for one in sent] == expected
        sent = client.post("/v1/features/online", json={"features": ["said"], "keys": ASKED[:1]}).json()
        assert sent["rows"][0]["said"] == online["said"][0]


def test_a_model_keeps_the_fit_that_its_neighbours_were_found_by(ws, monkeypatch):
    filled(ws)
    data = trained(ws)
    before = ws.predict("sale", ASKED).to_rows()
    assert "fitted-later:sales.texts" in [one.name for one in ws.lint().findings]
    ws.vectors.rebuild("texts", anew=True, purge=True)
    assert ws.sql("select distinct model from fitted_models").height == 1
    assert [one["probability"] for one in ws.predict("sale", ASKED).to_rows()] == [one["probability"] for one in before]
    monkeypatch.setattr(made, "open_model", None)  # no file has the vectors of that fit, but the process does
    assert [one["probability"] for one in ws.predict("sale", ASKED[:2]).to_rows()] == [
        one["probability"] for one in before[:2]
    ]
    monkeypatch.undo()
    assert ws.verify(data.build_id).same
    assert ws.reproduce(data.build_id).train.X.equals(data.train.X)
    newer = ws.get_training_data("sales")
    differs = ws.diff(data.build_id, newer.build_id)
    assert {*differs.counts} <= {"said", "said_spent", "said_rows"}
    assert differs.by_cause == {"definition": differs.changed}


def test_what_a_definition_stands_on_is_told(ws):
    filled(ws, hours=3)
    graph = str(ws.lineage("said"))
    assert "embedding texts  (rows)" in graph
    made_of = str(ws.lineage("said:said_spent"))
    assert "spending:last  (aggregation)" in made_of
    assert "clicks.text" in made_of  # by the embedding
    assert "said:said  (aggregation)" in str(ws.lineage("clicks.n"))
    affected = str(ws.lineage("orders.amount"))
    assert "said:said_spent" in affected
    changed = defined(model={"fitted_at": at(1)})
    reached = str(ws.plan(changed))
    assert "embedding texts" in reached
    assert "said" in reached
    assert "training set sales" in reached


def test_another_version_is_read_beside_the_newest(ws):
    filled(ws)
    before = ws.get_online_features(["said"], ASKED).to_polars()
    ws.apply(defined(of="topic"))
    asked = [{**one, "topic": one["question"]} for one in ASKED]
    both = ws.get_online_features(["said@v1"], ASKED).to_polars()
    for name in ("said", "said_spent", "said_rows"):
        assert both[f"v1_{name}"].equals(before[name], null_equal=True)
    with pytest.raises(tm.DataError, match="no column 'topic', a request field"):
        ws.get_online_features(["said"], ASKED)
    newest = ws.get_online_features(["said"], asked).to_polars()
    assert newest["said"].equals(before["said"], null_equal=True)


def test_a_row_that_a_backfill_brings_is_the_cause_of_a_difference(tmp_path):
    project, path = tm.Project("shop"), tmp_path / "items.parquet"

    @project.source(timestamp="at", id="item")
    def items() -> str:
        return f"select * from read_parquet('{path}')"

    near = project.embedding("near", source=items, vector="v", dimension=1, metric="l2")

    @project.nearest(near, of="place", k=2)
    def around(items: tm.Rows) -> tm.Features:
        return {"price": items["amount"].mean()}

    def write(*rows):
        frame = pl.DataFrame(
            {"item": [n for n, _ in rows], "at": [at(0)] * len(rows), "amount": [v for _, v in rows]},
            schema_overrides={"at": pl.Datetime("us", "UTC")},
        )
        frame.with_columns(v=pl.concat_list(pl.col("amount"))).write_parquet(path)

    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        write((1, 1.0), (2, 5.0), (3, 9.0))
        ws.apply(project)
        ws.ingest()
        spine = pl.DataFrame({"item": [None, 1], "place": [[2.0], [8.0]]}, schema_overrides={"item": pl.Int64})
        spine = spine.with_columns(timestamp=pl.lit(at(9)).cast(pl.Datetime("us", "UTC")))
        before = database_of(ws).sequence()
        write((1, 1.0), (2, 5.0), (3, 9.0), (4, 2.0))
        ws.ingest()
        found = ws.diff_features(spine, ["around"], before=before, after=database_of(ws).sequence())
        assert found.by_cause == {"new rows": 1}
        (example,) = found.examples
        assert (example.before, example.after) == (3.0, 1.5)


def test_a_neighbour_that_is_read_by_its_final_version_shows_what_was_corrected_later(tmp_path):
    project, path = tm.Project("shop"), tmp_path / "items.parquet"
    item = project.entity("item", key="item")

    @project.source(timestamp="at", id="item", known="latest")
    def items() -> str:
        return f"select * from read_parquet('{path}')"

    @project.source(timestamp="at", id="item")
    def asked() -> str:
        return f"select * exclude (amount) from read_parquet('{path}')"

    near = project.embedding("near", source=items, entity=item, vector="v", dimension=1, metric="l2")

    @project.nearest(near, of="v", k=2)
    def around(items: tm.Rows) -> tm.Features:
        return {"price": items["amount"].mean()}

    @project.label(entity=item, horizon="1h", gap="1h")
    def again(asked: tm.Rows) -> tm.Label:
        return asked.count() > 0

    project.training_set("prices", spine=asked, label=again, features=[around])
    frame = pl.DataFrame({"item": range(20), "at": [at(n) for n in range(20)], "amount": [float(n) for n in range(20)]})
    frame = frame.with_columns(v=pl.concat_list(pl.col("amount")))
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        frame.write_parquet(path)
        ws.apply(project)
        ws.ingest()
        assert ws.lint().findings == []
        frame.with_columns(pl.col("amount") + 1).write_parquet(path)
        ws.ingest("items")
        (found,) = ws.lint().findings
        assert (found.name, found.feature) == ("corrected-later:prices.around", "price")
        assert "of neighbours what was corrected after the row's time" in found.message


def test_a_row_is_not_its_own_neighbour(ws):
    project = tm.Project("desk")

    @project.source(timestamp="at", id="ticket")
    def tickets() -> tm.Schema:
        return {"ticket": int, "at": datetime, "text": str, "hours": float}

    @project.source(timestamp="at", id="looked")
    def looks() -> tm.Schema:
        return {"looked": int, "ticket": int, "at": datetime, "text": str}

    texts = project.embedding("texts", source=tickets, text="text", model="tfidf", dimension=2)
    ticket = project.entity("ticket", key="ticket")

    @project.nearest(texts, of="text", k=1)
    def similar(tickets: tm.Rows) -> tm.Features:
        return {"took": tickets["hours"].mean()}

    @project.label(entity=ticket, horizon="1h")
    def slow(tickets: tm.Rows) -> tm.Label:
        return tickets["hours"].last() > 1

    @project.label(entity=ticket, horizon="1h")
    def seen(looks: tm.Rows) -> tm.Label:
        return looks.count() > 0

    project.training_set("new", spine=tickets, label=seen, features=[similar])
    project.training_set("looked_at", spine=looks, label=seen, features=[similar])
    ws.apply(project)
    rows = [(1, 0, "red tea", 1.0), (2, 1, "red tea", 2.0), (3, 1, "red tea", 3.0), (4, 2, "brown bear", 4.0)]
    for number, hour, text, hours in rows:
        told(ws, hour, "tickets", [{"ticket": number, "at": at(hour), "text": text, "hours": hours}])
        told(ws, hour, "looks", [{"looked": number, "ticket": number, "at": at(hour), "text": text}])
    told(ws, 9, "looks", [{"looked": 9, "ticket": 9, "at": at(8), "text": "x"}])
    ws.vectors.follow()
    # Of one source, a row sees what was known strictly before it: not itself, and not what came with it.
    assert ws.get_training_data("new").train.X["took"].to_list() == [None, 1.0, 1.0, 1.0]
    # Of another, what came at once is known, but what has the same key is left out.
    data = ws.get_training_data("looked_at")
    assert data.train.X["took"].to_list()[:4] == [None, 1.0, 1.0, 1.0]
    online = ws.get_online_features(["similar"], {"ticket": [3, None], "text": ["red tea", "red tea"]}).to_polars()
    assert online["took"].to_list() == [1.0, 1.0]
    ws.push("tickets", [{"ticket": 1, "at": at(0), "text": "red tea", "hours": 1.0, "deleted": True}])
    online = ws.get_online_features(["similar"], {"ticket": [3, None], "text": ["red tea", "red tea"]}).to_polars()
    assert online["took"].to_list() == [2.0, 2.0]


@pytest.mark.parametrize("many_rows", [1, 5_000])
def test_texts_that_wait_are_neighbours_online_and_offline(ws, monkeypatch, many_rows):
    monkeypatch.setattr(image, "MANY_ROWS", many_rows)
    filled(ws, hours=12)
    told(ws, 30, "clicks", [click(88, "waits", 30, n=88, text="quite blue candles")])
    asked = [{"customer": "c1", "question": "quite blue candles"}]
    online = ws.get_online_features(["said"], asked)
    moments = pl.DataFrame(asked).with_columns(timestamp=pl.lit(online.timestamp).cast(pl.Datetime("us", "UTC")))
    offline = ws.get_historical_features(moments, ["said"], as_of=online.sequence)
    assert online.to_polars().equals(offline.drop("timestamp"))
    assert online.to_polars()["said"].to_list() != [None]
    ws.vectors.follow()
    assert ws.get_online_features(["said"], asked).to_polars().equals(online.to_polars())
    monkeypatch.setattr("tinymlops.features.vectors.neighbour_rows.FEW", 0)
    assert ws.get_online_features(["said"], asked).to_polars().equals(online.to_polars())


def test_a_model_in_onnx_is_asked_for_the_text_of_a_request(tmp_path):
    directory = embedding_models.tiny(tmp_path / "model")
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(0))) as ws:
        ws.apply(defined(model={"model": str(directory), "dimension": None}))
        told(ws, 1, "clicks", [click(n, f"c{n}", 1, n=n, text=text) for n, text in enumerate(["red", "blue"])])
        ws.vectors.follow()
        asked = {"customer": [None, "c1", "c0", None], "question": ["blue red", "blue", "red", " "]}
        online = ws.get_online_features(["said"], asked).to_polars()
        assert online["said_rows"].to_list() == [2, 1, 1, 0]
        assert online["said"].to_list() == [0.5, 0.0, 1.0, None]
        spine = pl.DataFrame(asked).with_columns(timestamp=pl.lit(at(1)).cast(pl.Datetime("us", "UTC")))
        assert ws.get_historical_features(spine, ["said"]).drop("timestamp").equals(online, null_equal=True)


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        (lambda clicks, spending: clicks["text"].mean(), "needs numbers and got String"),
        (lambda clicks, spending: clicks["nothing"].mean(), "no column 'nothing'"),
        (lambda clicks, spending: clicks["v"].count(), "the vectors themselves"),
        (lambda clicks, spending: spending["nothing"].mean(), "no feature 'nothing'"),
        (lambda clicks, spending: (spending["last"] > "a").mean(), "cannot be computed"),
        (lambda clicks, spending: clicks["n"].last(), "not in"),
        (lambda clicks, spending: clicks["n"].mean(window="1d"), "has a window"),
        (lambda clicks, spending: clicks.time_since_last(window="1d"), "has a window"),
        (lambda clicks, spending: clicks["n"], "is a column, not an aggregate"),
        (lambda clicks, spending: 3, "is 3, not an aggregate"),
    ],
)
def test_what_neighbours_do_not_have_is_refused(ws, feature, said):
    with pytest.raises(tm.TinyMLOpsError, match=said):
        ws.apply(defined(feature=feature))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": 0}, "k=0 is not a number of neighbours"),
        ({"k": 10**6}, "k=1000000 is not"),
        ({"k": True}, "k=True is not"),
        ({"of": ""}, "of='' is not the name"),
        ({"of": "customer"}, "is the key of embedding 'near'"),
        ({"embedding": "near"}, "'near' is not an embedding"),
    ],
)
def test_what_cannot_be_declared_is_refused(options, said):
    project = defined()
    asked = {"embedding": project.definitions["near"]} | options
    with pytest.raises(tm.DefinitionError, match=said):
        project.nearest(asked.pop("embedding"), **asked)


def test_names_that_mean_nothing_are_refused(ws):
    project = defined()

    @project.nearest(project.definitions["near"], k=1)
    def odd(nothing: tm.Rows) -> tm.Features:
        return {"y": nothing["n"].mean()}

    with pytest.raises(tm.NotFoundError, match="'nothing', which is neither 'clicks'"):
        ws.apply(project)
    project = defined()

    @project.nearest(project.definitions["each"], k=1)
    def alone(spending: tm.Rows) -> tm.Features:
        return {"y": spending["last"].mean()}

    with pytest.raises(tm.DefinitionError, match="'each' has no entity"):
        ws.apply(project)
    with pytest.raises(tm.DefinitionError, match="must take parameters hinted tm.Rows"):

        @project.nearest(project.definitions["near"])
        def bare(clicks: int) -> tm.Features:
            return {}


def test_requests_that_cannot_be_compared_are_refused(ws):
    ws.apply(defined())
    with pytest.raises(tm.DataError, match="embedding 'texts' has no vectors yet"):
        ws.get_online_features(["said"], ASKED)
    nothing = ws.get_online_features(["around", "like_me"], ASKED).to_polars()
    assert nothing["rows"].to_list() == nothing["others"].to_list() == [0, 0, 0]
    told(ws, 1, "clicks", [click(1, "a", 1, n=1, v=[1.0, 2.0])])
    for place, said in [([1.0], "it has 1 numbers"), ([1.0, math.nan], "a NaN"), ("a", "vectors of its own")]:
        with pytest.raises(tm.DataError, match=said):
            ws.get_online_features(["around"], [{"customer": "a", "place": place}])
    with pytest.raises(tm.DataError, match="no column 'customer', a request field"):
        ws.get_online_features(["around"], [{"place": [1.0, 2.0]}])
    with pytest.raises(tm.DataError, match="is Int64 in the spine \\('customer'\\) and String in the features"):
        ws.get_online_features(["like_me"], [{"customer": 3}])


def test_a_training_set_that_would_take_too_long_is_refused_with_an_estimate(ws, monkeypatch):
    filled(ws, hours=12)
    monkeypatch.setattr(compared, "_MOST_PRODUCTS", 10)
    with pytest.raises(tm.DataError, match="would take about"):
        ws.get_training_data("sales")
    monkeypatch.setattr(compared, "_MOST_FOUND", 10)
    with pytest.raises(tm.DataError, match="12 rows with 2 neighbours each are 24 neighbours") as caught:
        ws.get_training_data("sales")
    assert "5 rows at a time" in caught.value.hint
