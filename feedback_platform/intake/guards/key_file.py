"""The SQLite file of the API keys: connection, schema, transactions, errors in words. `keys` says what the rows mean.

Write-ahead log with `synchronous=FULL`: a key that was shown exists after a power cut, a revoked one stays revoked.
The file holds no secret: digests of keys, and salts from which signing secrets follow only together with the key file
beside it (`keys.key`), so that neither of the two alone is worth stealing.
"""

import hashlib
import hmac
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from feedback_platform.errors import AccessError
from feedback_platform.intake.log_files import check_sqlite, make_folder, one_at_a_time, secret_key, sync_folder

SCHEMA_VERSION = 1
BUSY_MS = 10_000

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE keys (
  key_id TEXT PRIMARY KEY,
  generation INTEGER NOT NULL,  -- of the last change but to last_used: counts changes to the whole table
  tenant TEXT NOT NULL, env TEXT NOT NULL, label TEXT NOT NULL, scopes TEXT NOT NULL, origins TEXT NOT NULL,
  digest BLOB NOT NULL, signing TEXT NOT NULL,
  created INTEGER NOT NULL, expires INTEGER, revoked INTEGER, last_used INTEGER, replaced_by TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX keys_generation ON keys (generation);
"""

_HINTS: dict[type[apsw.Error], str] = {
    apsw.FullError: "The disk is full. Free space and try again.",
    apsw.BusyError: f"Another process held the file for {BUSY_MS // 1000} s. End it or try again.",
    apsw.CorruptError: "The file is damaged: restore it from a backup, then revoke again what was revoked since.",
    apsw.NotADBError: "The file is not a SQLite database: restore it from a backup.",
    apsw.ReadOnlyError: "The file cannot be written: check its permissions.",
    apsw.CantOpenError: "The file cannot be opened: check that its folder exists and its permissions.",
}


class KeyFile:
    """The open file; threads may share one object, processes one file.

    Raises:
        AccessError: 503 `keys_unavailable`; the message names the file and is for operators.
        LogError: an unsafe SQLite.
    """

    def __init__(self, path: Path) -> None:
        check_sqlite(apsw.sqlite_lib_version())
        self.path = path
        self._lock = threading.RLock()
        with self._guard():
            make_folder(path.parent)
            self._secret = secret_key(path.with_suffix(".key"))
            # SQLite does not wait for its turn to switch a new file to the write-ahead log, so we queue for it.
            with one_at_a_time(path.parent):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its side files the same mode
                self._db = apsw.Connection(str(path))
                self._db.set_busy_timeout(BUSY_MS)
                self._prepare()
            self._check_secret()

    def close(self) -> None:
        """Release the file."""
        with self._guard():
            self._db.close()

    def rows(self, sql: str, values: tuple[object, ...] = ()) -> list[Any]:
        """All rows of a statement."""
        with self._guard():
            return self._db.execute(sql, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One write transaction: durable when the block ends, undone when it raises."""
        with self._guard():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def signing_secret(self, key_id: str, salt: str) -> bytes:
        """The secret that belongs to a key and a salt; 32 bytes that are stored nowhere."""
        return hmac.digest(self._secret, f"signing secret\n{key_id}\n{salt}".encode(), "sha256")

    @contextmanager
    def _guard(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except (apsw.Error, OSError) as error:
                hint = next((text for kind, text in _HINTS.items() if isinstance(error, kind)), "Check the disk.")
                raise _unavailable(f"{self.path}: {error}. {hint}") from error

    def _prepare(self) -> None:
        found = int(self.rows("PRAGMA user_version")[0][0])
        if found > SCHEMA_VERSION:
            raise _unavailable(
                f"{self.path} has version {found}, this release reads up to {SCHEMA_VERSION}. Upgrade feedback_platform."
            )
        if self.rows("PRAGMA journal_mode = WAL") != [("wal",)]:
            raise _unavailable(f"{self.path}: no write-ahead log is possible here. Put it on a local disk.")
        self._db.execute("PRAGMA synchronous = FULL")
        if not found:
            with self.transaction():
                self._db.execute(_SCHEMA)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            sync_folder(self.path.parent)

    def _check_secret(self) -> None:
        print_ = hashlib.sha256(b"key store\n" + self._secret).hexdigest()[:32]
        if not self.rows("SELECT 1 FROM meta WHERE name = 'secret'"):
            with self.transaction():
                self._db.execute("INSERT OR IGNORE INTO meta VALUES ('secret', ?)", (print_,))
        if self.rows("SELECT value FROM meta WHERE name = 'secret'") != [(print_,)]:
            raise _unavailable(
                f"{self.path.with_suffix('.key')} is not the secret that this file was made with: no signature would "
                "match. Restore the two from one backup."
            )


def _unavailable(message: str) -> AccessError:
    return AccessError("keys_unavailable", message, 503)
