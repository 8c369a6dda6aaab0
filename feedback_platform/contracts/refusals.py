"""Why an event is refused: the reason codes, and how a failed decode becomes an explanation to act on.

Knows nothing of files or logs; `events` calls it only after the fast path has failed.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from feedback_platform.errors import EventRejected

REASONS: Mapping[str, str] = {
    "not_utf8": "the bytes are not UTF-8 text, or a string holds half of a surrogate pair",
    "json_invalid": "the text is not one JSON value",
    "not_an_object": "the JSON value is not an object",
    "duplicate_key": "an object names the same key twice",
    "number_not_finite": "NaN or Infinity, which JSON does not have",
    "number_out_of_range": "an integer beyond 2^53 - 1 or a number beyond the doubles",
    "event_too_large": "the event is larger than the limit",
    "string_too_long": "one string is larger than the limit",
    "nesting_too_deep": "objects or lists are nested deeper than the limit",
    "too_many_entries": "a map or list has more entries than the limit",
    "too_few_entries": "a map or list has fewer entries than it needs",
    "value_too_long": "a short text is longer than its limit",
    "value_empty": "a text that must say something is empty",
    "field_missing": "a required field is absent",
    "field_unknown": "a field is not part of the contract",
    "field_ambiguous": "a field and its alias are both present",
    "wrong_type": "a value has another type than the contract says",
    "value_not_allowed": "a value is not one of the allowed ones",
    "value_out_of_range": "a number is outside its bounds",
    "id_invalid": "an id has other characters or another length than allowed",
    "timestamp_invalid": "a time is not RFC 3339",
    "timestamp_naive": "a time has no offset from UTC",
    "target_missing": "feedback says nothing about what it judges",
    "target_ambiguous": "feedback names its target twice",
    "target_invalid": "the target is not one request, session or set of keys",
    "reference_invalid": "a reference is not one request, item or output",
    "reference_repeated": "a pair or ranking names the same thing twice",
    "rating_scale_invalid": "a rating's min is not below its max",
    "rating_out_of_scale": "a rating's score is outside its own scale",
    "rate_limited": "the sender is over its rate; the same event is welcome later",
    "personal_data": "the tenant refuses texts with personal data in them",
    "not_mapped": "a record of a foreign format could not be turned into an event",
    "id_conflict": "the id was taken earlier by an event with another body",
}


class Fault(ValueError):
    """A rule across fields is broken; raised while decoding, before the path to the object is known."""

    def __init__(self, reason: str, field: str, fix: str) -> None:
        super().__init__(fix)
        self.reason, self.field, self.fix = reason, field, fix


def explained(error: msgspec.ValidationError, data: object, fields: Mapping[str, Sequence[str]]) -> EventRejected:
    """The refusal that belongs to a decoding error.

    Args:
        error: what msgspec raised.
        data: the decoded JSON value, to show what was found.
        fields: known field names per object, keyed by the object's own field name ("" = the event itself).
    """
    text, _, tail = str(error).rpartition(" - at `") if " - at `" in str(error) else (str(error), "", "")
    path = _named(data, _steps(tail[tail.find("$") + 1 :])) if tail else ()
    cause = error.__cause__
    if isinstance(cause, Fault):
        path += _steps(cause.field)
        return EventRejected(cause.reason, field=dotted(path), value=shown(_at(data, path)), fix=cause.fix)
    for pattern, explain in _RULES:
        if match := re.match(pattern, text, re.DOTALL):
            holder = next((step for step in reversed(path) if isinstance(step, str)), "")
            reason, name, fix = explain(match, holder, fields)
            path += (name,) if name else ()
            found = "" if reason == "field_missing" else shown(_at(data, path))
            if reason == "timestamp_naive" and not _looks_like_date(_at(data, path)):
                reason, fix = "timestamp_invalid", _TIME_FIX
            return EventRejected(reason, field=dotted(path), value=found, fix=fix)
    return EventRejected("wrong_type", field=dotted(path), value=shown(_at(data, path)), fix=f"{text}.")


def dotted(path: Iterable[str | int]) -> str:
    """Keys and places as `items[0].score`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def shown(value: object, limit: int = 80) -> str:
    """A scalar as JSON, cut for display; of an object or a list only its size, for it may hold anything."""
    if value is _ABSENT:
        return ""
    if isinstance(value, Mapping):
        return f"an object with {len(value)} field{'s' * (len(value) != 1)}"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        value = value[: limit * 2]
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= limit else f"{text[:limit]}..."


_ABSENT = object()
_TIME_FIX = "Write an RFC 3339 time such as 2026-01-31T09:30:00Z."
_Explained = tuple[str, str, str]
_Steps = tuple[str | int, ...]
_LONGEST_NAME = 64
_SOME = "..."


def _missing(match: re.Match[str], holder: str, fields: Mapping[str, Sequence[str]]) -> _Explained:
    return "field_missing", match[1], f"Add the required field `{match[1]}`."


