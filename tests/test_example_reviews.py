"""The example of reviews runs as it is, on few rows, and shows what its README says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "reviews"


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reviews")
    for name in ("reviews.py", "prepare.py", "demo.py", "tinymlops.toml"):
        shutil.copy(EXAMPLE / name, folder)
    done = subprocess.run(
        [sys.executable, "demo.py", "--rows", "600"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env=os.environ | {"TINYMLOPS_KERNELS": "compiled"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_a_search_of_february_finds_reviews_of_january_alone(shown):
    then = shown.partition("on 1 February:\n")[2].partition("\n\n")[0]
    assert re.findall(r"^  \d\.\d{3}  \d\d (\w+) ", then, re.MULTILINE) == ["Jan"] * 3


def test_the_author_is_gone_from_searches_and_from_the_files(shown):
    assert re.search(r"the best hit for one of them is by author-0$", shown, re.MULTILINE)
    assert re.search(r"after it, the best hit is by author-[1-9]\d*; author-0 in searches of the past: False", shown)
    assert "files that still hold one of the texts: 1\n" in shown
    assert "files that hold one of the texts after the purge: 0\n" in shown


def test_the_text_lifts_the_score_beyond_its_uncertainty(shown):
    lift, low, high = map(float, re.search(r"the text brings +auc (\S+)  95 % between (\S+) and (\S+)", shown).groups())
    assert 0 < low < lift < high
