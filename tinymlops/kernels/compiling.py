"""Compile a kernel with numba where its speed is needed, and keep the machine code.

Compiling takes seconds for each kernel, once for a machine. A call for a few rows does not wait for it: the kernel is
interpreted (`_interpreted`) while a process beside this one compiles (`beside`). A call for many rows compiles.
"""

from __future__ import annotations

import functools
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numba
import numpy as np
from numba.core import types

from tinymlops.kernels import beside
from tinymlops.kernels._interpreted import interpreted
from tinymlops.kernels.cache import KernelCache, NotCompiledError, cache_directory, only_looking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["NO", "YES", "compiled", "frozen", "recorded"]

P = ParamSpec("P")
R = TypeVar("R")

NO: Any = np.bool_(False)
YES: Any = np.bool_(True)
"""A kernel passes these for a bool: numba would compile a version of the called kernel for each literal."""

_FEW = 20_000
"""The most values in the arrays of an interpreted call: it takes tenths of a second, and compiling takes seconds."""
_PATIENCE = 2.0
"""Seconds for which a kernel is interpreted in total, unless it is being compiled: from then on compiling is cheaper."""

_how = os.environ.get("TINYMLOPS_KERNELS", "")
"""For tests: every kernel is `compiled`, or `interpreted`, whatever the size."""


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of scalars and contiguous arrays to machine code that runs without the GIL.

    Division by zero gives an infinity or NaN as in numpy, and indices are not checked. One version is
    compiled per combination of argument types; `frozen` keeps those few.

    Args:
        function: Plain Python in the subset that numba compiles; interpreted, it computes the same.

    Returns:
        The compiled function, with the same signature.
    """
    kernel: Any = _dispatcher(function)
    if cache_directory() is not None:
        # Assigned rather than asked for with cache=True, which would look for a place by numba's global
        # settings.
        kernel._cache = KernelCache(function)  # noqa: SLF001
    # Numba asks for these where it has no code: for a call from Python, and for one in a kernel that is being compiled.
    kernel._compile_for_args = _Choice(kernel).code_for  # noqa: SLF001
    part = _Part(function)
    kernel.get_call_template, kernel.get_overload = part.template_for, part.code_for
    result: Callable[P, R] = kernel
    return result


def _dispatcher(function: Callable[..., Any]) -> Any:
    return numba.njit(function, nogil=True, error_model="numpy", boundscheck=False)


class _Part:
    """A function as other kernels call it: linked into them, without machine code or a Python wrapper of its own.

    Those would take more than half of the time. A literal is passed as a plain number: numba would compile a version for
    each.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    @functools.cached_property
    def _dispatcher(self) -> Any:
        part = _dispatcher(self._function)

        def without_wrappers(flags: Any) -> Any:
            flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
            return flags

        def keep(result: Any) -> None:
            result = result._replace(entry_point=object())  # the key under which numba finds the code
            part.targetctx.insert_user_function(result.entry_point, result.fndesc, [result.library])
            part.overloads[tuple(result.signature.args)] = result

        part._compiler._customize_flags = without_wrappers  # noqa: SLF001
        part.add_overload = keep
        return part

    def template_for(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Return numba's signature of a call, after compiling the called function if needed."""
        return self._dispatcher.get_call_template(tuple(map(types.unliteral, arguments)), keywords)

    def code_for(self, signature: Any) -> Any:
        """Return the key of the code that a call runs."""
        return self._dispatcher.get_overload(signature)


def frozen(values: object, dtype: type[np.generic] | np.dtype[Any]) -> np.ndarray[Any, Any]:
    """View an array as contiguous, of one dtype and read-only.

    Numba compiles a version for each of read-only, writable and strided; inputs that all look alike need one.

    Args:
        values: Anything numpy takes for an array.
        dtype: The wanted dtype; values are copied only when it differs or they are not contiguous.

    Returns:
        The view.
    """
    view = np.ascontiguousarray(values, dtype=dtype).view()
    view.flags.writeable = False
    return view


class _Recorder:
    def __init__(self) -> None:
        self.signatures: dict[tuple[Any, tuple[Any, ...]], None] | None = None


_recorder = _Recorder()


@contextmanager
def recorded() -> Iterator[list[tuple[Any, tuple[Any, ...]]]]:
    """Interpret every kernel, and list which were called with arguments of which types, in order of the first call."""
    found: list[tuple[Any, tuple[Any, ...]]] = []
    _recorder.signatures = {}
    try:
        yield found
    finally:
        found.extend(_recorder.signatures)
        _recorder.signatures = None


class _Choice:
    """What runs when a kernel is called with types that this process has no machine code for."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._numba = type(kernel)
        self._looked: dict[tuple[Any, ...], int] = {}
        self._spent = 0.0

    def code_for(self, *arguments: Any) -> Callable[..., Any]:
        """Return the function to call."""
        code: Callable[..., Any] | None = None
        if self._may_interpret(arguments):
            code = self._cached(arguments) or self._interpreted(arguments)
        return code or self._compiled(arguments)

    def _compiled(self, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        code: Callable[..., Any] = self._numba._compile_for_args(self._kernel, *arguments)  # noqa: SLF001
        return code

    def _may_interpret(self, arguments: tuple[Any, ...]) -> bool:
        if _how or _recorder.signatures is not None:
            return _how != "compiled"
        return sum(argument.size for argument in arguments if isinstance(argument, np.ndarray)) <= _FEW

    def _cached(self, arguments: tuple[Any, ...]) -> Callable[..., Any] | None:
        """Return code of the cache, if any was written since the last look."""
        if _how or _recorder.signatures is not None or cache_directory() is None:
            return None
        signature, written = self._signature(arguments), self._kernel._cache.written()  # noqa: SLF001
        if self._looked.get(signature, 0) == written:
            return None
        self._looked[signature] = written
        try:
            with only_looking():
                return self._compiled(arguments)
        except NotCompiledError:
            return None

    def _interpreted(self, arguments: tuple[Any, ...]) -> Callable[..., Any] | None:
        if _recorder.signatures is not None:
            _recorder.signatures[self._kernel, self._signature(arguments)] = None
        elif not _how and not beside.is_compiling() and self._spent > _PATIENCE:
            return None
        return self._run

    def _signature(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(map(self._kernel.typeof_pyval, arguments))

    def _run(self, *arguments: Any) -> Any:
        begun = time.perf_counter()
        try:
            return interpreted(self._kernel)(*arguments)
        finally:
            self._spent += time.perf_counter() - begun
