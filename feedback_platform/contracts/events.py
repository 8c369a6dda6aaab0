"""The door of the wire contract: bytes or mappings become wire objects, or are refused with a reason.

The objects are declared in `wire` and `wire_feedback`, the reasons in `refusals`. No clock, no disk. A plain
event is decoded once, by msgspec; what looks unusual or failed is read a second time by a slower reader that
finds duplicate keys, depth, sizes and numbers, and says what is wrong.
"""

import json
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from feedback_platform.contracts.canonical import body_bytes
from feedback_platform.contracts.refusals import REASONS, dotted, explained, shown
from feedback_platform.contracts.wire import SCHEMA_VERSION, Inference, Wire
from feedback_platform.contracts.wire_feedback import AnyFeedback, Feedback
from feedback_platform.errors import EventRejected

__all__ = [
    "MAX_EVENT_BYTES", "REASONS", "SCHEMA_VERSION", "AnyFeedback", "Event", "Feedback", "Inference",
    "Kind", "parse_event", "parse_feedback", "parse_inference", "readable_id",
]  # fmt: skip

MAX_EVENT_BYTES = 4 * 2**20
MAX_STRING_BYTES = 2**20
MAX_DEPTH = 64
ALIAS = "inference_request_id"

Kind = typing.Literal["inference", "feedback"]
Event = Inference | AnyFeedback
_Wire = TypeVar("_Wire", bound=Wire)

_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * 16
_INFERENCE: msgspec.json.Decoder[Inference] = msgspec.json.Decoder(Inference)
_FEEDBACK: msgspec.json.Decoder[AnyFeedback] = msgspec.json.Decoder(AnyFeedback)


def parse_event(kind: Kind, data: Mapping[str, object] | bytes) -> tuple[Event, bytes]:
    """One event from a JSON text or a decoded object, and its body: equal bytes for equal events.

    Raises:
        EventRejected: with one of `REASONS`, the field, what was found and what to do; never anything else.
    """
    if kind == "inference":
        return _parse(data, _INFERENCE, Inference)
    return _parse(data, _FEEDBACK, AnyFeedback)


def parse_inference(data: Mapping[str, object] | bytes) -> Inference:
    """`parse_event` of an inference, without its body."""
    return _parse(data, _INFERENCE, Inference)[0]


def parse_feedback(data: Mapping[str, object] | bytes) -> AnyFeedback:
    """`parse_event` of feedback, without its body; the event's class follows `feedback_type`."""
    return _parse(data, _FEEDBACK, AnyFeedback)[0]


def readable_id(data: Mapping[str, object] | bytes, kind: str) -> str | None:
    """The id in a refused event, where one can still be read; for dead letters."""
    names = ("request_id", ALIAS) if kind == "inference" else ("feedback_id",)
    try:
        body = msgspec.json.decode(data) if isinstance(data, bytes) else data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(body, Mapping):
        return None
    for name in names:
        if isinstance(found := body.get(name), str):
            return found[:128].encode(errors="backslashreplace").decode()[:128]
    return None


def _parse(
    data: Mapping[str, object] | bytes, decoder: msgspec.json.Decoder[_Wire], kind: object
) -> tuple[_Wire, bytes]:
    if not isinstance(data, bytes):
        data = _as_bytes(data)
    if len(data) > MAX_EVENT_BYTES:
        raise EventRejected(
            "event_too_large",
            value=f"{len(data)} bytes",
            fix=f"Send at most {MAX_EVENT_BYTES} bytes per event.",
        )
    try:
        event = decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        event = cast(_Wire, _parse_carefully(data, kind))
        return event, body_bytes(event)
    body = body_bytes(event)
    if _unusual(data, body):
        read_carefully(data)
    return event, body


def _unusual(data: bytes, body: bytes) -> bool:
    """True unless it is certain that no key was dropped as a duplicate and that every limit holds.

    Writing the event again gives as many quotation marks, unless a key was dropped (or a default spelt out).
    """
    return (
        data.count(b'"') != body.count(b'"')
        or len(data) > MAX_STRING_BYTES
        or data.count(b"{") + data.count(b"[") > MAX_DEPTH
        or b"\\u0022" in data
        or _LONG_NUMBER in data.translate(_DIGITS)
    )


def _parse_carefully(data: bytes, kind: object) -> object:
    body = _without_alias(read_carefully(data))
    try:
        return msgspec.convert(body, cast(type, kind))
    except msgspec.ValidationError as error:
        raise explained(error, body, _fields(kind, body.get("feedback_type"))) from None


