"""`predict`, `serve`, `outcomes` and `monitor`: use a registered model."""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from tinymlops.errors import AccessError
from tinymlops_cli import completion
from tinymlops_cli.commands import command, group
from tinymlops_cli.failures import UsageError
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.rows import is_table, read_file, rows_from
from tinymlops_cli.session import Session

__all__ = ["add_to"]

Reference = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="delay (its champion, else its newest version), delay@latest or delay:3.",
        autocompletion=completion.versions,
    ),
]

_FLAGS = {
    "certfile": "--certfile",
    "keyfile": "--keyfile",
    "proxy_headers": "--proxy-headers",
    "origins": "--origin",
    "allowed_hosts": "--allowed-host",
}


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    command(app)(predict)
    command(app)(serve)
    command(app)(ui)
    outcomes = group(app, "outcomes", "What really happened.")
    command(outcomes, "log")(log_outcomes)
    command(outcomes, "collect")(collect_outcomes)
    command(app)(monitor)


def predict(
    session: Session,
    model: Reference,
    rows: Annotated[
        list[str] | None, typer.Argument(metavar="ROWS", help="JSON objects, or key=value pairs of one row.")
    ] = None,
    *,
    input_file: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", resolve_path=True, help="Rows as JSON, JSON Lines, CSV or Parquet."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", resolve_path=True, help="Write to this Parquet or CSV file, without logging."),
    ] = None,
    timestamp: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="With --output: features as known at this column's times.")
    ] = None,
    details: Annotated[bool, typer.Option("--details", help="Add the status of each feature.")] = False,
) -> Answer:
    """Predict as of now: `tinymlops predict delay@champion carrier=UA origin=EWR`."""
    if output is not None:
        table = input_file if is_table(input_file) and not rows else rows_from(rows, input_file)
        report = session.workspace.predict_batch(model, table, output, timestamp=timestamp)
        return Answer(report, [str(report)])
    if timestamp is not None:
        raise UsageError("--timestamp goes with --output", hint="add --output FILE.parquet")
    predictions = session.workspace.predict(model, rows_from(rows, input_file), details=details, sync=True)
    head = f"{predictions.model}:{predictions.version} at {predictions.timestamp.isoformat()}"
    return Answer(predictions.to_dict(), [head, Table.of(list(predictions))])


def serve(
    session: Session,
    *,
    host: Annotated[
        str, typer.Option(help="An address of this machine; one that is not of loopback needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free port.")] = 8000,
    certfile: Annotated[
        Path | None, typer.Option(metavar="FILE", resolve_path=True, help="A certificate as PEM: serve HTTPS.")
    ] = None,
    keyfile: Annotated[
        Path | None, typer.Option(metavar="FILE", resolve_path=True, help="Its key, if that is not in --certfile.")
    ] = None,
    proxy_headers: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS,...", help="Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."),
    ] = None,
    origin: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Its pages may read and write; may be given several times.")
    ] = None,
    allowed_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="The server's name; may be given several times.")
    ] = None,
    jobs: Annotated[bool, typer.Option("--jobs", help="Run the project's jobs too, in a process of its own.")] = False,
    pages: Annotated[bool, typer.Option("--pages/--no-pages", help="Show pages to browsers, too.")] = True,
) -> Answer:
    """Serve the workspace over HTTP until Ctrl+C; its address is printed on standard error."""
    _use_half_the_cores(session.config.threads)
    from tinymlops.server import serve as serve_workspace
    from tinymlops.server.running import OptionError
    from tinymlops_cli.supervising import SupervisedRunner

    workspace = session.workspace
    beside = SupervisedRunner(session.root, workspace.jobs.path) if jobs else nullcontext()
    try:
        with beside:
            serve_workspace(
                workspace,
                host=host,
                port=port,
                certfile=certfile,
                keyfile=keyfile,
                proxy_headers=proxy_headers.split(",") if proxy_headers else (),
                origins=origin or (),
                allowed_hosts=allowed_host or (),
                pages=pages,
            )
    except OptionError as error:
        raise UsageError(f"{_FLAGS.get(error.option, f'--host {host}')}: {error.message}", hint=error.hint) from error
    except AccessError as error:
        raise UsageError(f"--host {host} --port {port}: {error.message}", hint=error.hint) from error
    return Answer({"host": host, "port": port, "stopped": True}, ["stopped"])


def ui(
    session: Session,
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free port.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the browser.")] = True,
) -> Answer:
    """Show the pages of the workspace in a browser until Ctrl+C, to this machine alone."""
    _use_half_the_cores(session.config.threads)
    from webbrowser import open as show

    from tinymlops.server import serve as serve_workspace

    try:
        serve_workspace(session.workspace, port=port, ready=show if browser else None)
    except AccessError as error:
        raise UsageError(f"--port {port}: {error.message}", hint=error.hint) from error
    return Answer({"port": port, "stopped": True}, ["stopped"])


def log_outcomes(
    session: Session,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", resolve_path=True, help="prediction_id and value as JSON, CSV or Parquet."),
    ],
) -> Answer:
    """Record what really happened: rows of prediction_id and value."""
    report = session.workspace.log_outcomes(read_file(file))
    kept = f", {report.unknown:,} of them for predictions that are not known yet" if report.unknown else ""
    return Answer(report, [f"{report.outcomes:,} outcomes, {report.replaced:,} replaced an earlier one{kept}"])


def collect_outcomes(session: Session, model: Reference) -> Answer:
    """Store the outcomes that the label's source has by now; `monitor` also counts them unstored."""
    stored = session.workspace.collect_outcomes(model)
    return Answer({"outcomes": stored}, [f"{stored:,} outcomes of {model} stored"])


def monitor(
    session: Session,
    model: Reference,
    *,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only predictions from this time on (ISO 8601).")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only predictions before this time (ISO 8601).")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the report: the pages show the last of each day.")] = False,
) -> Answer:
    """Compare predictions with what happened, and their features with the training rows."""
    report = session.workspace.monitor(model, since=since, until=until, keep=keep)
    return Answer(report, [str(report)])


def _use_half_the_cores(threads: int | None) -> None:
    """Use half of the cores for Polars; `threads` in tinymlops.toml takes precedence."""
    from tinymlops.kernels.threads import set_threads, thread_count

    most = threads or max(1, thread_count() // 2)
    os.environ.setdefault("POLARS_MAX_THREADS", str(most))  # Polars reads it at import, which comes later
    set_threads(most)
