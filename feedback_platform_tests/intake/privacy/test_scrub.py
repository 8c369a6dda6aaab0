"""Refused bodies: whatever they are, no id and no masked text outlives the refusal in the dead letters."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_platform.contracts.events import parse_feedback
from feedback_platform.errors import EventRejected, IdConflict
from feedback_platform.intake.privacy.policy import PrivacyPolicy
from feedback_platform.intake.privacy.protect import Privacy
from feedback_platform.intake.privacy.scrub import REMOVED
from feedback_platform_tests.builders import thumbs

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
        {"user_id": None, "session_id": True, "source": "human", "target": []},
        {"target": "r1", "source": []},
        {"source": {"kind": "model", "id": "m"}},
        {"source": {"kind": "code", "id": "c"}},
    ],
)
def test_what_is_no_persons_text_id_stays(body):
    assert scrubbed(body) == body


def test_numbers_are_replaced_by_their_text_and_what_holds_more_is_removed():
    body = {
        "user_id": 49176123456, "session_id": 1.5, "userId": 7, "source": {"id": 12},
        "target": {"session_id": ["s1"], "sessionId": {"id": "s2"}},
    }  # fmt: skip
    assert scrubbed(body) == {
        "user_id": PERSON("49176123456"), "session_id": SESSION("1.5"), "userId": PERSON("7"),
        "source": {"id": PERSON("12")}, "target": {"session_id": REMOVED, "sessionId": REMOVED},
    }  # fmt: skip
    assert scrubbed({"source": "alice", "target": [{"session_id": "s"}]}) == {
        "source": PERSON("alice"), "target": REMOVED,
    }  # fmt: skip
    assert scrubbed({"source": 491761, "input": {"user_id": "kept as in an accepted event"}}) == {
        "source": PERSON("491761"), "input": {"user_id": "kept as in an accepted event"},
    }  # fmt: skip


@pytest.mark.parametrize("body", ['{"user_id": 49176123456, ', '{"user_id": 049176123456, "source": "x"}'])
def test_a_number_in_a_broken_body_is_replaced_too(body):
    kept = REPORT.scrub_dead_letter(body.encode())
    assert b"9176123456" not in kept
    assert b'"x"' not in kept, "what became readable is read"
    assert REPORT.scrub_dead_letter(kept) == kept


def test_what_replaces_an_object_is_refused_again():
    """A text in its place would make one person of all of them."""
    body = json.loads(REPORT.scrub_dead_letter(json.dumps({**thumbs("f"), "user_id": {"id": "alice"}}).encode()))
    with pytest.raises(EventRejected, match="wrong_type at `user_id`"):
        parse_feedback(body)


# --- foreign records ------------------------------------------------------------------------------------------------------


def foreign(body, door=REPORT):
    return json.loads(door.scrub_foreign("", json.dumps(body).encode())[1])


@pytest.mark.parametrize(
    "key",
    "user.id enduser.id userId user_id USER_ID end_user completed_by author_user_id llm.user mlflow.trace.user user "
    "traceloop.association.properties.user_id user.email createdBy annotator".split(),
)
def test_ids_of_people_are_found_by_their_names_at_any_depth(key):
    assert foreign({"a": [{key: "alice", "b": {key: 12}}]}) == {"a": [{key: PERSON("alice"), "b": {key: PERSON("12")}}]}
    assert foreign({"x": {key: {"id": 1, "email": MAIL}}}) == {"x": {key: REMOVED}}


@pytest.mark.parametrize(
    "key", ["session.id", "sessionId", "session_id", "gen_ai.conversation.id", "chat_id", "mlflow.trace.session"]
)
def test_ids_of_sessions_are_found_by_their_names_at_any_depth(key):
    assert foreign([{key: "s"}]) == [{key: SESSION("s")}]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"stringValue": "alice"}, {"stringValue": PERSON("alice")}),
        ({"intValue": "49176"}, {"stringValue": PERSON("49176")}),
        ({"intValue": 49176}, {"stringValue": PERSON("49176")}),
        ("alice", PERSON("alice")),
        ({"arrayValue": {"values": [{"stringValue": "alice"}]}}, REMOVED),
        ({"boolValue": True}, REMOVED),
    ],
)
def test_ids_are_found_in_the_key_value_lists_of_otlp(value, kept):
    other = {"key": "gen_ai.system", "value": {"stringValue": "alice"}}
    body = {"attributes": [{"key": "user.id", "value": value}, other]}
    assert foreign(body) == {"attributes": [{"key": "user.id", "value": kept}, other]}


@pytest.mark.parametrize(
    ("sent", "kept"), [('"stringValue":"alice"}}', PERSON("alice")), ('"intValue" : 49176', PERSON("49176"))]
)
def test_ids_are_found_in_the_key_value_lists_of_a_record_that_is_cut_off(sent, kept):
    body = '{"attributes":[{"key":"user.id", "value": {' + sent
    found = REPORT.scrub_foreign("", body.encode())[1].decode()
    assert kept in found
    assert "alice" not in found
    assert "49176" not in found


def test_ids_are_found_in_json_that_is_kept_as_text():
    kept = foreign({"metadata": '{"user_id": "alice", "n": 1, "sessionId": 5}', "note": '"user_id": "alice"'})
    assert kept == {
        "metadata": f'{{"user_id": "{PERSON("alice")}", "n": 1, "sessionId": "{SESSION("5")}"}}',
        "note": '"user_id": "alice"',
    }


def test_a_foreign_record_keeps_what_is_no_id():
    body = (
        b'{ "traceId": "ab", "user.role": "x", "role": "user", "usage": 3, "userid_count": 1, "c": "ann@example.com" }'
    )
    assert REPORT.scrub_foreign("", body)[1] == body


def test_every_text_of_a_foreign_record_is_masked_where_the_policy_masks():
    kept = foreign({"name": MAIL, "target": [MAIL], "user.id": MAIL}, MASK)
    assert kept == {"name": "[EMAIL]", "target": ["[EMAIL]"], "user.id": PERSON(MAIL)}


@pytest.mark.parametrize(("mode", "hidden"), [("off", False), ("report", True), ("mask", True), ("reject", True)])
def test_words_about_a_record_name_nobody_in_every_mode_but_off(mode, hidden):
    door = Privacy(PrivacyPolicy(mask_text=mode), bytes(range(32)))
    message, _ = door.scrub_foreign(f"Span 'mail to {MAIL}' (r1): no model.", b"{}")
    assert message == f"Span 'mail to {'[EMAIL]' if hidden else MAIL}' (r1): no model."


def test_a_policy_that_replaces_no_ids_leaves_those_of_foreign_records():
    door = Privacy(PrivacyPolicy(pseudonymise=("session_id",)), bytes(range(32)))
    body = {"user.id": "alice", "session.id": "s"}
    assert foreign(body, door) == {"user.id": "alice", "session.id": door.pseudonyms.session("s")}


# --- texts ----------------------------------------------------------------------------------------------------------------


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


KEYS = "user_id source target id kind session_id x user.id key value".split()
HOSTILE = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=40).map(lambda t: t.encode("utf-8", "surrogatepass")),
    st.recursive(
        st.none() | st.floats() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(KEYS),
                inner,
                max_size=4,
            )
        ),
    ).map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=80)
@given(HOSTILE, st.integers(0, 60))
def test_it_never_raises_and_a_second_time_changes_nothing(body, cut):
    for door in (REPORT, MASK):
        for given_body in (body, body[:cut]):
            kept = door.scrub_dead_letter(given_body)
            assert kept == door.scrub_dead_letter(given_body)
            assert door.scrub_dead_letter(kept) == kept
            _, record = door.scrub_foreign("", given_body)
            assert door.scrub_foreign("", record)[1] == record


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 100_000, b'{"user_id":"\\ud800"}', b'{"user_id":"\\ud800"', b"1" * 5_000]
)
def test_bodies_that_break_readers_do_not_break_this_one(body):
    assert isinstance(MASK.scrub_dead_letter(body), bytes)


@pytest.mark.parametrize("field", ["user_id", "source.id", "target.session_id", "source"])
def test_a_kept_refusal_shows_no_id(field):
    kept = REPORT.scrub_refusal(EventRejected("wrong_type", field=field, value='"alice"', fix="Do."))
    assert (kept.reason, kept.field, kept.value, kept.fix) == ("wrong_type", field, "", "Do.")


@pytest.mark.parametrize("field", ["userId", "target.userId", "keys.user_id"])
def test_a_kept_refusal_shows_no_id_under_another_name(field):
    assert REPORT.scrub_refusal(EventRejected("field_unknown", field=field, value="49176123456")).value == ""


def test_a_kept_refusal_shows_no_id_within_what_was_found():
    refusal = EventRejected("not_an_object", value='[{"user_id":"alice","x":"y"},{"user_id":"bo...')
    kept = REPORT.scrub_refusal(refusal)
    assert "alice" not in str(kept)
    assert '"bo' not in str(kept)
    assert PERSON("alice") in str(kept)


def test_a_kept_refusal_shows_no_masked_text():
    refusal = EventRejected("wrong_type", field="task", value=f'["{MAIL}"]')
    assert MASK.scrub_refusal(refusal).value == '["[EMAIL]"]'
    assert REPORT.scrub_refusal(refusal) is refusal
    conflict = IdConflict("id_conflict", field="request_id", value="4111111111111111")
    assert MASK.scrub_refusal(conflict) is conflict
