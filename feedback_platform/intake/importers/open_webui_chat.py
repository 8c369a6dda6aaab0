"""The chat in an Open WebUI snapshot: a tree of messages, of which each answer becomes an inference. Pure.

`snapshot.chat` is what `GET /api/v1/chats/{id}` gave: `{id, user_id, title, chat: {history: {messages, currentId},
models, params, ...}, ...}`; older clients and scripts send the inner `chat` alone. Messages hold `id, parentId,
childrenIds, role, content, timestamp` (epoch seconds), answers also `model, modelIdx, done, error, annotation`, in
arenas `arena` and `selectedModelId`, after an edit `originalContent` (`open-webui/open-webui:
src/lib/components/chat/Chat.svelte`, `Messages.svelte`).
"""

from dataclasses import dataclass

from feedback_platform.intake.importers.foreign import Options
from feedback_platform.intake.importers.ids import UNVERSIONED, instant, safe_id, short, wire_time
from feedback_platform.intake.importers.values import (
    JsonObject,
    NotMapped,
    items,
    mapping,
    named,
    present,
    text,
)


@dataclass(frozen=True, slots=True)
class Chat:
    """A snapshot's chat: its id, its owner, its system prompt and its messages by id."""

    chat_id: str | None
    user_id: str | None
    system: str | None
    messages: JsonObject

    def message(self, message_id: str | None) -> JsonObject:
        """A message; an empty one when the snapshot has none of that id."""
        return mapping(self.messages.get(message_id)) if message_id else {}

    def siblings(self, message_id: str) -> list[str]:
        """The other answers to the same question, in the order they were made."""
        parent = self.message(named(self.message(message_id).get("parentId")))
        answers = [i for i in map(named, items(parent.get("childrenIds"))) if i and i != message_id]
        return [i for i in answers if self.message(i).get("role") == "assistant"]


def chat_of(record: JsonObject) -> Chat:
    """The chat in a feedback record's snapshot; one without messages when there is no snapshot."""
    outer = mapping(mapping(record.get("snapshot")).get("chat"))
    inner = mapping(outer.get("chat")) or outer
    system = text(mapping(inner.get("params")).get("system")) or text(inner.get("system"))
    chat_id = named(mapping(record.get("meta")).get("chat_id")) or named(outer.get("id"))
    history = mapping(mapping(inner.get("history")).get("messages"))
    return Chat(chat_id, named(outer.get("user_id")), system, history)


def is_answered(message: JsonObject) -> bool:
    """Whether the message is a finished answer that says something."""
    return message.get("role") == "assistant" and message.get("done") is not False and generated(message) is not None


def generated(message: JsonObject) -> object | None:
    """What the model said: before an edit by the user where there was one; nothing for failures and empty answers."""
    original, content = text(message.get("originalContent")), text(message.get("content"))
    if message.get("error") and not original:
        return None
    return original or content or _structured(message.get("output"))


def inference(chat: Chat, message_id: str, options: Options) -> JsonObject:
    """The inference behind an answer: only what does not change between two snapshots of the same chat.

    Raises:
        NotMapped: nothing names its model or tells its time.
    """
    message = chat.message(message_id)
    at = instant(message.get("timestamp"))
    if at is None:
        raise NotMapped(f"message {message_id} has no `timestamp`.")
    model = text(message.get("selectedModelId")) or text(message.get("model")) or options.model
    if model is None:
        raise NotMapped(f"message {message_id} names no model. Give its name with --model.")
    turns = _turns_before(chat, message)
    asked = [_as_sent(turn) for turn in turns]
    if not asked:
        raise NotMapped(f"message {message_id} answers nothing that is in the snapshot.")
    system: list[JsonObject] = [{"role": "system", "content": chat.system}] if chat.system else []
    earlier = next((named(t.get("id")) for t in reversed(turns) if t.get("role") == "assistant"), None)
    again = _regenerated(chat, message_id)
    event = {
        "request_id": safe_id(message_id),
        "timestamp": wire_time(at),
        "model": short(model),
        "model_version": short(options.model_version or UNVERSIONED),
        "task": options.task,
        "environment": options.environment,
        "session_id": short(chat.chat_id) if chat.chat_id else None,
        "user_id": short(chat.user_id) if chat.user_id else None,
        "parent_request_id": safe_id(earlier) if earlier else None,
        "regenerates": safe_id(again) if again else None,
    }
    return present(event) | {"input": {"messages": system + asked}, "output": generated(message)}


def _turns_before(chat: Chat, message: JsonObject) -> list[JsonObject]:
    """The messages from the beginning of the chat to the question, along the branch that was answered."""
    turns: list[JsonObject] = []
    passed: set[str] = set()
    above = named(message.get("parentId"))
    while above and above not in passed and (turn := chat.message(above)):
        turns.append(turn | {"id": above})
        passed.add(above)
        above = named(turn.get("parentId"))
    return turns[::-1]


def _as_sent(turn: JsonObject) -> JsonObject:
    """A turn as the model saw it: later turns build on an answer as the user edited it."""
    said: object = text(turn.get("content")) or _structured(turn.get("output")) or ""
    role = text(turn.get("role")) or "user"
    images = [text(mapping(f).get("url")) for f in items(turn.get("files")) if mapping(f).get("type") == "image"]
    if not any(images):
        return {"role": role, "content": said}
    shown = [{"type": "image_url", "image_url": {"url": url}} for url in images if url]
    return {"role": role, "content": [{"type": "text", "text": said}, *shown]}


def _regenerated(chat: Chat, message_id: str) -> str | None:
    """The answer that this one replaces: the sibling before it by the same model on the same side of the screen."""
    message = chat.message(message_id)
    parent = chat.message(named(message.get("parentId")))
    answers = [i for i in map(named, items(parent.get("childrenIds"))) if i]
    before = answers[: answers.index(message_id)] if message_id in answers else []
    mine = (message.get("model"), message.get("modelIdx"))
    for other in reversed(before):
        sibling = chat.message(other)
        if is_answered(sibling) and (sibling.get("model"), sibling.get("modelIdx")) == mine:
            return other
    return None


def _structured(output: object) -> str | None:
    """The text in an answer's list of output items, as newer versions keep it beside an empty `content`."""
    parts = [mapping(part) for item in items(output) for part in items(mapping(item).get("content"))]
    said = [found for part in parts if part.get("type") == "output_text" and (found := text(part.get("text")))]
    return "\n".join(said) or None
