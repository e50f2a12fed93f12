"""Models in ONNX: which directories are models, what is read of them, and what is said of those that are not."""

import json
import math
import random
import sys

import embedding_models
import numpy as np
import pytest
from embedding_models import TABLE, tiny

from tinymlops.embedders import open_embedder, vectors_of
from tinymlops.errors import (
    AccessError,
    DataError,
    DefinitionError,
    IntegrityError,
    MissingDependencyError,
    NotFoundError,
)


def embedder(directory, **options):
    return open_embedder(directory.name, base=directory.parent, **options)


def scaled(vector):
    return np.asarray(vector) / math.sqrt(sum(float(one) ** 2 for one in vector))


@pytest.mark.parametrize("integers", [6, 7])
@pytest.mark.parametrize(
    "inputs", [("input_ids",), ("input_ids", "attention_mask"), ("input_ids", "attention_mask", "token_type_ids")]
)
@pytest.mark.parametrize("output", ["last_hidden_state", "token_embeddings", "sentence_embedding", "odd_name"])
def test_the_vector_is_the_mean_of_the_tokens(tmp_path, inputs, integers, output):
    model = embedder(tiny(tmp_path / "m", inputs=inputs, integers=integers, output=output))
    assert model.dimension == 3
    (found,) = vectors_of(model, ["red blue blue unheard"])
    np.testing.assert_allclose(found, scaled(TABLE[[1, 2, 2, 0]].mean(axis=0)), atol=1e-7)


def test_the_real_model_is_computed_as_its_makers_do(tmp_path):
    import onnxruntime
    from tokenizers import Tokenizer

    directory = embedding_models.minilm(tmp_path / "minilm")
    texts = ["a cat sits on the mat", "Kerzen 🎉", "long " * 500]
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_truncation(128)
    tokenizer.no_padding()
    session = onnxruntime.InferenceSession(str(directory / "model.onnx"), providers=["CPUExecutionProvider"])
    model = embedder(directory)
    assert (model.dimension, model.longest) == (384, 128)
    for text, found in zip(texts, model.embed(texts), strict=True):
        tokens = tokenizer.encode(text)
        feed = {"input_ids": tokens.ids, "attention_mask": tokens.attention_mask, "token_type_ids": tokens.type_ids}
        hidden = session.run(None, {name: np.array([one]) for name, one in feed.items()})[0][0]
        np.testing.assert_allclose(found.vector, scaled(hidden.mean(axis=0)), atol=2e-3)
        assert found.truncated == (text == texts[2])


def test_padding_of_the_tokenizer_is_not_used(tmp_path):
    padding = {
        "strategy": {"Fixed": 9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 3,
        "pad_type_id": 0,
        "pad_token": "green",
    }
    for inputs in (("input_ids",), ("input_ids", "attention_mask")):
        padded = embedder(tiny(tmp_path / "m", padding=padding, longest=20, inputs=inputs))
        assert vectors_of(padded, ["red"]).tolist() == [[0, 1, 0]]


def test_a_longer_text_is_cut_and_told(tmp_path):
    model = embedder(tiny(tmp_path / "m", longest=3))
    assert model.longest == 3
    found = list(model.embed(["red red red", "red red red blue", "blue " * 2_000]))
    assert [one.truncated for one in found] == [False, True, True]
    assert found[0].vector.tobytes() == found[1].vector.tobytes()


@pytest.mark.parametrize(
    ("files", "longest"),
    [
        ({}, 512),
        ({"config.json": {"max_position_embeddings": 7, "vocab_size": 3}}, 7),
        ({"sentence_bert_config.json": {"max_seq_length": 5}, "config.json": {"max_position_embeddings": 7}}, 5),
        ({"sentence_bert_config.json": {"max_seq_length": None}}, 512),
    ],
)
def test_the_length_comes_from_the_models_settings(tmp_path, files, longest):
    directory = tiny(tmp_path / "m")
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content))
    assert embedder(directory).longest == longest


def test_pooling_is_that_of_the_models_settings(tmp_path):
    directory = tiny(tmp_path / "m")
    (directory / "1_Pooling").mkdir()
    pooling = directory / "1_Pooling" / "config.json"
    mean = embedder(directory).fingerprint
    pooling.write_text('{"word_embedding_dimension": 3, "pooling_mode_mean_tokens": true}')
    assert embedder(directory).fingerprint == mean
    pooling.write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    first = embedder(directory)
    assert vectors_of(first, ["green red blue"]).tolist() == vectors_of(first, ["green"]).tolist()
    assert first.fingerprint != mean
    for refused in (
        '{"pooling_mode_max_tokens": true}',
        '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}',
    ):
        pooling.write_text(refused)
        with pytest.raises(DefinitionError, match="has the pooling"):
            embedder(directory)


def test_a_module_that_would_not_be_applied_is_refused(tmp_path):
    directory = tiny(tmp_path / "m")
    modules = [
        {"idx": 0, "type": "sentence_transformers.models.Transformer"},
        {"type": "sentence_transformers.models.Normalize"},
    ]
    (directory / "modules.json").write_text(json.dumps(modules))
    embedder(directory)
    (directory / "modules.json").write_text(json.dumps([*modules, {"type": "sentence_transformers.models.Dense"}]))
    with pytest.raises(DefinitionError, match="module Dense"):
        embedder(directory)


def test_a_model_in_the_directory_onnx_is_found(tmp_path):
    directory = tiny(tmp_path / "m")
    (directory / "onnx").mkdir()
    (directory / "model.onnx").rename(directory / "onnx" / "model.onnx")
    assert vectors_of(embedder(directory), ["blue"]).tolist() == [[0, 0, 1]]


