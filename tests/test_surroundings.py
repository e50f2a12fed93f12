"""What a run stands on: commit, patch, packages and machine, read in the background; no program of a repository is run."""

import hashlib
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tinymlops.registry.git import git_patch, git_state, repository_of
from tinymlops.registry.machine import machine_facts
from tinymlops.registry.surroundings import package_versions, read_surroundings
from tinymlops.secrets import without_credentials


class Repository:
    def __init__(self, path):
        self.path = path
        path.mkdir()
        self("init", "-b", "main")
        self.write("a.py", "one\ntwo\nthree\n")
        self.commit()

    def __call__(self, *arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *identity, *arguments], cwd=self.path, check=True, capture_output=True)
        return done.stdout.decode().strip()

    def write(self, name, content):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def commit(self):
        self("add", "-f", ".")
        self("commit", "-m", "x")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    return Repository(tmp_path / "code")


def test_a_patch_brings_a_checkout_to_the_state_of_the_run(repository, tmp_path):
    repository.write("größe & co/b c.py", "x = 1\n")
    repository.commit()
    assert git_patch(repository.path) is None
    repository.write("a.py", "one\n2\nthree\nno end")
    repository.write("größe & co/b c.py", "")
    repository.write("untracked.py", "y")
    repository.write("staged.py", "z = 1\n")
    repository("add", "staged.py")
    patch = git_patch(repository.path / "größe & co")  # also from below
    assert "untracked" not in patch
    subprocess.run(["git", "clone", "-q", str(repository.path), "clone"], cwd=tmp_path, check=True, capture_output=True)
    subprocess.run(["git", "apply"], cwd=tmp_path / "clone", input=patch.encode(), check=True, capture_output=True)
    for name in ("a.py", "größe & co/b c.py", "staged.py"):
        assert (tmp_path / "clone" / name).read_bytes() == (repository.path / name).read_bytes()
    (repository.path / "a.py").unlink()
    assert "deleted file mode" in git_patch(repository.path)


def test_settings_of_the_user_do_not_change_the_patch(repository):
    repository.write("a.py", "one\n2\nthree\n")
    before = git_patch(repository.path)
    for name, value in {
        "diff.noprefix": "true",
        "diff.mnemonicPrefix": "true",
        "color.ui": "always",
        "color.diff": "always",
        "core.pager": "false",
        "diff.context": "0",
        "diff.relative": "true",
        "diff.renames": "copies",
    }.items():
        repository("config", name, value)
    assert git_patch(repository.path) == before


def test_what_is_left_out_of_a_patch_is_told(repository, tmp_path):
    names = [
        ".env",
        "deploy/.env.local",
        "server.pem",
        "id_rsa",
        "aws-credentials.json",
        "api_tokens.txt",
        "x.bin",
        "big.csv",
    ]
    for name in names:
        repository.write(name, "old\n")
    repository.write("secrets.py", "a = 1\n")
    repository.commit()
    for name in names:
        repository.write(name, "hunter2\n")
    repository.write("x.bin", bytes(range(256)))
    repository.write("big.csv", "hunter2,1\n" * 200_000)
    repository.write("secrets.py", "a = 2\n")
    repository.write("z.py", "last\n")
    repository("add", "z.py")
    patch = git_patch(repository.path)
    assert set(re.findall(r"^# left out: (.*)$", patch, re.MULTILINE)) == {
        *(f"{name} (it may hold secrets)" for name in names[:6]),
        "x.bin (binary)",
        "big.csv (too large)",
    }
    assert "hunter2" not in patch
    assert re.findall(r"^diff --git a/(\S+)", patch, re.MULTILINE) == ["secrets.py", "z.py"]
    subprocess.run(["git", "clone", "-q", str(repository.path), "clone"], cwd=tmp_path, check=True, capture_output=True)
    subprocess.run(["git", "apply"], cwd=tmp_path / "clone", input=patch.encode(), check=True)


def test_of_a_gigantic_difference_only_the_beginning_is_read(repository):
    for name in ("b.csv", "c.csv", "z.py"):
        repository.write(name, "x\n")
    repository.commit()
    repository.write("a.py", "2\n")
    for name in ("b.csv", "c.csv"):
        repository.write(name, "0123456789\n" * 1_000_000)
    repository.write("z.py", "y\n")
    patch = git_patch(repository.path)
    assert len(patch) < 1000
    assert "\n+2\n" in patch
    assert "# left out: b.csv (too large)" in patch
    assert "# left out: c.csv and what follows" in patch


def test_secrets_in_code_are_left_out_of_a_patch(repository, monkeypatch):
    monkeypatch.setenv("SHOP_PASSWORD", "correct horse")
    repository.write(
        "a.py",
        'API_KEY = "0123456789abcdef"\nurl = "postgresql://shop:hunter2@db/shop"\nlogin("correct horse")\n'
        "bot: 'ghp_0123456789abcdefghij'\nsame = f(sk-0123456789abcdefghij)\n"
        "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\nMIIdef\n-----END RSA PRIVATE KEY-----\nepochs = 3\n",
    )
    patch = git_patch(repository.path)
    for secret in ("0123456789", "hunter2", "correct horse", "MII"):
        assert secret not in patch
    assert patch.count("<secret>") == 6
    assert "+epochs = 3" in patch


def test_code_without_secrets_is_kept_as_it_is():
    code = (
        'tokens = tokenizer("some text")\ntoken: "embedding"\npassword = getpass()\nkey = "a"\n'
        'api_key = None\nrisk-free = "sk-learn"\n'
    )
    assert without_credentials(code) == code


