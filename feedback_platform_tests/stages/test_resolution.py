"""Resolution: several signals on one inference become one label per objective and criterion, or the reason why not."""

from typing import Any

import pytest

from feedback_platform_tests.builders import (
    Event,
    Line,
    adjudication,
    correction,
    feedback,
    inference,
    line,
    rating,
    thumbs,
)

DAY = 1440.0
SIGNALS = {"toxic": {"better": "lower"}, "note": {"role": "evidence"}, "skip": {"role": "ignore"}}
OK = ("resolved", None)
Rows = dict[tuple[str, str, str], dict[str, Any]]


def none(reason: str) -> tuple[str, str]:
    return ("no_valid_feedback", reason)


def votes(request_id: str, pattern: str) -> list[Event]:
    """One thumb per character, + or -, each by a rater of their own."""
    return [thumbs(f"{request_id}_{n}", request_id, up=sign == "+", rater=f"u{n}") for n, sign in enumerate(pattern)]


def choose(feedback_id: str, chosen: Any, rejected: Any, *, request_id: str | None = None, **fields: Any) -> Event:
    """A preference between requests (by id) or inline outputs (as mappings)."""
    sides = [side if isinstance(side, dict) else {"request_id": side} for side in (chosen, rejected)]
    value = {"chosen": sides[0], "rejected": sides[1], **({"tie": True} if fields.pop("tie", False) else {})}
    return feedback(feedback_id, "preference_pair", value, request_id=request_id or chosen, **fields)


def rule(feedback_id: str, request_id: str, verdict: str = "valid", minute: float = 70, **value: Any) -> Event:
    """A reviewer settles a target."""
    return adjudication(feedback_id, {"verdict": verdict, **value}, request_id=request_id, minute=minute)


def side(request_id: str, text: str, **fields: Any) -> Event:
    """One of several answers to the same prompt."""
    return inference(request_id, text=text, output=f"{request_id} says so", **fields)


SINGLE = """
    two_of_three one_of_two three_of_five good bad neutral mixed rating_over_thumb detoxed apart noted skipped down
    corrected accepted supported latest polished ruled_output ruled_same ruled_valid ruled_invalid ruled_twice
    ruled_over long
""".split()
INFERENCES = [
    *(inference(r, text=f"about {r}") for r in SINGLE),
    inference("private", text="private", training_allowed=False),
    *(side(r, "one prompt") for r in ("a", "b")), *(side(r, "second prompt") for r in ("c", "d")),
    *(side(r, "third prompt") for r in ("e", "f")), *(side(r, "fourth prompt") for r in ("g", "h")),
    side("other", "another prompt"), side("twin1", "twins"), inference("twin2", text="twins", output="twin1 says so"),
    side("open", "half private"), side("shut", "half private", training_allowed=False), side("inline", "inline"),
]  # fmt: skip
FEEDBACK = [
    *votes("two_of_three", "++-"), *votes("one_of_two", "+-"), *votes("three_of_five", "+++--"),
    *votes("down", "-"), *votes("private", "+"),
    rating("good1", "good", score=70), rating("bad1", "bad", score=50), rating("neutral1", "neutral", score=60),
    rating("mixed1", "mixed", score=95, rater="u0"), rating("mixed2", "mixed", score=60, rater="u1"),
    rating("over1", "rating_over_thumb", score=90), *votes("rating_over_thumb", "--"),
    rating("toxic1", "detoxed", score=10, name="toxic"),
    thumbs("apart1", "apart", up=True), thumbs("apart2", "apart", up=False, name="safe"),
    thumbs("note1", "noted", name="note"), thumbs("skip1", "skipped", name="skip"),
    correction("corrected1", "corrected", output="a better answer"),
    correction("accepted1", "accepted", output="an answer to about accepted"),
    correction("supported1", "supported", output="x", rater="u0"),
    correction("supported2", "supported", output="x", rater="u1"),
    correction("supported3", "supported", output="y", rater="u2", minute=90),
    correction("latest1", "latest", output="x", rater="u0", minute=61),
    correction("latest2", "latest", output="y", rater="u1", minute=62),
    correction("polished1", "polished", output="polish", rater="u0"), rating("polished2", "polished", rater="u1"),
    *votes("ruled_output", "+"), rule("ruling1", "ruled_output", output="as ruled"),
    *votes("ruled_same", "-"), rule("ruling2", "ruled_same", output="an answer to about ruled_same"),
    *votes("ruled_valid", "--"), rule("ruling3", "ruled_valid"),
    *votes("ruled_invalid", "+"), rule("ruling4", "ruled_invalid", "invalid"),
    rule("ruling5", "ruled_twice", "invalid", minute=70), rule("ruling6", "ruled_twice", "valid", minute=71),
    rule("ruling7", "ruled_over", "valid", minute=70), thumbs("protest", "ruled_over", up=False, minute=500),
    correction("long1", "long", output="much longer " * 30),
    choose("ab", "a", "b", rater="u0"),
    choose("cd", "c", "d", tie=True),
    choose("ef1", "e", "f", rater="u0"), choose("ef2", "e", "f", rater="u1"),
    choose("ef3", "f", "e", request_id="e", rater="u2"),
    choose("gh1", "g", "h", rater="u0"), choose("gh2", "h", "g", request_id="g", rater="u1"),
    choose("prompts", "a", "other", request_id="other"), choose("twins", "twin1", "twin2"),
    choose("half", "open", "shut"), choose("typed", {"output": "typed in"}, "inline", request_id="inline"),
]  # fmt: skip


