"""Reading span attributes: the first that is there, as text, as a number, as JSON, as the list that was flattened.

What leaves here fits the wire contract: finite numbers, integers that JSON can carry, names of bounded length.
"""

import math
from collections.abc import Mapping
from typing import cast

import msgspec

from feedback_platform.contracts.wire import MAX_TEXT
from feedback_platform.intake.otlp.spans import Attributes

MAX_INTEGER = 2**53 - 1
# The wire contract allows events 64 levels; a value that is read from JSON text gets fewer, since it is put inside one.
MAX_DEPTH = 40
_MAX_EVENT_DEPTH = 60
_MAX_SEGMENTS = 16


class UnreadableAttribute(ValueError):
    """An attribute that should hold JSON does not; its message names it and says what to do."""


def first(attributes: Attributes, *names: str) -> object:
    """The value of the first of these attributes that is there and not empty."""
    return next((value for name in names if (value := attributes.get(name)) not in (None, "", [], {})), None)


def text(value: object) -> str | None:
    """A text that says something, or a whole number as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def name(value: object) -> str | None:
    """A text short enough for a name of the wire contract."""
    found = text(value)
    return found if found is not None and len(found) <= MAX_TEXT else None


def number(value: object) -> float | int | None:
    """A finite number; true and false count as 1 and 0."""
    if isinstance(value, int):
        return int(value) if abs(value) <= MAX_INTEGER else float(value)
    return value if isinstance(value, float) and math.isfinite(value) else None


def from_json(value: object) -> object:
    """The value that a text holds as JSON; a text that is no JSON object or list, and anything else, stays as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        found = cast(object, msgspec.json.decode(value))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return value
    return value if too_deep(found) else found


def json_attribute(attributes: Attributes, key: str) -> object:
    """An attribute's structure, whether it was recorded as such or as JSON text; None where it is absent.

    Raises:
        UnreadableAttribute: it begins like JSON and is none; usually a length limit cut it short.
    """
    value = from_json(first(attributes, key))
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        fix = "Raise OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT if it was cut short."
        raise UnreadableAttribute(f"`{key}` begins like JSON and is none (or is nested too deeply). {fix}")
    return value


def json_object(value: object) -> dict[str, object] | None:
    """A value that is an object or a text that holds one, fit for an event; None for anything else."""
    found = plain(from_json(value))
    return found if isinstance(found, dict) and found else None


def too_deep(value: object, depth: int = 0) -> bool:
    """True where lists and objects are nested deeper than events allow."""
    if not isinstance(value, list | dict):
        return False
    if depth >= MAX_DEPTH:
        return True
    return any(too_deep(inner, depth + 1) for inner in (value.values() if isinstance(value, dict) else value))


def plain(value: object, depth: int = 0) -> object:
    """A value as an event may hold it: numbers that are not finite become null, longer integers become text."""
    if isinstance(value, dict | list) and depth >= _MAX_EVENT_DEPTH:
        return None
    if isinstance(value, dict):
        return {str(key): plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner, depth + 1) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return str(value)
    return value


def flattened(attributes: Attributes, prefix: str) -> list[dict[str, object]]:
    """The objects of a list that was flattened into `prefix.<index>.<path>`, in order of index.

    Inner paths become nested objects, inner lists objects with decimal keys (see `entries`).
    """
    start = f"{prefix}."
    found: dict[int, dict[str, object]] = {}
    for key in sorted(key for key in attributes if key.startswith(start)):
        place, *path = key.removeprefix(start).split(".")
        if _is_index(place) and 0 < len(path) <= _MAX_SEGMENTS:
            _put(found.setdefault(int(place), {}), path, attributes[key])
    return [found[place] for place in sorted(found)]


def entries(value: object) -> list[object]:
    """The members of an inner list, whether it is one or was flattened."""
    if isinstance(value, dict):
        return [value[key] for key in sorted((key for key in value if _is_index(key)), key=int)]
    return value if isinstance(value, list) else []


def child(value: object, *path: str) -> object:
    """What lies at a path of nested objects, or None."""
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _is_index(key: str) -> bool:
    return key.isascii() and key.isdecimal() and len(key) <= 6


def _put(node: dict[str, object], path: list[str], value: object) -> None:
    for step in path[:-1]:
        inner = node.get(step)
        if not isinstance(inner, dict):
            inner = node[step] = {}
        node = cast(dict[str, object], inner)
    node[path[-1]] = value
