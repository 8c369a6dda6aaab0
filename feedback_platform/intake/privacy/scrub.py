"""Refused events and foreign records as they may be kept: ids as pseudonyms, texts masked where the policy masks.

What was refused may be anything, so nothing here trusts its shape and nothing raises. The same body gives the same
bytes; one with nothing to replace comes back byte for byte. Of our own events the places of ids are known; in a foreign
record every field that is named like an id of a person or session is taken for one, at any depth.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
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
_KINDS = ("human", "model", "code")
REMOVED: Mapping[str, str] = {"removed": "id"}
"""Stands for an object or list in the place of an id; no event with it is accepted."""

# How fields with ids end (`user.id`, `userId`, `author_user_id`), and how some are called; "_" may be ".", "-" or absent.
_ENDS: Mapping[Purpose, tuple[str, ...]] = {
    "person": tuple(
        "user_id user_ids end_user user_name user_email llm_user trace_user completed_by created_by updated_by "
        "rater_id author_id annotator_id".split()
    ),
    "session": ("session_id", "conversation_id", "chat_id", "trace_session"),
}
_NAMES = tuple("user author rater annotator email".split())  # of people

_PLAIN = str.maketrans("", "", "._-")
_PLAIN_ENDS = {purpose: tuple(end.translate(_PLAIN) for end in ends) for purpose, ends in _ENDS.items()}
_KEY = rf"[\w.\-]{{0,60}}(?:{'|'.join(e for ends in _ENDS.values() for e in ends)})|{'|'.join(_NAMES)}".replace(
    "_", "[._-]?"
)
_SCALAR = r'(?:"((?:[^"\\]|\\.)*+)("?)|(-?[0-9][0-9.eE+-]*+))'  # a text may end with the body
_ID_IN_TEXT = re.compile(rf'("({_KEY})"\s*:\s*){_SCALAR}', re.DOTALL | re.IGNORECASE)
_ATTRIBUTE_IN_TEXT = re.compile(
    rf'("key"\s*:\s*"({_KEY})"\s*,\s*"value"\s*:\s*\{{\s*"\w{{1,20}}"\s*:\s*){_SCALAR}', re.DOTALL | re.IGNORECASE
)
_SOURCE_IN_TEXT = re.compile(r'"source"\s*:\s*\{[^{}]*+')
_SOURCE_ID_IN_TEXT = re.compile(rf'("(id)"\s*:\s*){_SCALAR}', re.DOTALL)


class Scrubber:
    """What a policy does to refused bodies, foreign records and what is said about them.

    Args:
        policy: which ids are replaced, whether texts are masked.
        pseudonyms: those of the tenant.
        detectors: those of the policy.
    """

    def __init__(self, policy: PrivacyPolicy, pseudonyms: Pseudonyms, detectors: Detectors) -> None:
        self._policy, self._pseudonyms, self._detectors = policy, pseudonyms, detectors
        self._masks = policy.mask_text in ("mask", "reject")

    def body(self, body: bytes) -> bytes:
        """A refused event, or several in a list."""
        return self._scrubbed(body, self._event)

    def foreign(self, body: bytes) -> bytes:
        """A record of a foreign format."""
        return self._scrubbed(body, self._record)

    def message(self, text: str) -> str:
        """Words about a foreign record, which may quote it; looked at in every mode but `off`."""
        if self._policy.mask_text == "off":
            return text
        return self._detectors.mask([_clean(text)])[0][0]

    def refusal(self, refusal: EventRejected) -> EventRejected:
        """A refusal whose message may be kept; the same one when it shows nothing that must go."""
        if not refusal.value or type(refusal) is not EventRejected:  # the others name ids of events only
            return refusal
        name = refusal.field.rpartition(".")[2]
        if self._policy.pseudonymise and (refusal.field in _SHOWS_IDS or _named_like_an_id(name) is not None):
            value = ""
        else:
            value = self._ids_in_text(refusal.value)
            if self._masks:
                value = self._detectors.mask([_clean(value)])[0][0]
        if value == refusal.value:
            return refusal
        return EventRejected(refusal.reason, field=refusal.field, value=value, fix=refusal.fix)

    def _scrubbed(self, body: bytes, scrub: Callable[[Any], Any]) -> bytes:
        kept = self._scrubbed_json(body, scrub)
        if kept is None:
            kept = self._scrubbed_text(body)
            if kept != body:  # a replaced number may have made it JSON
                kept = self._scrubbed_json(kept, scrub) or kept
        return kept

    def _scrubbed_json(self, body: bytes, scrub: Callable[[Any], Any]) -> bytes | None:
        """None for what is no JSON object or list."""
        repeated: list[bool] = []

        def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            event = dict(pairs)
            if len(event) != len(pairs):
                repeated.append(True)  # the key that goes unread may hold an id
            return event

        try:
            value = json.loads(body.decode(), object_pairs_hook=once)
            if not isinstance(value, dict | list):
                return None
            changed = scrub(value) or bool(repeated)
            return _encoded(value) if changed else body
        except (ValueError, RecursionError):
            return None

    def _event(self, value: Any) -> bool:
        """Scrub an event in place; True when there was something to replace."""
        changed = self._identified(value)
        return (self._masks and _masked(value, self._detectors)) or changed

    def _record(self, value: Any) -> bool:
        """Scrub a foreign record in place; True when there was something to replace."""
        changed = self._identified_anywhere(value)
        return (self._masks and self._masked_anywhere(value)) or changed

    def _purpose(self, key: str) -> Purpose | None:
        """What kind of id a field of this name holds, where the policy replaces that; foreign names are all or none."""
        chosen = self._policy.pseudonymise
        purpose = _named_like_an_id(key)
        if purpose == "session":
            return purpose if "session_id" in chosen else None
        asked = ("user_id",) if key == "user_id" else ("user_id", "source.id")
        return purpose if purpose is not None and any(name in chosen for name in asked) else None

    def _replaced(self, purpose: Purpose, given: Any) -> Any:
        """What stands in the place of an id; what is no text says nothing or is removed whole."""
        if given is None or isinstance(given, bool) or given in ({}, []):
            return given
        if isinstance(given, dict | list):
            return dict(REMOVED)
        return self._pseudonyms.of(purpose, _clean(str(given)))

    def _identified(self, value: Any) -> bool:
        """Replace the ids of an event, or of each event of a list; True when there was one to replace."""
        if isinstance(value, list):
            return sum([self._identified(event) for event in value if isinstance(event, dict)]) > 0
        source, target = value.get("source"), value.get("target")
        changed = False
        for holder in (value, source, target):
            if isinstance(holder, dict):
                found = {key: self._replaced(purpose, holder[key]) for key in holder if (purpose := self._purpose(key))}
                if (
                    holder is source
                    and "id" in holder
                    and _is_person(holder)
                    and "source.id" in self._policy.pseudonymise
                ):
                    found["id"] = self._replaced("person", holder["id"])
                changed = _update(holder, found) or changed
        odd = source is not None and not isinstance(source, dict) and source not in _KINDS
        if odd and "source.id" in self._policy.pseudonymise:
            changed = _update(value, {"source": self._replaced("person", source)}) or changed
        if self._policy.pseudonymise and isinstance(target, list):
            changed = _update(value, {"target": self._replaced("session", target)}) or changed
        return changed

    def _identified_anywhere(self, value: Any) -> bool:
        """Replace what is named like an id at any depth, also in OTLP's key-value lists and in JSON texts."""
        if isinstance(value, list):
            found: dict[Any, Any] = {place: self._in_text(inner) for place, inner in enumerate(value)}
        elif isinstance(value, dict):
            found = {
                key: self._replaced(purpose, inner) if (purpose := self._purpose(key)) else self._in_text(inner)
                for key, inner in value.items()
            }
            if "value" in value and isinstance(name := value.get("key"), str) and (purpose := self._purpose(name)):
                found["value"] = self._attribute(purpose, value["value"])
        else:
            return False
        changed = _update(value, found)
        inner_values = value if isinstance(value, list) else list(value.values())
        return sum([self._identified_anywhere(inner) for inner in inner_values]) > 0 or changed

    def _attribute(self, purpose: Purpose, value: Any) -> Any:
        """The value of an OTLP attribute: `{"stringValue": ...}`, or a plain one."""
        if isinstance(value, dict) and len(value) == 1:
            [(kind, inner)] = value.items()
            if isinstance(inner, str | int | float) and not isinstance(inner, bool):
                return {"stringValue" if kind != "string_value" else kind: self._replaced(purpose, inner)}
        return self._replaced(purpose, value)

    def _in_text(self, value: Any) -> Any:
        """A value; of a text that holds JSON one without ids."""
        return self._ids_in_text(value) if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") else value

    def _masked_anywhere(self, value: Any) -> bool:
        texts = [leaf for leaf in leaves(value) if not leaf.text.startswith(self._pseudonyms.prefix)]
        found = self._detectors.find([_clean(leaf.text) for leaf in texts])
        for place, text in found.masked.items():
            put(texts[place], text)
        return bool(found.masked)

    def _scrubbed_text(self, body: bytes) -> bytes:
        """Bytes that are no JSON: ids where `"user_id": "..."` can be read, personal data anywhere."""
        try:
            text, coding = body.decode(), "utf-8"
        except UnicodeDecodeError:
            text, coding = body.decode("latin-1"), "latin-1"  # gives the same bytes back whatever they are
        text = self._ids_in_text(text)
        if self._masks:
            text = self._detectors.mask([text])[0][0]
        return text.encode(coding)

    def _ids_in_text(self, text: str) -> str:
        def in_source(match: re.Match[str]) -> str:
            foreign = re.search(r'"kind"\s*:\s*"(model|code)"', match[0])
            return match[0] if foreign else _SOURCE_ID_IN_TEXT.sub(partial(self._in_place, "person"), match[0])

        def named(match: re.Match[str]) -> str:
            purpose = self._purpose(match[2])
            return match[0] if purpose is None else self._in_place(purpose, match)

        if "source.id" in self._policy.pseudonymise:
            text = _SOURCE_IN_TEXT.sub(in_source, text)
        return _ATTRIBUTE_IN_TEXT.sub(named, _ID_IN_TEXT.sub(named, text))

    def _in_place(self, purpose: Purpose, match: re.Match[str]) -> str:
        """The pseudonym in the place of an id, with the quotation marks that it had."""
        given, closed = (match[5], '"') if match[5] is not None else (_unescaped(match[3]), match[4])
        return f'{match[1]}"{self._pseudonyms.of(purpose, _clean(given))}{closed}'


def _named_like_an_id(key: str) -> Purpose | None:
    name = key.translate(_PLAIN).lower()
    if name in _NAMES or name.endswith(_PLAIN_ENDS["person"]):
        return "person"
    return "session" if name.endswith(_PLAIN_ENDS["session"]) else None


def _update(holder: Any, found: Mapping[Any, Any]) -> bool:
    """Put what is new into a dict or list; True when there was something."""
    new = {key: value for key, value in found.items() if value is not holder[key] and value != holder[key]}
    for key, value in new.items():
        holder[key] = value
    return bool(new)


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


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text
