"""OpenAI-style logs: each shape that users hold becomes one inference per answer, with tools and parameters whole.

Shapes follow the ChatCompletion object of OpenAI's API, NVIDIA's data flywheel log, OpenPipe's "Exporting logs" page
(docs.openpipe.ai/features/request-logs/exporting-logs) and LiteLLM's `StandardLoggingPayload` (litellm/types/utils.py).
"""

import json

import pytest

from feedback_platform.errors import ImportFormatError
from feedback_platform.intake.importers import openai_chat
from feedback_platform.intake.importers.foreign import Options
from feedback_platform_tests.intake.importers.reading import read, written

QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital of Peru?"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TIME = "2025-03-04T20:38:51Z"


def request(**fields):
    return {"model": "gpt-4o", "messages": QUESTION, **fields}


def choice(index=0, **message):
    said: dict[str, object] = {"role": "assistant", "content": "Lima.", "refusal": None, "annotations": []}
    return {"index": index, "message": {**said, **message}, "logprobs": None, "finish_reason": "stop"}


def response(*choices, **fields):
    given = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1741120731, "model": "gpt-4o-2024-08-06"}
    usage = {"usage": {"total_tokens": 9}}
    return {**given, **usage, "choices": list(choices) or [choice()], **fields}


def one(tmp_path, record, **options):
    found = read(openai_chat, written(tmp_path / "log.jsonl", [record]), options=Options(**options))
    assert found.counts == (1, 0, 0, 0), found.misunderstood
    return found.inferences[0]


def test_a_request_and_its_response(tmp_path):
    sent = request(tools=[TOOL], temperature=0, response_format={"type": "text"}, user="u1", metadata={"a": "b"})
    assert one(tmp_path, {"request": sent, "response": response()}) == {
        "request_id": "chatcmpl-1", "timestamp": TIME, "model": "gpt-4o", "model_version": "gpt-4o-2024-08-06",
        "task": "default", "input": {"messages": QUESTION}, "output": "Lima.", "tools": [TOOL], "user_id": "u1",
        "parameters": {"temperature": 0, "response_format": {"type": "text"}},
        "system": {"usage": {"total_tokens": 9}, "finish_reason": "stop"}, "metadata": {"request": {"a": "b"}},
    }  # fmt: skip


def test_nvidias_flywheel_log(tmp_path):
    record = {"timestamp": 1741120999, "workload_id": "router", "client_id": "dev"}
    event = one(tmp_path, {**record, "request": request(), "response": response(created=None)})
    assert (event["task"], event["metadata"]["client_id"]) == ("router", "dev")
    assert event["timestamp"] == "2025-03-04T20:43:19Z"


def test_openpipes_export(tmp_path):
    reply = response(choice(content=None, tool_calls=[CALL]), created=1741120731000, model="openpipe:ft")
    event = one(tmp_path, {"input": request(model="openpipe:ft"), "output": reply, "tags": {"prompt_id": "p"}})
    assert event["output"] == {"role": "assistant", "content": None, "tool_calls": [CALL]}
    assert (event["model"], event["timestamp"]) == ("openpipe:ft", TIME)
    assert event["metadata"] == {"tags": {"prompt_id": "p"}}


def test_litellms_payload(tmp_path):
    record = {
        "id": "call-1", "trace_id": "t1", "call_type": "acompletion", "status": "success", "model": "gpt-4o",
        "messages": QUESTION, "response": response(), "model_parameters": {"temperature": 1, "tools": [TOOL]},
        "endTime": 1741120777.5, "startTime": 1741120730.0, "response_time": 1.5, "end_user": "u9", "cache_hit": False,
        "response_cost": 0.1, "metadata": {"user_api_key_alias": "team"}, "request_tags": ["x"],
    }  # fmt: skip
    event = one(tmp_path, record)
    assert event["request_id"] == "call-1"
    assert (event["parameters"], event["tools"], event["user_id"]) == ({"temperature": 1}, [TOOL], "u9")
    assert event["system"]["latency_ms"] == 1500
    assert event["metadata"] == {
        "trace_id": "t1", "request_tags": ["x"], "metadata": {"user_api_key_alias": "team"}
    }  # fmt: skip
    plain = one(tmp_path, {**record, "response": "Lima."})
    assert (plain["output"], plain["timestamp"]) == ("Lima.", "2025-03-04T20:39:37.500000Z")


def test_a_stored_completion_that_holds_its_messages(tmp_path):
    event = one(tmp_path, response(messages=QUESTION))
    assert (event["request_id"], event["output"]) == ("chatcmpl-1", "Lima.")
    assert event["model"] == event["model_version"] == "gpt-4o-2024-08-06"


