"""What became of the events: counters that several threads move, and the frozen picture of them that callers get."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server will not have this event, now or later.

    Attributes:
        reason: stable code: the server's (`field_unknown`, `id_conflict`, ...), or `http_<status>` where it named none.
        status: HTTP status of the item, or of the whole answer.
        field: dotted path of the field at fault, or "".
        detail: what is wrong, in words.
        fix: what to do about it, or "".
        event: the event as it was sent, JSON.
    """

    reason: str
    status: int
    field: str
    detail: str
    fix: str
    event: bytes


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of events since the client was made; each event is in exactly one place.

    logged + recovered = queued + waiting + accepted + duplicates + all refused + all dropped.

    Attributes:
        logged: calls that logged an inference or feedback.
        recovered: events read from spill files that an earlier process left.
        queued: in memory, not yet answered for; `queued_bytes` is their size.
        waiting: of those logged or recovered, how many wait in the spill file; `spill_bytes` is the size of all its files.
        accepted: durable at the server.
        duplicates: the server had them already, same id and body.
        refused: by the server's reason.
        dropped: given up here, by reason: `queue_full`, `spill_full` (queue and spill are), `spill_failed` (the disk
            refused), `spill_damaged`, `unencodable`, `closed` (logged after `close`), `exit` (unsent when the client
            was closed, and no spill to keep them), `internal`.
        sent: events put on the wire, repeats included.
        spilled: events ever written to the spill file.
        retries: requests that have to be repeated.
        unencodable_values: events (or inputs that were recorded before their event) with something written as its `repr`.
        callback_errors: exceptions raised by `on_refused` and swallowed.
        last_error: the latest trouble in words, or None.
    """

    logged: int
    recovered: int
    queued: int
    queued_bytes: int
    waiting: int
    spill_bytes: int
    accepted: int
    duplicates: int
    refused: Mapping[str, int]
    dropped: Mapping[str, int]
    sent: int
    spilled: int
    retries: int
    unencodable_values: int
    callback_errors: int
    last_error: str | None


@dataclass(slots=True)
class Counters:
    """The moving parts of `Stats`; hold `lock` to move them. Reentrant: a signal handler may log, too."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    logged: int = 0
    recovered: int = 0
    waiting: int = 0
    accepted: int = 0
    duplicates: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    spilled: int = 0
    retries: int = 0
    unencodable_values: int = 0
    callback_errors: int = 0
    last_error: str | None = None

    def drop(self, reason: str, count: int = 1) -> None:
        """Count events that are given up."""
        if count:
            with self.lock:
                self.dropped[reason] += count

    def snapshot(self, queued: int, queued_bytes: int, spill_bytes: int) -> Stats:
        """The picture at this moment."""
        with self.lock:
            return Stats(
                logged=self.logged,
                recovered=self.recovered,
                queued=queued,
                queued_bytes=queued_bytes,
                waiting=self.waiting,
                spill_bytes=spill_bytes,
                accepted=self.accepted,
                duplicates=self.duplicates,
                refused=MappingProxyType(dict(self.refused)),
                dropped=MappingProxyType(dict(self.dropped)),
                sent=self.sent,
                spilled=self.spilled,
                retries=self.retries,
                unencodable_values=self.unencodable_values,
                callback_errors=self.callback_errors,
                last_error=self.last_error,
            )
