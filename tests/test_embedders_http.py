"""Embeddings over HTTP, asked of a real server on loopback that answers well, badly, late or never."""

import asyncio
import base64
import json
import logging
import random
import socket
import struct
import threading
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import embedding_provider
import numpy as np
import pytest
from embedding_provider import answer, item, said, vector, well
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinymlops.embedders import open_embedder, vectors_of
from tinymlops.embedders.addresses import provider_of
from tinymlops.embedders.providers import MOST_BYTES, MOST_TEXTS
from tinymlops.errors import (
    AccessError,
    DataError,
    DefinitionError,
    IntegrityError,
    NotFoundError,
    TinyMLOpsError,
    UnavailableError,
)

KEY = "sk-0123456789abcdefghij"


@pytest.fixture
def provider():
    threads = threading.active_count()
    with embedding_provider.running() as provider:
        yield provider
    assert threading.active_count() <= threads  # one of another test may have ended meanwhile


@pytest.fixture
def opened(provider, tmp_path):
    def opened(address=None, **options):
        return open_embedder(address or provider.address(), base=tmp_path, **{"dimension": 4, "deadline": 5, **options})

    return opened


def asked_texts(provider):
    return [body["input"] for body in provider.asked]


def expected(texts):
    return np.array([vector(text) for text in texts])


def test_it_speaks_the_protocol(provider, opened, monkeypatch):
    monkeypatch.setenv("SHOP_KEY", KEY)
    model = opened(dimension=None, key="env:SHOP_KEY")
    assert model.dimension == 4
    texts = ["tea", "🎉 مرحبا \0 e\u0301", 'quote " \\ \n']
    np.testing.assert_array_equal(vectors_of(model, texts), expected(texts))
    assert provider.asked[-1] == {"model": "minilm", "input": texts, "encoding_format": "float"}
    path, headers = provider.heads[-1]
    assert path == "/v1/embeddings"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Content-Type"] == "application/json"


def test_no_key_is_sent_unless_one_is_named(provider, opened, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    vectors_of(opened(), ["tea"])
    assert "Authorization" not in provider.heads[-1][1]


def test_a_known_dimension_costs_no_request(provider, opened):
    assert opened().dimension == 4
    assert provider.asked == []
    opened(dimension=None)
    assert asked_texts(provider) == [["a"]]


def test_requests_are_bounded_in_texts_and_bytes(provider, opened):
    texts = [f"text {number}" for number in range(3 * MOST_TEXTS + 1)]
    np.testing.assert_array_equal(vectors_of(opened(), texts), expected(texts))
    assert [len(one) for one in asked_texts(provider)] == [MOST_TEXTS] * 3 + [1]
    provider.asked.clear()
    long = ["é" * 60_000 + str(number) for number in range(5)] + ["🎉" * 262_144, "tea"]
    np.testing.assert_array_equal(vectors_of(opened(), long), expected(long))
    sizes = [sum(len(text.encode()) for text in one) for one in asked_texts(provider)]
    assert all(size <= MOST_BYTES or len(texts) == 1 for size, texts in zip(sizes, asked_texts(provider), strict=True))
    assert [len(one) for one in asked_texts(provider)] == [2, 2, 1, 1, 1]


def test_texts_without_a_vector_are_not_sent(provider, opened):
    found = list(opened().embed(["", "tea", "\ud800", None]))
    assert asked_texts(provider) == [["tea"]]
    assert [one.error is None for one in found] == [False, True, False, False]
    assert len(list(opened().embed([""] * 5000))) == 5000
    assert len(provider.asked) == 1


def in_base64(text, index):
    return {"index": index, "embedding": base64.b64encode(vector(text).astype("<f4").tobytes()).decode()}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 12), seed=st.integers(0, 10**6), coded=st.booleans())
