"""How busy the GPUs are, as `nvidia-smi` tells, which comes with NVIDIA's driver: no package is needed."""

from __future__ import annotations

import shutil
import subprocess

__all__ = ["Gpus", "gpu_names"]

_FIELDS = {
    "utilization.gpu": ("", 1.0),
    "memory.used": ("/memory", float(1 << 20)),  # MiB
    "power.draw": ("/power", 1.0),
    "temperature.gpu": ("/temperature", 1.0),
}
"""Field of nvidia-smi to the end of a metric's name and the factor to its unit."""
_LONGEST = 5.0
"""Seconds that nvidia-smi may take."""
_PATIENCE = 3
"""Failures in a row after which it is not asked again."""


class Gpus:
    """The GPUs of this machine."""

    def __init__(self) -> None:
        self._command = shutil.which("nvidia-smi")
        self._failures = 0

    def read(self) -> dict[str, float]:
        """Return the load of each GPU, such as `gpu/0` and `gpu/0/memory`; empty where there is none."""
        if self._command is None or self._failures >= _PATIENCE:
            return {}
        answer = _ask(self._command, ["index", *_FIELDS])
        self._failures = self._failures + 1 if answer is None else 0
        values = {}
        for index, *fields in answer or []:
            for (ending, factor), text in zip(_FIELDS.values(), fields, strict=False):
                number = _number(text)
                if number is not None:
                    values[f"gpu/{index}{ending}"] = number * factor
        return values


def gpu_names() -> list[str]:
    """Return the names of the GPUs of this machine."""
    command = shutil.which("nvidia-smi")
    return [] if command is None else [row[0] for row in _ask(command, ["name"]) or []]


def _ask(command: str, fields: list[str]) -> list[list[str]] | None:
    """Return a row of texts for each GPU; None if nvidia-smi fails."""
    arguments = [command, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(  # noqa: S603
            arguments, capture_output=True, stdin=subprocess.DEVNULL, timeout=_LONGEST, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.decode(errors="replace").splitlines()
    return [[field.strip() for field in line.split(",")] for line in lines if line.strip()]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # [N/A]
        return None
