"""Attribution: feedback meets what it judges, in whatever order both arrive, or says why it does not."""

from datetime import UTC, datetime, timedelta

import pytest

from feedback_platform_tests.builders import (
    START,
    adjudication,
    feedback,
    inference,
    line,
    rating,
    retraction,
    thumbs,
)

DAY = 1440.0
ATTRIBUTED = ("attributed", None)
SELECT = {"models": ["bot"], "tasks": ["default"], "where": "environment = 'production'"}


def pair(chosen: str, rejected: str) -> dict[str, object]:
    return {"chosen": {"request_id": chosen}, "rejected": {"request_id": rejected}}


def on_session(feedback_id: str, session: str, **fields):
    return feedback(feedback_id, "thumbs", {"up": True}, target={"session_id": session}, **fields)


@pytest.fixture(scope="module")
def arrived(tmp_path_factory):
    """Both sides of everything arrive over two windows; a third passes the deadlines."""
    one = line(tmp_path_factory.mktemp("attribution") / "home", select=SELECT)
    one.send(
        [
            inference("early"), inference("side1"), inference("r"), inference("skewed", minute=70),
            inference("beyond", minute=70 + 1), inference("v", model_version="2"),
            inference("alien_task", task="other"), inference("alien_model", model="other"),
            inference("alien_where", environment="staging"),
        ],
        [
            thumbs("waits_for_inference", "late"),
            feedback("waits_for_side", "preference_pair", pair("side1", "side2"), request_id="side1"),
            feedback("by_keys", "outcome", {"name": "sale", "value": 1}, target={"keys": {"order": "7"}}),
            thumbs("nobody", "never"),
            retraction("r_first", "arrives_later", rater="ann"),
            retraction("r_nothing", "no_such", rater="ann"),
            thumbs("at_skew", "skewed", minute=60),
            thumbs("precedes", "beyond", minute=60),
            thumbs("exact", "r", minute=0),
            rating("believes_1", "v", model_version="1"),
            thumbs("f_task", "alien_task"), thumbs("f_model", "alien_model"), thumbs("f_where", "alien_where"),
            thumbs("f_about", "alien_task", rater="eve"), retraction("f_retraction", "f_about", rater="eve"),
            thumbs("taken_back", "r", rater="ann"), retraction("same_rater", "taken_back", rater="ann"),
            thumbs("by_reviewer", "r", rater="bob"), retraction("reviewer", "by_reviewer", rater="lead"),
            thumbs("kept", "r", rater="cleo"), thumbs("anonymous", "r"),
            retraction("again", "same_rater", rater="ann"),
            adjudication("ruling", {"verdict": "valid", "label": "x"}, request_id="r", rater="judge"),
            retraction("unruled", "ruling", rater="judge"),
            adjudication("on_feedback", {"verdict": "invalid", "feedback_id": "kept"}, rater="judge"),
            adjudication("about_none", {"verdict": "valid", "feedback_id": "no_such"}, rater="judge"),
        ],
    )  # fmt: skip
    one.send(
        [],
        [
            retraction("other_rater", "kept", rater="dan"),
            retraction("no_rater", "anonymous"),
            adjudication("unscoped", {"verdict": "valid"}, request_id="r", rater="dan"),
        ],
        can_review=False,
    )
    one.compile()
    first = one.by("attributed_pairs", "feedback_id", "status", "reason")
    deadline = one.by("attributed_pairs", "feedback_id", "deadline_at")["waits_for_inference"]
    one.send(
        [inference("late"), inference("side2")],
        [
            thumbs("arrives_later", "r", rater="ann"),
            thumbs("late_feedback", "early", minute=29 * DAY),
            thumbs("at_the_edge", "early", minute=30 * DAY + 10),
            thumbs("too_late", "early", minute=30 * DAY + 11),
        ],
    )
    one.compile()
    second = one.by("attributed_pairs", "feedback_id", "status", "reason")
    one.send([inference("clock", minute=75 * DAY)], [])
    one.compile()
    return one, first, second, one.by("attributed_pairs", "feedback_id", "status", "reason"), deadline


