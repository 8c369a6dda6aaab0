"""`explain` for an event in every state of law 2, for examples, refused lines, and events on their way."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from feedback_platform.compile.explain import Accepted, explain
from feedback_platform.compile.explain_story import Story, said
from feedback_platform.compile.explain_words import FEEDBACK, INFERENCES, SAID, ranges
from feedback_platform.contracts.raw_tables import FEEDBACK_TYPES
from feedback_platform.contracts.stage_tables import FEEDBACK_STATES, INFERENCE_STATES
from feedback_platform.settings import Settings
from feedback_platform_tests.builders import Line, inference, retraction, thumbs
from feedback_platform_tests.cli.events import DRAWN, POLICY, compiled_home

# id -> state, reason, words of the story, words of what would change it
STORIES = {
    "used": ("in_dataset", None, "label 'true' by rule unpaired.thumbs", "retraction"),
    "foreign": ("foreign", "not_selected", "model is 'other', `select.models` wants ['bot']", "`select`"),
    "forbidden": ("not_permitted", "training_not_allowed", "training_allowed: false", "Nothing"),
    "silent": ("unlabelled", "no_feedback", "No feedback on it", "was given by 2026-04-01 09:10:00 UTC"),
    "fresh": ("immature", "not_mature", "not mature before 2026-06-01 09:00:00 UTC", "`maturity.after`"),
    "doubtful": ("in_review", "waits_for_review", "f-review: a thumb up by ann", "adjudication"),
    "disputed": ("no_valid_feedback", "disagreement", "less than 67% of them say the same", "`resolve.agreement`"),
    "twin": ("duplicate", "same_content", "of request first has the same content", "`dedup.method: off`"),
    "f-used": ("used", None, "It is behind 1 example.", "adjudication"),
    "f-foreign": ("foreign", "not_selected", "outside the dataset's `select`", "`select`"),
    "f-back": ("retracted", "retracted", "taken back by f-takes", "Nothing brings it back"),
    "f-takes": ("applied", None, "took effect on f-back", "final"),
    "f-stranger": ("no_effect", "not_the_same_rater", "f-used, which somebody else gave", "same rater"),
    "f-pending": ("pending", "waiting_for_inference", "request not-yet until 2026-06-29", "arrival of request not-yet"),
    "f-expired": ("expired", "no_inference_in_window", "waited 30d for request nobody in vain", "however late"),
    "f-early": ("refused", "precedes_inference", "before the inference was answered at 2026-03-02 09:00:00", "`att"),
    "f-empty": ("invalid", "empty_correction", "the correction is empty", "verdict `valid`"),
    "f-ruled": ("invalid", "adjudicated_invalid", "A reviewer called it invalid", "later adjudication"),
    "f-review": ("in_review", "future_timestamp", "in the future of its receipt", "adjudication"),
    "f-old": ("superseded", "later_judgement_of_the_same_rater", "rater, f-new, replaced it", "retraction of f-new"),
    "f-comment": ("evidence", "counted_not_a_label", "counts as evidence", "`resolve.precedence`"),
    "f-forbidden": ("evidence", "training_not_allowed", "may not be trained on", "permission"),
    "f-ruling": ("applied", None, "took effect on f-ruled", "later one"),
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled_home(tmp_path_factory.mktemp("explain") / "home")


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(home=home, memory_limit="512MB", threads=1)


def story(settings: Settings, event_id: str) -> Story:
    (subject,) = explain(settings, event_id, ["d"]).subjects
    (only,) = subject.stories
    return only


def text(told: Story) -> str:
    return "\n".join((told.why, *told.lines))


@pytest.mark.parametrize("event_id", STORIES)
def test_every_state_is_explained_with_its_reason_and_a_way_out(settings, event_id):
    state, reason, words, change = STORIES[event_id]
    told = story(settings, event_id)
    assert (told.state, told.reason) == (state, reason)
    assert words in text(told)
    assert change in told.would_change
    assert "{" not in text(told) + told.would_change


def test_the_history_holds_every_state_there_is(settings):
    """`erased` comes with erasure; sampled_out has a test of its own."""
    states = {state for state, *_ in STORIES.values()} | {"sampled_out"}
    assert states == {*FEEDBACK_STATES, *INFERENCE_STATES} - {"erased"}


def test_every_state_has_words():
    assert {state for state, _ in INFERENCES} == {*INFERENCE_STATES} - {"erased"}
    assert {state for state, _ in FEEDBACK} == {*FEEDBACK_STATES} - {"erased"}


def test_a_rank_beyond_the_budget_is_told_with_its_threshold(settings):
    told = {request_id: story(settings, request_id) for request_id in DRAWN}
    out = [t for t in told.values() if t.state == "sampled_out"]
    assert 0 < len(out) < len(DRAWN)
    assert {t.reason for t in out} == {"beyond_budget"}
    assert all("not drawn" in text(t) and "`sample.budget`" in t.would_change for t in out)
    assert all("It is in version 1." in text(t) for t in told.values() if t.state == "in_dataset")


def test_a_request_that_left_is_told_with_the_version_that_removed_it(tmp_path):
    one = Line(tmp_path, {**{k: v for k, v in POLICY.items() if k not in ("name", "sample", "maturity")}})
    one.send(
        [inference("a", text="a"), inference("b", text="b")],
        [thumbs("fa", "a", rater="x"), thumbs("fb", "b", rater="x")],
    )
    one.compile()
    one.send([], [retraction("gone", "fa", rater="x", minute=99)])
    one.compile()
    told = story(one.settings, "a")
    assert (told.state, told.versions) == ("unlabelled", (1,))
    assert "Version 1 added unpaired example" in text(told)
    assert "(no_feedback_left)" in text(told)
    example_id = next(line for line in told.lines if "added" in line).split(" example ")[1].split()[0]
    gone = story(one.settings, example_id)
    assert (gone.state, gone.versions) == ("removed", (1,))
    assert story(one.settings, "fa").would_change.startswith("Nothing brings it back")
    assert story(one.settings, "b").versions == (1, 2)


def test_an_example_points_to_its_request(settings):
    example_id = (
        next(line for line in story(settings, "used").lines if "label" in line).split("example ")[1].split(":")[0]
    )
    told = explain(settings, example_id, ["d"])
    assert [s.kind for s in told.subjects] == ["example"]
    assert "request used" in told.subjects[0].stories[0].why
    assert "`feedback explain used`" in text(told.subjects[0].stories[0])


def test_an_unknown_id_is_said_to_be_unknown(settings):
    told = explain(settings, "nothing-has-this", ["d"])
    assert not told.is_known
    assert "FEEDBACK_TENANT" in (told.subjects[0].would_change or "")


def test_events_on_their_way_say_where_they_are(tmp_path):
    one = Line(tmp_path, {})
    one.send([], [thumbs("f1", "r1")])
    accepted = [Accepted("feedback", 1, datetime(2026, 6, 1, tzinfo=UTC))]
    (subject,) = explain(one.settings, "f1", ["d"], accepted).subjects
    assert (subject.kind, "`feedback land`" in (subject.would_change or "")) == ("accepted", True)
    one.land()
    told = story(one.settings, "f1")
    assert (told.state, told.would_change) == ("not_compiled", "`feedback compile d`.")
    assert "never been compiled" in told.why
    one.compile()
    one.send([], [thumbs("f2", "r1")])
    one.land()
    assert "saw the feedback log up to 1" in story(one.settings, "f2").why


def test_a_refused_line_is_found_by_the_id_it_claimed(tmp_path):
    one = Line(tmp_path, {})
    one.send([], [{**thumbs("f1", "r1"), "feedback_value": {"up": "yes"}}])
    one.land()
    (subject,) = explain(one.settings, "f1", ["d"]).subjects
    assert subject.kind == "dead_letter"
    assert "line 1 of f-1.jsonl" in subject.facts[0]
    assert "wrong_type" in subject.facts[0]


def test_ranges_are_written_as_people_read_them():
    assert ranges([1, 2, 3, 5, 7, 8]) == "1 to 3, 5, 7 to 8"


def test_every_kind_of_feedback_has_words():
    told = {
        "label": {"label": "cat"},
        "ranking": {"order": [{"item_id": "a"}, {"item_id": "b"}]},
        "implicit": {"signal": "click", "value": True},
        "outcome": {"name": "sale", "value": 2.5},
        "preference_pair": {"chosen": {"request_id": "r1"}, "rejected": {"output": "x"}, "tie": True},
    }
    rows = {
        kind: {"feedback_type": kind, "value": json.dumps(value), "name": "overall"} for kind, value in told.items()
    }
    assert [said(rows[kind]) for kind in told] == [
        "the label 'cat'",
        "a ranking",
        "the signal 'click' = True",
        "the outcome 'sale' = 2.5",
        "a preference of request r1 over a given text (a tie)",
    ]
    assert {*SAID, "thumbs", "preference_pair"} == {*FEEDBACK_TYPES}
