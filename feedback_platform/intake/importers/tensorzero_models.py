"""What TensorZero's ModelInference rows say of each inference, kept on disk while the other tables are read.

One answer may take several model calls (best-of-n, mixtures): then no single model gave it. Rows are held in a
temporary SQLite database that lives in memory while small, spills to disk and leaves nothing behind.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from feedback_platform.intake.importers.values import JsonObject, json_in, mapping, named, present, text

_TABLES = """
CREATE TABLE calls (inference_id TEXT, id TEXT, facts BLOB, PRIMARY KEY (inference_id, id)) WITHOUT ROWID;
CREATE TABLE seen (id TEXT PRIMARY KEY, kind TEXT) WITHOUT ROWID;
"""


class Calls:
    """Model calls by inference, and which ids are inferences and which episodes."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def add(self, row: JsonObject) -> None:
        """Keep one row of ModelInference, without the raw request and response."""
        answered = mapping(json_in(row.get("raw_response")))
        facts = present(
            {
                "model": named(row.get("model_name")),
                "version": text(answered.get("model")) or text(answered.get("modelVersion")),
                "provider": text(row.get("model_provider_name")),
                "system": text(row.get("system")),
                "messages": json_in(row.get("input_messages")),
                "usage": present({name: row.get(name) for name in ("input_tokens", "output_tokens")}),
                "finish_reason": row.get("finish_reason"),
            }
        )
        key = (str(row.get("inference_id")), str(row.get("id")))
        self._database.execute("INSERT OR REPLACE INTO calls VALUES (?, ?, ?)", (*key, msgspec.json.encode(facts)))

    def of(self, inference_id: str) -> list[JsonObject]:
        """The model calls behind an inference, oldest first (ids are ordered by time)."""
        found = self._database.execute("SELECT facts FROM calls WHERE inference_id = ? ORDER BY id", (inference_id,))
        return [msgspec.json.decode(facts) for (facts,) in found]

    def saw(self, kind: str, ident: str) -> None:
        """Remember that an id is an `inference` or an `episode`."""
        self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (ident, kind))

    def kind_of(self, ident: str) -> str | None:
        """`inference`, `episode` or, for an id not seen, nothing."""
        found = self._database.execute("SELECT kind FROM seen WHERE id = ?", (ident,)).fetchone()
        return None if found is None else str(found[0])


@contextmanager
def opened_calls() -> Iterator[Calls]:
    """A place for model calls that is gone afterwards."""
    database = sqlite3.connect("", isolation_level=None)
    try:
        database.executescript(_TABLES)
        database.execute("BEGIN")
        yield Calls(database)
    finally:
        database.close()
