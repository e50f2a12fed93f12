"""The leak linter: each planted leak is found and named, and a sound project is clean."""

import json

import leaky
import polars as pl
import pytest
from command_line import run
from inside import context_of
from leaky import Airline

import tinymlops as tm
from tinymlops.features.definitions.definitions import Definitions
from tinymlops.features.law.leaks import static_findings

GLOBAL_MEAN = "select flight, carrier, landed_at, (select avg(arr_delay) from landings) as planted from landings"


@pytest.fixture
def folder(tmp_path):
    leaky.tables(tmp_path)
    return tmp_path


def linted(folder, project, **options):
    """Apply and ingest a project, and lint it."""
    with tm.connect(folder / "airline.tm", create=True, root=folder) as ws:
        ws.apply(project)
        ws.ingest()
        return ws.lint(**options)


def test_a_sound_project_is_clean(folder):
    report = linted(folder, Airline().done())
    assert (report.findings, report.clean, report.replayed) == ([], True, 200)
    assert str(report) == "nothing found; 1 training set, 200 replayed rows"


def with_static_source(airline):
    @airline.project.source(static=True)
    def means() -> str:
        return "select carrier, avg(arr_delay) as planted from 'data/landings.parquet' group by carrier"

    airline.view("means", "planted")


def with_static_method(airline):
    @airline.project.source(static=True)
    def means() -> str:
        return "select carrier, arr_delay.avg() as planted from 'data/landings.parquet' group by carrier"

    airline.view("means", "planted")


def with_static_row(airline):
    @airline.project.source(static=True)
    def means() -> str:
        row = "avg((to_json(l)->>'arr_delay')::double)"
        return f"select carrier, {row} as planted from 'data/landings.parquet' l group by carrier"

    airline.view("means", "planted")


def with_static_function(airline):
    @airline.project.source(static=True)
    def means() -> pl.DataFrame:
        frame = pl.read_parquet(FOLDER[0] / "data/landings.parquet")
        return frame.group_by("carrier", maintain_order=True).agg(planted=pl.col("arr_delay").mean())

    airline.view("means", "planted")


FOLDER = []


def with_other_time(airline):
    @airline.project.source(timestamp="predicted_at", id="flight")
    def dated() -> str:
        return (
            "select flight, carrier, predicted_at, arr_delay as planted "
            "from 'data/landings.parquet' join 'data/departures.parquet' using (flight, carrier)"
        )

    airline.view("dated", "planted")


def with_group(airline):
    airline.sql(
        "select carrier, min(predicted_at) as began, avg(arr_delay) as planted "
        "from landings join departures using (flight, carrier) group by carrier",
        inputs=("landings", "departures"),
        timestamp="began",
    )


def with_day(airline):
    airline.sql(
        "select carrier, date_trunc('day', landed_at) as day, avg(arr_delay) as planted from landings group by all",
        timestamp="day",
    )


def with_window(airline):
    airline.sql(
        "select flight, carrier, landed_at, avg(arr_delay) over (partition by carrier) as planted from landings",
        timestamp="landed_at",
        id="flight",
    )


def with_lead(airline):
    airline.sql(
        "select flight, carrier, landed_at, lead(arr_delay) over (partition by carrier order by landed_at, flight) as planted "
        "from landings",
        timestamp="landed_at",
        id="flight",
    )


def with_dates_at_their_start(airline):
    @airline.project.source(timestamp="landed_on", date_means="start", tz="UTC")
    def daily() -> str:
        return "select carrier, landed_on, arr_delay from 'data/wide.parquet'"

    airline.view("daily", "arr_delay")


def with_naive_column(airline):
    airline.view("landings", "landed_local")


def with_copy(airline):
    @airline.project.source(timestamp="predicted_at")
    def taxi() -> str:
        return "select flight, predicted_at, arr_delay * 3 as planted from 'data/wide.parquet'"

    airline.view("taxi", "planted", entity=airline.flight)


FOUND_BY_DEFINITION = {
    "static source": (with_static_source, "static-source:delays.planted"),
    "static method": (with_static_method, "static-source:delays.planted"),
    "static row": (with_static_row, "static-source:delays.planted"),
    "static function": (with_static_function, "static-source:delays.planted"),
    "other time": (with_other_time, "other-time:delays.planted"),
    "group without time": (with_group, "group-without-time:delays.planted"),
    "day": (with_day, "time-before-rows:delays.planted"),
    "window": (with_window, "window-ahead:delays.planted"),
    "lead": (with_lead, "window-ahead:delays.planted"),
    "date": (with_dates_at_their_start, "date-at-start:daily.landed_on"),
    "naive column": (with_naive_column, "naive-column:landings.landed_local"),
    "copy": (with_copy, "auc:delays.planted"),
}


