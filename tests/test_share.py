"""`share`: what a file that is handed on holds, and above all what it does not hold."""

import base64
import hashlib
import json
import re
import socket
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import msgspec
import polars as pl
import pytest
from browsing import AXE, SERIOUS, Looker, chromium
from network import some
from sklearn.dummy import DummyClassifier

import tinymlops as tm
from tinymlops.errors import DataError, NotFoundError

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)></style>\"'&{{7*7}}\u202e"
NAME = "<script>alert(1)</script><img src=x onerror=alert(1)>"
"""The same of a name, which cannot hold everything."""
READ = HOSTILE.replace("\u202e", r"\u202e")
"""The same as a person reads it: what would turn the direction of writing is written out."""
NOW = datetime(2024, 2, 1, tzinfo=UTC)
HOST = "build-host-77"
PEOPLE = [f"person{number}@secret.example" for number in range(12)]
HIDDEN = (
    "secret.example",
    "Hiddenville",
    "Feeling-",
    "hunter2hunter2",
    "ana-the-author",
    "Zoe Quiet",
    "topsecretvalue",
)
"""Parts of values of rows, of what was typed, printed and raised, and of places: in no file without rows."""
KINDS = {"run": "run:train", "model": "grow@champion", "build": "training_set:growth"}
TAGS = set(
    re.findall(
        r"\w+",
        "html head meta title link style body main header footer section div span p h1 h2 h3 table thead tbody tr th td dl dt dd "
        "ul li time strong code details summary figure figcaption svg path rect text br blockquote img pre",
    )
)
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def hours(count, step):
    return [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=step * number) for number in range(count)]


def project():
    """Letters of people, whose text features and label have values that tell who somebody is."""
    made = tm.Project("post")
    person = made.entity("person", key="person")
    number = pl.int_range(240, eager=True)
    who = [PEOPLE[one % len(PEOPLE)] for one in range(240)]

    @made.source(timestamp="at", id="letter")
    def letters() -> pl.DataFrame:
        city = [f"Hiddenville-{one % 3}" for one in range(240)]
        mood = [f"Feeling-{one % 3}" for one in range(240)]
        frame = {"letter": number, "person": who, "at": hours(240, 1), "weight": number * 1.2345, "city": city}
        return pl.DataFrame({**frame, "mood": mood})

    @made.source(timestamp="at", id="visit")
    def visits() -> pl.DataFrame:
        return pl.DataFrame({"visit": number[:120], "person": who[:120], "at": hours(120, 2)})

    @made.feature_view(entity=person, owner=f"team {HOSTILE}")
    def habits(letters: tm.Rows) -> tm.Features:
        return {"weight": letters["weight"].last(), "city": letters["city"].last()}

    @made.label(entity=person, horizon="1d")
    def mood(letters: tm.Rows) -> tm.Label:
        return letters["mood"].last()

    made.training_set("growth", spine=visits, label=mood, features=[habits])
    return made


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    place = tmp_path_factory.mktemp("ana-the-author") / "<img src=x onerror=alert(1)>.tm"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POST_TOKEN", "topsecretvalue-1234")
        patch.setattr("socket.gethostname", lambda: HOST)
        with tm.connect(place, create=True, clock=tm.ReplayClock(NOW)) as ws:
            fill(ws)
            yield ws


def fill(ws):
    ws.apply(project(), message=HOSTILE)
    ws.ingest()
    data = ws.get_training_data("growth")
    params = {
        NAME: 1,
        "who": PEOPLE[0],
        "name": "Zoe Quiet",
        "api_key": "hunter2hunter2",
        "solver": "lbfgs",
        "depth": 3,
    }
    notes = f"{HOSTILE} read /home/ana-the-author/in/x.csv on {HOST} with topsecretvalue-1234"
    with ws.start_run("train", data=data, params=params, tags={"who": "Zoe Quiet", NAME: "x"}, notes=notes) as run:
        print(f"first row: {PEOPLE[0]}")
        run.log_metrics({NAME: 0.25})
        for step in range(3_000):
            run.log_metric("loss", 1 / (step + 1), step=step)
        run.log_artifact(f"{NAME.replace('/', '-')}.png", PIXEL)
        run.log_text("rows.txt", PEOPLE[0])
        run.log_model(DummyClassifier().fit(data.train.X, data.train.y))
    ws.register_model("grow", run=run, alias="champion")
    ws.catalog.note("grow@v1", f"better {HOSTILE}", kind="model")
    ws.materialize()
    ws.predict("grow@champion", [{"person": PEOPLE[0]}], sync=True)
    with pytest.raises(ValueError, match="not a"), ws.start_run("broken", parent=run):
        raise ValueError(f"{PEOPLE[1]} is not a number")


