"""A container without a daemon: the guide's Dockerfile and compose file, run in namespaces of their own."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

import tinymlops
import tinymlops_cli
from tinymlops.kernels.cache import cache_directory

GUIDE = (Path(__file__).parent.parent / "docs" / "guide" / "container.md").read_text()
PATIENCE = 300
INSTALL = "pip install --no-cache-dir tinymlops"
SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
MOUNT = """
set -eu
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
read_only() { mkdir -p "$2"; mount --bind "$1" "$2"; mount -o remount,bind,ro "$2"; }
for name in $SYSTEM; do
    if [ -d "/$name" ] && [ ! -L "/$name" ]; then read_only "/$name" "$ROOT/$name"; fi
done
read_only "$PREFIX" "$ROOT$PREFIX"
read_only "$PACKAGES" "$ROOT/offline/site-packages"
read_only /sys "$ROOT/sys"
mount -t tmpfs -o mode=755 tmpfs "$ROOT/dev"
for name in null zero full random urandom; do touch "$ROOT/dev/$name"; mount --bind "/dev/$name" "$ROOT/dev/$name"; done
mkdir -m 1777 "$ROOT/dev/shm"
mount -t proc proc "$ROOT/proc"
if [ -n "$VOLUME" ]; then
    mount -o remount,bind,ro "$ROOT"
    mount -t tmpfs -o mode=1777,nosuid,nodev,noexec tmpfs "$ROOT/tmp"
    mount --bind "$VOLUME" "$ROOT$TARGET"
fi
exec chroot "$ROOT" "$@"
"""


def blocks(language):
    """Return the guide's blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def instructions():
    """Return the lines of the guide's Dockerfile, each as its word and the rest."""
    (text,) = blocks("dockerfile")
    joined = re.sub(r"\\\n\s*", "", text)
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line and not line.startswith("#")]


def service():
    """Return what the guide's compose file says of the server, and the target of its volume."""
    (text,) = blocks("yaml")
    (found,) = yaml.safe_load(text)["services"].values()
    (volume,) = found["volumes"]
    return found, volume.partition(":")[2]


def typed():
    """Return the commands that the guide types into new containers, and into the one that runs."""
    lines = "".join(blocks("sh")).splitlines()
    new, running = "docker compose run --rm shop ", "docker compose exec shop "
    return (
        [shlex.split(line.removeprefix(new)) for line in lines if line.startswith(new)],
        [shlex.split(line.removeprefix(running)) for line in lines if line.startswith(running)],
    )


def why_not():
    """Return why there can be no container here, or nothing."""
    if not all(map(shutil.which, ("unshare", "nsenter", "setpriv", "chroot", "useradd"))):
        return "needs util-linux, coreutils and useradd"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "sh", "-c", "mount --make-rprivate / && mount -t tmpfs tmpfs /mnt"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if tried.returncode == 0 else f"needs the right to make namespaces: {tried.stderr.strip()}"


