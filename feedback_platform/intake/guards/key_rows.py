"""A key as it is stored, listed and handed out: what may be in one, and its form in the file. No disk, no clock."""

import json
import secrets as chance
import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

from feedback_platform.errors import ConfigError
from feedback_platform.intake.guards.origins import normal_pattern
from feedback_platform.intake.guards.principal import SCOPES, Scope, checked_tenant

COLUMNS = (
    "key_id", "tenant", "env", "label", "scopes", "origins", "digest", "signing", "created", "expires", "revoked",
    "last_used", "replaced_by",
)  # fmt: skip
MAX_LABEL = 100
SALT_BYTES = 16

_ID_LETTERS = string.ascii_lowercase + string.digits
_SECRET_LETTERS = string.ascii_letters + string.digits
_ID_CHARS, _SECRET_CHARS = 12, 32  # 32 of 62 letters: 190 bits
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)

State = Literal["active", "expired", "revoked"]


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be shown of a key.

    Attributes:
        key_id: its public part.
        env: free word inside the key, such as live or test.
        origins: patterns of web pages that it is bound to; empty for keys of servers.
        signed: whether each request must be signed.
        expires: from then on it counts no more.
        last_used: about when it was last verified, within a minute; None before the first use.
        replaced_by: id of the key that rotation put in its place.
    """

    key_id: str
    tenant: str
    env: str
    label: str
    scopes: tuple[Scope, ...]
    origins: tuple[str, ...]
    signed: bool
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None
    last_used: datetime | None = None
    replaced_by: str | None = None

    def state(self, now: datetime) -> State:
        """What `now` makes of it."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else "active"


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key just made. Its secrets exist nowhere else and never show in a repr.

    Attributes:
        plain: the key as it is presented.
        info: what may be shown of it.
        signing_secret: `whsec_...`, for keys whose requests must be signed.
    """

    plain: str = field(repr=False)
    info: KeyInfo
    signing_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Salt:
    """What a signing secret is derived from, and until when that secret counts."""

    salt: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as it is stored: its facts, the SHA-256 of its text, the salts of its one or two signing secrets."""

    info: KeyInfo
    digest: bytes = field(repr=False)
    salts: tuple[Salt, ...] = ()


def new_key(
    tenant: str,
    scopes: Iterable[str],
    label: str,
    *,
    now: datetime,
    env: str,
    expires: datetime | None,
    origins: Iterable[str],
    signing: bool,
) -> tuple[str, KeyRow]:
    """A fresh key: its text and its row.

    Raises:
        ConfigError: a value that cannot be; the message names it.
    """
    if not (env.isascii() and env.isalpha() and env.islower() and len(env) <= 16):
        raise ConfigError(f"environment {env[:80]!r} is not 1 to 16 letters a-z. Use one such as live or test.")
    if not label.isprintable() or len(label) > MAX_LABEL:
        raise ConfigError(f"label {label[:80]!r} is not one line of up to {MAX_LABEL} characters. Shorten it.")
    if now.tzinfo is None or (expires is not None and (expires.tzinfo is None or expires <= now)):
        raise ConfigError(f"expiry {expires} does not lie ahead, or has no time zone. Use a later time in UTC.")
    patterns = tuple(dict.fromkeys(normal_pattern(origin) for origin in origins))
    held = checked_scopes(scopes, browser=bool(patterns))
    if patterns and signing:
        raise ConfigError("A web page cannot keep a signing secret. Leave out the origins, or the signing.")
    key_id = "".join(chance.choice(_ID_LETTERS) for _ in range(_ID_CHARS))
    secret = "".join(chance.choice(_SECRET_LETTERS) for _ in range(_SECRET_CHARS))
    plain = f"fp_{env}_{key_id}_{secret}"
    info = KeyInfo(key_id, checked_tenant(tenant), env, label, held, patterns, signing, now, expires)
    return plain, KeyRow(info, sha256(plain.encode()).digest(), (new_salt(),) if signing else ())


def new_salt() -> Salt:
    """A salt for a fresh signing secret."""
    return Salt(chance.token_hex(SALT_BYTES))


def checked_scopes(scopes: Iterable[str], *, browser: bool) -> tuple[Scope, ...]:
    """The scopes in their one order; whoever opens a web page can read a browser key, so it may only send feedback.

    Raises:
        ConfigError: none, an unknown one, or too much for a browser key.
    """
    asked = set(scopes)
    if strange := asked - set(SCOPES):
        raise ConfigError(f"scope {sorted(strange)[0]!r} is unknown. Choose of: {', '.join(SCOPES)}.")
    if not asked:
        raise ConfigError(f"A key without a scope may do nothing. Choose of: {', '.join(SCOPES)}.")
    if browser and asked != {"ingest:feedback"}:
        raise ConfigError(
            f"A key with origins is readable by whoever opens the page, so scope {sorted(asked)[0]!r} is too much. "
            "Give it `ingest:feedback` only, or make a key without origins for the server."
        )
    return tuple(scope for scope in SCOPES if scope in asked)


def to_values(row: KeyRow) -> tuple[object, ...]:
    """The row's values, in the order of `COLUMNS`."""
    info = row.info
    salts = json.dumps([[one.salt, to_micros(one.until)] for one in row.salts])
    times = (to_micros(info.created), to_micros(info.expires), to_micros(info.revoked), to_micros(info.last_used))
    scopes, origins = json.dumps(info.scopes), json.dumps(info.origins)
    return (
        info.key_id, info.tenant, info.env, info.label, scopes, origins, row.digest, salts, *times, info.replaced_by
    )  # fmt: skip


def from_values(values: tuple[Any, ...]) -> KeyRow:
    """The row that `to_values` wrote."""
    key_id, tenant, env, label, scopes, origins, digest, salts, created, expires, revoked, last_used, replaced = values
    kept = tuple(Salt(salt, _instant(until)) for salt, until in json.loads(salts))
    info = KeyInfo(
        key_id, tenant, env, label, tuple(json.loads(scopes)), tuple(json.loads(origins)), bool(kept),
        _EPOCH + created * _MICRO, _instant(expires), _instant(revoked), _instant(last_used), replaced,
    )  # fmt: skip
    return KeyRow(info, digest, kept)


def to_micros(at: datetime | None) -> int | None:
    """Microseconds since 1970, as times are stored."""
    return None if at is None else (at - _EPOCH) // _MICRO


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else _EPOCH + micros * _MICRO
