"""A notebook: a cell that runs again defines its nouns again, answers are shown as tables, and what lives only in
the notebook is trained with but not registered."""

import contextlib

import nbformat
import pytest
from nbclient import NotebookClient

IMPORTS = """
from datetime import UTC, datetime, timedelta
import polars as pl
from sklearn.tree import DecisionTreeClassifier
import tinymlops as tm
project = tm.Project("shop")
"""

ENTITIES = """
customer = project.entity("customer", key="customer")
visit = project.entity("visit", key="visit")
"""

SOURCES = """
start = datetime(2024, 1, 1, tzinfo=UTC)
hours = range(200)

@project.source(timestamp="at")
def orders() -> pl.DataFrame:
    return pl.DataFrame({
        "customer": ["abc"[hour % 3] for hour in hours],
        "at": [start + timedelta(hours=hour) for hour in hours],
        "amount": [float(hour % 7) - 3 for hour in hours],
    })

@project.source(timestamp="at", id="visit")
def visits() -> pl.DataFrame:
    return pl.DataFrame({
        "visit": list(hours),
        "customer": ["abc"[hour % 3] for hour in hours],
        "discount": [0.5] * len(hours),
        "at": [start + timedelta(hours=hour, minutes=30) for hour in hours],
    })
"""

VIEWS = """
@project.feature_view(entity=customer, ttl="2d")
def spending(orders: tm.Rows) -> tm.Features:
    return {"last_amount": orders["amount"].last(), "spent_1d": orders["amount"].sum(window="1d")}

@project.on_demand
def rest(spending: tm.Inputs, discount: pl.Expr) -> dict[str, pl.Expr]:
    return {"rest": spending["last_amount"] * discount}

@project.label(entity=customer, horizon="1d")
def buys(orders: tm.Rows) -> tm.Label:
    return (orders["amount"] > 0).last()
"""

TRAINING_SETS = """
with_code = project.training_set("with_code", spine=visits, label=buys, features=[spending, rest])
plain = project.training_set("plain", spine=visits, label=buys, features=[spending])
"""

FIT = """
def fit(name, data):
    with ws.start_run(name, data=data) as run:
        run.log_model(DecisionTreeClassifier(max_depth=2).fit(data.train.X, data.train.y))
        run.log_metrics(rows=data.train.X.height)
    return run
run = fit("with code", data)
"""

REFUSED = """
try:
    ws.register_model("buyer", run=run)
except tm.TinyMLOpsError as error:
    print(error.message)
    print(error.hint)
"""


class Notebook:
    """A running notebook: `run` gives what a cell shows."""

    def __init__(self, client):
        self._client = client
        self._count = 0

    def run(self, code):
        """Run a new cell and return its outputs; an error of the cell is raised."""
        cell = nbformat.v4.new_code_cell(code)
        self._client.nb.cells.append(cell)
        self._client.execute_cell(cell, self._count)
        self._count += 1
        return cell.outputs

    def printed(self, code):
        """Run a cell and return the text that it prints."""
        return "".join(output.text for output in self.run(code) if output.output_type == "stream")

    def shown(self, code):
        """Run a cell and return the HTML of its value."""
        (result,) = (output for output in self.run(code) if output.output_type == "execute_result")
        return result.data["text/html"]


@contextlib.contextmanager
def running(directory):
    """Start a kernel in a directory; it is gone when the block ends."""
    client = NotebookClient(nbformat.v4.new_notebook(), timeout=120, resources={"metadata": {"path": str(directory)}})
    with client.setup_kernel():
        yield Notebook(client)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """A notebook that has applied a project and ingested; later cells build on the earlier ones."""
    with running(tmp_path_factory.mktemp("notebook")) as book:
        for cell in (IMPORTS, ENTITIES, SOURCES, VIEWS, TRAINING_SETS):
            book.run(cell)
        book.run('ws = tm.connect("shop.tm", create=True)')
        yield book
        book.run("ws.close()")


@pytest.fixture(scope="module")
def trained(notebook):
    """The same notebook, with training data and a finished run."""
    notebook.run("ws.apply(project)")
    notebook.run("ws.ingest()")
    notebook.run('data = ws.get_training_data(with_code, test_from="2024-01-06")')
    notebook.run(FIT)
    return notebook


