"""Enrichment: which judgement stands, how unsure the model was, and what is known around each pair."""

import math
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.contracts.policies import resolve_policy
from feedback_platform.stages.enrichment import uncertainty
from feedback_platform_tests.builders import (
    adjudication,
    at,
    correction,
    feedback,
    inference,
    line,
    rating,
    thumbs,
)

DAY = 1440.0
POLICY = resolve_policy({"name": "d"})


@pytest.fixture(scope="module")
def enriched(tmp_path_factory):
    one = line(tmp_path_factory.mktemp("enrichment") / "home")
    one.send(
        [
            inference("r1", minute=0, probabilities={"a": 0.6, "b": 0.3, "c": 0.1}, confidence=0.1, logprob=-9.0),
            inference("r2", minute=1, confidence=0.8, logprob=-0.5),
            inference("r3", minute=2, logprob=math.log(0.25)),
            inference("r4", minute=3),
            inference("sunday", minute=-DAY),
            inference("midnight", minute=15 * 60),
            inference("t2", minute=20, session_id="s", text="b"),
            inference("t1", minute=10, session_id="s", text="a"),
            inference("t3", minute=20, session_id="s", text="c"),
        ],
        [
            thumbs("toggled", "r1", up=True, minute=60, rater="ann"),
            thumbs("toggle", "r1", up=False, minute=70, rater="ann"),
            thumbs("tie_a", "r2", minute=60, rater="ann"), thumbs("tie_b", "r2", minute=60, rater="ann"),
            thumbs("other_name", "r1", minute=80, rater="ann", name="safe"),
            rating("other_type", "r1", minute=80, rater="ann"),
            thumbs("other_rater", "r1", minute=80, rater="bob"),
            thumbs("other_target", "r3", minute=80, rater="ann"),
            thumbs("nobody1", "r4", minute=60), thumbs("nobody2", "r4", minute=61),
            correction("c1", "r4", output="x", minute=62, rater="ann"),
            correction("c2", "r4", output="y", minute=63, rater="ann"),
            feedback("click1", "implicit", {"signal": "click", "value": True}, request_id="r4", rater="ann", minute=64),
            feedback("click2", "implicit", {"signal": "click", "value": True}, request_id="r4", rater="ann", minute=65),
            thumbs("was", "sunday", minute=70, rater="cleo"),
            thumbs("bad", "sunday", minute=80, rater="cleo", up=False),
            adjudication("out", {"verdict": "invalid", "feedback_id": "bad"}, rater="lead"),
            thumbs("day0", "midnight", minute=2 * DAY, rater="dan"), thumbs("day1", "r1", minute=3 * DAY, rater="dan"),
            thumbs("day1a", "r2", minute=3 * DAY + 0.001, rater="dan"),
            thumbs("day1b", "r3", minute=3 * DAY + 0.001, rater="dan"),
            thumbs("turn3", "t3", rater="eve"), thumbs("turn2", "t2", rater="eve"), thumbs("turn1", "t1", rater="eve"),
        ],
    )  # fmt: skip
    one.compile()
    return one


def test_a_later_judgement_of_the_same_rater_on_the_same_thing_replaces_the_earlier(enriched):
    current = enriched.by("enriched_records", "feedback_id", "is_current", "superseded_by")
    assert current["toggled"] == (False, "toggle")
    assert current["toggle"] == (True, None)
    assert current["tie_a"] == (False, "tie_b")  # at one instant the larger id is the later
    assert current["c1"] == (False, "c2")
    assert enriched.states()["toggled"] == ("superseded", "later_judgement_of_the_same_rater")


@pytest.mark.parametrize("feedback_id", ["other_name", "other_type", "other_rater", "other_target"])
def test_other_criteria_kinds_raters_and_targets_stand_beside_it(enriched, feedback_id):
    assert enriched.by("enriched_records", "feedback_id", "is_current")[feedback_id]


def test_without_a_rater_nothing_replaces_and_signals_accumulate(enriched):
    current = enriched.by("enriched_records", "feedback_id", "is_current")
    assert [current[f] for f in ("nobody1", "nobody2", "click1", "click2")] == [True] * 4


def test_an_invalid_judgement_replaces_nothing(enriched):
    current = enriched.by("enriched_records", "feedback_id", "is_current")
    assert current["was"]
    assert "bad" not in current


