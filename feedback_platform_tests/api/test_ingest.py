"""Events over HTTP, one at a time: receipts, refusals that name field, value and fix, and bodies that mean harm."""

import gzip
import http.client
import json
import re
import socket
import zlib
from pathlib import Path

import pytest

from feedback_platform.contracts.events import MAX_EVENT_BYTES, MAX_STRING_BYTES
from feedback_platform_tests.api.serving import eventually, exchange, heads, logged, make_key, peak_bytes, served
from feedback_platform_tests.builders import at, inference, thumbs

MB = 2**20
JSON_TYPE = {"Content-Type": "application/json"}
GZIPPED = {**JSON_TYPE, "Content-Encoding": "gzip"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(tmp_path_factory.mktemp("ingest"), "--dev") as running:
        yield running


def without_id(request_id, up=True, **fields):
    body = {"feedback_type": "thumbs", "feedback_value": {"up": up}, "request_id": request_id, "timestamp": at(5)}
    return {**body, **fields}


def letters(server):
    return logged(server.home, "dead_letter")


def test_a_receipt_says_where_the_event_is_and_a_repetition_gets_the_same(server):
    first = server.post("/v1/inferences", inference("receipt"))
    assert first.status == 202
    assert first.headers["cache-control"] == "no-store"
    receipt = first.json
    assert receipt == {"id": "receipt", "log_seq": heads(server.home)[0], "durable": True, "duplicate": False}
    stored = logged(server.home, "inference")[-1]
    assert (stored["request_id"], stored["log_seq"]) == ("receipt", receipt["log_seq"])
    shuffled = dict(reversed(inference("receipt").items()))
    again = server.post("/v1/inferences", shuffled)
    assert (again.status, again.json) == (202, {**receipt, "duplicate": True})
    assert heads(server.home)[0] == receipt["log_seq"]


@pytest.mark.parametrize(
    ("path", "stream", "first", "other", "name"),
    [
        ("/v1/inferences", "inference", inference("taken"), inference("taken", text="other"), "request_id"),
        ("/v1/feedback", "feedback", thumbs("taken"), thumbs("taken", up=False), "feedback_id"),
    ],
)
def test_another_body_under_a_taken_id_is_refused_and_the_first_stands(server, path, stream, first, other, name):
    receipt = server.post(path, first).json
    refused = server.post(path, other)
    assert (refused.status, refused.reason) == (409, "id_conflict")
    assert (refused.json["field"], refused.json["value"]) == (name, "taken")
    letter = letters(server)[-1]
    assert (letter["reason"], letter["kind"], letter["event_id"]) == ("id_conflict", stream, "taken")
    assert letter["origin"] == f"POST {path}"
    assert json.loads(letter["body"]) == other
    assert server.post(path, first).json == {**receipt, "duplicate": True}


def test_feedback_without_an_id_counts_once_however_often_it_is_sent(server):
    first = server.post("/v1/feedback", without_id("blind")).json
    assert first["id"].startswith("fb_")
    assert server.post("/v1/feedback", without_id("blind")).json == {**first, "duplicate": True}
    assert server.post("/v1/feedback", without_id("blind", up=False)).json["id"] != first["id"]


def test_feedback_may_come_before_what_it_judges(server):
    before = heads(server.home)
    assert server.post("/v1/feedback", thumbs("early", "late")).status == 202
    assert server.post("/v1/inferences", inference("late")).status == 202
    assert heads(server.home) == (before[0] + 1, before[1] + 1, before[2])


@pytest.mark.parametrize(
    ("path", "body", "reason", "field", "fix"),
    [
        ("/v1/inferences", {**inference("x"), "modle": "m"}, "field_unknown", "modle", "Did you mean `model`?"),
        ("/v1/inferences", {**inference("x"), "model": 3}, "wrong_type", "model", "a string"),
        ("/v1/inferences", {**inference("x"), "request_id": "a b"}, "id_invalid", "request_id", "1 to 128"),
        ("/v1/inferences", {**inference("x"), "timestamp": "2026-01-01T00:00:00"}, "timestamp_naive", "timestamp", "Z"),
        ("/v1/inferences", {**inference("x"), "confidence": 1.5}, "value_out_of_range", "confidence", "<= 1"),
        ("/v1/inferences", {**inference("x"), "tenant": "other"}, "field_unknown", "tenant", "metadata"),
        ("/v1/inferences", {**inference("x"), "log_seq": 1}, "field_unknown", "log_seq", "metadata"),
        ("/v1/feedback", {**thumbs("x"), "feedback_type": "thumb"}, "value_not_allowed", "feedback_type", "`thumbs`"),
        ("/v1/feedback", {**thumbs("x"), "feedback_value": {"up": "yes"}}, "wrong_type", "feedback_value.up", "true"),
        ("/v1/feedback", {"feedback_type": "thumbs"}, "field_missing", "feedback_value", "Add"),
        ("/v1/feedback", [1], "not_an_object", None, "object"),
    ],
)
def test_a_refusal_names_field_value_and_fix_and_is_kept(server, path, body, reason, field, fix):
    before = heads(server.home)
    refused = server.post(path, body)
    assert (refused.status, refused.reason) == (422, reason)
    told = refused.json
    assert (told["type"], told["status"]) == (f"/problems/{reason}", 422)
    assert told.get("field") == field
    assert fix in told["fix"]
    assert told["fix"] in told["detail"]
    inferences, feedback, dead = heads(server.home)
    assert (inferences, feedback, dead) == (*before[:2], before[2] + 1)
    letter = letters(server)[-1]
    assert (letter["reason"], json.loads(letter["body"])) == (reason, body)
    assert letter["message"] == told["detail"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"modle": "m"},
        {"user_id": "sentinel-person" * 30},
        {"session_id": {"sentinel-person": 1}},
        {"source": {"kind": "human", "id": "sentinel-person" * 30}},
        {"target": {"session_id": "sentinel-person", "item_id": "i"}, "request_id": None},
    ],
)
def test_what_is_kept_of_a_refused_event_holds_no_id_of_a_person(server, wrong):
    person = {"user_id": "sentinel-person", "session_id": "sentinel-person-s"}
    body = {**thumbs("x"), **person, "source": {"kind": "human", "id": "sentinel-person"}, **wrong}
    assert server.post("/v1/feedback", body).status == 422
    letter = letters(server)[-1]
    assert "sentinel-person" not in letter["message"] + (letter["event_id"] or "")
    kept = json.loads(letter["body"])
    for field in ("user_id", "source", "target"):
        assert "sentinel-person" not in json.dumps(kept.get(field)), field


