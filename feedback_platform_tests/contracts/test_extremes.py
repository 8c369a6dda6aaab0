"""Extreme events: every accepted one has its rows, and none costs more than its size.

Nothing here is timed. The sizes are such that work which grows with their square would take minutes or hours.
"""

import json
import math
import struct
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from feedback_platform.contracts.canonical import canonical_json
from feedback_platform.contracts.events import (
    MAX_DEPTH,
    AnyFeedback,
    Inference,
    parse_event,
    parse_feedback,
    parse_inference,
)
from feedback_platform.contracts.rows import derived_id, feedback_rows, inference_rows, row_bytes
from feedback_platform.contracts.wire_feedback import MAX_RANKED, Ranking
from feedback_platform_tests.contracts.test_events import INFERENCE, feedback, refused
from feedback_platform_tests.contracts.test_refusals import short

NOW = datetime(2026, 6, 1, tzinfo=UTC)
START = json.dumps(INFERENCE)[:-1].encode()

DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
EXTREMES = st.sampled_from(
    [5e-324, -5e-324, 2.2250738585072014e-308, 1e308, -1.7976931348623157e308, -0.0, 1e-6, 1e-7, 9007199254740991.0,
     1e15, 0.1, 1.0000000000000002, 0, -1, 2**53 - 1, 1 - 2**53]
)  # fmt: skip
SAFE = 2**53 - 1
NUMBERS = EXTREMES | DOUBLES | st.integers(-SAFE, SAFE)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "",
        "\0",
        "\x1f\x7f",
        "\U0001f600",
        "\U0010ffff",
        "\uffff\ufdd0",
        "e\u0301\u0323",
        "\u202e",
        "\u2028",
        '"\\',
        "İß",
        "[0].a",
    ]
)
KEYS = TEXTS | st.sampled_from(["messages", "role", "content", "k" * 70_000, "\u00e9" * 30_000, "\U0001f600", "\uffff"])
NAMES = TEXTS.filter(bool)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
LEVELS = MAX_DEPTH - 12


@st.composite
def nested(draw):
    """Any JSON value, sometimes deep in lists and objects."""
    value = draw(JSON)
    for key in draw(st.just([]) | st.lists(st.none() | st.just("\u00e9"), min_size=LEVELS, max_size=LEVELS)):
        value = [value] if key is None else {key: value}
    return value


VALUES = nested()
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=2)
MAPS = st.dictionaries(NAMES, TEXTS, min_size=1, max_size=2)
SHARES = st.floats(0, 1) | st.sampled_from([0, 1, -0.0, 5e-324])
REFS = st.fixed_dictionaries({"item_id": NAMES}) | st.fixed_dictionaries({"output": VALUES})
INFERENCES = st.fixed_dictionaries(
    {"input": VALUES.filter(lambda value: value is not None), "output": VALUES},
    optional={
        "decision": VALUES, "metadata": OBJECTS, "system": OBJECTS, "parameters": OBJECTS, "model": NAMES,
        "task": NAMES, "keys": MAPS, "segments": MAPS, "user_id": NAMES, "logprob": NUMBERS, "confidence": SHARES,
        "embedding": st.lists(NUMBERS, max_size=3), "propensity": SHARES, "tools": st.lists(OBJECTS, max_size=1),
        "token_logprobs": st.lists(NUMBERS | st.none() | OBJECTS, max_size=2),
        "probabilities": st.dictionaries(KEYS, SHARES, max_size=2),
        "template": st.fixed_dictionaries({"id": NAMES, "variables": OBJECTS}),
        "items": st.lists(
            st.fixed_dictionaries(
                {"item_id": NAMES, "position": st.integers(0, SAFE)},
                optional={"score": NUMBERS, "features": OBJECTS, "output": VALUES},
            ),
            max_size=2,
        ),
        "steps": st.lists(st.fixed_dictionaries({"id": NAMES, "name": NAMES, "error": VALUES, "cost": NUMBERS}), max_size=1),
        "route": st.lists(st.fixed_dictionaries({"component": NAMES, "version": NAMES, "output": VALUES}), max_size=1),
        "attributions": st.fixed_dictionaries({"method": NAMES, "values": VALUES}),
        "timestamp": st.sampled_from(["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"]),
    },
)  # fmt: skip
ORDERS = st.lists(REFS, min_size=2, max_size=4, unique_by=canonical_json)
FEEDBACK = st.one_of(
    st.builds(lambda value: feedback("explicit_correction", {"output": value}), VALUES),
    st.builds(lambda name, value: feedback("implicit", {"signal": name, "value": value}), NAMES, NUMBERS | st.booleans()),
    st.builds(lambda name, value: feedback("outcome", {"name": name, "value": value}), NAMES, NUMBERS | st.booleans()),
    st.builds(lambda text: feedback("comment", {"text": text}), NAMES),
    st.builds(lambda label: feedback("label", {"label": label}), NAMES),
    st.builds(lambda value: feedback("adjudication", {"verdict": "valid", "output": value}), VALUES),
    st.builds(lambda a, b: feedback("preference_pair", {"chosen": {"output": [a]}, "rejected": {"item_id": b}}), VALUES, NAMES),
    st.builds(lambda refs: feedback("ranking", {"order": refs}), ORDERS),
)  # fmt: skip
AROUND = st.fixed_dictionaries(
    {}, optional={"metadata": OBJECTS, "segments": MAPS, "explanation": TEXTS, "user_id": NAMES, "name": NAMES}
)


