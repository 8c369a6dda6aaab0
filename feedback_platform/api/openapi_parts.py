"""The parts that the document's operations are put together from: answers, problems, headers, parameters, keys."""

from collections.abc import Mapping
from typing import Any

from feedback_platform.api.call import JSON, PROBLEM
from feedback_platform.api.openapi_examples import PROBLEM as PROBLEM_EXAMPLE
from feedback_platform.api.openapi_schemas import REF
from feedback_platform.intake.guards.principal import Scope

Part = dict[str, Any]
Operation = dict[str, Any]

BINARY: Part = {"type": "string", "format": "binary"}
TEXT: Part = {"type": "string"}

HEADERS: Mapping[str, Part] = {
    "Retry-After": {
        "description": "Seconds after which the same request may succeed.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "Allow": {"description": "The methods that the path takes.", "required": True, "schema": TEXT},
    "WWW-Authenticate": {"description": "`Bearer`, with the realm.", "required": True, "schema": TEXT},
    "Cache-Control": {"description": "Who may keep the answer.", "required": True, "schema": TEXT},
    "ETag": {"description": "Identifies the bytes; for `If-None-Match`.", "required": True, "schema": TEXT},
    "Content-Length": {
        "description": "Bytes that follow.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "Content-Range": {
        "description": "First and last byte that follow, and how many there are in all.",
        "required": True,
        "schema": TEXT,
    },
    "Accept-Ranges": {"description": "`bytes`: ask for the rest with `Range`.", "required": True, "schema": TEXT},
    "Content-Disposition": {"description": "A name for the file.", "required": True, "schema": TEXT},
    "Feedback-Version": {
        "description": "The version's number, where `latest` was asked for.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "Access-Control-Allow-Origin": {"description": "The page's origin, where it is allowed.", "schema": TEXT},
    "Access-Control-Allow-Methods": {"description": "Methods for pages.", "required": True, "schema": TEXT},
    "Access-Control-Allow-Headers": {"description": "Request headers for pages.", "required": True, "schema": TEXT},
    "Access-Control-Max-Age": {
        "description": "Seconds for which the browser need not ask again.",
        "required": True,
        "schema": {"type": "integer"},
    },
    "Feedback-Yanked": {
        "description": "Only with a yanked version: why it should not be used (percent-encoded UTF-8).",
        "schema": TEXT,
    },
}

# What each refusal means; an operation may say it in its own words.
_REFUSALS: Mapping[int, tuple[str, str, tuple[str, ...]]] = {
    400: ("BadRequest", "The request cannot be read. It will not be understood when it is sent again.", ()),
    401: ("Unauthorized", "No key, or one that is not known, has expired or was revoked.", ("WWW-Authenticate",)),
    403: ("Forbidden", "The key lacks the scope, or the web page's origin is not allowed.", ()),
    404: ("NotFound", "There is no such thing, or it is another tenant's.", ()),
    405: ("MethodNotAllowed", "The path does not take this method.", ("Allow",)),
    408: ("Timeout", "The body did not arrive in time. Send it again.", ()),
    409: ("Conflict", "The id was taken earlier, by an event with another body. That event stands.", ()),
    413: ("TooLarge", "The body is larger than this endpoint takes. Send less at a time.", ()),
    415: ("UnsupportedType", "Another Content-Type or Content-Encoding than this endpoint takes.", ()),
    416: ("RangeUnsatisfiable", "The range begins behind the end: you may have all of it.", ("Content-Range",)),
    422: ("Unprocessable", "The event breaks the contract: `field`, `value` and `fix` say where and what to do.", ()),
    429: (
        "TooManyRequests",
        "The key, or the end user, is over its rate. Send the same again later.",
        ("Retry-After",),
    ),
    500: ("Fault", "The server has a fault, which it logged. What has a receipt is not lost.", ()),
    503: (
        "Unavailable",
        "Nothing can be taken or looked up just now; nothing was acknowledged. Send the same again later.",
        ("Retry-After",),
    ),
}

CORS_HEADERS = tuple(name for name in HEADERS if name.startswith("Access-Control-"))
EVERYWHERE = (405, 500)
WITH_A_KEY = (401, 403, 429, 503)
WITH_A_BODY = (400, 408, 413, 415)

SECURITY_SCHEMES: Mapping[str, Part] = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "fp_...",
        "description": "An API key of a tenant, with scopes: `feedback keys create` makes one. The tenant comes from "
        "the key. `feedback serve --dev` asks this machine for none.",
    },
    "feedbackToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "fpt1....",
        "description": "For browsers and apps: from POST /v1/feedback-tokens, for the one answer that it was made for.",
    },
}


