"""Phoenix: what its own client and REST API exported arrives in full, once, and on the right call.

The fixtures were written by Phoenix 20.26.1 (see `make_peer_fixtures.py`): 24 traces of a chain and its model call;
number n asks for the days in n weeks, every fifth answer is wrong and corrected.
"""

import json
from collections import Counter
from typing import Any

import pytest

from feedback_platform.errors import ImportFormatError
from feedback_platform.intake.importers import phoenix
from feedback_platform_tests.intake.importers.gathered import DATA, gather, import_twice

PAGE, FRAME, ROWS = DATA / "phoenix_spans_page.json", DATA / "phoenix_spans.parquet", DATA / "phoenix_spans.jsonl"
ANNOTATIONS, TABLE = DATA / "phoenix_span_annotations.json", DATA / "phoenix_span_annotations.jsonl"
OF_TRACES = DATA / "phoenix_trace_annotations_page.json"
OF_SESSIONS = DATA / "phoenix_session_annotations_page.json"


@pytest.fixture(scope="module")
def found():
    return gather(phoenix, OF_SESSIONS, ANNOTATIONS, OF_TRACES, PAGE)


def said(found, criterion):
    return [event for event in found.feedback if event["name"] == criterion]


def output_of(found, event):
    return next(e["output"] for e in found.inferences if e["request_id"] == event["target"]["request_id"])


def test_every_record_is_counted_once(found):
    assert len(found.inferences) == 24
    assert found.said == Counter({
        ("thumbs", "thumbs"): 12, ("explicit_correction", "correction"): 5, ("rating", "quality"): 8,
        ("outcome", "length"): 8, ("rating", "tone"): 8, ("comment", "note"): 1, ("label", "solved"): 1,
        ("rating", "satisfied"): 1,
    })  # fmt: skip
    assert found.skipped == {"chain_span": 24}
    assert found.misunderstood == []


def test_a_call_arrives_as_over_opentelemetry(found):
    call = next(e for e in found.inferences if e["output"] == "3 weeks have 21 days.")
    assert call["input"] == {
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "How many days are in 3 weeks?"},
        ]
    }
    assert (call["model"], call["parameters"]) == ("small-chat-1", {"temperature": 0.2})
    assert (call["template"]["version"], call["template"]["variables"]) == ("v2", {"n": 3})
    assert (call["user_id"], call["session_id"]) == ("user-3", "session-1")
    assert call["system"]["usage"] == {"input_tokens": 12, "output_tokens": 6}
    assert call["metadata"]["attributes"] == {"team": "calendar"}
    assert call["request_id"] == f"{call['metadata']['trace_id']}-{call['metadata']['span_id']}"


def test_an_answer_that_calls_a_tool_stays_a_message(found):
    call = next(e for e in found.inferences if not isinstance(e["output"], str))
    assert call["output"]["tool_calls"][0]["function"] == {"name": "multiply", "arguments": '{"a": 7, "b": 10}'}


def test_a_page_and_a_data_frame_of_the_same_spans_give_the_same_events(found):
    in_order = sorted(found.inferences, key=lambda e: e["request_id"])
    assert sorted(gather(phoenix, FRAME).inferences, key=lambda e: e["request_id"]) == in_order
    rows = sorted(gather(phoenix, ROWS).inferences, key=lambda e: e["request_id"])  # pandas cuts times to milliseconds
    assert [e["input"] for e in rows] == [e["input"] for e in in_order]


def nested(attributes):
    """Dotted names as objects, numbered ones as lists."""
    tree: dict[str, Any] = {}
    for key, value in attributes.items():
        node = tree
        *path, last = key.split(".")
        for step in path:
            node = node.setdefault(step, {})
        node[last] = value

    def listed(node):
        if not isinstance(node, dict):
            return node
        inner = {key: listed(value) for key, value in node.items()}
        return [inner[key] for key in sorted(inner, key=int)] if inner and all(map(str.isdigit, inner)) else inner

    return listed(tree)


