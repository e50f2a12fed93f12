"""The guide to runs works as written: its Python, from top to bottom, prints what it says."""

import re
from pathlib import Path

GUIDE = Path(__file__).parent.parent / "docs" / "guide" / "runs.md"


def test_the_guide_to_runs_works_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    names = {}
    try:
        for block in blocks:
            exec(compile(block, str(GUIDE), "exec"), names)
            printed = capsys.readouterr().out
            for said in re.findall(r"^print\(.*\)  # (.+)$", block, re.MULTILINE):
                assert said in printed
    finally:
        names["ws"].close()
    assert len(blocks) >= 3
