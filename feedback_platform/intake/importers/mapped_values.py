"""How payloads and verdicts of tracing tools read in words of the wire contract. Pure: no files, no clock."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import cast

import msgspec

from feedback_platform.intake.importers.foreign import Options
from feedback_platform.intake.importers.ids import UNVERSIONED, short

MAX_NAME = 256
MAX_ENTRIES = 64


def held(value: object) -> object:
    """What a string holds when that is a JSON object, list or string; other strings and values stay as they are."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "[", '"'):
        return value
    try:
        return cast(object, msgspec.json.decode(value))
    except (msgspec.MsgspecError, RecursionError):
        return value


def as_object(value: object) -> dict[str, object]:
    """An object, or the one that a string holds; else an empty one."""
    value = held(value)
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """A list, or the one that a string holds; else an empty one."""
    value = held(value)
    return value if isinstance(value, list) else []


def named(value: object) -> str | None:
    """A name that fits the wire, or None for nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value).strip()
    return short(text) if text else None


def short_map(values: Mapping[str, object]) -> dict[str, str]:
    """The entries that fit a map of short strings: at most 64, in order of name."""
    texts = {key: str(value) for key, value in sorted(values.items()) if isinstance(value, str | int | float)}
    fit = [(key, text) for key, text in texts.items() if 0 < len(key) <= MAX_NAME and 0 < len(text) <= MAX_NAME]
    return dict(fit[:MAX_ENTRIES])


def present(**fields: object) -> dict[str, object]:
    """The fields that say something: neither None nor an empty string, list or object."""
    return {key: value for key, value in fields.items() if value is not None and value not in ("", [], {})}


def origin(options: Options, model: str | None, version: str | None) -> dict[str, object] | None:
    """`model`, `model_version` and `task` of an inference; None when there is no name for the model.

    The record's own words come first and the user's `options` fill the gaps.
    """
    model = model or options.model
    if model is None:
        return None
    return present(model=model, model_version=version or options.model_version or UNVERSIONED, task=options.task)


def latency_ms(start: datetime | None, end: datetime | None) -> float | None:
    """Milliseconds from start to end; None when one is missing or they are the wrong way round."""
    if start is None or end is None or end < start:
        return None
    return round((end - start).total_seconds() * 1000, 3)


def is_messages(value: object) -> bool:
    """Whether this is a non-empty list of chat messages."""
    return isinstance(value, list) and bool(value) and all(isinstance(m, dict) and "role" in m for m in value)


def chat_input(value: object) -> tuple[object, dict[str, object]]:
    """An input in canonical shape, and what else of a chat request stood beside its messages."""
    if is_messages(value):
        return {"messages": value}, {}
    if isinstance(value, dict) and is_messages(value.get("messages")):
        return {"messages": value["messages"]}, {key: inner for key, inner in value.items() if key != "messages"}
    return value, {}


def chat_output(value: object) -> object:
    """An output in canonical shape: the text of a message that is only text, else the message as it is.

    Plain text so that a correction written as text can equal it.
    """
    if isinstance(value, dict) and isinstance(choices := value.get("choices"), list) and choices:
        value = choices[0].get("message", value) if isinstance(choices[0], dict) else value
    if isinstance(value, dict) and set(value) == {"messages"}:
        value = value["messages"]
    if isinstance(value, list) and is_messages(value):
        if len(value) > 1:
            return {"messages": value}
        value = value[0]
    if isinstance(value, dict) and "role" in value and isinstance(value.get("content"), str):
        return value["content"] if set(present(**value)) <= {"role", "content"} else value
    return value


def verdict(value: object, criterion: str) -> tuple[str, dict[str, object]] | None:
    """`feedback_type` and `feedback_value` of a bare value; None when it says nothing.

    True and false are thumbs: whether up is good is for the dataset's `signals` to say (`better: lower` for a
    criterion such as toxicity). These tools declare no scale, so a number from 0 to 1 is a rating on that scale and
    any other an outcome under its name. Short text is a label, long text a comment.
    """
    if isinstance(value, bool):
        return "thumbs", {"up": value}
    if isinstance(value, int | float) and math.isfinite(value):
        if 0 <= value <= 1:
            return "rating", {"score": value, "min": 0, "max": 1}
        return "outcome", {"name": criterion, "value": value}
    if isinstance(value, str) and value.strip():
        return ("label", {"label": value}) if len(value) <= MAX_NAME else ("comment", {"text": value})
    return None