def test_nested_attributes_are_the_same_attributes(found, tmp_path):
    page = json.loads(PAGE.read_text(encoding="utf-8"))
    spans = [span | {"attributes": nested(span["attributes"])} for span in page["data"]]
    assert spans[1]["attributes"]["llm"]["input_messages"][0]["message"]["role"] == "system"
    path = tmp_path / "spans.json"
    path.write_text(json.dumps(spans), encoding="utf-8")
    assert gather(phoenix, path).inferences == found.inferences


def test_objects_and_rows_of_annotations_give_the_same_events(found):
    rows = gather(phoenix, PAGE, TABLE).feedback
    assert rows == [e for e in found.feedback if e["name"] not in ("note", "solved", "satisfied")]


def test_a_correction_judges_the_answer_it_corrects(found):
    pairs = [(output_of(found, e), e["feedback_value"]["output"]) for e in said(found, "correction")]
    assert sorted(pair for pair in pairs if isinstance(pair[0], str)) == sorted(
        (f"{n} weeks have {7 * n + 1} days.", f"{n} weeks have {7 * n} days.") for n in (0, 5, 15, 20)
    )
    assert [right for wrong, right in pairs if isinstance(wrong, dict)] == ["10 weeks have 70 days."]


def test_thumbs_follow_the_label(found):
    for event in said(found, "thumbs"):
        answer = output_of(found, event)
        if isinstance(answer, str):
            weeks, days = int(answer.split()[0]), int(answer.split()[3])
            assert event["feedback_value"] == {"up": days == 7 * weeks}


def test_a_trace_and_its_root_are_judged_on_the_call_and_a_session_as_such(found, tmp_path):
    assert output_of(found, said(found, "solved")[0]) == "8 weeks have 56 days."
    assert said(found, "satisfied")[0]["target"] == {"session_id": "session-0"}
    spans = json.loads(PAGE.read_text(encoding="utf-8"))["data"]
    root = next(s for s in spans if s["parent_id"] is None)
    path = annotated(tmp_path, span_id=root["context"]["span_id"])
    read = gather(phoenix, PAGE, path)
    assert read.feedback[0]["target"]["request_id"].startswith(root["context"]["trace_id"])


def annotated(tmp_path, **fields):
    """A file with one annotation."""
    body = {
        "id": "x", "created_at": "2026-01-01T00:00:00+00:00", "updated_at": "2026-01-01T00:00:00+00:00",
        "name": "vote", "annotator_kind": "HUMAN", "result": {"label": "yes"}, "identifier": "",
    }  # fmt: skip
    path = tmp_path / "annotation.json"
    path.write_text(json.dumps([body | fields]), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"label": "👎", "score": 1}, ("thumbs", {"up": False})),
        ({"label": "good", "score": 0.5}, ("rating", {"score": 0.5, "min": 0, "max": 1})),
        ({"label": "good", "score": 5}, ("label", {"label": "good"})),
        ({"score": 5}, ("outcome", {"name": "vote", "value": 5})),
        ({"explanation": "Hm."}, ("comment", {"text": "Hm."})),
    ],
)
def test_a_result_says_what_its_strongest_part_says(found, tmp_path, result, expected):
    path = annotated(tmp_path, trace_id="f" * 32, result=result)
    [event] = gather(phoenix, path).feedback
    assert (event["feedback_type"], event["feedback_value"]) == expected
    assert event["target"] == {"keys": {"trace_id": "f" * 32}}


@pytest.mark.parametrize(
    ("kind", "identifier", "user", "source"),
    [
        ("HUMAN", "ann", None, {"kind": "human", "id": "ann", "client": "phoenix"}),
        ("HUMAN", "px-app:VXNlcjox", "VXNlcjox", {"kind": "human", "id": "VXNlcjox", "client": "phoenix"}),
        ("LLM", "px-span-note:1", None, {"kind": "model", "client": "phoenix"}),
        ("CODE", "", None, {"kind": "code", "client": "phoenix"}),
    ],
)
def test_who_speaks_is_kept(tmp_path, kind, identifier, user, source):
    path = annotated(tmp_path, trace_id="f" * 32, annotator_kind=kind, identifier=identifier, user_id=user)
    assert gather(phoenix, path).feedback[0]["source"] == source


