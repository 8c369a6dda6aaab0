"""The event log in one SQLite file: write-ahead log, `synchronous=FULL`, ids and entries in one transaction.

Any number of processes may append, each in `BEGIN IMMEDIATE` transactions of up to thousands of rows. Ids outlive
the entries that they came with, so that a repetition is recognised after pruning.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from feedback_platform.errors import LogError, LogGapError
from feedback_platform.intake.letter_rows import RESTRICTED, letter_row
from feedback_platform.intake.log import (
    READ_BYTES,
    STREAMS,
    Conflict,
    DeadLetter,
    Receipt,
    Record,
    Stream,
)
from feedback_platform.intake.sqlite_file import SqliteFile

KEEP_DEAD_LETTERS = 50_000
RESTRICTED_SHARE = 10  # one letter of end users for so many of others
PRUNE_BATCH = 20_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


_INSERT_KEYS = """
INSERT INTO event_keys
SELECT ?, value ->> 0, unhex(value ->> 1), value ->> 2, value ->> 3 FROM json_each(?) WHERE true
ON CONFLICT DO NOTHING
"""
_INSERT_ROWS = """
INSERT INTO {table} SELECT value ->> 0, value ->> 1, substr(?, value ->> 2, value ->> 3) FROM json_each(?)
"""


class SqliteEventLog(SqliteFile):
    """An `EventLog` in a SQLite file; one object may be shared by threads, one file by processes."""

    def __init__(self, path: Path, *, keep_dead_letters: int = KEEP_DEAD_LETTERS) -> None:
        """Open the log at a path, creating it and the key beside it (`hmac.key`) when absent.

        Args:
            path: the SQLite file.
            keep_dead_letters: refused lines kept at a time; further ones are only counted. Those that came with
                feedback tokens do not count among them: a tenth as many of these are kept beside.
        """
        super().__init__(path)
        self.keep_dead_letters = keep_dead_letters

    def together(self) -> AbstractContextManager[None]:
        """See `EventLog.together`."""
        return self.transaction()

    def append(self, stream: Stream, records: Sequence[Record]) -> list[Receipt | Conflict]:
        """See `EventLog.append`; the rows are on the disk when this returns."""
        if not records:
            return []
        with self.transaction():
            head = self.head(stream)
            if self._insert(stream, records, head):
                return [Receipt(r.id, head + n, r.received_at) for n, r in enumerate(records, 1)]
            return self._append_the_new(stream, records, head)

    def append_dead_letters(self, letters: Sequence[DeadLetter], received_at: datetime) -> int:
        """See `EventLog.append_dead_letters`."""
        if not letters:
            return 0
        at = _micros(received_at)
        with self.transaction():
            head = self.head("dead_letter")
            kept = self._with_room(letters, head)
            self.db.executemany(
                "INSERT INTO dead_letter VALUES (?, ?, ?)",
                [(head + n, at, letter_row(letter, received_at)) for n, letter in enumerate(kept, 1)],
            )
            self._move_head("dead_letter", head + len(kept))
            self.db.execute(
                "UPDATE meta SET value = CAST(value AS INTEGER) + ? WHERE name = 'dropped_dead_letters'",
                (len(letters) - len(kept),),
            )
            self._count_restricted(sum(letter.restricted for letter in kept))
        return len(kept)

    def dropped_dead_letters(self) -> int:
        """See `EventLog.dropped_dead_letters`."""
        return int(self.value("SELECT value FROM meta WHERE name = 'dropped_dead_letters'"))

    def note_replays(self, replays: Mapping[int, str], at: datetime) -> None:
        """See `EventLog.note_replays`."""
        rows = [(seq, _micros(at), event_id) for seq, event_id in replays.items()]
        with self.transaction():
            self.db.executemany("INSERT OR REPLACE INTO replayed VALUES (?, ?, ?)", rows)

    def replays(self) -> dict[int, str]:
        """See `EventLog.replays`."""
        return dict(self.rows("SELECT seq, event_id FROM replayed", ()))

    def read(self, stream: Stream, after: int, limit: int) -> list[tuple[int, bytes]]:
        """See `EventLog.read`."""
        sql = f"SELECT seq, row FROM {_table(stream)} WHERE seq > ? ORDER BY seq LIMIT ?"
        return self.rows(sql, (after, limit))

    def read_range(
        self, stream: Stream, after: int, upto: int, batch: int = 10_000, batch_bytes: int = READ_BYTES
    ) -> Iterator[list[tuple[int, bytes]]]:
        """See `EventLog.read_range`; each batch is a short transaction, so that checkpoints go on."""
        while after < upto:
            rows = self._page(stream, after, min(batch, upto - after), batch_bytes)
            if not rows or rows[0][0] != after + 1 or rows[-1][0] != after + len(rows):
                missing = after + 1 if not rows or rows[0][0] != after + 1 else rows[0][0]
                raise LogGapError(
                    f"{self.path}: the {stream} log has no unbroken run from {missing} to {upto}. "
                    "Was it pruned, or an older lake restored? Restore log and lake from one backup."
                )
            after = rows[-1][0]
            yield rows

    def head(self, stream: Stream) -> int:
        """See `EventLog.head`."""
        return int(self.value("SELECT seq FROM heads WHERE stream = ?", (stream,)))

    def first(self, stream: Stream) -> int | None:
        """See `EventLog.first`."""
        found = self.value(f"SELECT min(seq) FROM {_table(stream)}")
        return None if found is None else int(found)

    def receipt(self, stream: Stream, event_id: str) -> Receipt | None:
        """See `EventLog.receipt`; answers after pruning too."""
        known = self._taken(stream, [event_id]).get(event_id)
        return None if known is None else Receipt(event_id, known[1], _EPOCH + known[2] * _MICRO)

    def oldest_unlanded_at(self, stream: Stream, after: int) -> datetime | None:
        """See `EventLog.oldest_unlanded_at`."""
        sql = f"SELECT received_at FROM {_table(stream)} WHERE seq > ? ORDER BY seq LIMIT 1"
        found = self.value(sql, (after,))
        return None if found is None else _EPOCH + int(found) * _MICRO

    def prune(self, stream: Stream, upto: int, older_than: datetime) -> int:
        """See `EventLog.prune`; short transactions, so that writers are not held up."""
        table, pruned = _table(stream), 0
        young = _micros(older_than)
        while True:
            with self.transaction():
                first = self.first(stream)
                if first is None or first > upto:
                    return pruned
                last = min(upto, first + PRUNE_BATCH - 1)
                # Clocks may step back: stop at the first entry that is young, so that no hole appears.
                stop = self.value(f"SELECT min(seq) FROM {table} WHERE seq <= ? AND received_at >= ?", (last, young))
                last = last if stop is None else int(stop) - 1
                if stream == "dead_letter":
                    sql = "SELECT count(*) FROM dead_letter WHERE seq <= ? AND substr(row, 1, ?) = ?"
                    self._count_restricted(-int(self.value(sql, (last, len(RESTRICTED), RESTRICTED))))
                self.db.execute(f"DELETE FROM {table} WHERE seq <= ?", (last,))
                gone = self.db.changes()
            if not gone:
                return pruned
            pruned += gone

    def integrity_check(self) -> list[str]:
        """See `EventLog.integrity_check`: SQLite's own check, gaps, positions beyond the head."""
        faults = [str(row[0]) for row in self.rows("PRAGMA integrity_check", ()) if row[0] != "ok"]
        for stream in STREAMS:
            sql = f"SELECT count(*), min(seq), max(seq) FROM {_table(stream)}"
            count, first, last = self.rows(sql, ())[0]
            if count and last - first + 1 != count:
                faults.append(f"{stream}: {count} entries between positions {first} and {last}")
            if count and last != self.head(stream):
                faults.append(f"{stream}: the last entry is {last}, the head says {self.head(stream)}")
        return faults

    def _page(self, stream: Stream, after: int, limit: int, most_bytes: int) -> list[tuple[int, bytes]]:
        sql = f"SELECT seq, row FROM {_table(stream)} WHERE seq > ? ORDER BY seq LIMIT ?"
        page: list[tuple[int, bytes]] = []
        size = 0
        with self._guard():
            cursor = self.db.execute(sql, (after, limit))
            for entry in cursor:
                page.append(entry)
                size += len(entry[1])
                if size >= most_bytes:
                    break
            cursor.close()  # a statement in the middle of its rows would hold up checkpoints
        return page

    def _with_room(self, letters: Sequence[DeadLetter], head: int) -> list[DeadLetter]:
        """Those for which there is room, in their order; end users and others each have theirs."""
        first, restricted = self.first("dead_letter"), self._restricted()
        present = 0 if first is None else head - first + 1
        room = {
            False: self.keep_dead_letters - (present - restricted),
            True: max(1, self.keep_dead_letters // RESTRICTED_SHARE) - restricted,
        }
        kept = []
        for letter in letters:
            if room[letter.restricted] > 0:
                room[letter.restricted] -= 1
                kept.append(letter)
        return kept

    def _restricted(self) -> int:
        """Letters from end users that are present."""
        return int(self.value("SELECT value FROM meta WHERE name = 'restricted_dead_letters'") or 0)

    def _count_restricted(self, more: int) -> None:
        if more:
            count = (str(self._restricted() + more),)
            self.db.execute("INSERT OR REPLACE INTO meta VALUES ('restricted_dead_letters', ?)", count)

    def _taken(self, stream: Stream, ids: list[str]) -> dict[str, tuple[bytes, int, int]]:
        sql = (
            "SELECT id, hmac, seq, received_at FROM event_keys "
            "WHERE stream = ? AND id IN (SELECT value FROM json_each(?))"
        )
        found = self.rows(sql, (stream, _json(ids)))
        return {row[0]: (row[1], row[2], row[3]) for row in found}

    def _append_the_new(self, stream: Stream, records: Sequence[Record], head: int) -> list[Receipt | Conflict]:
        """Some ids are known, or stand twice among the records."""
        taken = self._taken(stream, [record.id for record in records])
        answers: list[Receipt | Conflict] = []
        fresh: list[Record] = []
        for record in records:
            if (known := taken.get(record.id)) is not None:
                answers.append(_repeated(record, known))
                continue
            fresh.append(record)
            seq = head + len(fresh)
            taken[record.id] = (record.hmac, seq, _micros(record.received_at))
            answers.append(Receipt(record.id, seq, record.received_at))
        if fresh and not self._insert(stream, fresh, head):
            raise LogError(f"{self.path}: an id appeared among {len(fresh)} new ones. Run `feedback doctor`.")
        return answers

    def _insert(self, stream: Stream, records: Sequence[Record], head: int) -> bool:
        """Write records at the positions after `head`; False, and nothing written, when an id is known.

        One statement per table, with the rows in one blob: with a statement per row, two threads hand the
        interpreter's lock to and fro for every event, which took half of a busy server's time.
        """
        places, start = [], 1
        for seq, record in enumerate(records, head + 1):
            places.append((seq, _micros(record.received_at), start, len(record.row)))
            start += len(record.row)
        # In key order the pages of the id index are touched once each.
        keys = sorted((r.id, r.hmac.hex(), *place[:2]) for r, place in zip(records, places, strict=True))
        self.db.execute("SAVEPOINT batch")
        self.db.execute(_INSERT_KEYS, (stream, _json(keys)))
        known = self.db.changes() != len(records)
        if known:
            self.db.execute("ROLLBACK TO batch")
        else:
            rows = b"".join([record.row for record in records])
            self.db.execute(_INSERT_ROWS.format(table=_table(stream)), (rows, _json(places)))
            self._move_head(stream, head + len(records))
        self.db.execute("RELEASE batch")
        return not known

    def _move_head(self, stream: Stream, seq: int) -> None:
        self.db.execute("UPDATE heads SET seq = ? WHERE stream = ?", (seq, stream))


def open_log(path: Path) -> SqliteEventLog:
    """The tenant's event log (`Settings.log_path`), created when absent."""
    return SqliteEventLog(path)


def _table(stream: Stream) -> str:
    if stream not in STREAMS:
        raise LogError(f"There is no log named {stream!r}. Use one of: {', '.join(STREAMS)}.")
    return stream


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _micros(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICRO


def _repeated(record: Record, known: tuple[bytes, int, int]) -> Receipt | Conflict:
    mac, seq, at = known
    if mac != record.hmac:
        return Conflict(record.id, seq)
    return Receipt(record.id, seq, _EPOCH + at * _MICRO, duplicate=True)
