"""`init`: a complete small project and its workspace."""

from pathlib import Path
from typing import Annotated

import typer

from tinymlops.config import FILE_NAME, read_config
from tinymlops.errors import ConflictError, DataError, DefinitionError, near
from tinymlops.times import system_clock
from tinymlops_cli.commands import command
from tinymlops_cli.failures import UsageError
from tinymlops_cli.output import Answer
from tinymlops_cli.session import Session
from tinymlops_cli.templating import TEMPLATES, files_of

__all__ = ["add_to"]

_NEXT = {
    "minimal": [
        "tinymlops apply",
        "tinymlops ingest",
        "tinymlops materialize",
        "tinymlops features online spending customer_id=1",
    ],
    "flights": ['pip install "tinymlops[examples]"', "python prepare.py", "tinymlops apply", "tinymlops ingest"],
}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(init)


def init(
    session: Session,  # noqa: ARG001 - there is no project yet
    directory: Annotated[Path, typer.Argument(metavar="DIR", resolve_path=True, help="Created if needed.")] = Path(),
    *,
    template: Annotated[
        str | None, typer.Option(help="minimal or flights; minimal if there is no tinymlops.toml yet.")
    ] = None,
) -> Answer:
    """Write a small project that works as it is, and create its workspace.

    In a directory with a tinymlops.toml only the workspace is created. No file is ever overwritten.
    """
    begun = template is None and (directory / FILE_NAME).is_file()
    written = [] if begun else _write(directory, template or "minimal")
    workspace = _make_workspace(directory)
    following = [f"cd {directory}"] if directory != Path.cwd() else []
    following += ["tinymlops apply"] if begun else _NEXT[template or "minimal"]
    view = [f"wrote {directory / name}" for name in written]
    view += [f"made the workspace {workspace}", "", "next:", *(f"  {line}" for line in following)]
    return Answer({"directory": directory, "files": written, "workspace": workspace, "next": following}, view)


def _write(directory: Path, template: str) -> list[str]:
    if template not in TEMPLATES:
        raise UsageError(f"there is no template {template!r}", hint=near(template, TEMPLATES))
    files = files_of(template, system_clock())
    _refuse_clashes(directory, files)
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # "x": a file that another process wrote first is kept.
        with path.open("xb") as file:
            file.write(content)
    return list(files)


def _refuse_clashes(directory: Path, files: dict[str, bytes]) -> None:
    if directory.exists() and not directory.is_dir():
        raise DataError(f"{directory} is a file", hint="name a directory")
    clashes = [name for name in files if (directory / name).exists()]
    if clashes:
        raise ConflictError(
            f"{directory} already holds {', '.join(clashes)}, and nothing is overwritten",
            hint="name another directory, or move what is there",
        )


def _make_workspace(directory: Path) -> Path:
    from tinymlops.workspace import connect

    name = read_config(directory).workspace
    if name is None:
        raise DefinitionError(
            f"{directory / FILE_NAME} names no workspace", hint='add a line such as workspace = "shop.tm"'
        )
    path = directory / name
    if (path / "meta.db").exists():
        raise ConflictError(f"{path} is a workspace already", hint="go on: tinymlops plan")
    connect(path, create=True, root=directory).close()
    return path
