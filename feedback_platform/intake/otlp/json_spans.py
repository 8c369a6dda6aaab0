"""Spans of an export in JSON encoding: ids in hex, 64-bit integers as text or numbers, unknown fields ignored.

Names are taken in lowerCamelCase and, beyond the standard, as the protobuf spells them; enums as numbers or names.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import cast

import msgspec

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

_Object = Mapping[str, object]
_HEX = re.compile(r"[0-9a-fA-F]*")
_ENUMS = {
    "SPAN_KIND_UNSPECIFIED": 0, "SPAN_KIND_INTERNAL": 1, "SPAN_KIND_SERVER": 2, "SPAN_KIND_CLIENT": 3,
    "SPAN_KIND_PRODUCER": 4, "SPAN_KIND_CONSUMER": 5,
    "STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2,
}  # fmt: skip


def decode_json(body: bytes, limits: Limits) -> Decoded:
    """The spans of an ExportTraceServiceRequest as JSON.

    Raises:
        EventRejected: `json_invalid`, `not_utf8`, `nesting_too_deep`, `not_an_object`; `not_mapped` where the groups
            around the spans are not what they should be; `too_many_entries` beyond `limits.spans`.
    """
    return spans_in(parse_json(body), limits)


def parse_json(body: bytes) -> object:
    """A JSON text's value.

    Raises:
        EventRejected: `json_invalid`, `not_utf8` or `nesting_too_deep`.
    """
    try:
        return cast(object, msgspec.json.decode(body))
    except msgspec.MsgspecError as error:
        raise EventRejected("json_invalid", value=str(error), fix="Send one ExportTraceServiceRequest.") from None
    except UnicodeDecodeError as error:
        raise EventRejected("not_utf8", value=f"byte at {error.start}", fix="Encode the JSON as UTF-8.") from None
    except RecursionError:
        raise EventRejected("nesting_too_deep", fix="Record deep values as JSON strings.") from None


def spans_in(request: object, limits: Limits) -> Decoded:
    """The spans of a parsed ExportTraceServiceRequest.

    Raises:
        EventRejected: as `decode_json`.
    """
    if not isinstance(request, dict):
        raise EventRejected("not_an_object", fix='Send one object with "resourceSpans".')
    spans: list[Span] = []
    malformed: list[Malformed] = []
    for index, (raw, resource, scope) in enumerate(_raw_spans(request, limits)):
        try:
            spans.append(_span(index, raw, resource, scope, limits))
        except SpanError as error:
            malformed.append(Malformed(index, str(error), msgspec.json.encode(raw)))
    return Decoded(tuple(spans), tuple(malformed))


def _raw_spans(request: _Object, limits: Limits) -> list[tuple[object, dict[str, Value], _Object]]:
    """All spans of the export with their resource and scope, counted before any of them is read."""
    found: list[tuple[object, dict[str, Value], _Object]] = []
    for group in _groups(request, "resourceSpans"):
        resource = _resource(group, limits)
        for inner in _groups(group, "scopeSpans"):
            scope = cast(_Object, _entry(inner, "scope") or {})
            spans = cast(list[object], _entry(inner, "spans") or [])
            if len(found) + len(spans) > limits.spans:
                raise too_many_spans(limits)
            found += [(raw, resource, scope) for raw in spans]
    return found


def _entry(data: _Object, name: str) -> object:
    """A field by its lowerCamelCase name or its protobuf name; null counts as absent."""
    value = data.get(name)
    return data.get(_snake_case(name)) if value is None else value


@cache
def _snake_case(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name)


def _groups(data: _Object, name: str) -> Iterator[_Object]:
    groups = _entry(data, name)
    if not isinstance(groups, list | None) or not all(isinstance(group, dict) for group in groups or ()):
        raise EventRejected("not_mapped", field=name, fix="It is a list of objects in an ExportTraceServiceRequest.")
    for group in groups or ():
        if not isinstance(_entry(group, "spans"), list | None) or not isinstance(_entry(group, "scope"), dict | None):
            raise EventRejected("not_mapped", field=name, fix="`spans` is a list, `scope` an object.")
        yield group


def _resource(group: _Object, limits: Limits) -> dict[str, Value]:
    try:
        return _attributes(_object(_entry(group, "resource") or {}, "resource"), Meter(limits))
    except SpanError as error:
        raise EventRejected("not_mapped", field="resource", fix=str(error)) from None


def _span(index: int, raw: object, resource: dict[str, Value], about: _Object, limits: Limits) -> Span:
    span = _object(raw, "span")
    ids = _hex(span, "traceId"), _hex(span, "spanId"), _hex(span, "parentSpanId")
    check_ids(*ids)
    meter = Meter(limits)
    status = _object(_entry(span, "status") or {}, "status")
    return Span(
        index,
        *ids,
        _text(span, "name"),
        _enum(span, "kind"),
        _integer(_entry(span, "startTimeUnixNano") or 0, "startTimeUnixNano"),
        _integer(_entry(span, "endTimeUnixNano") or 0, "endTimeUnixNano"),
        _attributes(span, meter),
        tuple(_event(event, meter) for event in _list(span, "events")),
        _enum(status, "code"),
        _text(status, "message"),
        resource,
        _text(about, "name"),
        _text(about, "version"),
    )


def _event(raw: object, meter: Meter) -> SpanEvent:
    event = _object(raw, "events")
    time = _integer(_entry(event, "timeUnixNano") or 0, "timeUnixNano")
    return SpanEvent(_text(event, "name"), time, _attributes(event, meter))


def _attributes(owner: _Object, meter: Meter, name: str = "attributes", depth: int = 1) -> dict[str, Value]:
    pairs = [_object(pair, name) for pair in _list(owner, name)]
    return {_text(pair, "key"): _value(_object(_entry(pair, "value") or {}, "value"), meter, depth) for pair in pairs}


def _value(value: _Object, meter: Meter, depth: int) -> Value:
    """The plain value of an AnyValue; None for an empty one or for a kind of value we do not know."""
    meter.take(depth)
    for name, convert in _SCALARS.items():
        if (found := _entry(value, name)) is not None:
            return convert(found, name)
    if (array := _entry(value, "arrayValue")) is not None:
        inner = _list(_object(array, "arrayValue"), "values")
        return [_value(_object(entry, "values"), meter, depth + 1) for entry in inner]
    if (pairs := _entry(value, "kvlistValue")) is not None:
        return _attributes(_object(pairs, "kvlistValue"), meter, "values", depth + 1)
    return None


def _string(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise SpanError(f"`{name}` is {type(value).__name__}, not text.")
    return value


def _boolean(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise SpanError(f"`{name}` is neither true nor false.")
    return value


def _integer(value: object, name: str) -> int:
    if isinstance(value, str) and len(value) <= 20 and value.removeprefix("-").isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**64:
        raise SpanError(f"`{name}` is not a 64-bit integer, as a number or as decimal digits in quotes.")
    return value


def _double(value: object, name: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise SpanError(f"`{name}` is not a number.") from None


def _base64(value: object, name: str) -> str:
    try:
        return b64encode(b64decode(_string(value, name), validate=True)).decode()
    except (Base64Error, ValueError):
        raise SpanError(f"`{name}` is not base64.") from None


_SCALARS: dict[str, Callable[[object, str], Value]] = {
    "stringValue": _string,
    "boolValue": _boolean,
    "intValue": _integer,
    "doubleValue": _double,
    "bytesValue": _base64,
}


def _object(value: object, name: str) -> _Object:
    if not isinstance(value, dict):
        raise SpanError(f"`{name}` is {type(value).__name__}, not an object.")
    return value


def _list(owner: _Object, name: str) -> list[object]:
    value = _entry(owner, name)
    if not isinstance(value, list | None):
        raise SpanError(f"`{name}` is {type(value).__name__}, not a list.")
    return value or []


def _text(owner: _Object, name: str) -> str:
    return _string(_entry(owner, name) or "", name)


def _enum(owner: _Object, name: str) -> int:
    value = _entry(owner, name) or 0
    return _ENUMS.get(value, 0) if isinstance(value, str) else _integer(value, name)


def _hex(owner: _Object, name: str) -> str:
    text = _text(owner, name)
    if not _HEX.fullmatch(text):
        raise SpanError(f"`{name}` {text[:40]!r} is not hex, which OTLP/JSON uses for ids instead of base64.")
    return text.lower()