@given(INFERENCES, st.booleans())
def test_every_accepted_inference_has_its_row(changes, escaped):
    data = json.dumps(INFERENCE | changes, ensure_ascii=escaped).encode()
    event, body = parse_event("inference", data)
    assert isinstance(event, Inference)
    [row] = inference_rows([event], NOW)
    assert msgspec.json.decode(row_bytes(row))["input"] == canonical_json(changes["input"])
    assert parse_event("inference", body)[1] == body
    # RFC 8785 writes the shortest digits that mean the same double, which as an integer may be another number.
    assert json.loads(canonical_json(event), parse_int=float)["output"] == changes["output"]


@given(FEEDBACK, AROUND, st.booleans())
def test_every_accepted_feedback_has_its_row_and_its_id(event, around, escaped):
    parsed, body = parse_event("feedback", json.dumps(event | around, ensure_ascii=escaped).encode())
    assert isinstance(parsed, AnyFeedback)
    found = derived_id(parsed, "default", b"k" * 32)
    [row] = feedback_rows([parsed], NOW, [found], [False])
    assert msgspec.json.decode(row_bytes(row))["feedback_id"] == found
    again, same = parse_event("feedback", body)
    assert isinstance(again, AnyFeedback)
    assert same == body
    assert derived_id(again, "default", b"k" * 32) == found


BITS = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", bits.to_bytes(8, "little"))[0])
SUBNORMAL = st.integers(-9, 9).map(lambda count: count * 5e-324)


@given(st.lists(DOUBLES | BITS | SUBNORMAL, min_size=3, max_size=3))
@example([0.0, 0.0, 5e-324])
@example([5e-324, 5e-324, 1e-323])
@example([-1.7976931348623157e308, 0.0, 1.7976931348623157e308])
@example([1.0, 1.0, 1.0000000000000002])
def test_every_accepted_rating_is_scaled(numbers):
    assume(all(map(math.isfinite, numbers)))
    low, score, high = sorted(numbers)
    body = feedback("rating", {"score": score, "min": low, "max": high})
    if high - low <= 5e-324 and low / 2 == high / 2:
        assert refused(parse_feedback, body).reason == "rating_scale_invalid"
        return
    [row] = feedback_rows([parse_feedback(body)], NOW, ["f"], [False])
    assert 0 <= row["score_ppm"] <= 1_000_000
    if score in (low, high):
        assert row["score_ppm"] == (0 if score == low else 1_000_000)


def test_a_scale_of_one_smallest_double_is_refused():
    refusal = refused(parse_feedback, feedback("rating", {"score": 0, "min": 0, "max": 5e-324}))
    assert (refusal.reason, refusal.field) == ("rating_scale_invalid", "feedback_value.min")
    assert "close" in refusal.fix


LONG = 2**20
OTHER = b",".join(b'"k%d":1' % n for n in range(200_000))


@pytest.mark.parametrize(
    ("tail", "reason", "field"),
    [
        (b'"metadata":{%s,"k199999":1}' % OTHER, "duplicate_key", "k199999"),
        (b'"metadata":{"%s":1,"%s":2}' % ((b"k" * LONG,) * 2), "duplicate_key", "k" * 197 + "..."),
        (b'"metadata":{"%s":[%s1e400]}' % (b"k" * LONG, b"1," * 200_000), "number_out_of_range", ""),
        (b'"metadata":{"%s":[%s"\\ud800"]}' % (b"k" * LONG, b"1," * 200_000), "not_utf8", "metadata." + "k" * 188 + "..."),
        (b'"probabilities":{"%s":2}' % (b"[" * LONG), "value_out_of_range", "probabilities." + "[" * 183 + "..."),
        (b'"probabilities":{"a.b[0]":2}', "value_out_of_range", "probabilities.a.b[0]"),
        (b'"probabilities":{"[%s]":2}' % (b"1" * 5_000), "value_out_of_range", "probabilities.[" + "1" * 182 + "..."),
        (b'"%s":1' % (b"x" * LONG), "field_unknown", "x" * 197 + "..."),
        (b'" - at `$%s":1' % (b"[" * (LONG - 9)), "wrong_type", ""),
        (b'" - at `$[%s]":1' % (b"1" * (LONG - 12)), "wrong_type", "1" * 197 + "..."),
        (b'"a\\nb":1', "field_unknown", "a\nb"),
    ],
    ids=range(11),
)  # fmt: skip
def test_a_large_event_is_refused_at_once(tail, reason, field):
    refusal = refused(parse_inference, START + b"," + tail + b"}")
    assert (refusal.reason, refusal.field) == (reason, field)
    assert short(refusal)


def test_a_long_wrong_choice_is_not_compared_with_the_right_ones():
    refusal = refused(parse_feedback, feedback("thumbs" * 150_000, {"up": True}))
    assert (refusal.reason, "Did you mean" in refusal.fix) == ("value_not_allowed", False)


def ranking(count, *more):
    order = [{"output": {"n": n}} for n in range(count)]
    return feedback("ranking", {"order": [*order, *more]})


def ranked(event):
    parsed = parse_feedback(event)
    assert isinstance(parsed, Ranking)
    return len(parsed.feedback_value.order)


def test_a_ranking_has_a_largest_size():
    assert ranked(ranking(MAX_RANKED)) == MAX_RANKED
    refusal = refused(parse_feedback, ranking(150_000))
    assert (refusal.reason, refusal.field) == ("too_many_entries", "feedback_value.order")
    assert str(MAX_RANKED) in refusal.fix


@pytest.mark.parametrize(
    ("again", "kept"), [({"n": 0}, False), ({"n": 0.0}, False), ({"n": False}, True), ({"n": "0"}, True)]
)
def test_a_ranking_names_a_thing_once_however_it_is_written(again, kept):
    body = ranking(5, {"output": again})
    if kept:
        assert ranked(body) == 6
    else:
        assert refused(parse_feedback, body).field == "feedback_value.order[5]"