def test_an_accepted_person_is_a_pseudonym_in_every_file(server):
    body = without_id("private", user_id="sentinel-kept", source={"kind": "human", "id": "sentinel-kept"})
    assert server.post("/v1/feedback", body).status == 202
    # The same body with a broken field, and one that is cut in the middle.
    assert server.post("/v1/feedback", {**body, "nmae": "x"}).status == 422
    text = json.dumps(body)
    cut = text[: text.index("sentinel-kept") + 30]
    assert server.post("/v1/feedback", cut, headers=JSON_TYPE).status == 400
    row = logged(server.home, "feedback")[-1]
    assert row["rater"].startswith("pn_")
    for path in server.home.rglob("*"):
        assert not path.is_file() or b"sentinel-kept" not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", "json_invalid"),
        (b"{", "json_invalid"),
        (b'{"a": 1} {"b": 2}', "json_invalid"),
        (b"feedback_type=thumbs", "json_invalid"),
        (b'{"a": "\xff"}', "not_utf8"),
    ],
)
def test_what_is_no_json_is_a_400(server, sent, reason):
    for path in ("/v1/inferences", "/v1/feedback"):
        refused = server.post(path, sent, headers=JSON_TYPE)
        assert (refused.status, refused.reason) == (400, reason)
        assert letters(server)[-1]["reason"] == reason


