"""A server of forked children: everything is imported once, and a child does one job on a workspace and dies.

Run as `python -m torture.child`. A line of JSON comes in, a line goes out: `{"job": ..}` makes a child, which waits for
`{"go": pid}`; `{"wait": pid}` answers how it ended, null while it has not. Nothing of Polars, SQLite or LMDB is used
before the fork: only imported.
"""

import contextlib
import importlib
import json
import os
import sys
import traceback
from pathlib import Path

_IMPORTS = """
    polars duckdb lmdb sqlite3 pyarrow numba skops.io sklearn.tree tinymlops.workspace tinymlops.features.ingestion
    tinymlops.features.pushing tinymlops.features.materialization tinymlops.features.compaction
    tinymlops.features.historical tinymlops.features.online tinymlops.features.columns tinymlops.features.planning
    tinymlops.features.training_sets tinymlops.training.tracking tinymlops.serving.prediction tinymlops.serving.model
    tinymlops.stores.backup tinymlops.stores.collection tinymlops.stores.checks
"""


def serve():
    """Answer until the input ends."""
    for name in _IMPORTS.split():
        importlib.import_module(name)
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
    """Return what is worth knowing of an error."""
    from tinymlops.errors import TinyMLOpsError

    typed = isinstance(error, TinyMLOpsError)
    return {"type": type(error).__name__, "typed": typed, "hint": getattr(error, "hint", ""), "message": str(error)}


if __name__ == "__main__":
    serve()
