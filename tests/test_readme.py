"""The README's example runs as it is written, and its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_first_page_runs_as_it_is_written(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    script = tmp_path / "shop.py"
    script.write_text(code)
    result = subprocess.run([sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "3 to apply" in result.stdout
    assert (tmp_path / "shop.tm" / "meta.db").exists()
    # On the 15th of April the order of the 28th was not known; on the 30th that of the 1st still counted.
    rows = [re.findall(r"[\d.]+", line) for line in result.stdout.splitlines() if line.startswith("│ 7")]
    assert [row[-3:] for row in rows[:2]] == [["5.0", "25.0", "0.5"], ["30.0", "55.0", "0.666667"]]


def test_every_command_that_it_shows_exists():
    commands = set(re.findall(r"^tinymlops (\w+)", README, re.MULTILINE))
    help_text = subprocess.run(
        [sys.executable, "-m", "tinymlops_cli.main", "--help"], capture_output=True, text=True, check=True
    ).stdout
    known = set(re.findall(r"^  (\w+) ", help_text, re.MULTILINE))
    assert commands
    assert commands <= known