def deep(levels, opened="[", closed="]"):
    return opened * levels + closed * levels


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (json.dumps(inference("x"))[:-1] + ', "metadata": {"a": ' + deep(70) + "}}", "nesting_too_deep"),
        (json.dumps(inference("x"))[:-1] + ', "metadata": {"a": ' + deep(100_000) + "}}", "nesting_too_deep"),
        (deep(500_000), "nesting_too_deep"),
        (deep(300_000, '{"a":', "}").replace(":}", ":1}", 1), "nesting_too_deep"),
        (json.dumps(inference("x", text="a" * (MAX_STRING_BYTES + 1))), "string_too_long"),
        (json.dumps(inference("x", metadata={"k" * (MAX_STRING_BYTES + 1): 1})), "string_too_long"),
        (json.dumps(inference("x", segments={f"s{n}": "v" for n in range(100_000)})), "too_many_entries"),
        ('{"a": 1, "a": 2}', "duplicate_key"),
        (json.dumps(inference("x"))[:-1] + ', "logprob": ' + "9" * 400_000 + "}", "number_out_of_range"),
        (json.dumps(inference("x"))[:-1] + ', "logprob": NaN}', "number_not_finite"),
    ],
    ids=lambda value: value if len(value) < 30 else "",
)
def test_a_body_that_means_harm_is_refused_with_a_reason(server, sent, reason):
    before = heads(server.home)
    refused = server.post("/v1/inferences", sent, headers=JSON_TYPE)
    assert (refused.status, refused.reason) == (422, reason)
    assert heads(server.home)[:2] == before[:2]
    assert server.get("/healthz").status == 200


def test_many_keys_in_one_object_are_only_data(server):
    body = inference("many-keys", metadata={f"k{n}": n for n in range(200_000)})
    assert server.post("/v1/inferences", body).status == 202


def test_an_event_beyond_the_limit_is_a_413_and_the_connection_stays_good(server):
    before = heads(server.home)
    one = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    sent = json.dumps(inference("big", metadata={"a": ["x" * 1000] * 4300})).encode()
    assert len(sent) > MAX_EVENT_BYTES
    for _ in range(2):
        one.request("POST", "/v1/inferences", sent, JSON_TYPE)
        answer = one.getresponse()
        assert (answer.status, json.loads(answer.read())["reason"]) == (413, "body_too_large")
    socket_then = one.sock
    one.request("POST", "/v1/inferences", json.dumps(inference("after-big")), JSON_TYPE)
    answer = one.getresponse()
    assert (answer.status, json.loads(answer.read())["id"]) == (202, "after-big")
    assert one.sock is socket_then, "the connection was kept"
    one.close()
    assert heads(server.home) == (before[0] + 1, *before[1:])


def test_a_body_of_unknown_length_is_limited_as_it_comes(server):
    """Chunked, so no Content-Length says beforehand how much there will be."""
    one = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    pieces = (b"x" * MB for _ in range(5))
    one.request("POST", "/v1/inferences", pieces, JSON_TYPE, encode_chunked=True)
    assert one.getresponse().status == 413
    one.close()
    text = json.dumps(inference("chunked")).encode()
    one.request(
        "POST", "/v1/inferences", (text[n : n + 7] for n in range(0, len(text), 7)), JSON_TYPE, encode_chunked=True
    )
    assert one.getresponse().status == 202
    one.close()


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/x-ndjson", None]
)
def test_another_media_type_is_a_415(server, content_type):
    headers = {} if content_type is None else {"Content-Type": content_type}
    refused = server.post("/v1/feedback", json.dumps(thumbs("media")), headers=headers)
    assert (refused.status, refused.reason) == (415, "media_type")
    assert "application/json" in refused.json["detail"]


def test_a_media_type_may_have_parameters_and_any_case(server):
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert server.post("/v1/feedback", json.dumps(thumbs("parameters")), headers=headers).status == 202


def test_unknown_paths_and_methods(server):
    for path in ("/", "/v1", "/v1/inferences/", "/v1//inferences", "/v2/inferences", "/v1/events/a/b"):
        refused = server.call("POST", path, {})
        assert (refused.status, refused.reason) == (404, "path_unknown"), path
    for method, path, allowed in (
        ("GET", "/v1/inferences", "POST"), ("PUT", "/v1/feedback", "POST"), ("DELETE", "/v1/batch", "POST"),
        ("POST", "/healthz", "GET"), ("OPTIONS", "/v1/inferences", "POST"), ("PATCH", "/v1/events/x", "GET"),
    ):  # fmt: skip
        refused = server.call(method, path)
        assert (refused.status, refused.headers["allow"]) == (405, allowed), (method, path)
        assert refused.reason == "method_unknown"


