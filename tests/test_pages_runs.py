"""The pages of runs: the list with its searches and groups, one run with its curves and files, and runs side by side."""

import json
import math
import re
from html import unescape
from types import SimpleNamespace

import numpy as np
import pytest
from litestar.testing import TestClient
from test_server import LOCAL

import tinymlops as tm
from tinymlops.display.curve_pictures import Axis, curve_svg, parallel_svg
from tinymlops.registry.runs.points import points_of
from tinymlops.server.pages.runs import one
from tinymlops.server.pages.runs.columns import column_of_key, columns_of, differing, field_text
from tinymlops.server.pages.runs.curves import draw

NAME = "<img src=x onerror=alert(1)>'&{{7*7}}"
VALUE = '<script>alert(1)</script>"\\\u202e' + NAME
QUIET = {"system": False, "console": False, "patch": False}


@pytest.fixture
def client(workspace):
    with TestClient(tm.create_app(workspace), base_url=LOCAL) as client:
        client.follow_redirects = False
        yield client


def log(ws, name="tree", *, metrics=None, **options):
    with ws.start_run(name, **QUIET, **options) as run:
        for metric, values in (metrics or {}).items():
            for value in values:
                run.log_metric(metric, value)
    return run.id


def names_in(page):
    """Return the names of the runs of a list, in order."""
    return [unescape(one) for one in re.findall(r'<th scope="row"><a href="[^"]*/runs/[0-9a-f]{32}">([^<]*)</a>', page)]


def heads_in(page):
    return re.findall(r'<th scope="col"[^>]*>(?:<a [^>]*>)?([^<]*)', page)


def text_of(page):
    return unescape(re.sub(r"<[^>]*>", " ", page))


def test_runs_are_found_sorted_by_their_best_value_and_the_last_is_not_what_counts(workspace, client):
    log(workspace, "fell", metrics={"auc": [0.9, 0.2]})
    log(workspace, "rose", metrics={"auc": [0.5, 0.8]}, params={"depth": 3})
    log(workspace, "without")
    assert names_in(client.get("/runs").text) == ["without", "rose", "fell"]
    page = client.get("/runs", params={"order": "-metrics.auc.best"}).text
    assert names_in(page) == ["fell", "rose", "without"]
    assert 'aria-sort="descending"' in page
    assert "0.9" in text_of(page)
    assert names_in(client.get("/runs", params={"q": "params.depth = 3 or metrics.auc < 0.3"}).text) == ["rose", "fell"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"q": "metrics.auc >"}, "cannot be read"),
        ({"q": "metrics.ouc > 1"}, "did you mean 'auc'"),
        ({"q": VALUE}, "cannot be read"),
        ({"order": "nothing"}, "The newest come first"),
        ({"by": "metrics.auc"}, "runs are not grouped by metrics.auc"),
        ({"by": "params.depth", "metric": "ouc"}, "auc"),
        ({"by": '"'}, "by-help"),
        ({"q": "a" * 20_000}, "These are all runs"),
        ({"q": "\0"}, "character of code 0"),
    ],
)
def test_what_cannot_be_read_is_said_beside_its_field_and_the_runs_are_shown(workspace, client, query, said):
    log(workspace, metrics={"auc": [0.5]}, params={"depth": 1})
    if "ouc" in query.get("q", ""):
        log(workspace, metrics={"auc": [2.0]})
    answer = client.get("/runs", params=query)
    assert answer.status_code == 200
    assert said in text_of(answer.text) or said in answer.text
    assert "alert(1)>" not in answer.text
    assert names_in(answer.text) == ([] if "ouc" in query.get("q", "") else ["tree"])


def test_columns_are_chosen_and_only_those_that_differ_are_kept(workspace, client):
    for seed in range(3):
        log(workspace, metrics={"loss": [math.nan], "auc": [0.1 * seed]}, params={"seed": seed, "rate": 0.1, "a b": 1})
    page = client.get("/runs").text
    assert {"auc", "loss", "seed", "rate", "a b"} <= set(heads_in(page))
    page = client.get("/runs", params={"differs": "1"}).text
    assert {"auc", "seed"} <= set(heads_in(page))
    assert not {"loss", "rate", "a b"} & set(heads_in(page))
    page = client.get("/runs", params={"column": ["params.a b", "tags.none", "nonsense"]}).text
    assert {"a b", "none"} <= set(heads_in(page))
    assert not {"auc", "nonsense"} & set(heads_in(page))
    order = unescape(re.search(r'href="([^"]*)" title="params">a b', page)[1])
    assert client.get(order).status_code == 200
    assert "There is no such field" not in client.get(order).text
    assert 'aria-sort="ascending"' in client.get(order).text


