"""Label Studio: what it exported itself arrives as labels, ratings, corrections and comparisons on the right answer.

`data/importers/label_studio` was exported by Label Studio 1.23.2 from one project of four tasks: `export.json` as its
"JSON" button gives it (predictions by id only), `snapshot.json` with complete predictions, `export_min.json` as JSON_MIN.
"""

import json

import pytest

from feedback_platform.errors import ConfigError, ImportFormatError
from feedback_platform.intake.importers import label_studio
from feedback_platform.intake.importers.foreign import Options
from feedback_platform_tests.intake.importers.reading import DATA, read

EXPORTS = DATA / "label_studio"
AT = "2026-11-21T16:49:33.934967Z"


def result(name, kind, value, to_name="answer_a"):
    return {"from_name": name, "to_name": to_name, "type": kind, "value": value}


def task(*results, predictions=(), data=None, **annotation):
    annotations = [{"id": 7, "completed_by": 3, "result": list(results), "updated_at": AT, **annotation}]
    told = {"request_id": "r1", "answer_a": "A", "answer_b": "B"} if data is None else data
    return {"id": 5, "project": 2, "data": told, "annotations": annotations, "predictions": list(predictions)}


def load(tmp_path, *tasks, hints=None, **options):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks), encoding="utf-8")
    if hints is not None:
        options["mapping"] = tmp_path / "hints.yaml"
        options["mapping"].write_text(hints, encoding="utf-8")
    return read(label_studio, path, options=Options(**options))


def said(tmp_path, *results, **kwargs):
    found = load(tmp_path, task(*results), **kwargs)
    assert not found.misunderstood, found.misunderstood
    return [(e["feedback_type"], e["name"], e["feedback_value"]) for e in found.feedback]


def test_every_part_of_a_real_snapshot_is_counted():
    found = read(label_studio, EXPORTS / "snapshot.json")
    assert found.counts == (2, 10, 3, 1)
    assert found.skipped == {"prediction_of_named_request": 1, "cancelled": 1, "unlabelled_task": 1}
    assert found.kinds == {
        "label": 5, "rating": 1, "explicit_correction": 1, "comment": 1, "preference_pair": 1, "outcome": 1
    }  # fmt: skip
    (letter,) = found.misunderstood
    assert "Put `request_id` into the task's data" in letter.message
    assert json.loads(letter.body)["task"] == 3


def test_a_real_task_that_names_our_request_is_judged_directly():
    found = read(label_studio, EXPORTS / "snapshot.json")
    ours = [e for e in found.feedback if e["target"]["request_id"] == "req-1"]
    assert {(e["name"], e["feedback_type"]): list(e["feedback_value"].values()) for e in ours} == {
        ("topic", "label"): ["delivery"],
        ("helpful", "rating"): [4, 1, 5],
        ("correction", "explicit_correction"): ["It arrives on Monday."],
        ("remark", "comment"): ["Asked twice.\nSecond remark."],
        ("better", "preference_pair"): [{"output": "Let me look."}, {"output": "It is late."}],
        ("faults=rude", "label"): ["rude"],
        ("faults=wrong", "label"): ["wrong"],
        ("score", "outcome"): ["score", 42],
    }
    assert {e["timestamp"] for e in ours} == {AT}
    assert ours[0]["source"] == {"kind": "human", "id": "1", "client": "label-studio"}


def test_real_predictions_are_inferences_and_the_annotation_judges_each():
    found = read(label_studio, EXPORTS / "snapshot.json")
    told = {e["request_id"]: (e["model_version"], e["output"], e["confidence"]) for e in found.inferences}
    assert told == {"ls:1:2:p:2": ("topics-2", "delivery", 0.61), "ls:1:2:p:3": ("topics-3", "billing", 0.95)}
    assert found.inferences[0]["input"]["question"] == "Why was I charged twice?"
    judged = [e for e in found.feedback if e["target"]["request_id"].startswith("ls:")]
    assert {e["target"]["request_id"]: e["feedback_value"]["label"] for e in judged} == dict.fromkeys(told, "billing")
    assert all(e["metadata"]["ground_truth"] for e in judged)


def test_the_plain_export_knows_only_the_prediction_that_was_shown():
    found = read(label_studio, EXPORTS / "export.json")
    assert found.counts == (1, 9, 4, 1)
    assert found.skipped["prediction_id_only"] == 1
    assert [e["model_version"] for e in found.inferences] == ["topics-3"]


def test_both_exports_give_the_same_events():
    one, other = (read(label_studio, EXPORTS / f"{name}.json") for name in ("export", "snapshot"))
    ids = {e["feedback_id"]: e for e in other.feedback}
    assert all(ids[e["feedback_id"]] == e for e in one.feedback)


def test_json_min_is_refused_with_what_it_lacks():
    with pytest.raises(ImportFormatError, match=r"export_min\.json is not Label Studio's JSON export .*JSON_MIN"):
        read(label_studio, EXPORTS / "export_min.json")


def test_nested_choices_are_told_as_paths(tmp_path):
    taxonomy = result("area", "taxonomy", {"taxonomy": [["Peru", "Lima"]]})
    assert said(tmp_path, taxonomy) == [("label", "area", {"label": "Peru / Lima"})]