@pytest.mark.parametrize("name", FOUND_BY_DEFINITION)
def test_a_planted_leak_is_found(folder, name):
    plant, expected = FOUND_BY_DEFINITION[name]
    FOLDER[:] = [folder]
    airline = Airline()
    plant(airline)
    report = linted(folder, airline.done(), replay=20)
    assert expected in {finding.name for finding in report.findings}
    assert not report.clean
    assert all(finding.fix and finding.message for finding in report.findings)


def global_mean(airline):
    airline.sql(GLOBAL_MEAN, timestamp="landed_at", id="flight")


def shifted(airline):
    def make(landings):
        ordered = landings.sort("landed_at", "flight")
        return ordered.with_columns(planted=pl.col("arr_delay").shift(-1).over("carrier"))

    airline.polars(make, timestamp="landed_at", id="flight")


def filled_backward(airline):
    def make(landings):
        ordered = landings.sort("landed_at", "flight")
        gaps = pl.when(pl.col("arr_delay") > 0).then("arr_delay")
        return ordered.with_columns(planted=gaps.fill_null(strategy="backward"))

    airline.polars(make, timestamp="landed_at", id="flight")


def joined_without_time(airline):
    airline.sql(
        "select flight, carrier, predicted_at, arr_delay as planted from departures join landings using (flight, carrier)",
        inputs=("departures", "landings"),
        timestamp="predicted_at",
        id="flight",
    )


FOUND_BY_REPLAY = {
    "global mean": global_mean,
    "window": with_window,
    "lead": with_lead,
    "day": with_day,
    "shift": shifted,
    "backward": filled_backward,
    "join": joined_without_time,
}


@pytest.mark.parametrize("name", FOUND_BY_REPLAY)
def test_the_replay_names_row_feature_and_record(folder, name):
    airline = Airline()
    FOUND_BY_REPLAY[name](airline)
    report = linted(folder, airline.done(), replay=30)
    (finding,) = [one for one in report.findings if one.rule == "replay"]
    assert (finding.name, finding.level, finding.feature) == ("replay:delays.planted", "leak", "planted")
    assert finding.row.keys() == {"number", "carrier", "time"}
    assert finding.record["source"] == "landings"
    assert finding.record["known_from"] >= finding.row["time"]  # which the row could not know
    assert 0 < finding.rows <= 30
    assert "made" in finding.fix


@pytest.mark.parametrize("dated", ["end", "delay"])
def test_sums_of_days_that_are_dated_at_their_end_are_clean(folder, dated):
    airline = Airline()
    day = "date_trunc('day', landed_at)"
    airline.sql(
        f"select carrier, {day + ' + interval 1 day' if dated == 'end' else day} as day, sum(arr_delay) as planted "
        f"from landings group by carrier, {day}",
        timestamp="day",
        delay=None if dated == "end" else "1d",
    )
    assert linted(folder, airline.done(), replay=40).findings == []


def test_a_sum_of_all_that_is_dated_by_the_latest_row_is_found_for_later_rows_rewrite_it(folder):
    airline = Airline()
    airline.sql(
        "select carrier, max(landed_at) as at, sum(arr_delay) as planted from landings group by carrier", timestamp="at"
    )
    (finding,) = linted(folder, airline.done(), replay=40).findings
    assert finding.name == "replay:delays.planted"
    assert "is None, and" in finding.message


def test_the_running_sum_of_sql_is_clean(folder):
    airline = Airline()
    airline.sql(
        "select flight, carrier, landed_at, sum(arr_delay) over (partition by carrier order by landed_at) as planted "
        "from landings",
        timestamp="landed_at",
        id="flight",
    )
    assert linted(folder, airline.done(), replay=40).findings == []


# What else the linter tells


def test_a_label_without_a_time_is_found_before_it_can_be_applied(folder):
    project = Airline(landings={"timestamp": None, "static": True, "id": None}).done()
    with tm.connect(folder / "airline.tm", create=True, root=folder) as ws:
        report = ws.lint(project=project)
    assert [(one.name, one.level) for one in report.findings] == [
        ("label-without-time:late", "leak"),
        ("unchecked:delays", "warning"),
    ]


def with_outcome_as_request_field(airline):
    @airline.project.on_demand
    def excuse(arr_delay: pl.Expr) -> dict[str, pl.Expr]:
        return {"excuse": arr_delay * 1}

    airline.features.append(excuse)


