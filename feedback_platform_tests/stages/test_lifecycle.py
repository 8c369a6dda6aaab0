"""Lifecycle: every feedback event and every inference ends in one state, with its reason, and moves when it must."""

from typing import Any

import pytest

from feedback_platform.contracts.stage_tables import FEEDBACK_STATES, INFERENCE_STATES
from feedback_platform_tests.builders import (
    Event,
    adjudication,
    correction,
    feedback,
    inference,
    line,
    retraction,
    thumbs,
)

DAY = 1440.0
NOT_YET = {"erased"}


def asked(request_id: str, **fields: Any) -> Event:
    """An inference with a prompt of its own."""
    return inference(request_id, text=f"about {request_id}", **fields)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """Every state at once, then one more event for each of some."""
    made = line(
        tmp_path_factory.mktemp("lifecycle") / "home",
        select={"tasks": ["default"]}, objectives=["unpaired"], attribution={"session": "uniform"},
        validation={"action": "review", "burst_rate": 1, "burst_p": 0.01}, maturity={"after": "1d"},
        sample={"budget": {"total": 5}, "random_arm": 0.0}, resolve={"review": {"expire": "60d"}},
    )  # fmt: skip
    made.send(
        [
            asked("used"), inference("twin", text="about used", output="an answer to about used", minute=1),
            *map(asked, ["again", "invalid", "silent", "commented"]),
            asked("foreign", task="other"), asked("private", training_allowed=False),
            asked("fresh", minute=40 * DAY), asked("clock", minute=40 * DAY + 10),
            asked("turn1", session_id="s"), asked("turn2", session_id="s", minute=1),
            *(asked(f"busy{n}") for n in range(5)), *(asked(f"more{n}") for n in range(9)),
        ],
        [
            thumbs("used", "used"), thumbs("twin", "twin"),
            thumbs("superseded", "again", rater="ann"), thumbs("superseding", "again", rater="ann", minute=61),
            correction("invalid", "invalid", output=""),
            feedback("comment", "comment", {"text": "x"}, request_id="commented"),
            thumbs("foreign", "foreign"), thumbs("private", "private"), thumbs("fresh", "fresh", minute=40 * DAY),
            thumbs("expired", "nobody"), thumbs("pending", "nobody", minute=40 * DAY),
            thumbs("refused", "fresh", minute=39 * DAY),
            thumbs("retracted", "silent", rater="bob"), retraction("applied", "retracted", rater="bob"),
            retraction("no_effect", "applied", rater="bob"),
            adjudication("ruling", {"verdict": "valid", "feedback_id": "used"}),
            feedback("session", "thumbs", {"up": True}, target={"session_id": "s"}),
            thumbs("on_turn", "turn1", up=False),
            *(thumbs(f"busy{n}", f"busy{n}", rater="fast", minute=60 + n) for n in range(5)),
            *(thumbs(f"more{n}", f"more{n}") for n in range(9)),
        ],
    )  # fmt: skip
    made.compile()
    return made


def test_every_feedback_event_has_its_state_and_reason(one):
    states = one.states()
    assert {k: v for k, v in states.items() if not k.startswith("more")} == {
        "used": ("used", None), "twin": ("used", None), "superseding": ("used", None),
        "superseded": ("superseded", "later_judgement_of_the_same_rater"),
        "invalid": ("invalid", "empty_correction"), "comment": ("evidence", "counted_not_a_label"),
        "private": ("evidence", "training_not_allowed"), "fresh": ("evidence", "counted_not_a_label"),
        "expired": ("expired", "no_inference_in_window"), "pending": ("pending", "waiting_for_inference"),
        "refused": ("refused", "precedes_inference"), "retracted": ("retracted", "retracted"),
        "applied": ("applied", None), "no_effect": ("no_effect", "cannot_retract_a_retraction"),
        "ruling": ("applied", None), "session": ("used", None), "on_turn": ("evidence", "counted_not_a_label"),
        **{f"busy{n}": ("in_review", "rater_burst") for n in range(5)},
    }  # fmt: skip


def test_a_session_judgement_has_the_state_of_its_luckiest_pair(one):
    found = one.by("feedback_events", "feedback_id", "n_pairs", "request_id")
    assert found["session"] == (2, "turn1")  # turn1 is disputed, but the judgement labels turn2
    assert found["pending"] == (0, None)


def test_the_ledger_has_every_event_in_one_state(one):
    ledger = one.ledger()
    assert ledger.unaccounted == 0
    assert ledger.feedback.states.keys() == set(FEEDBACK_STATES) - NOT_YET
    assert ledger.inference.states.keys() == set(INFERENCE_STATES) - NOT_YET
    assert ledger.inference.states == {
        "foreign": 1, "not_permitted": 1, "in_dataset": 5, "sampled_out": 7, "duplicate": 1, "immature": 1,
        "in_review": 5, "no_valid_feedback": 3, "unlabelled": 2,
    }  # fmt: skip
    assert ledger.inference.reasons["no_valid_feedback"] == {"all_invalid": 1, "disagreement": 1, "evidence_only": 1}
    assert ledger.feedback.states["foreign"] == 1


def test_states_follow_what_arrives_later(one):
    one.send(
        [asked("nobody", minute=40 * DAY - 1), asked("late_clock", minute=42 * DAY)],
        [retraction("undo", "comment"), adjudication("clear", {"verdict": "valid", "feedback_id": "busy0"})],
    )
    one.compile()
    states = one.states()
    assert states["pending"] == states["fresh"] == ("used", None)
    assert states["expired"] == ("refused", "precedes_inference")  # its inference came, and was made later
    assert (states["comment"], states["undo"]) == (("retracted", "retracted"), ("applied", None))
    assert states["busy0"] == ("used", None)
    assert states["busy1"] == ("in_review", "rater_burst")
    assert one.ledger().unaccounted == 0


def test_feedback_is_taken_back_and_ruled_on_after_its_attribution_window(tmp_path):
    one = line(tmp_path / "home", objectives=["unpaired"])
    one.send(
        [asked("r1"), asked("r2")],
        [
            thumbs("back", "r1", rater="ann", minute=29 * DAY), retraction("x", "back", rater="ann", minute=31 * DAY),
            thumbs("out", "r2", rater="ann", minute=29 * DAY),
            adjudication("rules", {"verdict": "invalid", "feedback_id": "out"}, minute=31 * DAY),
            thumbs("late", "nobody", minute=70 * DAY),
        ],
    )  # fmt: skip
    one.done()
    assert one.states() == {
        "back": ("retracted", "retracted"), "x": ("applied", None), "out": ("invalid", "adjudicated_invalid"),
        "rules": ("applied", None), "late": ("pending", "waiting_for_inference"),
    }  # fmt: skip
    assert one.ledger().unaccounted == 0