def test_a_plan_is_a_table_and_apply_leaves_nothing_to_do(notebook):
    shown = notebook.shown("ws.plan(project)")
    assert "<td>feature view</td><td>spending</td>" in shown
    notebook.run("ws.apply(project)")
    assert "<caption>0 to apply, 9 unchanged</caption>" in notebook.shown("ws.plan(project)")


def test_cells_of_definitions_run_again_and_change_nothing(notebook):
    notebook.run("ws.apply(project)")
    for cell in (ENTITIES, SOURCES, VIEWS, TRAINING_SETS):
        notebook.run(cell)
    assert notebook.printed("print(ws.plan(project))").startswith("0 to apply, 9 unchanged")


def test_a_changed_cell_is_a_change_of_the_plan(trained):
    trained.run(VIEWS.replace('ttl="2d"', 'ttl="3d"').replace("* discount", "* discount * 2"))
    planned = trained.printed("print(ws.plan(project))")
    assert planned.startswith("4 to apply")
    assert "~ feature view spending  (ttl 2d -> 3d)" in planned
    assert "~ on-demand view rest  (code)" in planned
    assert "~ training set plain  (below: feature view spending v1 -> v2)" in planned
    assert "~ training set with_code  (below: feature view spending v1 -> v2, on-demand view rest v1 -> v2)" in planned
    trained.run(VIEWS)
    assert trained.printed("print(ws.plan(project))").startswith("0 to apply")


def test_training_data_is_a_table_of_its_features(trained):
    shown = trained.shown("data")
    assert "<caption>training data with_code: 3 features, train" in shown
    for name, dtype, source in [("last_amount", "Float64", "spending:last_amount"), ("rest", "Float64", "rest:rest")]:
        assert "".join(f"<td>{text}</td>" for text in (name, dtype, source)) in shown
    (split,) = trained.run("data.train")
    assert split.data["text/plain"].startswith("<split: ")
    assert split.data["text/plain"].endswith(" rows, 3 features, label buys (Boolean)>")


def test_runs_are_found_as_a_table(trained):
    shown = trained.shown("ws.search_runs()")
    assert "with code" in shown
    assert "metrics.rows" in shown


def test_online_features_are_a_table_with_their_time(trained):
    shown = trained.shown('ws.get_online_features([spending, rest], [{"customer": "a", "discount": 0.5}])')
    assert "online features at " in shown
    assert "spent_1d" in shown


def test_a_model_that_needs_code_of_the_notebook_is_told_which_function_to_move(trained):
    printed = trained.printed(REFUSED)
    assert "needs the Python code of on-demand view 'rest', which lives only in a notebook" in printed
    assert "move rest to the top level of a module, such as features.py" in printed
    assert trained.printed("print([version.name for version in ws.models.list()])").strip() == "[]"


def test_a_model_that_needs_none_is_registered_and_predicts(trained):
    trained.run('plain_run = fit("plain", ws.get_training_data(plain))')
    trained.run('ws.register_model("plain-buyer", run=plain_run, alias="champion")')
    trained.run("ws.materialize()")
    printed = trained.printed('print(len(ws.predict("plain-buyer@champion", [{"customer": "a"}, {"customer": "b"}])))')
    assert printed.strip() == "2"


def test_moving_the_code_to_a_module_makes_the_model_registrable(trained):
    trained.run("import pathlib")
    moved = IMPORTS + ENTITIES + SOURCES + VIEWS + TRAINING_SETS
    trained.run(f"pathlib.Path('features.py').write_text({moved!r})\nimport features")
    applied = trained.printed("print(ws.apply(features.project))")
    assert "on-demand view rest  (where its code is)" in applied
    trained.run('moved_run = fit("moved", ws.get_training_data(features.with_code))')
    trained.run('ws.register_model("buyer", run=moved_run)')
    assert trained.printed("print([version.name for version in ws.models.list()])").split() == [
        "['buyer',",
        "'plain-buyer']",
    ]


def test_a_long_step_shows_a_bar_and_takes_it_away(notebook):
    outputs = notebook.run(
        "import tinymlops.progress as bar\nbar._QUIET = 0.0\n"
        "with bar.progress('reading <b>', 10) as advance:\n    advance(4)\n"
        "    shown = bar  # the bar is there now\n    print('between')"
    )
    texts = [output.text for output in outputs if output.output_type == "stream"]
    assert texts == ["between\n"], "it stays on standard output, without a warning beside it"
    (drawn,) = (output for output in outputs if output.output_type == "display_data")
    assert dict(drawn.data) == {"text/plain": ""}, "and the bar is gone"
