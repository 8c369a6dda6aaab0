"""Decoding: both encodings mean the same; whatever the bytes are, the answer is spans or a refusal with its reason."""

import gzip
import json
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_platform.contracts.events import parse_event
from feedback_platform.contracts.refusals import REASONS
from feedback_platform.errors import EventRejected
from feedback_platform.intake.otlp.decode import JSON, PROTOBUF, decode_export, media_type, unpacked
from feedback_platform.intake.otlp.mapping import read_export
from feedback_platform.intake.otlp.spans import Limits
from feedback_platform_tests.intake.otlp.exports import (
    CHAT,
    SPAN,
    TRACE,
    as_json,
    as_protobuf,
    evaluation,
    json_export,
    span,
)

KEYS = st.sampled_from([*CHAT, "metadata", "llm.tools.0.tool.json_schema", "session.id", "annotations.0.annotation.name",
                        "annotations.0.annotation.score", "gen_ai.prompt.0.content", "gen_ai.request.seed",
                        "llm.input_messages.0.message.tool_calls.0.tool_call.function.name", "openinference.span.kind",
                        "gen_ai.usage.input_tokens", "input.value", "output.value", "llm.prompts.0", "gen_ai.prompt.0"]) \
    | st.text(max_size=8)  # fmt: skip
TEXTS = (
    st.sampled_from(["LLM", "chat", "[", "{}", '[{"role": "user", "content": "x"}]', '{"a": 1e5}', "[1, [2]]"])
    | st.text()
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | TEXTS
    | st.binary(max_size=8)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=8)
EVENTS = st.tuples(
    st.sampled_from(["gen_ai.evaluation.result", "gen_ai.choice", "x"]), st.integers(0, 2**63), ATTRIBUTES
)
SPANS = st.builds(
    lambda attributes, chat, found, status: span({**(CHAT if chat else {}), **attributes}, events=found, status=status),
    ATTRIBUTES,
    st.booleans(),
    st.lists(EVENTS, max_size=2),
    st.sampled_from([0, 1, 2]),
)


def refusal(body, content_type=PROTOBUF, limits=None):
    with pytest.raises(EventRejected) as caught:
        decode_export(body, content_type, limits)
    assert caught.value.reason in REASONS
    return caught.value


def outcome(body, content_type):
    """The reason of the refusal, or None where the export was read; any other exception fails the test."""
    try:
        found = read_export(body, content_type)
    except EventRejected as error:
        return error.reason
    assert {one.span for one in found.mapped} | {one.span for one in found.misfits} <= set(range(found.spans))
    return None


@given(st.lists(SPANS, max_size=2), ATTRIBUTES)
@settings(max_examples=50, deadline=None)
def test_protobuf_and_json_give_the_same_spans_and_the_same_events(spans, resource):
    from_json = decode_export(as_json(*spans, resource=resource), JSON)
    from_protobuf = decode_export(as_protobuf(*spans, resource=resource), PROTOBUF)
    assert from_json == from_protobuf
    assert not from_json.malformed
    found = read_export(as_json(*spans), JSON)
    assert found == read_export(as_protobuf(*spans), PROTOBUF)
    for mapped in found.mapped:  # whatever the attributes hold, what is mapped fits the contract
        parse_event(mapped.kind, mapped.event)