def test_weights_in_a_file_beside_are_part_of_the_fingerprint(tmp_path):
    directory = tiny(tmp_path / "m", weights_in="model.onnx_data")
    with pytest.raises(NotFoundError, match="model.onnx_data"):
        embedder(directory)
    (directory / "model.onnx_data").write_bytes(TABLE.tobytes())
    found = embedder(directory)
    assert vectors_of(found, ["blue"]).tolist() == [[0, 0, 1]]
    (directory / "model.onnx_data").write_bytes(TABLE[:, ::-1].tobytes())
    with pytest.raises(IntegrityError, match=found.fingerprint):
        embedder(directory, fingerprint=found.fingerprint)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", ".."])
def test_weights_elsewhere_are_refused(tmp_path, name):
    (tmp_path / "secret").write_bytes(TABLE.tobytes())
    with pytest.raises(DataError, match="not beside it"):
        embedder(tiny(tmp_path / "m", weights_in=name))


def test_every_byte_of_a_model_is_part_of_the_fingerprint(tmp_path):
    directory = tiny(tmp_path / "m", longest=9)
    before, words = embedder(directory), "red blue"
    kept = vectors_of(before, [words])
    for name in ("model.onnx", "tokenizer.json"):
        path = directory / name
        content = path.read_bytes()
        changed = content.replace(TABLE[1].tobytes(), TABLE[3].tobytes()) if name == "model.onnx" else content + b"\n"
        assert changed != content
        path.write_bytes(changed)
        with pytest.raises(IntegrityError) as raised:
            embedder(directory, fingerprint=before.fingerprint)
        assert embedder(directory).fingerprint in raised.value.message
        assert before.fingerprint in raised.value.message
        assert vectors_of(before, [words]).tobytes() == kept.tobytes()  # what is open stays as it was
        path.write_bytes(content)
    assert embedder(directory, fingerprint=before.fingerprint).fingerprint == before.fingerprint
    (directory / "README.md").write_text("a model")
    assert embedder(directory).fingerprint == before.fingerprint


def test_a_text_that_the_model_fails_at_is_named_and_the_others_are_not(tmp_path):
    model = embedder(tiny(tmp_path / "m"))
    found = list(model.embed(["red", "far", "nothing", "broken", "blue"]))
    assert [one.index for one in found if one.error] == [1, 2, 3]
    for one, words in zip(found[1:4], ("text 1 .*", "text 2 .* all zero", "text 3 .* not finite"), strict=True):
        assert isinstance(one.error, DataError)
        with pytest.raises(DataError, match=words):
            raise one.error
        assert "\n" not in one.error.message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inputs": ("input_ids", "position_ids")}, "position_ids"),
        ({"inputs": ("input_ids", "attention_mask", "pixel_values")}, "pixel_values"),
        ({"integers": 1}, "input_ids"),
        ({"shape": (1, 128)}, r"shape \[1, 128\]"),
        ({"shape": (8, "tokens")}, "shape"),
    ],
)
def test_a_model_with_other_inputs_is_refused(tmp_path, options, words):
    with pytest.raises((DefinitionError, DataError), match=words) as raised:
        embedder(tiny(tmp_path / "m", **options))
    assert raised.value.hint


def test_missing_and_damaged_files_are_named(tmp_path, capfd):
    directory = tiny(tmp_path / "m")
    model, tokenizer = (directory / "model.onnx").read_bytes(), (directory / "tokenizer.json").read_bytes()
    for name, content in (("model.onnx", model), ("tokenizer.json", tokenizer)):
        path = directory / name
        path.unlink()
        with pytest.raises(NotFoundError, match=f"no file .*{name}"):
            embedder(directory)
        path.mkdir()
        with pytest.raises(NotFoundError, match=f"no file .*{name}"):
            embedder(directory)
        path.rmdir()
        for damaged in (
            b"",
            b"\0" * 1000,
            b"{}",
            b"[" * 100_000,
            b"\xff\xfe",
            content[: len(content) // 2],
            content[:-1],
        ):
            path.write_bytes(damaged)
            with pytest.raises(DataError, match=name) as raised:
                embedder(directory)
            assert raised.value.hint
        path.write_bytes(content)
    (directory / "config.json").write_text("{")
    with pytest.raises(DataError, match="config.json"):
        embedder(tiny(directory))
    assert capfd.readouterr() == ("", "")  # the runtime's own words go nowhere


def test_a_flipped_bit_is_an_error_of_ours_or_another_fingerprint(tmp_path):
    directory = tiny(tmp_path / "m", longest=9)
    before, content, dice = embedder(directory), (directory / "model.onnx").read_bytes(), random.Random(5)
    for _ in range(100):
        damaged = bytearray(content)
        damaged[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        (directory / "model.onnx").write_bytes(damaged)
        with pytest.raises((DataError, DefinitionError, IntegrityError)):
            embedder(directory, fingerprint=before.fingerprint)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    directory = tiny(tmp_path / "m")
    (directory / "tokenizer.json").unlink()
    (directory / "tokenizer.json").symlink_to("tokenizer.json")  # root may read everything else
    with pytest.raises(AccessError, match="tokenizer.json cannot be read"):
        embedder(directory)


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers"])
def test_a_missing_package_is_named_with_the_line_that_installs_it(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=package) as raised:
        embedder(tiny(tmp_path / "m"))
    assert raised.value.hint == "pip install 'tinymlops[onnx]'"
