"""One SQLite file that keeps what was acknowledged: connection, schema, transactions, errors in words.

Write-ahead log with `synchronous=FULL`. `sqlite_log` says what the tables mean.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import apsw

from feedback_platform.errors import LogError
from feedback_platform.intake.log_files import (
    check_sqlite,
    make_folder,
    one_at_a_time,
    owned_file,
    secret_key,
    sync_folder,
)

SCHEMA_VERSION = 2
BUSY_MS = 60_000
PROBE_BYTES = 256 * 1024
CHECKPOINT_PAGES, BEHIND_PAGES = 4_000, 16_000
CHECKPOINT_SECONDS = 0.25

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE heads (stream TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE event_keys (
  stream TEXT NOT NULL, id TEXT NOT NULL,
  hmac BLOB NOT NULL, seq INTEGER NOT NULL, received_at INTEGER NOT NULL,
  PRIMARY KEY (stream, id)
) WITHOUT ROWID;
CREATE TABLE inference (seq INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, row BLOB NOT NULL);
CREATE TABLE feedback (seq INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, row BLOB NOT NULL);
CREATE TABLE dead_letter (seq INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, row BLOB NOT NULL);
INSERT INTO heads VALUES ('inference', 0), ('feedback', 0), ('dead_letter', 0);
INSERT INTO meta VALUES ('dropped_dead_letters', '0');
"""
# What each version of the file adds to the one before.
_STEPS = {
    1: _SCHEMA,
    2: "CREATE TABLE replayed (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, event_id TEXT NOT NULL);",
}
_T = TypeVar("_T")
_KEPT_AS = {"hmac.key": "key"}
_RESTORE_KEY = "Restore it from the backup of this log."

_HINTS: dict[type[apsw.Error], str] = {
    apsw.FullError: "The disk is full: nothing was acknowledged. Free space and send again.",
    apsw.BusyError: f"Another process held the log for {BUSY_MS // 1000} s. End it or send again.",
    apsw.CorruptError: "The file is damaged: restore it from a backup; landed events are in the lake.",
    apsw.NotADBError: "The file is not a SQLite database: restore it from a backup.",
    apsw.ReadOnlyError: "The log cannot be written: check its permissions.",
    apsw.CantOpenError: "The log cannot be opened: check that its folder exists and its permissions.",
}


class SqliteFile:
    """The open file; threads may share one object, processes one file.

    Raises:
        LogError: an unsafe SQLite, a file from a newer release, a key that is not this log's, or no access.
    """

    def __init__(self, path: Path) -> None:
        check_sqlite(apsw.sqlite_lib_version())
        self.path = path
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._checkpointer: threading.Thread | None = None
        with self._guard():
            make_folder(path.parent)
            # SQLite does not wait for its turn to switch a new file to the write-ahead log, so we queue for it.
            with one_at_a_time(path.parent):
                owned_file(path)
                self.db = apsw.Connection(str(path))
                self.db.set_busy_timeout(BUSY_MS)
                self._or_close(self._prepare)
            self.key = self._or_close(lambda: self.own_key("hmac.key", "repeated events would look like conflicts"))

    def _or_close(self, act: Callable[[], _T]) -> _T:
        try:
            return act()
        except BaseException:
            self.db.close()
            raise

    def close(self) -> None:
        """Release the file."""
        self._stop.set()
        if self._checkpointer is not None:
            self._checkpointer.join()
        with self._guard():
            self.db.close()

    def checkpoint_in_background(self) -> None:
        """Move the write-ahead log into the file from a thread of its own, so that no commit has to wait for that.

        Commits still do it themselves when the log grows far, which bounds it.
        """
        if self._checkpointer is None:
            self.db.execute(f"PRAGMA wal_autocheckpoint = {BEHIND_PAGES}")
            self._checkpointer = threading.Thread(target=self._keep_checkpointed, name="checkpointer", daemon=True)
            self._checkpointer.start()

    def _keep_checkpointed(self) -> None:
        own = apsw.Connection(str(self.path))
        own.execute("PRAGMA synchronous = FULL")
        while not self._stop.wait(CHECKPOINT_SECONDS):
            try:
                own.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except apsw.Error:  # a full disk, say: commits tell of it, here the next turn tries again
                continue
        own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check_writable(self) -> None:
        """Write more than an event needs, and take it away again.

        Raises:
            LogError: the file cannot be written now.
        """
        with self.transaction():
            self.db.execute("INSERT OR REPLACE INTO meta VALUES ('probe', hex(zeroblob(?)))", (PROBE_BYTES // 2,))
        with self.transaction():
            self.db.execute("DELETE FROM meta WHERE name = 'probe'")

    def rows(self, sql: str, values: tuple[object, ...]) -> list[Any]:
        """All rows of a query."""
        with self._guard():
            return self.db.execute(sql, values).fetchall()

    def value(self, sql: str, values: tuple[object, ...] = ()) -> Any:
        """The first value of the first row, None when there is no row."""
        with self._guard():
            return self.db.execute(sql, values).get

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One write transaction: durable when the outermost block ends, undone when it raises."""
        with self._guard():
            if self._inside():
                yield
                return
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                if self._inside():
                    self.db.execute("ROLLBACK")
                raise

    def own_key(self, name: str, otherwise: str) -> bytes:
        """The secret key in a file beside the log, made at the first call; a fingerprint in the log ties them together.

        Args:
            name: the key's file.
            otherwise: what would go wrong with another key, for the message.

        Raises:
            LogError: the file is gone, or holds another key than at first.
        """
        path, kept_as = self.path.with_name(name), _KEPT_AS.get(name, name)
        find = "SELECT value FROM meta WHERE name = ?"
        known = self.value(find, (kept_as,))  # a transaction would wait for writers, at every opening
        if known is not None and not path.exists():
            raise LogError(f"{path} is gone, and with a new key {otherwise}. {_RESTORE_KEY}")
        key = secret_key(path)
        print_ = hashlib.sha256(f"log {kept_as}\n".encode() + key).hexdigest()[:32]
        if known is None:
            with self.transaction():
                self.db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (kept_as, print_))
                known = self.value(find, (kept_as,))
        if known != print_:
            raise LogError(f"{path} is not the key that this log was written with: {otherwise}. {_RESTORE_KEY}")
        return key

    def _inside(self) -> bool:
        return bool(self.db.in_transaction)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except apsw.Error as error:
                hint = _HINTS.get(type(error), "Is the disk full? Mend it, then run `feedback doctor`.")
                raise LogError(f"{self.path}: {error}. {hint}") from error
            except OSError as error:
                raise LogError(f"{self.path}: {error}. Check the disk, its space and permissions.") from error

    def _prepare(self) -> None:
        db = self.db
        if (found := int(self.value("PRAGMA user_version"))) > SCHEMA_VERSION:
            raise LogError(
                f"{self.path} has log version {found}, this release reads up to {SCHEMA_VERSION}. "
                "Upgrade feedback_platform."
            )
        db.execute("PRAGMA page_size = 8192")
        if str(self.value("PRAGMA journal_mode = WAL")) != "wal":
            raise LogError(f"{self.path}: no write-ahead log is possible here. Put it on a local disk.")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        if found < SCHEMA_VERSION:
            with self.transaction():
                for version in range(int(self.value("PRAGMA user_version")) + 1, SCHEMA_VERSION + 1):
                    db.execute(_STEPS[version])
                    db.execute(f"PRAGMA user_version = {version}")
            sync_folder(self.path.parent)