def test_vectors_come_in_any_order_and_form(provider, opened, count, seed, coded):
    texts = [f"{seed} {number}" for number in range(count)]
    shuffled = random.Random(seed).sample(range(count), count)
    make = in_base64 if coded else item
    provider.respond = lambda texts: answer([make(texts[place], place) for place in shuffled])
    np.testing.assert_array_equal(vectors_of(opened(), texts), expected(texts))


def test_vectors_without_an_index_are_in_the_order_of_the_texts(provider, opened):
    provider.respond = lambda texts: answer([{"embedding": item(text, 0)["embedding"]} for text in texts])
    np.testing.assert_array_equal(vectors_of(opened(), ["tea", "wax"]), expected(["tea", "wax"]))


@pytest.mark.parametrize(
    "numbers",
    [
        [1, 2, float("nan"), 4],
        [1, 2, float("inf"), 4],
        [1, 2, 1e300, 4],
        [1, 2, 10**400, 4],
        [0, 0, 0, 0],
        [1, 2, None, 4],
        ["1", "2", "3", "4"],
        [True, False, True, True],
        [[1], [2], [3], [4]],
        "AAAA!",
        "AAA",
        base64.b64encode(struct.pack("<4f", 1, 2, float("nan"), 4)).decode(),
        None,
        7,
    ],
    ids=repr,
)
def test_a_vector_that_is_none_is_that_of_its_text_alone(provider, opened, numbers):
    provider.respond = lambda texts: answer(
        [{"index": 1, "embedding": numbers}, *(item(texts[place], place) for place in (0, 2))]
    )
    found = list(opened().embed(["tea", "wax", "bee"]))
    assert [one.index for one in found if one.error] == [1]
    assert isinstance(found[1].error, DataError)
    assert "text 1 has no vector" in found[1].error.message
    np.testing.assert_array_equal([found[0].vector, found[2].vector], expected(["tea", "bee"]))


def test_a_vector_that_is_missing_is_named(provider, opened):
    provider.respond = lambda texts: answer([item(texts[0], 0), item(texts[2], 2)])
    found = list(opened().embed(["tea", "wax", "bee"]))
    assert [one.index for one in found if one.error] == [1]
    assert "answered no vector" in found[1].error.message


@pytest.mark.parametrize("numbers", [[], [1.0], [1.0] * 5, ""])
def test_another_dimension_is_another_model(provider, opened, numbers):
    provider.respond = lambda texts: answer([{"index": 0, "embedding": numbers}])
    with pytest.raises((IntegrityError, DataError), match="text 0"):
        vectors_of(opened(), ["tea"])
    provider.respond = lambda texts: answer([{"index": 0, "embedding": [1.0] * 768}])
    with pytest.raises(IntegrityError, match="answers 768 numbers and not 4"):
        vectors_of(opened(), ["tea"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b"[]",
        b"null",
        b'{"data": 1}',
        b'{"data": [1, 2]}',
        b'{"data": []}',
        b"[" * 200_000,
        b"\xff\xfe\x00",
        answer([item("tea", 0)] * 2)[2],
        answer([item("tea", 0), item("wax", 2)])[2],
        answer([item("tea", -1), item("wax", 0)])[2],
        answer([item("tea", 0), {"embedding": [1.0, 2, 3, 4]}])[2],
        answer([{"embedding": [1.0, 2, 3, 4]}])[2],
        answer([item("tea", number) for number in range(3)])[2],
        answer([{**item("tea", 0), "index": "0"}, item("wax", 1)])[2],
    ],
    ids=range(17),
)
def test_an_answer_that_cannot_be_understood_is_told(provider, opened, body):
    provider.respond = lambda texts: answer(body)
    with pytest.raises((UnavailableError, DataError)) as raised:
        vectors_of(opened(), ["tea", "wax"])
    assert str(provider.port) in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_it_is_tried_again_where_the_provider_cannot_answer_now(provider, opened, status):
    provider.then(lambda _: said(status, "busy", Retry_After="0"), lambda _: said(status, "busy", Retry_After="0.01"))
    np.testing.assert_array_equal(vectors_of(opened(), ["tea"]), expected(["tea"]))
    assert asked_texts(provider) == [["tea"]] * 3


