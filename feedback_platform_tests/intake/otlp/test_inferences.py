"""Model calls become inferences, whichever convention recorded them; other spans are counted by what they are."""

import hashlib
import json

import pytest
from openinference.semconv.trace import MessageAttributes as M
from openinference.semconv.trace import SpanAttributes as S
from openinference.semconv.trace import ToolCallAttributes as T
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as genai

from feedback_platform.errors import EventRejected
from feedback_platform.intake.otlp.decode import JSON, decode_export
from feedback_platform.intake.otlp.inferences import Defaults
from feedback_platform.intake.otlp.mapping import map_spans
from feedback_platform_tests.intake.otlp.exports import CHAT, PARENT, SPAN, START, TRACE, as_json, event, read, span

CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"location":"Paris"}'}}


def without(attributes, *keys):
    return {key: value for key, value in attributes.items() if key not in keys}


def test_a_chat_by_the_genai_conventions():
    given = [
        {"role": "user", "parts": [{"type": "text", "content": "Weather in Paris?"}]},
        {"role": "assistant", "parts": [
            {"type": "reasoning", "content": "Ask the tool."},
            {"type": "tool_call", "id": "call_1", "name": "get_weather", "arguments": {"location": "Paris"}}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": {"sky": "rain"}},
                                   {"type": "tool_call_response", "id": "call_2", "result": "57 F"}]},
    ]  # fmt: skip
    attributes = CHAT | {
        genai.GEN_AI_SYSTEM_INSTRUCTIONS: json.dumps([{"type": "text", "content": "Be brief."}]),
        genai.GEN_AI_INPUT_MESSAGES: json.dumps(given),
        genai.GEN_AI_TOOL_DEFINITIONS: '[{"type": "function", "name": "get_weather", "parameters": {"type": "object"}}]',
        genai.GEN_AI_CONVERSATION_ID: "conv-1",
        genai.GEN_AI_REQUEST_TEMPERATURE: 0.5,
        genai.GEN_AI_REQUEST_SEED: 2**60,
        genai.GEN_AI_REQUEST_STOP_SEQUENCES: ["END"],
        genai.GEN_AI_REQUEST_CHOICE_COUNT: 1,
        genai.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: 0.25,
        genai.GEN_AI_USAGE_INPUT_TOKENS: 100,
        genai.GEN_AI_USAGE_OUTPUT_TOKENS: 7,
        "user.id": "u-1",
        "server.address": "api.example.com",
    }  # fmt: skip
    resource = {"service.name": "shop", "service.version": "7", "deployment.environment.name": "staging"}
    assert event(span(attributes, parent=PARENT), resource=resource) == {
        "request_id": f"{TRACE}-{SPAN}",
        "timestamp": "2026-01-01T00:00:01.234567Z",
        "model": "gpt-4",
        "model_version": "gpt-4-0613",
        "input": {"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather in Paris?"},
            {"role": "assistant", "reasoning_content": "Ask the tool.", "tool_calls": [CALL]},
            {"role": "tool", "content": '{"sky":"rain"}', "tool_call_id": "call_1"},
            {"role": "tool", "content": "57 F", "tool_call_id": "call_2"},
        ]},
        "output": "Rain.",
        "environment": "staging",
        "parameters": {"temperature": 0.5, "seed": str(2**60), "stop_sequences": ["END"], "choice_count": 1},
        "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}],
        "session_id": "conv-1",
        "user_id": "u-1",
        "keys": {"trace_id": TRACE, "response_id": "chatcmpl-123"},
        "system": {"latency_ms": 1234.568, "first_chunk_ms": 250.0, "usage": {"input_tokens": 100, "output_tokens": 7},
                   "finish_reasons": ["stop"], "provider": "openai", "endpoint": "api.example.com"},
        "metadata": {"trace_id": TRACE, "span_id": SPAN, "parent_span_id": PARENT, "span_name": "chat gpt-4",
                     "service.name": "shop", "service.version": "7", "scope": "tests", "response_id": "chatcmpl-123"},
    }  # fmt: skip


