"""Running the command line in tests: in this process, or as a program of its own."""

import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from typer.testing import CliRunner

import tinymlops as tm
from tinymlops_cli.app import app

PROGRAM = Path(sys.executable).with_name("tinymlops")
SHOP = """
import polars as pl
import tinymlops as tm

project = tm.Project("shop")
customer = project.entity("customer", key="customer_id")
visit = project.entity("visit", key="visit_id")


@project.source(timestamp="ordered_at", id="order_id")
def orders() -> str:
    return "select * from read_csv('data/orders.csv')"


@project.source(timestamp="at", id="visit_id")
def visits() -> pl.DataFrame:
    return pl.read_csv("data/visits.csv").with_columns(pl.col("at").str.to_datetime(time_zone="UTC"))


@project.source(timestamp="at", id="click_id")
def clicks() -> tm.Schema:
    return {"click_id": str, "customer_id": int, "at": "Datetime[us, UTC]", "seconds": float}


@project.feature_view(entity=customer)
def spending(orders: tm.Rows) -> tm.Features:
    return {"last_amount": orders["amount"].last(), "spent_30d": orders["amount"].sum(window="30d")}


@project.feature_view(entity=customer)
def browsing(clicks: tm.Rows) -> tm.Features:
    return {"seconds_1d": clicks["seconds"].sum(window="1d")}


@project.label(entity=customer, horizon="1d")
def buys(orders: tm.Rows) -> tm.Label:
    return (orders["amount"] > 20).last()


buyers = project.training_set("buyers", spine=visits, label=buys, features=[spending])
project.command("clean", "gc", every="1w")
"""
START = datetime(2024, 1, 1, tzinfo=UTC)


def write_shop(folder):
    """Write a project with a training set and a source that takes pushes; customer 1 orders daily, 2 never."""
    (folder / "data").mkdir(parents=True)
    (folder / "tinymlops.toml").write_text('workspace = "shop.tm"\nmodules = ["features"]\n')
    (folder / "features.py").write_text(SHOP)
    moments = [START + timedelta(days=day) for day in range(40)]
    orders = [f"{day},1,{day + 0.5},{moment:%FT%TZ}" for day, moment in enumerate(moments)]
    orders.append(f"100,3,7.5,{moments[3]:%FT%TZ}")
    visits = [
        f"v{day}-{one},{one},{moment + timedelta(hours=1):%FT%TZ}"
        for day, moment in enumerate(moments)
        for one in (1, 2)
    ]
    (folder / "data" / "orders.csv").write_text("\n".join(["order_id,customer_id,amount,ordered_at", *orders, ""]))
    (folder / "data" / "visits.csv").write_text("\n".join(["visit_id,customer_id,at", *visits, ""]))
    return folder


def train(folder):
    """Train a model on what is ingested and log it with the run "baseline"."""
    with projects_forgotten(), tm.connect(folder / "shop.tm", root=folder) as ws:
        data = ws.get_training_data("buyers")
        with ws.start_run("baseline", data=data, params={"C": 1.0}, tags={"team": "a"}) as run:
            model = make_pipeline(SimpleImputer(), LogisticRegression()).fit(data.train.X, data.train.y)
            run.log_metrics(auc=0.75)
            run.log_model(model)
        return run.id


class Ran(NamedTuple):
    """What a command printed and ended with."""

    exit_code: int
    stdout: str
    stderr: str
    output: str


@functools.cache
def program():
    """The command of all commands; making it of their functions takes longer than most of them."""
    return typer.main.get_command(app)


def run(*arguments):
    """Run a command in this process."""
    with projects_forgotten(), CliRunner().isolation() as streams:
        with pytest.raises(SystemExit) as ended:
            program().main([str(argument) for argument in arguments], prog_name="tinymlops")
        sys.stdout.flush()
        sys.stderr.flush()
        printed = [stream.getvalue().decode(errors="replace") for stream in streams]
    return Ran(ended.value.code or 0, *printed)


@contextlib.contextmanager
def projects_forgotten():
    """Undo imports: a program has one project, a test process has many with modules of one name."""
    path, modules = list(sys.path), set(sys.modules)
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            folder = Path(getattr(sys.modules[name], "__file__", None) or "/").parent
            if (folder / "tinymlops.toml").exists():
                del sys.modules[name]


def succeed(*arguments):
    """Run a command that must go well; return what it printed."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def ask(*arguments):
    """Run a command with --json that must go well; return the document."""
    return json.loads(succeed(*arguments, "--json"))


def refused(code, *arguments):
    """Run a command that must fail with this exit code and print nothing but two lines; return them."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ")
    return result.stderr


def launch(*arguments, cwd=None, **environment):
    """Run a command as a program of its own."""
    return subprocess.run(
        [str(PROGRAM), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def registered_shop(folder):
    """Make a shop whose model is registered as buy@champion."""
    write_shop(folder)
    succeed("init", folder)
    succeed("apply", "--project", folder)
    succeed("ingest", "--project", folder)
    train(folder)
    succeed("models", "register", "buy", "--run", "baseline", "--alias", "champion", "--project", folder)
    return folder


def put_instead(path, what, kept):
    """Replace a file by something else; the file is moved away."""
    if what == "pipe":
        os.mkfifo(path)
    elif what == "directory":
        path.mkdir()
    elif what == "link":
        path.symlink_to(kept)
    elif what == "dangling link":
        path.symlink_to(kept.with_name("nowhere"))
    else:
        with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as one:  # whose path has a limit
            one.bind(path.name)