@pytest.fixture(scope="module")
def files(ws, tmp_path_factory):
    """Kind to the file of it: without rows, and with them."""
    place = tmp_path_factory.mktemp("shared")
    found = {kind: place / f"{kind}.html" for kind in (*KINDS, "broken")}
    told = {kind: ws.share(KINDS.get(kind, "broken"), path) for kind, path in found.items()}
    assert [one.kind for one in told.values()] == ["run", "model", "build", "run"]
    assert all(one.bytes == one.path.stat().st_size for one in told.values())
    for kind, path in list(found.items()):
        found[f"{kind} with rows"] = path.with_stem(f"{kind}-rows")
        assert ws.share(KINDS.get(kind, "broken"), found[f"{kind} with rows"], rows=True).rows
    return found


class Reading(HTMLParser):
    """What a file is made of.

    Attributes:
        tags: Each with its attributes.
        text: What a person may read.
    """

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.sheet, self._in = [], "", "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in = tag
        self.text += " "

    def handle_data(self, data):
        if self._in == "style":
            self.sheet += data
            self._in = ""
        else:
            self.text += data


@pytest.mark.parametrize("kind", [*KINDS, "broken"])
def test_without_rows_nothing_of_a_row_or_of_this_machine_is_in_a_file(files, kind):
    text = files[kind].read_text()
    assert [one for one in HIDDEN if one.lower() in text.lower()] == []
    assert HOST not in text
    assert str(files[kind].parent) not in text
    assert "It holds no rows" in text


def test_with_rows_they_are_and_secrets_and_places_are_not(files):
    for kind in KINDS:
        text = files[f"{kind} with rows"].read_text()
        assert "It holds values of rows" in text
        assert "secret.example" in text, kind
        assert [one for one in ("hunter2hunter2", "ana-the-author", "topsecretvalue") if one in text] == []
        assert HOST not in text
    run, model, build = (files[f"{kind} with rows"].read_text() for kind in KINDS)
    assert "Zoe Quiet" in run
    assert f"first row: {PEOPLE[0]}" in run
    assert "data:image/png;base64," + base64.b64encode(PIXEL).decode() in run
    assert "Feeling-0, Feeling-1, Feeling-2" in model
    assert "Hiddenville-0" in model
    assert "its content is what it was" in build
    assert "person1@secret.example is not a number" in files["broken with rows"].read_text()
    assert "ValueError" in files["broken"].read_text()


