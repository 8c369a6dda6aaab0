"""OpenAI-style chat logs (JSON Lines or a JSON list) become inferences; one record is one call, told by its names.

- `{"request": <create payload>, "response": <ChatCompletion>}`, and the NVIDIA flywheel's `timestamp`, `workload_id`
  (the task) and `client_id` around it;
- OpenPipe's export `{"input": <create payload>, "output": <ChatCompletion>, "tags"}`;
- LiteLLM's StandardLoggingPayload `{"messages", "response", "model_parameters", "endTime", ...}`;
- stored completions `{"messages", "choices", "created", ...}`;
- fine-tuning files `{"messages": [...], "tools"?}`: the last assistant message is the output.

The time is the response's `created`, else the record's own; a record without any is misunderstood, because a time
that is made up (the file's, the clock's) would differ at the next import. The id is the record's `request_id` or `id`,
else the response's, else a hash of the whole record: equal records without ids are one call. Of several choices each
becomes an inference. Calls that failed or are no chat are skipped.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from feedback_platform.intake.importers import chat_shapes, line_files
from feedback_platform.intake.importers.foreign import Found, Item, Misunderstood, Options, UnreadableRest
from feedback_platform.intake.importers.ids import UNVERSIONED, content_id, instant, safe_id, short, wire_time
from feedback_platform.intake.importers.values import (
    JsonObject,
    Nothing,
    NotMapped,
    items,
    json_in,
    mapping,
    misunderstood,
    named,
    number,
    present,
    text,
)  # fmt: skip

NAME = "openai-chat"
SUMMARY = "OpenAI-style chat logs: request/response, NVIDIA flywheel, OpenPipe, LiteLLM, fine-tuning JSONL"

_SUFFIXES = (".jsonl", ".ndjson", ".json")
_EXPECTED = (
    "an OpenAI-style chat log: records have `request` and `response`, `input` and `output`, "
    "`messages` and `response`, or `messages`"
)
_TIMES = ("created", "created_at", "endTime", "end_time", "timestamp", "received_at", "startTime", "start_time")
_NOT_PARAMETERS = {"model", "messages", "tools", "user", "metadata"}
_CHAT_CALLS = {"completion", "acompletion", "chat_completion", "chat.completion"}


def read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    """Every call in the files.

    Raises:
        ImportFormatError: none of a file's first records is a chat call.
        UnreadableRest: at the end, when some files could not be read to theirs.
    """
    damage: list[str] = []
    for path in line_files.files(paths, _SUFFIXES):
        raws = line_files.listed(path) if line_files.beginning(path) == b"[" else line_files.lines(path)
        records = line_files.decoded(raws, path, damage)
        for record in line_files.recognised(path, records, _is_known, _EXPECTED):
            if isinstance(record, Misunderstood):
                yield record
                continue
            raw, body = record
            try:
                yield from [Found("inference", event, path, raw.line) for event in _inferences(body, options)]
            except Nothing as reason:
                yield reason.skipped()
            except NotMapped as problem:
                yield misunderstood("inference", problem, raw, path)
    if damage:
        raise UnreadableRest("; ".join(damage))


def _is_known(record: JsonObject) -> bool:
    names = set(record)
    return "messages" in names or {"request", "response"} <= names or {"input", "output"} <= names


def _inferences(record: JsonObject, options: Options) -> list[JsonObject]:
    call_type = text(record.get("call_type"))
    if call_type is not None and call_type not in _CHAT_CALLS:
        raise Nothing("not_a_chat_call")
    request, response = _call(record)
    if record.get("status") == "failure" or response is None or (isinstance(response, dict) and response.get("error")):
        raise Nothing("failed_call")
    said = chat_shapes.messages(json_in(request.get("messages")))
    answers = _answers(response)
    if not answers:
        said, answers = _last_turn(said)
    shared = _shared(record, request, mapping(response), options)
    events: list[JsonObject] = []
    for place, (output, about) in enumerate(answers):
        request_id = str(shared["request_id"]) if place == 0 else safe_id(shared["request_id"], f"choice-{place}")
        system = present(mapping(shared["system"]) | mapping(about.pop("system", None)))
        told = present({**shared, **about, "request_id": request_id, "system": system})
        events.append({**told, "input": {"messages": said}, "output": output})
    return events


def _call(record: JsonObject) -> tuple[JsonObject, object]:
    """The create payload and what came back; an empty object where a fine-tuning record holds both in one."""
    if "request" in record:
        return mapping(json_in(record["request"])), json_in(record.get("response"))
    if "input" in record:
        sent = json_in(record["input"])
        return (mapping(sent) if isinstance(sent, dict) else {"messages": sent}), json_in(record.get("output"))
    if "response" in record:
        parameters = mapping(record.get("model_parameters"))
        sent = {"model": record.get("model"), "messages": record.get("messages"), "user": record.get("end_user")}
        return {**parameters, **sent}, json_in(record["response"])
    if "choices" in record:
        return {name: record.get(name) for name in ("model", "messages", "tools", "user", "metadata")}, record
    return {name: record[name] for name in record if name in {*_NOT_PARAMETERS, "parallel_tool_calls"}}, {}


def _answers(response: object) -> list[tuple[object, JsonObject]]:
    """Each choice as an output with what is known of it alone; none when the response is no completion."""
    if isinstance(response, str):
        return [(response, {})]
    if isinstance(response, dict) and text(response.get("role")):
        return [(chat_shapes.answer(response), {})]
    if response == {}:
        return []
    choices = items(mapping(response).get("choices"))
    if not choices:
        raise NotMapped("the response has no `choices`. Log the whole ChatCompletion (of a stream: its parts joined).")
    return [_choice(mapping(choice)) for choice in choices]


def _choice(choice: JsonObject) -> tuple[object, JsonObject]:
    message = choice.get("message")
    if not isinstance(message, dict):
        raise NotMapped("a choice has no `message`. Log the whole ChatCompletion (of a stream: its parts joined).")
    tokens = [t for t in items(mapping(choice.get("logprobs")).get("content")) if isinstance(t, dict)]
    chances = [number(token.get("logprob")) for token in tokens]
    about: JsonObject = {"system": present({"finish_reason": choice.get("finish_reason")})}
    if tokens and None not in chances:
        about |= {"token_logprobs": tokens, "logprob": sum(c for c in chances if c is not None)}
    return chat_shapes.answer(message), about


def _last_turn(said: list[JsonObject]) -> tuple[list[JsonObject], list[tuple[object, JsonObject]]]:
    """A fine-tuning record: what came before the last message, and that message."""
    if said[-1]["role"] != "assistant" or len(said) == 1:
        raise NotMapped("the last message is not an assistant's answer to others. End the record with the answer.")
    return said[:-1], [(chat_shapes.answer(said[-1]), {})]


def _shared(record: JsonObject, request: JsonObject, response: JsonObject, options: Options) -> JsonObject:
    """What all choices of a call have in common."""
    asked = text(request.get("model")) or text(record.get("model"))
    answered = text(response.get("model"))
    model = asked or answered or options.model
    if model is None:
        raise NotMapped("the record names no model. Give its name with --model.")
    own_id = named(record.get("request_id")) or named(record.get("id")) or named(response.get("id"))
    tools = items(json_in(request.get("tools")))
    typed = bool(tools) and all(isinstance(tool, dict) for tool in tools)
    left_out = _NOT_PARAMETERS - (set() if typed or not tools else {"tools"})
    return {
        "request_id": safe_id(own_id) if own_id else content_id("chat", record),
        "timestamp": _time(record, response),
        "model": short(model),
        "model_version": short(answered or options.model_version or UNVERSIONED),
        "task": short(options.task or named(record.get("workload_id")) or "default"),
        "environment": options.environment,
        "parameters": present((name, value) for name, value in request.items() if name not in left_out),
        "tools": tools if typed else None,
        "user_id": _name(request.get("user")),
        "session_id": _name(record.get("session_id")) or _name(record.get("conversation_id")),
        "system": _system(record, response),
        "metadata": _metadata(record, request),
    }


def _time(record: JsonObject, response: JsonObject) -> str:
    stated = [response.get("created"), *(record.get(name) for name in _TIMES)]
    at = next((at for at in map(instant, stated) if at is not None), None)
    if at is None:
        fix = "Add `timestamp` (RFC 3339 or epoch seconds) to each record"
        raise NotMapped(f"the record says nowhere when the answer was given. {fix}.")
    return wire_time(at)


def _system(record: JsonObject, response: JsonObject) -> JsonObject:
    seconds = number(record.get("response_time"))
    return present(
        {
            "usage": response.get("usage"),
            "system_fingerprint": response.get("system_fingerprint"),
            "response_cost": record.get("response_cost"),
            "latency_ms": None if seconds is None else round(seconds * 1000, 3),
            "cache_hit": record.get("cache_hit"),
        }
    )


def _metadata(record: JsonObject, request: JsonObject) -> JsonObject:
    kept = ("client_id", "tags", "trace_id", "request_tags", "metadata")
    return present({name: record.get(name) for name in kept} | present({"request": request.get("metadata")}))


def _name(value: object) -> str | None:
    told = named(value)
    return None if told is None else short(told)
