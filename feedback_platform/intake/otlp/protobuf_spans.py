"""Spans of an export in protobuf encoding.

The frames around the spans are walked here, byte by byte, and each span is parsed on its own: a span that cannot be
read costs only itself, and a body of millions of empty messages is refused before it takes memory (4 MiB of empty
spans take 360 MiB when parsed at once).
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar, cast

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

from feedback_platform.errors import EventRejected
from feedback_platform.intake.otlp.spans import (
    Decoded,
    Limits,
    Malformed,
    Meter,
    Span,
    SpanError,
    SpanEvent,
    Value,
    check_ids,
    too_many_spans,
)

_Parsed = TypeVar("_Parsed", Resource, InstrumentationScope)

# Field numbers in opentelemetry/proto/collector/trace/v1/trace_service.proto and trace/v1/trace.proto.
_RESOURCE_SPANS = 1
_RESOURCE = _SCOPE = 1
_SCOPE_SPANS = _SPANS = 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def decode_protobuf(body: bytes, limits: Limits) -> Decoded:
    """The spans of a serialised ExportTraceServiceRequest.

    Raises:
        EventRejected: `not_mapped` where the frames are damaged, `too_many_entries` beyond `limits.spans`.
    """
    spans: list[Span] = []
    malformed: list[Malformed] = []
    for index, raw in enumerate(_raw_spans(body, limits)):
        try:
            spans.append(_span(index, raw, limits))
        except SpanError as error:
            malformed.append(Malformed(index, str(error), bytes(raw.span)))
    return Decoded(tuple(spans), tuple(malformed))


class _Raw(NamedTuple):
    """A span that is not parsed yet, and what stands around it."""

    span: memoryview
    resource: dict[str, Value]
    scope: InstrumentationScope


def _raw_spans(body: bytes, limits: Limits) -> list[_Raw]:
    """All spans of the export, counted before any of them is parsed."""
    found: list[_Raw] = []
    frames = _Frames(limits)
    for number, group in frames.fields(memoryview(body)):
        if number == _RESOURCE_SPANS:
            parts = list(frames.fields(group))
            resource = _attributes_of(_parsed(Resource, parts, _RESOURCE), limits)
            for field, inner in parts:
                if field == _SCOPE_SPANS:
                    pieces = list(frames.fields(inner))
                    scope = _parsed(InstrumentationScope, pieces, _SCOPE)
                    found += [_Raw(raw, resource, scope) for kind, raw in pieces if kind == _SPANS]
    if len(found) > limits.spans:
        raise too_many_spans(limits)
    return found


class _Frames:
    """Reads the messages around the spans, never more fields of them than spans and their frames can have."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.left = limits, 4 * limits.spans

    def fields(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Number and bytes of each length-delimited field of a message; others are passed over."""
        place = 0
        while place < len(data):
            self.left -= 1
            if self.left < 0:
                raise too_many_spans(self.limits)
            tag, place = _varint(data, place)
            kind = tag & 7
            if kind == _VARINT:
                _, place = _varint(data, place)
            elif kind in (_FIXED64, _FIXED32):
                place += 8 if kind == _FIXED64 else 4
            elif kind == _BYTES:
                size, place = _varint(data, place)
                if size > len(data) - place:
                    raise _damaged("a field is longer than what is left")
                yield tag >> 3, data[place : place + size]
                place += size
            else:
                raise _damaged(f"wire type {kind}")
        if place > len(data):
            raise _damaged("it is cut short")


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data) and shift < 64:
        byte = data[place]
        value |= (byte & 127) << shift
        place += 1
        if byte < 128:
            return value, place
        shift += 7
    raise _damaged("a number has no end")


def _damaged(what: str) -> EventRejected:
    fix = "Send an ExportTraceServiceRequest, or name the right Content-Type."
    return EventRejected("not_mapped", field="body", value=what, fix=f"The body is no protobuf trace export. {fix}")


def _parsed(kind: type[_Parsed], parts: Iterable[tuple[int, memoryview]], number: int) -> _Parsed:
    """The field of that number, parsed; protobuf merges repeated occurrences by concatenation."""
    try:
        return cast(_Parsed, kind.FromString(b"".join(raw for field, raw in parts if field == number)))
    except DecodeError as error:
        raise _damaged(str(error)) from None


def _attributes_of(resource: Resource, limits: Limits) -> dict[str, Value]:
    try:
        return _attributes(resource.attributes, Meter(limits))
    except SpanError as error:
        raise EventRejected("too_many_entries", field="resource.attributes", fix=str(error)) from None


def _span(index: int, raw: _Raw, limits: Limits) -> Span:
    if len(raw.span) > limits.span_bytes:
        raise SpanError(f"It has {len(raw.span)} bytes, more than {limits.span_bytes}. Record less on one span.")
    try:
        span = ProtoSpan.FromString(bytes(raw.span))
    except DecodeError:
        raise SpanError("It is not a protobuf Span, or nested too deeply. Check the exporter.") from None
    ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
    check_ids(*ids)
    meter = Meter(limits)
    return Span(
        index,
        *ids,
        span.name,
        span.kind,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _attributes(span.attributes, meter),
        tuple(SpanEvent(e.name, e.time_unix_nano, _attributes(e.attributes, meter)) for e in span.events),
        span.status.code,
        span.status.message,
        raw.resource,
        raw.scope.name,
        raw.scope.version,
    )


def _attributes(pairs: Iterable[KeyValue], meter: Meter, depth: int = 1) -> dict[str, Value]:
    return {pair.key: _value(pair.value, meter, depth) for pair in pairs}


def _value(value: AnyValue, meter: Meter, depth: int) -> Value:
    meter.take(depth)
    kind = value.WhichOneof("value")
    convert = _CONVERTERS.get(kind or "")
    if convert is not None:
        return convert(value)
    if kind == "array_value":
        return [_value(inner, meter, depth + 1) for inner in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values, meter, depth + 1)
    return None


_CONVERTERS: dict[str, Callable[[AnyValue], Value]] = {
    "string_value": lambda value: value.string_value,
    "bool_value": lambda value: value.bool_value,
    "int_value": lambda value: value.int_value,
    "double_value": lambda value: value.double_value,
    "bytes_value": lambda value: b64encode(value.bytes_value).decode(),
}
