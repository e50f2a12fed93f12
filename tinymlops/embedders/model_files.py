"""The directory of an ONNX model: which files belong to the model, what they say of pooling and length, and their hashes."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import msgspec

from tinymlops.errors import AccessError, DataError, DefinitionError, NotFoundError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ModelFiles", "read_model_files"]

T = TypeVar("T")
_MODELS = ("model.onnx", "onnx/model.onnx")
_LONGEST = 512
"""Tokens, where no file tells how many the model takes."""
_LOCATION = b"\x0a\x08location\x12"
"""How ONNX's protobuf begins the name of a file with weights, the value of the key `location`; a length and the name follow."""
_READ = {"Transformer", "Pooling", "Normalize"}


class ModelFiles(NamedTuple):
    """What was read of a directory."""

    model: bytes
    """The content of `model.onnx`."""
    path: Path
    """Of `model.onnx`."""
    weights_beside: bool
    """Whether further files hold weights, so that the model can be loaded from its path alone."""
    tokenizer: bytes
    pooling: Literal["mean", "cls"]
    longest: int | None
    """Tokens that the model reads of a text; None if the tokenizer's own limit is to hold."""
    hashes: dict[str, str]
    """The SHA-256 of each file of the model, by its name in the directory."""


class _Length(msgspec.Struct):
    max_seq_length: int | None = None


class _Config(msgspec.Struct):
    max_position_embeddings: int | None = None


class _Pooling(msgspec.Struct):
    pooling_mode_mean_tokens: bool = False
    pooling_mode_cls_token: bool = False
    pooling_mode_max_tokens: bool = False
    pooling_mode_mean_sqrt_len_tokens: bool = False
    pooling_mode_weightedmean_tokens: bool = False
    pooling_mode_lasttoken: bool = False


class _Tokenizer(msgspec.Struct):
    truncation: dict[str, object] | None = None


class _Module(msgspec.Struct):
    type: str


def read_model_files(directory: Path) -> ModelFiles:
    """Read the model in a directory.

    Beside `model.onnx` (also in `onnx/`) and `tokenizer.json`, files of sentence-transformers are read where they are there:
    `modules.json`, `sentence_bert_config.json`, `1_Pooling/config.json`, `config.json`.

    Args:
        directory: Where the files are.

    Raises:
        NotFoundError: If the directory or one of the two files is missing.
        AccessError: If a file cannot be read.
        DataError: If a file is not what its name says.
        DefinitionError: If the model has modules or a pooling that are not known here.
    """
    if not os.path.isdir(directory):  # unlike the method, it takes any text for a name
        raise NotFoundError(
            f"there is no directory {directory} with a model",
            hint="a model is 'tfidf', a directory with model.onnx and tokenizer.json, or an address such as https://...",
        )
    name = next((one for one in _MODELS if (directory / one).is_file()), _MODELS[0])
    model, tokenizer = _content(directory / name), _content(directory / "tokenizer.json")
    beside = [os.path.join(os.path.dirname(name), one) for one in _weights(model, directory / name)]
    _require_known_modules(directory)
    hashes = {name: hashlib.sha256(model).hexdigest(), "tokenizer.json": hashlib.sha256(tokenizer).hexdigest()}
    hashes |= {one: _hash(directory / one) for one in beside}
    return ModelFiles(
        model, directory / name, bool(beside), tokenizer, _pooling(directory), _longest(directory, tokenizer), hashes
    )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise NotFoundError(
            f"the model has no file {path}",
            hint="export the model to ONNX, and put model.onnx and its tokenizer.json into one directory",
        ) from None
    except OSError as error:
        raise AccessError(f"{path} cannot be read: {error.strerror}", hint="see that this user may read it") from None


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise NotFoundError(
            f"the weights of the model cannot be read: {path}: {error.strerror}", hint="copy all files of the model"
        ) from None


def _weights(model: bytes, path: Path) -> list[str]:
    """Return the names of the files in which the model says that weights are."""
    names, at = set(), model.find(_LOCATION)
    while at >= 0:
        start = at + len(_LOCATION)
        length = model[start] if start < len(model) else 0  # a name of up to 127 bytes
        names.add(model[start + 1 : start + 1 + length].decode("utf-8", "replace"))
        at = model.find(_LOCATION, start)
    for name in names:
        if not name or os.path.basename(name) != name or name in (".", ".."):
            raise DataError(f"{path} names a file with weights that is not beside it", hint="export the model anew")
    return sorted(names)


def _require_known_modules(directory: Path) -> None:
    for module in _json(directory / "modules.json", list[_Module]) or ():
        if (kind := module.type.rpartition(".")[2]) not in _READ:
            raise DefinitionError(
                f"the model in {directory} has a module {kind}, which is not applied here",
                hint="export the whole model, with an output sentence_embedding, and leave modules.json out",
            )


def _pooling(directory: Path) -> Literal["mean", "cls"]:
    """Return how the vectors of tokens become one; mean, if nothing else is told."""
    told = _json(directory / "1_Pooling" / "config.json", _Pooling)
    modes = [] if told is None else [name for name, chosen in msgspec.structs.asdict(told).items() if chosen]
    if modes in ([], ["pooling_mode_mean_tokens"]):
        return "mean"
    if modes == ["pooling_mode_cls_token"]:
        return "cls"
    raise DefinitionError(
        f"the model in {directory} has the pooling {' and '.join(modes)}; known are mean and cls",
        hint="export the model with an output sentence_embedding, and leave 1_Pooling out",
    )


def _longest(directory: Path, tokenizer: bytes) -> int | None:
    told = _json(directory / "sentence_bert_config.json", _Length)
    if told is not None and told.max_seq_length:
        return max(told.max_seq_length, 1)
    if (of_tokenizer := _decoded(tokenizer, directory / "tokenizer.json", _Tokenizer)) and of_tokenizer.truncation:
        return None
    config = _json(directory / "config.json", _Config)
    return (config and config.max_position_embeddings) or _LONGEST


def _json(path: Path, kind: type[T]) -> T | None:
    """Return what a file says, or None if there is none."""
    return _decoded(_content(path), path, kind) if path.exists() else None


def _decoded(content: bytes, path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="copy the model's files anew") from None
