"""Run a kernel as plain Python, with bit for bit the results of its machine code.

This way a kernel that is not compiled yet answers for a few rows at once. NumPy's scalars have the machine's
arithmetic: an overflow wraps around, and a division by zero is infinite. A few names mean something else to Python
than to numba; an interpreted kernel finds stand-ins under them, and other kernels as Python too.
"""

from __future__ import annotations

import math
import threading
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["instruction", "interpreted"]

_MASK = 2**64 - 1

_instructions: dict[int, tuple[Any, Callable[..., Any]]] = {}
"""Instructions by identity, and what runs in their place."""
_modules: dict[str, dict[str, Any]] = {}
_lock = threading.RLock()


def instruction(generate: Callable[..., Any], python: Callable[..., Any]) -> Any:
    """Make an instruction of the machine callable from kernels.

    Args:
        generate: Writes its code, as `numba.extending.intrinsic` wants it.
        python: Does the same in an interpreted kernel.
    """
    made = intrinsic(generate)
    _instructions[id(made)] = made, python
    return made


def interpreted(kernel: Any) -> Callable[..., Any]:
    """Return a kernel as a Python function that takes what the compiled one takes and returns the same bits."""
    function = _as_python(kernel)

    def run(*arguments: Any) -> Any:
        with np.errstate(all="ignore"):
            return _plain(function(*map(_as_scalar, arguments)))

    return run


def _as_scalar(argument: Any) -> Any:
    """Convert a number to the type it has in a kernel: an int of Python would grow where an int64 wraps around."""
    match argument:
        case bool():
            return np.bool_(argument)
        case int():
            return np.int64(argument)
        case float():
            return np.float64(argument)
    return argument


def _plain(result: Any) -> Any:
    """Turn scalars of NumPy into what compiled code returns for them."""
    if isinstance(result, tuple):
        return tuple(map(_plain, result))
    return result.item() if isinstance(result, np.generic) else result


def _as_python(kernel: Any) -> FunctionType:
    function = kernel.py_func
    with _lock:
        return FunctionType(function.__code__, _names_in(function.__globals__), function.__name__)


def _names_in(module: dict[str, Any]) -> dict[str, Any]:
    """Return the names of a module as an interpreted kernel finds them."""
    name = module["__name__"]
    if name not in _modules:
        names = _modules[name] = {}  # known before it is filled: kernels of a module call each other
        names.update({known: _stand_in(value) for known, value in module.items()})
    return _modules[name]


def _stand_in(value: Any) -> Any:
    if isinstance(value, Dispatcher):
        return _as_python(value)
    if id(value) in _instructions:
        return _instructions[id(value)][1]
    if value is np.uint64:
        return _to_uint64
    return _MATH if value is math else value


def _to_uint64(value: Any) -> np.uint64:
    """Read the bits of an integer as unsigned, as kernels do; NumPy would refuse a negative int of Python."""
    return np.uint64(int(value) & _MASK)


_MATH = SimpleNamespace(**{**vars(math), "ldexp": lambda value, power: np.ldexp(value, int(power))})
"""C's `ldexp` gives infinity where Python's raises."""