@given(st.binary(max_size=200), st.sampled_from([JSON, PROTOBUF]))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused_with_a_reason(body, content_type):
    assert outcome(body, content_type) in (None, *REASONS)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_exports_are_read_or_refused_with_a_reason(data):
    encode, content_type = data.draw(st.sampled_from([(as_json, JSON), (as_protobuf, PROTOBUF)]))
    body = bytearray(encode(span(events=[evaluation(name="good", score__value=0.5)])))
    for place in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=4)):
        body[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    for damaged in (bytes(body), bytes(body[:cut])):
        assert outcome(damaged, content_type) in (None, *REASONS)


def test_an_empty_export_has_no_spans():
    assert decode_export(b"", PROTOBUF).spans == ()
    assert decode_export(b"{}", JSON).spans == ()
    assert decode_export(b'{"resourceSpans": null}', JSON).spans == ()


def test_json_takes_numbers_snake_case_unknown_fields_and_null():
    export = {
        "resource_spans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"string_value": "shop"}}], "new": 1},
            "schema_url": "x",
            "scope_spans": [{"scope": {"name": "s", "version": None}, "spans": [{
                "trace_id": TRACE.upper(), "span_id": SPAN, "kind": "SPAN_KIND_CLIENT", "name": None,
                "start_time_unix_nano": 5, "end_time_unix_nano": "7", "status": {"code": "STATUS_CODE_ERROR"},
                "attributes": [{"key": "n", "value": {"int_value": 3}}, {"key": "d", "value": {"doubleValue": "NaN"}},
                               {"key": "later", "value": {"somethingNew": 1}}, {"key": "n", "value": {"intValue": "4"}}],
                "links": [{"traceId": "?"}], "flags": 257,
            }]}],
        }],
        "unknown": {},
    }  # fmt: skip
    [found] = decode_export(json.dumps(export).encode(), "Application/JSON; charset=utf-8").spans
    assert (found.trace_id, found.span_id, found.parent_id) == (TRACE, SPAN, "")
    assert (found.start_ns, found.end_ns, found.kind, found.is_error, found.name) == (5, 7, 3, True, "")
    assert found.attributes["n"] == 4  # the last of one key
    assert found.attributes["d"] != found.attributes["d"]
    assert found.attributes["later"] is None
    assert (found.resource, found.scope) == ({"service.name": "shop"}, "s")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"traceId": "00000000000000000000000000000000"}, "trace id"),
        ({"spanId": "eee19b7ec3c1b1"}, "span id"),
        ({"traceId": "W47/95gDgQPSabYzgT/GDA=="}, "not hex"),
        ({"parentSpanId": "12"}, "parent"),
        ({"attributes": "x"}, "`attributes` is str"),
        ({"attributes": [1]}, "not an object"),
        ({"attributes": [{"key": "k", "value": {"intValue": "1.5"}}]}, "64-bit integer"),
        ({"attributes": [{"key": "k", "value": {"intValue": True}}]}, "64-bit integer"),
        ({"attributes": [{"key": "k", "value": {"boolValue": "true"}}]}, "neither true nor false"),
        ({"attributes": [{"key": "k", "value": {"bytesValue": "?"}}]}, "base64"),
        ({"endTimeUnixNano": "soon"}, "endTimeUnixNano"),
        ({"events": [{"timeUnixNano": 10**30}]}, "timeUnixNano"),
    ],
)
def test_a_malformed_json_span_costs_only_itself(change, says):
    export = json_export(span(), span(id="00000000000000aa"))
    export["resourceSpans"][0]["scopeSpans"][0]["spans"][0] |= change
    found = decode_export(json.dumps(export).encode(), JSON)
    assert [one.index for one in found.spans] == [1]
    [bad] = found.malformed
    assert bad.index == 0
    assert says in bad.message
    assert json.loads(bad.body)["name"] == "chat gpt-4"


def test_a_malformed_protobuf_span_costs_only_itself():
    bad = as_protobuf(span()).replace(b"Rain.", b"\xff\xff\xff\xff\xff")  # strings are UTF-8
    found = decode_export(bad + as_protobuf(span(id="00000000000000aa")), PROTOBUF)
    assert [one.index for one in found.spans] == [1]
    assert [one.index for one in found.malformed] == [0]
    assert b"\xff\xff\xff\xff\xff" in found.malformed[0].body


def test_a_span_beyond_a_limit_costs_only_itself():
    deep: object = "x"
    for _ in range(33):
        deep = [deep]
    wide = ["x"] * 100
    for encode, content_type in ((as_json, JSON), (as_protobuf, PROTOBUF)):
        body = encode(span({"k": deep}), span({"k": wide}, id="00000000000000aa"), span(id="00000000000000ab"))
        found = decode_export(body, content_type, Limits(values=50))
        assert [one.index for one in found.spans] == [2]
        assert "nested deeper than 32" in found.malformed[0].message
        assert "more than 50 attribute values" in found.malformed[1].message