def test_a_fine_tuning_record_ends_with_its_output(tmp_path):
    turns = [*QUESTION, {"role": "assistant", "content": "Lima.", "weight": 1}]
    record = {"messages": turns, "tools": [TOOL], "parallel_tool_calls": False, "timestamp": TIME}
    event = one(tmp_path, record, model="own", model_version="7", task="geo", environment="lab")
    assert (event["input"], event["output"]) == ({"messages": QUESTION}, "Lima.")
    assert (event["model"], event["model_version"], event["task"], event["environment"]) == ("own", "7", "geo", "lab")
    assert (event["tools"], event["parameters"]) == ([TOOL], {"parallel_tool_calls": False})


def test_json_in_strings_is_read(tmp_path):
    event = one(tmp_path, {"request": json.dumps(request()), "response": json.dumps(response())})
    assert event["output"] == "Lima."


def test_a_refusal_is_an_answer(tmp_path):
    event = one(tmp_path, {"request": request(), "response": response(choice(content=None, refusal="I will not."))})
    assert event["output"]["refusal"] == "I will not."


def test_each_choice_is_an_inference_of_its_own(tmp_path):
    record = {"request": request(n=2), "response": response(choice(), choice(1, content="It is Lima."))}
    first, second = read(openai_chat, written(tmp_path / "log.jsonl", [record])).inferences
    assert (first["request_id"], second["request_id"]) == ("chatcmpl-1", "chatcmpl-1:choice-1")
    assert (first["output"], second["output"]) == ("Lima.", "It is Lima.")
    assert first["input"] == second["input"]


def test_token_probabilities_are_kept_and_summed(tmp_path):
    tokens = [
        {"token": "Li", "logprob": -0.5, "top_logprobs": []},
        {"token": "ma.", "logprob": -0.25, "top_logprobs": []},
    ]
    event = one(tmp_path, {"request": request(), "response": response({**choice(), "logprobs": {"content": tokens}})})
    assert (event["logprob"], event["token_logprobs"]) == (-0.75, tokens)


def test_records_without_ids_are_told_apart_by_content_alone(tmp_path):
    records = [{"request": request(seed=seed), "response": response(id=None)} for seed in (1, 2, 1)]
    one, two, again = read(openai_chat, written(tmp_path / "log.jsonl", records)).inferences
    assert one["request_id"] != two["request_id"]
    assert one == again


def test_failed_calls_and_other_calls_are_skipped(tmp_path):
    records = [
        {"request": request(), "response": response()},
        {"request": request(), "response": None},
        {"request": request(), "response": {"error": {"message": "overloaded"}}},
        {"messages": QUESTION, "response": {}, "status": "failure", "call_type": "completion"},
        {"messages": "text", "response": {}, "call_type": "aembedding"},
    ]
    found = read(openai_chat, written(tmp_path / "log.jsonl", records))
    assert found.counts == (1, 0, 4, 0)
    assert found.skipped == {"failed_call": 3, "not_a_chat_call": 1}


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        ({"request": request(messages=[]), "response": response()}, "no list of messages"),
        ({"request": request(messages=[{"content": "x"}]), "response": response()}, "messages[0] has no `role`"),
        ({"request": request(), "response": response(choices=[])}, "no `choices`"),
        ({"request": request(), "response": [response()]}, "no `choices`"),
        ({"request": request(), "response": response({"delta": {}})}, "no `message`"),
        ({"request": request(), "response": response(choice(content=None))}, "neither content nor tool calls"),
        ({"request": request(), "response": response(created=None)}, "Add `timestamp`"),
        ({"request": {"messages": QUESTION}, "response": response(model=None)}, "--model"),
        ({"messages": QUESTION, "timestamp": TIME, "model": "m"}, "not an assistant's answer"),
        (b'{"request": {"messages"', "not JSON"),
        (b'["a list"]', "list where an object was expected"),
        ({"other": 1}, "no list of messages"),
    ],
)
def test_a_damaged_record_says_what_to_do_and_the_rest_is_read(tmp_path, damaged, words):
    good = {"request": request(), "response": response()}
    found = read(openai_chat, written(tmp_path / "log.jsonl.gz", [good, damaged, good], zipped=True))
    assert found.counts == (2, 0, 0, 1)
    (letter,) = found.misunderstood
    assert words in letter.message
    assert letter.line == 2
    assert letter.body == (damaged if isinstance(damaged, bytes) else json.dumps(damaged).encode())


def test_a_json_list_is_read_like_lines(tmp_path):
    path = tmp_path / "log.json"
    path.write_text(json.dumps([{"request": request(), "response": response()}] * 2, indent=1))
    assert read(openai_chat, path).counts == (2, 0, 0, 0)


@pytest.mark.parametrize("content", [b'{"a": 1}\n{"b": 2}\n', b"PAR1\x00", b"a,b\n1,2\n"])
def test_another_format_is_refused_by_name(tmp_path, content):
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    with pytest.raises(ImportFormatError, match="is not an OpenAI-style chat log") as refusal:
        read(openai_chat, path)
    assert str(path) in str(refusal.value)
