"""Bytes of an OTLP/HTTP trace export become spans: decompression, choice of encoding, limits.

The encodings themselves stand in `json_spans` and `protobuf_spans`; each is imported when first needed. No mapping here.
"""

import zlib
from typing import TypeVar

from feedback_platform.errors import EventRejected
from feedback_platform.intake.otlp.spans import Decoded, Limits

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
MAX_MEMBERS = 64
_Body = TypeVar("_Body", bytes, bytearray)
_MEDIA_TYPES = {PROTOBUF: PROTOBUF, "application/protobuf": PROTOBUF, JSON: JSON}


def media_type(content_type: str) -> str:
    """The encoding that a Content-Type header names, parameters aside: `PROTOBUF` or `JSON`.

    Raises:
        EventRejected: `value_not_allowed`, any other type.
    """
    named = content_type.partition(";")[0].strip().lower()
    if named not in _MEDIA_TYPES:
        fix = f"Send {PROTOBUF} or {JSON}."
        raise EventRejected("value_not_allowed", field="Content-Type", value=content_type[:80], fix=fix)
    return _MEDIA_TYPES[named]


def unpacked(body: bytes, content_encoding: str, limits: Limits | None = None) -> bytes:
    """The body without its compression (`gzip`, `deflate`, `identity` or none), never more than the limit allows.

    Raises:
        EventRejected: `event_too_large` beyond `limits.body_bytes`; `not_mapped` for damaged data;
            `value_not_allowed` for another compression.
    """
    limits = limits or Limits()
    coding = content_encoding.strip().lower()
    if coding in ("", "identity"):
        return _within(body, limits)
    if coding not in ("gzip", "deflate"):
        fix = "Compress with gzip, or not at all."
        raise EventRejected("value_not_allowed", field="Content-Encoding", value=content_encoding[:80], fix=fix)
    plain = bytearray()
    members = 0
    while body:  # gzip allows several members, one after the other
        members += 1
        if members > MAX_MEMBERS:  # each costs a copy of all that follows
            value = f"over {MAX_MEMBERS} {coding} members"
            raise EventRejected("not_mapped", value=value, fix="Compress the whole body at once.")
        stream = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip or zlib, told by the header
        try:
            plain += stream.decompress(body, limits.body_bytes + 1 - len(plain))
        except zlib.error as error:
            raise EventRejected("not_mapped", value=str(error)[:80], fix=f"The body is not {coding}.") from None
        _within(plain, limits)
        if not stream.eof:
            raise EventRejected(
                "not_mapped", value="end of data", fix=f"The {coding} body is cut short; send it again."
            )
        body = stream.unused_data
    return bytes(plain)


def decode_export(body: bytes, content_type: str, limits: Limits | None = None) -> Decoded:
    """The spans of an ExportTraceServiceRequest.

    Args:
        body: the request's body, not compressed.
        content_type: its Content-Type header.
        limits: what it may cost.

    Raises:
        EventRejected: the whole body cannot be read: `json_invalid`, `not_utf8`, `not_mapped` (it is JSON or
            protobuf but no trace export), `event_too_large`, `too_many_entries`, `nesting_too_deep`,
            `value_not_allowed` (another Content-Type). Never anything else.
    """
    limits = limits or Limits()
    encoding = media_type(content_type)
    _within(body, limits)
    if encoding == JSON:
        from feedback_platform.intake.otlp.json_spans import decode_json

        return decode_json(body, limits)
    from feedback_platform.intake.otlp.protobuf_spans import decode_protobuf

    return decode_protobuf(body, limits)


def _within(body: _Body, limits: Limits) -> _Body:
    if len(body) > limits.body_bytes:
        fix = f"Send at most {limits.body_bytes} bytes per export, not compressed."
        raise EventRejected("event_too_large", value=f"over {limits.body_bytes} bytes", fix=fix)
    return body