@pytest.mark.parametrize("told", ["seconds", "date"])
def test_it_waits_as_long_as_it_is_told(provider, opened, told):
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    provider.then(lambda _: said(429, "slow down", Retry_After="1" if told == "seconds" else format_datetime(until)))
    started = time.monotonic()
    vectors_of(opened(), ["tea"])
    if told == "seconds":
        assert time.monotonic() - started >= 1
    else:
        assert datetime.now(UTC) >= until


@pytest.mark.parametrize("told", ["", "soon", "-5", "nan", "Wed, 99 Foo 2026"])
def test_a_time_that_cannot_be_read_is_not_waited_for(provider, opened, told):
    provider.then(lambda _: said(429, "slow down", Retry_After=told))
    vectors_of(opened(), ["tea"])
    assert len(provider.asked) == 2


def test_it_does_not_wait_beyond_the_deadline(provider, opened):
    provider.respond = lambda _: said(429, "quota", Retry_After="3600")
    started = time.monotonic()
    with pytest.raises(UnavailableError, match=r"429 \(quota\); it asks to wait for 3600 s"):
        vectors_of(opened(deadline=30), ["tea"])
    assert time.monotonic() - started < 5
    provider.respond = lambda _: said(500, "oops")
    with pytest.raises(UnavailableError, match=r"500 \(oops\)"):
        vectors_of(opened(deadline=0.6), ["tea"])


def reset(handler):
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def close(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)


def half(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    close(handler)


def noise(handler):
    handler.wfile.write(b"\0\xff\r\n\r\n")
    close(handler)


@pytest.mark.parametrize("broken", [reset, close, half, noise])
def test_a_connection_that_breaks_is_tried_again(provider, opened, broken):
    provider.then(lambda _: broken)
    np.testing.assert_array_equal(vectors_of(opened(), ["tea"]), expected(["tea"]))
    provider.respond = lambda _: broken
    with pytest.raises(UnavailableError, match="connection failed"):
        vectors_of(opened(deadline=0.6), ["tea"])


def hang(provider):
    return lambda handler: provider.ended.wait(30)


def drip(provider, start):
    """Send a byte again and again: each is in time, and the answer never is."""

    def drip(handler):
        try:
            handler.wfile.write(start)
            while not provider.ended.wait(0.05):
                handler.wfile.write(b"x")
        except OSError:
            pass

    return drip


@pytest.mark.parametrize("kind", ["silent", "slow head", "slow body"])
def test_a_provider_that_hangs_is_given_up_at_the_deadline(provider, opened, kind):
    start = {"slow head": b"HTTP/1.1 200 OK\r\nX: ", "slow body": b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"}
    response = hang(provider) if kind == "silent" else drip(provider, start[kind])
    provider.respond = lambda _: response
    started = time.monotonic()
    with pytest.raises(UnavailableError, match=r"did not answer in 0.5 s"):
        vectors_of(opened(deadline=0.5), ["tea"])
    assert time.monotonic() - started < 5
    provider.ended.set()


def test_nobody_listens(opened):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/v1#m"
        with pytest.raises(UnavailableError, match="connection failed"):
            vectors_of(opened(address, deadline=0.4), ["tea"])


def test_what_was_embedded_before_a_failure_is_kept(provider, opened):
    provider.then(well, *[lambda _: said(503, "down")] * 20)
    texts, found = [f"text {number}" for number in range(MOST_TEXTS + 5)], []
    with pytest.raises(UnavailableError):
        for one in opened(deadline=0.5).embed(texts):
            found.append(one.vector)  # noqa: PERF401  # a comprehension would lose them
    np.testing.assert_array_equal(found, expected(texts[:MOST_TEXTS]))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bad=st.lists(st.booleans(), min_size=1, max_size=20), status=st.sampled_from([400, 413, 422]))
def test_a_text_that_is_refused_is_found_among_the_others(provider, opened, bad, status):
    texts = [f"{'bad' if one else 'good'} {place}" for place, one in enumerate(bad)]
    provider.asked.clear()
    provider.respond = lambda texts: said(status, "too long") if any("bad" in text for text in texts) else well(texts)
    found = list(opened().embed(texts))
    assert [one.error is not None for one in found] == bad
    for one in found:
        if one.error is None:
            assert one.vector.tobytes() == vector(texts[one.index]).tobytes()
        else:
            assert f"text {one.index} has no vector: " in one.error.message
            assert f"status {status} (too long)" in one.error.message
    assert len(provider.asked) <= 2 * len(texts) + 1


def test_a_provider_that_refuses_everything_is_told_at_once(provider, opened):
    provider.respond = lambda _: said(400, "no such model: minilm")
    with pytest.raises(DefinitionError, match=r"refuses every text: status 400 \(no such model: minilm\)"):
        vectors_of(opened(), [f"text {number}" for number in range(60)])
    assert len(provider.asked) == 2
    with pytest.raises(DefinitionError, match="refuses every text"):
        opened(dimension=None)


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AccessError), (403, AccessError), (404, NotFoundError), (405, NotFoundError), (418, UnavailableError)],
)
def test_a_refusal_that_is_final_is_not_tried_again(provider, opened, status, error):
    provider.respond = lambda _: said(status, "no")
    with pytest.raises(error, match=rf"status {status} \(no\)"):
        vectors_of(opened(), ["tea", "wax"])
    assert len(provider.asked) == 1