def test_two_raters_of_one_span_are_two_and_the_same_slot_is_one(tmp_path):
    ids = {
        gather(phoenix, annotated(tmp_path, trace_id="f" * 32, identifier=i, id=n)).feedback[0]["feedback_id"]
        for n, i in enumerate(["a", "b", "a"])
    }
    assert len(ids) == 2


def test_what_judges_no_call_is_skipped_and_what_judges_the_unknown_is_kept(tmp_path):
    document = annotated(tmp_path, span_id="0" * 16, document_position=1)
    assert gather(phoenix, PAGE, document).skipped == {"chain_span": 24, "judges_a_document": 1}
    [problem] = gather(phoenix, PAGE, annotated(tmp_path, span_id="0" * 16)).misunderstood
    assert problem.kind == "feedback"
    assert "together with their spans" in problem.message


def test_a_step_between_root_and_call_is_not_judged(tmp_path):
    spans = json.loads(PAGE.read_text(encoding="utf-8"))["data"]
    root = next(s for s in spans if s["parent_id"] is None)
    step = root | {"parent_id": "1" * 16, "context": root["context"] | {"span_id": "2" * 16}}
    path = tmp_path / "spans.json"
    path.write_text(json.dumps({"data": [*spans, step], "next_cursor": None}), encoding="utf-8")
    read = gather(phoenix, path, annotated(tmp_path, span_id="2" * 16))
    assert read.skipped == {"chain_span": 25, "judges_no_model_call": 1}


def test_a_call_without_a_model_is_misunderstood_and_its_judgements_wait_for_it(found, tmp_path):
    spans = json.loads(PAGE.read_text(encoding="utf-8"))["data"]
    for span in spans:
        span["attributes"].pop("llm.model_name", None)
    path = tmp_path / "spans.json"
    path.write_text(json.dumps(spans), encoding="utf-8")
    without, named = gather(phoenix, path, ANNOTATIONS), gather(phoenix, path, ANNOTATIONS, model="m")
    assert (len(without.misunderstood), {item.kind for item in without.misunderstood}) == (24, {"inference"})
    assert without.feedback == named.feedback
    assert {e["model"] for e in named.inferences} == {"m"}


def test_damaged_records_are_kept_as_misunderstood_and_the_rest_is_read(found, tmp_path):
    rows = ROWS.read_text(encoding="utf-8").splitlines()
    rows[3:3] = ["{not json}", "[]", rows[0].replace('"start_time":"', '"start_time":"never ')]
    path = tmp_path / "spans.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    read = gather(phoenix, path)
    assert [item.line for item in read.misunderstood] == [4, 5, 6]
    assert len(read.inferences) == 24


def test_a_page_cut_short_is_reported(tmp_path):
    path = tmp_path / "page.json"
    path.write_bytes(PAGE.read_bytes()[:-500])
    with pytest.raises(ImportFormatError, match=r"page\.json"):
        gather(phoenix, path)


@pytest.mark.parametrize("text", ['[{"id": 1}]', '{"info": {}, "data": {}}', "x,y\n1,2\n"])
def test_a_file_of_something_else_is_refused_by_name(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ImportFormatError, match=r"other\.json"):
        gather(phoenix, PAGE, path)


def test_importing_again_finds_only_duplicates_also_from_the_other_export(tmp_path):
    first, second = import_twice(phoenix, tmp_path, PAGE, FRAME, ANNOTATIONS, TABLE, OF_TRACES, OF_SESSIONS)
    assert (first.inferences_accepted, first.feedback_accepted, first.duplicates, first.refused) == (24, 44, 65, 0)
    assert (second.duplicates, second.refused, second.records) == (133, 0, first.records)


def test_options_hold_for_all(found):
    read = gather(phoenix, PAGE, task="days", environment="test")
    assert {(e["task"], e["environment"]) for e in read.inferences} == {("days", "test")}
