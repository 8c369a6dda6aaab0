"""The document's schemas: those of the wire contract and of the API's answers, as msgspec derives them, made readable.

JSON Schema knows regular expressions as ECMAScript has them, so `\\A` and `\\Z` become `^` and `$`.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import msgspec

from feedback_platform.api.datasets import Version, VersionList
from feedback_platform.api.ingest import MAX_BATCH_EVENTS, Accepted, BatchAnswer, Result
from feedback_platform.api.openapi_fields import field_note
from feedback_platform.api.tokens import Token, TokenRequest
from feedback_platform.compile.explain import Explanation, Subject
from feedback_platform.compile.explain_story import Story
from feedback_platform.contracts.wire import Inference
from feedback_platform.contracts.wire_feedback import AnyFeedback, Ref, Target

Schema = dict[str, Any]

REF = "#/components/schemas/"
_KINDS = get_args(AnyFeedback)
_DESCRIBED = (Accepted, BatchAnswer, Result, Version, VersionList, TokenRequest, Token, Story)
_RPC_STATUS: Schema = {
    "title": "RpcStatus",
    "description": "`google.rpc.Status`: why an OTLP export was refused as a whole.",
    "type": "object",
    "properties": {
        "code": {"type": "integer", "description": "A `google.rpc.Code`; the HTTP status is the one to act on."},
        "message": {"type": "string", "description": "What is wrong and what to do."},
        "details": {
            "type": "array",
            "items": {"type": "object"},
            "description": "A `google.rpc.BadRequest` that names the field at fault, where one is.",
        },
    },
    "required": ["code", "message"],
}
_ANY_BUT_NULL = ["string", "number", "boolean", "object", "array"]


class Health(msgspec.Struct):
    """The state of the server.

    Attributes:
        status: `ok` while it runs, `ready` while it takes events.
        version: of the software.
    """

    status: str
    version: str


class Reason(msgspec.Struct):
    """What a problem's reason code means.

    Attributes:
        reason: the code.
        meaning: the code in words.
    """

    reason: str
    meaning: str


class Problem(msgspec.Struct, omit_defaults=True):
    """Why a request was refused (RFC 9457, `application/problem+json`).

    Attributes:
        type: address of the reason's page.
        title: the reason in words.
        status: the HTTP status again.
        detail: what is wrong in this request, and what to do.
        reason: short code, stable across releases: branch on this one.
        field: dotted path of the field at fault, where one field is.
        value: what was found there, shortened.
        fix: what to do, on its own.
    """

    type: str
    title: str
    status: int
    detail: str
    reason: str
    field: str | msgspec.UnsetType = msgspec.UNSET
    value: str | msgspec.UnsetType = msgspec.UNSET
    fix: str | msgspec.UnsetType = msgspec.UNSET


def components() -> dict[str, Schema]:
    """All schemas by name."""
    types = [Inference, *_KINDS, *_DESCRIBED, Explanation, Subject, Health, Reason, Problem]
    _, found = msgspec.json.schema_components(types, ref_template=REF + "{name}")
    notes = {kind.__name__: docstring_notes(kind) for kind in (*_DESCRIBED, Health, Reason, Problem)}
    for name, schema in found.items():
        _describe(name, schema, notes.get(name, {}))
        _readable(schema)
    found["Inference"]["properties"]["input"]["type"] = _ANY_BUT_NULL
    for kind in (Target, Ref):
        found[kind.__name__]["minProperties"] = 1
    found["Result"]["properties"]["problem"] = {
        "anyOf": [{"$ref": f"{REF}Problem"}, {"type": "null"}],
        "description": "Why it was refused.",
    }
    return {"Feedback": _feedback(), "Batch": _batch(), **found, "RpcStatus": _RPC_STATUS}


def docstring_notes(kind: type) -> dict[str, str]:
    """Field -> its line below `Attributes:` in the docstring; `a, b: text` describes both."""
    _, _, listed = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    return {
        name.strip(): text[:1].upper() + " ".join(text[1:].split())
        for names, text in re.findall(r"^ {4}([\w, ]+): ((?:.+\n?)(?: {8}.+\n?)*)", listed, re.MULTILINE)
        for name in names.split(",")
    }


def _describe(name: str, schema: Schema, notes: Mapping[str, str]) -> None:
    """A description for the object and each of its fields."""
    schema["description"] = " ".join(schema.get("description", "").partition("Attributes:")[0].split())
    is_feedback = "feedback_type" in schema.get("properties", {})
    for field, inner in schema.get("properties", {}).items():
        note = field_note(name, field, notes, is_feedback=is_feedback)
        if note is not None:
            inner["description"] = f"{note} {inner['description']}." if "description" in inner else note


def _readable(schema: Schema) -> None:
    """Rewrite what JSON Schema says differently, and leave out what says nothing."""
    for inner in _walk(schema):
        if "pattern" in inner:
            inner["pattern"] = inner["pattern"].replace(r"\A", "^").replace(r"\Z", "$")
        if inner.get("default", ...) is None:
            del inner["default"]
        if len(inner.get("enum", ())) == 1:
            inner["const"] = inner["enum"][0]
            inner["type"] = "string"


def _walk(value: Any) -> Iterator[Schema]:
    """Every object within a schema."""
    if isinstance(value, dict):
        yield value
        for inner in list(value.values()):
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


def _feedback() -> Schema:
    tags = {str(kind.__struct_config__.tag): REF + kind.__name__ for kind in _KINDS}
    return {
        "title": "Feedback",
        "description": "A judgement or a signal about an answer. `feedback_type` decides which fields there are.",
        "oneOf": [{"$ref": ref} for ref in tags.values()],
        "discriminator": {"propertyName": "feedback_type", "mapping": tags},
    }


def _batch() -> Schema:
    return {
        "title": "Batch",
        "description": "Inferences and feedback, mixed as you like: an event with a `feedback_type` is feedback.",
        "type": "array",
        "maxItems": MAX_BATCH_EVENTS,
        "items": {"anyOf": [{"$ref": f"{REF}Inference"}, {"$ref": f"{REF}Feedback"}]},
    }
