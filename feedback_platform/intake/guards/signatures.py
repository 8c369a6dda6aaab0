"""Signed requests after the Standard Webhooks specification (symmetric `v1`). Standard library only, no clock.

The signature is HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{raw body}`, so verify before decoding. Within the
tolerance a captured request can be sent again; that is harmless here, because ids make a repeated event count once.
"""

import hashlib
import hmac
import re
import secrets as chance
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from feedback_platform.errors import AccessError, ConfigError

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
PREFIX = "whsec_"
TOLERANCE = timedelta(minutes=5)
MAX_SIGNATURES = 8
SECRET_BYTES = 32

# No dot: it parts what is signed, so an id with one could lend its tail to the timestamp.
_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,256}")
_SECONDS = re.compile(r"[0-9]{1,11}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_secret() -> str:
    """A fresh secret in its written form, `whsec_<base64>`."""
    return written(chance.token_bytes(SECRET_BYTES))


def written(secret: bytes) -> str:
    """The written form of a secret, as every Standard Webhooks library takes it."""
    return PREFIX + b64encode(secret).decode()


def read_secret(text: str) -> bytes:
    """The bytes of a written secret.

    Raises:
        ConfigError: it is not `whsec_` and base64 of 24 to 64 bytes; the message does not repeat it.
    """
    try:
        secret = b64decode(text.removeprefix(PREFIX), validate=True) if text.startswith(PREFIX) else b""
    except (Base64Error, ValueError):
        secret = b""
    if not 24 <= len(secret) <= 64:
        raise ConfigError("The signing secret is not `whsec_` and base64 of 24 to 64 bytes. Copy it again, in full.")
    return secret


def sign(secrets: Sequence[bytes], message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers for a body; one signature per secret.

    Args:
        secrets: raw secrets; the old and the new one while they rotate.
        message_id: unique per message, the same when it is sent again; printable ASCII without dots.
        at: when it is sent.
        body: exactly the bytes that go over the wire.

    Raises:
        ConfigError: the id cannot be one.
    """
    if _ID.fullmatch(message_id) is None:
        raise ConfigError(f"message id {message_id[:80]!r} has spaces, dots or other letters than ASCII. Use a UUID.")
    seconds = str((at - _EPOCH) // timedelta(seconds=1))
    signatures = " ".join(_signature(secret, message_id, seconds, body) for secret in secrets)
    return {ID: message_id, TIMESTAMP: seconds, SIGNATURE: signatures}


def verify(secrets: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    """The message id of a request that one of these secrets has signed.

    Args:
        secrets: the secrets that count now (`Principal.signing_secrets`).
        headers: names in any case.
        body: the raw body, before it is decoded.
        now: the time, with a zone.

    Raises:
        AccessError: 401 `signature_missing`, `signature_malformed`, `signature_stale` or `signature_invalid`.
    """
    message_id, seconds, given = _three(headers)
    age = now - (_EPOCH + timedelta(seconds=int(seconds)))
    if not -TOLERANCE <= age <= TOLERANCE:
        raise AccessError(
            "signature_stale",
            f"`{TIMESTAMP}` {seconds} is more than 5 minutes away from the server's clock. Set the sender's clock, and "
            "sign again for each attempt.",
        )
    known = [_signature(secret, message_id, seconds, body).encode() for secret in secrets]
    # Every pair is compared, so that the time taken does not tell which one matched.
    if not sum(hmac.compare_digest(one, other) for one in known for other in given):
        raise AccessError(
            "signature_invalid",
            "No signature matches. Sign `{id}.{timestamp}.{body}` over the exact bytes that are sent, with the secret "
            "of this key.",
        )
    return message_id


def _three(headers: Mapping[str, str]) -> tuple[str, str, list[bytes]]:
    """Id, timestamp and the `v1` signatures, each of its form."""
    lowered = {name.lower(): text for name, text in headers.items()}
    for name in (ID, TIMESTAMP, SIGNATURE):
        if not lowered.get(name):
            raise AccessError(
                "signature_missing",
                f"Requests with this key must be signed; `{name}` is missing. Sign them with a Standard Webhooks library.",
            )
    message_id, seconds, line = lowered[ID], lowered[TIMESTAMP], lowered[SIGNATURE]
    if _ID.fullmatch(message_id) is None:
        raise _malformed(ID, "printable ASCII without spaces and dots, up to 256 characters")
    if _SECONDS.fullmatch(seconds) is None:
        raise _malformed(TIMESTAMP, "whole seconds since 1970")
    given = line.split(" ")
    if len(given) > MAX_SIGNATURES:
        raise _malformed(SIGNATURE, f"up to {MAX_SIGNATURES} signatures, separated by spaces")
    ours = [one.encode(errors="replace") for one in given if one.startswith("v1,")]
    if not ours:
        raise _malformed(SIGNATURE, "`v1,<base64>`, or several separated by spaces")
    return message_id, seconds, ours


def _malformed(name: str, form: str) -> AccessError:
    return AccessError("signature_malformed", f"`{name}` is not of its form. Send {form}.")


def _signature(secret: bytes, message_id: str, seconds: str, body: bytes) -> str:
    mac = hmac.digest(secret, f"{message_id}.{seconds}.".encode() + body, hashlib.sha256)
    return f"v1,{b64encode(mac).decode()}"