def test_uncertainty_comes_from_the_best_source_logged(enriched):
    known = enriched.by("enriched_records", "request_id", "uncertainty_ppm", "uncertainty_source", "entropy_ppm")
    entropy = -sum(p * math.log(p) for p in (0.6, 0.3, 0.1)) / math.log(3)
    assert known["r1"] == (700_000, "margin", round(1e6 * entropy))
    assert known["r2"] == (200_000, "confidence", None)
    assert known["r3"] == (750_000, "logprob", None)
    assert known["r4"] == (None, None, None)


def test_a_turns_place_in_its_session_follows_event_time_and_turns_at_one_instant_share_it(enriched):
    turns = enriched.by("enriched_records", "feedback_id", "session_turn")
    assert (turns["turn1"], turns["turn2"], turns["turn3"], turns["toggle"]) == (1, 2, 2, None)


def test_hour_and_weekday_are_those_of_the_inference_in_utc(enriched):
    when = enriched.by("enriched_records", "request_id", "hour_of_day", "weekday")
    assert at(0).startswith("2026-03-02T09")  # a Monday
    assert (when["r1"], when["sunday"], when["midnight"]) == ((9, 1), (9, 7), (0, 2))


def test_a_raters_day_counts_the_24_hours_strictly_before(enriched):
    counts = enriched.by("enriched_records", "feedback_id", "rater_events_24h")
    assert counts["day0"] == 0
    assert counts["day1"] == 1  # exactly 24 hours before still counts
    assert counts["day1a"] == counts["day1b"] == 1  # the first has left, and the same instant is not before
    assert counts["nobody2"] == 0


def test_a_late_turn_moves_the_others(tmp_path):
    one = line(tmp_path / "home")
    one.send([inference("b", minute=5, session_id="s")], [thumbs("f", "b")])
    one.compile()
    assert one.by("enriched_records", "feedback_id", "session_turn") == {"f": 1}
    one.send([inference("a", minute=1, session_id="s")], [])
    one.compile()
    assert one.by("enriched_records", "feedback_id", "session_turn") == {"f": 2}


def unsure(**columns: Any) -> dict[str, Any]:
    given = {"probabilities": None, "confidence": None, "logprob": None, **columns}
    schema = {"probabilities": pl.String, "confidence": pl.Float64, "logprob": pl.Float64}
    return uncertainty(pl.DataFrame([given], schema=schema), POLICY).row(0, named=True)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"probabilities": '{"a":0.5,"b":0.5}'}, (1_000_000, "margin", 1_000_000)),
        ({"probabilities": '{"a":1,"b":0}'}, (0, "margin", 0)),
        ({"probabilities": '{"a":1}'}, (0, "margin", 0)),
        ({"probabilities": '{"a":3,"b":1}'}, (500_000, "margin", 811_278)),  # scores that do not sum to 1
        ({"probabilities": '{"a":0,"b":0}', "confidence": 0.25}, (750_000, "confidence", None)),
        ({"confidence": 1.0}, (0, "confidence", None)),
        ({"logprob": 0.5}, (0, "logprob", None)),
        ({"logprob": -1e9}, (1_000_000, "logprob", None)),
        ({}, (None, None, None)),
    ],
)
def test_uncertainty_by_hand(columns, expected):
    row = unsure(**columns)
    assert (row["uncertainty_ppm"], row["uncertainty_source"], row["entropy_ppm"]) == expected


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6).filter(lambda ps: sum(ps) > 1e-9))
def test_uncertainty_and_entropy_stay_within_bounds_in_any_order(ps):
    text = "{" + ",".join(f'"c{n}":{p!r}' for n, p in enumerate(ps)) + "}"
    back = "{" + ",".join(f'"c{n}":{p!r}' for n, p in enumerate(reversed(ps))) + "}"
    row = unsure(probabilities=text)
    assert 0 <= row["uncertainty_ppm"] <= 1_000_000
    assert 0 <= row["entropy_ppm"] <= 1_000_000
    again = unsure(probabilities=back)
    assert (again["uncertainty_ppm"], again["entropy_ppm"]) == (row["uncertainty_ppm"], row["entropy_ppm"])
