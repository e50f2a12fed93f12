"""The guide to ablations and sweeps works as written: its Python, from top to bottom, prints what it says."""

import re
from pathlib import Path

GUIDE = Path(__file__).parent.parent / "docs" / "guide" / "ablation.md"


def words(text):
    """Return what does not hang on the last digits of a number."""
    return re.sub(r"[+-]?\d+\.\d+", "N", text).split()


def test_the_guide_to_ablations_works_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names, printed, compared = {"__name__": "guide"}, "", 0
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL):
        if language == "text":
            assert words(block) == words(printed)
            compared += 1
            continue
        exec(compile(block, str(GUIDE), "exec"), names)
        printed = capsys.readouterr().out
        said = re.findall(r"^print\(.*\)  # (.+)$", block, re.MULTILINE)
        assert [line for line in said if line not in printed.splitlines()] == []
        compared += len(said)
    assert compared == 6
