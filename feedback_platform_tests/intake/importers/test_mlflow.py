"""MLflow: what its own client exported arrives in full, once, and on the right call.

The fixtures were written by MLflow 3.17.2 (see `make_peer_fixtures.py`): 24 traces; number n asks for the days in n
weeks, every fifth answer is wrong, every twelfth trace has no model call, of the others every eighth has two.
"""

import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedback_platform.errors import ImportFormatError, NotFoundError
from feedback_platform.intake.importers import mlflow
from feedback_platform.intake.importers.foreign import Options
from feedback_platform_tests.intake.importers.gathered import DATA, gather, import_twice

TRACES = DATA / "mlflow_traces.jsonl"


@pytest.fixture(scope="module")
def found():
    return gather(mlflow, TRACES)


def lines():
    return TRACES.read_text(encoding="utf-8").splitlines()


def changed(tmp_path, change, number=0):
    """The trace with this number, changed, as a file of its own."""
    trace = json.loads(lines()[number])
    change(trace)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(trace), encoding="utf-8")
    return path


def said(found, criterion):
    return [event for event in found.feedback if event["name"] == criterion]


def test_every_record_is_counted_once(found):
    assert len(found.inferences) == 26
    assert found.said == Counter({
        ("thumbs", "thumbs"): 12, ("explicit_correction", "expected_response"): 5, ("comment", "expected_facts"): 5,
        ("rating", "quality"): 8, ("outcome", "length"): 8, ("label", "tone"): 8,
    })  # fmt: skip
    assert found.skipped == {"not_a_model_call": 22, "overridden_assessment": 1, "failed_assessment": 1}
    assert found.misunderstood == []


def test_a_chat_arrives_as_the_model_saw_it(found):
    first = found.inferences[0]
    assert first["input"] == {
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "How many days are in 0 weeks?"},
        ]
    }
    assert (first["output"], first["model"], first["parameters"]) == (
        "0 weeks have 1 days.",
        "small-chat-1",
        {"temperature": 0.2},
    )
    assert (first["user_id"], first["session_id"], first["segments"]) == ("user-0", "session-0", {"team": "school"})
    assert first["system"]["latency_ms"] > 0
    assert f"tr-{first['request_id'].split('-')[0]}" == json.loads(lines()[0])["info"]["trace_id"]


def test_a_trace_without_a_model_call_is_one_inference_of_the_application(found):
    functions = [event for event in found.inferences if event["model"] == "days_bot"]
    assert [(e["input"], e["output"]) for e in functions] == [
        (f"How many days are in {n} weeks?", f"{n} weeks have {7 * n} days.") for n in (11, 23)
    ]


def test_a_correction_judges_the_answer_it_corrects_and_says_what_it_should_have_been(found):
    outputs = {event["request_id"]: event["output"] for event in found.inferences}
    pairs = [
        (outputs[event["request_id"]], event["feedback_value"]["output"]) for event in said(found, "expected_response")
    ]
    assert pairs == [(f"{n} weeks have {7 * n + 1} days.", f"{n} weeks have {7 * n} days.") for n in range(0, 24, 5)]


def test_facts_to_be_found_in_an_answer_are_no_corrected_output(found):
    assert said(found, "expected_facts")[1]["feedback_value"] == {"text": '["35 days"]'}


def test_a_trace_with_two_calls_is_judged_once_on_the_last(found, tmp_path):
    trace = json.loads(lines()[15])
    alone = gather(mlflow, changed(tmp_path, lambda _: None, 15))
    assert [e["input"]["messages"][-1]["content"] for e in alone.inferences] == [
        "Is this about time?",
        "How many days are in 15 weeks?",
    ]
    assert len(alone.feedback) == len(trace["info"]["assessments"])
    assert {e["request_id"] for e in alone.feedback} == {alone.inferences[1]["request_id"]}


def test_an_overridden_vote_is_replaced_by_the_vote_that_overrides_it(found):
    six = next(e for e in found.inferences if e["output"] == "6 weeks have 42 days.")
    votes = [e for e in said(found, "thumbs") if e["request_id"] == six["request_id"]]
    assert [vote["feedback_value"] for vote in votes] == [{"up": False}]


