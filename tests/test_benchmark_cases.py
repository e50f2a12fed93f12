"""The twenty questions of benchmarks/cases.py, asked of tinymlops alone, and the page that says what it answers."""

import pytest

from cases import CASES
from correctness import BEGIN, END, PAGE, answer, cell
from peers import OURS

NAMES = [case.name for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_each_case_is_answered_as_the_rule_says(case, tmp_path):
    assert cell(answer(OURS, case, tmp_path / "tables"), case.right) == "right"


def test_the_page_says_of_tinymlops_what_it_answers():
    lines = PAGE.read_text().split(BEGIN)[1].split(END)[0].strip().splitlines()
    rows = [[part.strip() for part in line.strip("|").split("|")] for line in lines]
    assert rows[0][2].startswith("tinymlops ")
    assert [(row[0], row[2]) for row in rows[2 : 2 + len(CASES)]] == [(name, "right") for name in NAMES]


def test_there_are_twenty_cases_and_a_wrong_answer_is_not_called_right():
    assert len(set(NAMES)) == 20
    assert cell([1.0, "lost"], [1.0, None]) == "**1, row lost**"
    assert cell([1.0], "refused") == "**1**"
    assert cell({"error": "KeyError", "message": ""}, [1.0]) == "error: KeyError"
