"""Chat messages as the wire wants them: OpenAI's shape, a plain answer as its text.

Pure; shared by the importers of chat logs. A message is kept whole but for names that are null or empty.
"""

from feedback_platform.intake.importers.values import JsonObject, NotMapped, text


def messages(value: object) -> list[JsonObject]:
    """A list of messages, each with a role.

    Raises:
        NotMapped: it is none.
    """
    if not isinstance(value, list) or not value:
        raise NotMapped("`messages` is no list of messages. Each message needs `role` and `content`.")
    found: list[JsonObject] = []
    for place, message in enumerate(value):
        if not isinstance(message, dict) or text(message.get("role")) is None:
            raise NotMapped(f"messages[{place}] has no `role`. Each message needs `role` and `content`.")
        found.append(whole(message))
    return found


def whole(message: JsonObject) -> JsonObject:
    """A message without what says nothing (SDKs write `refusal: null`, `annotations: []`, ...); `content` always stays."""
    return {name: value for name, value in message.items() if value not in (None, [], {}) or name == "content"}


def answer(message: JsonObject) -> object:
    """An assistant's message as an output: its text when it says no more, else the whole message.

    Raises:
        NotMapped: it says nothing at all.
    """
    kept = whole(message)
    kept.pop("weight", None)  # a training hint of fine-tuning files, not part of what was said
    said = {name for name, value in kept.items() if value not in ([], {}, "")} - {"role"}
    if said <= {"content"} and isinstance(kept.get("content"), str):
        return kept["content"]
    if not said - {"id"} or (said == {"content"} and kept["content"] is None):
        raise NotMapped("the answer has neither content nor tool calls nor a refusal.")
    return {"role": "assistant", **kept}
