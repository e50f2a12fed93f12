"""What users log becomes files: text, tables, figures and images, and what cannot be shown is refused."""

import io
import math
import subprocess
import sys
import zlib
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tinymlops import errors
from tinymlops.errors import DataError, NotFoundError
from tinymlops.registry.runs.tables import read_table
from tinymlops.training.contents.figures import figure_contents
from tinymlops.training.contents.images import image_content
from tinymlops.training.contents.tables import table_content
from tinymlops.training.contents.text import text_content

PNG = b"\x89PNG\r\n\x1a\n"


def opened(content):
    """Return the pixels of a PNG, read by Pillow."""
    image = pytest.importorskip("PIL.Image")
    return np.asarray(image.open(io.BytesIO(content)))


# text


def test_text_is_kept_in_utf_8_with_a_suffix():
    assert text_content("notes", "größer 🙂\n") == ("notes.txt", "größer 🙂\n".encode(), "text", None, None)
    assert text_content("a/config.yaml", "").name == "a/config.yaml"


@pytest.mark.parametrize("text", [b"bytes", None, 3, {"a": 1}, "half \ud83d"])
def test_what_is_not_text_is_refused(text):
    with pytest.raises(DataError, match="the text 'notes'"):
        text_content("notes", text)


# tables


FRAME = pl.DataFrame({"a": [1, None, 3], "b": ["x", 'quote " \\', "ü"], "c": [0.5, math.nan, math.inf]})


@pytest.mark.parametrize(
    "table",
    [
        FRAME,
        FRAME.lazy(),
        FRAME.to_arrow(),
        FRAME.to_dict(as_series=False),
        FRAME.to_dicts(),
        pa.Table.from_pylist(FRAME.to_dicts()),
    ],
    ids=["polars", "lazy", "arrow", "columns", "rows", "pyarrow"],
)
def test_a_table_of_any_library_comes_back_the_same(table):
    content = table_content("scores", table)
    assert (content.name, content.kind) == ("scores.parquet", "table")
    assert read_table(content.name, content.content).equals(FRAME, null_equal=True)


def test_a_table_of_pandas_is_kept_without_its_index():
    content = table_content("t.parquet", pd.DataFrame({"a": [1, 2]}, index=[7, 8]))
    assert read_table("t.parquet", content.content).to_dict(as_series=False) == {"a": [1, 2]}


def test_parquet_keeps_types_and_json_keeps_what_json_can_say():
    row = {"at": datetime(2024, 1, 1, tzinfo=UTC), "price": Decimal("1.10"), "tags": ["a", "b"], "n": {"x": 1}}
    frame = pl.DataFrame([row])
    assert read_table("t.parquet", table_content("t.parquet", frame).content).equals(frame)
    content = table_content("t.json", frame)
    assert content.name == "t.json"
    assert read_table("t.json", content.content).to_dicts() == [
        {"at": "2024-01-01T00:00:00Z", "price": "1.10", "tags": ["a", "b"], "n": {"x": 1}}
    ]
    assert read_table("t.json", table_content("t.json", FRAME).content)["c"].to_list() == [0.5, None, None]


@pytest.mark.parametrize("suffix", ["parquet", "json"])
def test_a_table_without_rows_keeps_its_columns(suffix):
    content = table_content(f"t.{suffix}", pl.DataFrame(schema={"a": pl.Int64, "b": pl.String}))
    assert read_table(content.name, content.content).columns == ["a", "b"]


def test_json_of_others_is_read():
    split = b'{"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}'
    assert read_table("t.json", split).to_dicts() == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert read_table("t.json", b'[{"a": 1}]').to_dicts() == [{"a": 1}]
    for wrong in (b"{", b"3", b'{"columns": ["a"], "data": [[1, 2]]}', b"\xff"):
        with pytest.raises(DataError, match=r"'t\.json'"):
            read_table("t.json", wrong)
    with pytest.raises(DataError, match="does not hold a table"):
        read_table("t.parquet", b"PAR1")


@pytest.mark.parametrize("table", [{}, [], 3, "text", None, {"a": [1], "b": [1, 2]}, [{"a": object()}]])
def test_what_is_not_a_table_is_refused(table):
    with pytest.raises(DataError):
        table_content("t", table)


