"""`ingest --follow`: a file or standard input, until a signal."""

import json
import signal
import subprocess
import time

import pytest
from command_line import PROGRAM, ask, refused, succeed, write_shop

import tinymlops as tm


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = write_shop(tmp_path_factory.mktemp("shop"))
    succeed("init", folder)
    succeed("apply", "--project", folder)
    return folder


def line(click):
    row = {"click_id": click, "customer_id": 1, "at": "2024-01-01T00:00:00Z", "seconds": 1.0}
    return json.dumps(row) + "\n"


def stored(shop):
    with tm.connect(shop / "shop.tm") as ws:
        return ws.sql("select click_id from clicks_history order by __sequence")["click_id"].to_list()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(shop, tmp_path, number):
    names = [f"{number.name}{n}" for n in range(4)]
    file = tmp_path / "clicks.jsonl"
    command = [PROGRAM, "ingest", "clicks", "--follow", "clicks.jsonl", "--json", "--project", shop]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        file.write_text("".join(map(line, names)))
        end = time.monotonic() + 60
        while names[-1] not in stored(shop) and time.monotonic() < end and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        said, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    answer = json.loads(said)
    assert (answer["path"], answer["rows_new"], answer["lines"]) == (str(file), 4, 4)
    assert [one for one in stored(shop) if one in names] == names
    assert ask("ingest", "clicks", "--follow", file, "--once", "--project", shop)["lines"] == 0


def test_standard_input_is_read_to_its_end(shop):
    text = line("piped1") + line("piped2").strip()
    command = [PROGRAM, "ingest", "clicks", "--follow", "-", "--project", shop]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("<followed - into clicks: 2 lines, 2 new; Q=")
    assert {"piped1", "piped2"} <= {*stored(shop)}


def test_a_bad_line_has_the_exit_code_of_bad_data(shop, tmp_path):
    file = tmp_path / "clicks.jsonl"
    file.write_text(line("good") + "no row\n")
    said = refused(6, "ingest", "clicks", "--follow", file, "--once", "--project", shop)
    assert f"line 2 of {file}" in said
    assert "--bad-lines skip" in said
    assert "good" in stored(shop)
    skipped = ask("ingest", "clicks", "--follow", file, "--once", "--bad-lines", "skip", "--project", shop)
    assert (skipped["lines"], skipped["lines_refused"]) == (1, 1)


@pytest.mark.parametrize(
    "options",
    [
        ["--follow", "x"],
        ["clicks", "orders", "--follow", "x"],
        ["clicks", "--follow", "x", "--full"],
        ["clicks", "--once"],
    ],
)
def test_options_that_do_not_go_together(shop, options):
    assert "--follow" in refused(2, "ingest", *options, "--project", shop)
