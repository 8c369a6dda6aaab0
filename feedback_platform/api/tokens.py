"""Feedback tokens for the model server, which hands one out with each answer."""

from datetime import timedelta
from typing import Annotated

import msgspec

from feedback_platform.api.access import principal, signed
from feedback_platform.api.call import JSON, Call
from feedback_platform.api.problems import Problem
from feedback_platform.api.server import Server, now
from feedback_platform.contracts.wire import EventId, Name
from feedback_platform.errors import ConfigError
from feedback_platform.intake.guards.tokens import issue

DAY = 86_400
MAX_SECONDS = 90 * DAY
MAX_BODY = 16 * 1024


class TokenRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For which answer a token is asked.

    Attributes:
        request_id: the request that may be judged with it.
        user_id: the end user; feedback is stamped with it.
        types: feedback types to allow; the usual ones by default.
        expires_in: seconds that it counts.
    """

    request_id: EventId
    user_id: Name | None = None
    types: list[str] | None = None
    expires_in: Annotated[int, msgspec.Meta(ge=1, le=MAX_SECONDS)] = 7 * DAY


class Token(msgspec.Struct, frozen=True):
    """The token and how long it counts, in seconds."""

    token: str
    expires_in: int


_REQUEST = msgspec.json.Decoder(TokenRequest)


async def post_token(server: Server, call: Call) -> None:
    """`POST /v1/feedback-tokens`: for a key that may send inferences."""
    speaker = principal(server, call, "ingest:inference")
    call.accept_only(JSON)
    body = await call.body(MAX_BODY, signed(speaker, call))
    opened = await server.tenant(speaker.tenant)
    server.take(opened, speaker, 1)
    try:
        asked = _REQUEST.decode(body)
        key = opened.tenant.token_key
        expires_at = now() + timedelta(seconds=asked.expires_in)
        made = issue(key, speaker.tenant, asked.request_id, expires_at, user_id=asked.user_id, types=asked.types)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ConfigError) as error:
        raise Problem(
            422, "body_not_ours", f"{error}. Send request_id, and perhaps user_id, types, expires_in."
        ) from None
    await call.answer_json(200, Token(made, asked.expires_in), [(b"cache-control", b"no-store")])
