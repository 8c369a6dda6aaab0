"""API keys: made, listed, rotated, revoked, and verified on every request. No HTTP, no clock.

A key reads `fp_<env>_<key id>_<secret>`, with 190 random bits in the secret; secret scanners find it by
`fp_[a-z]+_[a-z0-9]{12}_[A-Za-z0-9]{32}`. The store keeps the SHA-256 of the whole text: a slow hash is for secrets that
people choose, and the digest binds environment, id and secret together.
A change counts at once in this process and within about a second in others (`key_ring`).
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from feedback_platform.errors import ConfigError, NotFoundError
from feedback_platform.intake.guards.key_file import KeyFile
from feedback_platform.intake.guards.key_ring import NEVER, KeyRing
from feedback_platform.intake.guards.key_rows import (
    COLUMNS,
    IssuedKey,
    KeyInfo,
    KeyRow,
    from_values,
    new_key,
    new_salt,
    to_micros,
    to_values,
)
from feedback_platform.intake.guards.principal import Principal
from feedback_platform.intake.guards.signatures import written
from feedback_platform.settings import Settings

USED_AT_MOST_EVERY = timedelta(minutes=1)
MAX_OVERLAP = timedelta(days=366)

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM keys"
_INSERT = f"INSERT INTO keys ({', '.join(COLUMNS)}, generation) VALUES ({', '.join('?' * (len(COLUMNS) + 1))})"
_TOUCH = "UPDATE keys SET last_used = max(coalesce(last_used, 0), ?) WHERE key_id = ?"


def key_store_path(settings: Settings) -> Path:
    """Where the keys of all tenants of a server lie."""
    return settings.home / "keys.sqlite"


class KeyStore:
    """The keys of a server; threads may share one object, processes one file.

    Raises:
        AccessError: 503 `keys_unavailable`, from every method, when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._file = KeyFile(path)
        self._ring = KeyRing(KeyFile(path))
        self._ring.refresh()
        self._written: dict[str, datetime] = {}

    def close(self) -> None:
        """Release the file; `flush_used` first, if the last uses count."""
        self._file.close()
        self._ring.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def verify(self, presented: str | None, now: datetime) -> Principal:
        """Who presents this key (`KeyRing.verify`); touches no disk but once a second, and remembers the use.

        Raises:
            AccessError: 401 `key_missing`, `key_malformed`, `key_unknown`, `key_revoked` or `key_expired`.
        """
        return self._ring.verify(presented, now)

    def origins(self, now: datetime) -> frozenset[str]:
        """Patterns of pages that a key in force is bound to; from memory, as `verify`."""
        return self._ring.origins(now)

    def create(
        self,
        tenant: str,
        scopes: Iterable[str],
        label: str,
        *,
        now: datetime,
        env: str = "live",
        expires: datetime | None = None,
        origins: Iterable[str] = (),
        signing: bool = False,
    ) -> IssuedKey:
        """A new key; its text is in the answer and nowhere else.

        Args:
            tenant: whom its bearer speaks for.
            scopes: what the bearer may do.
            label: a line for people: who has it, what for.
            now: the time, with a zone.
            env: a word inside the key, such as live or test.
            expires: when it ends; None for never.
            origins: web pages that it is bound to (`origins`); such a key may only hold `ingest:feedback`.
            signing: whether each request must be signed (`signatures`).

        Raises:
            ConfigError: a value that cannot be; the message names it.
        """
        plain, row = new_key(
            tenant, scopes, label, now=now, env=env, expires=expires, origins=origins, signing=signing
        )  # fmt: skip
        with self._file.transaction():
            self._insert(row)
        return self._issued(plain, row)

    def list(self, tenant: str | None = None) -> tuple[KeyInfo, ...]:
        """All keys, dead ones too, oldest first; of one tenant when named."""
        where = "" if tenant is None else " WHERE tenant = ?"
        values = () if tenant is None else (tenant,)
        rows = self._file.rows(f"{_SELECT}{where} ORDER BY created, key_id", values)
        return tuple(from_values(row).info for row in rows)

    def rotate(self, key_id: str, overlap: timedelta, *, now: datetime) -> IssuedKey:
        """A new key with the rights of an old one, which ends after the overlap; until then both are good.

        A limited life begins anew: the new key gets as long a one as the old one had.

        Raises:
            NotFoundError: no such key.
            ConfigError: the key is dead or was replaced already, or the overlap is negative or over a year.
        """
        _check_overlap(overlap)
        with self._file.transaction():
            old = self._alive(key_id, now)
            if old.info.replaced_by is not None:
                raise ConfigError(f"Key {key_id} was replaced by {old.info.replaced_by}. Rotate that one.")
            info, end = old.info, now + overlap
            expires = None if info.expires is None else now + (info.expires - info.created)
            plain, row = new_key(
                info.tenant, info.scopes, info.label, now=now, env=info.env, expires=expires, origins=info.origins,
                signing=info.signed,
            )  # fmt: skip
            self._insert(row)
            end = end if info.expires is None else min(end, info.expires)
            self._update(key_id, expires=to_micros(end), replaced_by=row.info.key_id)
        return self._issued(plain, row)

    def rotate_signing(self, key_id: str, overlap: timedelta, *, now: datetime) -> str:
        """A new signing secret (`whsec_...`) for a key that stays; the newest old one is good until the overlap ends.

        Raises:
            NotFoundError: no such key.
            ConfigError: the key is dead or needs no signature, or the overlap is negative or over a year.
        """
        _check_overlap(overlap)
        with self._file.transaction():
            old = self._alive(key_id, now)
            if not old.info.signed:
                raise ConfigError(f"Requests with key {key_id} are not signed. Create a key that asks for signatures.")
            newest = next(salt for salt in old.salts if salt.until is None)
            row = replace(old, salts=(new_salt(), replace(newest, until=now + overlap)))
            self._update(key_id, signing=to_values(row)[COLUMNS.index("signing")])
        self._ring.refresh()
        return written(self._file.signing_secret(key_id, row.salts[0].salt))

    def revoke(self, key_id: str, *, now: datetime) -> KeyInfo:
        """End a key at once, for ever; one that is revoked stays as it is.

        Raises:
            NotFoundError: no such key.
        """
        with self._file.transaction():
            if self._row(key_id).info.revoked is None:
                self._update(key_id, revoked=to_micros(now))
            row = self._row(key_id)
        self._ring.refresh()
        return row.info

    def flush_used(self) -> int:
        """Write when keys were last used, at most once a minute per key; call it now and then, off the event loop.

        Returns:
            How many keys were written.
        """
        due = [
            (key_id, at)
            for key_id, at in self._ring.take_used().items()
            if at - self._written.get(key_id, NEVER) >= USED_AT_MOST_EVERY
        ]
        if due:
            with self._file.transaction():
                for key_id, at in due:
                    self._file.rows(_TOUCH, (to_micros(at), key_id))
            self._written.update(due)
        return len(due)

    def _issued(self, plain: str, row: KeyRow) -> IssuedKey:
        self._ring.refresh()
        secret = written(self._file.signing_secret(row.info.key_id, row.salts[0].salt)) if row.salts else None
        return IssuedKey(plain, row.info, secret)

    def _row(self, key_id: str) -> KeyRow:
        rows = self._file.rows(f"{_SELECT} WHERE key_id = ?", (key_id,))
        if not rows:
            raise NotFoundError(f"There is no key {key_id[:40]!r}. `feedback keys list` shows the ids.")
        return from_values(rows[0])

    def _alive(self, key_id: str, now: datetime) -> KeyRow:
        row = self._row(key_id)
        if (state := row.info.state(now)) != "active":
            raise ConfigError(f"Key {key_id} is {state}. Create a new one with `feedback keys create`.")
        return row

    def _insert(self, row: KeyRow) -> None:
        self._file.rows(_INSERT, (*to_values(row), self._next_generation()))

    def _update(self, key_id: str, **columns: object) -> None:
        sets = ", ".join(f"{name} = ?" for name in columns)
        sql = f"UPDATE keys SET {sets}, generation = ? WHERE key_id = ?"
        self._file.rows(sql, (*columns.values(), self._next_generation(), key_id))

    def _next_generation(self) -> int:
        return int(self._file.rows("SELECT coalesce(max(generation), 0) + 1 FROM keys")[0][0])


def _check_overlap(overlap: timedelta) -> None:
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise ConfigError(f"overlap {overlap} is not possible. Use 0 to {MAX_OVERLAP.days} days.")