def test_ratings_beyond_five_stars_need_their_scale(tmp_path):
    nine = result("helpful", "rating", {"rating": 9})
    (letter,) = load(tmp_path, task(nine)).misunderstood
    assert "`ratings: {helpful: [1, 10]}`" in letter.message
    told = said(tmp_path, nine, hints="ratings: {helpful: [1, 10]}")
    assert told == [("rating", "helpful", {"score": 9, "min": 1.0, "max": 10.0})]
    number = result("score", "number", {"number": 42})
    assert said(tmp_path, number)[0][0] == "outcome"
    assert said(tmp_path, number, hints="ratings: {score: [0, 100]}")[0][2] == {"score": 42, "min": 0.0, "max": 100.0}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("remark", "comment"), ("summary", "comment"), ("better_answer", "explicit_correction"),
     ("Corrected output", "explicit_correction"), ("why_better", "comment")],
)  # fmt: skip
def test_a_text_box_corrects_only_when_something_says_so(tmp_path, name, kind):
    box = result(name, "textarea", {"text": ["one", "two"]})
    ((found, criterion, value),) = said(tmp_path, box)
    assert (found, criterion, list(value.values())) == (kind, name, ["one\ntwo"])
    other = "correction" if kind == "comment" else "comment"
    assert said(tmp_path, box, hints=f"textareas: {{{name}: {other}}}")[0][0] != kind


def test_a_text_box_that_a_model_filled_is_corrected_in_the_shape_of_the_output(tmp_path):
    written = result("summary", "textarea", {"text": ["Long."]})
    prediction = {"id": 1, "model_version": "s1", "result": [written], "created_at": AT}
    data = {"text": "..."}
    found = load(tmp_path, task(result("summary", "textarea", {"text": "Short."}), predictions=[prediction], data=data))
    assert found.inferences[0]["output"] == "Long."
    assert found.said("explicit_correction")["feedback_value"] == {"output": "Short."}


def test_a_prediction_of_several_controls_is_an_object_by_control(tmp_path):
    results = [result("topic", "choices", {"choices": ["a"]}), result("box", "rectanglelabels", {"x": 1}),
               result("box", "rectanglelabels", {"x": 2})]  # fmt: skip
    prediction = {"id": 1, "result": results, "created_at": AT, "score": 7}
    (event,) = load(tmp_path, task(predictions=[prediction], data={"image": "i"}), model="own").inferences
    assert event["output"] == {"topic": "a", "box": [{"x": 1}, {"x": 2}]}
    assert (event["model"], event["model_version"]) == ("own", "unversioned")
    assert "confidence" not in event
    assert event["metadata"]["score"] == 7


def test_compared_fields_are_found_by_name_or_by_hint(tmp_path):
    pair = result("better", "pairwise", {"selected": "right"}, to_name="txt")
    (letter,) = load(tmp_path, task(pair)).misunderstood
    assert "`pairwise: {better: [left_field, right_field]}`" in letter.message
    told = said(tmp_path, pair, hints="pairwise: {better: [answer_a, answer_b]}")
    assert told[0][2] == {"chosen": {"output": "B"}, "rejected": {"output": "A"}}


def test_what_has_no_place_on_the_wire_is_counted_by_type(tmp_path):
    results = [
        result("box", "rectanglelabels", {"x": 1}), result("topic", "choices", {"choices": []}),
        result("note", "textarea", {"text": [" "]}), result("better", "pairwise", {}), {"type": "relation"},
    ]  # fmt: skip
    found = load(tmp_path, task(*results) | {"drafts": [{"id": 1}]})
    assert found.counts == (0, 0, 6, 0)
    assert found.skipped == dict.fromkeys(
        ["type_rectanglelabels", "nothing_chosen", "empty_text", "nothing_selected", "relation", "draft"], 1
    )


def test_a_changed_annotation_has_an_id_of_its_own_and_the_same_rater(tmp_path):
    label = result("topic", "choices", {"choices": ["a"]})
    before, after = (load(tmp_path, task(label, updated_at=at)).feedback[0] for at in (AT, AT.replace("49", "50")))
    assert before["feedback_id"] != after["feedback_id"]
    assert before["source"] == after["source"]
    person = load(tmp_path, task(label, completed_by={"id": 3, "email": "a@example.com"})).feedback[0]
    assert person["source"]["id"] == "3"


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (task(result("helpful", "rating", {"rating": "many"})), "no number"),
        (task(result("topic", "choices", {"choices": ["a"]}), updated_at=None), "neither `updated_at`"),
        ({"id": 1, "data": "x", "annotations": []}, "no task"),
    ],
)
def test_a_damaged_task_says_why_and_the_rest_is_read(tmp_path, damaged, words):
    good = task(result("topic", "choices", {"choices": ["a"]})) | {"id": 6}
    found = load(tmp_path, damaged, good)
    assert found.counts == (0, 1, 0, 1)
    assert words in found.misunderstood[0].message
    assert found.misunderstood[0].line == 1


def test_a_task_in_a_file_of_its_own_is_read_from_a_folder(tmp_path):
    for number, body in enumerate(json.loads((EXPORTS / "snapshot.json").read_text(encoding="utf-8"))):
        (tmp_path / f"{number}.json").write_text(json.dumps(body, indent=2))
    assert read(label_studio, tmp_path).counts == (2, 10, 3, 1)


@pytest.mark.parametrize("hints", ["scales: {}", "ratings: {a: [1]}", "textareas: {a: other}", "- a", "a: ["])
def test_hints_that_cannot_be_read_are_refused(tmp_path, hints):
    with pytest.raises(ConfigError, match=r"hints\.yaml"):
        load(tmp_path, task(), hints=hints)
