"""What a training function is known by: a digest of it and of what it reaches, so that a run goes on with the same code."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from tinymlops.features.definitions.code_cover import cover

__all__ = ["Code", "code_of"]


class Code(msgspec.Struct, frozen=True):
    """The code that a stored result rests on."""

    name: str
    digest: str
    parts: dict[str, str] = {}
    """What the function reaches, each with its own digest."""
    packages: dict[str, str] = {}
    """The installed packages that it names, with their versions."""

    def changes(self, now: Code) -> list[str]:
        """Return what is no longer the same, such as "code of helpers.scale" or "scikit-learn 1.8.0 is now 1.9.1"."""
        if self == now:
            return []
        found = [
            f"code of {name}"
            for name in sorted({*self.parts, *now.parts})
            if self.parts.get(name) != now.parts.get(name)
        ]
        if not found and (self.digest, self.name) != (now.digest, now.name):
            found.append(f"code of {now.name}")
        packages = {**self.packages, **now.packages}
        return found + [
            f"{name} {self.packages.get(name, 'none')} is now {now.packages.get(name, 'none')}"
            for name in sorted(packages)
            if self.packages.get(name) != now.packages.get(name)
        ]


def code_of(function: Any) -> Code:
    """Return what a function, or an estimator, is known by.

    Args:
        function: A function of Python, whose digest covers the functions and constants of the project that it reaches by
            name; an estimator is known by its class, its parameters and the version of scikit-learn.
    """
    if hasattr(function, "get_params"):
        return _of_estimator(function)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    try:
        found = cover(function, anew=True)
    except TypeError:  # not a function of Python: its class is all that there is
        return Code(name, _sha256(f"{type(function).__module__}.{type(function).__qualname__}"))
    return Code(name, found.whole, dict(found.parts), dict(found.packages))


def _of_estimator(estimator: Any) -> Code:
    import sklearn

    parts = {
        f"{type(estimator).__name__}.{name}": _sha256(_written(value))
        for name, value in estimator.get_params(deep=True).items()
    }
    name = f"{type(estimator).__module__}.{type(estimator).__qualname__}"
    return Code(name, _sha256(name + repr(sorted(parts.items()))), parts, {"scikit-learn": sklearn.__version__})


def _written(value: Any) -> str:
    """Write a parameter without the address of an object."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_written, value))}]"
    if hasattr(value, "get_params"):
        return f"{type(value).__module__}.{type(value).__qualname__}"
    text = repr(value)
    return f"{type(value).__module__}.{type(value).__qualname__}" if " at 0x" in text else text


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
