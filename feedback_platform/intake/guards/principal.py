"""Who is speaking: tenant, scopes, and what they bind to. Standard library only; how it is proven stands in `keys`."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

from feedback_platform.errors import AccessError, ConfigError

Scope = Literal["ingest:inference", "ingest:feedback", "read:dataset", "review", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
LOOPBACK_DEV = "loopback-dev"

_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """A secret that requests of one key may be signed with (`signatures`); never shown in a repr.

    Attributes:
        secret: the raw bytes.
        until: from then on it counts no more; None while it is the newest.
    """

    secret: bytes = field(repr=False)
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """A speaker whose key has been verified.

    Attributes:
        tenant: whose data; it comes from here and never from a body.
        key_id: the public part of the key, for logs and rate limits.
        scopes: what they may do. No scope implies another, `admin` included.
        origins: web origins that the key is bound to (`origins`); empty for keys of servers.
        signing: secrets of which one must have signed each request; empty when no signature is asked for.
    """

    tenant: str
    key_id: str
    scopes: frozenset[Scope]
    origins: tuple[str, ...] = ()
    signing: tuple[SigningSecret, ...] = ()

    def require(self, scope: Scope) -> None:
        """Pass when the scope is held.

        Raises:
            AccessError: 403 `scope_missing`, naming the scope and how to get it.
        """
        if scope not in self.scopes:
            raise AccessError(
                "scope_missing",
                f"Key {self.key_id} lacks the scope `{scope}`. Use a key that has it; an operator makes one with "
                f"`feedback keys create --scope {scope}`.",
                403,
            )

    def signing_secrets(self, now: datetime) -> tuple[bytes, ...]:
        """The secrets that count now; one, or two while they rotate."""
        return tuple(s.secret for s in self.signing if s.until is None or now < s.until)


def loopback_dev(tenant: str) -> Principal:
    """Everything is allowed, without a key: for a server that listens on loopback only, in development."""
    return Principal(checked_tenant(tenant), LOOPBACK_DEV, frozenset(SCOPES))


def is_tenant(name: str) -> bool:
    """Whether this can be a tenant; such a name is safe as the name of a folder."""
    return _TENANT.fullmatch(name) is not None


def checked_tenant(name: str) -> str:
    """The name itself.

    Raises:
        ConfigError: it cannot be a tenant.
    """
    if not is_tenant(name):
        raise ConfigError(
            f"tenant {name[:80]!r} is not a tenant name. Use 1 to 63 of a-z, 0-9, _ and -, beginning with a letter "
            "or digit."
        )
    return name