def test_a_name_with_the_suffix_of_another_format_is_refused():
    with pytest.raises(DataError, match=r"'t\.csv': \.csv is not one of \.parquet, \.json"):
        table_content("t.csv", FRAME)
    assert table_content("metrics.v2", FRAME).name == "metrics.v2.parquet"
    assert table_content("T.JSON", FRAME).content.startswith(b"{")
    with pytest.raises(DataError, match="the name of a table"):
        table_content(3, FRAME)


# images


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (7, 5, 1), (7, 5, 3), (7, 5, 4)])
def test_pixels_come_back_the_same(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    content = image_content("samples", pixels).content
    assert np.array_equal(opened(content), pixels.squeeze(2) if shape[2:] == (1,) else pixels)
    assert np.array_equal(opened(image_content("t", pixels[::-1]).content), opened(content)[::-1])


def test_floats_and_booleans_become_bytes():
    floats = np.array([[0.0, 0.5], [1.0, 0.25]], np.float32)
    assert opened(image_content("a", floats).content).tolist() == [[0, 128], [255, 64]]
    assert opened(image_content("a", floats > 0.4).content).tolist() == [[0, 255], [255, 0]]


def test_an_image_compresses():
    sky = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 256, axis=1)
    assert len(image_content("sky", sky).content) < 1000


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.array([[0.5, math.nan]]), "holds NaN"),
        (np.array([[0.5, 1.5]]), "from 0.5 to 1.5"),
        (np.array([[-0.1, 0.5]]), "from -0.1 to 0.5"),
        (np.array([[math.inf, 0.5]]), "from 0.5 to inf"),
        (np.zeros((3, 8, 9)), "channels come first"),
        (np.zeros((2, 8, 8, 3)), "one by one"),
        (np.zeros((8, 8, 2)), "has the shape"),
        (np.zeros(8), "has the shape"),
        (np.zeros((0, 4)), "has the shape"),
        (np.array(0.5), "has the shape"),
        (np.zeros((4, 4), np.int64), "is of int64"),
        (np.zeros((4, 4), complex), "is of complex128"),
        (np.array([["a"]]), "is of <U1"),
        ([[0.5]], "is a list"),
        (None, "is a NoneType"),
        (b"GIF89a", "neither PNG nor JPEG"),
        (b"", "neither PNG nor JPEG"),
    ],
)
def test_what_is_not_an_image_is_refused(image, says):
    with pytest.raises(DataError) as raised:
        image_content("samples", image, step=1)
    assert says in str(raised.value)
    assert "'samples'" in str(raised.value)


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (3, "s/3.png"),
        (3.0, "s/3.png"),
        (0.5, "s/0.5.png"),
        (-1, "s/-1.png"),
        (np.int64(7), "s/7.png"),
        (1e20, "s/1e+20.png"),
    ],
)
def test_an_image_of_a_step_is_one_of_a_series(step, name):
    content = image_content("s", np.zeros((2, 2)), step=step)
    assert (content.name, content.series, content.step) == (name, "s", float(step))
    assert image_content("s.png", np.zeros((2, 2)), step=step).name == name


@pytest.mark.parametrize("step", [math.nan, math.inf, "3", [1]])
def test_a_step_is_a_finite_number(step):
    with pytest.raises(DataError, match="a step cannot be"):
        image_content("s", np.zeros((2, 2)), step=step)


