"""The support file of `doctor --report`: what helps to find a fault, without data, names and secrets."""

import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.config import Config
from tinymlops.errors import DataError
from tinymlops.records import TABLES
from tinymlops.times import system_clock

if TYPE_CHECKING:
    from tinymlops.stores.doctor import Finding, Space
    from tinymlops.stores.environment import Environment

__all__ = ["write_support_file"]

_ABOUT = (
    "A support file of tinymlops, to be read before it is sent. It holds versions, sizes, counts, the results of the checks and "
    "the names of settings. It holds no rows, keys or statistics, no names of definitions, models, runs, users, hosts or "
    "directories, no values of settings or of the environment, and no secrets. Of a check that found something it says only "
    "how often, because the finding itself names things: tinymlops doctor prints it."
)
_VARIABLES = ("POLARS_MAX_THREADS", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "TINYMLOPS_KERNELS", "XDG_CACHE_HOME")


def write_support_file(
    path: Path,
    environment: "Environment",
    *,
    config: Config,
    findings: "Sequence[Finding]",
    space: "Sequence[Space]",
    versions: dict[str, str],
) -> None:
    """Write it as JSON, readable by this user alone.

    Raises:
        DataError: If there is something at its path, or it cannot be written.
    """
    content = {
        "about": _ABOUT,
        "made_at": system_clock(),
        "versions": versions,
        "platform": _platform(),
        "settings": [*_settings(config)],
        "environment": [name for name in _VARIABLES if name in os.environ],
        "commits": environment.database.commits(),
        "rows": {cls.table: environment.database.count(cls) for cls in TABLES},
        "space": space,
        "checks": _checks(findings),
    }
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(content)))
    except OSError as error:
        hint = "name a file that does not exist yet, in a directory that does"
        raise DataError(f"the support file {path} cannot be written: {error.strerror}", hint=hint) from error


def _platform() -> dict[str, object]:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "implementation": platform.python_implementation(),
        "cores": os.cpu_count(),
        "superuser": os.geteuid() == 0,
    }


def _settings(struct: msgspec.Struct, prefix: str = "") -> Iterator[str]:
    """Yield the names of the settings that are not what they are without a `tinymlops.toml`."""
    default = type(struct)()
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if isinstance(value, msgspec.Struct):
            yield from _settings(value, f"{prefix}{name}.")
        elif value != getattr(default, name):
            yield prefix + name


def _checks(findings: "Sequence[Finding]") -> list[dict[str, Any]]:
    """Return the result of each check; only what is fine is quoted, for it names nothing."""
    checks: dict[tuple[str, str], dict[str, Any]] = {}
    for one in findings:
        fresh = {"check": one.check, "level": one.level, "findings": 0}
        known = checks.setdefault((one.check, one.level), fresh)
        known["findings"] += 1
        if one.level == "ok":
            known["detail"] = one.detail
    return list(checks.values())
