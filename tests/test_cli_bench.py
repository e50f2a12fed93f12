"""`tinymlops bench`: figures of this machine, anywhere, without a project."""

import json

from command_line import run, succeed

WORKS = ["join of two frames, ttl 7d", "ingest", "historical features", "historical features"]


def test_bench_needs_no_project_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = json.loads(succeed("bench", "--rows", "2000", "--json"))
    assert (told["rows"], told["spine_rows"]) == (2000, 200)
    assert told["machine"]["cores"] >= 1
    assert told["machine"]["copy_gigabytes_per_second"] > 0
    assert [timing["work"].split(":")[0] for timing in told["timings"]] == WORKS
    assert all(timing["seconds"] > 0 and timing["first_seconds"] > 0 for timing in told["timings"])
    assert list(tmp_path.iterdir()) == []


def test_bench_refuses_too_few_rows():
    result = run("bench", "--rows", "10")
    assert result.exit_code == 2
    assert "1000" in result.output