def test_a_redirect_is_not_followed(provider, opened, monkeypatch):
    monkeypatch.setenv("SHOP_KEY", KEY)
    with embedding_provider.running() as other:
        place = f"http://user:pass@127.0.0.1:{other.port}/v1/embeddings?token=secret"
        for status in (301, 302, 307, 308):
            provider.respond = lambda _, status=status: (status, {"Location": place}, b"")
            with pytest.raises(DefinitionError, match="sends elsewhere") as raised:
                vectors_of(opened(key="env:SHOP_KEY"), ["tea"])
            assert f"127.0.0.1:{other.port}/v1/embeddings" in raised.value.message
            assert "pass" not in str(raised.value)
            assert "secret" not in str(raised.value)
        assert other.asked == []


def test_compressed_and_endless_answers_are_refused(provider, opened, monkeypatch):
    provider.respond = lambda texts: (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b" + b"\0" * 50)
    with pytest.raises(DefinitionError, match="compresses"):
        vectors_of(opened(), ["tea"])
    monkeypatch.setattr("tinymlops.embedders.requests._LARGEST", 1000)
    provider.respond = lambda texts: answer(b" " * 5000)
    with pytest.raises(DefinitionError, match="answers more than"):
        vectors_of(opened(), ["tea"])


def test_the_key_is_told_to_nobody(provider, opened, monkeypatch, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SHOP_KEY", KEY)
    model = opened(key="env:SHOP_KEY", deadline=0.4)
    assert KEY not in f"{model!r} {model.fingerprint}"
    monkeypatch.delenv("SHOP_KEY")
    bodies = [json.dumps(f"wrong key {KEY}").encode(), json.dumps({"message": f"{'x' * 190} {KEY}"}).encode()]
    responses = [said(status, f"wrong key {KEY}") for status in (302, 400, 401, 404, 418, 429, 500)]
    responses += [(401, {}, body) for body in bodies] + [answer(KEY.encode())]
    for response in responses:
        provider.respond = lambda _, response=response: response
        with pytest.raises(TinyMLOpsError) as raised:
            vectors_of(model, ["tea"])
        told = "".join(traceback.format_exception(raised.value))
        assert not any(KEY[:length] in told for length in (8, len(KEY)))
    assert KEY not in caplog.text
    assert KEY not in "".join(capfd.readouterr())


def test_a_key_too_short_to_be_hidden_everywhere_is_hidden_here(provider, opened, monkeypatch):
    monkeypatch.setenv("SHOP_KEY", "k7zq")
    provider.respond = lambda _: said(401, "wrong key k7zq")
    with pytest.raises(AccessError, match="wrong key <secret>"):
        vectors_of(opened(key="env:SHOP_KEY"), ["tea"])


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        (KEY, None, DefinitionError),
        ("env:", None, DefinitionError),
        ("env:a b", None, DefinitionError),
        ("file:x", None, DefinitionError),
        ("env:SHOP_KEY", None, NotFoundError),
        ("env:SHOP_KEY", "", DataError),
        ("env:SHOP_KEY", "a\nb", DataError),
        ("env:SHOP_KEY", "schlüssel", DataError),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_and_not_quoted(opened, monkeypatch, key, value, error):
    if value is not None:
        monkeypatch.setenv("SHOP_KEY", value)
    with pytest.raises(error) as raised:
        opened(key=key)
    assert KEY not in str(raised.value)
    assert raised.value.hint


def test_a_key_may_come_from_a_private_file(provider, opened, monkeypatch, tmp_path):
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    monkeypatch.setenv("SHOP_KEY_FILE", str(file))
    file.chmod(0o644)
    with pytest.raises(AccessError):
        opened(key="env:SHOP_KEY")
    file.chmod(0o600)
    vectors_of(opened(key="env:SHOP_KEY"), ["tea"])
    assert provider.heads[-1][1]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "address",
    [
        f"https://user:{KEY}@host/v1#m",
        f"https://{KEY}@host/v1#m",
        f"https://host/v1?key={KEY}#m",
        "https://host/v1",
        "https://host/v1#",
        "https:///v1#m",
        "https://#m",
        "https://host:99999/v1#m",
        "https://host:x/v1#m",
        "https://ho st/v1#m",
        "https://[::1/v1#m",
        "https://hőst/v1#m",
        "https://host/v1\n#m",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_and_not_quoted(opened, address):
    with pytest.raises(DefinitionError) as raised:
        opened(address)
    assert KEY not in str(raised.value)
    assert raised.value.hint


def test_addresses_that_mean_the_same_are_the_same():
    one = provider_of("https://api.example.com/v1#text-embedding-3-small")
    assert one == ("https://api.example.com/v1/embeddings", "text-embedding-3-small")
    for other in (
        "HTTPS://API.example.com:443/v1/#",
        "https://api.example.com/v1/embeddings#",
        "https://api.example.com/v1/embeddings/#",
    ):
        assert provider_of(f"{other}text-embedding-3-small") == one
    assert provider_of("http://[::1]:8080#a%2Fb") == ("http://[::1]:8080/embeddings", "a/b")
    assert provider_of("http://host/v1#org/model:latest").model == "org/model:latest"


def test_the_fingerprint_is_of_address_model_and_dimension(provider, opened, monkeypatch):
    monkeypatch.setenv("SHOP_KEY", KEY)
    first = opened().fingerprint
    assert first == opened(dimension=None).fingerprint == opened(key="env:SHOP_KEY", deadline=1).fingerprint
    others = {opened(dimension=5).fingerprint, opened(provider.address("other")).fingerprint}
    others.add(opened(provider.address(path="/v2")).fingerprint)
    assert len(others | {first}) == 4


@pytest.mark.parametrize("dimension", [0, -3])
def test_an_impossible_dimension_is_refused(opened, dimension):
    with pytest.raises(DefinitionError, match="not possible"):
        opened(dimension=dimension)


def test_it_works_inside_an_event_loop_and_may_be_left_early(provider, opened):
    async def asked():
        return vectors_of(opened(), ["tea"])

    np.testing.assert_array_equal(asyncio.run(asked()), expected(["tea"]))
    threads = threading.active_count()
    answers = opened().embed([f"text {number}" for number in range(300)])
    next(answers)
    answers.close()
    deadline = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= threads
    assert len(provider.asked) == 2
