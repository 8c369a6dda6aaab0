"""Exports for the tests, from one description in both encodings; and the check that an event passes the contract."""

import json
from base64 import b64encode

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from feedback_platform.contracts.events import parse_event
from feedback_platform.intake.otlp.decode import JSON
from feedback_platform.intake.otlp.mapping import read_export

TRACE = "5b8efff798038103d269b633813fc60c"
SPAN = "eee19b7ec3c1b174"
PARENT = "eee19b7ec3c1b173"
START = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
END = START + 1_234_567_890

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4",
    "gen_ai.response.model": "gpt-4-0613",
    "gen_ai.response.id": "chatcmpl-123",
    "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Weather?"}]}]),
    "gen_ai.output.messages": json.dumps(
        [{"role": "assistant", "parts": [{"type": "text", "content": "Rain."}], "finish_reason": "stop"}]
    ),
}


def span(
    attributes=None, *, id=SPAN, parent="", name="chat gpt-4", events=(), status=0, message="", start=START, end=END
):
    """A span; `events` are (name, time in ns, attributes)."""
    return {
        "trace": TRACE, "id": id, "parent": parent, "name": name, "events": list(events), "status": status,
        "message": message, "start": start, "end": end, "attributes": CHAT if attributes is None else attributes,
    }  # fmt: skip


def evaluation(time=END + 5_000_000_000, **attributes):
    """An evaluation event; keywords name what follows `gen_ai.evaluation.` with `__` for a dot."""
    named = {f"gen_ai.evaluation.{key.replace('__', '.')}": value for key, value in attributes.items()}
    return ("gen_ai.evaluation.result", time, named)


def as_json(*spans, resource=None, scope="tests"):
    """The export as JSON, 64-bit integers in quotes."""
    return json.dumps(json_export(*spans, resource=resource, scope=scope)).encode()


def json_export(*spans, resource=None, scope="tests"):
    listed = [
        {
            "traceId": one["trace"].upper(), "spanId": one["id"], "parentSpanId": one["parent"], "name": one["name"],
            "kind": 3, "startTimeUnixNano": str(one["start"]), "endTimeUnixNano": str(one["end"]),
            "attributes": json_pairs(one["attributes"]),
            "events": [
                {"name": name, "timeUnixNano": str(time), "attributes": json_pairs(found)}
                for name, time, found in one["events"]
            ],
            "status": {"code": one["status"], "message": one["message"]},
        }
        for one in spans
    ]  # fmt: skip
    group = {"resource": {"attributes": json_pairs(resource or {})}}
    return {"resourceSpans": [{**group, "scopeSpans": [{"scope": {"name": scope}, "spans": listed}]}]}


def json_pairs(attributes):
    return [{"key": key, "value": json_value(value)} for key, value in attributes.items()]


def json_value(value):
    match value:
        case None:
            return {}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value if abs(value) < float("inf") else str(value).replace("inf", "Infinity")}
        case str():
            return {"stringValue": value}
        case bytes():
            return {"bytesValue": b64encode(value).decode()}
        case list():
            return {"arrayValue": {"values": [json_value(inner) for inner in value]}}
        case _:
            return {"kvlistValue": {"values": json_pairs(value)}}


def as_protobuf(*spans, resource=None, scope="tests"):
    """The same export, serialised by protobuf."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    fill(group.resource.attributes, resource or {})
    inner = group.scope_spans.add()
    inner.scope.name = scope
    for one in spans:
        made = inner.spans.add(
            trace_id=bytes.fromhex(one["trace"]), span_id=bytes.fromhex(one["id"]),
            parent_span_id=bytes.fromhex(one["parent"]), name=one["name"], kind=3,
            start_time_unix_nano=one["start"], end_time_unix_nano=one["end"],
        )  # fmt: skip
        made.status.code, made.status.message = one["status"], one["message"]
        fill(made.attributes, one["attributes"])
        for name, time, found in one["events"]:
            fill(made.events.add(name=name, time_unix_nano=time).attributes, found)
    return request.SerializeToString()


def fill(pairs, attributes):
    for key, value in attributes.items():
        pairs.add(key=key, value=protobuf_value(value))


def protobuf_value(value):
    made = AnyValue()
    match value:
        case None:
            pass
        case bool():
            made.bool_value = value
        case int():
            made.int_value = value
        case float():
            made.double_value = value
        case str():
            made.string_value = value
        case bytes():
            made.bytes_value = value
        case list():
            made.array_value.SetInParent()
            made.array_value.values.extend(protobuf_value(inner) for inner in value)
        case _:
            made.kvlist_value.SetInParent()
            fill(made.kvlist_value.values, value)
    return made


def read(*spans, **more):
    """The export as the door reads it; every event passes the wire contract."""
    found = read_export(as_json(*spans, **more), JSON)
    for mapped in found.mapped:
        parse_event(mapped.kind, mapped.event)
    return found


def events(*spans, kind="inference", **more):
    return [mapped.event for mapped in read(*spans, **more).mapped if mapped.kind == kind]


def event(*spans, kind="inference", **more):
    """The one event of this kind."""
    [found] = events(*spans, kind=kind, **more)
    return found
