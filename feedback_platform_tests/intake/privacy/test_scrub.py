"""Refused bodies: whatever they are, no id and no masked text outlives the refusal in the dead letters."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_platform.errors import EventRejected, IdConflict
from feedback_platform.intake.privacy.policy import PrivacyPolicy
from feedback_platform.intake.privacy.protect import Privacy

REPORT, MASK = (Privacy(PrivacyPolicy(mask_text=mode), bytes(range(32))) for mode in ("report", "mask"))
PERSON, SESSION = REPORT.pseudonyms.person, REPORT.pseudonyms.session
MAIL = "ann@example.com"


def scrubbed(body, door=REPORT):
    return json.loads(door.scrub_dead_letter(json.dumps(body).encode()))


def test_ids_are_replaced_at_each_place_they_have():
    body = {
        "user_id": "u",
        "session_id": "s",
        "target": {"session_id": "t"},
        "source": {"kind": "human", "id": "r"},
        "x": MAIL,
    }
    assert scrubbed(body) == {
        "user_id": PERSON("u"), "session_id": SESSION("s"), "target": {"session_id": SESSION("t")},
        "source": {"kind": "human", "id": PERSON("r")}, "x": MAIL,
    }  # fmt: skip


def test_each_event_of_a_list_is_scrubbed():
    assert scrubbed([{"user_id": "u"}, 7, {"user_id": "v"}]) == [{"user_id": PERSON("u")}, 7, {"user_id": PERSON("v")}]


@pytest.mark.parametrize(
    "body",
    [
        {"user_id": 7, "source": "r", "target": []},
        {"source": {"kind": "model", "id": "m"}},
        {"source": {"kind": "code", "id": "c"}},
    ],
)
def test_what_is_no_persons_text_id_stays(body):
    assert scrubbed(body) == body


def test_masking_reaches_unknown_fields_but_no_ids():
    body = {"request_id": MAIL, "usr_mail": MAIL, "input": [MAIL], "keys": {"k": MAIL}, "timestamp": "+49 30 1234567"}
    masked = {"usr_mail": "[EMAIL]", "input": ["[EMAIL]"]}
    assert scrubbed(body, MASK) == body | masked
    assert scrubbed([body], MASK) == [body | masked]
    assert scrubbed(body) == body


@pytest.mark.parametrize(
    "body", [b'{"a" : 1.50,\n"b":"x"}', b"[]", b"null", b"", b"\xff\xfe", b"{", b'"text"', b"1e999"]
)
def test_a_body_with_nothing_to_hide_stays_byte_for_byte(body):
    assert REPORT.scrub_dead_letter(body) == body
    assert MASK.scrub_dead_letter(body) == body


@pytest.mark.parametrize("ending", ["", ', "x": ', "}}", ' "', "\\"])
def test_ids_in_a_broken_body_are_replaced_where_they_can_be_read(ending):
    body = (
        '{"user_id": "al\\u0069ce", "source":{"kind":"human","id" : "bob"}, "input": "' + MAIL + '", "session_id":"s1"'
    )
    kept = REPORT.scrub_dead_letter((body + ending).encode()).decode()
    assert PERSON("alice") in kept
    assert PERSON("bob") in kept
    assert SESSION("s1") in kept
    assert MAIL in kept
    assert MAIL not in MASK.scrub_dead_letter((body + ending).encode()).decode()


def test_an_id_that_is_cut_off_is_not_kept():
    assert b"alic" not in REPORT.scrub_dead_letter(b'{"user_id": "alic')
    assert (
        REPORT.scrub_dead_letter(b'{"source": {"kind": "model", "id": "m-1"}, ')
        == b'{"source": {"kind": "model", "id": "m-1"}, '
    )


def test_the_unread_one_of_two_equal_keys_is_not_kept():
    kept = REPORT.scrub_dead_letter(b'{"user_id":"alice","user_id":"' + PERSON("u").encode() + b'"}')
    assert b"alice" not in kept


def test_bytes_that_are_not_utf8_are_masked_too():
    body = b'\xff{"user_id":"alice","x":"ann@example.com \xfe"'
    kept = MASK.scrub_dead_letter(body)
    assert (kept[:1], kept[-2:]) == (b"\xff", b'\xfe"')
    assert b"alice" not in kept
    assert b"ann@" not in kept


HOSTILE = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=40).map(lambda t: t.encode("utf-8", "surrogatepass")),
    st.recursive(
        st.none() | st.floats() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["user_id", "source", "target", "id", "kind", "session_id", "x"]), inner, max_size=4
            )
        ),
    ).map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=300)
@given(HOSTILE, st.integers(0, 60))
def test_it_never_raises_and_a_second_time_changes_nothing(body, cut):
    for door in (REPORT, MASK):
        for given_body in (body, body[:cut]):
            kept = door.scrub_dead_letter(given_body)
            assert kept == door.scrub_dead_letter(given_body)
            assert door.scrub_dead_letter(kept) == kept


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 100_000, b'{"user_id":"\\ud800"}', b'{"user_id":"\\ud800"', b"1" * 5_000]
)
def test_bodies_that_break_readers_do_not_break_this_one(body):
    assert isinstance(MASK.scrub_dead_letter(body), bytes)


@pytest.mark.parametrize("field", ["user_id", "source.id", "target.session_id", "source"])
def test_a_kept_refusal_shows_no_id(field):
    kept = REPORT.scrub_refusal(EventRejected("wrong_type", field=field, value='"alice"', fix="Do."))
    assert (kept.reason, kept.field, kept.value, kept.fix) == ("wrong_type", field, "", "Do.")


def test_a_kept_refusal_shows_no_masked_text():
    refusal = EventRejected("wrong_type", field="task", value=f'["{MAIL}"]')
    assert MASK.scrub_refusal(refusal).value == '["[EMAIL]"]'
    assert REPORT.scrub_refusal(refusal) is refusal
    conflict = IdConflict("id_conflict", field="request_id", value="4111111111111111")
    assert MASK.scrub_refusal(conflict) is conflict