def test_head_is_get_without_a_body(server):
    for path, status in (("/healthz", 200), ("/v1/events/never", 404), ("/v1/inferences", 405), ("/nowhere", 404)):
        answer = server.call("HEAD", path)
        assert (answer.status, answer.body) == (status, b""), path
        assert server.get("/healthz").json["status"] == "ok", "the connection is in step"


def test_a_connection_outlives_the_errors_on_it(server):
    one = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    one.connect()
    first = one.sock
    wrong = [(b"{", JSON_TYPE), (b"{}", {"Content-Type": "text/plain"}), (b"x", GZIPPED), (b"[]", JSON_TYPE)]
    for n, (sent, headers) in enumerate(wrong):
        one.request("POST", "/v1/inferences", sent, headers)
        answer = one.getresponse()
        assert 400 <= answer.status < 500
        answer.read()
        one.request("POST", "/v1/inferences", json.dumps(inference(f"between-{n}")), JSON_TYPE)
        answer = one.getresponse()
        assert (answer.status, json.loads(answer.read())["id"]) == (202, f"between-{n}")
    assert one.sock is first
    one.close()


def test_requests_that_are_sent_before_the_answers_are_answered_in_their_order(server):
    def request(n):
        body = json.dumps(inference(f"pipelined-{n}"))
        head = f"POST /v1/inferences HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        return f"{head}\r\n\r\n{body}"

    last = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answered = exchange(server, ("".join(request(n) for n in range(5)) + last).encode())
    found = re.findall(rb'HTTP/1.1 202.*?"id":"([^"]*)"', answered, re.DOTALL)
    assert found == [b"pipelined-%d" % n for n in range(5)]


def test_a_compressed_body(server):
    assert (
        server.post("/v1/inferences", gzip.compress(json.dumps(inference("gz")).encode()), headers=GZIPPED).status
        == 202
    )
    assert logged(server.home, "inference")[-1]["request_id"] == "gz"


EMPTY = gzip.compress(b"{}", mtime=0)


@pytest.mark.parametrize(
    ("sent", "encoding", "status", "reason"),
    [
        pytest.param(b"not gzip", "gzip", 400, "gzip_invalid", id="plain"),
        pytest.param(b"", "gzip", 400, "gzip_invalid", id="empty"),
        pytest.param(EMPTY[:-4], "gzip", 400, "gzip_invalid", id="cut"),
        pytest.param(EMPTY + b"tail", "gzip", 400, "gzip_invalid", id="tail"),
        pytest.param(zlib.compress(b"{}"), "deflate", 415, "content_encoding", id="deflate"),
        pytest.param(gzip.compress(EMPTY, mtime=0), "gzip, gzip", 415, "content_encoding", id="twice"),
    ],
)
def test_what_does_not_decompress_is_refused(server, sent, encoding, status, reason):
    before = heads(server.home)
    for path in ("/v1/inferences", "/v1/feedback", "/v1/batch"):
        refused = server.post(path, sent, headers={**JSON_TYPE, "Content-Encoding": encoding})
        assert (refused.status, refused.reason) == (status, reason)
    assert heads(server.home) == before