def test_feedback_waits_for_its_inference_and_meets_it(arrived):
    _, first, second, _, deadline = arrived
    assert first["waits_for_inference"] == ("pending", "waiting_for_inference")
    assert deadline == START + timedelta(minutes=60, days=30)
    assert second["waits_for_inference"] == ATTRIBUTED


def test_an_inference_waits_for_its_feedback_within_the_window_and_the_skew(arrived):
    _, _, second, last, _ = arrived
    assert second["late_feedback"] == ATTRIBUTED
    assert second["at_the_edge"] == ATTRIBUTED
    assert second["too_late"] == ("pending", "waiting_for_inference")
    assert last["too_late"] == ("expired", "no_inference_in_window")


def test_a_pair_waits_until_all_sides_have_arrived(arrived):
    _, first, second, _, _ = arrived
    assert first["waits_for_side"] == ("pending", "waiting_for_inference")
    assert second["waits_for_side"] == ATTRIBUTED


def test_waiting_ends_when_the_watermark_passes_the_deadline(arrived):
    _, first, second, last, _ = arrived
    assert first["nobody"] == ("pending", "waiting_for_inference")
    assert first["by_keys"] == second["by_keys"] == ("pending", "waiting_for_keys")
    assert last["nobody"] == last["by_keys"] == ("expired", "no_inference_in_window")
    assert last["r_nothing"] == last["about_none"] == ("expired", "no_subject_in_window")


def test_clocks_may_disagree_by_the_tolerated_skew_and_no_more(arrived):
    one, first, _, _, _ = arrived
    flags = one.by("attributed_pairs", "feedback_id", "flags", "delay_ms")
    assert first["at_skew"] == ATTRIBUTED
    assert flags["at_skew"] == ("within_clock_skew", -600_000)
    assert first["precedes"] == ("refused", "precedes_inference")
    assert flags["exact"] == ("", 0)


def test_another_version_than_believed_is_flagged(arrived):
    one, first, _, _, _ = arrived
    assert first["believes_1"] == ATTRIBUTED
    assert one.by("attributed_pairs", "feedback_id", "flags")["believes_1"] == "version_mismatch"


def test_feedback_on_what_is_not_selected_is_foreign(arrived):
    one, first, _, _, _ = arrived
    ledger = one.ledger()
    foreign = {"f_task", "f_model", "f_where", "f_about", "f_retraction"}
    assert not foreign & first.keys()
    assert ledger.feedback.states["foreign"] == len(foreign)
    assert ledger.inference.states["foreign"] == 3
    assert ledger.unaccounted == 0


def test_a_rater_takes_back_what_they_said_and_a_reviewer_anything(arrived):
    _, first, _, _, _ = arrived
    assert first["taken_back"] == first["by_reviewer"] == ("retracted", "retracted")
    assert first["same_rater"] == first["reviewer"] == ("applied", None)


def test_nobody_else_can_retract(arrived):
    _, first, _, _, _ = arrived
    assert first["other_rater"] == first["no_rater"] == ("no_effect", "not_the_same_rater")
    assert first["kept"] == first["anonymous"] == ATTRIBUTED


def test_a_retraction_may_arrive_before_what_it_takes_back(arrived):
    one, first, second, _, _ = arrived
    assert first["r_first"] == ("pending", "waiting_for_feedback")
    assert second["r_first"] == ("applied", None)
    assert second["arrives_later"] == ("retracted", "retracted")
    assert one.by("attributed_pairs", "feedback_id", "by_feedback_id")["arrives_later"] == "r_first"


def test_a_retraction_is_final_and_a_ruling_can_be_retracted(arrived):
    _, first, _, _, _ = arrived
    assert first["again"] == ("no_effect", "cannot_retract_a_retraction")
    assert first["same_rater"] == ("applied", None)
    assert (first["ruling"], first["unruled"]) == (("retracted", "retracted"), ("applied", None))


def test_a_ruling_needs_the_review_scope(arrived):
    one, first, _, _, _ = arrived
    assert first["unscoped"] == ("refused", "needs_review_scope")
    assert first["on_feedback"] == ATTRIBUTED
    assert one.by("attributed_pairs", "feedback_id", "request_id")["on_feedback"] == "r"
    assert one.states()["kept"] == ("invalid", "adjudicated_invalid")


