"""What a refusal says: always encodable, always short, and of objects and lists nothing but their size."""

import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feedback_platform.contracts.events import REASONS, parse_event, parse_feedback, readable_id
from feedback_platform.contracts.refusals import shown
from feedback_platform.errors import EventRejected, IdConflict
from feedback_platform_tests.contracts.test_events import FULL, THUMB, feedback, refused


def short(refusal):
    """It can be answered and kept as JSON, whatever was sent."""
    for text in (str(refusal), refusal.reason, refusal.field, refusal.value, refusal.fix):
        assert msgspec.json.decode(msgspec.json.encode(text)) == text
    assert len(str(refusal)) <= 2_000
    assert (len(refusal.field) <= 200, len(refusal.value) <= 120, len(refusal.fix) <= 1_500) == (True, True, True)
    return True


def answered(kind, data):
    """True when the event is taken, or refused with a listed reason in few words."""
    try:
        return bool(parse_event(kind, data))
    except EventRejected as refusal:
        return refusal.reason in REASONS and short(refusal)


ANY_TEXT = st.builds(lambda text, times: text * times, st.text(st.characters()), st.sampled_from([1, 40, 5_000]))


@given(st.sampled_from([EventRejected, IdConflict]), ANY_TEXT, ANY_TEXT, ANY_TEXT)
@example(EventRejected, "\ud800" * 300, "\udfff", "\ud800" * 1_500)
def test_every_refusal_is_short_and_can_be_encoded(kind, field, value, fix):
    refusal = kind("wrong_type", field=field, value=value, fix=fix)
    assert short(refusal)
    assert short(kind("wrong_type", field=refusal.field, value=refusal.value, fix=refusal.fix))


def test_what_fits_is_told_as_it_is():
    refusal = EventRejected("wrong_type", field="metadata.\u00e9", value='"\U0001f600"', fix="Write it.")
    assert str(refusal) == 'wrong_type at `metadata.\u00e9`: found "\U0001f600". Write it.'


ODD = st.builds(lambda text, times: text * times, st.text(st.characters(), min_size=1), st.sampled_from([1, 300]))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD, inner, max_size=3),
    max_leaves=5,
)
PLACES = st.sampled_from(sorted({*FULL, *THUMB, "target", "source", "explanation"})) | ODD


@given(
    st.dictionaries(PLACES, ANYTHING, min_size=1, max_size=3), st.sampled_from(["inference", "feedback"]), st.booleans()
)
def test_every_refused_event_has_a_short_answer_and_a_plain_id(changes, kind, as_bytes):
    body = (FULL if kind == "inference" else THUMB) | changes
    data = json.dumps(body).encode() if as_bytes else body
    assert msgspec.json.encode(readable_id(data, kind))
    assert answered(kind, data)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "an object with 0 fields"),
        ({"mail": "a@example.org"}, "an object with 1 field"),
        (["x", "y"], "a list of 2"),
    ],
)
def test_of_objects_and_lists_only_the_size_is_shown(value, words):
    assert shown(value) == words


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (
            {"feedback_type": "thumbs", "feedback_value": {"up": True}, "user_id": "a@example.org"},
            "target_missing", "an object with 3 fields",
        ),
        ([{"user_id": "a@example.org"}], "not_an_object", "a list of 1"),
        (feedback("thumbs", {"up": {"mail": "a@example.org"}}), "wrong_type", "an object with 1 field"),
        (feedback("thumbs", {"up": True}, sourc=["a@example.org"]), "field_unknown", "a list of 1"),
    ],
)  # fmt: skip
def test_a_refusal_shows_nothing_of_an_objects_content(data, reason, words):
    refusal = refused(parse_feedback, json.dumps(data).encode())
    assert (refusal.reason, "example" in str(refusal)) == (reason, False)
    assert words in refusal.value