class Image:
    """What the Dockerfile builds: a directory, the user, the environment and the command.

    Args:
        folder: Where to; `root` in it becomes the file system.
        context: The directory with the project.
        cache: Compiled kernels that the user already has; without them the build compiles.
    """

    def __init__(self, folder, context, *, cache=True):
        self.root, self.context, self.cache = folder / "root", context, cache
        self.user, self.directory, self.volume = "root", "/", ""
        self.environment = {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin", "LANG": "C.UTF-8"}
        self.command, self.health = [], []
        self._base()
        self.said = ""
        for word, rest in instructions():
            getattr(self, f"_{word.lower()}")(rest)

    def _base(self):
        """Make what the base image has: the system, and Python by the name `python`."""
        for name in ("dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "var/mail", "offline"):
            (self.root / name).mkdir(parents=True)
        self.root.chmod(0o755)
        (self.root / "tmp").chmod(0o1777)
        for name in SYSTEM:
            if Path("/", name).is_symlink():
                (self.root / name).symlink_to(os.readlink(f"/{name}"))
        etc = self.root / "etc"
        for name in ("ld.so.cache", "login.defs"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(f"/etc/{name}", etc)
        (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (etc / "group").write_text("root:x:0:\n")
        (etc / "shadow").write_text("root:*:19000:0:99999:7:::\n")
        python = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
        self._script("offline/bin/python", f'exec {python} "$@"')
        for package in (tinymlops, tinymlops_cli):
            shutil.copytree(Path(package.__file__).parent, self.root / "offline" / package.__name__)
        self.environment["PATH"] = "/offline/bin:" + self.environment["PATH"]
        self._script("offline/bin/install-from-here", INSTALLED)

    def _script(self, name, text):
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def _from(self, rest):
        assert rest.startswith("python:")

    def _user(self, rest):
        self.user = rest

    def _workdir(self, rest):
        self.directory = rest
        (self.root / rest[1:]).mkdir(parents=True, exist_ok=True)

    def _env(self, rest):
        for setting in shlex.split(rest):
            name, _, value = setting.partition("=")
            self.environment[name] = value.replace("$PATH", self.environment["PATH"])

    def _run(self, rest):
        if "doctor --compile" in rest and self.cache:
            self._bring_compiled_kernels()
        # Without an index to install from: what is installed here, put where pip would put it.
        line = rest.replace("-m venv", "-m venv --without-pip").replace(INSTALL, "/offline/bin/install-from-here")
        done = self.run("sh", "-c", line)
        assert done.returncode == 0, f"RUN {rest}\n{done.stdout}{done.stderr}"
        self.said += done.stdout + done.stderr

    def _bring_compiled_kernels(self):
        assert cache_directory() is not None
        target = self.root / self.environment["XDG_CACHE_HOME"][1:] / "tinymlops" / Path(cache_directory()).name
        target.parent.mkdir(parents=True)
        shutil.copytree(cache_directory(), target, ignore=shutil.ignore_patterns("warming*", "*.lock"))
        for path in (target.parent.parent, target.parent, target, *target.iterdir()):
            os.chown(path, *self.ids())
            path.chmod(0o700 if path.is_dir() else 0o600)

    def _copy(self, rest):
        owner, source, target = rest.split()
        assert (owner, source, target) == (f"--chown={self.user}:{self.user}", ".", ".")
        kept_out = shutil.ignore_patterns(*blocks("text")[0].split())
        place = self.root / self.directory[1:]
        shutil.copytree(self.context, place, dirs_exist_ok=True, ignore=kept_out)
        for path in place.rglob("*"):
            if path != self.root / self.volume[1:]:
                os.chown(path, *self.ids())

    def _volume(self, rest):
        self.volume = rest

    def _expose(self, rest):
        assert int(rest)

    def _healthcheck(self, rest):
        self.health = json.loads(rest.partition("CMD ")[2])

    def _cmd(self, rest):
        self.command = json.loads(rest)

    def ids(self):
        """Return the user's and the group's number."""
        line = re.search(rf"^{self.user}:x:(\d+):(\d+):", (self.root / "etc" / "passwd").read_text(), re.MULTILINE)
        return int(line[1]), int(line[2])

    def as_user(self, *command):
        """Return a command as the image's user runs it, without any right of the superuser."""
        user, group = self.ids()
        home = "/root" if self.user == "root" else f"/home/{self.user}"
        rights = [] if self.user == "root" else ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        who = [f"--reuid={user}", f"--regid={group}", "--clear-groups", *rights]
        settings = [f"{name}={value}" for name, value in {"HOME": home, **self.environment}.items()]
        return ["setpriv", *who, "env", "-i", f"--chdir={self.directory}", *settings, *command]

    def start(self, *command, volume=None, **options):
        """Start a command: of the build, or with a volume in a container with a read-only root."""
        settings = {
            "PATH": os.environ["PATH"],
            "SYSTEM": " ".join(SYSTEM),
            "ROOT": str(self.root),
            "PREFIX": sys.base_prefix,
            "PACKAGES": str(Path(yaml.__file__).parents[1]),
            "VOLUME": "" if volume is None else str(volume),
            "TARGET": self.volume,
        }
        apart = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", MOUNT, "container"]
        return subprocess.Popen(
            [*apart, *self.as_user(*command)],
            env=settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *command, volume=None):
        """Run a command to its end."""
        process = self.start(*command, volume=volume)
        out, err = process.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(command, process.returncode, out, err)


INSTALLED = """
site=$(ls -d /home/*/venv/lib/python3*/site-packages)
cp -r /offline/tinymlops /offline/tinymlops_cli "$site"
echo /offline/site-packages > "$site/packages.pth"
python=$(dirname "$site")/../../bin/python
printf '#!%s\\nfrom tinymlops_cli.main import main\\nmain()\\n' "$(realpath -s "$python")" > "$(dirname "$python")/tinymlops"
chmod 755 "$(dirname "$python")/tinymlops"
"""


class Server:
    """The image's command in a container, at a free port in place of 8000."""

    def __init__(self, image, volume):
        self.image = image
        self.process = image.start(*image.command, "--port", "0", volume=volume)
        self.said = self.process.stderr.readline()
        self.port = int((re.search(r":(\d+) ", self.said) or [0, 0])[1])
        assert self.port, self.said + self.process.stderr.read()
        # The process that is number 1 in the container.
        self.first = int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.kill(self.first, signal.SIGKILL)
        self.process.communicate(timeout=PATIENCE)

    def execute(self, *command):
        """Run a command in this container, as `docker exec` does."""
        enter = ["nsenter", f"--target={self.first}", "--mount", "--pid", "--root"]
        return subprocess.run(
            [*enter, *self.image.as_user(*command)], capture_output=True, text=True, check=False, timeout=PATIENCE
        )

    def healthy(self):
        """Ask as HEALTHCHECK says."""
        command = [word.replace("8000", str(self.port)) for word in self.image.health]
        return self.execute(*command).returncode == 0

    def stop(self):
        """Send SIGTERM to process 1, as `docker stop` does; return the exit code, and what was left to say."""
        begun = time.monotonic()
        os.kill(self.first, signal.SIGTERM)
        _, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, err, time.monotonic() - begun
