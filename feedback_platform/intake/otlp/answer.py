"""What an OTLP/HTTP endpoint answers: the export's response and the error body, as protobuf or as JSON.

The messages have two fields each and are written here, so that answering needs no protobuf library. Nothing of HTTP
but the status code that belongs to a refusal.
"""

import msgspec

from feedback_platform.errors import EventRejected
from feedback_platform.intake.otlp.decode import JSON

INVALID_ARGUMENT, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 3, 8, 13, 14, 16
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_STATUS = {"event_too_large": 413, "value_not_allowed": 415}


def export_response(content_type: str, rejected_spans: int = 0, error_message: str = "") -> bytes:
    """An ExportTraceServiceResponse, to be sent with status 200.

    Args:
        content_type: `decode.JSON` or `decode.PROTOBUF`, the same as the request's.
        rejected_spans: spans that were refused; the sender will not repeat them.
        error_message: why; with no rejected span a warning. `partial_success` is left out where both are empty.
    """
    if content_type == JSON:
        partial = {"rejectedSpans": str(rejected_spans), "errorMessage": error_message}
        return msgspec.json.encode({"partialSuccess": partial} if rejected_spans or error_message else {})
    partial_bytes = _integer(1, rejected_spans) + _bytes(2, error_message.encode())
    return _bytes(1, partial_bytes)


def error_status(content_type: str, message: str, code: int = INVALID_ARGUMENT, field: str = "") -> bytes:
    """A google.rpc.Status, to be sent with a 4xx or 5xx status.

    Args:
        content_type: as `export_response`.
        message: what is wrong and what to do.
        code: a google.rpc.Code; senders do not act on it.
        field: what was at fault in a bad request; told in the details.
    """
    if content_type == JSON:
        violation = {"field": field, "description": message}
        details = [{"@type": _BAD_REQUEST, "fieldViolations": [violation]}] if field else []
        return msgspec.json.encode({"code": code, "message": message, **({"details": details} if details else {})})
    body = _integer(1, code) + _bytes(2, message.encode())
    if field:
        inner = _bytes(1, _bytes(1, field.encode()) + _bytes(2, message.encode()))
        body += _bytes(3, _bytes(1, _BAD_REQUEST.encode()) + _bytes(2, inner))
    return body


def http_status(refusal: EventRejected) -> int:
    """The status that tells a sender not to repeat this body: 413, 415 or 400."""
    return _STATUS.get(refusal.reason, 400)


def _integer(number: int, value: int) -> bytes:
    """A varint field; protobuf leaves out zeros."""
    return _varint(number << 3) + _varint(value) if value else b""


def _bytes(number: int, value: bytes) -> bytes:
    """A length-delimited field; an empty one is left out."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value if value else b""


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
