"""One MLflow trace, as its client writes it, and its model calls as inferences. No files, no assessments.

The client writes ids in base64 and every attribute as JSON text, also plain strings. Spans that came to MLflow over
OpenTelemetry keep the attributes of their convention beside MLflow's own reading of them; they are mapped from those.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from feedback_platform.intake.importers.foreign import Found, Item, Misunderstood, Options, Skipped
from feedback_platform.intake.importers.ids import instant, wire_time
from feedback_platform.intake.importers.mapped_values import (
    as_list,
    as_object,
    chat_input,
    chat_output,
    is_messages,
    latency_ms,
    named,
    origin,
    present,
    short_map,
)
from feedback_platform.intake.importers.record_files import Record
from feedback_platform.intake.importers.values import json_in
from feedback_platform.intake.otlp.inferences import Defaults
from feedback_platform.intake.otlp.mapping import map_spans
from feedback_platform.intake.otlp.spans import STATUS_ERROR, Decoded, Span, Value

MODEL_CALLS = ("LLM", "CHAT_MODEL")
_ERROR = "STATUS_CODE_ERROR"
_CONVENTIONS = ("openinference.span.kind", "gen_ai.operation.name")
_OURS = ("model", "tools")
_MODEL_NAMES = ("mlflow.llm.model", "gen_ai.response.model", "gen_ai.request.model", "llm.model_name")


@dataclass(frozen=True, slots=True)
class Call:
    """A span: ids in hex, times in Unix nanoseconds (0: has not ended), attributes decoded."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start_ns: int
    end_ns: int
    status: Mapping[str, object]
    attributes: Mapping[str, object]

    @property
    def request_id(self) -> str:
        """The same as for this span sent over OpenTelemetry."""
        return f"{self.trace_id}-{self.span_id}"


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace: its spans with the root first, its assessments, and what it says for all of them."""

    trace_id: str
    spans: list[Call]
    assessments: list[dict[str, object]]
    metadata: Mapping[str, object]
    tags: Mapping[str, object]


def trace_of(body: Mapping[str, object]) -> Trace | None:
    """The trace in a record: `Trace.to_dict`, or a row of `search_traces`; None where it is neither."""
    if "info" not in body and isinstance(body.get("trace"), str | dict):
        body = as_object(body["trace"])
    info, data = body.get("info"), body.get("data")
    if info is None and "spans" in body and "assessments" in body:
        info, data = body, body
    info, data = as_object(info), as_object(data)
    trace_id = info.get("trace_id")
    if not isinstance(trace_id, str) or not trace_id:
        return None
    spans = sorted(_spans(data.get("spans")), key=lambda pair: pair[0])
    return Trace(
        trace_id,
        [span for _, span in spans],
        [entry for entry in as_list(info.get("assessments")) if isinstance(entry, dict)],
        as_object(info.get("trace_metadata")),
        as_object(info.get("tags")),
    )


def is_model_call(span: Call) -> bool:
    """Whether the span is typed as a call of a language model."""
    return span.attributes.get("mlflow.spanType") in MODEL_CALLS


def inference(span: Call, trace: Trace, record: Record, options: Options) -> Iterator[Item]:
    """A span as an inference; a span that has not ended is skipped."""
    if not span.end_ns:
        yield Skipped("unfinished")
    elif any(key in span.attributes for key in _CONVENTIONS):
        yield from _over_opentelemetry(span, record, options)
    else:
        yield _mapped(span, trace, record, options)


def _over_opentelemetry(span: Call, record: Record, options: Options) -> Iterator[Item]:
    attributes = {key: value for key, value in span.attributes.items() if not key.startswith("mlflow.")}
    status = STATUS_ERROR if span.status.get("code") == _ERROR else 0
    sent = Span(
        record.line - 1, span.trace_id, span.span_id, span.parent_id, span.name, 0, span.start_ns, span.end_ns,
        cast(dict[str, Value], attributes), status_code=status, status_message=str(span.status.get("message") or ""),
    )  # fmt: skip
    defaults = Defaults(options.model, options.model_version, options.task, options.environment)
    found = map_spans(Decoded((sent,)), defaults)
    for event in found.mapped:
        yield Found(event.kind, event.event, record.path, record.line)
    for misfit in found.misfits:
        yield Misunderstood(misfit.kind, misfit.message, misfit.body, record.path, record.line)
    for reason, count in found.skipped.items():
        yield from [Skipped(reason)] * count


def _mapped(span: Call, trace: Trace, record: Record, options: Options) -> Item:
    given, beside = chat_input(_unwrapped(span.attributes.get("mlflow.spanInputs")))
    if given is None:
        return record.misunderstood("inference", f"span {span.span_id} has no inputs")
    who = origin(options, _model(span, beside), named(trace.metadata.get("mlflow.modelId")))
    if who is None:
        return record.misunderstood("inference", f"span {span.span_id} names no model: name it with --model")
    start, end = instant(span.start_ns), instant(span.end_ns)
    if end is None:
        return record.misunderstood("inference", f"span {span.span_id} has no readable end")
    tools = as_list(span.attributes.get("mlflow.chat.tools")) or as_list(beside.get("tools"))
    event = {
        **who,
        "request_id": span.request_id,
        "timestamp": wire_time(end),
        "input": given,
        "output": chat_output(span.attributes.get("mlflow.spanOutputs")),
        **present(
            parameters={key: value for key, value in beside.items() if key not in _OURS},
            template=_template(trace),
            tools=[tool for tool in tools if isinstance(tool, dict)],
            system=present(
                latency_ms=latency_ms(start, end),
                usage=as_object(span.attributes.get("mlflow.chat.tokenUsage")),
                error=(span.status.get("message") or "error") if span.status.get("code") == _ERROR else None,
            ),
            environment=options.environment,
            session_id=named(trace.metadata.get("mlflow.trace.session")),
            user_id=named(trace.metadata.get("mlflow.trace.user")),
            keys=short_map({"trace_id": span.trace_id, "mlflow_trace_id": trace.trace_id}),
            segments=short_map(_own(trace.tags)),
            metadata=present(
                **_own(trace.metadata), span_name=span.name, trace_name=trace.tags.get("mlflow.traceName")
            ),
        ),
    }
    return Found("inference", event, record.path, record.line)


def _spans(value: object) -> list[tuple[tuple[bool, int, str], Call]]:
    """The spans, each with its place: root first, then by start."""
    found = []
    for body in as_list(value):
        body = as_object(body)
        start = body.get("start_time_unix_nano")
        span = Call(
            _hex(body.get("trace_id")),
            _hex(body.get("span_id")),
            _hex(body["parent_span_id"]) if body.get("parent_span_id") else "",
            str(body.get("name") or ""),
            _nanoseconds(start),
            _nanoseconds(body.get("end_time_unix_nano")),
            as_object(body.get("status")),
            {key: json_in(inner) for key, inner in as_object(body.get("attributes")).items()},
        )
        found.append(((bool(span.parent_id), span.start_ns, span.span_id), span))
    return found


def _nanoseconds(value: object) -> int:
    return int(value) if isinstance(value, int | float | str) and str(value).isdigit() else 0


def _hex(value: object) -> str:
    """Ids come in base64; other text stays as it is."""
    try:
        return base64.b64decode(str(value), validate=True).hex()
    except (binascii.Error, ValueError):
        return str(value)


def _unwrapped(inputs: object) -> object:
    """A call's arguments as what the model was given: a lone argument, and a batch of one chat, are unpacked."""
    if isinstance(inputs, list) and len(inputs) == 1 and is_messages(inputs[0]):
        return inputs[0]
    if isinstance(inputs, dict) and len(inputs) == 1:
        [(key, lone)] = inputs.items()
        if isinstance(lone, str) or (key != "messages" and is_messages(lone)):
            return lone
    return inputs


def _model(span: Call, beside: Mapping[str, object]) -> str | None:
    """The model's name; of a root that is no model call, the name of the application that answered."""
    told = (named(span.attributes.get(key)) for key in _MODEL_NAMES)
    return next((name for name in told if name), None) or named(beside.get("model")) or _application(span)


def _application(span: Call) -> str | None:
    return None if is_model_call(span) else named(span.name)


def _template(trace: Trace) -> dict[str, object] | None:
    linked = as_list(trace.tags.get("mlflow.linkedPrompts"))
    prompt = as_object(linked[0]) if len(linked) == 1 else {}
    name = named(prompt.get("name"))
    return present(id=name, version=named(prompt.get("version"))) if name else None


def _own(values: Mapping[str, object]) -> dict[str, object]:
    """What the user wrote, without the tool's own entries."""
    return {key: value for key, value in values.items() if not key.startswith("mlflow.")}