def test_images_of_pillow_and_files_are_kept(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    red = pillow.new("RGB", (4, 3), "red")
    assert opened(image_content("a", red).content).shape == (3, 4, 3)
    stream = io.BytesIO()
    red.save(stream, "JPEG")
    assert image_content("a", stream.getvalue(), step=2)[:2] == ("a/2.jpg", stream.getvalue())
    (tmp_path / "red.bin").write_bytes(stream.getvalue())
    assert image_content("a", tmp_path / "red.bin").name == "a.jpg"
    with pytest.raises(DataError, match="convert it"):
        image_content("a", pillow.new("CMYK", (4, 3)))
    with pytest.raises(NotFoundError, match="no image file"):
        image_content("a", tmp_path / "none.png")


def test_an_array_of_another_library_is_read_as_one():
    class Tensor:
        def __init__(self, broken):
            self.broken = broken

        def __array__(self, dtype=None, copy=None):
            if self.broken:
                raise TypeError("it is on the GPU")
            return np.zeros((2, 2), np.uint8)

    assert image_content("a", Tensor(broken=False)).content.startswith(PNG)
    with pytest.raises(DataError, match="it is on the GPU"):
        image_content("a", Tensor(broken=True))


# figures


def test_a_figure_of_matplotlib_is_drawn():
    figures = pytest.importorskip("matplotlib.figure")
    figure = figures.Figure(figsize=(2, 1), dpi=50)
    axes = figure.subplots()
    axes.plot([1, 2])
    [content] = figure_contents("plots/roc", figure)
    assert content[0::2][:2] == ("plots/roc.png", "figure")
    assert opened(content.content).shape[:2] == (50, 100)
    assert figure_contents("roc", axes)[0].content.startswith(PNG)  # the axes of a figure mean the figure
    assert b"<svg" in figure_contents("roc.svg", figure)[0].content
    assert figure_contents("roc.pdf", figure)[0].content.startswith(b"%PDF")
    with pytest.raises(DataError, match=r"\.gif is not one of"):
        figure_contents("roc.gif", figure)
    axes.set_title("$wrong_{math$")
    with pytest.raises(DataError, match=r"'roc\.png' cannot be drawn"):
        figure_contents("roc", figure)


def test_pyplot_means_its_current_figure():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    plt.figure(figsize=(1, 1), dpi=20)
    plt.plot([1, 2])
    assert opened(figure_contents("now", plt)[0].content).shape[:2] == (20, 20)
    plt.close("all")


def test_a_chart_of_altair_is_its_specification_and_a_picture():
    altair = pytest.importorskip("altair")
    chart = altair.Chart(pl.DataFrame({"x": [1, 2], "y": [3, 4]})).mark_line().encode(x="x", y="y")
    contents = figure_contents("curve", chart)
    assert contents[0].name == "curve.json"
    assert b"vega-lite" in contents[0].content
    if len(contents) == 2:
        assert contents[1].name == "curve.png"
        assert contents[1].content.startswith(PNG)
    assert b"<html" in figure_contents("curve.html", chart)[0].content
    many = altair.Chart(pl.DataFrame({"x": range(6000)})).mark_line().encode(x="x")
    with pytest.raises(DataError, match="rows"):
        figure_contents("curve", many)


def test_a_figure_of_plotly_is_its_specification():
    graphs = pytest.importorskip("plotly.graph_objects")
    figure = graphs.Figure(graphs.Scatter(x=[1, 2], y=[3, 4]))
    [content] = figure_contents("curve", figure)
    assert content.name == "curve.json"
    assert b'"scatter"' in content.content
    assert b"<html" in figure_contents("curve.html", figure)[0].content


def test_pictures_and_files_are_figures_as_they_are(tmp_path):
    picture = image_content("a", np.zeros((2, 2))).content
    assert figure_contents("a", picture)[0][:3] == ("a.png", picture, "figure")
    path = tmp_path / "Chart.SVG"
    path.write_text("<svg/>")
    assert figure_contents("a", path)[0][:2] == ("a.svg", path)
    with pytest.raises(DataError, match=r"\.png is not one of \.svg"):
        figure_contents("a.png", path)
    with pytest.raises(DataError, match="is not a figure"):
        figure_contents("a", Path(errors.__file__))
    with pytest.raises(NotFoundError, match="no figure file"):
        figure_contents("a", str(tmp_path / "none.png"))


@pytest.mark.parametrize("figure", [None, 3, b"text", {}, object()])
def test_what_cannot_be_drawn_is_refused(figure):
    with pytest.raises(DataError, match="'roc'"):
        figure_contents("roc", figure)


def test_no_library_is_loaded_that_the_user_has_not():
    code = """
import sys
import numpy as np
from tinymlops.errors import DataError
from tinymlops.training.contents.figures import figure_contents
from tinymlops.training.contents.images import image_content
image_content("a", np.zeros((2, 2)))
try:
    figure_contents("a", object())
except DataError:
    print(sorted({"matplotlib", "altair", "plotly", "PIL", "pandas", "polars"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_png_has_the_chunks_of_its_specification():
    content = image_content("a", np.array([[1, 2], [3, 250]], np.uint8)).content
    length = int.from_bytes(content[33:37], "big")
    assert content[37:41] == b"IDAT"
    assert zlib.decompress(content[41 : 41 + length]) == bytes([2, 1, 2, 2, 2, 248])
