"""`doctor`: check the machine, whether locks work here, and that every stored byte is what was written."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tinymlops.errors import IntegrityError
from tinymlops.progress import progress
from tinymlops.times import system_clock
from tinymlops_cli.commands import command
from tinymlops_cli.failures import EXIT_CODES
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.session import Session
from tinymlops_cli.support_file import write_support_file

if TYPE_CHECKING:
    from tinymlops.stores.doctor import Finding
    from tinymlops.stores.environment import Environment

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(doctor)


def doctor(
    session: Session,
    *,
    compile_now: Annotated[
        bool, typer.Option("--compile", help="Compile the kernels now, so that no first call waits for it.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="First rebuild what is derived: online store, join images, search index, sums of metrics; drop row indexes.",
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            resolve_path=True,
            help="Write a support file too: versions, sizes, counts, checks, without data, names and secrets.",
        ),
    ] = None,
) -> Answer:
    """Check the workspace: every hash, the database, the audit log, locks, space. Without --repair nothing is changed."""
    from tinymlops.stores.doctor import space_of

    if compile_now:
        _compile()
        if not session.has_project:
            return _of_the_machine()
    rebuilt = [covered.view for covered in session.workspace.repair()] if repair else []
    kernels, versions = _kernels(compiled=compile_now), _versions()
    with _opened(session.path) as environment:
        findings, space = _findings(environment), space_of(environment)
        if report is not None:
            write_support_file(
                report, environment, config=session.config, findings=findings, space=space, versions=versions
            )
    damaged = [finding for finding in findings if finding.level == "damaged"]
    verdict = _verdict(damaged)
    return Answer(
        {
            "versions": versions,
            "kernels": kernels,
            "findings": findings,
            "space": space,
            "damaged": len(damaged),
            "rebuilt": rebuilt,
            "report": report,
        },
        [
            Table(["version of", ""], list(versions.items())),
            "",
            Table(["check", "level", "found"], [(one.check, one.level, one.detail) for one in findings]),
            "",
            Table(["kind", "files", "bytes"], [(one.kind, one.files, one.bytes) for one in space]),
            "",
            _where(kernels),
            *([f"support file: {report}"] if report is not None else []),
            *([f"rebuilt the online store: {', '.join(rebuilt) or 'no view was materialized'}"] if repair else []),
            verdict,
        ],
        code=EXIT_CODES[IntegrityError] if damaged else 0,
    )


def _verdict(damaged: "list[Finding]") -> str:
    if not damaged:
        return "nothing is damaged"
    where = dict.fromkeys(finding.check for finding in damaged)
    if where.keys() <= {"online store", "join images", "row indexes", "search index", "sums of metrics"}:
        return f"damaged and derived: {', '.join(where)}; tinymlops doctor --repair rebuilds that"
    return f"{len(damaged)} damaged: restore the workspace from a backup"


@contextmanager
def _opened(path: Path) -> "Iterator[Environment]":
    from tinymlops.stores.environment import open_environment

    environment = open_environment(path, create=False, clock=system_clock)
    try:
        yield environment
    finally:
        environment.release()


def _findings(environment: "Environment") -> "list[Finding]":
    from tinymlops.registry.runs.verifying import check_sums
    from tinymlops.stores.doctor import bytes_to_read, check

    with progress("reading files", bytes_to_read(environment)) as advance:
        return [*check(environment, advance), *check_sums(environment.database)]


def _of_the_machine() -> Answer:
    """Report on the machine alone, where there is no workspace."""
    kernels, versions = _kernels(compiled=True), _versions()
    lines: list[str | Table] = [
        Table(["version of", ""], list(versions.items())),
        "",
        _where(kernels),
        "there is no project here to check",
    ]
    return Answer({"versions": versions, "kernels": kernels}, lines)


def _compile() -> None:
    from tinymlops.kernels.beside import only_one
    from tinymlops_cli.warming import compile_kernels

    typer.echo("compiling the kernels, which takes up to a minute where none are compiled yet", err=True)
    with only_one():  # if another process is compiling too, each takes from the cache what the other has done
        compile_kernels()


def _kernels(*, compiled: bool) -> dict[str, object]:
    from tinymlops.kernels.cache import cache_directory

    return {"cache": cache_directory(), "compiled": compiled}


def _where(kernels: dict[str, object]) -> str:
    return f"compiled kernels: {kernels['cache'] or 'no private directory, so each process compiles'}"


def _versions() -> dict[str, str]:
    from tinymlops.registry.surroundings import package_versions
    from tinymlops.stores.doctor import sqlite_note

    return {**package_versions(), "sqlite": f"{sqlite3.sqlite_version}, {sqlite_note()}"}
