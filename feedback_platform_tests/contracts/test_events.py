"""The wire contract: what is accepted, and the reason, field and fix of what is not."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.contracts.events import (
    REASONS,
    Feedback,
    Inference,
    parse_feedback,
    parse_inference,
    readable_id,
)
from feedback_platform.contracts.wire_feedback import Rating, Retraction
from feedback_platform.errors import EventRejected

INFERENCE = {
    "request_id": "r-1",
    "timestamp": "2026-01-01T00:00:00Z",
    "model": "m",
    "model_version": "1",
    "input": "hi",
    "output": "ho",
}
THUMB = {"feedback_type": "thumbs", "feedback_value": {"up": True}, "request_id": "r-1"}


def feedback(kind, value, **more):
    return {"feedback_type": kind, "feedback_value": value, "request_id": "r-1"} | more


def refused(parse, data):
    with pytest.raises(EventRejected) as caught:
        parse(data)
    assert caught.value.reason in REASONS
    return caught.value


def known_outcome(parse, data):
    """True when the data is parsed, or refused with a listed reason; any other exception passes through."""
    try:
        return isinstance(parse(data), Inference | Feedback)
    except EventRejected as refusal:
        return refusal.reason in REASONS


FULL = INFERENCE | {
    "task": "chat", "environment": "staging", "variant": "b", "parameters": {"temperature": 0.5, "top_p": 1.0},
    "template": {"id": "t", "version": "3", "variables": {"x": 1}}, "tools": [{"name": "search"}],
    "confidence": 0.5, "probabilities": {"a": 0.25, "b": 0.75}, "logprob": -1.5, "token_logprobs": [-0.1, None],
    "embedding": [0.1, 1], "embedding_model": "e",
    "items": [{"item_id": "i", "position": 0, "propensity": 0.5, "score": 1, "features": {"p": 1}, "output": None}],
    "decision": "a", "propensity": 0.5, "retrieved": [{"chunk_id": "docs/a.md#1", "score": 0.5, "text": "t"}],
    "route": [{"component": "c", "version": "1", "output": 1, "probabilities": {"x": 1}}],
    "steps": [{"id": "s", "name": "n", "input": 1, "output": 2, "error": "e", "latency_ms": 1, "cost": 0.1}],
    "attributions": {"method": "shap", "values": {"f": 0.1}}, "regenerates": "r-0", "parent_request_id": "r-00",
    "session_id": "s", "user_id": "u@example.org", "keys": {"order": "7"}, "segments": {"region": "eu"},
    "system": {"latency_ms": 12}, "training_allowed": False, "metadata": {"a": [1, {"b": None}]},
}  # fmt: skip


def test_accepts_every_declared_field():
    event = parse_inference(FULL)
    assert set(FULL) == set(event.__struct_fields__)
    assert event.items is not None
    assert event.items[0].item_id == "i"
    assert parse_inference(json.dumps(FULL).encode()) == event


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("thumbs", {"up": False}),
        ("rating", {"score": 71, "min": 0, "max": 100}),
        ("label", {"label": "cat"}),
        ("explicit_correction", {"output": {"role": "assistant", "content": "x"}}),
        ("preference_pair", {"chosen": {"request_id": "r-1"}, "rejected": {"output": "x"}, "tie": True}),
        ("ranking", {"order": [{"item_id": "a"}, {"item_id": "b"}]}),
        ("implicit", {"signal": "dwell_seconds", "value": 3.5}),
        ("outcome", {"name": "conversion", "value": True}),
        ("comment", {"text": "nice"}),
        ("adjudication", {"verdict": "invalid", "feedback_id": "f", "label": "x", "output": 1}),
        ("retraction", {"feedback_id": "f-1"}),
    ],
)
def test_accepts_every_kind_of_feedback(kind, value):
    event = parse_feedback(feedback(kind, value))
    assert event.feedback_type == kind


def test_the_tag_may_stand_anywhere_and_the_class_follows_it():
    event = parse_feedback(b'{"request_id":"r","feedback_value":{"score":1,"min":0,"max":2},"feedback_type":"rating"}')
    assert isinstance(event, Rating)
    assert event.feedback_value.score == 1.0


@pytest.mark.parametrize("name", ["request_id", "inference_request_id"])
def test_request_id_has_an_alias(name):
    body = {key: value for key, value in INFERENCE.items() if key != "request_id"} | {name: "x"}
    assert parse_inference(body).request_id == "x"
    thumb = {key: value for key, value in THUMB.items() if key != "request_id"} | {name: "x"}
    assert parse_feedback(thumb).request_id == "x"


def test_times_become_utc_with_microseconds():
    event = parse_inference(INFERENCE | {"timestamp": "2026-01-01T05:30:00.123456+05:30"})
    assert event.timestamp == datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    assert event.timestamp.tzinfo is UTC


@pytest.mark.parametrize(("kind"), ["retraction", "adjudication"])
def test_what_is_about_feedback_needs_no_target(kind):
    value = {"feedback_id": "f"} | ({"verdict": "valid"} if kind == "adjudication" else {})
    event = parse_feedback({"feedback_type": kind, "feedback_value": value})
    assert event.subject == "f"
    assert isinstance(event, Retraction) == (kind == "retraction")


BROKEN_INFERENCES = [
    ({"model": ...}, "field_missing", "model", "model"),
    ({"modle_version": "1"}, "field_unknown", "modle_version", "model_version"),
    ({"frobnicate": "1"}, "field_unknown", "frobnicate", "metadata"),
    ({"model_version": 3}, "wrong_type", "model_version", "quotes"),
    ({"items": [{"item_id": "a", "postion": 1}]}, "field_unknown", "items[0].postion", "position"),
    ({"items": [{"item_id": "a", "position": -1}]}, "value_out_of_range", "items[0].position", ">= 0"),
    ({"request_id": "a b"}, "id_invalid", "request_id", "1 to 128"),
    ({"request_id": "x\n"}, "id_invalid", "request_id", "1 to 128"),
    ({"request_id": "x" * 129}, "id_invalid", "request_id", "1 to 128"),
    ({"inference_request_id": "b"}, "field_ambiguous", "inference_request_id", "not both"),
    ({"timestamp": "2026-01-01T00:00:00"}, "timestamp_naive", "timestamp", "offset"),
    ({"timestamp": "yesterday"}, "timestamp_invalid", "timestamp", "RFC 3339"),
    ({"timestamp": 1767225600}, "timestamp_invalid", "timestamp", "RFC 3339"),
    ({"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp_invalid", "timestamp", "year"),
    ({"confidence": 1.5}, "value_out_of_range", "confidence", "<= 1"),
    ({"probabilities": {"a": 0.5, "b": 2}}, "value_out_of_range", "probabilities.b", "<= 1"),
    ({"segments": {"a": "x", "tier": 3}}, "wrong_type", "segments.tier", "string"),
    ({"segments": {"tier": "x" * 257}}, "value_too_long", "segments.tier", "256"),
    ({"segments": {str(n): "x" for n in range(65)}}, "too_many_entries", "segments", "64"),
    ({"task": ""}, "value_empty", "task", "empty"),
    ({"input": None}, "field_missing", "input", "null"),
    ({"metadata": {"n": 2**53}}, "number_out_of_range", "", "strings"),
    ({"metadata": {"n": float("nan")}}, "number_not_finite", "", "finite"),
    ({"input": "x" * (2**20 + 1)}, "string_too_long", "input", "bytes"),
    ({"input": "\ud800"}, "not_utf8", "input", "surrogate"),
]


@pytest.mark.parametrize(("change", "reason", "field", "fix"), BROKEN_INFERENCES)
def test_broken_inferences_are_explained(change, reason, field, fix):
    body = {key: value for key, value in (INFERENCE | change).items() if value is not ...}
    refusal = refused(parse_inference, body)
    assert (refusal.reason, refusal.field) == (reason, field)
    assert fix in refusal.fix


BROKEN_FEEDBACK = [
    (feedback("stars", {}), "value_not_allowed", "feedback_type", "thumbs"),
    (feedback("thumb", {"up": True}), "value_not_allowed", "feedback_type", "Did you mean `thumbs`"),
    ({"request_id": "r", "feedback_value": {}}, "field_missing", "feedback_type", "feedback_type"),
    (feedback("thumbs", {"up": "yes"}), "wrong_type", "feedback_value.up", "true or false"),
    (feedback("thumbs", {"up": True, "upp": 1}), "field_unknown", "feedback_value.upp", "up"),
    (feedback("rating", {"score": 5, "min": 5, "max": 1}), "rating_scale_invalid", "feedback_value.min", "below"),
    (feedback("rating", {"score": 9, "min": 1, "max": 5}), "rating_out_of_scale", "feedback_value.score", "1 and 5"),
    (feedback("thumbs", {"up": True}, target={"request_id": "r"}), "target_ambiguous", "target", "either"),
    ({"feedback_type": "thumbs", "feedback_value": {"up": True}}, "target_missing", "", "target"),
    ({"feedback_type": "adjudication", "feedback_value": {"verdict": "valid"}}, "target_missing", "", "target"),
    (
        {"feedback_type": "thumbs", "feedback_value": {"up": True}, "target": {"session_id": "s", "item_id": "i"}},
        "target_invalid", "target", "at most one",
    ),
    (
        {"feedback_type": "thumbs", "feedback_value": {"up": True}, "target": {"session_id": "s", "request_id": "i"}},
        "target_invalid", "target", "exactly one",
    ),
    (
        {"feedback_type": "thumbs", "feedback_value": {"up": True}, "target": {"keys": {}}},
        "too_few_entries", "target.keys", "1",
    ),
    (feedback("ranking", {"order": [{"item_id": "a"}]}), "too_few_entries", "feedback_value.order", "2"),
    (
        feedback("ranking", {"order": [{"item_id": "a"}, {"item_id": "a"}]}),
        "reference_repeated", "feedback_value.order[1]", "once",
    ),
    (
        feedback("preference_pair", {"chosen": {"output": 1}, "rejected": {"output": 1}}),
        "reference_repeated", "feedback_value.rejected", "different",
    ),
    (
        feedback("preference_pair", {"chosen": {}, "rejected": {"output": 1}}),
        "reference_invalid", "feedback_value.chosen", "exactly one",
    ),
    (feedback("thumbs", {"up": True}, source={"kind": "bot"}), "value_not_allowed", "source.kind", "human"),
    (feedback("thumbs", {"up": True}, timestamp="2026-01-01"), "timestamp_naive", "timestamp", "offset"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "reason", "field", "fix"), BROKEN_FEEDBACK)
def test_broken_feedback_is_explained(body, reason, field, fix):
    refusal = refused(parse_feedback, body)
    assert (refusal.reason, refusal.field) == (reason, field)
    assert fix in refusal.fix


GOOD = json.dumps(INFERENCE)
BROKEN_BYTES = [
    (b"", "json_invalid"),
    (b"{", "json_invalid"),
    (GOOD.encode() + b" x", "json_invalid"),
    (b"[1]", "not_an_object"),
    (b"null", "not_an_object"),
    (GOOD.replace('"hi"', "NaN").encode(), "number_not_finite"),
    (GOOD.replace('"hi"', "-Infinity").encode(), "number_not_finite"),
    (GOOD.replace('"hi"', "1e400").encode(), "number_out_of_range"),
    (GOOD.replace('"hi"', "9" * 5000).encode(), "number_out_of_range"),
    (GOOD.replace('"hi"', "9007199254740992").encode(), "number_out_of_range"),
    (GOOD.encode().replace(b"hi", b"\xff"), "not_utf8"),
    (GOOD.replace('"hi"', '"\\ud800"').encode(), "not_utf8"),
    (GOOD.replace('"hi"', "[" * 100_000 + "]" * 100_000).encode(), "nesting_too_deep"),
    (GOOD.replace('"hi"', "[" * 64 + "]" * 64).encode(), "nesting_too_deep"),
    (b" " * (4 * 2**20) + GOOD.encode(), "event_too_large"),
    (GOOD.replace('"hi"', '{"a":1,"a":2}').encode(), "duplicate_key"),
    (GOOD.replace('"hi"', '{"a" :1,"a": {"\\u0022:":1}}').encode(), "duplicate_key"),
    (GOOD.replace("{", '{"model":"other",', 1).encode(), "duplicate_key"),
    (GOOD.replace("{", '{"task":"default","task" : "default",', 1).encode(), "duplicate_key"),
]


@pytest.mark.parametrize(("data", "reason"), BROKEN_BYTES)
def test_broken_bytes_are_refused_with_their_reason(data, reason):
    assert refused(parse_inference, data).reason == reason


def test_the_deepest_allowed_nesting_and_the_largest_integer_pass():
    assert parse_inference(GOOD.replace('"hi"', "[" * 63 + "]" * 63).encode()).request_id == "r-1"
    assert parse_inference(INFERENCE | {"input": 2**53 - 1}).input == 2**53 - 1


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_crash(data):
    for parse in (parse_inference, parse_feedback):
        assert refused(parse, data).fix


@given(st.data())
def test_damaged_events_are_parsed_or_refused(data):
    body = bytearray(data.draw(st.sampled_from([GOOD, json.dumps(THUMB), json.dumps(FULL)])).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    for parse in (parse_inference, parse_feedback):
        assert known_outcome(parse, bytes(body))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(FULL)), JSON, max_size=3), st.booleans())
def test_any_value_in_any_field_is_parsed_or_refused(changes, as_bytes):
    body = FULL | changes
    assert known_outcome(parse_inference, json.dumps(body).encode() if as_bytes else body)


@given(st.dictionaries(st.sampled_from(["request_id", "target", "source", "feedback_value"]), JSON, min_size=1))
def test_any_value_in_feedback_is_parsed_or_refused(changes):
    assert known_outcome(parse_feedback, THUMB | changes)


def test_ids_are_read_from_refused_events_where_possible():
    assert readable_id(b'{"request_id": "r", "x": NaN', "inference") is None
    assert readable_id({"inference_request_id": "r"}, "inference") == "r"
    assert readable_id(b'{"feedback_id": "f", "oops": 1}', "feedback") == "f"
    assert readable_id(b'{"feedback_id": 7}', "feedback") is None
