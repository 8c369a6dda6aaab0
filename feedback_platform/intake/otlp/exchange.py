"""What a model call was given and what it answered, from whichever convention recorded it.

In order: GenAI attributes (on the span, or on its `operation.details` event), OpenInference messages, indexed
`gen_ai.prompt.N` (OpenLLMetry), messages recorded as span events (GenAI before 1.37), and plain `input.value`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from feedback_platform.intake.otlp.attributes import (
    child,
    entries,
    first,
    flattened,
    from_json,
    json_attribute,
    plain,
    text,
)
from feedback_platform.intake.otlp.messages import (
    Message,
    as_text,
    chat_message,
    chat_messages,
    joined,
    openinference_message,
)
from feedback_platform.intake.otlp.spans import Attributes, Span, SpanEvent

DETAILS_EVENT = "gen_ai.client.inference.operation.details"
_SPOKEN = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """Input and output in the canonical forms of the wire contract; None where they were not recorded.

    `finish_reasons` are those that stand beside the messages; `choices` counts the answers, of which the first is
    the output.
    """

    input: object
    output: object
    finish_reasons: tuple[str, ...] = ()
    choices: int = 1


def all_attributes(span: Span) -> Attributes:
    """The span's attributes, and those of its details event where the span lacks them."""
    details = [event.attributes for event in span.events if event.name == DETAILS_EVENT]
    merged = {key: value for attributes in details for key, value in attributes.items()}
    return {**merged, **span.attributes} if merged else span.attributes


def exchange_of(span: Span, attributes: Attributes) -> Exchange:
    """What was said in this model call.

    Args:
        span: the model call.
        attributes: its attributes with those of its details event.

    Raises:
        UnreadableAttribute: messages were recorded and cannot be read.
    """
    given = _first_said(_INPUTS, span, attributes)
    answers = _first_said(_OUTPUTS, span, attributes)
    system = joined(json_attribute(attributes, "gen_ai.system_instructions"))
    if system is not None and (isinstance(given, list | str) or given is None):
        turns = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
        given = [{"role": "system", "content": system}, *turns]
    output = next(iter(answers), None) if isinstance(answers, list) else answers
    return Exchange(
        plain({"messages": given} if isinstance(given, list) else given),
        plain(_answer(output)),
        tuple(_finish_reasons(span, attributes)),
        len(answers) if isinstance(answers, list) and answers else 1,
    )


def _answer(output: object) -> object:
    """An answer that is nothing but text is that text; with tool calls, reasoning or parts it stays a message."""
    if not isinstance(output, dict) or set(output) != {"role", "content"}:
        return output
    return output["content"] if output["role"] == "assistant" and isinstance(output["content"], str) else output


Said = list[Message] | object
_Source = Callable[[Span, Attributes], Said]


def _first_said(sources: Iterable[_Source], span: Span, attributes: Attributes) -> Said:
    said = (source(span, attributes) for source in sources)
    return next((found for found in said if found not in (None, "", [], {})), None)


def _genai(key: str, role: str) -> _Source:
    return lambda span, attributes: chat_messages(json_attribute(attributes, key), role)


def _openinference(key: str, role: str) -> _Source:
    return lambda span, attributes: [
        message for entry in flattened(attributes, key) for message in openinference_message(entry, role)
    ]


def _openinference_answers(span: Span, attributes: Attributes) -> Said:
    """The answers; several messages of a call that asked for one are its parts (text, then calls), so one message."""
    messages = _openinference("llm.output_messages", "assistant")(span, attributes)
    wanted = child(from_json(attributes.get("llm.invocation_parameters")), "n")
    if not isinstance(messages, list) or len(messages) < 2 or (isinstance(wanted, int) and wanted > 1):
        return messages
    merged: Message = {"role": messages[0]["role"]}
    for key in ("content", "reasoning_content"):
        parts = [message[key] for message in messages if message.get(key)]
        if parts:
            merged[key] = parts[0] if len(parts) == 1 else "\n".join(as_text(part) for part in parts)
    calls = [call for message in messages for call in entries(message.get("tool_calls"))]
    return [{**merged, "tool_calls": calls} if calls else merged]


