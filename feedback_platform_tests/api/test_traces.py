"""OTLP over HTTP on the running server: the real SDK exporter and hand-made exports, in both encodings."""

import gzip
import json
import os
import subprocess
import sys
import zlib

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from feedback_platform_tests.api.serving import eventually, heads, logged, make_key, served
from feedback_platform_tests.intake.otlp.exports import CHAT, as_json, as_protobuf, evaluation, span

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
SMALL = '{"limits": {"key": {"per_second": 2, "burst": 2}, "user": {"per_second": 1, "burst": 1}}}'


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    home = tmp_path_factory.mktemp("traces")
    (home / "small").mkdir()
    (home / "small" / "tenant.yaml").write_text(SMALL, encoding="utf-8")
    keys = {
        "both": make_key(home, "ingest:inference", "ingest:feedback").plain,
        "inference": make_key(home, "ingest:inference").plain,
        "feedback": make_key(home, "ingest:feedback").plain,
        "small": make_key(home, "ingest:inference", tenant="small").plain,
    }
    with served(home) as server:
        server.key = keys["both"]
        yield server, keys


@pytest.fixture(scope="module")
def server(base):
    return base[0]


def export(server, body, media=JSON, *, key=None, **headers):
    return server.post("/v1/traces", body, key=key, headers={"Content-Type": media, **headers})


def partial(answer):
    """Refused spans and why, of an answer in either encoding."""
    assert answer.status == 200, answer
    if answer.headers["content-type"] == JSON:
        found = answer.json.get("partialSuccess", {})
        return int(found.get("rejectedSpans", 0)), found.get("errorMessage", "")
    assert answer.headers["content-type"] == PROTOBUF
    response = ExportTraceServiceResponse.FromString(answer.body)
    return response.partial_success.rejected_spans, response.partial_success.error_message


def numbered(number, **more):
    """A span with an id of its own, so that it is an inference of its own."""
    return span(id=f"{number:016x}", **more)


@pytest.mark.parametrize("compression", ["gzip", "deflate", "none"])
def test_what_the_real_sdk_exports_is_stored(base, compression):
    server, keys = base
    before = heads(server.home)
    command = [
        sys.executable,
        "-m",
        "feedback_platform_tests.intake.otlp.sender",
        f"{server.url}/v1/traces",
        compression,
    ]
    headers = {"OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer {keys['both']}"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, env={**os.environ, **headers}
    )
    assert done.stderr == ""
    assert heads(server.home) == (before[0] + 2, before[1] + 2, before[2])
    chat, stock = logged(server.home, "inference")[-2:]
    assert (chat["model"], chat["model_version"], chat["environment"]) == ("gpt-4", "gpt-4-0613", "staging")
    relevance, correctness = logged(server.home, "feedback")[-2:]
    assert (relevance["target_request_id"], correctness["target_request_id"]) == (
        chat["request_id"],
        stock["request_id"],
    )
    assert "reviewer-42" not in json.dumps(correctness)
    assert correctness["can_review"] is False


@pytest.mark.parametrize(
    ("media", "written", "packed", "encoding"),
    [
        (JSON, as_json, bytes, None),
        (JSON, as_json, gzip.compress, "gzip"),
        (PROTOBUF, as_protobuf, bytes, None),
        (PROTOBUF, as_protobuf, gzip.compress, "gzip"),
        (PROTOBUF, as_protobuf, zlib.compress, "deflate"),
        ("application/json; charset=utf-8", as_json, bytes, "identity"),
    ],
)
def test_an_export_that_is_sent_again_counts_once(server, media, written, packed, encoding):
    number = zlib.crc32(f"{media} {encoding}".encode())
    one = numbered(number, events=[evaluation(name="Relevance", score__value=0.9)])
    headers = {} if encoding is None else {"Content-Encoding": encoding}
    before = heads(server.home)
    for _ in range(2):
        assert partial(export(server, packed(written(one)), media, **headers)) == (0, "")
        assert heads(server.home) == (before[0] + 1, before[1] + 1, before[2])


def test_both_encodings_of_an_export_are_the_same_events(server):
    one = numbered(77, events=[evaluation(name="Relevance", score__value=0.9)])
    export(server, as_json(one))
    before = heads(server.home)
    assert partial(export(server, as_protobuf(one), PROTOBUF)) == (0, "")
    assert heads(server.home) == before