TAGS: Mapping[str, str] = {
    "Events": "Send what the model answered and what people made of it. 202 means durable, and nothing less does.",
    "Feedback tokens": "Let a browser send feedback itself, on the one answer that it was served.",
    "Lookup": "Follow an event: received, landed, attributed, in version n, or why not.",
    "Datasets": "Fetch published versions for training. A version never changes.",
    "Operations": "Is it up, does it take events, what does it count.",
    "Documentation": "This description, for machines and for people.",
}


def operation(tag: str, name: str, summary: str, description: str, answers: Part, **more: Any) -> Operation:
    """One operation; open to everyone unless `security` says otherwise."""
    made = {"tags": [tag], "operationId": name, "summary": summary, "description": description, "responses": answers}
    return {**made, "security": [], **more}


def ref(name: str) -> Part:
    """A schema of the document, by name."""
    return {"$ref": REF + name}


def headers(*names: str) -> Part:
    """Headers of the document, by name."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def answer(description: str, content: Part | None = None, *header_names: str) -> Part:
    """An answer that is no problem; `content` maps media types to media type objects."""
    made: Part = {"description": description}
    if header_names:
        made["headers"] = headers(*header_names)
    if content is not None:
        made["content"] = content
    return made


def json_answer(description: str, schema: str, *header_names: str, example: object = None) -> Part:
    """An answer in JSON."""
    media: Part = {"schema": ref(schema)}
    if example is not None:
        media["example"] = example
    return answer(description, {JSON: media}, *header_names)


def problems(*statuses: int, words: Mapping[int, str] | None = None, content: Part | None = None) -> dict[str, Part]:
    """Refusals by status, and those that every path has.

    Args:
        statuses: which.
        words: what a status means, where the operation says it in its own words.
        content: media types, where the operation does not tell problems as all others do.
    """
    own = words or {}
    made: dict[str, Part] = {}
    for status in sorted({*statuses, *EVERYWHERE}):
        name, description, header_names = _REFUSALS[status]
        if content is not None and status not in EVERYWHERE:
            made[str(status)] = answer(own.get(status, description), content, *header_names)
        else:
            made[str(status)] = {"$ref": f"#/components/responses/{name}"}
            if status in own:
                made[str(status)]["description"] = own[status]
    return made


def responses() -> dict[str, Part]:
    """The shared refusals."""
    shared = {}
    for status, (name, description, header_names) in _REFUSALS.items():
        media: Part = {"schema": ref("Problem")}
        if status == 422:
            media["example"] = PROBLEM_EXAMPLE
        shared[name] = answer(description, {PROBLEM: media}, *header_names)
    return shared


def key_with(*scopes: Scope) -> list[Part]:
    """A key that has one of the scopes."""
    return [{"key": [scope]} for scope in scopes]


def path_parameter(name: str, description: str, pattern: str, example: str) -> Part:
    """A part of the path."""
    schema = {"type": "string", "pattern": pattern}
    return {
        "name": name, "in": "path", "required": True, "description": description, "schema": schema, "example": example,
    }  # fmt: skip


def query_parameter(name: str, description: str, schema: Part, example: str, *, required: bool = False) -> Part:
    """A part of the query."""
    return {
        "name": name, "in": "query", "required": required, "description": description, "schema": schema,
        "example": example,
    }  # fmt: skip


def header_parameter(name: str, description: str) -> Part:
    """A request header that may be sent."""
    return {"name": name, "in": "header", "required": False, "description": description, "schema": TEXT}