def test_structured_messages_say_the_same_as_json_text():
    structured = {key: json.loads(value) if key.endswith("messages") else value for key, value in CHAT.items()}
    assert event(span(structured)) == event(span(CHAT))
    details = {key: value for key, value in structured.items() if key.endswith("messages")}
    found = span(without(CHAT, *details), events=[("gen_ai.client.inference.operation.details", START, details)])
    assert event(found) == event(span(CHAT))
    other = {"gen_ai.output.messages": "Sun.", "user.id": "u-1"}
    found = event(span(CHAT, events=[("gen_ai.client.inference.operation.details", START, other)]))
    assert (found["output"], found["user_id"]) == ("Rain.", "u-1"), "the event only fills in"


def test_a_call_by_openinference():
    attributes = {
        S.OPENINFERENCE_SPAN_KIND: "LLM",
        S.LLM_MODEL_NAME: "claude-4-0601",
        S.LLM_REQUEST_MODEL_NAME: "claude-4",
        S.LLM_PROVIDER: "anthropic",
        S.LLM_INVOCATION_PARAMETERS: json.dumps({"model": "claude-4", "temperature": 0.1, "max_tokens": None}),
        f"{S.LLM_INPUT_MESSAGES}.0.{M.MESSAGE_ROLE}": "system",
        f"{S.LLM_INPUT_MESSAGES}.0.{M.MESSAGE_CONTENT}": "Be brief.",
        f"{S.LLM_INPUT_MESSAGES}.1.{M.MESSAGE_ROLE}": "user",
        f"{S.LLM_INPUT_MESSAGES}.1.{M.MESSAGE_CONTENTS}.0.message_content.type": "text",
        f"{S.LLM_INPUT_MESSAGES}.1.{M.MESSAGE_CONTENTS}.0.message_content.text": "What is this?",
        f"{S.LLM_INPUT_MESSAGES}.1.{M.MESSAGE_CONTENTS}.1.message_content.type": "image",
        f"{S.LLM_INPUT_MESSAGES}.1.{M.MESSAGE_CONTENTS}.1.message_content.image.image.url": "https://example.com/a.png",
        f"{S.LLM_INPUT_MESSAGES}.2.{M.MESSAGE_ROLE}": "tool",
        f"{S.LLM_INPUT_MESSAGES}.2.{M.MESSAGE_TOOL_CALL_ID}": "call_0",
        f"{S.LLM_INPUT_MESSAGES}.2.{M.MESSAGE_NAME}": "look",
        f"{S.LLM_INPUT_MESSAGES}.10.{M.MESSAGE_ROLE}": "user",
        f"{S.LLM_INPUT_MESSAGES}.10.{M.MESSAGE_CONTENT}": "Well?",
        f"{S.LLM_OUTPUT_MESSAGES}.0.{M.MESSAGE_ROLE}": "assistant",
        f"{S.LLM_OUTPUT_MESSAGES}.0.{M.MESSAGE_CONTENT}": "Let me see.",
        f"{S.LLM_OUTPUT_MESSAGES}.1.{M.MESSAGE_ROLE}": "assistant",
        f"{S.LLM_OUTPUT_MESSAGES}.1.{M.MESSAGE_TOOL_CALLS}.0.{T.TOOL_CALL_ID}": "call_1",
        f"{S.LLM_OUTPUT_MESSAGES}.1.{M.MESSAGE_TOOL_CALLS}.0.{T.TOOL_CALL_FUNCTION_NAME}": "get_weather",
        f"{S.LLM_OUTPUT_MESSAGES}.1.{M.MESSAGE_TOOL_CALLS}.0.{T.TOOL_CALL_FUNCTION_ARGUMENTS_JSON}": '{"location":"Paris"}',
        f"{S.LLM_TOOLS}.0.tool.json_schema": json.dumps({"type": "function", "function": {"name": "get_weather"}}),
        S.LLM_TOKEN_COUNT_PROMPT: 20,
        S.LLM_COST_TOTAL: 0.01,
        S.LLM_FINISH_REASON: "tool_calls",
        S.LLM_PROMPT_TEMPLATE: "Be {how}.",
        S.LLM_PROMPT_TEMPLATE_VARIABLES: '{"how": "brief"}',
        S.LLM_PROMPT_TEMPLATE_VERSION: "v1",
        S.SESSION_ID: "s-1",
        S.USER_ID: "u-1",
        S.METADATA: '{"tier": "gold"}',
        S.TAG_TAGS: ["shopping"],
    }
    found = event(span(attributes))
    assert (found["model"], found["model_version"]) == ("claude-4", "claude-4-0601")
    assert found["input"]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is this?"},
                                     {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]},
        {"role": "tool", "content": "", "tool_call_id": "call_0", "name": "look"},
        {"role": "user", "content": "Well?"},
    ]  # fmt: skip
    assert found["output"] == {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]}
    assert found["tools"] == [{"type": "function", "function": {"name": "get_weather"}}]
    assert found["parameters"] == {"temperature": 0.1}
    assert found["template"] == {
        "id": "sha256-" + hashlib.sha256(b"Be {how}.").hexdigest()[:16], "version": "v1", "variables": {"how": "brief"},
    }  # fmt: skip
    assert (found["session_id"], found["user_id"]) == ("s-1", "u-1")
    assert found["system"]["usage"] == {"input_tokens": 20}
    assert (found["system"]["cost_usd"], found["system"]["finish_reasons"]) == (0.01, ["tool_calls"])
    assert found["metadata"]["attributes"] == {"tier": "gold"}
    assert found["metadata"]["tags"] == ["shopping"]