PROGRAMS = {
    "core.fsmonitor": "{program}",
    "core.hooksPath": "hooks",
    "diff.external": "{program}",
    "diff.evil.command": "{program}",
    "diff.evil.textconv": "{program}",
    "filter.evil.clean": "{program}; cat",
    "filter.evil.required": "true",
    "filter.e=v.il.process": "{program}",
    "core.pager": "{program}",
    "core.sshCommand": "{program}",
}


def test_no_program_of_a_hostile_repository_is_run(repository, tmp_path):
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho $0 $* >> {ran}\n")
    program.chmod(0o755)
    (repository.path / "hooks").mkdir()
    (repository.path / "hooks" / "post-index-change").symlink_to(program)
    repository.write(".gitattributes", "*.py diff=evil filter=evil\n*.txt filter=e=v.il\n")
    repository.write("b.txt", "b\n")
    repository.commit()
    for name, value in PROGRAMS.items():
        repository("config", name, value.format(program=program))
    for name in ("a.py", "b.txt"):
        repository.write(name, "changed\n")
    subprocess.run(["git", "diff", "HEAD"], cwd=repository.path, capture_output=True, check=False)
    assert ran.exists()  # git alone would run it
    ran.unlink()
    index = (repository.path / ".git" / "index").read_bytes()
    assert git_state(repository.path)[1] is True
    assert "+changed" in git_patch(repository.path)
    assert not ran.exists()
    assert (repository.path / ".git" / "index").read_bytes() == index


def test_a_submodule_is_not_entered(repository, tmp_path):
    inner = Repository(tmp_path / "inner")
    repository("-c", "protocol.file.allow=always", "submodule", "add", str(inner.path), "inner")
    repository.commit()
    ran = tmp_path / "ran"
    repository("-C", "inner", "config", "core.fsmonitor", f"touch {ran}")
    repository.write("inner/a.py", "changed\n")
    repository.write("a.py", "changed\n")
    assert git_state(repository.path)[1] is True
    assert "inner" not in git_patch(repository.path)
    assert not ran.exists()


def test_a_place_without_a_repository_has_no_patch(tmp_path, monkeypatch):
    assert git_patch(tmp_path) is None
    (tmp_path / ".git").mkdir()  # a broken one
    assert (git_patch(tmp_path), git_state(tmp_path)) == (None, (None, False))
    monkeypatch.setenv("PATH", "")
    assert git_patch(tmp_path) is None
    assert git_patch(tmp_path / "gone") is None


def test_a_repository_before_its_first_commit_has_no_patch(tmp_path):
    subprocess.run(["git", "init"], cwd=tmp_path, check=True, capture_output=True)
    assert git_patch(tmp_path) is None


def test_a_repository_is_known_by_where_it_is(repository, tmp_path):
    (repository.path / "deep" / "er").mkdir(parents=True)
    assert repository_of(repository.path / "deep" / "er") == repository.path
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / ".git").write_text("gitdir: ../code/.git")  # as of a worktree
    assert repository_of(tmp_path / "link") == tmp_path / "link"
    assert repository_of(Path("/proc/self")) is None


def read(directory):
    """Return the surroundings, and whether they were known before."""
    reading = read_surroundings(directory)
    known = reading.done is not None
    told, ready = [], threading.Event()
    reading.then(lambda found: (told.append(found), ready.set()))
    assert ready.wait(30)
    return told[0], known


def test_surroundings_are_read_once_for_each_repository(repository, tmp_path):
    first, was_known = read(repository.path)
    assert not was_known
    assert first.git_commit == repository("rev-parse", "HEAD")
    assert (first.git_dirty, first.patch) == (False, None)
    assert first.packages == package_versions()
    assert first.machine == machine_facts()
    (repository.path / "below").mkdir()
    repository.write("a.py", "changed")
    assert read(repository.path / "below") == (first, True)
    other = Repository(tmp_path / "other")
    other.write("a.py", "changed")
    second, was_known = read(other.path)
    assert not was_known
    assert second.git_commit == other("rev-parse", "HEAD")
    assert b"+changed" in second.patch
    assert second.patch_sha256 == hashlib.sha256(second.patch).hexdigest()


def test_a_machine_is_told_without_its_environment():
    facts = machine_facts()
    assert facts["cores"] >= 1
    assert facts["memory"] > 1 << 20
    assert all(facts[name] for name in ("host", "processor", "system"))
    assert "gpus" not in facts
    values = {
        value for name, value in os.environ.items() if len(value) > 8 and name not in ("HOSTNAME", "HOST", "NAME")
    }
    assert not values & {str(fact) for fact in facts.values()}


def test_gpus_are_told_by_nvidias_tool(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA A100'\necho 'NVIDIA T4'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert machine_facts()["gpus"] == "NVIDIA A100, NVIDIA T4"


def test_a_forked_child_reads_what_the_parent_was_still_reading(repository):
    code = """
import os, sys, threading
from pathlib import Path
from tinymlops.registry import surroundings

go, begun = threading.Event(), threading.Event()
state = surroundings.git_state
surroundings.git_state = lambda directory: (begun.set(), go.wait(), state(directory))[2]
first = []
surroundings.read_surroundings(Path.cwd()).then(first.append)
begun.wait()
child = os.fork()
go.set()
if child == 0:
    told, done = [], threading.Event()
    surroundings.read_surroundings(Path.cwd()).then(lambda found: (told.append(found), done.set()))
    assert done.wait(20)
    os._exit(0 if told[0].git_commit else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", code], cwd=repository.path, check=True, timeout=60)
