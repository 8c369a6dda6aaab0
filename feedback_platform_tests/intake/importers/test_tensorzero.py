"""TensorZero's tables: real rows of a gateway arrive with their model, prompt and feedback; what the tables hold is kept.

`data/importers/tensorzero` holds 10 haikus, their 10 judgements, 20 model calls and 10 boolean metrics.
"""

import json
from datetime import datetime

import pytest

from feedback_platform.errors import ImportFormatError
from feedback_platform.intake.importers import tensorzero
from feedback_platform.intake.importers.foreign import Options
from feedback_platform_tests.intake.importers.reading import DATA, read, written

TABLES = DATA / "tensorzero"
FIRST = "019562dd-a149-7840-959d-00e444ae080f"
STARTED = "2025-03-04T20:34:06.793000Z"


def row(**columns):
    content = [{"type": "text", "text": "Write."}]
    given = {
        "id": FIRST, "function_name": "write", "variant_name": "v1", "episode_id": "019562dd-a148-7840-959d-00e444ae080f",
        "input": json.dumps({"system": "Be brief.", "messages": [{"role": "user", "content": content}]}),
        "output": json.dumps([{"type": "text", "text": "Done."}]), "processing_time_ms": 1500, "tags": {},
    }  # fmt: skip
    return {**given, **columns}


def feedback(**columns):
    return {"id": "019562dd-b149-7840-959d-00e444ae080f", "target_id": FIRST, "metric_name": "m", "tags": {}, **columns}


def one(tmp_path, **columns):
    (event,) = read(tensorzero, written(tmp_path / "ChatInference.jsonl", [row(**columns)])).inferences
    return event


@pytest.fixture(scope="module")
def real():
    return read(tensorzero, TABLES)


def test_every_row_of_the_real_tables_is_counted(real):
    assert real.counts == (20, 10, 20, 0)
    assert real.skipped == {"model_call_joined": 20}
    assert real.kinds == {"thumbs": 10}
    assert sum(event["feedback_value"]["up"] for event in real.feedback) == 4


def test_all_real_feedback_judges_an_inference_that_came_before_it(real):
    answered = {event["request_id"]: event["timestamp"] for event in real.inferences}
    for event in real.feedback:
        assert datetime.fromisoformat(answered[event["target"]["request_id"]]) < datetime.fromisoformat(
            event["timestamp"]
        )
    assert {event["name"] for event in real.feedback} == {"haiku_score"}


def test_the_model_and_the_prompt_are_those_of_the_call(real):
    haiku = next(event for event in real.inferences if event["task"] == "write_haiku")
    assert (haiku["model"], haiku["model_version"]) == ("openai::gpt-4o-mini-2024-07-18", "gpt-4o-mini-2024-07-18")
    assert haiku["variant"] == "gpt_4o_mini"
    system, user = haiku["input"]["messages"]
    assert system["role"] == "system"
    assert system["content"].startswith("You are a haiku writer.")
    assert user == {"role": "user", "content": f"The topic is {haiku['template']['variables']['user']['topic']}."}
    assert isinstance(haiku["output"], str)
    judged = next(event for event in real.inferences if event["task"] == "judge_haiku")
    assert judged["output"].keys() == {"reasoning", "score"}
    assert "output_schema" in judged["parameters"]


def test_turns_of_an_episode_share_a_session(real):
    episodes = [event["session_id"] for event in real.inferences]
    assert len(set(episodes)) == 10


def test_without_model_calls_the_variant_stands_in_and_the_arguments_are_told():
    found = read(tensorzero, TABLES / "ChatInference.jsonl", TABLES / "BooleanMetricFeedback.jsonl")
    assert found.counts == (10, 10, 0, 0)
    event = found.inferences[0]
    assert (event["model"], event["model_version"]) == ("write_haiku", "gpt_4o_mini")
    (message,) = event["input"]["messages"]
    assert json.loads(message["content"]) == event["template"]["variables"]["user"]