def test_several_choices_keep_the_first_and_say_so():
    attributes = {
        S.OPENINFERENCE_SPAN_KIND: "LLM",
        S.LLM_MODEL_NAME: "m",
        S.LLM_INVOCATION_PARAMETERS: '{"n": 2}',
        f"{S.LLM_INPUT_MESSAGES}.0.{M.MESSAGE_CONTENT}": "Hello",
        f"{S.LLM_OUTPUT_MESSAGES}.0.{M.MESSAGE_CONTENT}": "Hi",
        f"{S.LLM_OUTPUT_MESSAGES}.1.{M.MESSAGE_CONTENT}": "Hey",
    }
    found = event(span(attributes))
    assert found["output"] == "Hi"
    assert found["system"]["choices"] == 2


def test_a_call_by_openllmetry():
    attributes = {
        "gen_ai.system": "OpenAI",
        "llm.request.type": "chat",
        "gen_ai.request.model": "gpt-4",
        "gen_ai.prompt.0.role": "system",
        "gen_ai.prompt.0.content": "Be brief.",
        "gen_ai.prompt.1.role": "assistant",
        "gen_ai.prompt.1.tool_calls.0.id": "call_1",
        "gen_ai.prompt.1.tool_calls.0.name": "get_weather",
        "gen_ai.prompt.1.tool_calls.0.arguments": '{"location":"Paris"}',
        "gen_ai.prompt.2.role": "tool",
        "gen_ai.prompt.2.tool_call_id": "call_1",
        "gen_ai.prompt.2.content": "rain",
        "gen_ai.prompt.3.role": "user",
        "gen_ai.prompt.3.content": '[{"type": "text", "text": "Well?"}]',
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": "Rain.",
        "gen_ai.completion.0.finish_reason": "stop",
        "llm.request.functions.0.name": "get_weather",
        "llm.request.functions.0.parameters": '{"type": "object"}',
        "gen_ai.usage.prompt_tokens": 9,
        "llm.usage.total_tokens": 12,
        "llm.top_k": 3,
        "traceloop.association.properties.session_id": "s-1",
        "traceloop.association.properties.plan": "free",
    }
    found = event(span(attributes))
    assert found["input"]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "content": "rain", "tool_call_id": "call_1"},
        {"role": "user", "content": "Well?"},
    ]
    assert (found["output"], found["model_version"], found["session_id"]) == ("Rain.", "gpt-4", "s-1")
    assert found["tools"] == [
        {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    ]
    assert found["parameters"] == {"top_k": 3}
    assert found["system"]["usage"] == {"input_tokens": 9, "total_tokens": 12}
    assert found["system"]["finish_reasons"] == ["stop"]
    assert found["metadata"]["attributes"] == {"session_id": "s-1", "plan": "free"}


def test_messages_recorded_as_span_events():
    choice = {"index": 0, "finish_reason": "stop", "message": json.dumps({"role": "assistant", "content": "Rain."})}
    events = [
        ("gen_ai.system.message", START, {"content": "Be brief."}),
        ("gen_ai.user.message", START, {"gen_ai.event.content": '{"role": "user", "content": "Weather?"}'}),
        ("gen_ai.choice", START, choice),
    ]
    bare = without(CHAT, "gen_ai.input.messages", "gen_ai.output.messages")
    found = event(span(bare, events=events))
    assert found["input"]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
    ]
    assert (found["output"], found["system"]["finish_reasons"]) == ("Rain.", ["stop"])
    events = [
        ("gen_ai.content.prompt", START, {"gen_ai.prompt": '[{"role": "user", "content": "Weather?"}]'}),
        ("gen_ai.content.completion", START, {"gen_ai.completion": "Rain."}),
    ]
    found = event(span(bare, events=events))
    assert (found["input"], found["output"]) == ({"messages": [{"role": "user", "content": "Weather?"}]}, "Rain.")


