"""`export airflow | cron | systemd | github`: have something that is there already start jobs, or the runner of jobs."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from tinymlops.errors import DataError
from tinymlops_cli.commands import command, group
from tinymlops_cli.output import Answer
from tinymlops_cli.session import Session

__all__ = ["add_to"]

Output = Annotated[
    Path | None, typer.Option(metavar="FILE", resolve_path=True, help="Write it there; by default it is printed.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    inner = group(app, "export", "Jobs, or their runner, for another program to start: each text is complete.")
    for function in (airflow, cron, systemd, github):
        command(inner)(function)


def airflow(session: Session, *, output: Output = None) -> Answer:
    """Write a file for the DAGs of Airflow 3.3 or later: Airflow keeps time, and each task makes one attempt at a job."""
    from tinymlops_cli.airflow_file import dag_file

    command = _program(session, "attempt")
    for word in command:
        if not _is_text(word):
            raise DataError(f"{word!r} cannot be written as text", hint="rename it")
    jobs = session.workspace.jobs
    return _answer(dag_file(session.project.name, session.project.jobs, command, jobs.clock()), output)


def cron(session: Session, *, output: Output = None) -> Answer:
    """Write a line of a crontab: each minute it runs what is due, with history, chains and retries as `jobs run` has them."""
    line = " ".join(shlex.quote(word) for word in _command(session, "--once"))
    # An unquoted % ends a command of a crontab, whatever quotes the shell would see.
    return _answer("* * * * * " + line.replace("%", r"\%") + "\n", output)


def systemd(session: Session, *, output: Output = None) -> Answer:
    """Write a unit of systemd that keeps a runner going, for `~/.config/systemd/user/` or `/etc/systemd/system/`."""
    root = str(_root(session)).replace("%", "%%")
    words = " ".join(_quoted(word) for word in _command(session))
    lines = [
        "[Unit]",
        f"Description=Jobs of {_root(session).name.replace('%', '%%')} (tinymlops)",
        "",
        "[Service]",
        "Type=exec",
        f"WorkingDirectory={root}",
        f"ExecStart={words}",
        "Restart=always",
        "RestartSec=5",
        "# The runner ends its jobs itself; what is left after a while is killed.",
        "KillMode=mixed",
        "TimeoutStopSec=30",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return _answer("\n".join(lines) + "\n", output)


def github(session: Session, *, output: Output = None) -> Answer:
    """Write a workflow of GitHub that runs what is due every five minutes, on a runner of yours that has the workspace."""
    words = " ".join(shlex.quote(word) for word in _command(session, "--once"))
    lines = [
        "name: jobs",
        "on:",
        "  schedule:",
        '    - cron: "*/5 * * * *"',
        "  workflow_dispatch:",
        "# Two at once would do no harm: each due time is run once.",
        "concurrency: jobs",
        "permissions: {}",
        "jobs:",
        "  run:",
        "    runs-on: self-hosted",
        "    steps:",
        "      - run: |-",
        f"          {words}",
    ]
    return _answer("\n".join(lines) + "\n", output)


def _root(session: Session) -> Path:
    """Return the project's directory, after reading its jobs: what cannot be run is not exported."""
    from tinymlops.features.definitions.scheduling import check_chains

    check_chains(session.project.jobs)
    return session.root.resolve()


def _command(session: Session, *options: str) -> list[str]:
    words = _program(session, "run", *options)
    for word in words:
        if not word.isprintable():
            raise DataError(f"{word!r} cannot be written in one line", hint="rename it, without control characters")
    return words


def _program(session: Session, *words: str) -> list[str]:
    place = ["--project", str(_root(session)), "--workspace", str(session.workspace.jobs.path)]
    return [sys.executable, "-m", "tinymlops_cli.main", "jobs", *words, *place]


def _is_text(word: str) -> bool:
    """Return whether a word of the system can be written in UTF-8; one with other bytes cannot."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _quoted(word: str) -> str:
    """Quote a word as systemd reads ExecStart."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _answer(text: str, output: Path | None) -> Answer:
    if output is None:
        return Answer({"text": text}, [text.removesuffix("\n")])
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{output} cannot be written: {error.strerror}", hint="name a file in a directory") from error
    return Answer({"file": output, "text": text}, [f"written to {output}"])
