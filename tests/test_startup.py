"""The first minute: no machine code yet, and answers all the same."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tinymlops.kernels import beside, cache, compiling
from tinymlops.kernels._interpreted import interpreted

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """A cache of this test alone, and kernels that may be interpreted or compiled."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(compiling, "_how", "")
    cache.cache_directory.cache_clear()
    yield tmp_path / "cache"
    cache.cache_directory.cache_clear()


def total(values):
    found = 0
    for i in range(values.size):
        found += values[i]
    return found


def few(values):
    return compiling.frozen(values, np.int64)


def is_machine_code(kernel):
    return bool(kernel.overloads)


def compiles(directory):
    """Return whether a process holds the lock for compiling everything."""
    with open(directory, "a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def eventually(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


# Without machine code.


def test_a_few_rows_are_answered_without_machine_code_while_somebody_compiles(empty_cache):
    kernel = compiling.compiled(total)
    with beside.only_one():
        assert kernel(few([1, 2, 3])) == 6
    assert not is_machine_code(kernel)


def test_many_rows_are_not(empty_cache):
    kernel = compiling.compiled(total)
    with beside.only_one():
        assert kernel(few(range(100_000))) == 4_999_950_000
    assert is_machine_code(kernel)


def test_what_another_process_compiled_is_taken_up(empty_cache):
    kernel = compiling.compiled(total)
    with beside.only_one():
        assert kernel(few([1, 2])) == 3
        compiling.compiled(total).compile((kernel.typeof_pyval(few([1])),))
        assert kernel(few([1, 2])) == 3
    assert is_machine_code(kernel)


def test_what_was_interpreted_is_listed_by_its_types(empty_cache):
    kernel = compiling.compiled(total)
    with compiling.recorded() as found:
        assert kernel(few([1, 2])) == kernel(few([3])) == 3
    assert found == [(kernel, (kernel.typeof_pyval(few([1])),))]
    assert not is_machine_code(kernel)


def test_numbers_of_an_interpreted_kernel_wrap_around_and_divide_as_machine_code_does():
    def steps(whole, real):
        return whole + 1, -whole, real / 0.0, whole * whole

    kernel = compiling.compiled(steps)
    least, most = -(2**63), 2**63 - 1
    for whole in (0, 5, least, most):
        assert interpreted(kernel)(whole, 1.5) == kernel(whole, 1.5)


RULES = (
    *("exact_sums", "kernels_asof", "kernels_online", "kernels_streaming", "kernels_windows", "keys"),
    *("rules_of_time", "point_in_time_join"),
)
OF_MANY_ROWS = (
    "threads or numpy or alone or unknown_aggregate or shuffled or ten_thousand or cache or forked or more_records"
    " or batches_change or duckdbs_asof"
)


def test_interpreted_kernels_keep_every_rule_bit_for_bit():
    files = [str(Path(__file__).with_name(f"test_{name}.py")) for name in RULES]
    mine = os.environ | {"TINYMLOPS_KERNELS": "interpreted", "TINYMLOPS_FUZZ": "0.04"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-x", "-k", f"not ({OF_MANY_ROWS})", *files]
    result = subprocess.run(command, env=mine, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


# The place of compiled code.


def test_where_the_home_cannot_be_written_a_directory_for_temporary_files_is_used(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    directory = Path(cache.cache_directory.__wrapped__())
    assert directory.parent == tmp_path / f"tinymlops-{os.getuid()}"
    assert directory.stat().st_mode & 0o777 == directory.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("mode", "used"), [(0o777, False), (0o1777, True), (0o755, True)])
def test_a_directory_is_used_only_if_no_stranger_can_put_another_in_its_place(tmp_path, monkeypatch, mode, used):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    assert cache.cache_directory.__wrapped__().startswith(str(home)) is used


# Compiling beside the work.

KILLED = """
import os, signal
import numpy as np
from tinymlops.kernels.matching import unmatched
hashes = np.arange(3, dtype=np.uint64)
unmatched(hashes, hashes, hashes, hashes)
print(flush=True)
signal.pause()
"""


def environment(cache):
    """The environment of a user without compiled kernels."""
    mine = {name: value for name, value in os.environ.items() if name != "TINYMLOPS_KERNELS"}
    return mine | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def lock_in(cache):
    (directory,) = (cache / "tinymlops").glob("numba-*")
    return directory / "compiling.lock"


def test_the_process_beside_ends_with_the_one_that_started_it(tmp_path):
    command = [sys.executable, "-c", KILLED]
    with subprocess.Popen(command, env=environment(tmp_path), stdout=subprocess.PIPE) as user:
        user.stdout.readline()
        lock = lock_in(tmp_path)
        eventually(lambda: compiles(lock))
        user.send_signal(signal.SIGKILL)
    eventually(lambda: not compiles(lock))


def test_the_first_page_answers_without_machine_code_and_leaves_nothing_running(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    code += "\nimport sys; print([name for name, module in sys.modules.items() if name.startswith('tinymlops.kernels.')"
    code += " for kernel in vars(module).values() if getattr(kernel, 'overloads', None)])"
    (tmp_path / "shop.py").write_text(code)
    cache = tmp_path / "cache"
    result = subprocess.run(
        [sys.executable, "-W", "error", "shop.py"], cwd=tmp_path, env=environment(cache), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[]"
    rows = [re.findall(r"[\d.]+", line) for line in result.stdout.splitlines() if line.startswith("│ 7")]
    assert [row[-3:] for row in rows[:2]] == [["5.0", "25.0", "0.5"], ["30.0", "55.0", "0.666667"]]
    assert not compiles(lock_in(cache))