def rows_of(one: Line) -> Rows:
    rows = one.table("resolved_examples").to_dicts()
    rows.sort(key=lambda r: -(r["agreement_ppm"] or 0))
    return {(r["objective"], r["request_id"], r["criterion"]): r for r in rows}


def status(rows: Rows, objective: str, request_id: str, criterion: str = "overall") -> tuple[str, str | None]:
    row = rows[objective, request_id, criterion]
    return row["state"], row["reason"]


def label(rows: Rows, objective: str, request_id: str, criterion: str = "overall") -> tuple[str, str]:
    row = rows[objective, request_id, criterion]
    assert (row["state"], row["reason"]) == OK, row
    return row["label"], row["rule_id"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    one = line(tmp_path_factory.mktemp("resolution") / "home", signals=SIGNALS)
    assert one.send(INFERENCES, FEEDBACK).refused == 0
    one.compile()
    return one


@pytest.fixture(scope="module")
def rows(done):
    return rows_of(done)


def test_two_in_three_agree_at_0_67(rows):
    row = rows["unpaired", "two_of_three", "overall"]
    assert label(rows, "unpaired", "two_of_three") == ("true", "unpaired.thumbs")
    assert (row["n_raters"], row["agreement_ppm"], row["label_confidence_ppm"]) == (3, 666_666, 666_666)
    assert row["evidence"] == ["two_of_three_0", "two_of_three_1", "two_of_three_2"]
    assert label(rows, "sft", "two_of_three") == ("accepted", "sft.thumbs")
    assert rows["sft", "two_of_three", "overall"]["target"] == '"an answer to about two_of_three"'


@pytest.mark.parametrize("request_id", ["one_of_two", "three_of_five", "mixed"])
def test_fewer_disagree_and_are_left_out(rows, request_id):
    assert status(rows, "unpaired", request_id) == status(rows, "sft", request_id) == none("disagreement")


def test_ratings_are_good_bad_or_neither(rows):
    assert label(rows, "unpaired", "good") == ("true", "unpaired.rating")
    assert label(rows, "unpaired", "bad") == ("false", "unpaired.rating")
    assert status(rows, "unpaired", "neutral") == none("no_clear_verdict")


def test_only_the_highest_kind_of_signal_speaks(rows, done):
    row = rows["unpaired", "rating_over_thumb", "overall"]
    assert label(rows, "unpaired", "rating_over_thumb") == ("true", "unpaired.rating")
    assert row["evidence"] == ["over1"]
    assert done.states()["rating_over_thumb_0"] == ("evidence", "counted_not_a_label")


def test_a_criterion_where_lower_is_better_is_turned_around(rows):
    assert label(rows, "unpaired", "detoxed", "toxic") == ("true", "unpaired.rating")
    assert rows["unpaired", "detoxed", "toxic"]["unit_key"] == "detoxed#toxic"


def test_criteria_are_labelled_apart(rows):
    assert label(rows, "unpaired", "apart")[0] == "true"
    assert label(rows, "unpaired", "apart", "safe")[0] == "false"
    assert rows["unpaired", "apart", "overall"]["example_id"] != rows["unpaired", "apart", "safe"]["example_id"]


@pytest.mark.parametrize(("request_id", "feedback_id"), [("noted", "note1"), ("skipped", "skip1")])
def test_a_criterion_that_is_no_label_is_evidence_only(rows, done, request_id, feedback_id):
    assert {status(rows, o, request_id) for o in ("sft", "preference", "unpaired")} == {none("evidence_only")}
    assert done.states()[feedback_id] == ("evidence", "counted_not_a_label")


def test_a_disliked_output_is_never_a_target(rows):
    assert status(rows, "sft", "down") == none("no_target")
    assert label(rows, "unpaired", "down") == ("false", "unpaired.thumbs")


def test_a_correction_is_a_target_a_pair_and_a_vote_against(rows):
    row = rows["preference", "corrected", "overall"]
    assert label(rows, "sft", "corrected") == ("corrected", "sft.explicit_correction")
    assert rows["sft", "corrected", "overall"]["target"] == '"a better answer"'
    assert (row["chosen"], row["rejected"]) == ('"a better answer"', '"an answer to about corrected"')
    assert (row["pair_source"], row["rejected_request_id"]) == ("explicit_correction", "corrected")
    assert 0 < row["edit_ratio_ppm"] < 1_000_000
    assert label(rows, "unpaired", "corrected") == ("false", "unpaired.explicit_correction")


def test_an_acceptance_is_a_target_and_never_a_pair(rows):
    assert label(rows, "sft", "accepted") == ("accepted", "sft.explicit_correction")
    assert label(rows, "unpaired", "accepted")[0] == "true"
    assert status(rows, "preference", "accepted") == none("evidence_only")


def test_the_best_supported_correction_wins_then_the_latest(rows, done):
    assert rows["sft", "supported", "overall"]["target"] == '"x"'
    assert rows["sft", "supported", "overall"]["agreement_ppm"] == 666_666
    assert rows["sft", "latest", "overall"]["target"] == '"y"'
    pairs = done.table("resolved_examples").filter(objective="preference", request_id="supported", state="resolved")
    assert sorted(pairs["chosen"]) == ['"x"', '"y"']


def test_a_ruling_settles_the_target(rows):
    for objective in ("sft", "preference", "unpaired"):
        assert rows[objective, "ruled_output", "overall"]["label_source"] == "adjudication"
    assert rows["sft", "ruled_output", "overall"]["target"] == '"as ruled"'
    assert rows["preference", "ruled_output", "overall"]["chosen"] == '"as ruled"'
    assert label(rows, "unpaired", "ruled_output") == ("false", "unpaired.adjudication")
    assert label(rows, "unpaired", "ruled_same") == ("true", "unpaired.adjudication")
    assert label(rows, "sft", "ruled_same") == ("accepted", "sft.adjudication")
    assert label(rows, "unpaired", "ruled_valid") == ("true", "unpaired.adjudication")
    assert label(rows, "sft", "ruled_valid") == ("accepted", "sft.adjudication")


def test_a_ruling_can_take_a_target_out(rows):
    assert status(rows, "sft", "ruled_invalid") == none("adjudicated_invalid")
    assert status(rows, "unpaired", "ruled_invalid") == none("adjudicated_invalid")


def test_the_latest_ruling_wins_and_later_feedback_never_overrides_it(rows):
    assert label(rows, "unpaired", "ruled_twice") == ("true", "unpaired.adjudication")
    assert label(rows, "unpaired", "ruled_over") == ("true", "unpaired.adjudication")


def test_an_explicit_pair_has_both_answers_to_the_one_prompt(rows):
    row = rows["preference", "a", "overall"]
    assert label(rows, "preference", "a") == ("chosen", "preference.explicit")
    assert (row["chosen"], row["rejected"]) == ('"a says so"', '"b says so"')
    assert (row["chosen_request_id"], row["rejected_request_id"], row["pair_source"]) == ("a", "b", "explicit")
    assert row["input"] == '"one prompt"'


def test_ties_and_disagreements_over_a_pair_are_left_out(rows):
    assert status(rows, "preference", "c") == none("tie")
    assert status(rows, "preference", "g") == none("disagreement")


def test_several_raters_of_a_pair_vote(rows):
    row = rows["preference", "e", "overall"]
    assert (row["state"], row["chosen_request_id"], row["rejected_request_id"]) == ("resolved", "e", "f")
    assert (row["n_raters"], row["agreement_ppm"], row["evidence"]) == (3, 666_666, ["ef1", "ef2", "ef3"])


def test_a_pair_may_carry_its_text(rows):
    row = rows["preference", "inline", "overall"]
    assert (row["chosen"], row["rejected"]) == ('"typed in"', '"inline says so"')
    assert (row["chosen_request_id"], row["rejected_request_id"]) == (None, "inline")


def test_both_sides_must_answer_the_same_prompt_differently(rows):
    assert status(rows, "preference", "other") == none("different_prompts")
    assert status(rows, "preference", "twin1") == none("same_output")


def test_what_may_not_train_is_no_example(rows, done):
    for objective in ("sft", "unpaired"):
        assert status(rows, objective, "private") == ("not_permitted", "training_not_allowed")
    assert status(rows, "preference", "open") == ("not_permitted", "training_not_allowed")
    assert rows["unpaired", "private", "overall"]["input"] is None
    assert done.states()["private_0"] == ("evidence", "training_not_allowed")
    assert done.ledger().inference.states["not_permitted"] == 2


def test_only_examples_have_content(done):
    frame = done.table("resolved_examples")
    resolved = frame.filter(state="resolved")
    assert resolved["content_hash"].null_count() == resolved["input"].null_count() == 0
    rest = frame.filter(frame["state"] != "resolved")
    assert rest["content_hash"].null_count() == rest["input"].null_count() == rest.height
    assert rest["reason"].null_count() == 0


def test_events_are_all_accounted_for(done):
    assert done.ledger().unaccounted == 0


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """Another policy over the same history, seen after an hour, a week and three weeks."""
    one = line(
        tmp_path_factory.mktemp("strict") / "home",
        resolve={
            "precedence": ["adjudication", "rating", "explicit_correction", "thumbs"],
            "agreement": 0.6, "disagreement": "review", "rating_good": 0.96, "rating_bad": 0.55,
        },
        pairs={"from": ["explicit_correction"], "per_prompt": 1, "max_length_ratio": 12.0},
        maturity={"after": "7d"},
        attribution={"session": "last_turn"},
    )  # fmt: skip
    one.send(INFERENCES, FEEDBACK)
    one.compile()
    seen = [rows_of(one)]
    for day in (8, 21):
        one.send([inference(f"day{day}", minute=day * DAY)], [])
        one.compile()
        seen.append(rows_of(one))
    return seen


def test_examples_wait_until_they_are_mature(strict):
    early, mature, _ = strict
    assert status(early, "unpaired", "two_of_three") == ("immature", "not_mature")
    assert status(early, "sft", "down") == none("no_target")  # nothing that time could change
    assert label(mature, "unpaired", "two_of_three")[0] == "true"


def test_disagreement_is_reviewed_until_it_expires(strict):
    _, mature, late = strict
    assert status(mature, "unpaired", "one_of_two") == ("in_review", "disagreement")
    assert status(late, "unpaired", "one_of_two") == none("disagreement")


def test_a_lower_agreement_and_other_thresholds_decide_otherwise(strict):
    _, mature, _ = strict
    assert label(mature, "unpaired", "three_of_five")[0] == "true"
    assert status(mature, "unpaired", "good") == none("no_clear_verdict")
    assert label(mature, "unpaired", "bad")[0] == "false"


def test_another_precedence_lets_ratings_judge_and_corrections_teach(strict, rows):
    _, mature, _ = strict
    assert label(rows, "unpaired", "polished") == ("false", "unpaired.explicit_correction")
    assert mature["unpaired", "polished", "overall"]["rule_id"] == "unpaired.rating"
    assert mature["sft", "polished", "overall"]["target"] == '"polish"'


def test_pairs_come_only_from_the_sources_named(strict):
    _, mature, _ = strict
    assert {row["pair_source"] for row in mature.values()} == {None, "explicit_correction"}
    assert status(mature, "preference", "a") == none("evidence_only")


def test_pairs_are_bounded_in_number_and_length_ratio(strict, rows):
    _, mature, _ = strict
    assert label(rows, "preference", "long")[0] == "chosen"
    assert status(mature, "preference", "long") == none("length_ratio")
    assert mature["preference", "supported", "overall"]["chosen"] == '"x"'


CLASSES = {"data": {"classes": ["no", "yes"]}, "objectives": ["classification"]}


def classify(one: Line) -> dict[str, tuple[object, ...]]:
    return one.by("resolved_examples", "request_id", "state", "reason", "label", "rule_id", "agreement_ppm")


def labels(request_id: str, said: str) -> list[Event]:
    """One label per word, each by a rater of their own."""
    return [
        feedback(f"{request_id}_l{n}", "label", {"label": c}, request_id=request_id, rater=f"u{n}")
        for n, c in enumerate(said.split())
    ]


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    names = "labels split up down accepted corrected wrong ruled ruled_output ruled_valid ruled_out said_thing".split()
    given = [inference(r, text=r, output="yes") for r in names]
    given += [inference(r, text=r, output="perhaps") for r in ("liked_alien", "disliked_alien")]
    said = [
        thumbs("t4", "liked_alien"), thumbs("t5", "disliked_alien", up=False),
        *labels("labels", "no no yes"), *labels("split", "no yes"),
        thumbs("t1", "up"), thumbs("t2", "down", up=False),
        thumbs("t3", "labels", rater="u9"), correction("c1", "accepted", output="yes"),
        correction("c2", "corrected", output="no"), correction("c3", "wrong", output="maybe"),
        rule("a1", "ruled", label="no"), *votes("ruled", "+++"), rule("a2", "ruled_output", output="no"),
        rule("a3", "ruled_valid"), rule("a4", "ruled_out", "invalid"), *votes("ruled_out", "+"),
        feedback("v1", "comment", {"text": "hm"}, request_id="said_thing"),
    ]  # fmt: skip
    one = line(tmp_path_factory.mktemp("classes") / "home", **CLASSES)
    one.send(given, said)
    one.compile()
    return classify(one)


def test_labels_outrank_thumbs_and_vote(classified):
    assert classified["labels"] == (*OK, "no", "classification.label", 666_666)
    assert classified["split"][:2] == none("disagreement")


def test_a_thumb_names_the_class_given_or_the_other_of_two(classified):
    assert classified["up"] == (*OK, "yes", "classification.thumbs", 1_000_000)
    assert classified["down"] == (*OK, "no", "classification.thumbs", 1_000_000)


def test_a_thumb_names_only_declared_classes(classified):
    for request_id in ("liked_alien", "disliked_alien"):
        assert classified[request_id][:3] == (*none("evidence_only"), None)


def test_a_correction_names_its_class(classified):
    assert classified["accepted"] == (*OK, "yes", "classification.explicit_correction", 1_000_000)
    assert classified["corrected"] == (*OK, "no", "classification.explicit_correction", 1_000_000)
    assert classified["wrong"][:2] == none("evidence_only")  # no class of the dataset


def test_a_ruling_names_the_class(classified):
    assert classified["ruled"] == (*OK, "no", "classification.adjudication", 1_000_000)
    assert classified["ruled_output"] == (*OK, "no", "classification.adjudication", 1_000_000)
    assert classified["ruled_valid"] == (*OK, "yes", "classification.adjudication", 1_000_000)


def test_a_ruling_can_take_a_classified_inference_out(classified):
    assert classified["ruled_out"][:2] == none("adjudicated_invalid")


def test_a_comment_is_no_class(classified):
    assert classified["said_thing"][:2] == none("evidence_only")


def test_a_ruling_with_a_label_only_leaves_the_correction_standing(tmp_path):
    one = line(tmp_path / "home", objectives=["sft"])
    one.send([inference("r1")], [correction("c", "r1", rater="ann"), rule("j", "r1", label="x")])
    assert one.done().rows == {"sft": 1}
    assert one.states()["c"] == ("used", None)
    assert one.by("resolved_examples", "request_id", "state", "reason", "target") == {"r1": (*OK, '"better"')}
