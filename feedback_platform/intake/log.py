"""The event log as its users see it: append, receipts, reading by position, pruning.

The log keeps three streams, each with gapless positions from 1 that are never used twice. An append that has
returned is durable. Landing reads closed ranges; nobody updates an entry. `sqlite_log` is the default.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

Stream = Literal["inference", "feedback", "dead_letter"]
STREAMS: tuple[Stream, ...] = ("inference", "feedback", "dead_letter")

MAX_DEAD_LETTER_BYTES = 32 * 1024
READ_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Record:
    """An event on its way into the log.

    Attributes:
        id: unique per stream and tenant.
        hmac: keyed hash of the body; an equal one under the same id is a repetition.
        row: the flat raw row without `log_seq`, as JSON.
        received_at: when the platform took it.
    """

    id: str
    hmac: bytes
    row: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Receipt:
    """The event is durable at this position; a repetition gets the receipt of the first time."""

    id: str
    log_seq: int
    received_at: datetime
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Conflict:
    """The id is taken by another body at this position; nothing was written."""

    id: str
    log_seq: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A refused line; `body` may be longer than what is kept of it.

    Attributes:
        origin: file name or endpoint.
        line: line number in the file, from 1.
        kind: what it tried to be.
        event_id: its id, where one could be read.
        reason: reason code.
        message: field, value and fix in words.
        body: what was sent, or its beginning.
        size_bytes: size of what was sent.
        can_review: the sender held the `review` scope; None where that is not known.
        restricted: it came with a feedback token, so its sender might say little. Such letters have a share of their
            own, so that no end user takes the place of others' letters.
    """

    origin: str
    line: int | None
    kind: Literal["inference", "feedback", "unknown"]
    event_id: str | None
    reason: str
    message: str
    body: bytes
    size_bytes: int
    can_review: bool | None = None
    restricted: bool = False


class EventLog(Protocol):
    """A durable, ordered log; see `sqlite_log` for the default."""

    @property
    def key(self) -> bytes:
        """Secret key of the body hashes."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """Appends within the block become durable in one transaction, all or none of them."""
        ...

    def append(self, stream: Stream, records: Sequence[Record]) -> list[Receipt | Conflict]:
        """Make the records durable in one transaction; one answer per record, in order."""
        ...

    def append_dead_letters(self, letters: Sequence[DeadLetter], received_at: datetime) -> int:
        """Keep refused lines, up to a bound; returns how many were kept, the rest is only counted."""
        ...

    def dropped_dead_letters(self) -> int:
        """Refused lines that were counted but not kept."""
        ...

    def note_replays(self, replays: Mapping[int, str], at: datetime) -> None:
        """Remember dead letters that were accepted after all: position -> id of the event."""
        ...

    def replays(self) -> dict[int, str]:
        """Dead letters that were accepted after all: position -> id of the event."""
        ...

    def read(self, stream: Stream, after: int, limit: int) -> list[tuple[int, bytes]]:
        """The next entries after a position, as (position, row JSON)."""
        ...

    def read_range(
        self, stream: Stream, after: int, upto: int, batch: int = 10_000, batch_bytes: int = READ_BYTES
    ) -> Iterator[list[tuple[int, bytes]]]:
        """Entries in (after, upto] in batches; raises LogGapError when one is missing.

        A batch ends with the entry that reaches `batch` entries or `batch_bytes` bytes of rows.
        """
        ...

    def head(self, stream: Stream) -> int:
        """The last position given out, 0 before the first."""
        ...

    def first(self, stream: Stream) -> int | None:
        """The first position still present, None when there is none."""
        ...

    def receipt(self, stream: Stream, event_id: str) -> Receipt | None:
        """Where and when an event with this id was accepted, None when it never was."""
        ...

    def oldest_unlanded_at(self, stream: Stream, after: int) -> datetime | None:
        """Receipt time of the first entry after a position, None when there is none."""
        ...

    def prune(self, stream: Stream, upto: int, older_than: datetime) -> int:
        """Delete the oldest entries, up to a position and received before a time; returns how many."""
        ...

    def integrity_check(self) -> list[str]:
        """What is wrong with the log, empty when nothing is."""
        ...

    def close(self) -> None:
        """Release the log."""
        ...
