"""The state of the code of a run: its commit, and the changes that are not committed.

A repository may come from a stranger, and its own settings can name programs: hooks, a monitor of files, drivers of
differences and of filters, helpers that fetch. None of them is run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from tinymlops.secrets import without_credentials

__all__ = ["git_patch", "git_state", "repository_of"]

_LONGEST = 3.0
"""Seconds that git may take; on a slower file system the commit is left out."""
_LONGEST_DIFFERENCE = 10.0
_LARGEST_PATCH = 1 << 20
_MOST_READ = 16 << 20
"""Bytes of a difference; what follows is not even looked at."""
_BEGIN = b"diff --git "
_SECRET = re.compile(
    r"\.env(\..*)?|\.netrc|\.pgpass|\.pypirc|\.npmrc|\.htpasswd|id_(rsa|dsa|ecdsa|ed25519).*"
    r"|.*\.(pem|key|p12|pfx|jks|kdbx|keytab|env|tfvars|tfstate)"
    r"|.*(secret|credential|password|token)s?[^/]*\.(json|ya?ml|toml|ini|cfg|conf|txt|csv|xml|properties)",
    re.IGNORECASE,
)
"""Names of files that are there to hold secrets."""


def repository_of(directory: Path) -> Path | None:
    """Return the directory of the repository that a directory is in; no program is run."""
    return next((one for one in (directory, *directory.parents) if os.path.lexists(one / ".git")), None)


def git_state(directory: Path) -> tuple[str | None, bool]:
    """Return the commit that a directory has checked out, and whether tracked files differ from it.

    Returns:
        (None, False) outside of a repository, without git, or before the first commit.
    """
    arguments = ["status", "--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules=dirty"]
    answer = _answer(directory, arguments, guarded=True)
    lines = (answer or b"").decode(errors="replace").splitlines()
    commits = [line.removeprefix("# branch.oid ") for line in lines if line.startswith("# branch.oid ")]
    if not commits or commits[0] == "(initial)":
        return None, False
    return commits[0], any(not line.startswith("#") for line in lines)


def git_patch(directory: Path) -> str | None:
    """Return the changes of tracked files since the commit, as `git apply` reads them; None if there are none.

    At most 1 MB of whole files is kept. Binary files, files that are there to hold secrets, and what is too large are left out,
    and listed at the top; what looks like a secret in the others is replaced.
    """
    arguments = ["diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--ignore-submodules=dirty"]
    arguments += ["--src-prefix=a/", "--dst-prefix=b/", "--unified=3", "HEAD"]
    command, environment = _command(arguments), _environment(directory, guarded=True)
    if command is None:
        return None
    try:
        process = subprocess.Popen(  # noqa: S603
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None
    end = threading.Timer(_LONGEST_DIFFERENCE, process.kill)
    end.daemon = True
    end.start()
    with process:
        assert process.stdout is not None
        content = process.stdout.read(_MOST_READ)
        cut = len(content) == _MOST_READ
        if cut:
            process.kill()
    end.cancel()
    return _patch(content, cut=cut or process.returncode != 0) if content else None


def _patch(content: bytes, *, cut: bool) -> str:
    left_out, kept, size = [], [], 0
    sections = list(_sections(content))
    unfinished = sections.pop() if cut and sections else None
    for section in sections:
        path = _path_of(section)
        reason = _reason(section, path)
        if reason is None and size + len(section) > _LARGEST_PATCH:
            reason = "too large"
        if reason is None:
            kept.append(section)
            size += len(section)
        else:
            left_out.append(f"# left out: {path} ({reason})\n")
    if unfinished is not None:
        left_out.append(f"# left out: {_path_of(unfinished)} and what follows (git says more than is read)\n")
    return "".join(left_out) + without_credentials(b"".join(kept).decode(errors="replace"))


def _sections(content: bytes) -> Iterator[bytes]:
    """Return the part of each file."""
    starts = [found.start() for found in re.finditer(rb"^diff --git ", content, re.MULTILINE)]
    for start, stop in zip(starts, [*starts[1:], len(content)], strict=True):
        yield content[start:stop]


def _path_of(section: bytes) -> str:
    both = section[len(_BEGIN) : (section + b"\n").index(b"\n")].decode(errors="replace")
    return both[len(both) // 2 + 1 :].strip('"').removeprefix("b/")


def _reason(section: bytes, path: str) -> str | None:
    """Return why a file is left out; None if it is not."""
    if _SECRET.fullmatch(path.rpartition("/")[2]):
        return "it may hold secrets"
    head = section.partition(b"\n@@")[0]
    if b"\nBinary files " in head or b"\nGIT binary patch" in head:
        return "binary"
    return None


def _answer(directory: Path, arguments: list[str], *, guarded: bool) -> bytes | None:
    """Return what git answers; None without git or outside of a repository."""
    command = _command(arguments)
    if command is None:
        return None
    try:
        return subprocess.run(  # noqa: S603
            command,
            cwd=directory,
            env=_environment(directory, guarded=guarded),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LONGEST,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _command(arguments: list[str]) -> list[str] | None:
    git = shutil.which("git")
    if git is None:
        return None
    settings = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "core.quotePath=false", "diff.external=")
    return [git, "--no-pager", *(part for setting in settings for part in ("-c", setting)), *arguments]


def _environment(directory: Path, *, guarded: bool) -> dict[str, str]:
    """Return the variables for git: it takes no locks, asks nobody, and fetches nothing that a partial clone lacks."""
    variables = {name: value for name, value in os.environ.items() if name != "GIT_EXTERNAL_DIFF"}
    variables |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    variables |= {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": ""}
    if guarded:
        first = int(count) if (count := variables.get("GIT_CONFIG_COUNT", "")).isdigit() else 0
        settings = list(_without_filters(directory))
        for number, (key, value) in enumerate(settings, first):
            variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        variables["GIT_CONFIG_COUNT"] = str(first + len(settings))
    return variables


def _without_filters(directory: Path) -> Iterator[tuple[str, str]]:
    """Return settings by which no filter of the repository, which is a program, is run over changed files."""
    pattern = r"^filter\..*\.(clean|process|smudge|required)$"
    answer = _answer(directory, ["config", "--null", "--name-only", "--get-regexp", pattern], guarded=False)
    for key in (answer or b"").decode(errors="surrogateescape").split("\0"):
        if key:
            yield key, "false" if key.endswith(".required") else ""
