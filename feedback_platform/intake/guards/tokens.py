"""Feedback tokens: a model server hands one out with each answer, and its bearer may judge that answer only.

`fpt1.<payload>.<mac>`, both in base64url without padding. The payload is a small JSON object: `t` tenant, `r` request id,
`x` expiry in seconds since 1970, and, where set, `u` user id and `k` feedback types. The MAC is HMAC-SHA256 over
`fpt1.<payload>` as it stands, so nothing in the payload can be exchanged, the tenant included.

Standard library only, so that a model server can issue without the platform's dependencies and without a round trip.
What a token permits an event to say stands in `token_rules`.
"""

import hmac
import json
import re
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from feedback_platform.errors import AccessError, ConfigError
from feedback_platform.intake.guards.principal import checked_tenant, is_tenant

PREFIX = "fpt1"
KEY_BYTES = 32
MAX_CHARS = 4_096
FEEDBACK_TYPES = frozenset(
    "thumbs rating label explicit_correction preference_pair ranking implicit outcome comment retraction".split()
)

_PURPOSE = b"feedback_platform feedback token v1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORM = re.compile(rf"({PREFIX}\.([A-Za-z0-9_-]{{1,4000}}))\.([A-Za-z0-9_-]{{43}})")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:\-]{1,128}")
_MAX_USER_ID = 256
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_SECOND = timedelta(seconds=1)
_NO_KEY = bytes(KEY_BYTES)


@dataclass(frozen=True, slots=True)
class FeedbackToken:
    """What a genuine token says.

    Attributes:
        tenant: whose request.
        request_id: the request that may be judged.
        user_id: the end user it was served to; None when the issuer did not say.
        types: feedback types that the issuer allows; None for the usual ones (`token_rules.USUAL`).
    """

    tenant: str
    request_id: str
    user_id: str | None = None
    types: frozenset[str] | None = None


def token_key(tenant_secret: bytes) -> bytes:
    """The key that signs a tenant's tokens, derived from its secret for this purpose only; 32 bytes."""
    return hmac.digest(tenant_secret, _PURPOSE, "sha256")


def issue(
    key: bytes,
    tenant: str,
    request_id: str,
    expires_at: datetime,
    *,
    user_id: str | None = None,
    types: Iterable[str] | None = None,
) -> str:
    """A token for one request.

    Args:
        key: the tenant's signing key (`token_key`), 32 bytes.
        tenant: whose request.
        request_id: the request that was answered.
        expires_at: with a zone; counts in whole seconds, rounded down.
        user_id: the end user; their feedback is then stamped with it, and other names are refused.
        types: feedback types to allow; the usual ones by default.

    Raises:
        ConfigError: a value that cannot be; the message names it.
    """
    if len(key) != KEY_BYTES:
        raise ConfigError(f"The signing key has {len(key)} bytes instead of {KEY_BYTES}. Derive it with `token_key`.")
    if _REQUEST_ID.fullmatch(request_id) is None:
        raise ConfigError(f"request id {request_id[:80]!r} is none. Use 1 to 128 of A-Z, a-z, 0-9, `_`, `.`, `:`, `-`.")
    if expires_at.tzinfo is None:
        raise ConfigError(f"expiry {expires_at} has no time zone. Use a time in UTC.")
    body: dict[str, object] = {"t": checked_tenant(tenant), "r": request_id}
    body["x"] = (expires_at - _EPOCH) // _SECOND
    if user_id is not None:
        if not _is_user(user_id):
            raise ConfigError(f"user id {user_id[:80]!r} is none. Use 1 to {_MAX_USER_ID} characters of Unicode text.")
        body["u"] = user_id
    if types is not None:
        body["k"] = sorted(set(types))
        if strange := set(types) - FEEDBACK_TYPES:
            known = ", ".join(sorted(FEEDBACK_TYPES))
            raise ConfigError(f"feedback type {sorted(strange)[0]!r} cannot be allowed by a token. Choose of: {known}.")
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    signed = f"{PREFIX}.{_b64(text.encode())}"
    return f"{signed}.{_mac(key, signed)}"


def check(key_lookup: Callable[[str], bytes | None], token: str | None, now: datetime) -> FeedbackToken:
    """What a token says, once it is known to be genuine and not expired.

    Args:
        key_lookup: the signing key of a tenant, None for an unknown one. It is asked with a name that the
            sender chose; the name has the form of a tenant.
        token: as it came.
        now: the time, with a zone.

    Raises:
        AccessError: 401 `token_malformed`, `token_invalid` (also for an unknown tenant) or `token_expired`.
    """
    match = _FORM.fullmatch(token) if token and len(token) <= MAX_CHARS else None
    body = _payload(match[2]) if match else None
    if match is None or body is None:
        raise AccessError(
            "token_malformed", "The feedback token is not one. Send it as the answer brought it, in full."
        )
    key = key_lookup(body["t"])
    # An unknown tenant costs the same time as a wrong signature.
    genuine = hmac.compare_digest(_mac(key or _NO_KEY, match[1]), match[3])
    if key is None or not genuine:
        raise AccessError(
            "token_invalid", "The feedback token was not issued here. Take the one that came with the answer."
        )
    if (now - _EPOCH) // _SECOND >= body["x"]:
        raise AccessError(
            "token_expired",
            "The feedback token has expired. Ask for the answer again, or let its issuer give tokens a longer life.",
        )
    types = body.get("k")
    return FeedbackToken(body["t"], body["r"], body.get("u"), None if types is None else frozenset(types))


def _payload(text: str) -> dict[str, Any] | None:
    """A payload of the right form, not yet known to be genuine; None when it is not of that form."""
    try:
        body = json.loads(b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (Base64Error, ValueError, RecursionError):
        return None
    if not isinstance(body, dict) or not {"t", "r", "x"} <= body.keys() <= {"t", "r", "x", "u", "k"}:
        return None
    types = body.get("k", [])
    sound = (
        isinstance(body["t"], str) and is_tenant(body["t"])
        and isinstance(body["r"], str) and _REQUEST_ID.fullmatch(body["r"]) is not None
        and type(body["x"]) is int and 0 <= body["x"] < 10**12
        and ("u" not in body or _is_user(body["u"]))
        and isinstance(types, list) and all(isinstance(name, str) for name in types)
    )  # fmt: skip
    return body if sound else None


def _is_user(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_USER_ID and _HALF_PAIR.search(value) is None


def _b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _mac(key: bytes, signed: str) -> str:
    return _b64(hmac.digest(key, signed.encode(), "sha256"))
