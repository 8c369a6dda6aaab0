"""Refused events as they may be kept: ids as pseudonyms, texts masked where the policy masks or rejects.

A refused body may be anything, so nothing here trusts its shape and nothing raises. The same body gives the same
bytes; one with nothing to replace comes back byte for byte.
"""

import json
import re
from typing import Any

from feedback_platform.errors import EventRejected
from feedback_platform.intake.privacy.detectors import Detectors
from feedback_platform.intake.privacy.leaves import Path, leaves, put
from feedback_platform.intake.privacy.policy import PrivacyPolicy
from feedback_platform.intake.privacy.pseudonyms import Pseudonyms, Purpose

# Never free text, at the top of an event: ids, joins, declared categories.
_NOT_TEXT = frozenset(
    "request_id inference_request_id feedback_id timestamp model model_version regenerates parent_request_id user_id "
    "session_id target source keys segments feedback_type".split()
)
_SHOWS_IDS = frozenset("user_id session_id target target.session_id source source.id".split())
_TEXT = r'"((?:[^"\\]|\\.)*+)("?)'  # may end with the body
_ID_IN_TEXT = re.compile(rf'("(user_id|session_id)"\s*:\s*){_TEXT}', re.DOTALL)
_SOURCE_IN_TEXT = re.compile(r'"source"\s*:\s*\{[^{}]*+')
_SOURCE_ID_IN_TEXT = re.compile(rf'("(id)"\s*:\s*){_TEXT}', re.DOTALL)
_PURPOSES: dict[str, Purpose] = {"user_id": "person", "id": "person", "session_id": "session"}


def scrubbed_body(body: bytes, policy: PrivacyPolicy, pseudonyms: Pseudonyms, detectors: Detectors) -> bytes:
    """A refused body as it may be kept (see `Privacy.scrub_dead_letter`)."""
    masks = policy.mask_text in ("mask", "reject")
    repeated: list[bool] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        event = dict(pairs)
        if len(event) != len(pairs):
            repeated.append(True)  # the key that goes unread may hold an id
        return event

    try:
        value = json.loads(body.decode(), object_pairs_hook=once)
        if not isinstance(value, dict | list):
            return _scrubbed_text(body, policy, pseudonyms, detectors if masks else None)
        changed = _identified(value, policy, pseudonyms) or bool(repeated)
        changed = (masks and _masked(value, detectors)) or changed
        return _encoded(value) if changed else body
    except (ValueError, RecursionError):
        return _scrubbed_text(body, policy, pseudonyms, detectors if masks else None)


def scrubbed_refusal(refusal: EventRejected, policy: PrivacyPolicy, detectors: Detectors) -> EventRejected:
    """A refusal whose message may be kept; the same one when it shows nothing that must go."""
    if not refusal.value or type(refusal) is not EventRejected:  # the others name ids of events only
        return refusal
    value = refusal.value
    if refusal.field in _SHOWS_IDS and policy.pseudonymise:
        value = ""
    elif policy.mask_text in ("mask", "reject"):
        value = detectors.mask([_clean(value)])[0][0]
    if value == refusal.value:
        return refusal
    return EventRejected(refusal.reason, field=refusal.field, value=value, fix=refusal.fix)


def _identified(value: Any, policy: PrivacyPolicy, pseudonyms: Pseudonyms) -> bool:
    """Replace the ids of an event, or of each event of a list; True when there was one to replace."""
    if isinstance(value, list):
        return sum(_identified(event, policy, pseudonyms) for event in value if isinstance(event, dict)) > 0
    if not isinstance(value, dict):
        return False
    source, target = value.get("source"), value.get("target")
    changed = False
    for holder, key, name in (
        (value, "user_id", "user_id"), (value, "session_id", "session_id"), (target, "session_id", "session_id"),
        (target, "user_id", "user_id"), (source, "user_id", "user_id"), (source, "session_id", "session_id"),
        (source if _is_person(source) else None, "id", "source.id"),
    ):  # fmt: skip
        given = holder.get(key) if isinstance(holder, dict) else None
        if name in policy.pseudonymise and isinstance(given, str):
            holder[key] = pseudonyms.of(_PURPOSES[key], _clean(given))  # type: ignore[index]
            changed = changed or holder[key] != given  # type: ignore[index]
    return changed


def _is_person(source: Any) -> bool:
    return isinstance(source, dict) and source.get("kind") not in ("model", "code")


def _masked(value: Any, detectors: Detectors) -> bool:
    """Mask the strings of an event, or of each event of a list, but for ids; True when there was one to mask."""
    texts = [leaf for leaf in leaves(value) if _top(leaf.path) not in _NOT_TEXT]
    found = detectors.find([_clean(leaf.text) for leaf in texts])
    for place, text in found.masked.items():
        put(texts[place], text)
    return bool(found.masked)


def _top(path: Path) -> str | int:
    """The field of the event that a path leads through."""
    name: str | int = ""
    while path is not None:
        path, step = path
        name = step if isinstance(step, str) or not isinstance(name, str) else name
    return name


def _encoded(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can write
        return json.dumps(value, separators=(",", ":")).encode()


def _clean(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _scrubbed_text(body: bytes, policy: PrivacyPolicy, pseudonyms: Pseudonyms, detectors: Detectors | None) -> bytes:
    """Bytes that are no JSON: ids where `"user_id": "..."` can be read, personal data anywhere."""
    try:
        text, coding = body.decode(), "utf-8"
    except UnicodeDecodeError:
        text, coding = body.decode("latin-1"), "latin-1"  # gives the same bytes back whatever they are

    def replaced(match: re.Match[str]) -> str:
        return f'{match[1]}"{pseudonyms.of(_PURPOSES[match[2]], _clean(_unescaped(match[3])))}{match[4]}'

    def replaced_source(match: re.Match[str]) -> str:
        foreign = re.search(r'"kind"\s*:\s*"(model|code)"', match[0])
        return match[0] if foreign else _SOURCE_ID_IN_TEXT.sub(replaced, match[0])

    if "source.id" in policy.pseudonymise:
        text = _SOURCE_IN_TEXT.sub(replaced_source, text)
    text = _ID_IN_TEXT.sub(lambda match: replaced(match) if match[2] in policy.pseudonymise else match[0], text)
    if detectors is not None:
        text = detectors.mask([text])[0][0]
    return text.encode(coding)


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text