def test_a_file_is_one_whole_that_loads_and_runs_nothing(files):
    for path in files.values():
        text = path.read_text()
        found = Reading(text)
        assert {tag for tag, _ in found.tags} <= TAGS
        for tag, attributes in found.tags:
            assert not {one for one in attributes if one.startswith("on") or one in ("style", "srcset", "action")}
            for name in ("href", "src"):
                assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
        (policy,) = [one["content"] for tag, one in found.tags if one.get("http-equiv") == "Content-Security-Policy"]
        digest = base64.b64encode(hashlib.sha256(found.sheet.encode()).digest()).decode()
        parts = [
            "default-src 'none'",
            f"style-src 'sha256-{digest}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
        assert policy.split("; ") == parts
        assert text.count("<style") == 1
        assert not re.search(r"url\(|@import", found.sheet)


def test_hostile_texts_are_text(files):
    for kind in KINDS:
        for name in (kind, f"{kind} with rows"):
            found = Reading(files[name].read_text())
            assert READ in found.text, name
            assert "<img src=x onerror=alert(1)>.tm" in found.text  # the name of the workspace
    text = Reading(files["run"].read_text()).text
    assert text.count(NAME) == 4  # notes, a param, a tag, a metric
    assert NAME.replace("/", "-") in text


def test_a_run_tells_what_it_was_given_and_what_came_of_it(files, ws):
    told = " ".join(Reading(files["run"].read_text()).text.split())
    assert "who a text, left out" in told
    assert "solver lbfgs" in told
    assert "depth 3" in told
    assert "api_key <secret>" in told
    assert re.search(r"loss [\d,]+ of 3,000 points", told)
    build = ws.runs.get("train").training_set
    assert f"growth, 108 rows {build[:12]}" in told
    assert "grow v1" in told
    assert "broken" in told
    assert "rows.txt" in told
    assert "2024-02-01 00:00:00 UTC" in told
    assert f"by tinymlops {tm.__version__}" in told


def test_a_model_tells_what_it_reads_and_where_its_aliases_pointed(files):
    told = " ".join(Reading(files["model"].read_text()).text.split())
    assert "multiclass: 3 classes, whose names are left out" in told
    assert "3 values, the most frequent in" in told
    assert f"team {READ}" in told
    assert "champion v1 promoted" in told
    assert f"better {READ}" in told
    assert "person (String, key)" in told


def test_a_build_tells_what_was_left_out_and_how_to_prove_it(files, ws):
    told = " ".join(Reading(files["build"].read_text()).text.split())
    build = ws.runs.get("train").training_set
    assert "Spine 120 all rows of visits" in told
    assert "Immature 12" in told
    assert f"tinymlops verify {build[:12]}" in told
    assert "grow v1" in told


def test_a_name_is_looked_for_as_a_model_then_a_build_then_a_run(ws, tmp_path):
    file = tmp_path / "x.html"
    run = ws.runs.get("train")
    for reference, kind in {
        "grow": "model",
        "grow:1": "model",
        "grow@v1": "model",
        "model:grow@latest": "model",
        "growth": "build",
        run.training_set[:8]: "build",
        f"build:{run.training_set}": "build",
        run.id: "run",
        run.id[:10]: "run",
    }.items():
        assert ws.share(reference, file).kind == kind, reference
    with ws.start_run("growth") as other:
        pass
    assert ws.share("growth", file).kind == "build"
    assert ws.share("run:growth", file).id == other.id
    assert ws.share(other, file).id == other.id
    assert ws.share(ws.reproduce("growth"), file).id == run.training_set


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("grwo", "did you mean 'grow'"),
        ("grow@v9", ""),
        ("grow@nobody", "champion"),
        ("run:nothing", ""),
        ("0123456789", ""),
        ("", ""),
    ],
)
def test_what_is_not_there_is_said(ws, tmp_path, reference, told):
    with pytest.raises(NotFoundError) as caught:
        ws.share(reference, tmp_path / "x.html")
    assert told.lower() in (caught.value.hint or "").lower()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_written_whole_or_not_at_all(ws, tmp_path):
    with pytest.raises(DataError, match="not the name of a page"):
        ws.share("grow", tmp_path / "model.pkl")
    with pytest.raises(NotFoundError, match="no directory"):
        ws.share("grow", tmp_path / "no" / "x.html")
    (tmp_path / "d.html").mkdir()
    with pytest.raises(DataError, match="is a directory"):
        ws.share("grow", tmp_path / "d.html")
    file = tmp_path / "x.HTML"
    file.write_text("before")
    ws.share("grow", file)
    assert file.read_text().startswith("<!doctype html>")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["d.html", "x.HTML"]


