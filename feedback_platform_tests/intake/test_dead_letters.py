"""Refused events are found wherever they lie, and get their second chance through the same door."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import apsw
import msgspec
import pytest
from click.testing import CliRunner

from feedback_platform.cli import main
from feedback_platform.contracts.events import MAX_EVENT_BYTES
from feedback_platform.errors import ConfigError, EventRejected
from feedback_platform.intake.dead_letters import Chosen, Edit, letters, replay
from feedback_platform.intake.door import Arrival, Unmapped
from feedback_platform.intake.landing import land, prune
from feedback_platform.intake.log import MAX_DEAD_LETTER_BYTES, Receipt, Record
from feedback_platform.intake.sqlite_log import open_log
from feedback_platform.intake.tenants import open_tenant
from feedback_platform.lake.store import Lake
from feedback_platform.settings import Settings
from feedback_platform_tests.builders import adjudication, inference, thumbs

AT = datetime(2026, 6, 1, tzinfo=UTC)
V1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE heads (stream TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE event_keys (
  stream TEXT NOT NULL, id TEXT NOT NULL,
  hmac BLOB NOT NULL, seq INTEGER NOT NULL, received_at INTEGER NOT NULL,
  PRIMARY KEY (stream, id)
) WITHOUT ROWID;
CREATE TABLE inference (seq INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, row BLOB NOT NULL);
CREATE TABLE feedback (seq INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, row BLOB NOT NULL);
CREATE TABLE dead_letter (seq INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, row BLOB NOT NULL);
INSERT INTO heads VALUES ('inference', 1), ('feedback', 0), ('dead_letter', 1);
INSERT INTO meta VALUES ('dropped_dead_letters', '3');
PRAGMA user_version = 1;
"""
OLD_LETTER = {
    "received_at": "2026-05-01T00:00:00Z", "origin": "old.jsonl", "line": 1, "kind": "feedback", "event_id": "f-old",
    "reason": "field_unknown", "message": "m", "body": json.dumps({**thumbs("f-old"), "wrong": 1}), "size_bytes": 9,
}  # fmt: skip


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path, memory_limit="512MB", threads=1)


@pytest.fixture
def tenant(settings):
    with open_tenant(settings, clock=lambda: AT) as opened:
        yield opened


@pytest.fixture
def lake(settings):
    return Lake(settings.lake)


def refuse(tenant, *bodies, kind="feedback", origin="a.jsonl"):
    """Send bodies that the contract refuses."""
    texts = [body if isinstance(body, bytes) else msgspec.json.encode(body) for body in bodies]
    found = tenant.door.admit([Arrival(kind, text, origin, line) for line, text in enumerate(texts, 1)])
    assert all(isinstance(one, EventRejected) for one in found)


def listed(tenant, lake, **chosen):
    return list(letters(tenant.log, lake, Chosen(**chosen)))


def again(tenant, lake, edit=None, as_reviewer=False, **chosen):
    return replay(tenant.door, iter(listed(tenant, lake, **chosen)), edit or Edit(), as_reviewer=as_reviewer)


def counts(done):
    return {
        kind: n for kind in ("accepted", "duplicate", "refused", "by_token", "not_sendable") if (n := done.count(kind))
    }


def test_letters_are_listed_in_order_with_everything_that_is_known(tenant, lake):
    refuse(tenant, {**thumbs("f1"), "wrong": 1}, b"{")
    first, second = listed(tenant, lake)
    assert (first.seq, first.line, first.event_id, first.reason) == (1, 1, "f1", "field_unknown")
    assert (first.received_at, first.origin, first.kind, first.replayed_as) == (AT, "a.jsonl", "feedback", None)
    assert (second.seq, second.reason, second.event_id, second.is_whole) == (2, "json_invalid", None, False)
    assert "`wrong`" in first.message


