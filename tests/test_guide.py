"""The first guide works as written: its files, its commands and a server, in an empty directory, and its output."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

GUIDES = Path(__file__).parent.parent / "docs" / "guide"
GUIDE = (GUIDES / "churn.md").read_text()
PATIENCE = 300
PORT = "127.0.0.1:8000"


class Block(NamedTuple):
    """A block between two fences."""

    language: str
    option: str
    text: str


class Reader:
    """A reader who follows the guide from top to bottom in an empty directory."""

    def __init__(self, directory):
        self.directory = directory
        self.address = PORT
        self.server = None
        self.ids = {}
        self.environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def follow(self, block):
        """Run a block, and return what was printed."""
        if block.option == "server":
            return self.serve(block.text)
        if block.language == "sh":
            return self.run(block.text)
        kind, _, name = block.option.partition("=")
        file = self.directory / name.strip('"')
        if kind == "title":
            file.write_text(block.text)
        elif kind == "replace":
            file.write_text(with_line(file.read_text(), block.text.rstrip("\n")))
        else:  # the beginning of the table
            assert block.language == "csv"
            lines = (self.directory / "data" / "orders.csv").read_text().splitlines()
            assert normal(block.text) == normal("\n".join(lines[: block.text.count("\n")]))
        return None

    def run(self, text):
        for shown, own in self.ids.items():
            text = text.replace(shown, own)
        result = subprocess.run(
            ["bash", "-e", "-c", text.replace(PORT, self.address)],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert result.returncode == 0, f"{text}\n{result.stdout}"
        said = re.sub(r"^tinymlops: compiling .*\n", "", result.stdout, flags=re.MULTILINE)  # once, on a new machine
        return said.replace(str(self.directory), "/home/you/churn")

    def note(self, shown, printed):
        """Remember the ids that were printed in place of those that the guide shows."""
        self.ids.update(zip(*(re.findall(r'"id": ?"(\w+)"', text) for text in (shown, printed)), strict=True))

    def serve(self, text):
        self.server = subprocess.Popen(
            [*text.split(), "--port", "0"], cwd=self.directory, env=self.environment, stderr=subprocess.PIPE, text=True
        )
        said = next(line for line in self.server.stderr if line.startswith("serving on"))
        self.address = said.partition("http://")[2].partition(" ")[0]
        return said.replace(self.address, PORT)

    def leave(self):
        """Press Ctrl+C in the server's terminal."""
        self.server.send_signal(signal.SIGINT)
        self.server.communicate(timeout=PATIENCE)
        return self.server.returncode


def blocks(text):
    found = re.findall(r"^```(\w+) ?(.*?)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(*one) for one in found]


def with_line(content, line):
    """Replace the line that differs from this one only in what is quoted."""
    shape = re.sub(r'"\w+"', '""', line)
    (before,) = [one for one in content.splitlines() if re.sub(r'"\w+"', '""', one) == shape]
    return content.replace(before, line)


STABLE = re.compile(r"\d+ orders|orders +\d|\d+ to apply|churn version")


def normal(text):
    """Reduce output to what is the same on every day: words, and the numbers of stable lines."""
    if text.startswith("{"):
        text = json.dumps(json.loads(text))
    lines = [re.sub(r"\s+", " ", line).strip() for line in text.strip().splitlines()]
    return [re.sub(r"\d+\.\d+$", "SECONDS", line) if STABLE.match(line) else _words(line) for line in lines]


def _words(line):
    line = re.sub(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+]\d\d:\d\d)?)?", "TIME", line)
    line = re.sub(r"\d+\.\d+(e-\d+)?", "N", line)
    line = re.sub(r"\b[0-9a-f]{8,32}\b", "ID", line)
    return re.sub(r"\d+(,\d{3})*", "N", line)


def same(shown, printed):
    """Compare what the guide shows with what was printed; a last line of three dots stands for the rest."""
    expected, found = normal(shown), normal(printed)
    if expected[-1] == "...":
        expected, found = expected[:-1], found[: len(expected) - 1]
    assert found == expected, printed


def follow(directory, compare):
    """Follow the whole guide; compare each thing that it shows with what was printed."""
    reader, printed = Reader(directory), None
    first, *rest = blocks(GUIDE)
    assert first == Block("sh", "", "pip install tinymlops\n")
    try:
        for block in rest:
            if block.language in {"text", "json"}:
                compare(block.text, printed)
                reader.note(block.text, printed)
            else:
                printed = reader.follow(block)
        assert reader.leave() in {0, 130}
    finally:
        if reader.server is not None and reader.server.poll() is None:
            reader.server.kill()
            reader.server.communicate()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide asks the server with curl")
def test_the_guide_from_a_table_to_a_served_model_runs_as_it_is_written(tmp_path):
    follow(tmp_path, same)
    assert (tmp_path / "churn.tm" / "meta.db").exists()


@pytest.mark.parametrize("page", sorted(GUIDES.glob("*.md")), ids=lambda page: page.name)
def test_the_links_of_a_guide_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