def packed(piece: bytes, times: int) -> bytes:
    """A piece over and over, compressed without ever being there in full."""
    compressor = zlib.compressobj(1, wbits=31)
    return b"".join(compressor.compress(piece) for _ in range(times)) + compressor.flush()


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A quarter of a gigabyte of spaces."""
    return packed(b" " * MB, 256)


def test_a_compressed_bomb_is_a_413_and_costs_no_memory(server, bomb):
    assert len(bomb) < 2 * MB
    before = peak_bytes(server)
    for path, limit in (("/v1/inferences", 4 * MB), ("/v1/feedback", 4 * MB), ("/v1/batch", 64 * MB)):
        refused = server.post(path, bomb, headers=GZIPPED)
        assert (refused.status, refused.reason) == (413, "body_too_large")
        assert peak_bytes(server) - before < 3 * limit


@pytest.mark.parametrize(
    ("media", "first", "piece", "last"),
    [
        ("application/json", b"[", b"1," * 2**19, b"1]"),
        ("application/json", b"[", b"{}," * 2**18, b"{}]"),
        ("application/x-ndjson", b"", b"1\n" * 2**19, b""),
        ("application/x-ndjson", b"", b"\n" * MB, b""),
        ("application/x-ndjson", b"", b"\r" * MB, b""),
    ],
    ids=["numbers", "objects", "lines", "blank", "returns"],
)
def test_a_batch_of_very_many_very_small_things_costs_no_memory(server, media, first, piece, last):
    """Each of them would be an object of its own: 64 MB of `1,` were 2.4 GB before they were counted."""
    compressor = zlib.compressobj(1, wbits=31)
    body = b"".join(compressor.compress(part) for part in (first, *[piece] * 60, last)) + compressor.flush()
    before = peak_bytes(server)
    refused = server.post("/v1/batch", body, headers={"Content-Type": media, "Content-Encoding": "gzip"})
    assert (refused.status, refused.reason) == (413, "batch_too_large")
    assert peak_bytes(server) - before < 300 * MB


def test_a_body_that_never_ends_leaves_nothing_behind(server):
    before = heads(server.home)
    text = json.dumps(inference("unfinished")).encode()
    head = b"POST /v1/inferences HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    exchange(server, head + b"Content-Length: %d\r\n\r\n" % (len(text) + 1) + text, and_close=True)
    exchange(server, head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(text) + text, and_close=True)
    answered = exchange(server, head + b"Transfer-Encoding: chunked\r\n\r\nnot a size\r\n")
    assert answered == b"" or answered.startswith(b"HTTP/1.1 400")
    assert server.post("/v1/inferences", inference("after-unfinished")).status == 202
    assert heads(server.home) == (before[0] + 1, *before[1:])


@pytest.mark.slow
def test_a_body_that_comes_too_slowly_is_a_408(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as slow:
        slow.sendall(b"POST /v1/inferences HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        slow.sendall(b"Content-Length: 10\r\n\r\n{")
        assert slow.recv(65_536).startswith(b"HTTP/1.1 408")
    assert server.get("/healthz").status == 200


def test_a_client_that_leaves_before_its_answer_has_sent_its_event_all_the_same(server):
    body = json.dumps(inference("gone")).encode()
    head = b"POST /v1/inferences HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    exchange(server, head + b"Content-Length: %d\r\n\r\n" % len(body) + body, and_close=True)
    server.post("/v1/inferences", inference("stayed"))
    eventually(lambda: {"gone", "stayed"} <= {row["request_id"] for row in logged(server.home, "inference")})


def test_every_receipt_outlives_a_kill(tmp_path: Path):
    receipts = {}
    with served(tmp_path, "--dev") as server:
        for n in range(40):
            receipts[f"r{n}"] = server.post("/v1/inferences", inference(f"r{n}")).json["log_seq"]
            answer = server.post("/v1/feedback", without_id(f"r{n}")).json
            receipts[answer["id"]] = answer["log_seq"]
        server.kill()
    found = {row["request_id"]: row["log_seq"] for row in logged(tmp_path, "inference")}
    found |= {row["feedback_id"]: row["log_seq"] for row in logged(tmp_path, "feedback")}
    assert found == receipts
    with served(tmp_path, "--dev") as server:
        again = server.post("/v1/inferences", inference("r7")).json
        assert (again["log_seq"], again["duplicate"]) == (receipts["r7"], True)


def test_a_key_of_a_tenant_decides_whose_event_it_is(server):
    key = make_key(server.home, "ingest:inference", tenant="elsewhere").plain
    before = heads(server.home)
    eventually(lambda: server.get("/v1/events/x", key=key).status == 404)  # a new key counts within a second
    assert server.post("/v1/inferences", inference("taken"), key=key).json["log_seq"] == 1
    assert heads(server.home) == before
    assert heads(server.home, "elsewhere") == (1, 0, 0)
