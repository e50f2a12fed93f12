"""The catalog's example is walked through as it is, and shows what its README says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "catalog"


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalog")
    for name in ("market.py", "make_data.py", "show.py", "tinymlops.toml"):
        shutil.copy(EXAMPLE / name, folder)
    done = subprocess.run(
        [sys.executable, "show.py"], cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "walk", done.stdout


def answer(text, command):
    """What the example printed for a command, the first time."""
    return text.partition(f"$ tinymlops {command}\n")[2].partition("\n$ tinymlops ")[0]


def test_a_changed_feature_is_planned_with_what_it_reaches(walk):
    _, text = walk
    plan = text.split("$ tinymlops plan --check\n")[2]
    assert "spent.window 30d -> 60d" in plan
    assert re.search(r"reach: feature view spending reaches training sets: .*models: purchases@champion", plan)
    assert "(exit code 1)" in plan.partition("$ tinymlops apply")[0]
    assert "(exit code 1)" not in text.split("$ tinymlops plan --check\n")[3].partition("$ tinymlops note")[0]
    why = answer(text, "why spending")
    assert "regular customers come every six weeks" in why
    assert "too short for customers" in why


def test_lineage_is_a_tree_and_a_picture(walk):
    folder, text = walk
    assert "model purchases:1 @champion" in answer(text, "lineage orders.amount --downstream")
    assert (folder / "lineage.dot").read_text().startswith("digraph lineage {")
    assert "<svg" in (folder / "lineage.html").read_text()
    assert '"columnLineage"' in (folder / "lineage.jsonl").read_text()


def test_two_versions_stand_in_one_training_set(walk):
    _, text = walk
    assert re.search(r"│ spent +┆ v1_spent │", text)
    assert {"only spent", "only v1_spent"} <= set(re.findall(r"only \w+", text))


def test_the_planted_leak_is_found_and_its_cure_is_clean(walk):
    _, text = walk
    found, cured = text.split("$ tinymlops lint buyers --replay 8\n")[1:]
    assert "leak replay:buyers.times" in found.partition("\n$ tinymlops ")[0]
    assert cured.startswith("nothing found; 1 training set, 8 replayed rows")


def test_a_bad_batch_is_kept_aside_released_and_dropped(walk):
    _, text = walk
    assert len(re.findall(r"^[12] +orders +2 ", answer(text, "checks quarantined"), re.MULTILINE)) == 2
    assert re.search(r"orders .*2", answer(text, "checks release 1"))
    assert "2 rows of orders are dropped" in answer(text, "checks drop 2")


def test_each_cell_that_differs_between_two_builds_has_its_cause(walk):
    _, text = walk
    found = re.search(r"\$ tinymlops diff [0-9a-f]{32} [0-9a-f]{32}\n(.*?)\n\$ tinymlops ", text, re.DOTALL)[1]
    heads, *_, total = [line.split() for line in found.splitlines() if line.startswith(("column ", "all "))]
    assert heads[0] == "column"
    for cause in ("new rows", "correction", "deletion", "definition"):
        assert f"  {cause}" in found.splitlines()[1]
        assert re.search(rf": {cause}( \(|$)", found, re.MULTILINE), cause
    assert all(int(number.replace(",", "")) > 0 for number in total[1:])
    assert "rows only after: 2 spine row" in found


def test_what_is_misspelled_is_found(walk):
    _, text = walk
    assert "spending" in answer(text, "search custommer spendng")