@pytest.mark.parametrize(
    ("chosen", "seqs"),
    [
        ({}, [1, 2, 3]),
        ({"seqs": (2, 3, 99)}, [2, 3]),
        ({"reasons": ("json_invalid",)}, [2]),
        ({"origins": ("b.jsonl",)}, [3]),
        ({"reasons": ("field_unknown",), "origins": ("a.jsonl",)}, [1]),
        ({"reasons": ("field_unknown", "json_invalid")}, [1, 2, 3]),
        ({"reasons": ("none",)}, []),
    ],
)
def test_letters_are_chosen_by_all_conditions_together(tenant, lake, chosen, seqs):
    refuse(tenant, {**thumbs("f1"), "wrong": 1}, b"{")
    refuse(tenant, {**thumbs("f2"), "wrong": 1}, origin="b.jsonl")
    assert [one.seq for one in listed(tenant, lake, **chosen)] == seqs


def test_a_replay_that_is_accepted_hides_the_letter_and_says_what_became_of_it(tenant, lake):
    refuse(tenant, {**thumbs("f1"), "wrong": 1})
    done = again(tenant, lake, Edit(drop=("wrong",)))
    assert counts(done) == {"accepted": 1}
    assert tenant.log.receipt("feedback", "f1").log_seq == 1
    assert listed(tenant, lake) == []
    [letter] = listed(tenant, lake, replayed=True)
    assert letter.replayed_as == "f1"
    assert counts(again(tenant, lake, Edit(drop=("wrong",)), replayed=True)) == {"duplicate": 1}


def test_a_replay_that_is_refused_again_makes_no_new_letter(tenant, lake):
    refuse(tenant, {**thumbs("f1"), "wrong": 1, "worse": 2})
    for _ in range(2):
        done = again(tenant, lake, Edit(drop=("wrong",)))
        assert counts(done) == {"refused": 1}
        assert done.outcomes[0][1].field == "worse"
    assert [one.seq for one in listed(tenant, lake)] == [1]
    assert tenant.log.head("dead_letter") == 1


def test_an_event_that_came_in_by_itself_meanwhile_counts_once(tenant, lake):
    refuse(tenant, {**thumbs("f1"), "wrong": 1})
    tenant.door.admit([Arrival("feedback", msgspec.json.encode(thumbs("f1")), "x")])
    assert counts(again(tenant, lake, Edit(drop=("wrong",)))) == {"duplicate": 1}
    assert listed(tenant, lake) == []
    assert tenant.log.head("feedback") == 1


def test_a_person_is_the_same_person_after_a_replay(tenant, lake):
    """The letter holds a pseudonym; another one is not made of it."""
    refuse(tenant, {**thumbs("f1", user_id="ann"), "wrong": 1})
    assert "ann" not in listed(tenant, lake)[0].body
    again(tenant, lake, Edit(drop=("wrong",)))
    tenant.door.admit([Arrival("feedback", msgspec.json.encode(thumbs("f2", user_id="ann")), "x")])
    first, second = (msgspec.json.decode(row) for _, row in tenant.log.read("feedback", 0, 10))
    assert first["rater"] == second["rater"]


@pytest.mark.parametrize(
    ("edit", "body"),
    [
        (Edit(), {"a": 1, "b": {"c": 2}}),
        (Edit(drop=("a", "b.c", "no.such", "z", "b.c.d")), {"b": {}}),
        (Edit(drop=("a.b", "a.b.c")), {"a": 1, "b": {"c": 2}}),
        (Edit(rename={"no.such": "x.y", "a.b": "x.y"}), {"a": 1, "b": {"c": 2}}),
        (Edit(rename={"b.c": "b.d.e"}), {"a": 1, "b": {"d": {"e": 2}}}),
        (Edit(rename={"a": "x.y", "gone": "new"}), {"b": {"c": 2}, "x": {"y": 1}}),
        (Edit(rename={"b.c": "a"}), {"a": 2, "b": {}}),
        (Edit(put={"a": None, "b.d.e": [1]}), {"a": None, "b": {"c": 2, "d": {"e": [1]}}}),
        (Edit(drop=("a",), rename={"a": "z"}, put={"a": 9}), {"z": 1, "b": {"c": 2}, "a": 9}),
    ],
)
def test_an_edit_renames_then_drops_then_sets(edit, body):
    assert edit.applied({"a": 1, "b": {"c": 2}}) == body