def read_carefully(data: bytes) -> dict[str, object]:
    """A JSON object, or the reason why these bytes are none within the limits."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        found = f"byte 0x{data[error.start]:02x} at {error.start}"
        raise EventRejected("not_utf8", value=found, fix="Encode the file as UTF-8.") from None
    try:
        body = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_constant, parse_int=_integer, parse_float=_float
        )
    except json.JSONDecodeError as error:
        found = f"{error.msg} at character {error.pos + 1}"
        raise EventRejected("json_invalid", value=found, fix="Write one JSON object per line.") from None
    except RecursionError:
        raise _too_deep(None) from None
    if not isinstance(body, dict):
        raise EventRejected("not_an_object", value=shown(body), fix="Write one JSON object per line.")
    _within_limits(body, None, 1)
    return body


def _as_bytes(data: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(dict(data)).encode()
    except RecursionError:
        raise _too_deep(None) from None
    except (TypeError, ValueError) as error:
        fix = "Send only strings, numbers, booleans, null, lists and objects."
        raise EventRejected("json_invalid", value=str(error), fix=fix) from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    body = dict(pairs)
    if len(body) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise EventRejected("duplicate_key", field=name, fix="Name each key once.")
            seen.add(name)
    return body


def _constant(text: str) -> object:
    raise EventRejected("number_not_finite", value=text, fix="Send a finite number, or leave the field out.")


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) >= 2**53:
        fix = "Integers go up to 2^53 - 1; send longer ones as strings."
        raise EventRejected("number_out_of_range", value=shown(text), fix=fix)
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise EventRejected("number_out_of_range", value=shown(text), fix="Send a number up to about 1.8e308.")
    return number


# The way to a value, last step first: written out only for a refusal, for a key may be as long as the event.
_Path = tuple[Any, str | int] | None


def _within_limits(value: object, path: _Path, depth: int) -> None:
    if isinstance(value, str):
        _check_string(value, path)
    elif isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            raise _too_deep(path)
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(name, str):
                _check_string(name, path)
            _within_limits(inner, (path, name), depth + 1)


def _check_string(text: str, path: _Path) -> None:
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise EventRejected("not_utf8", field=_written(path), fix="A string holds half of a surrogate pair.") from None
    if size > MAX_STRING_BYTES:
        fix = f"A string may have {MAX_STRING_BYTES} bytes; store more elsewhere and send its address."
        raise EventRejected("string_too_long", field=_written(path), value=f"{size} bytes", fix=fix)


def _too_deep(path: _Path) -> EventRejected:
    fix = f"Nest objects and lists at most {MAX_DEPTH} deep."
    return EventRejected("nesting_too_deep", field=_written(path)[:80], fix=fix)


def _written(path: _Path) -> str:
    steps: list[str | int] = []
    while path is not None:
        path, step = path
        steps.append(step)
    return dotted(reversed(steps))


def _without_alias(body: dict[str, object]) -> dict[str, object]:
    if ALIAS in body:
        if "request_id" in body:
            raise EventRejected("field_ambiguous", field=ALIAS, fix="Send it or `request_id`, not both.")
        body["request_id"] = body.pop(ALIAS)
    if isinstance(target := body.get("target"), dict):
        body["target"] = _without_alias(target)
    return body


def _fields(kind: Any, tag: object) -> dict[str, Sequence[str]]:
    """Known field names per object, keyed by the field that holds it; "=field" lists allowed values."""
    classes: tuple[type[Wire], ...] = typing.get_args(kind) or (kind,)
    chosen = next((c for c in classes if c.__struct_config__.tag == tag), classes[0])
    known = dict(_nested(chosen))
    if len(classes) > 1:
        known[""] = (*known[""], "feedback_type")
        known["=feedback_type"] = tuple(str(c.__struct_config__.tag) for c in classes)
    return known


@cache
def _nested(kind: type[Wire]) -> dict[str, Sequence[str]]:
    known: dict[str, Sequence[str]] = {"": kind.__struct_fields__}

    def collect(hint: object, name: str) -> None:
        if isinstance(hint, type) and issubclass(hint, Wire):
            known[name] = hint.__struct_fields__
            visit(hint)
        elif typing.get_origin(hint) is typing.Literal:
            known[f"={name}"] = typing.get_args(hint)
        else:
            for inner in typing.get_args(hint):
                collect(inner, name)

    def visit(struct: type[Wire]) -> None:
        for name, hint in typing.get_type_hints(struct).items():
            if name in struct.__struct_fields__:
                collect(hint, name)

    visit(kind)
    return known
