"""A model call becomes an inference in words of the wire contract.

`request_id` is `<trace id>-<span id>`: unique, and the same at every repetition of an export; the provider's response
id goes to `keys.response_id`. `model` is the model that was asked for and `model_version` the one that answered (the
snapshot behind an alias), else the same name: a provider's move to a new snapshot is a new version of one model.
`service.version` changes with every release of the application and stays in the metadata. `timestamp` is the span's end.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from feedback_platform.intake.otlp.attributes import (
    child,
    entries,
    first,
    flattened,
    from_json,
    json_object,
    name,
    number,
    plain,
    text,
)
from feedback_platform.intake.otlp.exchange import Exchange
from feedback_platform.intake.otlp.spans import Attributes, Span

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_PARAMETERS = {"model", "messages", "tools", "functions", "prompt", "input", "contents"}
_PARAMETERS = {
    "llm.top_k": "top_k",
    "llm.frequency_penalty": "frequency_penalty",
    "llm.presence_penalty": "presence_penalty",
    "llm.chat.stop_sequences": "stop_sequences",
    "llm.is_streaming": "stream",
    "gen_ai.output.type": "output_type",
}
_USAGE = {
    "input_tokens": ("gen_ai.usage.input_tokens", "llm.token_count.prompt", "gen_ai.usage.prompt_tokens"),
    "output_tokens": ("gen_ai.usage.output_tokens", "llm.token_count.completion", "gen_ai.usage.completion_tokens"),
    "total_tokens": ("gen_ai.usage.total_tokens", "llm.token_count.total", "llm.usage.total_tokens"),
    "reasoning_tokens": ("gen_ai.usage.reasoning.output_tokens", "llm.token_count.completion_details.reasoning"),
    "cache_read_tokens": ("gen_ai.usage.cache_read.input_tokens", "llm.token_count.prompt_details.cache_read"),
    "cache_write_tokens": ("gen_ai.usage.cache_creation.input_tokens", "llm.token_count.prompt_details.cache_write"),
}


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the sender's spans may lack, or what is to hold for all of them.

    Attributes:
        model: for calls that name no model.
        model_version: for calls that name no model.
        task: of all calls; the contract's default where None.
        environment: of all calls; the one that the span or its resource names where None.
    """

    model: str | None = None
    model_version: str | None = None
    task: str | None = None
    environment: str | None = None


class NotMapped(ValueError):
    """A model call cannot become an inference, or a judgement no feedback; the message says what to do."""


def inference_of(span: Span, attributes: Attributes, exchange: Exchange, defaults: Defaults) -> dict[str, object]:
    """The event; absent fields are left out.

    Args:
        span: the model call.
        attributes: its attributes with those of its details event.
        exchange: what was said; input and output are there.
        defaults: what the span may lack.

    Raises:
        NotMapped: the call names no model, or has no usable time.
    """
    model, version = _models(attributes, defaults)
    event = {
        "request_id": span.request_id,
        "timestamp": instant(span.end_ns or span.start_ns),
        "model": model,
        "model_version": version,
        "input": exchange.input,
        "output": exchange.output,
        "task": defaults.task,
        "environment": defaults.environment or _environment(span),
        "parameters": _parameters(attributes),
        "template": _template(attributes),
        "tools": _tools(attributes),
        "session_id": session_of(attributes),
        "user_id": user_of(attributes),
        "keys": _keys(span, attributes),
        "system": _system(span, attributes, exchange),
        "metadata": _metadata(span, attributes),
    }
    return {key: value for key, value in event.items() if value not in (None, {}, []) or key in ("input", "output")}


