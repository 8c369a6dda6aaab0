"""The one door: every arrival has one outcome, in order, and what has a receipt is in the log as it may be kept."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_platform.contracts.events import MAX_EVENT_BYTES, Kind
from feedback_platform.errors import AccessError, EventRejected, Forbidden, IdConflict, LogError, RateLimited
from feedback_platform.intake.door import Arrival, Door, Unmapped, as_text
from feedback_platform.intake.log import MAX_DEAD_LETTER_BYTES, STREAMS, DeadLetter, Receipt
from feedback_platform.intake.privacy.policy import PrivacyPolicy
from feedback_platform.intake.privacy.protect import Privacy
from feedback_platform.intake.sqlite_log import SqliteEventLog, open_log
from feedback_platform_tests.builders import adjudication, inference, thumbs

AT = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def log(tmp_path):
    with open_log(tmp_path / "log" / "events.sqlite") as opened:
        yield opened


@pytest.fixture
def door(log):
    return Door(log, "default", lambda: AT)


@pytest.fixture
def guarded(log):
    """A door that pseudonymises and masks."""
    return Door(log, "default", lambda: AT, Privacy(PrivacyPolicy(mask_text="mask"), bytes(32)))


def arrival(event, kind=None, **more):
    body = event if isinstance(event, bytes) else msgspec.json.encode(event)
    named: Kind = kind or ("inference" if isinstance(event, dict) and "input" in event else "feedback")
    return Arrival(named, body, more.pop("origin", "test"), **more)


def receipt(door, event):
    [found] = door.admit([arrival(event)])
    assert isinstance(found, Receipt)
    return found


def rows(log, stream):
    return [msgspec.json.decode(row) for _, row in log.read(stream, 0, 10_000)]


def without_id(**fields):
    body = thumbs("x", **fields)
    del body["feedback_id"]
    return body


def test_a_body_may_be_text_or_an_object_and_is_the_same_event(door):
    event = inference("r1", metadata={"a": [1, 2.5, None]})
    text, decoded = door.admit([arrival(event)]), door.admit([Arrival("inference", event, "test")])
    assert (text[0].duplicate, decoded[0].duplicate) == (False, True)
    assert text[0].log_seq == decoded[0].log_seq


def test_a_repetition_keeps_the_time_of_the_first(log):
    early, late = Door(log, "default", lambda: AT), Door(log, "default", lambda: AT + timedelta(days=1))
    assert early.admit([arrival(thumbs("f"))])[0] == Receipt("f", 1, AT)
    assert late.admit([arrival(thumbs("f"))])[0] == Receipt("f", 1, AT, duplicate=True)


def test_a_derived_id_depends_on_tenant_and_body_only(log):
    doors = [Door(log, tenant, lambda: AT) for tenant in ("a", "b")]
    ids = [receipt(door, without_id(up=up)).id for door in doors for up in (True, False, True)]
    assert ids[0] == ids[2]
    assert ids[3] == ids[5]
    assert len(set(ids)) == 4
    assert all(one.startswith("fb_") for one in ids)


def test_a_stream_has_ids_of_its_own(door):
    found = door.admit([arrival(inference("same")), arrival(thumbs("same"))])
    assert [(one.log_seq, one.duplicate) for one in found] == [(1, False), (1, False)]


def test_who_may_review_is_written_beside_the_event(door, log):
    ruling = {"verdict": "valid"}
    door.admit([arrival(adjudication(f"a{n}", ruling, request_id="r"), can_review=bool(n)) for n in range(2)])
    assert [row["can_review"] for row in rows(log, "feedback")] == [False, True]


def test_a_restriction_changes_what_is_stored_and_what_counts_as_the_same(door, log):
    def stamp(event):
        return msgspec.structs.replace(event, user_id="stamped")

    first = door.admit([arrival(thumbs("f"), restrict=stamp)])[0]
    assert rows(log, "feedback")[0]["rater"] == "stamped"
    assert door.admit([arrival(thumbs("f"), restrict=stamp)])[0] == replace(first, duplicate=True)
    assert isinstance(door.admit([arrival(thumbs("f"))])[0], IdConflict)
    derived = door.admit([arrival(without_id(), restrict=stamp), arrival(without_id())])
    assert derived[0].id != derived[1].id, "the id is of the stamped event"


@pytest.mark.parametrize(
    ("refusal", "kept"),
    [
        (Forbidden(AccessError("token_other_user", "no", 403)), False),
        (RateLimited(3, "later"), False),
        (EventRejected("value_not_allowed", field="x", fix="no"), True),
    ],
)
def test_what_a_sender_may_not_say_is_not_kept_and_what_is_wrong_is(door, log, refusal, kept):
    def refuse(event):
        raise refusal

    found = door.admit([arrival(thumbs("a"), restrict=refuse), arrival(thumbs("b"))])
    assert found[0] is refusal
    assert isinstance(found[1], Receipt)
    assert [row["reason"] for row in rows(log, "dead_letter")] == [refusal.reason] * kept


def test_a_dead_letter_tells_where_what_and_why(door, log):
    body = msgspec.json.encode({**thumbs("f1"), "wrong": 1})
    [refused] = door.admit([arrival(body, "feedback", origin="a.jsonl", line=7)])
    assert rows(log, "dead_letter") == [{
        "can_review": False, "received_at": "2026-06-01T00:00:00Z",
        "origin": "a.jsonl", "line": 7, "kind": "feedback", "event_id": "f1",
        "reason": "field_unknown", "message": str(refused), "body": body.decode(), "size_bytes": len(body),
    }]  # fmt: skip


def test_a_letter_that_is_refused_again_is_not_kept_again(door, log):
    assert isinstance(door.admit([arrival(b"{}", "feedback", buried=True)])[0], EventRejected)
    assert rows(log, "dead_letter") == []


def test_a_body_beyond_the_limit_is_refused_and_only_its_beginning_kept(door, log):
    long = b'{"a": "' + b"x" * MAX_EVENT_BYTES + b'"}'
    beginning = b'{"request_id": "r'
    found = door.admit([arrival(long, "inference"), arrival(beginning, "inference", size=10**10)])
    assert [one.reason for one in found] == ["event_too_large"] * 2
    first, second = rows(log, "dead_letter")
    assert (len(first["body"]), first["size_bytes"]) == (MAX_DEAD_LETTER_BYTES, len(long))
    assert (second["body"], second["size_bytes"]) == (beginning.decode(), 10**10)


def test_a_failed_commit_leaves_nothing_of_any_stream(door, log):
    batch = [arrival(inference("r")), arrival(thumbs("f")), arrival(b"{}", "feedback")]
    log.db.execute("PRAGMA query_only = ON")
    with pytest.raises(LogError):
        door.admit(batch)
    log.db.execute("PRAGMA query_only = OFF")
    # And when only the last of the three writes fails, the others go with it.
    log.db.execute("CREATE TRIGGER full BEFORE INSERT ON dead_letter BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(LogError, match="disk full"):
        door.admit(batch)
    assert [log.head(stream) for stream in STREAMS] == [0, 0, 0]
    log.db.execute("DROP TRIGGER full")
    assert [getattr(one, "log_seq", one) for one in door.admit(batch)[:2]] == [1, 1]
    assert log.integrity_check() == []


def test_preparing_touches_no_disk(door, log):
    log.db.execute("PRAGMA query_only = ON")
    batch = door.prepare([arrival(inference("r")), arrival(b"{}", "feedback")])
    assert batch.outcomes[0] is None
    assert isinstance(batch.outcomes[1], EventRejected)
    log.db.execute("PRAGMA query_only = OFF")
    assert log.head("inference") == 0
    assert isinstance(door.commit(batch)[0], Receipt)


def test_a_dead_letter_tells_who_might_review_and_who_came_with_a_token(door, log):
    wrong = {**thumbs("f"), "wrong": 1}
    door.admit([arrival(wrong, can_review=True), arrival(wrong, by_token=True, origin="POST /v1/feedback")])
    door.bury([Unmapped("unknown", "no", b"{}", "x")])
    first, second, third = rows(log, "dead_letter")
    assert (first["can_review"], first["origin"], "restricted" in first) == (True, "test", False)
    assert (second["can_review"], second["restricted"]) == (False, True)
    assert second["origin"] == "POST /v1/feedback (token)", "the lake has this column and no other to say it"
    assert third.keys().isdisjoint({"can_review", "restricted"}), "nobody sent it as an event"


def test_what_is_beyond_the_limit_is_cut_before_anything_reads_it(guarded, log):
    """Of a whole body the id can be read and every text is masked; of this one only what its beginning shows."""
    start = b'{"feedback_id": "f", "user_id": "ann", "explanation": "ann@example.com '
    late = b'", "session_id": "late"}'
    guarded.admit([arrival(start + "ü".encode() * (MAX_EVENT_BYTES // 2) + late, "feedback")])
    guarded.admit([arrival(start, "feedback", size=10**9)])
    guarded.bury([Unmapped("unknown", "no", start + b"x" * MAX_EVENT_BYTES + late, "x")])
    for letter in rows(log, "dead_letter"):
        assert letter["event_id"] is None
        assert letter["size_bytes"] > MAX_EVENT_BYTES
        assert guarded.privacy.pseudonyms.person("ann") in letter["body"]
        assert "[EMAIL]" in letter["body"]
        assert "\ufffd" not in letter["body"][:-1]
        assert "late" not in letter["body"]


def test_letters_stand_in_the_order_of_their_arrivals_and_only_conflicts_wait_for_the_log(door, log):
    door.admit([arrival(thumbs("a"))])
    wrong = {**thumbs("w"), "wrong": 1}
    batch = door.prepare([arrival(wrong), arrival(thumbs("a", up=False)), arrival(wrong)])
    assert [*door._letters(batch)] == [0, 2]
    door.commit(batch)
    assert [row["reason"] for row in rows(log, "dead_letter")] == ["field_unknown", "id_conflict", "field_unknown"]


def test_letters_are_made_before_the_transaction(log):
    class Watching(Privacy):
        def scrub_dead_letter(self, body):
            inside.append(log.db.in_transaction)
            return super().scrub_dead_letter(body)

    inside: list[bool] = []
    door = Door(log, "default", lambda: AT, Watching(PrivacyPolicy(), bytes(32)))
    door.admit([arrival(thumbs("a")), arrival(b"{", "feedback")])
    assert inside == [False]
    door.admit([arrival(thumbs("a", up=False)), arrival(b"{", "feedback")])
    assert inside == [False, False, True], "a conflict is known in it only"


def test_a_message_is_kept_up_to_a_bound(door, log):
    door.bury([Unmapped("unknown", "x" * 5_000, b"{}", "x")])
    assert rows(log, "dead_letter")[0]["message"] == "x" * 2_000


def test_letters_of_end_users_take_no_room_from_others(tmp_path):
    with SqliteEventLog(tmp_path / "log" / "e.sqlite", keep_dead_letters=20) as log:
        door = Door(log, "default", lambda: AT)

        def refuse(times, *, by_token):
            door.admit([arrival(b"{", "feedback", by_token=by_token, origin="POST /v1/feedback")] * times)
            found = [row.get("restricted", False) for row in rows(log, "dead_letter")]
            return found.count(True), found.count(False)

        assert refuse(9, by_token=True) == (2, 0), "a tenth of 20"
        assert log.dropped_dead_letters() == 7
        assert refuse(25, by_token=False) == (2, 20), "all of the others' room is there"
        assert refuse(1, by_token=True) == (2, 20)
        log.prune("dead_letter", 1, AT + timedelta(days=1))
        assert refuse(5, by_token=True) == (2, 20), "one was pruned, one came"
        log.prune("dead_letter", 22, AT + timedelta(days=1))
        assert refuse(2, by_token=False) == (1, 2)
        assert refuse(5, by_token=True) == (2, 2)
    with SqliteEventLog(tmp_path / "log" / "e.sqlite", keep_dead_letters=20) as log:
        assert (
            log.append_dead_letters([DeadLetter("x", 1, "unknown", None, "r", "m", b"", 0, restricted=True)], AT) == 0
        )


# --- personal data --------------------------------------------------------------------------------------------------------


def test_ids_of_people_are_stored_as_pseudonyms_and_still_match(guarded, log):
    guarded.admit([
        arrival(inference("r", user_id="ann", session_id="s")),
        arrival(thumbs("f1", user_id="ann", session_id="s")),
        arrival(thumbs("f2", rater="ann")),
    ])  # fmt: skip
    asked, (by_user, by_rater) = rows(log, "inference")[0], rows(log, "feedback")
    assert asked["user_id"] == by_user["rater"] == by_rater["rater"] != "ann"
    assert asked["session_id"] == by_user["session_id"] != "s"


def test_a_repetition_is_known_whatever_the_policy_was_then_and_is_now(log):
    event = inference("r", user_id="ann", text="write to ann@example.com")
    policies = (None, PrivacyPolicy(mask_text="off", pseudonymise=()), PrivacyPolicy(mask_text="mask"))
    doors = [Door(log, "default", lambda: AT, None if p is None else Privacy(p, bytes(32))) for p in policies]
    found = [receipt(one, event) for one in doors]
    assert [(one.log_seq, one.duplicate) for one in found] == [(1, False), (1, True), (1, True)]
    blind = without_id(user_id="ann")
    assert len({receipt(one, blind).id for one in doors}) == 1


def test_refused_texts_and_ids_are_kept_as_they_may_be(guarded, log):
    body = {**thumbs("f", user_id="ann", explanation="ask ann@example.com"), "nmae": "bob@example.com"}
    [refused] = guarded.admit([arrival(body)])
    assert "bob@example.com" in str(refused), "the sender is told what was found"
    guarded.bury([Unmapped("feedback", "Span 'bob@example.com': no", msgspec.json.encode(body), "x")])
    for letter in rows(log, "dead_letter"):
        text = msgspec.json.encode(letter)
        for secret in (b'"ann"', b"ann@example.com", b"bob@example.com"):
            assert secret not in text
        assert letter["size_bytes"] == len(msgspec.json.encode(body))


def test_an_event_that_the_policy_refuses_is_refused_alone(log):
    strict = Door(log, "default", lambda: AT, Privacy(PrivacyPolicy(mask_text="reject"), bytes(32)))
    events = [inference("a"), inference("b", text="call ann@example.com"), inference("c")]
    found = strict.admit([arrival(one) for one in events])
    assert [getattr(one, "reason", "taken") for one in found] == ["taken", "personal_data", "taken"]
    assert [row["request_id"] for row in rows(log, "inference")] == ["a", "c"]
    assert "ann@example.com" not in rows(log, "dead_letter")[0]["body"]


def test_objects_that_json_does_not_have_are_written_as_their_words():
    assert msgspec.json.decode(as_text({"at": AT, "n": {1: AT}})) == {"at": str(AT), "n": {"1": str(AT)}}


# --- a law ----------------------------------------------------------------------------------------------------------------

events = st.one_of(
    st.tuples(st.just("inference"), st.integers(0, 4), st.integers(0, 1)),
    st.tuples(st.just("feedback"), st.integers(0, 4), st.integers(0, 1)),
    st.sampled_from([b"", b"{", b"{}", b"[]", b'{"feedback_type": 1}']),
)


def made(one):
    if isinstance(one, bytes):
        return arrival(one, "feedback")
    kind, number, variant = one
    return arrival(
        inference(f"e{number}", text=f"v{variant}") if kind == "inference" else thumbs(f"e{number}", up=bool(variant))
    )


@given(batches=st.lists(st.lists(events, max_size=10), max_size=5))
@settings(max_examples=40)
def test_any_batching_is_the_same_as_one_by_one(batches):
    """Outcomes and logs do not depend on how arrivals are grouped."""

    def played(grouped):
        with TemporaryDirectory() as folder, open_log(Path(folder) / "log" / "events.sqlite") as log:
            door = Door(log, "default", lambda: AT)
            found = [one for group in grouped for one in door.admit([made(event) for event in group])]
            outcomes = [str(one) if isinstance(one, EventRejected) else one for one in found]
            assert len(outcomes) == sum(map(len, grouped))
            accepted = sum(isinstance(one, Receipt) and not one.duplicate for one in found)
            refused = sum(isinstance(one, EventRejected) for one in found)
            assert (log.head("inference") + log.head("feedback"), log.head("dead_letter")) == (accepted, refused)
            return outcomes, [[row for _, row in log.read(stream, 0, 1000)] for stream in STREAMS]

    one_by_one = [[event] for batch in batches for event in batch]
    assert played(batches) == played(one_by_one)
