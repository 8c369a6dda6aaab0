"""One span, in any of the shapes that Phoenix hands out, as the span that was sent to it over OpenTelemetry.

A data frame has a column per attribute (`attributes.llm.model_name`) with lists and objects inside; the REST API has
attributes flattened to the last leaf, also those that were sent as one JSON text. No files, no mapping to events.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import cast

from feedback_platform.intake.importers.ids import instant
from feedback_platform.intake.importers.mapped_values import as_list, as_object
from feedback_platform.intake.otlp.spans import STATUS_ERROR, Span, SpanEvent, Value

_KIND = "openinference.span.kind"
# Sent as JSON text, so they are read as one object.
_WHOLE = ("metadata", "llm.prompt_template.variables")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_span(body: Mapping[str, object]) -> bool:
    """Whether a record looks like a span."""
    return "span_kind" in body and "start_time" in body


def span_of(body: Mapping[str, object], index: int) -> Span | None:
    """The span; None where ids or times cannot be read."""
    context = as_object(body.get("context"))
    trace_id = body.get("context.trace_id") or context.get("trace_id")
    span_id = body.get("context.span_id") or context.get("span_id")
    start, end = instant(body.get("start_time")), instant(body.get("end_time"))
    if not (isinstance(trace_id, str) and isinstance(span_id, str)) or start is None:
        return None
    attributes = _attributes(body)
    if isinstance(kind := body.get("span_kind"), str):
        attributes.setdefault(_KIND, kind)
    return Span(
        index=index,
        trace_id=trace_id,
        span_id=span_id,
        parent_id=str(body.get("parent_id") or ""),
        name=str(body.get("name") or ""),
        kind=0,
        start_ns=_nanoseconds(start),
        end_ns=_nanoseconds(end) if end else 0,
        attributes=attributes,
        events=tuple(_events(body.get("events"))),
        status_code=STATUS_ERROR if body.get("status_code") == "ERROR" else 0,
        status_message=str(body.get("status_message") or ""),
    )


def _attributes(body: Mapping[str, object]) -> dict[str, Value]:
    prefix = "attributes."
    columns = {key.removeprefix(prefix): value for key, value in body.items() if key.startswith(prefix)}
    flat: dict[str, Value] = {}
    for key, value in _leaves("", {**as_object(body.get("attributes")), **columns}):
        whole = next((name for name in _WHOLE if key.startswith(f"{name}.")), None)
        if whole is None:
            flat[key] = value
        else:
            _put(cast(dict[str, Value], flat.setdefault(whole, {})), key.removeprefix(f"{whole}.").split("."), value)
    return flat


def _leaves(path: str, value: object) -> Iterator[tuple[str, Value]]:
    """Every value with its dotted path; lists of plain values stay whole, what is null was not sent."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), inner)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for place, inner in enumerate(value):
            yield from _leaves(f"{path}.{place}", inner)
    elif isinstance(value, float) and value.is_integer():
        yield path, int(value)  # a data frame makes floats of integers where a row has none
    elif value is not None and value == value:  # nor is NaN anything that was sent
        yield path, cast(Value, value)


def _put(node: dict[str, Value], path: list[str], value: Value) -> None:
    for step in path[:-1]:
        inner = node.setdefault(step, {})
        if not isinstance(inner, dict):
            return  # `a` and `a.b` both: the shorter one stays
        node = inner
    node[path[-1]] = value


def _events(value: object) -> Iterator[SpanEvent]:
    for event in as_list(value):
        body = as_object(event)
        at = instant(body.get("timestamp"))
        attributes = dict(_leaves("", as_object(body.get("attributes"))))
        yield SpanEvent(str(body.get("name") or ""), _nanoseconds(at) if at else 0, attributes)


def _nanoseconds(at: datetime) -> int:
    gap = at - _EPOCH
    return (gap.days * 86_400 + gap.seconds) * 10**9 + gap.microseconds * 1_000
