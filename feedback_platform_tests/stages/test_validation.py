"""Validation: doubts and faults with all their reasons, what the policy does about them, and rulings over both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson

from feedback_platform.stages.validation import burst_count
from feedback_platform_tests.builders import (
    adjudication,
    correction,
    feedback,
    inference,
    line,
    retraction,
    thumbs,
)

DAY = 1440.0
RATE, TAIL = 1, 0.01
BURST = 5
REQUESTS = [inference(f"r{n}", text=f"text {n}", session_id="s") for n in range(BURST)]


@given(rate=st.integers(1, 500), exponent=st.integers(1, 12))
def test_the_burst_count_is_the_smallest_with_a_tail_below_p(rate, exponent):
    p = 10.0**-exponent
    n = burst_count(rate, p)
    assert poisson.sf(n - 1, rate) <= p < poisson.sf(n - 2, rate)  # sf(n - 1) is P(X >= n)


def test_a_burst_of_the_tests_is_five_judgements():
    assert burst_count(RATE, TAIL) == BURST
    assert burst_count(60, 1e-6) == 101


def five(rater: str, *, minutes=(60, 61, 62, 63, 119), source=None, **fields):
    who = {"source": source} if source else {"rater": rater}
    return [thumbs(f"{rater}{n}", f"r{n}", minute=m, **who, **fields) for n, m in enumerate(minutes)]


def events():
    clicks = [
        feedback(f"click{n}", "implicit", {"signal": "click", "value": True}, request_id=f"r{n}", rater="clicker")
        for n in range(BURST)
    ]
    return [
        *five("fast"),
        *five("hours", minutes=(118, 118.5, 119, 119.5, 120)),
        *five("pro", source={"kind": "human", "id": "pro", "client": "expert"}),
        *five("judge_model", source={"kind": "model", "id": "judge_model"}),
        *five("wavers"), retraction("taken_back", "wavers4", rater="wavers", minute=90),
        *clicks,
        feedback("whole_session", "thumbs", {"up": True}, target={"session_id": "s"}, rater="guest"),
        feedback("unknown", "label", {"label": "c"}, request_id="r0", rater="ann"),
        feedback("known", "label", {"label": "a"}, request_id="r0", rater="bob"),
        correction("empty", "r1", output="", rater="ann"),
        thumbs("good", "r0", rater="cleo"),
        adjudication("rules_good_out", {"verdict": "invalid", "feedback_id": "good"}, rater="lead", minute=70),
        adjudication("rules_fast1_out", {"verdict": "invalid", "feedback_id": "fast1"}, rater="lead", minute=80),
        adjudication("rules_fast1_in", {"verdict": "valid", "feedback_id": "fast1"}, rater="lead", minute=90),
        adjudication("rules_unknown_in", {"verdict": "valid", "feedback_id": "unknown"}, rater="lead"),
    ]  # fmt: skip


@pytest.fixture(scope="module", params=["flag", "review", "reject"])
def judged(request, tmp_path_factory):
    """The same history under each action; a second window passes the reviews' expiry and has future timestamps."""
    one = line(
        tmp_path_factory.mktemp(request.param) / "home",
        validation={"action": request.param, "burst_rate": RATE, "burst_p": TAIL},
        attribution={"session": "uniform"},
        data={"classes": ["a", "b"]},
    )
    one.send(REQUESTS, events())
    one.compile()
    columns = ("verdict", "reasons", "decided_by", "trust_ppm")
    first = one.by("validated_pairs", "feedback_id", *columns)
    until = one.by("validated_pairs", "feedback_id", "review_until")["fast0"]
    ahead = [thumbs("future", "f", minute=92 * DAY), thumbs("now", "f", minute=90 * DAY)]
    one.send([inference("f", minute=90 * DAY)], ahead)
    one.compile()
    return request.param, first, one.by("validated_pairs", "feedback_id", *columns), one.states(), until


def test_a_burst_is_doubtful_as_a_whole(judged):
    action, first, last, states, until = judged
    expected = {
        "flag": ("valid", "rater_burst", "rule", 500_000),
        "review": ("requires_human_review", "rater_burst", "rule", 500_000),
        "reject": ("invalid", "rater_burst", "rule", 500_000),
    }[action]
    assert [first[f"fast{n}"] for n in (0, 2, 3, 4)] == [expected] * 4
    assert (until is not None) == (action == "review")
    if action == "review":
        assert last["fast0"] == ("invalid", "rater_burst,review_expired", "rule", 500_000)
        assert states["fast0"] == ("invalid", "rater_burst,review_expired")
    else:
        assert last["fast0"] == expected


def test_what_is_no_burst_is_clean(judged):
    _, first, _, _, _ = judged
    clean = ("valid", "", "rule", 1_000_000)
    for rater in ("hours", "pro", "judge_model", "click"):
        assert [first[f"{rater}{n}"] for n in range(BURST)] == [clean] * BURST, rater
    assert [first[f"wavers{n}"] for n in range(BURST - 1)] == [clean] * (BURST - 1)
    assert "wavers4" not in first
    assert first["whole_session"] == clean


