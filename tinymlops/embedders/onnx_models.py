"""Models in ONNX, run in this process: one text at a time in one thread, so that its vector does not depend on other texts."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tinymlops.embedders.embedder import Embedded
from tinymlops.embedders.model_files import read_model_files
from tinymlops.embedders.texts import flaw_of
from tinymlops.errors import DataError, DefinitionError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import ModuleType

    from numpy.typing import NDArray

    from tinymlops.embedders.model_files import ModelFiles

__all__ = ["OnnxEmbedder"]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_OUTPUTS = ("sentence_embedding", "last_hidden_state", "token_embeddings")
_PROBE = "a"


class OnnxEmbedder:
    """Embeds by a model in ONNX: its output `sentence_embedding`, or the mean of its tokens; scaled to length 1.

    Args:
        directory: With `model.onnx`, `tokenizer.json` and perhaps settings; see `read_model_files`.

    Raises:
        NotFoundError: If a file is missing.
        DataError: If one is damaged.
        DefinitionError: If the model has inputs, outputs or modules that are not known here.
        MissingDependencyError: If onnxruntime or tokenizers are not installed.
    """

    def __init__(self, directory: Path) -> None:
        files = read_model_files(directory)
        self._name, self._pooling = str(directory), files.pooling
        self._tokenizer, self._longest = _tokenizer(files)
        self._session = _session(files)
        self._inputs = _inputs(self._session, self._name)
        self._output = _output(self._session, self._name)
        found = self._run(_PROBE)[0]
        if isinstance(found, Exception):
            raise DefinitionError(f"the model in {directory} gives no vector: {found}", hint=_EXPORT) from None
        self._dimension = len(found)
        told = {"files": files.hashes, "pooling": files.pooling, "longest": self._longest, "output": self._output}
        content = msgspec.json.encode({"kind": "onnx/1", **told, "dimension": self._dimension}, order="deterministic")
        self._fingerprint = hashlib.sha256(content).hexdigest()

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        return self._dimension

    @property
    def fingerprint(self) -> str:
        """The SHA-256 over the hashes of the model's files, pooling and length."""
        return self._fingerprint

    @property
    def longest(self) -> int:
        """How many tokens the model reads of a text, those that the tokenizer adds included."""
        return self._longest

    def embed(self, texts: Sequence[str]) -> Iterator[Embedded]:
        """Embed texts; see `Embedder`. `truncated` tells which were longer than the model reads."""
        for index, text in enumerate(texts):
            if flaw := flaw_of(text, index):
                yield Embedded(index, None, flaw)
                continue
            vector, truncated = self._run(text)
            if isinstance(vector, Exception):
                error = DataError(
                    f"text {index} has no vector: {vector}", hint="leave it out, or see the model's limits"
                )
                yield Embedded(index, None, error)
            else:
                yield Embedded(index, vector, None, truncated)

    def _run(self, text: str) -> tuple[NDArray[np.float32] | Exception, bool]:
        """Return the vector of a text, or why the model gives none, and whether the text was cut."""
        try:
            tokens = self._tokenizer.encode(text)
            given = {
                "input_ids": tokens.ids,
                "attention_mask": tokens.attention_mask,
                "token_type_ids": tokens.type_ids,
            }
            feed: dict[str, NDArray[Any]] = {name: np.array([given[name]], kind) for name, kind in self._inputs.items()}
            (output,) = self._session.run([self._output], feed)
            vector = _pooled(np.asarray(output), np.array(tokens.attention_mask), self._pooling)
        except Exception as error:  # noqa: BLE001  # both libraries raise many kinds
            return ValueError(_first_line(error)), False
        return vector, bool(tokens.overflowing)


def _pooled(output: NDArray[Any], mask: NDArray[np.int64], pooling: str) -> NDArray[np.float32]:
    """Return one vector of length 1 from an output of shape (1, dimension) or (1, tokens, dimension)."""
    if output.ndim not in (2, 3) or len(output) != 1 or output.dtype.kind != "f" or not output.size:
        raise ValueError(f"its output has the shape {output.shape} and the type {output.dtype}")
    vector = output[0].astype(np.float64)
    if vector.ndim == 2:
        vector = vector[0] if pooling == "cls" else np.add.reduce(vector * mask[:, None]) / max(int(mask.sum()), 1)
    length = np.sqrt(np.add.reduce(vector * vector))
    if not np.isfinite(length) or not length:
        raise ValueError("its numbers are all zero" if length == 0 else "its numbers are not finite")
    scaled: NDArray[np.float32] = (vector / length).astype(np.float32)
    return scaled


def _tokenizer(files: ModelFiles) -> tuple[Any, int]:
    """Return the tokenizer and how many tokens it leaves of a text; it adds no padding, as each text is alone."""
    path = files.path.parent / "tokenizer.json"
    try:
        tokenizer = _imported("tokenizers").Tokenizer.from_buffer(files.tokenizer)
        tokenizer.no_padding()
        if files.longest is not None:
            tokenizer.enable_truncation(files.longest)
        return tokenizer, int(tokenizer.truncation["max_length"])
    except MissingDependencyError:
        raise
    except Exception as error:  # noqa: BLE001  # the library raises Exception itself
        raise DataError(
            f"{path} is not a tokenizer: {_first_line(error)}", hint="copy the model's files anew"
        ) from None


def _session(files: ModelFiles) -> Any:
    runtime = _imported("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what fails is told by an error, and not on the standard error
    try:
        return runtime.InferenceSession(
            str(files.path) if files.weights_beside else files.model, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # noqa: BLE001  # the library raises many kinds
        raise DataError(
            f"{files.path} is not a model that can be loaded: {_first_line(error)}",
            hint="copy or export the model anew; onnxruntime must be at least as new as the model",
        ) from None


def _inputs(session: Any, name: str) -> dict[str, type]:
    """Return what the model is given, with its type of integers."""
    inputs = session.get_inputs()
    for one in inputs:
        fixed = [
            size
            for size, allowed in zip(one.shape, (1, None), strict=False)
            if isinstance(size, int) and size != allowed
        ]
        if one.name not in _INPUTS or one.type not in _INTEGERS or len(one.shape) != 2 or fixed:
            raise DefinitionError(
                f"the model in {name} has an input {one.name} of type {one.type} and shape {one.shape}, which is not known here",
                hint=_EXPORT,
            )
    if "input_ids" not in [one.name for one in inputs]:
        raise DefinitionError(f"the model in {name} has no input input_ids", hint=_EXPORT)
    return {one.name: _INTEGERS[one.type] for one in inputs}


def _output(session: Any, name: str) -> str:
    """Return the output with the vector of the text, else the one with the vectors of its tokens, else the first one."""
    names = [one.name for one in session.get_outputs()]
    if not names:
        raise DefinitionError(f"the model in {name} has no output", hint=_EXPORT)
    return next((one for one in _OUTPUTS if one in names), names[0])


def _imported(name: str) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"a model in ONNX needs {name}, which cannot be imported", hint="pip install 'tinymlops[onnx]'"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]


_EXPORT = (
    f"export a sentence encoder with the inputs {', '.join(_INPUTS)}, a batch and a length that are not fixed, and the output "
    "sentence_embedding or last_hidden_state"
)
