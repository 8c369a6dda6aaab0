"""JSON Lines files become events in the log: one object of the wire contract per line, plain or gzip.

The same validation as every other way in. Files are streamed in batches, each durable before the next is read. A
refused line goes to the dead letters with its file, number and reason. Importing again finds only duplicates.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal, cast

import msgspec

from feedback_platform.contracts.canonical import body_bytes, body_hmac
from feedback_platform.contracts.events import (
    MAX_EVENT_BYTES,
    AnyFeedback,
    Inference,
    parse_feedback,
    parse_inference,
    readable_id,
)
from feedback_platform.contracts.rows import Row, feedback_rows, inference_rows
from feedback_platform.errors import EventRejected, FeedbackPlatformError, NotFoundError
from feedback_platform.intake.log import MAX_DEAD_LETTER_BYTES, Conflict, DeadLetter, EventLog, Record

BATCH_LINES = 5_000
BATCH_BYTES = 32 * 2**20

Kind = Literal["inference", "feedback"]
_Line = tuple[int, bytes, int]
_CHUNK = 2**20


class ImportIncomplete(FeedbackPlatformError):
    """Some files could not be read to their end; what could be read is in the log."""

    def __init__(self, message: str, summary: "ImportSummary") -> None:
        super().__init__(message)
        self.summary = summary


@dataclass(slots=True)
class ImportSummary:
    """Counts of lines; `by_reason` splits `refused` by reason code."""

    inferences_accepted: int = 0
    feedback_accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    blank: int = 0
    bytes_read: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Importer:
    log: EventLog
    tenant: str
    can_review: bool
    received_at: Callable[[], datetime]
    summary: ImportSummary

    def batch(self, kind: Kind, path: Path, lines: Sequence[_Line]) -> None:
        """Parse, append and bury one batch of lines."""
        now = self.received_at()
        letters: list[DeadLetter] = []
        lines_taken: list[_Line] = []
        events: list[Inference | AnyFeedback] = []
        for line in lines:
            try:
                events.append(_parsed(kind, line))
                lines_taken.append(line)
            except EventRejected as refusal:
                letters.append(_letter(kind, path, line, refusal))
        letters += self._append(kind, path, lines_taken, events, now)
        self.log.append_dead_letters(letters, now)
        self.summary.refused += len(letters)
        self.summary.by_reason.update(letter.reason for letter in letters)

    def _append(
        self,
        kind: Kind,
        path: Path,
        lines: Sequence[_Line],
        events: Sequence[Inference | AnyFeedback],
        now: datetime,
    ) -> list[DeadLetter]:
        rows = self._rows(kind, events, now)
        name = "request_id" if kind == "inference" else "feedback_id"
        records = [
            Record(row[name], body_hmac(kind, body_bytes(event), self.log.key), msgspec.json.encode(row), now)
            for row, event in zip(rows, events, strict=True)
        ]
        refused: list[DeadLetter] = []
        accepted = 0
        for line, answer in zip(lines, self.log.append(kind, records), strict=True):
            if isinstance(answer, Conflict):
                refused.append(_letter(kind, path, line, _conflict(name, answer)))
            elif answer.duplicate:
                self.summary.duplicates += 1
            else:
                accepted += 1
        if kind == "inference":
            self.summary.inferences_accepted += accepted
        else:
            self.summary.feedback_accepted += accepted
        return refused

    def _rows(self, kind: Kind, events: Sequence[Inference | AnyFeedback], now: datetime) -> list[Row]:
        if kind == "inference":
            return inference_rows(cast(Sequence[Inference], events), now)
        return feedback_rows(cast(Sequence[AnyFeedback], events), now, self.can_review, self.tenant)


def import_jsonl(
    log: EventLog,
    inferences: Sequence[Path],
    feedback: Sequence[Path],
    *,
    received_at: Callable[[], datetime],
    tenant: str,
    can_review: bool = True,
    progress: Callable[[Path, ImportSummary], None] | None = None,
) -> ImportSummary:
    """Import files of inferences, then files of feedback.

    Args:
        log: where accepted events and dead letters go.
        inferences: files with one inference per line, plain or gzip (told by their first bytes).
        feedback: files with one feedback event per line.
        received_at: the clock, asked once per batch.
        tenant: whose events these are.
        can_review: whether adjudications and retractions in the files count as a reviewer's.
        progress: called after every durable batch with the file and the counts so far.

    Raises:
        NotFoundError: a file is missing; nothing was imported.
        ImportIncomplete: a file is cut short or damaged; all before the damage, and the other files, are in.
    """
    for path in (*inferences, *feedback):
        if not path.is_file():
            raise NotFoundError(f"{path} is not a file; nothing was imported. Check the path.")
    importer = _Importer(log, tenant, can_review, received_at, ImportSummary())
    damaged: list[str] = []
    kinds: tuple[tuple[Kind, Sequence[Path]], ...] = (("inference", inferences), ("feedback", feedback))
    for kind, paths in kinds:
        for path in paths:
            try:
                for lines in _batches(path, importer.summary):
                    importer.batch(kind, path, lines)
                    if progress is not None:
                        progress(path, importer.summary)
            except _UnreadableError as error:
                damaged.append(str(error))
    if damaged:
        fix = "What could be read is imported; repair the file and import it again: known events count once."
        raise ImportIncomplete(f"{'; '.join(damaged)}. {fix}", importer.summary)
    return importer.summary


class _UnreadableError(Exception):
    """The file ends in the middle or does not decompress."""


def _batches(path: Path, summary: ImportSummary) -> Iterator[list[_Line]]:
    """Batches of non-blank lines; what was read before damage comes first, then `_UnreadableError`."""
    lines: list[_Line] = []
    size = number = 0
    failure: _UnreadableError | None = None
    with _opened(path) as file:
        while failure is None:
            number += 1
            try:
                found = _next_line(file)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                failure = _UnreadableError(f"{path} cannot be read beyond line {number - 1}: {error}")
                break
            if found is None:
                break
            body, length = found
            summary.bytes_read += length
            body = body.removeprefix(b"\xef\xbb\xbf") if number == 1 else body
            if not body.strip():
                summary.blank += 1
                continue
            lines.append((number, body, length))
            size += len(body)
            if len(lines) >= BATCH_LINES or size >= BATCH_BYTES:
                yield lines
                lines, size = [], 0
    if lines:
        yield lines
    if failure is not None:
        raise failure


def _next_line(file: BinaryIO) -> tuple[bytes, int] | None:
    """A line without its end and its length in bytes; of one beyond the limit only the beginning is held."""
    head = file.readline(MAX_EVENT_BYTES + 3)
    if not head:
        return None
    length = len(head)
    tail = head
    while not tail.endswith(b"\n") and (tail := file.readline(_CHUNK)):
        length += len(tail)
    return head.rstrip(b"\r\n"), length


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        magic = file.read(2)
    return cast(BinaryIO, gzip.open(path, "rb") if magic == b"\x1f\x8b" else path.open("rb", buffering=_CHUNK))


def _parsed(kind: Kind, line: _Line) -> Inference | AnyFeedback:
    _, body, length = line
    if length > MAX_EVENT_BYTES + 2:
        fix = f"Send at most {MAX_EVENT_BYTES} bytes per event."
        raise EventRejected("event_too_large", value=f"{length} bytes", fix=fix)
    return parse_inference(body) if kind == "inference" else parse_feedback(body)


def _conflict(name: str, answer: Conflict) -> EventRejected:
    fix = "The earlier event stands; give this one an id of its own."
    return EventRejected("id_conflict", field=name, value=answer.id, fix=fix)


def _letter(kind: Kind, path: Path, line: _Line, refusal: EventRejected) -> DeadLetter:
    number, body, length = line
    return DeadLetter(
        origin=path.name,
        line=number,
        kind=kind,
        event_id=readable_id(body, kind),
        reason=refusal.reason,
        message=str(refusal),
        body=body[:MAX_DEAD_LETTER_BYTES],
        size_bytes=length,
    )