def test_faults_are_invalid_under_every_action(judged):
    _, first, _, states, _ = judged
    assert first["empty"] == ("invalid", "empty_correction", "rule", 1_000_000)
    assert states["empty"] == ("invalid", "empty_correction")
    assert first["known"] == ("valid", "", "rule", 1_000_000)


def test_a_ruling_overrides_every_rule_and_the_latest_ruling_wins(judged):
    _, first, last, _, _ = judged
    assert first["good"] == ("invalid", "adjudicated_invalid", "adjudication", 1_000_000)
    assert first["fast1"] == last["fast1"] == ("valid", "adjudicated_valid,rater_burst", "adjudication", 1_000_000)
    assert first["unknown"] == ("valid", "adjudicated_valid,unknown_class", "adjudication", 1_000_000)


def test_a_future_timestamp_is_a_doubt(judged):
    action, _, last, states, _ = judged
    verdict = {"flag": "valid", "review": "requires_human_review", "reject": "invalid"}[action]
    assert last["future"] == (verdict, "future_timestamp", "rule", 500_000)
    assert last["now"] == ("valid", "", "rule", 1_000_000)
    assert states["future"] == {
        "flag": ("used", None), "review": ("in_review", "future_timestamp"), "reject": ("invalid", "future_timestamp"),
    }[action]  # fmt: skip


def test_an_unknown_class_is_invalid_and_doubts_add_up(tmp_path):
    one = line(
        tmp_path / "home",
        data={"classes": ["a", "b"]},
        validation={"burst_rate": RATE, "burst_p": TAIL},
        objectives=["classification"],
    )
    labels = [feedback(f"l{n}", "label", {"label": "c"}, request_id=f"r{n}", rater="ann") for n in range(BURST)]
    one.send(REQUESTS, [*labels, adjudication("x", {"verdict": "valid", "label": "z"}, request_id="r0")])
    one.compile()
    verdicts = one.by("validated_pairs", "feedback_id", "verdict", "reasons")
    assert verdicts["l0"] == ("invalid", "unknown_class,rater_burst")
    assert verdicts["x"] == ("invalid", "unknown_class")
    assert set(one.table("resolved_examples")["reason"]) == {"all_invalid"}
    assert one.ledger().inference.reasons == {"no_valid_feedback": {"all_invalid": BURST}}


def test_doubtful_feedback_counts_half_in_the_labels_confidence(tmp_path):
    one = line(tmp_path / "home", validation={"burst_rate": RATE, "burst_p": TAIL}, objectives=["unpaired"])
    one.send(REQUESTS, [*five("fast"), thumbs("calm", "r0", rater="ann")])
    one.compile()
    confidence = one.by("resolved_examples", "request_id", "label_confidence_ppm", "n_raters")
    assert confidence["r0"] == (750_000, 2)
    assert confidence["r1"] == (500_000, 1)


def test_a_burst_spares_the_same_raters_exempt_client_machine_source_and_adjudications(tmp_path):
    one = line(
        tmp_path / "home",
        validation={"action": "reject", "burst_rate": RATE, "burst_p": TAIL},
        objectives=["unpaired"],
    )
    more = [inference(r, text=r) for r in ("expert", "machine", "settled", "ruled_out", "restored")]
    one.send(
        REQUESTS + more,
        [
            *five("ann"),
            thumbs("expert", "expert", source={"kind": "human", "id": "ann", "client": "expert"}),
            thumbs("machine", "machine", source={"kind": "code", "id": "ann"}),
            adjudication("settles", {"verdict": "valid"}, request_id="settled", rater="ann"),
            thumbs("ruled_out", "ruled_out", rater="bob"),
            adjudication("rules_out", {"verdict": "invalid", "feedback_id": "ruled_out"}, rater="ann"),
            thumbs("restored", "restored", rater="bob"),
            adjudication("wrong", {"verdict": "invalid", "feedback_id": "restored"}, rater="ann"),
            adjudication("overrules", {"verdict": "invalid", "feedback_id": "wrong"}, minute=90, rater="lead"),
        ],
    )
    one.done()
    used = ("used", None)
    assert one.states() == {
        **{f"ann{n}": ("invalid", "rater_burst") for n in range(BURST)},
        "expert": used, "machine": used, "settles": used,
        "ruled_out": ("invalid", "adjudicated_invalid"), "rules_out": ("applied", None),
        "restored": used, "wrong": ("invalid", "adjudicated_invalid"), "overrules": ("applied", None),
    }  # fmt: skip
    assert one.ledger().unaccounted == 0


def test_any_value_is_a_correction_but_none_and_the_empty_one(tmp_path):
    one = line(tmp_path / "home", objectives=["classification", "sft"])
    values: dict[str, object] = {"number": 4, "zero": 0, "no": False, "null": None, "empty": "", "nothing_in": []}
    one.send(
        [inference(name, text=name, output=3) for name in values],
        [correction(name, name, output=value, rater="ann") for name, value in values.items()],
    )
    one.done()
    valid, invalid = ("used", None), ("invalid", "empty_correction")
    assert one.states() == {n: valid if n in ("number", "zero", "no") else invalid for n in values}