def test_an_edit_through_something_that_is_no_object_is_refused():
    with pytest.raises(ConfigError, match="is no object"):
        Edit(put={"a.b": 1}).applied({"a": 1})


def test_what_is_not_whole_or_never_was_an_event_cannot_be_sent(tenant, lake):
    long = {**inference("long", metadata={"text": "x" * MAX_DEAD_LETTER_BYTES}), "wrong": 1}
    refuse(tenant, long, b"[1]", kind="inference")
    tenant.door.bury([Unmapped("unknown", "no idea", b'{"a": 1}', "x")])
    assert [one.is_whole for one in listed(tenant, lake)] == [False, False, True]
    assert counts(again(tenant, lake, Edit(drop=("wrong",)))) == {"not_sendable": 3}
    assert len(listed(tenant, lake)) == 3
    assert tenant.log.head("inference") == 0


def ruling(number, **rights):
    body = {**adjudication(f"a{number}", {"verdict": "valid"}, request_id="r"), "wrong": 1}
    return Arrival("feedback", msgspec.json.encode(body), "POST /v1/feedback", **rights)


def reviewed(tenant):
    rows = [msgspec.json.decode(row) for _, row in tenant.log.read("feedback", 0, 99)]
    return {row["feedback_id"]: row["can_review"] for row in rows}


@pytest.mark.parametrize("as_reviewer", [False, True])
def test_a_replay_has_the_rights_of_whoever_sent_the_letter(tenant, lake, as_reviewer):
    tenant.door.admit([ruling(0), ruling(1, can_review=True)])
    again(tenant, lake, Edit(drop=("wrong",)), as_reviewer=as_reviewer)
    assert reviewed(tenant) == {"a0": False, "a1": True}


def test_what_came_with_a_token_is_never_sent_again(tenant, lake):
    tenant.door.admit([ruling(0, by_token=True), ruling(1)])
    [letter] = listed(tenant, lake, origins=("POST /v1/feedback (token)",))
    assert (letter.restricted, letter.can_review, letter.is_whole, letter.is_sendable) == (True, False, True, False)
    assert counts(again(tenant, lake, Edit(drop=("wrong",)), as_reviewer=True)) == {"accepted": 1, "by_token": 1}
    assert reviewed(tenant) == {"a1": False}
    assert listed(tenant, lake) == [letter]


@pytest.mark.parametrize("as_reviewer", [False, True])
def test_letters_that_only_the_lake_holds_review_nothing_unless_told_and_tokens_stay_tokens(tenant, lake, as_reviewer):
    tenant.door.admit([ruling(0, can_review=True), ruling(1, by_token=True)])
    land(tenant.log, lake)
    assert prune(tenant.log, lake, AT + timedelta(days=1)) == 2
    assert [(one.can_review, one.restricted) for one in listed(tenant, lake)] == [(None, False), (None, True)]
    done = again(tenant, lake, Edit(drop=("wrong",)), as_reviewer=as_reviewer)
    assert counts(done) == {"accepted": 1, "by_token": 1}
    assert reviewed(tenant) == {"a0": as_reviewer}


def test_a_file_may_be_called_what_it_likes(tenant, lake):
    """Only endpoints are looked at for the word of the token."""
    refuse(tenant, {**thumbs("f1"), "wrong": 1}, origin="export (token)")
    assert [one.restricted for one in listed(tenant, lake)] == [False]


