"""The catalog of a small shop, step by step, with the commands that you would type.

    python show.py

Everything happens in `walk/` beside this file: the project is copied there, and its definitions are changed as you would
change them. `walk/lineage.html` is the picture.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from make_data import a_delivery, another_month, make_data
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

import tinymlops as tm
from tinymlops_cli.app import app

sys.dont_write_bytecode = True  # definitions change here more than once a second
HERE = Path(__file__).parent
WALK = HERE / "walk"
MOST_LINES = 18
"""Lines of an answer that are printed."""
LEAK = "avg(amount) over (partition by customer_id)"
CURE = "avg(amount) over (partition by customer_id order by ordered_at)"
LEAKING = f'''

@project.transformation(timestamp="ordered_at", id="order_id", owner="ben", unit={{"times": "share"}})
def unusual(orders: tm.Rows) -> str:
    """An order beside what the customer usually spends."""
    return """
        select order_id, customer_id, ordered_at, amount / {LEAK} as times
        from orders
    """


@project.feature_view(entity=customer, owner="ben", unit={{"times": "share"}})
def surprise(unusual: tm.Rows) -> tm.Features:
    """How unusual the newest order is."""
    return {{"times": unusual["times"].last()}}

'''


def main() -> None:
    """Walk through all steps in a fresh directory."""
    begun = time.perf_counter()
    shutil.rmtree(WALK, ignore_errors=True)
    WALK.mkdir()
    for name in ("market.py", "tinymlops.toml"):
        shutil.copy(HERE / name, WALK)
    make_data(WALK / "data")
    for number, step in enumerate(STEPS, start=1):
        title(f"{number}. {(step.__doc__ or '').splitlines()[0]}")
        step()
    print(f"\nthe whole walk took {time.perf_counter() - begun:.1f} s")


def first() -> None:
    """Definitions are put in force, and rows come in."""
    run("init")
    run("plan", "--check", code=1)
    run("apply", "-m", "the shop as it is")
    run("ingest")
    run("materialize")
    with tm.connect(WALK / "market.tm", root=WALK) as ws:
        train(ws, "first")
        ws.register_model("purchases", run="first", alias="champion")


def changed() -> None:
    """A feature changes: what that reaches is known before it is made."""
    edit('"spent": amount.sum(window="30d")', '"spent": amount.sum(window="60d")')
    run("plan", "--check", code=1)
    run("apply", "-m", "regular customers come every six weeks")
    run("plan", "--check")
    run("note", "spending@v1", "too short for customers who come every six weeks")
    run("mark", "spending", "silver")
    run("log", "spending")
    run("diff", "spending@v1", "spending")
    run("why", "spending")
    run("show", "spending@v1")
    run("status")
    run("marks")


def lineage() -> None:
    """What is made of a column, what a feature is made of, and a picture of it."""
    run("lineage", "orders.amount", "--downstream")
    run("lineage", "appetite:of_city", "--upstream")
    found = json.loads(run("lineage", "orders.amount", "--json"))
    print(f"as JSON: {len(found['nodes'])} nodes, {len(found['edges'])} edges")
    (WALK / "lineage.dot").write_text(run("lineage", "orders.amount", "--dot", shown=3))
    (WALK / "lineage.jsonl").write_text(run("lineage", "--openlineage", shown=1))
    with tm.connect(WALK / "market.tm", root=WALK) as ws:
        picture = ws.lineage()._repr_html_()
    (WALK / "lineage.html").write_text(f"<!doctype html><meta charset='utf-8'><title>lineage</title>{picture}")
    print("the picture of everything: walk/lineage.html")


def variants() -> None:
    """Two versions of a view stand beside each other in one training set."""
    edit("features=[storefront, returning,", 'features=[storefront, spending.variant("v1"), returning,')
    run("apply", "-m", "30 days beside 60")
    with tm.connect(WALK / "market.tm", root=WALK) as ws:
        data = train(ws, "30 and 60 days")
        print(data.train.X.select("spent", "v1_spent").tail(5))
        for spans in ("spent", "v1_spent"):
            train(ws, f"only {spans}", without="v1_spent" if spans == "spent" else "spent")
        print(ws.search_runs(order_by="metrics.mae").select("name", "metrics.mae"))
    run("why", "spending")


def leak() -> None:
    """A leak is planted, found, and cured."""
    edit("\n\n@project.on_demand(owner", LEAKING + "\n@project.on_demand(owner", count=1)
    edit('spending.variant("v1"), returning,', 'spending.variant("v1"), surprise, returning,')
    run("apply", "-m", "how unusual an order is")
    run("ingest", "unusual")
    run("lint", "buyers", "--replay", "8", code=1)
    edit(LEAK, CURE)
    run("apply", "-m", "beside the orders so far")
    run("ingest", "unusual")
    run("lint", "buyers", "--replay", "8")


def quarantine() -> None:
    """A bad batch is kept aside; one part is let in, the other given up."""
    a_delivery(WALK / "data", "wholesale", [2_400.0, 2_650.0, 30.0])
    run("ingest", "orders")
    a_delivery(WALK / "data", "broken", [-20.0, -35.5])
    run("ingest", "orders")
    run("checks", "quarantined")
    run("checks", "quarantined", "1")
    run("checks", "release", "1")
    run("checks", "drop", "2")
    run("checks", "results", "orders", "--limit", "4")
    run("checks", "list")


def numbers() -> None:
    """Two builds of a training set differ, and each changed cell has its cause."""
    with tm.connect(WALK / "market.tm", root=WALK) as ws:
        before = ws.get_training_data("buyers").build_id
    another_month(WALK / "data")
    run("ingest", "orders", "--full")
    run("ingest", "visits")
    edit('"large": (amount >= 100).mean(window="90d")', '"large": (amount >= 100).mean(window="60d")')
    run("apply", "-m", "large orders are of two months")
    with tm.connect(WALK / "market.tm", root=WALK) as ws:
        after = ws.get_training_data("buyers").build_id
    run("diff", before, after, shown=40)


def finding() -> None:
    """What is there is found and documented."""
    run("search", "custommer", "spendng")
    run("search", "big basket")
    run("docs", "show", "spending")
    run("docs", "check", "--min", "0.9")
    run("docs", "build", "pages")
    run("health")


def datasets() -> None:
    """Features of a spine are kept under a name, and verified."""
    today = datetime.now(UTC).date()
    lines = ["customer_id,timestamp", *(f"{customer},{today}T00:00:00Z" for customer in range(5))]
    (WALK / "spine.csv").write_text("\n".join([*lines, ""]))
    run("datasets", "save", "front", "spending,rhythm", "--input", "spine.csv", "--tz", "UTC")
    run("datasets", "list")
    run("datasets", "verify", "front")
    run("features", "online", "shelf", "product_id=3")


def feast() -> None:
    """A Feast repository becomes a project; Feast's own template, if Feast is there."""
    program = shutil.which("feast") or HERE.parents[1] / ".venv-peers" / "bin" / "feast"
    if not Path(program).exists():
        print("Feast is not installed: `make bench-peers` puts it into an environment of its own")
        return
    subprocess.run([program, "init", "driver"], cwd=WALK, check=True, capture_output=True)
    run("import", "feast", "driver/feature_repo", "--output", "taxi")
    for words in (["init", "taxi"], ["apply", "--project", "taxi"], ["ingest", "--project", "taxi"]):
        run(*words)