def _unknown(match: re.Match[str], holder: str, fields: Mapping[str, Sequence[str]]) -> _Explained:
    known = fields.get(holder, ())
    near = _nearest(match[1], known)
    fix = f"Did you mean `{near}`?" if near else f"Known fields here: {', '.join(sorted(known))}."
    if not holder and not near:
        fix = "Put what the contract has no field for into `metadata`."
    return "field_unknown", match[1], fix


def _type(match: re.Match[str], holder: str, fields: Mapping[str, Sequence[str]]) -> _Explained:
    wanted, found = match[1], match[2]
    if "datetime" in wanted:
        return "timestamp_invalid", "", _TIME_FIX
    hint = " Write it in quotes." if "str" in wanted and found in ("int", "float", "bool") else ""
    return "wrong_type", "", f"Expected {_plain(wanted)}, got {_plain(found)}.{hint}"


def _naive(match: re.Match[str], holder: str, fields: Mapping[str, Sequence[str]]) -> _Explained:
    return "timestamp_naive", "", "Add Z or an offset such as +02:00; a time without one is ambiguous."


def _length(match: re.Match[str], holder: str, fields: Mapping[str, Sequence[str]]) -> _Explained:
    text, least, number = match[1] == "str", match[2] == ">=", match[3]
    if text:
        return ("value_empty", "", "It must not be empty.") if least else (
            "value_too_long", "", f"Use at most {number} characters.")  # fmt: skip
    return ("too_few_entries", "", f"Give at least {number}.") if least else (
        "too_many_entries", "", f"Give at most {number}.")  # fmt: skip


def _pattern(match: re.Match[str], holder: str, fields: Mapping[str, Sequence[str]]) -> _Explained:
    return "id_invalid", "", "Use 1 to 128 of the characters A-Z a-z 0-9 _ . : -"


def _bounds(match: re.Match[str], holder: str, fields: Mapping[str, Sequence[str]]) -> _Explained:
    return "value_out_of_range", "", f"It must be {match[2]} {float(match[3]):g}."


def _choice(match: re.Match[str], holder: str, fields: Mapping[str, Sequence[str]]) -> _Explained:
    choices = fields.get(f"={holder}", ())
    near = _nearest(match[1], choices)
    fix = f"Use one of: {', '.join(choices)}."
    return "value_not_allowed", "", f"Did you mean `{near}`? {fix}" if near else fix


def _nearest(word: str, known: Sequence[str]) -> str:
    if len(word) > _LONGEST_NAME:  # no misspelling, and comparing costs by the length
        return ""
    return next(iter(difflib.get_close_matches(word, known, n=1)), "")


_RULES = (
    (r"Object missing required field `(.*)`", _missing),
    (r"Object contains unknown field `(.*)`", _unknown),
    (r"Expected `datetime` with a timezone component", _naive),
    (r"Invalid RFC3339", _naive),
    (r"Expected `str` matching regex", _pattern),
    (r"Expected `(str|array|object|list|dict)` of length (>=|<=) (\d+)", _length),
    (r"Expected `(\w+)` (>=|<=|>|<) ([-\d.]+)", _bounds),
    (r"Expected `(.*)`, got `(.*)`", _type),
    (r"Invalid (?:enum )?value '?([^']*)'?", _choice),
)


def _plain(types: str) -> str:
    words = {"str": "a string", "int": "an integer", "float": "a number", "bool": "true or false",
             "array": "a list", "object": "an object", "null": "null"}  # fmt: skip
    parts = [words.get(part.strip(), part.strip()) for part in types.split("|")]
    return " or ".join(part for part in parts if part != "null" or len(parts) == 1)


def _looks_like_date(value: object) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?)?", value))


def _named(data: object, path: _Steps) -> _Steps:
    """msgspec writes `[...]` for "some value of this map": name the first that does not fit."""
    start, last = path[:-1], path[-1:]
    entries = _at(data, start)
    if last != (_SOME,) or not isinstance(entries, Mapping):
        return path
    numbers = start[-1:] == ("probabilities",)
    return *start, next((name for name, value in entries.items() if not _fits(value, numbers)), _SOME)


def _fits(value: object, numbers: bool) -> bool:
    if numbers:
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    return isinstance(value, str) and len(value) <= 256


def _steps(path: str) -> _Steps:
    """Of a path as msgspec writes it; linear in its length, for a field's name may have got into it."""
    found = re.findall(r"\[([0-9]{1,9})\]|([^.\[\]`]+|\.{3})", path)
    return tuple(int(place) if place else name for place, name in found)


def _at(data: Any, path: _Steps) -> object:
    """The value there; `_ABSENT` where the path does not lead anywhere."""
    for step in path:
        listed = isinstance(data, list | tuple) and isinstance(step, int) and step < len(data)
        if not listed and not (isinstance(data, Mapping) and step in data):
            return _ABSENT
        data = data[step]
    return data
