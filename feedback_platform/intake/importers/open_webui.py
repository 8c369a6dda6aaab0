"""Open WebUI's feedback export (Admin, Evaluations, Feedbacks, Export: a JSON list) becomes inferences and feedback.

Fields are those of `open-webui/open-webui: backend/open_webui/models/feedbacks.py`, filled by `feedbackHandler` in
`src/lib/components/chat/Messages/ResponseMessage.svelte`. From each record:

- inferences of the rated answer and of its finished siblings, out of `snapshot.chat` (see `open_webui_chat`);
- `thumbs` from `data.rating` 1 or -1 (also as text), explained by `data.reason`;
- `rating` named `details` from `data.details.rating` on its scale of 1 to 10; `comment` from `data.comment`;
- `preference_pair` against each sibling in the snapshot, read as Open WebUI's own leaderboard reads it (`rating` 1 beats
  every sibling, -1 loses to each); none against a sibling with the same thumb. A pair targets the sibling, so that a
  second pair of the same rater does not replace the first;
- `explicit_correction` when the rated answer was edited (`originalContent`).

Ids are the record's id, the kind and `updated_at`: an opinion that changed between two exports comes as later feedback
of the same rater and replaces the earlier, instead of clashing with it. A record that says nothing is skipped.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from feedback_platform.intake.importers import line_files, open_webui_chat
from feedback_platform.intake.importers.foreign import Found, Item, Misunderstood, Options, Skipped, UnreadableRest
from feedback_platform.intake.importers.ids import instant, safe_id, short, wire_time
from feedback_platform.intake.importers.line_files import Raw
from feedback_platform.intake.importers.open_webui_chat import Chat
from feedback_platform.intake.importers.values import (
    JsonObject,
    NotMapped,
    mapping,
    misunderstood,
    named,
    number,
    present,
    text,
)

NAME = "open-webui"
SUMMARY = "Open WebUI's feedback export: thumbs, ratings, comments and comparisons with their chats"

_SUFFIXES = (".json", ".jsonl", ".ndjson")
_EXPECTED = "a feedback export of Open WebUI (records with `id`, `data` and `meta`)"


def read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    """Per record its inferences, then its feedback.

    Raises:
        ImportFormatError: none of a file's first records is feedback of Open WebUI.
        UnreadableRest: at the end, when some files could not be read to theirs.
    """
    damage: list[str] = []
    for path in line_files.files(paths, _SUFFIXES):
        records = line_files.decoded(line_files.listed(path), path, damage)
        for record in line_files.recognised(path, records, _is_known, _EXPECTED):
            if isinstance(record, Misunderstood):
                yield record
            else:
                raw, body = record
                yield from _record(raw, body, path, options)
    if damage:
        raise UnreadableRest("; ".join(damage))


def _is_known(record: JsonObject) -> bool:
    return {"id", "data", "meta"} <= set(record)


def _record(raw: Raw, record: JsonObject, path: Path, options: Options) -> Iterator[Item]:
    chat = open_webui_chat.chat_of(record)
    rated = named(mapping(record.get("meta")).get("message_id"))
    if rated is None:
        problem = NotMapped("`meta.message_id` does not say which answer was judged.")
        yield misunderstood("feedback", problem, raw, path)
        return
    yield from _inferences(raw, chat, rated, path, options)
    try:
        events = list(_feedback(record, chat, rated))
    except NotMapped as problem:
        yield misunderstood("feedback", problem, raw, path)
        return
    if not events:
        yield Skipped("says_nothing")
    for event in events:
        yield event if isinstance(event, Skipped) else Found("feedback", event, path, raw.line)


def _inferences(raw: Raw, chat: Chat, rated: str, path: Path, options: Options) -> Iterator[Item]:
    """The rated answer and its siblings."""
    if not chat.message(rated):
        yield Skipped("answer_not_in_snapshot")
        return
    for message_id in (*chat.siblings(rated), rated):
        if not open_webui_chat.is_answered(chat.message(message_id)):
            yield Skipped("answer_unfinished_or_failed")
            continue
        try:
            yield Found("inference", open_webui_chat.inference(chat, message_id, options), path, raw.line)
        except NotMapped as problem:
            yield misunderstood("inference", problem, raw, path)


def _feedback(record: JsonObject, chat: Chat, rated: str) -> Iterator[JsonObject | Skipped]:
    """All that one record says, each with an id of its own.

    Raises:
        NotMapped: the record has no id or time, or a rating that is no thumb.
    """
    data = mapping(record.get("data"))
    thumb = _thumb(data.get("rating"))
    target: JsonObject = {"request_id": safe_id(rated)}
    if thumb is not None:
        reason = {"explanation": text(data.get("reason"))}
        yield _event(record, "thumbs", {"up": thumb}, target) | present(reason)
    details = number(mapping(data.get("details")).get("rating"))
    if details is not None:
        yield _event(record, "rating", {"score": details, "min": 1, "max": 10}, target) | {"name": "details"}
    if (comment := text(data.get("comment"))) and comment.strip():
        yield _event(record, "comment", {"text": comment}, target)
    message = chat.message(rated)
    original, edited = text(message.get("originalContent")), text(message.get("content"))
    if original and edited and original != edited:
        yield _event(record, "explicit_correction", {"output": edited}, target)
    if thumb is not None and open_webui_chat.is_answered(message):
        yield from _pairs(record, chat, rated, thumb)


def _pairs(record: JsonObject, chat: Chat, rated: str, thumb: bool) -> Iterator[JsonObject | Skipped]:
    for sibling in chat.siblings(rated):
        message = chat.message(sibling)
        if not open_webui_chat.is_answered(message):
            continue
        if _lenient_thumb(mapping(message.get("annotation")).get("rating")) == thumb:
            yield Skipped("sibling_rated_alike")
            continue
        mine, other = {"request_id": safe_id(rated)}, {"request_id": safe_id(sibling)}
        chosen, rejected = (mine, other) if thumb else (other, mine)
        pair: JsonObject = {"chosen": chosen, "rejected": rejected}
        yield _event(record, "preference_pair", pair, dict(other), sibling)


def _event(record: JsonObject, kind: str, value: JsonObject, target: JsonObject, *part: str) -> JsonObject:
    ident = named(record.get("id"))
    at = instant(record.get("updated_at")) or instant(record.get("created_at"))
    if ident is None or at is None:
        raise NotMapped("the record has no `id` or neither `updated_at` nor `created_at`.")
    meta = mapping(record.get("meta"))
    data = mapping(record.get("data"))
    user = named(record.get("user_id"))
    told = {
        "arena": meta.get("arena"),
        "tags": data.get("tags") or meta.get("tags"),
        "base_models": meta.get("base_models"),
        "message_index": meta.get("message_index"),
        "reason": data.get("reason"),
    }
    return {
        "feedback_id": safe_id(ident, kind, *part, int(at.timestamp())),
        "feedback_type": kind,
        "feedback_value": value,
        "target": target,
        "timestamp": wire_time(at),
        "source": present({"kind": "human", "id": short(user) if user else None, "client": "open-webui"}),
        "metadata": present(told),
    }


def _thumb(rating: object) -> bool | None:
    if rating is None or rating == "" or number(rating) == 0:
        return None
    thumb = _lenient_thumb(rating)
    if thumb is None:
        raise NotMapped(f"`data.rating` is {rating!r}, neither 1 nor -1.")
    return thumb


def _lenient_thumb(rating: object) -> bool | None:
    return {1.0: True, -1.0: False}.get(number(rating) or 0.0)