def _indexed(key: str, role: str) -> _Source:
    """`gen_ai.prompt.N.*` and its older spelling; one entry without a role is a text completion."""

    def said(span: Span, attributes: Attributes) -> Said:
        listed = flattened(attributes, key)
        if len(listed) == 1 and "role" not in listed[0] and role == "user":
            return text(listed[0].get("content"))
        return [message for entry in listed for message in chat_message(entry, role)]

    return said


def _completion_texts(key: str, *path: str) -> _Source:
    """Texts of the legacy completions API; several prompts of one call cannot be told apart by answer."""
    return lambda span, attributes: next((text(child(entry, *path)) for entry in flattened(attributes, key)), None)


def _event_messages(span: Span, attributes: Attributes) -> Said:
    return [
        message
        for event in span.events
        if (role := _SPOKEN.get(event.name))
        for message in chat_message(_event_body(event), role)
    ]


def _event_choices(span: Span, attributes: Attributes) -> Said:
    messages: list[Message] = []
    for event in span.events:
        if event.name == "gen_ai.choice":
            body = _event_body(event)
            said = from_json(body.get("message"))
            entry = said if isinstance(said, dict) else {**body, "content": said or body.get("content")}
            messages += chat_message(entry, "assistant")
    return messages


def _event_body(event: SpanEvent) -> dict[str, object]:
    body = from_json(event.attributes.get("gen_ai.event.content"))
    return body if isinstance(body, dict) else dict(event.attributes)


def _content_event(name: str, key: str, role: str) -> _Source:
    """`gen_ai.prompt` and `gen_ai.completion`, on the span or on an event of their own."""

    def said(span: Span, attributes: Attributes) -> Said:
        found = attributes.get(key) or next((e.attributes.get(key) for e in span.events if e.name == name), None)
        value = from_json(found)
        return value if isinstance(value, str) else chat_messages(value, role)

    return said


def _plain_input(span: Span, attributes: Attributes) -> Said:
    value = from_json(attributes.get("input.value"))
    messages = chat_messages(listed, "user") if isinstance(listed := child(value, "messages"), list) else []
    return messages or value


def _plain_output(span: Span, attributes: Attributes) -> Said:
    value = from_json(attributes.get("output.value"))
    choices = [child(choice, "message") for choice in entries(child(value, "choices"))]
    answers = [message for choice in choices for message in chat_message(choice, "assistant")]
    if not answers and isinstance(value, dict) and {"role", "content"} <= set(value):
        answers = chat_message(value, "assistant")
    return answers or value


def _finish_reasons(span: Span, attributes: Attributes) -> list[str]:
    """Why each answer ended: beside the messages, else in an attribute."""
    beside = [child(entry, "finish_reason") for entry in entries(from_json(attributes.get("gen_ai.output.messages")))]
    beside += [entry.get("finish_reason") for entry in flattened(attributes, "gen_ai.completion")]
    beside += [_event_body(event).get("finish_reason") for event in span.events if event.name == "gen_ai.choice"]
    listed = first(attributes, "gen_ai.response.finish_reasons", "llm.finish_reason", "llm.response.finish_reason")
    found = entries(from_json(listed)) or [from_json(listed), *beside]
    return [reason for reason in (text(value) for value in found) if reason]


_INPUTS: tuple[_Source, ...] = (
    _genai("gen_ai.input.messages", "user"),
    _openinference("llm.input_messages", "user"),
    _completion_texts("llm.prompts", "prompt", "text"),
    _indexed("gen_ai.prompt", "user"),
    _indexed("llm.prompts", "user"),
    _event_messages,
    _content_event("gen_ai.content.prompt", "gen_ai.prompt", "user"),
    _plain_input,
)
_OUTPUTS: tuple[_Source, ...] = (
    _genai("gen_ai.output.messages", "assistant"),
    _openinference_answers,
    _completion_texts("llm.choices", "completion", "text"),
    _indexed("gen_ai.completion", "assistant"),
    _indexed("llm.completions", "assistant"),
    _event_choices,
    _content_event("gen_ai.content.completion", "gen_ai.completion", "assistant"),
    _plain_output,
)