def test_a_hundred_runs_are_a_page_and_rows_come_alone(workspace, client):
    for number in range(103):
        workspace.runs.start(f"run-{number}", patch=False, origin="test", group=f"group-{number}")
    first = client.get("/runs").text
    assert (len(names_in(first)), names_in(first)[0]) == (100, "run-102")
    following = unescape(re.search(r'rel="next" href="([^"]*)"', first)[1])
    assert names_in(client.get(following).text) == ["run-2", "run-1", "run-0"]
    rows = client.get("/runs/rows", params={"first": 100, "q": "name like 'run-%'"}).text
    assert names_in(rows) == ["run-2", "run-1", "run-0"]
    assert "<html" not in rows
    assert 'aria-rowindex="102"' in rows
    for first in (-5, 10**9):
        assert client.get("/runs", params={"first": first}).status_code == 200
    assert "and 3 more groups" in text_of(client.get("/runs", params={"by": "group"}).text)


def test_seeds_are_a_group_with_its_mean_and_interval(workspace, client):
    for group, shift in (("a", 0.0), ("b", 10.0)):
        for seed, value in enumerate((1.0, 2.0, 3.0)):
            log(workspace, group=group, params={"seed": seed}, metrics={"score": [value + shift]})
    text = text_of(client.get("/runs", params={"by": "group"}).text)
    # t(0.975; 2) / sqrt(3) = 2.484
    assert re.search(r"a\s+3\s+2\s+-0\.484 … 4\.48", text)
    assert re.search(r"b\s+3\s+12\s+9\.52 … 14\.5", text)


def test_groups_are_of_what_a_column_of_their_name_shows(workspace, client):
    for best in (0.9, 0.8):
        log(workspace, group="a", metrics={"auc": [best, 0.1], "loss": [math.nan]})
    text = re.sub(r"\s+", " ", text_of(client.get("/runs", params={"by": "group"}).text))
    assert "of a metric the best value" in text
    assert "auc interval loss interval a 2 0.85 0.215 … 1.49" in text
    assert "2 values are NaN" in text
    for metric, head, mean in (
        ("auc", "auc.last", "0.1"),
        ("auc.best", "auc.best", "0.85"),
        ("auc.count", "auc.count", "2"),
    ):
        text = re.sub(r"\s+", " ", text_of(client.get("/runs", params={"by": "group", "metric": metric}).text))
        assert f"Group Runs {head} interval a 2 {mean} " in text


