"""The environment of a run: the commit of the code and the versions of the packages."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

__all__ = ["git_state", "package_versions"]

_PACKAGES = (
    *("tinymlops", "scikit-learn", "skops", "polars", "numpy", "scipy", "pandas"),
    *("pyarrow", "duckdb", "lightgbm", "xgboost", "catboost", "torch"),
)
_LONGEST = 3.0
"""Seconds that git may take; on a slower file system the commit is left out."""


def git_state(directory: Path) -> tuple[str | None, bool]:
    """Return the commit that a directory has checked out, and whether tracked files differ from it.

    Returns:
        (None, False) outside of a repository, without git, or before the first commit.
    """
    git = shutil.which("git")
    if git is None:
        return None, False
    # A repository's own settings may name a program to run; a mere status query must not start it.
    command = [git, "-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            cwd=directory,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            timeout=_LONGEST,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None, False
    lines = done.stdout.decode(errors="replace").splitlines()
    commits = [line.removeprefix("# branch.oid ") for line in lines if line.startswith("# branch.oid ")]
    if not commits or commits[0] == "(initial)":
        return None, False
    return commits[0], any(not line.startswith("#") for line in lines)


def package_versions() -> dict[str, str]:
    """Return the installed versions of Python and of the packages that a model's answers may depend on."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
