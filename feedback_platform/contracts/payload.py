"""What an input or output says in plain words: its kind, the last user turn, the answer's text.

Knows the canonical shapes of the wire contract (text, chat, features, anything else), nothing of tables.
"""

from collections.abc import Mapping, Sequence

_SCALARS = (str, int, float, bool, type(None))


def input_kind(value: object) -> str:
    """`text`, `chat` ({"messages": [{"role": ...}, ...]}), `features` (flat object of scalars) or `json`."""
    if isinstance(value, str):
        return "text"
    if not isinstance(value, dict):
        return "json"
    if _messages(value) is not None:
        return "chat"
    return "features" if all(isinstance(inner, _SCALARS) for inner in value.values()) else "json"


def last_user(value: object) -> str | None:
    """Text of the last user message of a chat, a text itself, else nothing."""
    if isinstance(value, str):
        return value
    return _last_said(_messages(value) or (), "user")


def output_text(value: object) -> str | None:
    """The plain text of an output: a string, a message, or the last assistant message of a chat."""
    if isinstance(value, str):
        return value
    if (messages := _messages(value)) is not None:
        return _last_said(messages, "assistant")
    return _content_text(value.get("content")) if isinstance(value, dict) else None


def _messages(value: object) -> Sequence[Mapping[str, object]] | None:
    messages = value.get("messages") if isinstance(value, dict) else None
    if not isinstance(messages, list) or not messages:
        return None
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return None
    return messages


def _last_said(messages: Sequence[Mapping[str, object]], role: str) -> str | None:
    return next((_content_text(m.get("content")) for m in reversed(messages) if m["role"] == role), None)


def _content_text(content: object) -> str | None:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [part if isinstance(part, str) else _part_text(part) for part in content]
    said = [part for part in parts if part is not None]
    return "\n".join(said) if said else None


def _part_text(part: object) -> str | None:
    text = part.get("text") if isinstance(part, dict) else None
    return text if isinstance(text, str) else None
