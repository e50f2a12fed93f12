"""Images by step: arrays, Pillow's images, and files of images as they are."""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops.errors import DataError, NotFoundError
from tinymlops.training.contents.content import Content
from tinymlops.training.contents.png import png

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["format_of", "image_content", "is_pillow", "pillow_png"]

_MAGIC = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg"}
_SUFFIXES = (".png", ".jpg", ".jpeg")
_LAYOUTS = "height x width, or height x width x 1, 3 or 4 channels"


def image_content(name: str, image: Any, *, step: float | None = None) -> Content:
    """Return an image as a file.

    Args:
        name: Such as "samples"; with a step it is a series, kept as `samples/<step>.png`.
        image: An array of bytes (0 to 255), floats (0 to 1) or booleans, an image of Pillow, the bytes of a PNG or JPEG
            file, or its path.
        step: The step of the training that it belongs to.

    Raises:
        DataError: If it cannot be shown: another shape or type, NaN, values out of range.
    """
    if not isinstance(name, str):
        raise DataError(f"the name of an image cannot be {name!r}", hint="name it by a text, such as 'samples'")
    suffix, content = _encoded(name, image)
    series = name[: -len(_given(name))] if _given(name) in _SUFFIXES else name
    if step is None:
        return Content(series + suffix, content, "image")
    return Content(f"{series}/{_spelled(step)}{suffix}", content, "image", series, float(step))


def format_of(content: bytes) -> str | None:
    """Return the suffix of PNG or JPEG; None for anything else."""
    return next((suffix for magic, suffix in _MAGIC.items() if content.startswith(magic)), None)


def is_pillow(image: object) -> bool:
    """Return whether it is an image of Pillow; Pillow is not loaded to tell."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def pillow_png(name: str, image: Any) -> bytes:
    """Return an image of Pillow as PNG.

    Raises:
        DataError: If PNG has no such colours.
    """
    stream = io.BytesIO()
    try:
        image.save(stream, format="PNG")
    except (OSError, ValueError, SystemError) as error:
        raise DataError(
            f"the image {name!r} cannot be kept as PNG: {error}", hint='convert it: image.convert("RGB")'
        ) from error
    return stream.getvalue()


def _encoded(name: str, image: Any) -> tuple[str, bytes]:
    if isinstance(image, (str, Path)):
        image = _read(Path(image))
    if isinstance(image, (bytes, bytearray, memoryview)):
        content = bytes(image)
        suffix = format_of(content)
        if suffix is None:
            raise DataError(
                f"the image {name!r} is neither PNG nor JPEG: it begins with {content[:8]!r}",
                hint="log other files with log_artifact",
            )
        return suffix, content
    if is_pillow(image):
        return ".png", pillow_png(name, image)
    return ".png", png(_pixels(name, image))


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise NotFoundError(f"there is no image file {path}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _pixels(name: str, image: Any) -> NDArray[np.uint8]:
    array = _array(name, image)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise DataError(f"the image {name!r} has the shape {np.shape(image)}, not {_LAYOUTS}", hint=_advice(array))
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind != "f":
        raise DataError(
            f"the image {name!r} is of {array.dtype}; pixels are uint8 from 0 to 255, or floats from 0 to 1",
            hint="convert it, such as by image.astype('uint8')",
        )
    return _scaled(name, array)


def _scaled(name: str, array: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = float(array.min()), float(array.max())
    if math.isnan(low):
        raise DataError(f"the image {name!r} holds NaN", hint="replace it first: np.nan_to_num(image)")
    if low < 0 or high > 1:
        raise DataError(
            f"the image {name!r} has values from {low:.4g} to {high:.4g}; floats are from 0 to 1",
            hint="divide by 255, or scale and clip it: np.clip(image, 0, 1)",
        )
    return np.rint(array.astype(np.float64) * 255).astype(np.uint8)


def _array(name: str, image: Any) -> NDArray[Any]:
    if not isinstance(image, np.ndarray) and not hasattr(image, "__array__"):
        raise DataError(
            f"the image {name!r} is a {type(image).__name__}",
            hint="pass an array, an image of Pillow, or the bytes or path of a PNG or JPEG file",
        )
    try:
        return np.asarray(image)
    except Exception as error:  # another library's array, such as a tensor on a GPU
        raise DataError(f"the image {name!r} cannot be read as an array: {error}") from error


def _advice(array: NDArray[Any]) -> str:
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        return "its channels come first: move them with np.moveaxis(image, 0, -1)"
    if array.ndim == 4:
        return "log the images of a batch one by one, each under its own name"
    return f"an image is an array of {_LAYOUTS}"


def _spelled(step: float) -> str:
    if not isinstance(step, (int, float, np.integer, np.floating)) or not math.isfinite(step):
        raise DataError(f"a step cannot be {step!r}", hint="pass a finite number")
    return str(int(step)) if float(step).is_integer() and abs(step) < 1e16 else repr(float(step))


def _given(name: str) -> str:
    return PurePosixPath(name).suffix
