"""The document's operations that bring something in: what each is for, what it takes, every status that it can answer."""

from typing import Any

import msgspec

from feedback_platform.api import openapi_examples as examples
from feedback_platform.api.call import BODY_SECONDS, JSON, NDJSON
from feedback_platform.api.ingest import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from feedback_platform.api.openapi_parts import (
    BINARY,
    CORS_HEADERS,
    TEXT,
    WITH_A_BODY,
    WITH_A_KEY,
    Operation,
    Part,
    answer,
    json_answer,
    key_with,
    operation,
    problems,
    ref,
)
from feedback_platform.api.openapi_reads import reading_paths
from feedback_platform.api.traces import LIMITS
from feedback_platform.contracts.events import MAX_EVENT_BYTES
from feedback_platform.intake.otlp.decode import PROTOBUF

MIB = 2**20
_BODY_LIMIT = f"Up to {MAX_EVENT_BYTES // MIB} MiB, plain or with `Content-Encoding: gzip`, within {BODY_SECONDS:g} s."


def paths() -> dict[str, dict[str, Operation]]:
    """Path -> method -> operation, in reading order; a test holds them against the application's routes."""
    return {
        "/v1/inferences": {"post": _inferences()},
        "/v1/feedback": {"post": _feedback(), "options": _preflight()},
        "/v1/batch": {"post": _batch()},
        "/v1/traces": {"post": _traces()},
        "/v1/feedback-tokens": {"post": _tokens()},
        **reading_paths(),
    }


def _body(content: dict[str, Any]) -> Part:
    return {"required": True, "content": content}


def _inferences() -> Operation:
    description = (
        "Send it when the answer is complete, with an id of your own: feedback will name it. Sending the same event "
        "again is safe: the answer is its first receipt, with `duplicate` true."
    )
    return operation(
        "Events", "sendInference", "Send one answered request", f"{description} {_BODY_LIMIT}",
        {"202": _receipt(), **problems(*WITH_A_KEY, *WITH_A_BODY, 409, 422)},
        security=key_with("ingest:inference"),
        requestBody=_body({JSON: {"schema": ref("Inference"), "examples": examples.INFERENCES}}),
    )  # fmt: skip


def _feedback() -> Operation:
    description = (
        "It may arrive before the inference that it judges, or weeks after it. Without `feedback_id` the id is derived "
        "from the body, so that a repeated send counts once. With a feedback token it is about the token's request, and "
        "the speaker is the token's user. `adjudication` needs the scope `review` to have an effect."
    )
    return operation(
        "Events", "sendFeedback", "Send one judgement or signal", f"{description} {_BODY_LIMIT}",
        {"202": _receipt(), **problems(*WITH_A_KEY, *WITH_A_BODY, 409, 422)},
        security=[*key_with("ingest:feedback", "review"), {"feedbackToken": []}],
        requestBody=_body({JSON: {"schema": ref("Feedback"), "examples": examples.FEEDBACK}}),
    )  # fmt: skip


def _receipt() -> Part:
    return json_answer("Durable: it survives a crash.", "Accepted", "Cache-Control", example=examples.ACCEPTED)


def _preflight() -> Operation:
    return operation(
        "Events", "askBeforeSendingFeedback", "What a browser asks before it sends feedback",
        "CORS: `Access-Control-Allow-Origin` names the page's origin when the tenant allows it.",
        {"204": answer("What the page may send.", None, *CORS_HEADERS), **problems()},
    )  # fmt: skip


def _batch() -> Operation:
    description = (
        "A JSON array, or one event on each line (NDJSON). Each event gets an answer of its own, in order: a refused "
        "one does not touch the others. Sending a whole batch again is safe. "
        f"Up to {MAX_BATCH_EVENTS:,} events and {MAX_BATCH_BYTES // MIB} MiB, plain or with `Content-Encoding: gzip`."
    )
    lines = b"\n".join(map(msgspec.json.encode, examples.BATCH)).decode()
    return operation(
        "Events", "sendBatch", "Send many events at once", description,
        {
            "202": json_answer("All are durable.", "BatchAnswer", "Cache-Control"),
            "207": json_answer("Some were refused.", "BatchAnswer", "Cache-Control", example=examples.BATCH_ANSWER),
            **problems(*WITH_A_KEY, *WITH_A_BODY),
        },
        security=key_with("ingest:inference", "ingest:feedback", "review"),
        requestBody=_body({
            NDJSON: {"schema": TEXT, "example": lines},
            JSON: {"schema": ref("Batch"), "example": examples.BATCH},
        }),
    )  # fmt: skip


def _traces() -> Operation:
    description = (
        "OTLP/HTTP: point an OpenTelemetry exporter here (`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`). Spans of model calls "
        "become inferences, by the GenAI conventions, OpenInference or OpenLLMetry, and evaluation results feedback (for "
        "a key with `ingest:feedback` too); other spans are passed over. `partialSuccess` in the answer counts spans that "
        "were refused, and says why. Refusals of a whole export are a `google.rpc.Status` in the encoding of the request. "
        f"Up to {LIMITS.body_bytes // MIB} MiB, plain or with `Content-Encoding: gzip` or `deflate`."
    )
    told = {JSON: {"schema": _TRACE_ANSWER, "example": {}}, PROTOBUF: {"schema": BINARY}}
    refused = {JSON: {"schema": ref("RpcStatus")}, PROTOBUF: {"schema": BINARY}}
    return operation(
        "Events", "sendTraces", "Send OpenTelemetry traces of model calls", description,
        {
            "200": answer("What there was to take is durable.", told),
            **problems(*WITH_A_KEY, *WITH_A_BODY, content=refused),
        },
        security=key_with("ingest:inference"),
        requestBody=_body({
            JSON: {"schema": {"type": "object", "properties": _TRACE_FIELDS}, "example": examples.TRACES},
            PROTOBUF: {"schema": BINARY},
        }),
    )  # fmt: skip


_TRACE_FIELDS = {
    "resourceSpans": {
        "type": "array",
        "items": {"type": "object"},
        "description": "As in `ExportTraceServiceRequest` of OTLP 1.x.",
    }
}
_TRACE_ANSWER = {
    "type": "object",
    "properties": {
        "partialSuccess": {
            "type": "object",
            "description": "Only there when spans were refused.",
            "properties": {"rejectedSpans": {"type": ["string", "integer"]}, "errorMessage": {"type": "string"}},
        }
    },
}


def _tokens() -> Operation:
    description = (
        "For the model server, which hands one out with each answer. Whoever holds the token can send feedback on that "
        "one request, as that one user, until it expires; it reads nothing. A server in Python can make tokens itself, "
        "without a round trip."
    )
    return operation(
        "Feedback tokens", "makeFeedbackToken", "Make a token for one answer", description,
        {
            "200": json_answer("The token.", "Token", "Cache-Control"),
            **problems(*WITH_A_KEY, *WITH_A_BODY, 422, words={422: "The body is not what a token is asked for with."}),
        },
        security=key_with("ingest:inference"),
        requestBody=_body({JSON: {"schema": ref("TokenRequest"), "example": examples.TOKEN_REQUEST}}),
    )  # fmt: skip
