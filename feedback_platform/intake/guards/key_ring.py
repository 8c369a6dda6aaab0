"""The keys in memory: verification on the request path. No writes, no clock.

All keys stand in memory, so verifying touches no disk and a flood of wrong keys costs no more than right ones. Once a
second the file is asked for rows of a newer generation; so a change made by another process counts within about a
second, and while the file cannot be read nobody is let in.
"""

import hmac
import re
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from feedback_platform.errors import AccessError
from feedback_platform.intake.guards.key_file import KeyFile
from feedback_platform.intake.guards.key_rows import COLUMNS, KeyInfo, KeyRow, from_values
from feedback_platform.intake.guards.principal import Principal, SigningSecret

POLL = timedelta(seconds=1)
NEVER = datetime.min.replace(tzinfo=UTC)

_KEY = re.compile(r"fp_[a-z]{1,16}_([a-z0-9]{12})_[A-Za-z0-9]{32}")
_NEWER = f"SELECT {', '.join(COLUMNS)}, generation FROM keys WHERE generation > ? ORDER BY generation"


@dataclass(frozen=True, slots=True)
class _Known:
    """What verification needs of a key."""

    digest: bytes = field(repr=False)
    info: KeyInfo | None
    principal: Principal


_NOBODY = _Known(bytes(32), None, Principal("", "", frozenset()))


class KeyRing:
    """Verifies keys against a file that others may write to.

    Args:
        file: a connection of the ring's own, so that no verification waits for a writer.
    """

    def __init__(self, file: KeyFile) -> None:
        self._file = file
        self._refreshing = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._generation = 0
        self._polled = self._due = NEVER
        self._used: dict[str, datetime] = {}

    def verify(self, presented: str | None, now: datetime) -> Principal:
        """Who presents this key; remembers the use in memory (`flush_used`).

        Raises:
            AccessError: 401 `key_missing`, `key_malformed`, `key_unknown`, `key_revoked` or `key_expired`. Only who
                presents the right secret learns more than `key_unknown`.
        """
        if not self._polled <= now < self._due:  # also when the clock was set back
            self._poll(now)
        if not presented:
            raise AccessError("key_missing", "No API key was sent. Send `Authorization: Bearer fp_...`.")
        match = _KEY.fullmatch(presented)
        if match is None:
            raise AccessError(
                "key_malformed",
                "The API key does not read fp_<env>_<id>_<secret>. Copy it again, in full and without quotes.",
            )
        known = self._known.get(match[1], _NOBODY)
        if not hmac.compare_digest(known.digest, sha256(presented.encode()).digest()) or known.info is None:
            raise AccessError(
                "key_unknown",
                "The API key is not known here. Check that it is complete and of this server, or ask an operator for "
                "one (`feedback keys create`).",
            )
        if known.info.revoked is not None or known.info.expires is not None:
            _check_state(known.info, now)
        self._used[match[1]] = now
        return known.principal

    def refresh(self) -> None:
        """Learn what has changed in the file."""
        with self._refreshing:
            for *values, generation in self._file.rows(_NEWER, (self._generation,)):
                row = from_values(tuple(values))
                self._known[row.info.key_id] = _Known(row.digest, row.info, self._principal(row))
                self._generation = generation

    def origins(self, now: datetime) -> frozenset[str]:
        """Patterns of pages that a key in force is bound to; from memory, as of the last verification or poll.

        Raises:
            AccessError: the keys cannot be read.
        """
        if not self._polled <= now < self._due:
            self._poll(now)
        alive = [
            known.info
            for known in self._known.values()
            if known.info is not None
            and known.info.revoked is None
            and (known.info.expires is None or now < known.info.expires)
        ]
        return frozenset(pattern for info in alive for pattern in info.origins)

    def take_used(self) -> dict[str, datetime]:
        """When each key was last verified, by key id, since this was last asked."""
        used, self._used = self._used, {}
        return used.copy()  # another thread may still hold, and write to, the old one

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _poll(self, now: datetime) -> None:
        try:
            self.refresh()
        except AccessError as error:
            raise AccessError(
                "keys_unavailable",
                "The server cannot read its keys. Try again; its operator finds the cause with `feedback keys list`.",
                503,
            ) from error
        self._polled, self._due = now, now + POLL

    def _principal(self, row: KeyRow) -> Principal:
        info = row.info
        signing = tuple(SigningSecret(self._file.signing_secret(info.key_id, s.salt), s.until) for s in row.salts)
        return Principal(info.tenant, info.key_id, frozenset(info.scopes), info.origins, signing)


def _check_state(info: KeyInfo, now: datetime) -> None:
    state = info.state(now)
    if state == "revoked":
        raise AccessError("key_revoked", f"API key {info.key_id} was revoked. Ask an operator for a new one.")
    if state == "expired":
        instead = f"use its successor {info.replaced_by}" if info.replaced_by else "ask an operator for a new one"
        raise AccessError("key_expired", f"API key {info.key_id} expired at {info.expires}. Please {instead}.")