TURNS = [inference(f"t{n}", minute=n, session_id="s", text=f"turn {n}") for n in range(1, 4)]
ODD = [
    inference("after", minute=500, session_id="s"),
    inference("alien", minute=3.5, session_id="s", task="other"),
    inference("only_alien", session_id="x", task="other"),
    inference("long_ago", minute=-32 * DAY, session_id="s"),
]


@pytest.mark.parametrize(
    ("rule", "weights"),
    [
        ("last_turn", {"t3": 1_000_000}),
        ("uniform", {"t1": 333_333, "t2": 333_333, "t3": 333_334}),
        ("discounted", {"t1": 125_000, "t2": 250_000, "t3": 625_000}),
    ],
)
def test_session_feedback_spreads_over_the_turns_before_it(tmp_path, rule, weights):
    policy = {"attribution": {"session": rule, "version_mismatch": "refuse"}, "select": {"tasks": ["default"]}}
    one = line(tmp_path / "home", **policy)
    many = [inference(f"m{n:02}", minute=n, session_id="many", text=f"{n}") for n in range(30)]
    one.send(
        TURNS + ODD + many,
        [
            on_session("f", "s"), on_session("g", "many"), on_session("foreign", "x"), on_session("later", "y"),
            rating("believes_2", "t1", model_version="2"), rating("believes_1", "t1", model_version="1"),
        ],
    )  # fmt: skip
    one.compile()
    pairs = one.table("attributed_pairs")
    assert dict(pairs.filter(feedback_id="f").select("request_id", "weight_ppm").rows()) == weights
    assert pairs.filter(feedback_id="g")["weight_ppm"].sum() == 1_000_000
    states = one.by("attributed_pairs", "feedback_id", "status", "reason")
    assert "foreign" not in states
    assert one.ledger().feedback.states["foreign"] == 1
    assert states["later"] == ("pending", "waiting_for_inference")
    assert states["believes_2"] == ("refused", "model_version_mismatch")
    assert states["believes_1"] == ATTRIBUTED


def test_times_are_event_times_in_utc(arrived):
    one, *_ = arrived
    given = one.by("attributed_pairs", "feedback_id", "feedback_at", "inference_at")["late_feedback"]
    assert given == (datetime(2026, 3, 31, 9, tzinfo=UTC), START)


def test_a_session_with_no_turn_in_reach_but_a_foreign_one_is_foreign(tmp_path):
    one = line(tmp_path / "home", objectives=["unpaired"], select={"tasks": ["chat"]})
    foreign = [inference(f"foreign_{s}", task="other", session_id=s) for s in ("s1", "s2")]
    one.send(
        [*foreign, inference("after_s1", minute=100, task="chat", session_id="s1")],
        [on_session("on_s1", "s1", minute=50, rater="ann"), on_session("on_s2", "s2", minute=50, rater="ann")],
    )
    one.done()
    one.send([inference("after_s2", minute=100, task="chat", session_id="s2", text="other")])
    for done in (one.compiler.store.all()[-1], one.done()):
        assert done.ledger["unaccounted"] == 0
        assert done.ledger["feedback"]["states"] == {"foreign": 2}
    assert one.states() == {}
    assert one.ledger().inference.states["foreign"] == 2


def test_an_item_and_a_step_of_one_name_are_two_targets(tmp_path):
    one = line(tmp_path / "home", objectives=["unpaired"])
    one.send(
        [inference("r1", items=[{"item_id": "1", "position": 1}], steps=[{"id": "1", "name": "search"}])],
        [
            feedback("item", "thumbs", {"up": True}, target={"request_id": "r1", "item_id": "1"}, rater="ann"),
            feedback(
                "step", "thumbs", {"up": False}, target={"request_id": "r1", "step_id": "1"}, rater="ann", minute=70
            ),
        ],
    )
    one.done()
    states = one.states()
    assert "superseded" not in {state for state, _ in states.values()}, states
    assert one.by("attributed_pairs", "feedback_id", "status", "reason") == {"item": ATTRIBUTED, "step": ATTRIBUTED}
