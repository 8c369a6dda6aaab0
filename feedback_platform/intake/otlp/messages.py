"""One chat message in each convention's form becomes one in the common form: role, content, tool calls.

The common form is the one chat APIs and trainers share: `content` is text or a list of typed parts, `tool_calls` hold
`{id, type, function: {name, arguments}}` with the arguments as JSON text, and what a tool answered is a message of
its own with `tool_call_id`. Reasoning is kept apart, in `reasoning_content`.
"""

from collections.abc import Mapping, Sequence

import msgspec

from feedback_platform.intake.otlp.attributes import child, entries, from_json, plain, text

Message = dict[str, object]

_ROLES = {"human": "user", "ai": "assistant", "model": "assistant", "bot": "assistant", "chatbot": "assistant"}
_CALLS = ("tool_call", "tool_use", "function_call")
_ANSWERS = ("tool_call_response", "tool_result")
_REASONING = ("reasoning", "thinking")


def chat_messages(value: object, default_role: str) -> list[Message]:
    """Messages of the GenAI conventions (`role` and `parts`) or of a chat API (`role` and `content`)."""
    if isinstance(value, str):
        return [{"role": default_role, "content": value}]
    listed = [value] if isinstance(value, dict) else entries(value)
    return [message for entry in listed for message in chat_message(entry, default_role)]


def chat_message(entry: object, default_role: str) -> list[Message]:
    """One message; several where it carries the answers of several tools, none where it is not a message."""
    if not isinstance(entry, dict):
        return []
    body = entry.get("parts")
    if body is None:
        body = _typed_parts(entry.get("content"))
    parts: list[object] = [body] if isinstance(body, str | dict) else entries(body)
    return _assembled(entry, parts, role_of(entry.get("role"), default_role))


def openinference_message(entry: object, default_role: str) -> list[Message]:
    """One message of `llm.input_messages` or `llm.output_messages`, as `flattened` returns it."""
    body = child(entry, "message")
    if not isinstance(body, dict):
        return []
    contents = entries(body.get("contents"))
    parts = [_openinference_part(part) for part in contents] or [body.get("content")]
    calls = [child(call, "tool_call") for call in entries(body.get("tool_calls"))]
    if function := text(body.get("function_call_name")):
        calls.append({"name": function, "arguments": body.get("function_call_arguments_json")})
    outer = {"name": body.get("name"), "tool_call_id": body.get("tool_call_id"), "tool_calls": calls}
    return _assembled(outer, parts, role_of(body.get("role"), default_role))


def joined(parts: object) -> str | None:
    """The text of system instructions: a text, or the texts of a list of parts."""
    if isinstance(parts, str):
        return parts or None
    listed = [parts] if isinstance(parts, dict) else entries(parts)
    texts = [part if isinstance(part, str) else text(child(part, "content")) for part in listed]
    return "\n".join(found for found in texts if found) or None


def role_of(value: object, default: str) -> str:
    """A role by its common name."""
    found = (text(value) or default).lower()
    return _ROLES.get(found, found)


def as_text(value: object) -> str:
    """A text as it is, any other value as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(plain(value)).decode()


def _typed_parts(content: object) -> object:
    """Content that is a list of typed parts, also where it was recorded as JSON text."""
    found = from_json(content)
    is_typed = isinstance(found, list) and found and all(isinstance(part, dict) and "type" in part for part in found)
    return found if is_typed else content


def _openinference_part(part: object) -> object:
    content = child(part, "message_content")
    kind = text(child(content, "type"))
    if kind == "tool_use":
        return {"type": "tool_call", **_as_dict(child(part, "tool_call"))}
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": child(content, "image", "image", "url")}}
    if kind in ("text", "reasoning"):
        return {"type": kind, "content": child(content, "text")}
    return content


def _assembled(entry: Mapping[str, object], parts: Sequence[object], role: str) -> list[Message]:
    """The message that these parts make up, and one for each tool's answer among them."""
    content, reasoning, called, answers = _sorted(parts)
    calls = [call for raw in [*entries(from_json(entry.get("tool_calls"))), *called] if (call := _tool_call(raw))]
    message: Message = {"role": role}
    if (said := _content(content)) is not None:
        message["content"] = said
    if thought := [found for part in reasoning if (found := _text_in(part))]:
        message["reasoning_content"] = "\n".join(thought)
    if calls:
        message["tool_calls"] = calls
    if call_id := text(entry.get("tool_call_id")):  # a tool may answer nothing, and its call still has its answer
        message = {"content": "", **message, "tool_call_id": call_id}
    says_something = len(message) > 1
    if speaker := text(entry.get("name")):
        message["name"] = speaker
    return [*([message] if says_something else []), *[_tool_answer(_as_dict(part)) for part in answers]]


def _sorted(parts: Sequence[object]) -> tuple[list[object], list[object], list[object], list[object]]:
    """Parts by what they are: content, reasoning, tool calls, tools' answers; empty ones are left out."""
    groups: tuple[list[object], list[object], list[object], list[object]] = ([], [], [], [])
    for part in parts:
        kind = child(part, "type")
        if kind in _REASONING:
            groups[1].append(part)
        elif kind in _CALLS:
            groups[2].append(part)
        elif kind in _ANSWERS:
            groups[3].append(part)
        elif part not in (None, "", {}):
            groups[0].append(part)
    return groups


def _content(parts: Sequence[object]) -> object:
    """Text where all parts are text, else typed parts; None for no parts."""
    if not parts:
        return None
    texts = [_text_of(part) for part in parts]
    if all(found is not None for found in texts):
        return "\n".join(found for found in texts if found is not None)
    typed = zip(parts, texts, strict=True)
    return [plain(part) if said is None else {"type": "text", "text": said} for part, said in typed]


def _text_of(part: object) -> str | None:
    if isinstance(part, str):
        return part
    if child(part, "type") not in (None, "text", "input_text", "output_text"):
        return None
    return _text_in(part)


def _text_in(part: object) -> str | None:
    said = next((found for key in ("content", "text", "thinking") if (found := child(part, key)) is not None), None)
    return said if isinstance(said, str) else None


def _tool_call(raw: object) -> Message | None:
    """A tool call in the common form; name and arguments may lie at the top or in `function`."""
    if not isinstance(raw, dict):
        return None
    function = _as_dict(raw.get("function"))
    called = text(raw.get("name")) or text(function.get("name"))
    if called is None:
        return None
    arguments = next(
        (found for found in (raw.get("arguments"), raw.get("input"), function.get("arguments")) if found is not None),
        {},
    )
    call: Message = {"type": "function", "function": {"name": called, "arguments": as_text(arguments)}}
    return {"id": found, **call} if (found := text(raw.get("id"))) else call


def _tool_answer(part: Mapping[str, object]) -> Message:
    # The conventions call it `response`; their examples, and older instrumentations, say `result`.
    body = next((part[key] for key in ("response", "result", "content") if part.get(key) is not None), "")
    answer: Message = {"role": "tool", "content": as_text(body)}
    call_id = text(part.get("id")) or text(part.get("tool_use_id"))
    return {**answer, "tool_call_id": call_id} if call_id else answer


def _as_dict(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}