@pytest.mark.parametrize(
    "body",
    [
        msgspec.json.encode(thumbs("f1", explanation="caf?")).replace(b"?", b"\xe9"),
        msgspec.json.encode(thumbs("f1")) + b" " * MAX_EVENT_BYTES,
    ],
)
def test_bytes_that_were_replaced_or_left_out_are_not_sent_again(tenant, lake, body):
    refuse(tenant, body)
    [letter] = listed(tenant, lake)
    assert letter.reason in ("not_utf8", "event_too_large")
    assert isinstance(msgspec.json.decode(letter.body), dict), "it looks like an event"
    assert not letter.is_whole
    assert counts(again(tenant, lake)) == {"not_sendable": 1}
    assert tenant.log.head("feedback") == 0


def test_a_foreign_record_with_replaced_bytes_is_not_sent_again(tenant, lake):
    tenant.door.bury([Unmapped("feedback", "no", b'{"a": "\xe9"}', "x"), Unmapped("feedback", "no", b'{"a": 1}', "x")])
    assert [one.is_whole for one in listed(tenant, lake)] == [False, True]


def test_a_letter_that_the_edit_does_not_fit_is_refused_alone(tenant, lake):
    refuse(tenant, {**thumbs("f1"), "wrong": 1}, {**thumbs("f2"), "wrong": {}}, {**thumbs("f3"), "wrong": 1})
    done = again(tenant, lake, Edit(put={"wrong.a": 1}, rename={"none": "wrong.b"}, drop=("wrong.c",)))
    assert [(why.reason, "is no object" in str(why)) for _, why in done.outcomes] == [
        ("edit_does_not_fit", True), ("field_unknown", False), ("edit_does_not_fit", True),
    ]  # fmt: skip
    assert counts(done) == {"refused": 3}
    assert len(listed(tenant, lake)) == 3


def test_an_edit_makes_no_objects_on_the_way_to_what_it_only_looks_for(tenant, lake):
    """An empty `target` or `source` would be refused, or change what the event says."""
    refuse(tenant, {**thumbs("f1"), "usr": "ann"})
    edit = Edit(drop=("target.user_id", "usr"), rename={"source.name": "source.id"})
    assert counts(again(tenant, lake, edit)) == {"accepted": 1}


def test_letters_that_only_the_lake_holds_are_found_and_sent(tenant, lake):
    refuse(tenant, {**thumbs("f1"), "wrong": 1}, {**thumbs("f2"), "wrong": 1})
    before = [replace(letter, can_review=None) for letter in listed(tenant, lake)]
    land(tenant.log, lake)
    assert prune(tenant.log, lake, AT + timedelta(days=1)) == 2
    assert tenant.log.first("dead_letter") is None
    assert listed(tenant, lake) == before, "pruning moves them and forgets only their senders' rights"
    refuse(tenant, {**thumbs("f3"), "wrong": 1})
    assert [one.seq for one in listed(tenant, lake)] == [1, 2, 3], "the lake's come first, none twice"
    assert counts(again(tenant, lake, Edit(drop=("wrong",)), seqs=(2, 3))) == {"accepted": 2}
    assert [one.seq for one in listed(tenant, lake)] == [1]
    assert tenant.log.receipt("feedback", "f2") is not None


def test_a_log_of_the_first_version_is_brought_to_the_second_with_all_it_holds(settings):
    settings.log_path.parent.mkdir(parents=True)
    old = apsw.Connection(str(settings.log_path))
    old.execute("PRAGMA journal_mode = WAL")
    old.execute(V1)
    old.execute("INSERT INTO event_keys VALUES ('inference', 'r-old', x'6d6163', 1, 1000000)")
    old.execute("INSERT INTO inference VALUES (1, 1000000, ?)", (b'{"request_id":"r-old"}',))
    old.execute("INSERT INTO dead_letter VALUES (1, 1000000, ?)", (msgspec.json.encode(OLD_LETTER),))
    old.close()
    for _ in range(2):  # the second time there is nothing to do
        with open_log(settings.log_path) as log:
            assert log.value("PRAGMA user_version") == 2
            assert (log.head("inference"), log.head("dead_letter"), log.dropped_dead_letters()) == (1, 1, 3)
            assert log.read("inference", 0, 9) == [(1, b'{"request_id":"r-old"}')]
            [known] = log.append("inference", [Record("r-old", b"mac", b"{}", AT)])
            assert isinstance(known, Receipt)
            assert known.duplicate
            assert log.integrity_check() == []
            assert log.replays() == {}
    with open_tenant(settings, clock=lambda: AT) as tenant:
        assert counts(again(tenant, Lake(settings.lake), Edit(drop=("wrong",)))) == {"accepted": 1}
        assert tenant.log.replays() == {1: "f-old"}


