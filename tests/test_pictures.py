"""The pictures of the pages: each is made by the script, told in the guide, and small."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
GUIDE = ROOT / "docs" / "guide" / "pages.md"


@pytest.fixture(scope="module")
def made():
    spec = importlib.util.spec_from_file_location("make_pictures", PICTURES / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [name for place in module.PLACES for name in place.shots]


def test_the_script_makes_those_that_are_there_and_the_guide_tells_each(made):
    assert len(set(made)) == len(made)
    assert {path.stem for path in PICTURES.glob("*.png")} == set(made)
    assert set(re.findall(r"\]\(\.\./pictures/([\w-]+)\.png\)", GUIDE.read_text())) == set(made)


def test_together_they_are_small():
    sizes = [path.stat().st_size for path in PICTURES.glob("*.png")]
    assert max(sizes) < 100_000
    assert sum(sizes) < 1_500_000