def test_an_answer_of_several_calls_is_no_single_models(tmp_path):
    calls = [
        {"id": f"019562dd-c14{n}-7840-959d-00e444ae080f", "inference_id": FIRST, "model_name": f"m{n}",
         "input_messages": "[]"} for n in (1, 2)
    ]  # fmt: skip
    written(tmp_path / "ModelInference.jsonl", calls)
    written(tmp_path / "ChatInference.jsonl", [row()])
    (event,) = read(tensorzero, tmp_path).inferences
    assert (event["model"], event["model_version"]) == ("write", "v1")
    assert event["metadata"]["models"] == ["m1", "m2"]


def test_the_time_is_the_ids_to_the_millisecond_and_when_the_answer_was_there(tmp_path):
    assert one(tmp_path, processing_time_ms=None, timestamp="2025-03-04 21:34:06")["timestamp"] == STARTED
    assert one(tmp_path)["timestamp"] == "2025-03-04T20:34:08.293000Z"


def test_ids_of_another_kind_leave_the_time_to_the_column(tmp_path):
    event = one(tmp_path, id="own-1", timestamp="2025-03-04 20:34:06", processing_time_ms=0)
    assert event["timestamp"] == "2025-03-04T20:34:06Z"


def test_content_blocks_become_chat_messages(tmp_path):
    call = {"type": "tool_call", "id": "c1", "name": "look", "arguments": '{"at":"sky"}'}
    messages = [
        {"role": "user", "content": "plain"},
        {"role": "assistant", "content": [{"type": "text", "text": "I look."}, call]},
        {"role": "user", "content": [{"type": "tool_result", "id": "c1", "name": "look", "result": "blue"}]},
        {"role": "user", "content": [{"type": "text", "value": "old style"}, {"type": "raw_text", "value": "raw"}]},
        {"role": "user", "content": [{"type": "template", "name": "user", "arguments": {"b": 1, "a": 2}}]},
        {"role": "user", "content": [{"type": "file", "url": "x"}]},
    ]
    said = one(tmp_path, input={"system": {"tone": "calm"}, "messages": messages})
    function = {"name": "look", "arguments": '{"at":"sky"}'}
    assert said["input"]["messages"] == [
        {"role": "system", "content": '{"tone":"calm"}'},
        {"role": "user", "content": "plain"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "c1", "name": "look", "content": "blue"},
        {"role": "user", "content": [{"type": "text", "text": "old style"}, {"type": "text", "text": "raw"}]},
        {"role": "user", "content": '{"a":2,"b":1}'},
        {"role": "user", "content": [{"type": "file", "url": "x"}]},
    ]
    assert said["template"] == {"id": "write", "variables": {"system": {"tone": "calm"}, "user": {"b": 1, "a": 2}}}


def test_a_tool_call_is_an_answer_and_tools_are_kept(tmp_path):
    block = {
        "type": "tool_call",
        "id": "c1",
        "raw_name": "look",
        "raw_arguments": "{}",
        "name": None,
        "arguments": None,
    }
    tool = {"name": "look", "parameters": {}}
    legacy = json.dumps({"tools_available": [tool], "tool_choice": "auto"})
    event = one(
        tmp_path, output=json.dumps([block]), tool_params=legacy, inference_params='{"chat_completion":{"t":1}}'
    )
    assert event["output"]["tool_calls"][0]["function"] == {"name": "look", "arguments": "{}"}
    assert event["tools"] == [tool]
    assert event["parameters"] == {"chat_completion": {"t": 1}, "tool_choice": "auto"}
    assert one(tmp_path, dynamic_tools=[json.dumps(tool)])["tools"] == [tool]


def test_each_kind_of_feedback_keeps_its_meaning(tmp_path):
    written(tmp_path / "ChatInference.jsonl", [row()])
    written(tmp_path / "FloatMetricFeedback.jsonl", [feedback(value=0.25)])
    shown = json.dumps([{"type": "text", "text": "Better."}])
    demonstration = {**feedback(value=shown), "inference_id": FIRST}
    written(tmp_path / "DemonstrationFeedback.jsonl", [demonstration])
    comments = [feedback(value="Nice.", target_type="inference"), feedback(value="", target_type="inference")]
    written(tmp_path / "CommentFeedback.jsonl", comments)
    found = read(tensorzero, tmp_path)
    assert found.counts == (1, 3, 1, 0)
    assert found.said("outcome")["feedback_value"] == {"name": "m", "value": 0.25}
    assert found.said("explicit_correction")["feedback_value"] == {"output": "Better."}
    assert found.said("comment")["feedback_value"] == {"text": "Nice."}