def test_a_request_field_that_is_the_outcome_is_a_leak(folder):
    airline = Airline(
        spine="select flight, carrier, predicted_at, arr_delay from 'data/landings.parquet' join "
        "'data/departures.parquet' using (flight, carrier)"
    )
    with_outcome_as_request_field(airline)
    report = linted(folder, airline.done(), replay=5)
    (found,) = [one for one in report.findings if one.rule == "feature-of-label"]
    assert (found.name, found.level, found.feature) == ("feature-of-label:delays.excuse.arr_delay", "leak", "arr_delay")


def test_a_source_that_is_read_by_its_final_version_shows_what_was_corrected_later(folder):
    project = Airline(landings={"known": "latest"}).done()
    with tm.connect(folder / "airline.tm", create=True, root=folder) as ws:
        ws.apply(project)
        ws.ingest()
        file = folder / "data" / "landings.parquet"
        frame = pl.read_parquet(file).with_columns(arr_delay=pl.col("arr_delay") + 1)
        frame.write_parquet(file)
        ws.ingest("landings")
        (found,) = ws.lint(replay=50).findings
        assert (found.name, found.level) == ("corrected-later:delays.lateness", "leak")
        assert found.feature in ("mean_1d", "newest")
        assert found.record["source"] == "landings"
        assert found.rows > 40
        data = ws.get_training_data("delays")
        assert [one.name for one in data.findings] == ["corrected-later:delays.lateness"]
        assert "found corrected-later:delays.lateness" in repr(data)


def test_a_row_wise_transformation_that_is_none_is_found_though_its_check_was_fooled(folder, monkeypatch):
    airline = Airline()
    airline.polars(lambda rows: rows.with_columns(planted=pl.col("arr_delay").mean()), row_wise=True)
    monkeypatch.setattr("tinymlops.features.intake.taking_in.check_row_wise", lambda *_: None, raising=False)
    monkeypatch.setattr("tinymlops.features.intake.row_wise._check", lambda *_: None)
    (found,) = linted(folder, airline.done(), replay=30).findings
    assert found.name == "replay:delays.planted"
    assert found.record["source"] == "landings"
    assert "leave row_wise out of 'made'" in found.fix


def test_a_sound_row_wise_transformation_is_clean(folder):
    airline = Airline()
    airline.sql("select *, arr_delay * 2 as planted from landings where arr_delay > -10", row_wise=True)
    assert linted(folder, airline.done(), replay=20).findings == []


def test_a_transformation_of_a_transformation_is_replayed_from_the_stored_rows(folder):
    airline = Airline()

    @airline.project.transformation(timestamp="landed_at", id="flight")
    def between(landings: tm.Rows) -> str:
        return "select flight, carrier, landed_at, arr_delay, (select avg(arr_delay) from landings) as planted from landings"

    airline.sql("select * from between", inputs=("between",), timestamp="landed_at", id="flight")
    (found,) = linted(folder, airline.done(), replay=20).findings
    assert found.name == "replay:delays.planted"
    assert found.record["source"] == "landings"


def test_on_demand_views_are_replayed_too(folder):
    airline = Airline()
    lateness = airline.features[0]

    @airline.project.on_demand
    def doubled(lateness: tm.Inputs, timestamp: pl.Expr) -> dict[str, pl.Expr]:
        return {"doubled": lateness["newest"] * 2, "hour": timestamp.dt.hour()}

    airline.features.append(doubled)
    assert lateness is airline.features[0]
    assert linted(folder, airline.done()).findings == []


def test_the_same_seed_replays_the_same_rows_and_none_can_be_asked_for(folder):
    airline = Airline()
    with_lead(airline)
    with tm.connect(folder / "airline.tm", create=True, root=folder) as ws:
        ws.apply(airline.done())
        ws.ingest()
        assert ws.lint(replay=5, seed=3).findings == ws.lint(replay=5, seed=3).findings
        none = ws.lint("delays", replay=0)
        assert (none.replayed, [one.rule for one in none.findings]) == (0, ["window-ahead"])
        with pytest.raises(tm.NotFoundError, match="did you mean 'delays'"):
            ws.lint("delay")
        with pytest.raises(tm.DefinitionError, match="replay=-1"):
            ws.lint(replay=-1)


def test_a_training_set_that_cannot_be_built_is_told_and_the_definitions_are_looked_at(folder):
    airline = Airline()
    with_day(airline)
    with tm.connect(folder / "airline.tm", create=True, root=folder) as ws:
        ws.apply(airline.done())
        report = ws.lint()
    assert [one.name for one in report.findings] == ["time-before-rows:delays.planted", "unchecked:delays"]
    assert "was never ingested" in report.findings[1].message


def test_an_empty_workspace_has_nothing_to_look_at(workspace):
    with pytest.raises(tm.DefinitionError, match="nothing is applied"):
        workspace.lint()


