"""What the bearer of a feedback token may say: a person, about the one request that they were served.

Everything not named here is refused. By feedback type:

- thumbs, rating, label, explicit_correction, implicit, comment: about the request or a part of it (item, step, chunk).
- preference_pair, ranking: too, and each side is an item, an inline output, or that same request.
- outcome: only when the token allows it by name; what came of an answer is a business fact, rarely an end user's to state.
- retraction: only when the token allows it by name and says who the user is. The door cannot see whose feedback is
  named; the stamped rater decides that later, because only the same rater's retraction has an effect.
- adjudication: never; it needs the scope `review`.

For every type: the target is the request itself, never a session or business keys, which reach other requests. A
`feedback_id` is a UUID, so that nobody can take an id that the application is going to use. `source.kind` is `human`:
judgements of code and models are exempt from the checks on bursts. No disk, no clock.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from feedback_platform.contracts import wire_feedback as wire
from feedback_platform.contracts.events import AnyFeedback, parse_feedback
from feedback_platform.errors import AccessError
from feedback_platform.intake.guards.tokens import FEEDBACK_TYPES, FeedbackToken

USUAL = FEEDBACK_TYPES - {"outcome", "retraction"}
CLIENT_MARK = "browser:"
MAX_CLIENT = 256 - len(CLIENT_MARK)

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom to write down as the speaker, whatever the event says.

    Attributes:
        user_id: the token's user; None when it names none.
        source: kind `human`; its id is the rater: the user, or else one rater per request (`served:<request_id>`), so
            that a toggled thumb supersedes itself and one answer yields one voice. A client name gets the mark
            `browser:`, so that it can never equal one that a dataset exempts from its checks.
    """

    user_id: str | None
    source: wire.Source


def restrict(event: AnyFeedback | Mapping[str, object], token: FeedbackToken) -> Identity:
    """The identity to stamp on an event that the token permits (`stamped`).

    Args:
        event: parsed feedback, or a decoded JSON object.
        token: from `tokens.check`.

    Raises:
        AccessError: 403 `token_type_refused`, `token_target_refused`, `token_other_request`, `token_other_user`,
            `token_source_refused` or `token_id_refused`.
        EventRejected: a decoded object breaks the wire contract.
    """
    parsed = parse_feedback(event) if isinstance(event, Mapping) else event
    _check_type(parsed, token)
    _check_target(parsed, token.request_id)
    _check_references(parsed, token.request_id)
    if parsed.feedback_id is not None and _UUID.fullmatch(parsed.feedback_id) is None:
        raise _refused(
            "token_id_refused", f"feedback_id {parsed.feedback_id!r} is no UUID", "Send a UUID, or leave it out"
        )
    return _identity(parsed, token)


def stamped(event: AnyFeedback, identity: Identity) -> AnyFeedback:
    """The event with the identity in place of what it said about its speaker; do this before an id is derived."""
    return msgspec.structs.replace(event, user_id=identity.user_id, source=identity.source)


def _check_type(event: AnyFeedback, token: FeedbackToken) -> None:
    kind = event.feedback_type
    permitted = USUAL if token.types is None else token.types & FEEDBACK_TYPES
    if kind not in permitted:
        fix = f"Send one of {', '.join(sorted(permitted))}" if permitted else "Ask its issuer for another token"
        raise _refused("token_type_refused", f"this token does not allow {kind}", fix)
    if kind == "retraction" and token.user_id is None:
        fix = "Ask its issuer for a token with the user's id"
        raise _refused("token_type_refused", "a token without a user cannot retract", fix)


def _check_target(event: AnyFeedback, request_id: str) -> None:
    found, target = event.request_id, event.target
    if target is not None:
        if target.request_id is None:
            fix = "Name the request"
            raise _refused("token_target_refused", "a token's feedback judges no session and no business keys", fix)
        found = target.request_id
    if found is not None and found != request_id:
        raise _other_request(found)
    if found is None and not isinstance(event, wire.Retraction):
        raise _refused("token_target_refused", "the feedback names no request", "Name the one that was answered")


def _check_references(event: AnyFeedback, request_id: str) -> None:
    for ref in _references(event):
        if ref.request_id is not None and ref.request_id != request_id:
            raise _other_request(ref.request_id)


def _references(event: AnyFeedback) -> Iterator[wire.Ref]:
    if isinstance(event, wire.PreferencePair):
        yield from (event.feedback_value.chosen, event.feedback_value.rejected)
    elif isinstance(event, wire.Ranking):
        yield from event.feedback_value.order


def _identity(event: AnyFeedback, token: FeedbackToken) -> Identity:
    source = event.source or wire.Source()
    for field, claimed in (("user_id", event.user_id), ("source.id", source.id)):
        if claimed is not None and claimed != token.user_id:
            raise _refused("token_other_user", f"`{field}` {claimed!r} is not the token's user", "Leave it out")
    if source.kind != "human":
        fix = "Send it from a server, with a key"
        raise _refused("token_source_refused", f"a token speaks for a person, not for a {source.kind}", fix)
    if source.client is not None and len(source.client) > MAX_CLIENT:
        fix = f"Use up to {MAX_CLIENT} characters"
        raise _refused("token_source_refused", f"`source.client` has {len(source.client)} characters", fix)
    rater = token.user_id if token.user_id is not None else f"served:{token.request_id}"
    client = None if source.client is None else CLIENT_MARK + source.client
    return Identity(token.user_id, wire.Source(kind="human", id=rater, client=client))


def _other_request(found: str) -> AccessError:
    fix = "Use the token that came with that answer"
    return _refused("token_other_request", f"this token is for another request than {found!r}", fix)


def _refused(reason: str, what: str, fix: str) -> AccessError:
    return AccessError(reason, f"{what[0].upper()}{what[1:]}. {fix}.", 403)