# --- the command ----------------------------------------------------------------------------------------------------------


def run(settings, *arguments):
    found = CliRunner().invoke(main, ["--home", str(settings.home), "dead-letters", *arguments])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found


def test_the_command_lists_and_replays(settings, lake):
    assert "No dead letters" in run(settings, "list").stdout
    with open_tenant(settings, clock=lambda: AT) as tenant:
        refuse(tenant, {**thumbs("f1"), "requst": "r1"}, {**thumbs("f2"), "feedback_value": {"upp": True}}, b"{")
    shown = run(settings, "list", "--reason", "json_invalid", "--json")
    assert [one["seq"] for one in json.loads(shown.stdout)] == [3]
    assert "field_unknown" in run(settings, "list").stdout
    done = run(
        settings, "replay", "--reason", "field_unknown", "--rename", "feedback_value.upp=feedback_value.up", "--json"
    )
    assert done.exit_code == 1, "one is still refused"
    told = json.loads(done.stdout)
    assert (told["accepted"], told["refused"], told["refused_again"][0]["seq"]) == (1, 1, 1)
    done = run(settings, "replay", "--seq", "1", "--drop", "requst", "--set", 'explanation="fixed"')
    assert (done.exit_code, "1 accepted" in done.stdout) == (0, True)
    assert [one["seq"] for one in json.loads(run(settings, "list", "--json").stdout)] == [3]
    assert len(json.loads(run(settings, "list", "--json", "--replayed").stdout)) == 3
    with open_tenant(settings) as tenant:
        rows = [msgspec.json.decode(row) for _, row in tenant.log.read("feedback", 0, 9)]
    assert sorted(row["feedback_id"] for row in rows) == ["f1", "f2"]
    assert "fixed" in json.dumps(rows)


def test_the_command_says_what_came_with_a_token_and_asks_who_reviews(settings):
    with open_tenant(settings, clock=lambda: AT) as tenant:
        tenant.door.admit([ruling(0, by_token=True)])
        old = msgspec.json.encode({**OLD_LETTER, "body": ruling(1).body.decode()})
        tenant.log.db.execute("INSERT INTO dead_letter VALUES (2, 0, ?)", (old,))
        tenant.log.db.execute("UPDATE heads SET seq = 2 WHERE stream = 'dead_letter'")
    shown = run(settings, "list").stdout
    assert "1 came with a feedback token, whose limits are not kept" in shown
    assert "POST /v1/feedback (token)" in shown
    done = run(settings, "replay", "--drop", "wrong", "--as-reviewer")
    assert (done.exit_code, "1 accepted" in done.stdout) == (0, True)
    assert "1 came with a feedback token" in done.stdout
    told = json.loads(run(settings, "replay", "--drop", "wrong", "--json").stdout)
    assert (told["by_token"], told["accepted"], told["not_sendable"]) == (1, 0, 0)
    with open_tenant(settings) as tenant:
        assert reviewed(tenant) == {"a1": True}


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--set", "a=b", "is not JSON"),
        ("--set", "a", "FIELD=JSON"),
        ("--rename", "a", "OLD=NEW"),
        ("--rename", "=b", "OLD=NEW"),
    ],
)
def test_the_command_says_how_an_edit_is_written(settings, option, value, words):
    found = run(settings, "replay", option, value)
    assert found.exit_code == 2
    assert words in found.stderr