def test_a_failed_write_leaves_what_was_there(ws, tmp_path, monkeypatch):
    file = tmp_path / "x.html"
    file.write_text("before")
    monkeypatch.setattr("tinymlops.stores.file_output.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(tm.TinyMLOpsError, match="is full; nothing was written"):
        ws.share("grow", file)
    assert file.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["x.html"]


# In a browser


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


LOOKS = [
    (kind, width, scheme) for kind in KINDS for width in ("wide", "tablet", "phone") for scheme in ("light", "dark")
]


@pytest.mark.parametrize(
    ("kind", "width", "scheme"),
    some(LOOKS, ("run", "phone", "dark"), ("model", "wide", "light"), ("build", "phone", "light")),
)
def test_a_file_opens_whole_and_keeps_nobody_out(browser, files, kind, width, scheme):
    for name in (kind, f"{kind} with rows"):
        with Looker(browser, files[name].as_uri(), width=width, scheme=scheme) as looker:
            looker.page.goto(files[name].as_uri(), wait_until="load")
            assert READ in looker.text()
            assert not looker.overflows()
            assert looker.serious() == []
            colour = looker.page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert colour == (
                "rgb(251, 250, 248)" if scheme == "light" else "rgb(20, 23, 26)"
            )  # so the sheet was allowed
            assert looker.wrong == []
            looker.page.set_viewport_size({"width": 700, "height": 1000})  # of A4, without its margins
            looker.page.emulate_media(media="print")
            assert not looker.overflows()


def test_its_policy_runs_no_script_and_asks_for_nothing(browser, files):
    with socket.create_server(("127.0.0.1", 0)) as listening, Looker(browser, files["run"].as_uri()) as looker:
        listening.settimeout(0.1)
        looker.page.goto(files["run"].as_uri())
        looker.page.evaluate(
            "port => { const made = ['script', 'img'].map(one => document.createElement(one)); document.body.append(...made);"
            " made[0].append('window.ran = 1'); made[1].src = `http://127.0.0.1:${port}/x`; }",
            listening.getsockname()[1],
        )
        with pytest.raises(TimeoutError):
            listening.accept()
        assert looker.page.evaluate("window.ran") is None
        assert sum("Content Security Policy" in one for one in looker.wrong) == 2


# In a notebook


def test_show_tells_what_a_notebook_and_a_terminal_show(ws):
    shown = ws.show()
    text = str(shown)
    assert "<img src=x onerror=alert(1)>.tm at 2024-02-01 00:00:00 UTC" in text
    assert re.search(r"failed +broken +run", text)
    assert re.search(r"grow@v1 +now", text)
    assert re.search(r"letters +now", text)
    assert repr(shown) == text
    html = shown._repr_html_()
    found = Reading(html)
    assert {tag for tag, _ in found.tags} == {
        "div",
        "style",
        "p",
        "h3",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "span",
    }
    assert "<img src=x onerror=alert(1)>.tm" in found.text
    assert '<span class="state bad">failed</span>' in html


def test_show_says_where_there_is_nothing_yet(tmp_path):
    with tm.connect(tmp_path / "new.tm", create=True) as ws:
        text = str(ws.show())
    assert "Nothing here yet" in text
    assert "No model is champion yet." in text


def outputs(ws):
    """Everything of ours that a notebook shows, as one page."""
    run = ws.start_run("notebook", params={"p": HOSTILE})
    run.finish()
    data = ws.reproduce("growth")
    shown = [
        *(ws.show(), data, run, ws.load_model("grow"), ws.predict("grow", [{"person": PEOPLE[0]}])),
        *(ws.get_online_features(["habits"], [{"person": PEOPLE[0]}]), ws.status(), ws.plan(project()), ws.lint()),
        *(ws.search("letters"), ws.docs("letters"), ws.lineage("letters"), ws.monitor("grow"), ws.checks),
        ws.compare(["train", "broken"]),
    ]
    return [one._repr_html_() for one in shown]


def test_every_output_brings_the_same_rules_and_touches_nothing_else(ws):
    rules = set()
    for html in outputs(ws):
        assert html.startswith('<div class="tinymlops"><style>')
        assert html.endswith("</div>")
        assert html.count("<style") == 1
        assert not {tag for tag, _ in Reading(html).tags} & {"script", "img", "link"}
        rules.add(Reading(html).sheet)
    (sheet,) = rules
    selectors = re.findall(r"(?:^|\})([^{}]+)\{", sheet)
    assert len(selectors) > 15
    assert all(one.startswith(":is(#tinymlops-output,.tinymlops)") for one in selectors)


THEMES = {"light": ("#ffffff", "rgba(0,0,0,.87)"), "dark": ("#111111", "rgba(255,255,255,.87)")}


@pytest.mark.parametrize("theme", THEMES)
def test_outputs_suit_a_notebook_with_rules_of_its_own(browser, ws, tmp_path, theme):
    paper, ink = THEMES[theme]
    of_jupyter = (
        f"body{{background:{paper};color:{ink};font-family:sans-serif}} .jp td,.jp th{{text-align:right;padding:.5em}}"
        ".jp thead{border-bottom:1px solid} .jp tbody tr:nth-child(odd){background:rgb(9,9,9)} .jp table{table-layout:fixed}"
    )
    parts = "".join(f"<section class='jp'>{html}</section>" for html in outputs(ws))
    page = tmp_path / "notebook.html"
    page.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>notebook</title><style>{of_jupyter}</style><main>"
        f"<h1>x</h1><section class=jp><table id=other><tbody><tr><td>other</table></section>{parts}</main>"
    )
    with Looker(browser, page.as_uri()) as looker:
        looker.page.goto(page.as_uri())
        assert looker.page.evaluate("getComputedStyle(document.querySelector('#other td')).textAlign") == "right"
        assert looker.page.evaluate("getComputedStyle(document.querySelector('.tinymlops td')).textAlign") == "left"
        found = "[...document.querySelectorAll('.tinymlops tr')].map(one => getComputedStyle(one).backgroundColor)"
        assert set(looker.page.evaluate(found)) == {"rgba(0, 0, 0, 0)"}
        looker.page.evaluate(AXE)
        contrast = looker.page.evaluate("axe.run('.tinymlops', {runOnly: ['color-contrast']})")["violations"]
        assert [node["html"] for one in contrast if one["impact"] in SERIOUS for node in one["nodes"]] == []
        assert looker.wrong == []


def test_the_answer_of_the_command_is_what_was_written(ws, tmp_path):
    told = ws.share("grow", tmp_path / "x.html")
    assert str(told).startswith("model grow@v1, without rows, ")
    assert json.loads(msgspec.json.encode(told, enc_hook=str))["kind"] == "model"
