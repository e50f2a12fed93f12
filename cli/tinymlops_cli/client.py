"""`client write`: the client as one Python file, for programs that do not install tinymlops."""

import ast
import importlib.util
from pathlib import Path
from typing import Annotated

import typer

import tinymlops
from tinymlops.errors import ConflictError
from tinymlops_cli.commands import command, group
from tinymlops_cli.output import Answer
from tinymlops_cli.session import Session

__all__ = ["add_to", "one_file"]

_MODULES = (
    "tinymlops.printable",
    "tinymlops.errors",
    "tinymlops.client.answers",
    "tinymlops.client.rows",
    "tinymlops.client.connection",
    "tinymlops.client.nouns",
    "tinymlops.client",
)
_LEFT_OUT = ("IngestError",)
"""Names that stand on what the file does not have."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    inner = group(app, "client", "The client of a server, for programs without tinymlops.")
    command(inner)(write)


def write(
    _: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", resolve_path=True, help="Such as tinymlops_client.py.")],
    *,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the file if there is one.")] = False,
) -> Answer:
    """Write the client as one Python file, which needs httpx and msgspec alone."""
    try:
        with file.open("w" if replace else "x", encoding="utf-8") as opened:
            opened.write(one_file())
    except FileExistsError as error:
        raise ConflictError(f"there is a file {file}", hint="add --replace, or write to another name") from error
    lines = [f"wrote {file}: from {file.stem} import Client", "it needs: pip install httpx msgspec"]
    return Answer({"file": str(file), "version": tinymlops.__version__, "needs": ["httpx", "msgspec"]}, lines)


def one_file() -> str:
    """Return the client and what it stands on as the text of one module."""
    imports: dict[str, None] = {}
    bodies = []
    for name in _MODULES:
        tree = ast.parse(_source(name))
        tree.body = [node for node in tree.body[1:] if not _is_dropped(node, imports)]
        bodies.append(ast.unparse(tree))
    head = f'"""The client of a tinymlops server, version {tinymlops.__version__}, in one file: needs httpx and msgspec."""'
    return "\n\n".join([head, "from __future__ import annotations", "\n".join(sorted(imports)), *bodies]) + "\n"


def _source(name: str) -> str:
    spec = importlib.util.find_spec(name)
    origin = None if spec is None else spec.origin
    assert origin is not None, "it is part of the package"
    return Path(origin).read_text(encoding="utf-8")


def _is_dropped(node: ast.stmt, imports: dict[str, None]) -> bool:
    """Return whether a statement is left out; imports of other packages are kept for the head of the file."""
    match node:
        case ast.ImportFrom(module=str(module)) if module.split(".")[0] in ("tinymlops", "__future__"):
            return True
        case ast.Import() | ast.ImportFrom():
            imports[ast.unparse(node)] = None
            return True
        case ast.ClassDef(name=name):
            return name in _LEFT_OUT
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
    return False