@pytest.mark.parametrize(
    ("criterion", "source"),
    [
        ("thumbs", {"kind": "human", "id": "rater-0", "client": "mlflow"}),
        ("quality", {"kind": "model", "id": "judge-1", "client": "mlflow"}),
        ("length", {"kind": "code", "client": "mlflow"}),
    ],
)
def test_who_speaks_is_kept(found, criterion, source):
    assert said(found, criterion)[0]["source"] == source


def test_the_reason_of_a_vote_is_kept(found):
    assert [e.get("explanation") for e in said(found, "thumbs")[:2]] == ["It is one too many.", None]


def test_rows_of_search_traces_and_pretty_documents_give_the_events_of_the_same_traces(found):
    rows = gather(mlflow, DATA / "mlflow_search_traces.json")
    assert rows.inferences == found.inferences[:3]
    assert [e for e in found.feedback if e in rows.feedback] == rows.feedback
    pretty = gather(mlflow, DATA / "mlflow_trace_pretty.json")
    assert pretty.inferences == found.inferences[:1]


@pytest.mark.parametrize("place", [0, 1])
def test_an_assessment_of_a_span_judges_that_span(tmp_path, place):
    calls = gather(mlflow, changed(tmp_path, lambda _: None, 7)).inferences
    span_id = calls[place]["request_id"].split("-")[1]
    path = changed(tmp_path, lambda t: t["info"].update(assessments=[_vote("a", t) | {"span_id": span_id}]), 7)
    assert [e["request_id"] for e in gather(mlflow, path).feedback] == [calls[place]["request_id"]]


def _vote(assessment_id, trace):
    return {
        "assessment_id": assessment_id, "assessment_name": "vote", "trace_id": trace["info"]["trace_id"],
        "source": {"source_type": "HUMAN", "source_id": "someone"}, "create_time": "2026-01-01T00:00:00Z",
        "last_update_time": "2026-01-01T00:00:00Z", "feedback": {"value": True}, "valid": True,
    }  # fmt: skip


def test_a_span_that_came_over_opentelemetry_is_mapped_as_if_it_had_come_to_us():
    found = gather(mlflow, DATA / "mlflow_otlp_trace.json")
    [call], [vote] = found.inferences, found.feedback
    assert call["input"] == {
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "How many days are in 3 weeks?"},
        ]
    }
    assert (call["output"], call["model"], call["user_id"]) == ("3 weeks have 21 days.", "small-chat-1", "user-3")
    assert call["request_id"] == "0102030405060708090a0b0c0d0e0f10-090a0b0c0d0e0f10"
    assert vote["request_id"] == call["request_id"]
    assert call["template"]["variables"] == {"n": 3}


def test_an_answer_that_is_json_text_stays_text(tmp_path):
    answer = '{"days": 21}'
    outputs = json.dumps({"role": "assistant", "content": answer})
    path = changed(tmp_path, lambda t: t["data"]["spans"][1]["attributes"].update({"mlflow.spanOutputs": outputs}))
    assert gather(mlflow, path).inferences[0]["output"] == answer
    path = changed(
        tmp_path, lambda t: t["data"]["spans"][1]["attributes"].update({"mlflow.spanOutputs": json.dumps(answer)})
    )
    assert gather(mlflow, path).inferences[0]["output"] == answer


def test_a_parquet_file_of_traces_gives_the_same_events(found, tmp_path):
    path = tmp_path / "traces.parquet"
    pq.write_table(pa.table({"trace_id": [str(n) for n, _ in enumerate(lines())], "trace": lines()}), path)
    read = gather(mlflow, path)
    assert (read.inferences, read.feedback, read.skipped) == (found.inferences, found.feedback, found.skipped)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ImportFormatError, match=r"traces\.parquet"):
        gather(mlflow, path)