@pytest.mark.parametrize(("media", "written"), [(JSON, as_json), (PROTOBUF, as_protobuf)])
def test_a_bad_span_is_a_partial_success_and_the_rest_is_stored(server, media, written):
    shift = 0 if media == JSON else 10
    nameless = {key: value for key, value in CHAT.items() if ".model" not in key}
    long = {**CHAT, "gen_ai.request.model": "m" * 300, "gen_ai.response.model": "m" * 300}
    spans = numbered(200 + shift), numbered(201 + shift, attributes=nameless), numbered(202 + shift, attributes=long)
    without_id = {**numbered(0), "events": [evaluation(name="Relevance", score__value=0.9)]}
    before = heads(server.home)
    refused, why = partial(export(server, written(*spans, without_id), media))
    inferences, feedback, dead = heads(server.home)
    assert (refused, inferences - before[0], feedback - before[1], dead - before[2]) == (3, 1, 0, 3)
    assert "model" in why
    letters = {letter["line"]: letter for letter in logged(server.home, "dead_letter")[-3:]}
    assert letters.keys() == {2, 3, 4}, "their places in the export"
    assert {letter["origin"] for letter in letters.values()} == {"POST /v1/traces"}
    assert [letters[n]["kind"] for n in (2, 3)] == ["inference", "inference"]
    assert letters[2]["reason"] == "not_mapped"
    assert letters[3]["reason"] == "value_too_long"


def test_another_body_under_a_spans_id_is_a_partial_success(server):
    export(server, as_json(numbered(300)))
    changed = {**CHAT, "gen_ai.request.model": "gpt-5", "gen_ai.response.model": "gpt-5"}
    refused, why = partial(export(server, as_json(numbered(300, attributes=changed), numbered(301))))
    assert refused == 1
    assert "id_conflict" in why


def test_spans_that_are_no_model_calls_are_passed_over(server):
    before = heads(server.home)
    assert partial(export(server, as_json(numbered(400, attributes={"http.method": "GET"}, name="GET /")))) == (0, "")
    assert partial(export(server, b'{"resourceSpans": []}')) == (0, "")
    assert partial(export(server, b"", PROTOBUF)) == (0, "")
    assert heads(server.home) == before


def test_evaluations_need_the_scope_for_feedback(base):
    server, keys = base
    before = heads(server.home)
    one = numbered(500, events=[evaluation(name="Relevance", score__value=0.9)])
    refused, why = partial(export(server, as_json(one), key=keys["inference"]))
    assert refused == 1
    assert "ingest:feedback" in why
    assert heads(server.home) == (before[0] + 1, *before[1:])


@pytest.mark.parametrize(("media", "body"), [(JSON, as_json(span())), (PROTOBUF, as_protobuf(span()))])
def test_who_may_not_send_is_told_in_the_exporters_own_encoding(base, media, body):
    server, keys = base
    before = heads(server.home)
    missing = export(server, body, media, key="", Authorization="Basic x")
    lacking = export(server, body, media, key=keys["feedback"])
    assert (missing.status, lacking.status) == (401, 403)
    assert missing.headers["www-authenticate"].startswith("Bearer")
    for refused, words in ((missing, b"Authorization"), (lacking, b"ingest:inference")):
        assert refused.headers["content-type"] == media
        assert words in refused.body
        if media == JSON:
            assert refused.json["message"]
    assert heads(server.home) == before


@pytest.mark.parametrize(
    ("media", "body", "headers", "status"),
    [
        (JSON, b"{", {}, 400),
        (JSON, b"[]", {}, 400),
        (JSON, b'{"resourceSpans": 1}', {}, 400),
        (PROTOBUF, b"\xff\xff\xff", {}, 400),
        (PROTOBUF, b"not gzip", {"Content-Encoding": "gzip"}, 400),
        (PROTOBUF, b"x", {"Content-Encoding": "br"}, 415),
        ("text/plain", b"x", {}, 415),
        (JSON, b"[" * 200_000, {}, 400),
    ],
)
def test_what_is_no_export_is_refused_as_a_whole(server, media, body, headers, status):
    before = heads(server.home)
    assert export(server, body, media, **headers).status == status
    assert heads(server.home) == before


def test_a_compressed_bomb_is_a_413(server):
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(128)) + packer.flush()
    assert export(server, bomb, PROTOBUF, **{"Content-Encoding": "gzip"}).status == 413


@pytest.mark.parametrize(("media", "written"), [(JSON, as_json), (PROTOBUF, as_protobuf)])
def test_over_the_keys_rate_an_export_is_a_429_that_says_when(base, media, written):
    """400 would make an exporter drop the spans; 429 with Retry-After makes it send them again."""
    server, keys = base

    def send():
        return export(server, written(numbered(600), numbered(601)), media, key=keys["small"])

    limited = next(answer for _ in range(10) if (answer := send()).status != 200)
    assert limited.status == 429
    assert 1 <= int(limited.headers["retry-after"]) <= 2
    assert limited.headers["content-type"] == media
    eventually(lambda: send().status == 200, within=8)


def test_an_export_larger_than_a_key_may_ever_send_at_once_is_a_413(base):
    server, keys = base
    many = as_json(*(numbered(700 + n) for n in range(3)))
    assert export(server, many, key=keys["small"]).status == 413