def test_nobody_knows_how_long_a_lost_run_took(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.start_run("gone", **QUIET)
    with tm.connect(tmp_path / "shop.tm") as ws, TestClient(tm.create_app(ws), base_url=LOCAL) as client:
        file = ws.share("gone", tmp_path / "gone.html").path.read_text(encoding="utf-8")
        for page in (client.get("/runs/gone").text, file):
            assert re.search(r"State\s+lost\s.*Took\s+\u2013", text_of(page), re.DOTALL)
        with ws.start_run("goes-on", **QUIET):
            file = ws.share("goes-on", tmp_path / "on.html").path.read_text(encoding="utf-8")
            assert "it goes on" in file
            assert re.search(r"State\s+running\s.*Took\s+\d", text_of(client.get("/runs/goes-on").text), re.DOTALL)


def test_a_page_draws_only_the_curves_that_it_shows(workspace, client, monkeypatch):
    run = log(workspace, metrics={f"m{number:02}": [0.0, 1.0] for number in range(20)})
    drawn = []
    monkeypatch.setattr(one, "draw", lambda ws, summary: drawn.append(summary.name) or draw(ws, summary))
    page = client.get(f"/runs/{run}").text
    assert (page.count('<figure class="curve"'), "6 of 20" in page, len(drawn)) == (6, True, 6)


@pytest.mark.parametrize(("metric", "told"), [("loss", "4 values are NaN"), ("loss.best", "By params.a")])
def test_groups_by_a_metric_that_is_a_number_nowhere_have_no_best(workspace, metric, told):
    runs = [log(workspace, params={"a": number % 2}, metrics={"loss": [math.nan]}) for number in range(4)]
    groups = workspace.compare(runs, by="params.a", metric=metric)
    with pytest.raises(tm.DataError, match="there is no best one"):
        groups.best()
    assert [one.metrics[metric].mean for one in groups.groups] == [None, None]
    assert "best of" not in repr(groups)
    with pytest.raises(tm.DataError, match="there is no best one"):
        workspace.compare(runs).best(metric)
    with TestClient(tm.create_app(workspace), base_url=LOCAL) as client:
        answer = client.get("/runs", params={"by": "params.a", "metric": metric})
    assert (answer.status_code, told in text_of(answer.text)) == (200, True)


def test_texts_of_users_are_shown_as_text(workspace, client):
    run = log(
        workspace, NAME, experiment=NAME, group=NAME, params={NAME: VALUE}, tags={NAME: VALUE}, notes=VALUE,
        metrics={NAME: [1.0, math.nan, math.inf]},
    )  # fmt: skip
    other = log(workspace, NAME, params={NAME: "else"}, metrics={NAME: [2.0, 3.0]})
    for kind in ("svg", "html", "txt"):
        workspace.runs.log_artifact(run, f"{NAME}.{kind}", VALUE.replace("\u202e", "").encode())
    paths = {
        "/runs": {"column": [f"params.{NAME}"], "by": f'params."{NAME}"', "q": f'name = "{NAME}"'},
        f"/runs/{run}": {},
        f"/runs/{run}/metric": {"name": NAME},
        "/runs/compare": {"run": [run, other], "whole": 1},
        f"/runs/{run}/text": {"name": f"{NAME}.txt"},
        "/runs/rows": {"column": [f"metrics.{NAME}"]},
        "/runs/nothing": {},
    }
    for path, query in paths.items():
        answer = client.get(path, params=query)
        assert answer.status_code in (200, 404), path
        assert "<img src=x" not in answer.text, path
        assert "<script>alert" not in answer.text, path
        assert "{{7*7}}" in answer.text, path
        assert "\u202e" not in answer.text, path


@pytest.mark.parametrize(
    ("name", "content", "kind", "how"),
    [
        ("page.html", b"<script>alert(1)</script>", "application/octet-stream", "attachment"),
        ("a/b/x.SVG", b"<svg onload='alert(1)'/>", "application/octet-stream", "attachment"),
        ("roc.png", b"\x89PNG\r\n\x1a\nrest", "image/png", "inline"),
        ("photo.JPG", b"\xff\xd8\xffrest", "image/jpeg", "inline"),
        ("fake.png", b"<script>alert(1)</script>", "application/octet-stream", "attachment"),
        ("notes.txt", b"<b>bold</b>", "application/octet-stream", "attachment"),
        ("naïve '; x.bin", b"\x00", "application/octet-stream", "attachment"),
    ],
)
def test_a_file_is_a_download_unless_it_is_a_picture_of_pixels(workspace, client, name, content, kind, how):
    run = log(workspace)
    workspace.runs.log_artifact(run, name, content)
    answer = client.get(f"/runs/{run}/file", params={"name": name})
    assert (answer.content, answer.headers["content-type"]) == (content, kind)
    assert answer.headers["content-disposition"].startswith(f"{how}; filename*=UTF-8''")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    page = client.get(f"/runs/{run}").text
    assert ("<img class" in page) == name.lower().endswith(("png", "jpg"))


def test_a_text_is_read_and_a_run_says_what_it_was_made_with(workspace, client):
    parent = log(workspace, "parent")
    with workspace.start_run("child", parent=parent, system=False, patch=False) as run:
        run.log_metric("val/loss", 0.5)
    workspace.runs.log_artifact(run.id, "log.txt", b"<b>bold</b> \xff")
    assert "&lt;b&gt;bold&lt;/b&gt; \ufffd" in client.get(f"/runs/{run.id}/text?name=log.txt").text
    assert client.get(f"/runs/{run.id}/text?name=none.txt").status_code == 404
    assert "child" in client.get(f"/runs/{parent}").text
    assert f"/runs/{parent}" in client.get(f"/runs/{run.id}").text
    assert client.get(f"/runs/{run.id}/console").headers["content-disposition"].startswith("attachment")
    assert client.get(f"/runs/{run.id}/patch").headers["content-disposition"].startswith("attachment")


def test_a_curve_says_how_many_of_its_points_it_shows_and_a_closer_look_shows_all(workspace, client):
    run = log(workspace)
    steps = np.arange(50_000, dtype=float)
    values = np.zeros(50_000)
    values[31_234] = 7.0
    workspace.runs.log_points(run, {"loss": points_of(steps, values, np.arange(50_000), 0)})
    whole = client.get(f"/runs/{run}/curve", params={"name": "loss", "pixels": 200}).json()["series"][0]
    assert whole["total"] == 50_000
    assert whole["shown"] == len(whole["x"]) <= 800
    assert 7.0 in whole["y"], "no spike is lost"
    near = {"name": "loss", "start": 31_200, "stop": 31_299}
    close = client.get(f"/runs/{run}/curve", params=near).json()["series"][0]
    assert (close["shown"], close["total"]) == (100, 100)
    page = client.get(f"/runs/{run}/metric", params=near).text
    assert "100 of 100" in text_of(page)
    assert "31200" in text_of(page)
    second = client.get(f"/runs/{run}/metric", params={**near, "first": 50}).text
    assert "31250" in text_of(second)
    assert "of 50,000 here" in text_of(client.get(f"/runs/{run}/metric?name=loss").text)
    assert client.get(f"/runs/{run}/metric?name=lass").status_code == 404
    assert client.get(f"/runs/{run}/curve?name=loss&pixels=-3").status_code == 200


def test_steps_and_whole_parts_are_never_rounded(workspace, client):
    run = log(workspace, metrics={"rows": [4_000_000.0], "price": [123_456.5]})
    workspace.runs.log_points(
        run, {"auc": points_of(np.array([0.0, 123_456.0, 1_200_001.5]), np.array([0.5, 0.9, 0.8]), np.arange(3), 0)}
    )
    page = client.get(f"/runs/{run}").text
    text = text_of(page)
    assert "best 0.9 at 123456" in text
    assert "1200001.5</text>" in page
    for number in ("4,000,000", "123,456.5"):
        assert number in text, number
    metric = re.sub(r"\s+", " ", text_of(client.get(f"/runs/{run}/metric?name=auc").text))
    assert "0.8 at step 1200001.5" in metric
    assert "0.9 at step 123456" in metric


def test_values_that_are_not_finite_are_gaps(workspace, client):
    run = log(workspace, metrics={"loss": [1.0, math.nan, math.inf, 2.0], "none": [math.nan, math.nan]})
    content = client.get(f"/runs/{run}/curve?name=loss").text
    assert json.loads(content)["series"][0]["y"] == [1.0, None, None, 2.0]
    page = client.get(f"/runs/{run}").text
    assert len(re.findall(r'<path class="series s1" d="M[^ML]*M[^ML]*"/>', page)) == 1, "two parts, with a gap between"
    assert "There is no finite value to draw" in page
    assert "NaN" in text_of(page)


def test_runs_side_by_side_show_only_what_differs(workspace, client):
    ids = [log(workspace, params={"depth": depth, "rate": 0.1}, metrics={"auc": [0.5, depth / 10]}) for depth in (3, 5)]
    page = client.get("/runs/compare", params={"run": ids}).text
    assert re.search(r"depth\s+(5\s+3|3\s+5)", text_of(page))
    assert not re.search(r"rate\s+0\.1", text_of(page))
    assert re.search(r"rate\s+0\.1\s+0\.1", text_of(client.get("/runs/compare", params={"run": ids, "whole": 1}).text))
    assert page.count('class="series s') >= 4, "two curves, and two lines of parallel coordinates"
    series = client.get("/runs/compare/curve", params={"run": ids, "name": "auc"}).json()["series"]
    assert [one["y"] for one in series] == [[0.5, 0.3], [0.5, 0.5]]
    close = [log(workspace, metrics={"auc": [one]}) for one in (0.81231, 0.81234)]
    assert re.search(r"0\.8123[14]\s+0\.8123[14]", text_of(client.get("/runs/compare", params={"run": close}).text))
    assert client.get("/runs/compare").headers["location"] == "/runs"
    assert client.get("/runs/compare", params={"run": ids[:1]}).headers["location"] == f"/runs/{ids[0]}"
    assert client.get("/runs/compare", params={"run": [ids[0], "gone"]}).status_code == 404


def test_many_runs_side_by_side_are_rows(workspace, client):
    ids = [log(workspace, f"run-{i}", params={"depth": i}, metrics={"auc": [0.5, i / 10]}) for i in range(9)]
    page = client.get("/runs/compare", params={"run": ids}).text
    assert len(names_in(page)) == 9
    assert 'class="series quiet"' in page
    assert "are shown" not in page


def test_what_a_comparison_leaves_out_is_counted(workspace, client):
    ids = [
        log(workspace, params={f"p{place:02}": place * run for place in range(1, 41)}, metrics={"auc": [0.5, run / 10]})
        for run in range(13)
    ]
    text = re.sub(r"\s+", " ", text_of(client.get("/runs/compare", params={"run": ids}).text))
    assert "30 of 40 params; up to 6 runs are shown with all" in text
    assert "and 1 more that have it: their curves are not drawn" in text
    assert re.search(r"3\d more that differ have no axis", text)
    text = re.sub(r"\s+", " ", text_of(client.get("/runs/compare", params={"run": ids[:6]}).text))
    assert "params; up to" not in text
    assert "p40 0 40 80 120 160 200" in text or "p40 200 160 120 80 40 0" in text


def test_who_may_not_read_values_sees_no_runs(workspace, client):
    from test_pages_sign_in import sign_in

    run = log(workspace)
    token = workspace.tokens.create("pia", "predictor").token
    sign_in(client, token)
    assert client.get("/").status_code == 200
    assert 'href="/runs"' not in client.get("/").text
    for path in ("/runs", "/runs/rows", f"/runs/{run}", f"/runs/{run}/file?name=x", f"/runs/compare?run={run}"):
        assert client.get(path).status_code == 403


def test_a_field_is_named_so_that_a_search_reads_it():
    from tinymlops.registry.run_search import parse_field

    for name in ("depth", "a b", "a.b", "a`b", "val/loss", "é", "-"):
        assert parse_field(field_text("params", name)).name == name
    assert field_text("params", 'a"b') is None
    assert column_of_key("params.a.b").name == "a.b"
    assert column_of_key("machine.x") is None
    assert column_of_key("params.") is None


def test_what_differs_minds_types_and_nan():
    column = column_of_key("params.x")
    assert differing([column], [[math.nan], [math.nan]]) == []
    assert differing([column], [[1], [True]]) == [0]
    assert differing([column], [[None], [0]]) == [0]


def test_pictures_hold_for_what_is_large_equal_or_missing():
    from tinymlops.registry.runs.curves import Curve

    def curve(*ys):
        return Curve("m", np.arange(len(ys), dtype=float), np.array(ys, float), len(ys))

    assert "NaN" not in str(curve_svg([curve(-1e308, 1e308)])).replace("no finite", "")
    assert "nan" not in str(curve_svg([curve(5, 5, 5)]))
    assert "h2" in str(curve_svg([curve(5)]))
    picture = parallel_svg(
        [Axis("<b>", [1.0, None, math.nan]), Axis("kind", ["a", "<i>", None])], ["x", "<u>", "z"], [0, 1, 2]
    )
    assert "<b>" not in picture
    assert "&lt;b&gt;" in picture
    assert "nan" not in picture


def test_columns_stand_as_people_count():
    names = ["m10", "m2", "m02", "loss", "9" * 5_000, "m²", "é1", ""]
    found = columns_of([SimpleNamespace(metrics=dict.fromkeys(names, 1.0), params={}, tags={})])
    shown = [one.name for one in found]
    assert [one for one in shown if one in ("loss", "m2", "m10")] == ["loss", "m2", "m10"]
    assert sorted(shown) == sorted(names)
