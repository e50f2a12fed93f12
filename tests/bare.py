"""The built wheel in an environment that has nothing else: `make browser` makes it, and pages are looked at from there."""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

from network import Server

BARE = os.environ.get("TINYMLOPS_BARE")
"""The environment; None in `make test`, where the tree is looked at."""
TESTS = Path(__file__).parent
BUILD = """
import sys
from pathlib import Path
sys.path.append(sys.argv[1])
import tinymlops
assert Path(tinymlops.__file__).is_relative_to(sys.prefix), tinymlops.__file__
import pages_shop
pages_shop.build(Path(sys.argv[2]))
"""


@contextmanager
def installed(path, command="serve"):
    """Make the workspace and serve it by what is installed there: the library, and then the command.

    Args:
        path: Where the workspace is made.
        command: `serve` or `ui`, which both show the pages.
    """
    programs = Path(BARE) / "bin"
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(path.parent), "TINYMLOPS_KERNELS": "compiled"}
    subprocess.run([programs / "python", "-I", "-c", BUILD, TESTS, path], env=environment, check=True, timeout=600)
    shutil.copy(TESTS / "served_shop.py", path.parent)  # the project, whose on-demand view is called to answer
    arguments = [command, "--workspace", str(path), "--port", "0"]
    options = ["--no-browser"] if command == "ui" else []
    with Server.started([programs / "tinymlops", *arguments, *options], env=environment, cwd=path.parent) as server:
        yield server
        code, told, _ = server.stop()
        assert code in (0, 130), told
        assert "Traceback" not in told
