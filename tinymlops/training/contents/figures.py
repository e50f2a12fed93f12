"""Figures of matplotlib, Altair and Plotly, and files of figures as they are; no library is loaded that the user has not."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from tinymlops.errors import DataError, MissingDependencyError, NotFoundError
from tinymlops.training.contents.content import Content, with_suffix
from tinymlops.training.contents.images import format_of, is_pillow, pillow_png

__all__ = ["figure_contents"]

_DRAWN = (".png", ".svg", ".pdf", ".jpg", ".jpeg")
_CHARTED = (".json", ".html", ".png", ".svg")
_PLOTTED = (".json", ".html")
_FILES = (*_DRAWN, ".json", ".html", ".webp", ".gif")


def figure_contents(name: str, figure: Any) -> list[Content]:
    """Return a figure as files, the one to read first.

    Args:
        name: Such as "plots/roc"; its suffix chooses the format.
        figure: A figure of matplotlib (or its axes, or `pyplot` for the current one): `.png` unless the suffix is `.svg`,
            `.pdf` or `.jpg`. A chart of Altair: its `.json`, and a `.png` of it where vl-convert is installed; or what
            the suffix says. A figure of Plotly: `.json` or `.html`. An image of Pillow, the bytes of a PNG or JPEG, or the
            path of a file are kept as they are.

    Raises:
        DataError: If it is none of these, cannot be drawn, or the suffix is of another format.
    """
    drawn = _matplotlib(figure)
    if drawn is not None:
        return [_drawn(name, drawn)]
    if _is_of(figure, "altair", "TopLevelMixin"):
        return _charted(name, figure)
    if _is_of(figure, "plotly.basedatatypes", "BaseFigure"):
        return [_plotted(name, figure)]
    if isinstance(figure, (str, Path)):
        return [_file(name, Path(figure))]
    return [_image(name, figure)]


def _matplotlib(figure: Any) -> Any:
    """Return the figure of matplotlib that it is or belongs to; None if it has none."""
    module = sys.modules.get("matplotlib.figure")
    if module is None:
        return None
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None and figure is pyplot:
        return pyplot.gcf()
    if isinstance(figure, module.FigureBase):
        return figure
    owner = getattr(figure, "figure", None)  # axes, and the grids of seaborn
    return owner if isinstance(owner, module.FigureBase) else None


def _drawn(name: str, figure: Any) -> Content:
    name, suffix = with_suffix(name, _DRAWN, "a figure")
    stream = io.BytesIO()
    root = getattr(figure, "figure", None) or figure  # a part of a figure is drawn with the whole
    try:
        root.savefig(stream, format=suffix[1:])
    except Exception as error:  # drawing runs code of the user's figure: its formatters, its artists, its text
        raise DataError(f"the figure {name!r} cannot be drawn: {_first_line(error)}") from error
    return Content(name, stream.getvalue(), "figure")


def _charted(name: str, chart: Any) -> list[Content]:
    if PurePosixPath(name).suffix.lower() in _CHARTED[1:]:
        name, suffix = with_suffix(name, _CHARTED, "a chart")
        return [Content(name, _converted(name, chart, suffix), "figure")]
    name, _ = with_suffix(name, _CHARTED, "a chart")
    contents = [Content(name, _converted(name, chart, ".json"), "figure")]
    if importlib.util.find_spec("vl_convert") is not None:
        picture = name[: -len(".json")] + ".png"
        contents.append(Content(picture, _converted(picture, chart, ".png"), "figure"))
    return contents


def _converted(name: str, chart: Any, suffix: str) -> bytes:
    """Return a chart of Altair in the format of a suffix."""
    try:
        if suffix == ".json":
            return str(chart.to_json(indent=None)).encode()
        if suffix == ".html":
            return str(chart.to_html()).encode()
        stream = io.BytesIO() if suffix == ".png" else io.StringIO()
        chart.save(stream, format=suffix[1:])
        content = stream.getvalue()
        return content.encode() if isinstance(content, str) else content
    except ImportError as error:
        raise MissingDependencyError(
            f"the chart {name!r} is drawn by vl-convert, which is not installed",
            hint="pip install vl-convert-python, or keep it as .json or .html",
        ) from error
    except Exception as error:  # a chart of more than 5,000 rows, a transformer of the user's, a wrong specification
        raise DataError(f"the chart {name!r} cannot be kept as {suffix[1:]}: {_first_line(error)}") from error


def _plotted(name: str, figure: Any) -> Content:
    name, suffix = with_suffix(name, _PLOTTED, "a Plotly figure")
    try:
        text = figure.to_json() if suffix == ".json" else figure.to_html(include_plotlyjs="cdn")
    except Exception as error:
        raise DataError(f"the figure {name!r} cannot be kept: {_first_line(error)}") from error
    return Content(name, str(text).encode(), "figure")


def _file(name: str, path: Path) -> Content:
    if not path.is_file():
        raise NotFoundError(f"there is no figure file {path}")
    suffix = path.suffix.lower()
    if suffix not in _FILES:
        raise DataError(
            f"{path} is not a figure: its suffix is not one of {', '.join(_FILES)}",
            hint="log other files with log_artifact",
        )
    return Content(with_suffix(name, (suffix,), f"the figure {path.name}")[0], path, "figure")


def _image(name: str, figure: Any) -> Content:
    if is_pillow(figure):
        return Content(with_suffix(name, (".png",), "an image")[0], pillow_png(name, figure), "figure")
    if isinstance(figure, (bytes, bytearray, memoryview)):
        content = bytes(figure)
        suffix = format_of(content)
        if suffix is not None:
            suffixes = (".jpg", ".jpeg") if suffix == ".jpg" else (suffix,)
            return Content(with_suffix(name, suffixes, "an image")[0], content, "figure")
    raise DataError(
        f"the figure {name!r} is a {type(figure).__name__}, which cannot be drawn",
        hint="pass a figure of matplotlib, a chart of Altair, a figure of Plotly, the bytes of a PNG or JPEG, or a path",
    )


def _is_of(value: object, module: str, name: str) -> bool:
    """Return whether a value is of a class of a library, which is not loaded to tell."""
    loaded = sys.modules.get(module)
    kind = getattr(loaded, name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
