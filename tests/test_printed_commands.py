"""Every command that a page, an error or a hint prints is one that the command line takes."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer

import tinymlops
import tinymlops_cli
from tinymlops_cli.app import app

ROOTS = [Path(module.__file__).parent for module in (tinymlops, tinymlops_cli)]
COMMAND = re.compile(r"(?<![\w./-])tinymlops (?=[a-z-])([^\n`<\"]*)")
SENTENCES = {"as", "command", "knows", "needs", "only", "server", "serves", "trains", "trusts", "writes"}
"""What the name of the package begins a sentence with."""
COMMANDS = typer.main.get_command(app)
USAGE = typer.BadParameter.__base__
"""What is raised for arguments that a command does not take; Typer does not export it."""
ANY = "1"
"""What stands for a value that is put in."""


def texts_of(path):
    """Return the texts in a file, but no docstrings, with something in the place of what is put in."""
    text = path.read_text(encoding="utf-8")
    if not COMMAND.search(text):
        return []
    if path.suffix == ".html":
        text = re.sub(r"\{\{((?!tinymlops |\}\}).)*\}\}", ANY, text)
        return [re.sub(r'" ~ [^"]*?( ~ "|(?=\) \}\}| %\}))', ANY, text)]
    tree = ast.parse(text)
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    inside = {id(part) for node in joined for part in node.values}
    plain = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [
        *("".join(part.value if isinstance(part, ast.Constant) else ANY for part in node.values) for node in joined),
        *(node.value for node in plain if id(node) not in docs | inside),
    ]


def printed():
    """Return what is printed after "tinymlops ", by the file where it stands first."""
    found = {}
    for root in ROOTS:
        for path in sorted([*root.rglob("*.py"), *root.rglob("*.html")]):
            for text in texts_of(path):
                for said in COMMAND.findall(text):
                    found.setdefault(said.strip(), path.name)
    return {said: name for said, name in found.items() if said.split()[0].rstrip(".,;:)") not in SENTENCES}


def problem_of(said):
    """Return why it is no command; None if it is one, with prose behind it or without, or the bare name of one."""
    words = shlex.split(re.split(r"[;,:)](?:\s|$)|\.(?:\s|$)", said)[0].replace("'", '"'))
    command, context, depth = COMMANDS, None, 0
    while hasattr(command, "commands"):
        context = typer.Context(command, parent=context, info_name="tinymlops")
        inner = command.commands.get(words[depth]) if depth < len(words) else None
        if inner is None:
            return None if depth == len(words) or words[depth] == "--help" else f"there is no command {words[depth]!r}"
        command, depth = inner, depth + 1
    rest = words[depth:]
    if not rest:
        return None
    problem = ""
    least = max((place for place, word in enumerate(rest, 1) if word.startswith("-")), default=0)
    for length in range(len(rest), least - 1, -1):
        try:
            command.make_context(words[depth - 1], rest[:length], parent=context)
        except USAGE as error:
            problem = problem or error.format_message()
        else:
            return None
    return problem


def test_what_is_printed_is_a_command():
    found = printed()
    assert len(found) > 50
    wrong = {f"{name}: tinymlops {said}": problem for said, name in found.items() if (problem := problem_of(said))}
    assert wrong == {}


@pytest.mark.parametrize("said", ["promote MODEL:1", "applyy", "jobs runs", "runs list --nothing", "token create x y"])
def test_what_is_no_command_is_found(said):
    assert problem_of(said)