def test_feedback_on_an_episode_judges_the_session(tmp_path):
    episode = row()["episode_id"]
    written(tmp_path / "ChatInference.jsonl", [row()])
    written(tmp_path / "boolean_metric_feedback_0.jsonl.gz", [feedback(target_id=episode, value=True)], zipped=True)
    assert read(tensorzero, tmp_path).said("thumbs")["target"] == {"session_id": episode}


def test_tags_tell_who_spoke(tmp_path):
    tags = [{"tensorzero::human_feedback": "true", "author": "alice"}, {"tensorzero::evaluator_inference_id": "e"}, {}]
    path = written(tmp_path / "BooleanMetricFeedback.jsonl", [feedback(value=True, tags=t) for t in tags])
    human, model, nobody = read(tensorzero, path).feedback
    assert human["source"] == {"kind": "human", "id": "alice", "client": "tensorzero"}
    assert model["source"] == {"kind": "model"}
    assert "source" not in nobody


@pytest.mark.parametrize(
    ("table", "record", "words"),
    [
        ("ChatInference", row(input="not json"), "`input` has no messages"),
        ("ChatInference", row(output="[]"), "`output` is empty"),
        ("ChatInference", row(id="x"), "neither `id` (a UUIDv7) nor `timestamp`"),
        ("ChatInference", row(id=None), "no `id`"),
        ("BooleanMetricFeedback", feedback(value="perhaps"), "neither true nor false"),
        ("FloatMetricFeedback", feedback(value=None), "no number"),
        ("FloatMetricFeedback", feedback(value=1, metric_name=None), "no `metric_name`"),
        ("FloatMetricFeedback", feedback(value=1, target_id=None), "names no target"),
    ],
)
def test_a_row_that_cannot_be_mapped_says_why_and_the_rest_is_read(tmp_path, table, record, words):
    good = row() if table == "ChatInference" else feedback(value=1)
    path = written(tmp_path / f"{table}.jsonl", [record, b"{broken", good])
    found = read(tensorzero, path)
    assert len(found.inferences) + len(found.feedback) == 1
    assert [words in m.message for m in found.misunderstood] == [True, False]
    assert [m.line for m in found.misunderstood] == [1, 2]


def test_datapoints_and_tables_without_events_are_skipped(tmp_path):
    written(tmp_path / "ChatInference.jsonl", [row()])
    written(tmp_path / "ChatInferenceDatapoint.jsonl", [row(), row()])
    written(tmp_path / "ModelInferenceCache.jsonl", [{"output": "x"}])
    written(tmp_path / "notes.json", [{}])
    assert read(tensorzero, tmp_path).skipped == {"datapoint": 2, "other_table": 1}


def test_options_name_what_the_tables_do_not(tmp_path):
    path = written(tmp_path / "ChatInference.jsonl", [row()])
    (event,) = read(tensorzero, path, options=Options(model="own", task="poems", environment="staging")).inferences
    assert (event["model"], event["task"], event["environment"]) == ("own", "poems", "staging")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("other.jsonl", b'{"a": 1}\n', r"not named after a table"),
        ("ChatInference.jsonl", b'{"a": 1}\n', r"with `id` and `output`\); its first records are objects with a"),
        ("ChatInference.jsonl", b"PAR1\x00\x00", "no JSON object"),
    ],
)
def test_another_format_is_refused_by_name(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImportFormatError, match=words) as refusal:
        read(tensorzero, path)
    assert name in str(refusal.value)


def test_a_cut_file_gives_its_beginning_and_says_so(tmp_path):
    data = (TABLES / "ModelInference.jsonl.gz").read_bytes()
    (tmp_path / "ModelInference.jsonl.gz").write_bytes(data[:4000])
    (tmp_path / "ChatInference.jsonl").write_bytes((TABLES / "ChatInference.jsonl").read_bytes())
    found = read(tensorzero, tmp_path)
    assert len(found.inferences) == 10
    assert "ModelInference.jsonl.gz cannot be read beyond line" in found.damage