def test_the_protobuf_parser_allows_the_depth_that_we_do():
    deep: object = "x"
    for _ in range(31):
        deep = {"k": deep}  # maps cost the parser most: three levels each
    [found] = decode_export(as_protobuf(span({"k": deep})), PROTOBUF).spans
    assert found.attributes == {"k": deep}


def field(number, content):
    size, head = len(content), bytearray([number << 3 | 2])
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head) + content


def test_bombs_are_refused_before_they_take_memory():
    many_spans = field(1, field(2, b"\x12\x00" * 2_000_000))
    many_groups, many_unknowns = b"\x0a\x00" * 2_000_000, b"\x3a\x00" * 2_000_000
    nested = b""
    for _ in range(5_000):
        nested = field(5, field(1, nested))
    deep = field(1, field(2, field(2, field(9, field(1, b"k") + field(2, nested)))))
    tracemalloc.start()
    few = Limits(spans=5_000)
    for body in (many_spans, many_groups, many_unknowns):
        assert refusal(body, limits=few).reason == "too_many_entries"
    assert "nested too deeply" in decode_export(deep, PROTOBUF).malformed[0].message
    assert refusal(b"[" * 100_000, JSON).reason == "nesting_too_deep"
    assert refusal(b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + b"{}," * 60_000 + b"{}]}]}]}", JSON).reason == (
        "too_many_entries"
    )
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"{", JSON, "json_invalid"),
        (b'{"a": NaN}', JSON, "json_invalid"),
        (b'"\xff"', JSON, "not_utf8"),
        (b"[]", JSON, "not_an_object"),
        (b'{"resourceSpans": {}}', JSON, "not_mapped"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": 1}]}]}', JSON, "not_mapped"),
        (b'{"resourceSpans": [{"resource": {"attributes": [1]}}]}', JSON, "not_mapped"),
        (b'{"resourceSpans": []}', PROTOBUF, "not_mapped"),
        (b"\x0a\x05", PROTOBUF, "not_mapped"),
        (b"\x0a\x04\x0a\x02\xff\xff", PROTOBUF, "not_mapped"),
        (b"\xff" * 12, PROTOBUF, "not_mapped"),
        (b"x" * 101, PROTOBUF, "event_too_large"),
        (b"", "text/plain", "value_not_allowed"),
    ],
)
def test_bodies_that_are_no_export_are_refused(body, content_type, reason):
    assert refusal(body, content_type, Limits(body_bytes=100)).reason == reason


def test_media_types_are_told_by_name_alone():
    assert media_type("application/x-protobuf") == media_type("APPLICATION/PROTOBUF") == PROTOBUF
    assert media_type("application/json; charset=utf-8") == JSON


def test_a_body_of_very_many_members_is_refused_before_it_costs():
    member = gzip.compress(b"")
    assert unpacked(gzip.compress(b"ab") * 64, "gzip") == b"ab" * 64
    began = time.process_time()
    with pytest.raises(EventRejected, match="over 64 gzip members") as caught:
        unpacked(member * 100_000, "gzip")
    assert caught.value.reason == "not_mapped"
    assert time.process_time() - began < 0.5, "2 MB that are unpacked member by member take two seconds"


def test_compressed_bodies_are_unpacked_within_the_limit():
    body = as_protobuf(span())
    limits = Limits(body_bytes=1000)
    assert unpacked(gzip.compress(body), "gzip") == unpacked(zlib.compress(body), "deflate") == body
    assert unpacked(gzip.compress(body) + gzip.compress(body), "GZIP") == body + body
    assert unpacked(body, "") == unpacked(body, "identity") == body
    bomb = gzip.compress(bytes(10_000_000))
    tracemalloc.start()
    with pytest.raises(EventRejected, match="event_too_large"):
        unpacked(bomb, "gzip", limits)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    for packed, encoding, reason in (
        (gzip.compress(bytes(900)) * 2, "gzip", "event_too_large"),
        (bytes(1001), "", "event_too_large"),
        (gzip.compress(body)[:-9], "gzip", "not_mapped"),
        (b"plain", "gzip", "not_mapped"),
        (body, "zstd", "value_not_allowed"),
    ):
        with pytest.raises(EventRejected) as caught:
            unpacked(packed, encoding, limits)
        assert caught.value.reason == reason