def instant(unix_ns: int) -> str:
    """RFC 3339 in UTC with microseconds; what is below a microsecond is cut off.

    Raises:
        NotMapped: the time is 0, so nobody set it.
    """
    if unix_ns <= 0:
        raise NotMapped("Its end and start are 0. Set endTimeUnixNano.")
    return (_EPOCH + timedelta(microseconds=unix_ns // 1000)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def session_of(attributes: Attributes) -> str | None:
    """The conversation that a span belongs to."""
    return name(
        first(attributes, "gen_ai.conversation.id", "session.id", "traceloop.association.properties.session_id")
    )


def user_of(attributes: Attributes) -> str | None:
    """The end user of a span's request."""
    found = first(attributes, "user.id", "enduser.id", "traceloop.association.properties.user_id", "llm.user")
    return name(found)


def _models(attributes: Attributes, defaults: Defaults) -> tuple[str, str]:
    parameters = from_json(attributes.get("llm.invocation_parameters"))
    answered = text(first(attributes, "gen_ai.response.model", "llm.response.model_name", "llm.response.model"))
    asked = text(first(attributes, "gen_ai.request.model", "llm.request.model_name", "llm.request.model"))
    asked = asked or text(child(parameters, "model"))
    either = text(attributes.get("llm.model_name"))  # what answered where that is known, else what was asked for
    model = asked or either or answered
    if model is not None:
        return model, answered or either or model
    if defaults.model is None:
        raise NotMapped("It names no model. Set gen_ai.request.model or llm.model_name.")
    return defaults.model, defaults.model_version or defaults.model


def _environment(span: Span) -> str | None:
    keys = ("deployment.environment.name", "deployment.environment")
    return name(first(span.attributes, *keys) or first(span.resource, *keys))


def _parameters(attributes: Attributes) -> dict[str, object]:
    """Request parameters by the last part of their names; `choice.count` becomes `choice_count`."""
    found = {
        key: value
        for key, value in (json_object(attributes.get("llm.invocation_parameters")) or {}).items()
        if key not in _NOT_PARAMETERS
    }
    for key in sorted(attributes):
        if key in _PARAMETERS:
            found[_PARAMETERS[key]] = plain(attributes[key])
        elif key.startswith("gen_ai.request.") and key != "gen_ai.request.model":
            found[key.removeprefix("gen_ai.request.").replace(".", "_")] = plain(attributes[key])
    return {key: value for key, value in found.items() if value is not None}


def _tools(attributes: Attributes) -> list[dict[str, object]]:
    """The tools on offer, in the common form `{type, function: {name, description, parameters}}`."""
    listed = entries(from_json(attributes.get("gen_ai.tool.definitions")))
    if not listed:
        tools = flattened(attributes, "llm.tools")
        listed = [child(tool, "tool", "json_schema") or child(tool, "tool") for tool in tools]
    if not listed:
        listed = list(flattened(attributes, "llm.request.functions"))
    return [_tool(tool) for raw in listed if (tool := json_object(raw))]


def _tool(tool: dict[str, object]) -> dict[str, object]:
    if "function" in tool or "name" not in tool:
        return tool
    function = {key: from_json(value) for key, value in tool.items() if key != "type"}
    return {"type": "function", "function": plain(function)}


def _template(attributes: Attributes) -> dict[str, object] | None:
    """The prompt template; one without an id gets an id of its text, so that its versions can be told apart."""
    body = text(first(attributes, "llm.prompt_template.template", "traceloop.prompt.template"))
    named = name(first(attributes, "prompt.id", "gen_ai.prompt.name", "traceloop.prompt.key"))
    if named is None and body is None:
        return None
    template: dict[str, object] = {"id": named or f"sha256-{hashlib.sha256((body or '').encode()).hexdigest()[:16]}"}
    version = name(first(attributes, "llm.prompt_template.version", "traceloop.prompt.version"))
    variables = json_object(first(attributes, "llm.prompt_template.variables", "traceloop.prompt.template_variables"))
    optional = {"version": version, "variables": variables}
    return {**template, **{key: value for key, value in optional.items() if value is not None}}


def _keys(span: Span, attributes: Attributes) -> dict[str, str]:
    response = name(attributes.get("gen_ai.response.id"))
    return {"trace_id": span.trace_id, **({"response_id": response} if response else {})}


def _system(span: Span, attributes: Attributes, exchange: Exchange) -> dict[str, object]:
    took_ns = span.end_ns - span.start_ns if 0 < span.start_ns <= span.end_ns else None
    first_chunk = number(attributes.get("gen_ai.response.time_to_first_chunk"))
    facts = {
        "latency_ms": None if took_ns is None else round(took_ns / 1e6, 3),
        "first_chunk_ms": None if first_chunk is None else round(first_chunk * 1000, 3),
        "usage": {
            key: found for key, names in _USAGE.items() if (found := number(first(attributes, *names))) is not None
        },
        "finish_reasons": list(exchange.finish_reasons),
        "choices": exchange.choices if exchange.choices > 1 else None,
        "provider": text(first(attributes, "gen_ai.provider.name", "llm.provider", "gen_ai.system", "llm.system")),
        "endpoint": text(attributes.get("server.address")),
        "cost_usd": number(attributes.get("llm.cost.total")),
        "error": _error(span, attributes),
    }
    return {key: value for key, value in facts.items() if value not in (None, {}, [])}


def _error(span: Span, attributes: Attributes) -> dict[str, object] | None:
    kind = text(attributes.get("error.type"))
    if not span.is_error and kind is None:
        return None
    return {key: value for key, value in (("type", kind), ("message", span.status_message)) if value}


def _metadata(span: Span, attributes: Attributes) -> dict[str, object]:
    """Where the event comes from, and what the sender attached to it."""
    associated = {
        key.removeprefix("traceloop.association.properties."): plain(value)
        for key, value in attributes.items()
        if key.startswith("traceloop.association.properties.")
    }
    facts = {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_id,
        "span_name": span.name,
        "service.name": text(span.resource.get("service.name")),
        "service.version": text(span.resource.get("service.version")),
        "scope": span.scope,
        "scope_version": span.scope_version,
        "response_id": text(attributes.get("gen_ai.response.id")),
        "tags": plain(entries(attributes.get("tag.tags"))),
        "attributes": {**associated, **(json_object(attributes.get("metadata")) or {})},
    }
    return {key: value for key, value in facts.items() if value not in (None, "", {}, [])}
