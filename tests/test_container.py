"""The container of the guide: built and run without a daemon, as its user, on a read-only root."""

import contextlib
import json
import os
import shutil
import socket
import stat

import container
import httpx
import pytest
from command_line import write_shop

import tinymlops as tm
from tinymlops.errors import AccessError

TRAIN = """
import tinymlops as tm
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

with tm.connect("state/shop.tm") as ws:
    data = ws.get_training_data("buyers")
    with ws.start_run("baseline", data=data) as run:
        run.log_model(make_pipeline(SimpleImputer(), LogisticRegression()).fit(data.train.X, data.train.y))
    ws.register_model("buy", run=run, alias="champion")
"""
FIRST, LATER = container.typed()
WHY_NOT = container.why_not()
pytestmark = [
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
    pytest.mark.filterwarnings("ignore:http.* is not encrypted"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = write_shop(tmp_path_factory.mktemp("project") / "shop")
    (settings,) = container.blocks("toml")
    (folder / "tinymlops.toml").write_text(settings)
    (folder / "train.py").write_text(TRAIN)
    (folder / "state").mkdir()
    (folder / "state" / "mine").write_text("stays out of the image")
    return folder


@pytest.fixture(scope="module")
def image(tmp_path_factory, project):
    # A volume of its own file system would hide a write to the root: both are in one directory here.
    kept = os.environ.get("TINYMLOPS_TORTURE") != "full"  # else every kernel is compiled, as where none is
    return container.Image(tmp_path_factory.mktemp("image"), project, cache=kept)


@pytest.fixture(scope="module")
def volume(tmp_path_factory, image):
    """A named volume: its first content, owner and mode are those of the image's directory."""
    path = tmp_path_factory.mktemp("volume") / "state"
    inside = image.root / image.volume[1:]
    shutil.copytree(inside, path)
    os.chown(path, *image.ids())
    path.chmod(stat.S_IMODE(inside.stat().st_mode))
    return path


@pytest.fixture(scope="module")
def begun(image, volume):
    """The guide's first start, and a model; the text of the first token."""
    assert [command[1] for command in FIRST] == ["init", "apply", "ingest", "materialize", "token"]
    early = image.run(*image.command, volume=volume)
    assert early.returncode != 0
    said = ""
    for command in [*FIRST, ["python", "train.py"]]:
        if command[1] == "token":
            refused = image.run(*image.command, volume=volume)
            assert refused.returncode == 2
            assert "tinymlops token create" in refused.stderr
        done = image.run(*command, volume=volume)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        said += done.stdout
    return next(line for line in said.splitlines() if line.startswith("tm_"))


def contents(root):
    """All that is in the image, with times and sizes."""
    found = {}
    for path in root.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            found[str(path)] = (status.st_mode, status.st_uid, status.st_size, status.st_mtime_ns)
    return found


def own_address():
    """An address of this machine that is not of loopback, if it has one; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return one.getsockname()[0]


def test_the_files_of_the_guide_agree_with_each_other(image):
    found, target = container.service()
    assert target == image.volume
    assert found["read_only"]
    assert found["tmpfs"] == ["/tmp"]
    assert found["cap_drop"] == ["ALL"]
    assert int(found["stop_grace_period"].rstrip("s")) > 35  # what `serve` may take to end
    assert found["ports"] == ["127.0.0.1:8000:8000"]
    assert image.user != "root"
    words = [word for word, _ in container.instructions()]
    compiled = next(n for n, (_, rest) in enumerate(container.instructions()) if "doctor --compile" in rest)
    assert words.index("USER") < compiled < words.index("COPY")


def test_the_kernels_are_the_users_own_and_in_the_image(image):
    cache = image.root / "home" / "shop" / ".cache" / "tinymlops"
    (versioned,) = cache.iterdir()
    for path in (cache, versioned):
        assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (1000, 0o700)
    assert [path for path in versioned.iterdir() if path.suffix == ".nbi"]
    assert "compiled kernels: /home/shop/.cache/tinymlops/numba-" in image.said


def test_what_is_left_out_of_the_image_stays_out(image):
    place = image.root / image.directory[1:]
    assert {"tinymlops.toml", "features.py", "data", "state"} <= {path.name for path in place.iterdir()}
    assert list((place / "state").iterdir()) == []


def test_it_serves_and_writes_to_nothing_but_its_volume(image, volume, begun):
    before = contents(image.root)
    with container.Server(image, volume) as server:
        outside = f"http://{own_address()}:{server.port}"
        assert server.healthy()
        assert httpx.get(f"{outside}/healthz").status_code == 200
        assert httpx.get(f"{outside}/v1/models").status_code == 401
        with pytest.raises(AccessError), tm.connect(outside, token="tm_forged_token") as stranger:
            stranger.models.list()
        with tm.connect(outside, token=begun) as shop:
            shop.push("clicks", [{"click_id": "a", "customer_id": 1, "at": "2024-02-01T00:00:00Z", "seconds": 4.5}])
            assert shop.get_online_features(["spending"], [{"customer_id": 1}]).rows[0]["last_amount"] == 39.5
            assert shop.predict("buy@champion", [{"customer_id": 1}]).version == 1
        for command in LATER:
            done = server.execute(*command)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert server.execute("sh", "-c", "echo > /home/shop/app/features.py").returncode != 0
        assert "Read-only file system" in server.execute("touch", "/home/shop/.cache/tinymlops/x").stderr
        assert server.execute("touch", "/tmp/x", f"{image.volume}/x").returncode == 0
        kernels = json.loads(server.execute("tinymlops", "doctor", "--json").stdout)["kernels"]
        assert kernels["cache"].startswith("/home/shop/.cache/tinymlops/")
        assert server.execute("ls", "/tmp").stdout.split() == ["x"]  # nothing was compiled a second time
        code, said, seconds = server.stop()
        assert (code, "Traceback" in said) == (0, False), said
        assert seconds < 30
    assert contents(image.root) == before
    assert {path.stat().st_uid for path in volume.rglob("*")} == {image.ids()[0]}


def test_the_next_container_has_it_all_and_one_beside_it_is_told_to_join_it(image, volume, begun):
    with container.Server(image, volume) as server, tm.connect(f"http://127.0.0.1:{server.port}", token=begun) as shop:
        assert [one.name for one in shop.models.list()] == ["buy"]
        second = image.run("tinymlops", "ingest", volume=volume)
        assert second.returncode == 5
        assert "is open in another container, by a process with the same number, 1" in second.stderr
        assert "docker exec" in second.stderr
        assert server.healthy()
        assert server.stop()[0] == 0
