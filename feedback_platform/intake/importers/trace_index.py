"""What must be remembered of traces while files stream past: their context, and their last model call.

A private temporary SQLite database, which the library keeps in memory while it is small and on disk beyond that.
"""

import sqlite3
from types import TracebackType

import msgspec

_TABLES = """
CREATE TABLE contexts (trace TEXT PRIMARY KEY, body BLOB) WITHOUT ROWID;
CREATE TABLE calls (trace TEXT PRIMARY KEY, ended TEXT, request_id TEXT) WITHOUT ROWID;
CREATE TABLE seen (request_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_LATEST = """
INSERT INTO calls VALUES (?, ?, ?) ON CONFLICT (trace) DO UPDATE SET
  ended = excluded.ended, request_id = excluded.request_id
WHERE (excluded.ended, excluded.request_id) > (ended, request_id)
"""


class TraceIndex:
    """Traces by id; use as a context manager."""

    def __enter__(self) -> "TraceIndex":
        self._db = sqlite3.connect("", isolation_level=None)  # an empty name: temporary, and gone when closed
        self._db.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_TABLES} BEGIN;")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def put_context(self, trace: str, context: dict[str, object]) -> None:
        """Remember what the trace says for all its calls; the later record of a trace wins."""
        self._db.execute("INSERT OR REPLACE INTO contexts VALUES (?, ?)", (trace, msgspec.json.encode(context)))

    def context(self, trace: str) -> dict[str, object]:
        """What was remembered, else nothing."""
        row = self._db.execute("SELECT body FROM contexts WHERE trace = ?", (trace,)).fetchone()
        return msgspec.json.decode(row[0], type=dict[str, object]) if row else {}

    def put_call(self, trace: str, request_id: str, ended: str) -> None:
        """Remember a model call of a trace; `ended` is a time in a form whose texts sort like the times."""
        self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (request_id,))
        self._db.execute(_LATEST, (trace, ended, request_id))

    def last_call(self, trace: str) -> str | None:
        """The call of the trace that ended last (the greatest id among equals)."""
        row = self._db.execute("SELECT request_id FROM calls WHERE trace = ?", (trace,)).fetchone()
        return str(row[0]) if row else None

    def has_call(self, request_id: str) -> bool:
        """Whether this call was remembered."""
        return self._db.execute("SELECT 1 FROM seen WHERE request_id = ?", (request_id,)).fetchone() is not None
