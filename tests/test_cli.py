"""The command line as a whole: the same options everywhere, JSON documents for programs, an exit code per error class."""

import contextlib
import itertools
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import typer
from carried import neptune_export, unpacked
from command_line import SHOP, ask, launch, refused, registered_shop, run, succeed, write_shop
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import tinymlops as tm
from tinymlops import errors
from tinymlops.schedules import Job, schedule_of
from tinymlops_cli import machine
from tinymlops_cli.app import app
from tinymlops_cli.failures import EXIT_CODES, UsageError, exit_code

NUMBERS = itertools.count()
ROW = '{"customer_id": 1}'


def leaves(command=None, path=()):
    """Every command that does something, as its words."""
    command = command or typer.main.get_command(app)
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from leaves(inner, (*path, name))
        else:
            yield (*path, name), inner


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A shop whose model is registered as buy@champion, with a dataset to keep and two to spare."""
    folder = registered_shop(tmp_path_factory.mktemp("cli") / "shop")
    with tm.connect(folder / "shop.tm", root=folder) as ws:
        spine = pl.DataFrame({"customer_id": [1], "timestamp": [datetime(2024, 1, 20, tzinfo=UTC)]})
        for name in ("kept", "spare", "spare"):
            ws.save_dataset(name, spine, ["spending"])
        data = ws.get_training_data("buyers", test_from="2024-01-25")
        ws.ablate(data, make_pipeline(SimpleImputer(), LogisticRegression()), drop="feature", name="what helps")
        ws.sweep(lambda trial: trial.suggest_float("x", 0, 1), name="tuned", trials=1)
    return folder


@pytest.fixture(autouse=True)
def _little_memory_is_measured(monkeypatch):
    """What `bench` reads and writes to measure the memory: the figures are not looked at."""
    monkeypatch.setattr(machine, "_BYTES", 2**22)
    monkeypatch.setattr(machine, "_PROBES", 2**16)


@pytest.fixture
def in_shop(shop, monkeypatch):
    monkeypatch.chdir(shop)
    return shop


class BackedUp:
    """A backup of an empty workspace, which is made when it is typed."""

    def __init__(self, tmp_path):
        self._source, self._target = tmp_path / "source.tm", tmp_path / "backup"

    def __str__(self):
        if not self._target.exists():
            with tm.connect(self._source, create=True) as ws:
                ws.backup(self._target)
        return str(self._target)


def feast_repository(tmp_path):
    """Write a repository of one entity."""
    folder = tmp_path / "feast"
    folder.mkdir(exist_ok=True)
    (folder / "feature_store.yaml").write_text("project: taxi\n")
    (folder / "cars.py").write_text('from feast import Entity\ncar = Entity(name="car")\n')
    return folder


class ARun:
    """The id of a run, which is made when it is typed."""

    def __str__(self):
        try:
            with tm.connect("shop.tm") as ws:
                return ws.start_run("spare", experiment="spare").finish().id
        except tm.TinyMLOpsError:  # where commands are tried that cannot work
            return "spare"


class AnExperiment(ARun):
    """The number of an experiment, which is made when it is typed."""

    def __str__(self):
        try:
            with tm.connect("shop.tm") as ws:
                return str(ws.runs.create_experiment(f"spare {len(ws.runs.experiments(deleted=None))}").id)
        except tm.TinyMLOpsError:
            return "spare"


class HeldBack:
    """The number of a quarantine, which is made when it is typed: rows that a check of another project keeps aside."""

    def __str__(self):
        try:
            return str(self._made())
        except tm.TinyMLOpsError:  # where commands are tried that cannot work
            return "1"

    def _made(self):
        other = tm.Project("other")

        @other.source(static=True, id="n")
        def numbers() -> tm.Schema:
            return {"n": int}

        other.check(numbers, tm.volume(max_rows=1), action="quarantine")
        with tm.connect("shop.tm") as ws:
            ws.apply(other)
            first = 2 * len(ws.checks.quarantined(status=None))
            with pytest.warns(match="quarantine"):
                ws.push("numbers", [{"n": first}, {"n": first + 1}])
            return ws.checks.quarantined()[-1].id


class Embedded:
    """The name of an embedding, which is applied when it is typed; its texts have their vectors."""

    def __str__(self):
        with contextlib.suppress(tm.TinyMLOpsError), tm.connect("shop.tm") as ws:  # where commands cannot work
            other = tm.Project("embedded")

            @other.source(timestamp="at", id="n")
            def notes() -> tm.Schema:
                return {"n": int, "at": datetime, "text": str, "country": str}

            other.embedding("texts", source=notes, text="text", model="tfidf", dimension=4)
            ws.apply(other)
            ws.push("notes", [{"n": 1, "at": datetime(2024, 1, 1, tzinfo=UTC), "text": "red wine", "country": "AT"}])
            ws.vectors.follow("texts")
        return "texts"


class Issued:
    """The name of a token, which is issued when it is typed."""

    def __str__(self):
        with contextlib.suppress(tm.TinyMLOpsError), tm.connect("shop.tm") as ws:  # where commands cannot work
            ws.tokens.create("reports", "reader")
        return "reports"


class Superseded:
    """A version that is not in force: the definitions change when it is typed."""

    def __str__(self):
        with contextlib.suppress(tm.TinyMLOpsError), tm.connect("shop.tm") as ws:
            for window in ("1d", "2d"):
                other = tm.Project("superseded")
                thing = other.entity("thing", key="thing")

                @other.source(timestamp="at")
                def things() -> tm.Schema:
                    return {"thing": int, "at": datetime, "size": float}

                ws.apply(with_view(other, thing, window))
        return "sizes@v1"


class Exported:
    """A file of runs, written when it is typed."""

    def __str__(self):
        path = Path("exported.zip").resolve()
        with contextlib.suppress(tm.TinyMLOpsError), tm.connect("shop.tm") as ws:
            ws.export_runs(path)
        return str(path)


class Cleaned:
    """The job "clean", which is run when it is typed, as far as its rows tell."""

    def __str__(self):
        with contextlib.suppress(tm.TinyMLOpsError), tm.connect("shop.tm") as ws:
            jobs = [Job(name="clean", schedule=schedule_of("1w", None, "UTC"))]
            ws.jobs.decide(jobs)
            ws.jobs.start("clean")
            while claimed := ws.jobs.claim(jobs, at_once=1):
                ws.jobs.finish(claimed[0].number, "succeeded", log="nothing to remove")
                os.close(claimed[0].lock)
        return "clean"


def with_view(project, entity, window):
    def sizes(things: tm.Rows) -> tm.Features:
        return {"size": things["size"].sum(window=window)}

    project.feature_view(entity=entity)(sizes)
    return project


def invocations(tmp_path):
    """One use of every command that ends by itself."""
    outcomes = tmp_path / "outcomes.json"
    outcomes.write_text('[{"prediction_id": "nobody", "value": true}]')
    spine = tmp_path / "spine.csv"
    spine.write_text("customer_id,timestamp\n1,2024-01-20T00:00:00Z\n")
    return {
        ("init",): [tmp_path / "new"],
        ("import", "feast"): [feast_repository(tmp_path), "--output", tmp_path / "imported"],
        ("import", "mlflow"): [unpacked("mlflow", tmp_path / "mlflow") / "database"],
        ("import", "neptune"): [neptune_export(tmp_path / "neptune")],
        ("import", "tensorboard"): [unpacked("tensorboard", tmp_path / "tensorboard") / "logs"],
        ("plan",): [],
        ("apply",): ["-m", "why not"],
        ("status",): [],
        ("show",): ["spending"],
        ("log",): ["spending"],
        ("diff",): ["spending@v1", "spending"],
        ("why",): ["spending"],
        ("note",): ["spending", "as marketing asked"],
        ("mark",): ["spending", "golden"],
        ("marks",): [],
        ("keep",): [Superseded()],
        ("access",): ["--who", "nobody"],
        ("token", "list"): [],
        ("token", "create"): [f"billing-{next(NUMBERS)}", "--role", "reader"],
        ("token", "revoke"): [Issued()],
        ("client", "write"): [tmp_path / "tinymlops_client.py"],
        ("lint",): ["--replay", 10],
        ("ingest",): [],
        ("connections", "check"): [],
        ("sinks", "list"): [],
        ("sinks", "run"): [],
        ("push",): ["clicks", '{"click_id": "a", "customer_id": 1, "at": "2024-02-01T00:00:00Z", "seconds": 2.5}'],
        ("materialize",): [],
        ("features", "online"): ["spending", ROW],
        ("features", "historical"): ["spending", "customer_id=1", "timestamp=2024-01-20T00:00:00Z", "--as-of", "1"],
        ("vectors", "list"): [],
        ("vectors", "search"): [Embedded(), "wine", "--mode", "text", "--where", "country=AT"],
        ("vectors", "duplicates"): [Embedded(), "--threshold", "0.9"],
        ("vectors", "cluster"): [Embedded(), "--k", "2"],
        ("vectors", "embed"): [Embedded()],
        ("vectors", "rebuild"): [Embedded(), "--purge"],
        ("vectors", "failures"): [Embedded()],
        ("datasets", "save"): ["saved", "spending", "--input", spine],
        ("datasets", "list"): [],
        ("datasets", "export"): ["kept", "--output", tmp_path / "kept.parquet"],
        ("datasets", "verify"): ["kept"],
        ("datasets", "remove"): ["spare"],
        ("sql",): ["select customer_id, count(*) as n from orders group by all"],
        ("search",): ["spendin", "amount"],
        ("health",): [],
        ("docs", "show"): ["spending"],
        ("docs", "build"): [tmp_path / "pages"],
        ("docs", "check"): ["--min", 0],
        ("share",): ["buy@champion", tmp_path / "shared.html"],
        ("lineage",): ["orders.amount", "--downstream"],
        ("verify",): ["buyers"],
        ("compact",): [],
        ("gc",): ["--grace", "1h"],
        ("audit",): ["--action", "model."],
        ("backup",): [tmp_path / "copy"],
        ("restore",): [BackedUp(tmp_path), "--workspace", tmp_path / "again.tm"],
        ("checks", "list"): [],
        ("checks", "results"): [],
        ("checks", "quarantined"): [],
        ("checks", "release"): [HeldBack()],
        ("checks", "drop"): [HeldBack()],
        ("checks", "infer"): ["orders"],
        ("checks", "run"): [],
        ("runs", "list"): [],
        ("runs", "search"): ["metrics.auc > 0.5"],
        ("runs", "show"): ["baseline"],
        ("runs", "console"): ["baseline"],
        ("runs", "compare"): ["baseline", ARun()],
        ("runs", "curve"): ["baseline", "auc"],
        ("runs", "note"): ["baseline", "the first"],
        ("runs", "tag"): ["baseline", "season=spring", "season="],
        ("runs", "trash"): [ARun()],
        ("runs", "restore"): [ARun()],
        ("runs", "delete"): [ARun(), "--yes"],
        ("experiments", "list"): [],
        ("experiments", "rename"): [AnExperiment(), f"renamed {tmp_path.name}"],
        ("experiments", "trash"): [AnExperiment()],
        ("experiments", "restore"): [AnExperiment()],
        ("runs", "ablation"): ["what helps"],
        ("runs", "sweep"): ["tuned"],
        ("runs", "export"): ["--output", tmp_path / "runs.zip"],
        ("runs", "import"): [Exported()],
        ("models", "list"): [],
        ("models", "show"): ["buy@champion"],
        ("models", "register"): ["other", "--run", "baseline"],
        ("promote",): ["buy", 1, "challenger"],
        ("predict",): ["buy@champion", ROW],
        ("outcomes", "log"): [outcomes],
        ("outcomes", "collect"): ["buy@champion"],
        ("monitor",): ["buy@champion"],
        ("jobs", "list"): [],
        ("jobs", "run"): ["--once"],
        ("jobs", "attempt"): ["clean", "--due", "2024-01-01T00:00:00Z"],
        ("jobs", "start"): ["clean"],
        ("jobs", "rerun"): [Cleaned()],
        ("jobs", "backfill"): ["clean", "--since", "2024-01-01T00:00:00Z", "--until", "2024-02-01T00:00:00Z"],
        ("jobs", "history"): [],
        ("jobs", "pause"): [Cleaned()],
        ("jobs", "resume"): [Cleaned()],
        ("jobs", "logs"): [Cleaned()],
        ("export", "airflow"): [],
        ("export", "cron"): [],
        ("export", "systemd"): [],
        ("export", "github"): [],
        ("doctor",): [],
        ("bench",): ["--rows", 1_000],
    }


def test_every_command_has_the_options_that_all_share():
    for words, command in leaves():
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--json", "--project", "--workspace"} <= options, words


def test_every_command_and_option_says_what_it_is_for():
    for words, command in leaves():
        assert command.help, words
        assert [parameter.name for parameter in command.params if not parameter.help] == [], words


def test_every_command_is_tried_below(tmp_path):
    # `serve` ends only on a signal, and has a test of its own.
    assert {words for words, _ in leaves()} == {*invocations(tmp_path), ("serve",), ("ui",)}


@pytest.mark.parametrize("words", [words for words, _ in leaves() if words not in {("serve",), ("ui",)}], ids=" ".join)
def test_with_json_a_command_prints_one_document(in_shop, tmp_path, words):
    result = run(*words, *invocations(tmp_path)[words], "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    json.loads(result.stdout)


@pytest.mark.parametrize("words", [words for words, _ in leaves() if words not in {("serve",), ("ui",)}], ids=" ".join)
def test_without_json_a_command_writes_plain_text_into_a_pipe(in_shop, tmp_path, words):
    result = run(*words, *invocations(tmp_path)[words])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip()
    assert "\x1b" not in result.stdout
    assert not set("┃━│─╭") & set(result.stdout)


def test_show_and_plan_say_what_a_digest_does_not_see(in_shop):
    said = run("show", "visits").stdout
    assert "visits: what pl.read_csv reads; polars" in said
    planned = json.loads(run("plan", "--json").stdout)["unseen"]
    assert {one["name"]: one["what"] for one in planned}["visits"] == ["visits: what pl.read_csv reads"]


def test_in_a_terminal_a_table_is_drawn(capsys, monkeypatch):
    from tinymlops_cli.output import Answer, Table, show

    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    show(Answer(None, [Table(["name"], [["[bold]not markup[/bold]"]])]), as_json=False)
    printed = capsys.readouterr().out
    assert "[bold]not markup[/bold]" in printed
    assert "─" in printed


def test_the_help_lists_every_exit_code():
    printed = succeed("--help")
    for cls, code in EXIT_CODES.items():
        assert f"{code:>3}  {cls.__name__}" in printed


def test_every_class_of_error_has_an_exit_code_of_its_own():
    classes = {cls for cls in map(vars(errors).get, errors.__all__) if isinstance(cls, type)}
    assert set(EXIT_CODES) == classes - {errors.IngestError} | {UsageError}
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)
    assert {exit_code(cls("x")) for cls in EXIT_CODES} == set(range(1, 13))


def test_a_subclass_has_the_code_of_its_parent():
    class Torn(errors.IntegrityError):
        pass

    assert exit_code(Torn("x")) == EXIT_CODES[errors.IntegrityError]


def test_an_error_is_two_lines_on_standard_error(in_shop):
    said = refused(4, "models", "show", "buyy")
    assert said == "error: there is no model 'buyy'\nhint: did you mean 'buy'?\n"


def test_with_json_an_error_is_one_object_on_standard_error(in_shop):
    result = run("models", "show", "buyy", "--json")
    assert result.exit_code == 4
    assert result.stdout == ""
    assert json.loads(result.stderr) == {
        "error": {
            "class": "NotFoundError",
            "message": "there is no model 'buyy'",
            "hint": "did you mean 'buy'?",
            "exit_code": 4,
        }
    }


def test_a_warning_is_one_line_on_standard_error(tmp_path):
    folder = write_shop(tmp_path / "shop")
    with (folder / "data" / "orders.csv").open("a") as file:
        file.write("200,1,1.5,\n")
    succeed("init", folder)
    succeed("apply", "--project", folder)
    result = launch("ingest", "orders", "--json", "--project", folder)
    (report,) = json.loads(result.stdout)
    assert report["rows_quarantined"] == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: source 'orders': 1 of 42 rows have no time in 'ordered_at'")


def test_a_program_of_its_own_says_the_same(shop):
    result = launch("models", "show", "buyy", cwd=shop)
    assert (result.returncode, result.stdout) == (4, "")
    assert result.stderr == "error: there is no model 'buyy'\nhint: did you mean 'buy'?\n"


def test_an_unknown_option_is_a_usage_error(in_shop):
    result = launch("runs", "list", "--jsn", cwd=in_shop)
    assert result.returncode == 2
    assert "--jsn" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_version_is_printed(in_shop):
    import tinymlops

    assert succeed("--version") == f"tinymlops {tinymlops.__version__}\n"


def test_a_command_works_below_the_projects_directory(shop, monkeypatch):
    monkeypatch.chdir(shop / "data")
    # The source `visits` is Python that reads a relative path.
    assert {report["source"] for report in ask("ingest")} == {"orders", "visits"}


def test_a_relative_path_in_an_argument_means_where_the_command_was_typed(shop, tmp_path, monkeypatch):
    (tmp_path / "keys.csv").write_text("customer_id\n1\n")
    monkeypatch.chdir(tmp_path)
    found = ask("features", "online", "spending", "--input", "keys.csv", "--project", shop)
    assert found["rows"][0]["last_amount"] == 39.5


def test_a_version_is_read_and_materialized_by_its_reference(shop, monkeypatch):
    monkeypatch.chdir(shop)
    found = ask("features", "online", "spending,spending@v1:last_amount", ROW)
    assert found["rows"][0]["v1_last_amount"] == found["rows"][0]["last_amount"]
    assert [row["view"] for row in ask("materialize", "spending@v1")] == ["spending@v1"]
    assert "write spending@v1:last_amount" in refused(4, "features", "online", "spending:last_amount@v1", ROW)


def test_the_options_stand_above_what_the_directory_says(shop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_project = ask("models", "list", "--project", shop)
    by_workspace = ask("models", "list", "--workspace", shop / "shop.tm")
    assert by_project == by_workspace
    assert [model["version"]["name"] for model in by_project if model["version"]["name"] == "buy"] == ["buy"]


def test_without_a_project_the_hint_is_init(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refused(4, "plan")
    assert "there is no tinymlops.toml" in said
    assert "tinymlops init" in said
    assert "there is no tinymlops.toml in" in refused(4, "plan", "--project", tmp_path)


def test_an_unknown_setting_is_named_with_its_near_match(tmp_path):
    (tmp_path / "tinymlops.toml").write_text('worksapce = "shop.tm"')
    assert "hint: did you mean 'workspace'?" in refused(3, "plan", "--project", tmp_path)


def test_a_settings_file_without_workspace_says_which_line_is_missing(tmp_path):
    (tmp_path / "tinymlops.toml").write_text("")
    assert "names no workspace" in refused(3, "runs", "list", "--project", tmp_path)


def test_a_mistyped_workspace_has_its_near_match(in_shop):
    said = refused(4, "runs", "list", "--workspace", "shopp.tm")
    assert "shopp.tm is not a workspace" in said
    assert "did you mean 'shop.tm'?" in said


@pytest.mark.parametrize(
    ("modules", "files", "said"),
    [
        ([], {}, "lists no modules"),
        (["gone"], {}, "module 'gone' of the project cannot be imported"),
        (["empty"], {"empty.py": "x = 1\n"}, "no module of tinymlops.toml has a project"),
        (["wrong"], {"wrong.py": "\n\nx = \n"}, "SyntaxError"),
        (["broken"], {"broken.py": "\n\n1 / 0\n"}, "ZeroDivisionError: division by zero (broken.py, line 3)"),
        (["one", "two"], {"one.py": SHOP, "two.py": SHOP}, "2 projects: 'shop' in one, 'shop' in two"),
    ],
)
def test_definitions_that_cannot_be_loaded_are_refused(tmp_path, modules, files, said):
    (tmp_path / "tinymlops.toml").write_text(f'workspace = "shop.tm"\nmodules = {json.dumps(modules)}\n')
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert said in refused(3, "plan", "--project", tmp_path)


def test_a_project_that_a_second_module_imports_is_one_project(shop, tmp_path):
    folder = write_shop(tmp_path / "twice")
    (folder / "tinymlops.toml").write_text('workspace = "shop.tm"\nmodules = ["features", "more"]\n')
    (folder / "more.py").write_text("from features import project\n")
    succeed("init", folder)
    assert ask("plan", "--project", folder)["project"] == "shop"


@pytest.mark.parametrize(
    ("code", "arguments", "said"),
    [
        (4, ["ingest", "orderz"], "orderz"),
        (4, ["materialize", "spendin"], "spending"),
        (4, ["features", "online", "spendin", ROW], "spending"),
        (2, ["features", "online", "spending"], "there are no rows"),
        (2, ["features", "online", ",", ROW], "no feature is named"),
        (6, ["features", "online", "spending", '{"customer_id": '], "is not JSON"),
        (6, ["features", "online", "spending", "[1]"], "holds 1, which is not a row"),
        (6, ["features", "online", "spending", "customer"], "'customer' is not a row"),
        (6, ["features", "online", "spending", "customer_id=1", "customer_id=2"], "'customer_id' is given twice"),
        (6, ["features", "historical", "spending", ROW], "no time column 'timestamp'"),
        (
            6,
            ["features", "historical", "spending", "customer_id=1", "timestamp=yesterday"],
            "'yesterday' is not a time",
        ),
        (4, ["features", "online", "spending", "--input", "gone.json"], "there is no file"),
        (2, ["features", "online", "spending", ROW, "--input", "gone.json"], "both rows and --input"),
        (4, ["outcomes", "log", "gone.json"], "there is no file"),
        (6, ["outcomes", "log", "features.py"], "is not one of .json"),
        (6, ["runs", "search", "auc >"], "auc >"),
        (4, ["runs", "show", "baselin"], "baseline"),
        (4, ["promote", "buy", "9"], "has no version 9"),
        (5, ["promote", "buy", "1", "--expected", "7"], "another process moved it first"),
        (4, ["predict", "buy@champio", ROW], "champion"),
        (2, ["predict", "buy", ROW, "--timestamp", "at"], "--timestamp goes with --output"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_refused_by_name(in_shop, code, arguments, said):
    assert said in refused(code, *arguments)


def test_too_little_documentation_fails_the_check(in_shop):
    result = run("docs", "check", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["least"]) == (1, 0.9)
    assert {"kind": "feature_view", "name": "spending", "lacks": ["docstring", "owner"]} in found["lacking"]
    assert run("docs", "check", "--min", found["share"]).exit_code == 0