@pytest.mark.parametrize(
    ("given", "answered", "input", "output"),
    [
        ({"llm.prompts.0.prompt.text": "Once"}, {"llm.choices.0.completion.text": " upon"}, "Once", " upon"),
        ({"gen_ai.prompt.0.content": "Once"}, {"gen_ai.completion.0.content": "upon"}, "Once", "upon"),
        ({"input.value": "Once"}, {"output.value": "upon"}, "Once", "upon"),
        (
            {"input.value": '{"messages": [{"role": "human", "content": "Once"}]}'},
            {"output.value": '{"choices": [{"message": {"role": "assistant", "content": "upon"}}]}'},
            {"messages": [{"role": "user", "content": "Once"}]},
            "upon",
        ),
        ({"input.value": '{"q": 1}'}, {"output.value": '{"a": 2}'}, {"q": 1}, {"a": 2}),
    ],
)
def test_completions_and_plain_values(given, answered, input, output):
    found = event(span({S.OPENINFERENCE_SPAN_KIND: "LLM", S.LLM_MODEL_NAME: "m"} | given | answered))
    assert (found["input"], found["output"]) == (input, output)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({}, "not_a_model_call"),
        ({"http.request.method": "GET", "url.full": "https://example.com"}, "not_a_model_call"),
        ({"openinference.span.kind": "TOOL", "input.value": "x", "output.value": "y"}, "tool_span"),
        ({"openinference.span.kind": "CHAIN"}, "chain_span"),
        ({"openinference.span.kind": "RETRIEVER"}, "retriever_span"),
        ({"openinference.span.kind": "EMBEDDING", "llm.model_name": "m"}, "embedding_span"),
        ({"openinference.span.kind": "AGENT", **CHAT}, "agent_span"),
        ({**CHAT, "gen_ai.operation.name": "execute_tool"}, "tool_span"),
        ({**CHAT, "gen_ai.operation.name": "embeddings"}, "embedding_span"),
        ({**CHAT, "gen_ai.operation.name": "invoke_agent"}, "agent_span"),
        ({"traceloop.span.kind": "workflow"}, "chain_span"),
        ({"llm.request.type": "rerank", "gen_ai.request.model": "m"}, "reranker_span"),
        (without(CHAT, "gen_ai.input.messages"), "content_not_captured"),
        (without(CHAT, "gen_ai.output.messages"), "content_not_captured"),
    ],
)
def test_spans_without_anything_for_us_are_counted(attributes, reason):
    found = read(span(attributes))
    assert (found.mapped, found.misfits, found.skipped) == ((), (), {reason: 1})