# Every build has the cheap checks


def test_a_build_of_what_leaks_is_refused_and_names_the_line_that_allows_it(folder):
    airline = Airline()
    with_static_source(airline)
    with tm.connect(folder / "airline.tm", create=True, root=folder) as ws:
        ws.apply(airline.done())
        ws.ingest()
        with pytest.raises(tm.LeakageError) as caught:
            ws.get_training_data("delays")
        assert "'means' is static, and reads 'data/landings.parquet' as 'landings' does" in caught.value.message
        assert '{finding = "static-source:delays.planted", reason = "..."}' in caught.value.hint
    allow(folder, "static-source:delays.planted", "a test")
    with tm.connect(folder / "airline.tm", root=folder) as ws:
        assert ws.get_training_data("delays").findings == []


def test_a_feature_that_tells_the_outcome_is_found_by_the_build(folder):
    airline = Airline()
    with_copy(airline)
    with tm.connect(folder / "airline.tm", create=True, root=folder) as ws:
        ws.apply(airline.done())
        ws.ingest()
        data = ws.get_training_data("delays")
    (found,) = data.findings
    assert (found.name, found.level) == ("auc:delays.planted", "warning")
    assert "'planted' alone tells 'late' with an AUC of 1.0000" in found.message
    assert "auc:delays.planted" in repr(data)


def allow(folder, finding, reason):
    text = f'workspace = "airline.tm"\n[lint]\nallow = [{{finding = "{finding}", reason = "{reason}"}}]\n'
    (folder / "tinymlops.toml").write_text(text)


def test_what_is_allowed_is_told_with_its_reason_and_is_no_finding(folder):
    allow(folder, "auc:delays.planted", "known at the gate")
    airline = Airline()
    with_copy(airline)
    report = linted(folder, airline.done(), replay=5)
    assert report.clean
    assert [(one.name, one.reason) for one in report.allowed] == [("auc:delays.planted", "known at the gate")]
    assert "allowed: known at the gate" in str(report)
    assert "is allowed: known at the gate" in report._repr_html_()


@pytest.mark.parametrize("entry", ['{finding = "auc:x"}', '{finding = "auc:x", reason = " "}', '{why = "x"}'])
def test_an_entry_without_a_reason_is_refused(folder, entry):
    (folder / "tinymlops.toml").write_text(f"[lint]\nallow = [{entry}]\n")
    with pytest.raises(tm.DefinitionError, match=r"reason|why"):
        tm.connect(folder / "airline.tm", create=True, root=folder)


# The command

TAIL = """
{extra}

delays = project.training_set("delays", spine=departures, label=late, features=[lateness{more}])
"""
EXTRA = """

@project.source(static=True)
def means() -> str:
    return "select carrier, avg(arr_delay) as planted from 'data/landings.parquet' group by carrier"


@project.feature_view(entity=carrier)
def planted(means: tm.Rows) -> tm.Features:
    return {"planted": means["planted"].last()}
"""


def test_the_command_exits_with_one_where_something_is_found_and_with_zero_where_nothing_is(folder):
    (folder / "tinymlops.toml").write_text('workspace = "airline.tm"\nmodules = ["airline_project"]\n')
    module = folder / "airline_project.py"
    module.write_text((leaky.MODULE + TAIL).replace("{extra}", "").replace("{more}", ""))
    for verb in ("init", "apply", "ingest"):
        where = [folder] if verb == "init" else ["--project", folder]
        assert run(verb, *where).exit_code == 0
    done = run("lint", "--replay", "10", "--project", folder)
    assert (done.exit_code, done.stdout) == (0, "nothing found; 1 training set, 10 replayed rows\n")
    module.write_text((leaky.MODULE + TAIL).replace("{extra}", EXTRA).replace("{more}", ", planted"))
    done = run("lint", "--project", folder, "--json")  # before it is applied
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert report["clean"] is False
    assert [one["name"] for one in report["findings"]] == ["static-source:delays.planted", "unchecked:delays"]
    assert run("lint", "unknown", "--project", folder).exit_code == 4


def test_definitions_are_looked_at_without_calling_a_function_of_the_users(folder):
    airline = Airline()

    @airline.project.source(static=True)
    def means() -> pl.DataFrame:
        raise AssertionError("data/landings.parquet")

    airline.view("means", "planted")
    project = airline.done()
    with tm.connect(folder / "airline.tm", create=True, root=folder) as ws:
        context = context_of(ws).with_project(Definitions(project.specs()), project.functions())
        spec = project.definitions["delays"].spec
        assert static_findings(context, [spec]) == []  # it names the file, and no column of the outcome