STEPS: list[Callable[[], None]] = [
    first,
    changed,
    lineage,
    variants,
    leak,
    quarantine,
    numbers,
    finding,
    datasets,
    feast,
]


def train(ws: tm.Workspace, name: str, *, without: str = "") -> tm.TrainingData:
    """Log a run that predicts how many orders follow a visit, without one of the features."""
    (last,) = ws.sql("select max(visited_at) as last from visits")["last"]
    data = ws.get_training_data("buyers", test_from=last - timedelta(days=30))
    numbers = [
        column for column in data.train.X.columns if data.train.X[column].dtype.is_numeric() and column != without
    ]
    with ws.start_run(name, data=data) as logged:
        model = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), Ridge())
        model.fit(data.train.X[numbers] if without else data.train.X, data.train.y)
        found = model.predict(data.test.X[numbers] if without else data.test.X)
        logged.log_metrics(mae=mean_absolute_error(data.test.y, found))
        if not without:
            logged.log_model(model)
    return data


def run(*words: str, code: int = 0, shown: int = MOST_LINES) -> str:
    """Run a command in `walk/`, print it with the beginning of its answer, and return the answer.

    Args:
        words: After `tinymlops`.
        code: The exit code that it must have.
        shown: Lines to print.
    """
    print(f"\n$ tinymlops {shlex.join(words)}")
    sys.modules.pop("market", None)  # a command is a process of its own; here it only reads the definitions anew
    with contextlib.chdir(WALK):
        done = CliRunner().invoke(app, words)
    if done.exit_code != code:
        raise SystemExit(f"exit code {done.exit_code} instead of {code}\n{done.output}{done.exception or ''}")
    lines = done.output.splitlines()
    if "--json" not in words:
        print("\n".join(line if len(line) <= 160 else f"{line[:159]}…" for line in lines[:shown]))
        if len(lines) > shown:
            print(f"... {len(lines) - shown} more lines")
    if code:
        print(f"(exit code {code})")
    return done.stdout


def edit(before: str, after: str, *, count: int = -1) -> None:
    """Change the definitions as you would with an editor."""
    path = WALK / "market.py"
    text = path.read_text()
    if before not in text:
        raise SystemExit(f"market.py does not hold {before!r}")
    path.write_text(text.replace(before, after, count))
    if len(after) < 200:
        print(f"market.py:\n  - {before.strip()}\n  + {after.strip()}")


def title(text: str) -> None:
    """Print a heading."""
    print(f"\n\n{text}\n{'=' * len(text)}")


if __name__ == "__main__":
    main()