def test_an_assessment_of_a_step_that_is_no_call_is_skipped(tmp_path):
    path = changed(tmp_path, lambda t: t["info"].update(assessments=[_vote("a", t) | {"span_id": "00ff00ff00ff00ff"}]))
    assert gather(mlflow, path).skipped == {"not_a_model_call": 1, "judges_no_model_call": 1}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, ("thumbs", {"up": True})),
        (1, ("rating", {"score": 1, "min": 0, "max": 1})),
        (-0.5, ("outcome", {"name": "vote", "value": -0.5})),
        ("yes", ("label", {"label": "yes"})),
        ("x" * 300, ("comment", {"text": "x" * 300})),
        (["a", "b"], ("comment", {"text": '["a","b"]'})),
    ],
)
def test_a_value_says_what_its_type_says(tmp_path, value, expected):
    path = changed(tmp_path, lambda t: t["info"].update(assessments=[_vote("a", t) | {"feedback": {"value": value}}]))
    [event] = gather(mlflow, path).feedback
    assert (event["feedback_type"], event["feedback_value"]) == expected


def test_options_fill_the_gaps_and_no_more(tmp_path):
    found = gather(mlflow, TRACES, model="other", model_version="7", task="days", environment="test")
    assert {(e["model"], e["model_version"], e["task"], e["environment"]) for e in found.inferences} == {
        (model, "7", "days", "test") for model in ("small-chat-1", "days_bot")
    }


def test_a_call_without_a_model_is_misunderstood_with_the_way_out(tmp_path):
    def nameless(trace):
        attributes = trace["data"]["spans"][1]["attributes"]
        attributes.pop("mlflow.llm.model")
        attributes["mlflow.spanInputs"] = json.dumps({"messages": [{"role": "user", "content": "hello"}]})

    path = changed(tmp_path, nameless)
    without = gather(mlflow, path)
    [problem] = without.misunderstood
    assert "--model" in problem.message
    named = gather(mlflow, path, model="named")
    assert named.inferences[0]["model"] == "named"
    assert named.feedback == without.feedback != []


def test_a_call_that_has_not_ended_is_skipped(tmp_path):
    path = changed(tmp_path, lambda trace: trace["data"]["spans"][1].update(end_time_unix_nano=None))
    assert gather(mlflow, path).skipped["unfinished"] == 1


def test_a_damaged_line_is_kept_as_misunderstood_and_the_rest_is_read(found, tmp_path):
    path = tmp_path / "traces.jsonl"
    damaged = [lines()[0], lines()[1][:-40], '{"info": {}}', *lines()[2:]]
    path.write_text("\n".join(damaged), encoding="utf-8")
    read = gather(mlflow, path)
    assert [(item.line, item.path.name) for item in read.misunderstood] == [(2, "traces.jsonl"), (3, "traces.jsonl")]
    assert read.misunderstood[0].body == lines()[1][:-40].encode()
    assert [e for e in found.inferences if e not in read.inferences] == [found.inferences[1]]


def test_a_trace_exported_without_spans_is_misunderstood(tmp_path):
    path = changed(tmp_path, lambda trace: trace["data"].update(spans=[]))
    assert "include_spans" in gather(mlflow, path).misunderstood[0].message


@pytest.mark.parametrize("text", ['{"request_id": "r"}\n', "a,b\n1,2\n", "PAR1", '[{"id": 1}]'])
def test_a_file_of_something_else_is_refused_by_name_before_anything_is_yielded(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ImportFormatError, match=r"other\.json"):
        next(iter(mlflow.read([TRACES, path], Options())))


def test_importing_again_finds_only_duplicates(tmp_path):
    first, second = import_twice(mlflow, tmp_path, TRACES, DATA / "mlflow_search_traces.json")
    assert (first.inferences_accepted, first.feedback_accepted, first.duplicates, first.refused) == (26, 46, 10, 0)
    assert (second.duplicates, second.refused, second.records) == (82, 0, first.records)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NotFoundError, match="nowhere"):
        gather(mlflow, tmp_path / "nowhere.jsonl")
