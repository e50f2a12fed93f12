"""A server of forked children: everything is imported once, and a child does one job on a workspace and dies.

Run as `python -m torture.child`. A line of JSON comes in, a line goes out: `{"job": ..}` makes a child, which waits for
`{"go": pid}`; `{"wait": pid}` answers how it ended, null while it has not. Nothing of Polars, SQLite or LMDB is used
before the fork: only imported, with the kernels.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import sys
import traceback
from pathlib import Path

from numba.core.dispatcher import Dispatcher

import tinymlops

_OURS = [f"torture.{name}" for name in ("broken", "clock", "crowd", "disk", "flips", "load", "world")]


def serve():
    """Answer until the input ends."""
    _load_everything()
    gates = {}
    print(json.dumps({"ready": os.getpid()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "job" in request:
            ours, theirs = os.pipe()
            pid = os.fork()
            if pid == 0:
                for inherited in (theirs, *gates.values()):
                    os.close(inherited)
                try:
                    code = 1
                    code = _work(request, ours)
                finally:
                    os._exit(code)
            os.close(ours)
            gates[pid] = theirs
            answer = {"pid": pid}
        elif "go" in request:
            os.close(gates.pop(request["go"]))
            answer = {}
        else:
            if request["wait"] in gates:
                os.close(gates.pop(request["wait"]))
            ended, status = os.waitpid(request["wait"], os.WNOHANG)
            answer = {"status": os.waitstatus_to_exitcode(status) if ended else None}
        print(json.dumps(answer), flush=True)


def _load_everything():
    """Import all of tinymlops and load its kernels, so that no child does so again or reads files edited meanwhile."""
    for module in pkgutil.walk_packages(tinymlops.__path__, "tinymlops."):
        if not module.name.startswith("tinymlops.server"):
            importlib.import_module(module.name)
    for name in ("duckdb", "lmdb._envid", "pyarrow", "skops.io", "sklearn.tree", *_OURS):
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.startswith("tinymlops.kernels.")]:
        for kernel in [value for value in vars(sys.modules[name]).values() if isinstance(value, Dispatcher)]:
            kept = getattr(kernel._cache, "_cache_file", None)
            for signature, *_ in kept._load_index() if kept is not None else ():
                kernel.compile(signature)


def _work(request, gate):
    """Do the job of a child; return its exit code."""
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o660)
    while os.read(gate, 1):
        pass
    code = 0
    try:
        from torture import world

        if request.get("broken"):
            from torture import broken

            getattr(broken, request["broken"])()
        path = Path(request["path"])
        if request["job"] == "verb":
            world.run(request["verb"], path, lambda result: os.write(output, f"{result}\n".encode()))
            answer = None
        else:
            module, _, function = request["job"].partition(":")
            call = getattr(importlib.import_module(f"torture.{module}"), function)
            arguments = request.get("arguments", {})
            if request.get("says"):
                arguments["say"] = lambda what: os.write(output, f"{json.dumps(what)}\n".encode())
            answer = call(path, **arguments)
        if answer is not None:
            os.write(output, f"{json.dumps(answer)}\n".encode())
    except BaseException as error:
        os.write(output, (json.dumps({"error": named(error), "trace": traceback.format_exc()}) + "\n").encode())
        code = 1
    with contextlib.suppress(OSError):
        os.close(output)
    return code


def named(error):
    """Return the description of an error."""
    from tinymlops.errors import TinyMLOpsError

    typed = isinstance(error, TinyMLOpsError)
    return {"type": type(error).__name__, "typed": typed, "hint": getattr(error, "hint", ""), "message": str(error)}


if __name__ == "__main__":
    serve()