def test_a_failed_call_counts_unless_it_answered():
    failed = without(CHAT, "gen_ai.output.messages") | {"error.type": "timeout"}
    assert read(span(failed, status=2)).skipped == {"failed_call": 1}
    found = event(span(CHAT | {"error.type": "timeout"}, status=2, message="cut off"))
    assert found["system"]["error"] == {"type": "timeout", "message": "cut off"}


def test_calls_of_unknown_operations_are_told_by_their_model():
    assert event(span(CHAT | {"gen_ai.operation.name": "responses"}))["output"] == "Rain."
    assert event(span(without(CHAT, "gen_ai.operation.name", "gen_ai.provider.name")))["output"] == "Rain."


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"attributes": without(CHAT, "gen_ai.request.model", "gen_ai.response.model")}, "names no model"),
        ({"attributes": CHAT | {"gen_ai.input.messages": CHAT["gen_ai.input.messages"][:-4]}}, "LENGTH_LIMIT"),
        ({"attributes": CHAT | {"gen_ai.output.messages": "[" * 50 + "]" * 50}}, "nested too deeply"),
        ({"start": 0, "end": 0}, "endTimeUnixNano"),
    ],
)
def test_calls_that_cannot_be_mapped_say_why_and_keep_the_span(changed, says):
    found = read(span(**changed))
    [misfit] = found.misfits
    assert (found.mapped, misfit.span, misfit.kind) == ((), 0, "inference")
    assert says in misfit.message
    assert json.loads(misfit.body)["spanId"] == SPAN


def test_what_the_sender_leaves_out_can_be_given():
    bare = without(CHAT, "gen_ai.request.model", "gen_ai.response.model")
    decoded = decode_export(as_json(span(bare)), JSON)
    [mapped] = map_spans(decoded, Defaults("m", "3", "support", "staging")).mapped
    assert (
        mapped.event.items()
        >= {"model": "m", "model_version": "3", "task": "support", "environment": "staging"}.items()
    )
    [mapped] = map_spans(decode_export(as_json(span()), JSON), Defaults("m", "3")).mapped
    assert (mapped.event["model"], mapped.event["model_version"]) == ("gpt-4", "gpt-4-0613")
    assert "environment" not in mapped.event


def test_ids_that_the_contract_cannot_take_are_left_out_of_keys_and_sessions():
    long = "x" * 257
    found = event(span(CHAT | {"gen_ai.response.id": long, "gen_ai.conversation.id": long, "user.id": 12}))
    assert found["keys"] == {"trace_id": TRACE}
    assert found["metadata"]["response_id"] == long
    assert "session_id" not in found
    assert found["user_id"] == "12"


def test_the_same_span_gives_the_same_bytes_in_any_company():
    alone = json.dumps(event(span(CHAT | {"metadata": '{"b": 1, "a": 2}'})))
    among = [m.event for m in read(span({}, id=PARENT), span(CHAT | {"metadata": '{"b": 1, "a": 2}'})).mapped]
    assert [json.dumps(one) for one in among] == [alone]


def test_a_span_that_the_contract_refuses_is_mapped_and_left_to_the_door():
    with pytest.raises(EventRejected, match="value_too_long"):
        read(span(CHAT | {"gen_ai.request.model": "m" * 257}))
