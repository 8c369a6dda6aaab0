"""Runs an importer: its events go through the door in batches, everything else is counted; nothing is lost silently."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from feedback_platform.errors import EventRejected, FeedbackPlatformError
from feedback_platform.intake.door import Arrival, Door, Outcome, Unmapped
from feedback_platform.intake.importers.foreign import Found, Item, Misunderstood, Skipped, UnreadableRest
from feedback_platform.intake.sizes import held_bytes

BATCH_EVENTS = 5_000
BATCH_BYTES = 32 * 2**20


@dataclass(slots=True)
class ImportSummary:
    """What became of every record; `by_reason` splits `refused`, `by_skip` splits `skipped`, by reason code."""

    inferences_accepted: int = 0
    feedback_accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    skipped: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    by_skip: Counter[str] = field(default_factory=Counter)

    @property
    def records(self) -> int:
        """All records so far."""
        return self.inferences_accepted + self.feedback_accepted + self.duplicates + self.refused + self.skipped


class ImportIncomplete(FeedbackPlatformError):
    """Some files could not be read to their end; what could be read is in the log."""

    def __init__(self, message: str, summary: ImportSummary) -> None:
        super().__init__(message)
        self.summary = summary


Progress = Callable[[Path, ImportSummary], None]


def run_import(
    door: Door,
    items: Iterable[Item],
    *,
    can_review: bool = True,
    progress: Progress | None = None,
    summary: ImportSummary | None = None,
) -> ImportSummary:
    """Take in everything that an importer yields, each batch durable before the next is read.

    Args:
        door: the tenant's door.
        items: what the importer found.
        can_review: whether adjudications and retractions count as a reviewer's.
        progress: called after every durable batch with the file and the counts so far.
        summary: counted into, so that the caller knows what is in when an error ends the import.

    Raises:
        ImportIncomplete: a file is cut short or damaged; all before the damage, and the other files, are in.
        ImportFormatError: a file is not of the format; what was found before it is in.
    """
    summary = ImportSummary() if summary is None else summary
    try:
        for batch in _batches(items):
            _take_in(door, batch, can_review, summary)
            if progress is not None and batch:
                last = next((item.path for item in reversed(batch) if not isinstance(item, Skipped)), Path())
                progress(last, summary)
    except UnreadableRest as damage:
        fix = "What could be read is imported; repair the file and import it again: known events count once."
        raise ImportIncomplete(f"{damage}. {fix}", summary) from None
    return summary


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Batches in order; what was found before a fault comes before it."""
    batch: list[Item] = []
    size = 0
    try:
        for item in items:
            batch.append(item)
            size += _size(item)
            if len(batch) >= BATCH_EVENTS or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
    except (UnreadableRest, FeedbackPlatformError):
        yield batch
        raise
    yield batch


def _size(item: Item) -> int:
    match item:
        case Found(event=body) | Misunderstood(body=body):
            return held_bytes(body)
        case _:
            return 0


def _take_in(door: Door, batch: list[Item], can_review: bool, summary: ImportSummary) -> None:
    found = [item for item in batch if isinstance(item, Found)]
    arrivals = [
        Arrival(item.kind, item.event, item.path.name, item.line, item.size, can_review=can_review) for item in found
    ]
    prepared = door.prepare(arrivals)
    for item, outcome in zip(found, door.commit(prepared), strict=True):
        _count(item, outcome, summary)
    door.observe(prepared)
    lost = [
        Unmapped(item.kind, item.message, item.body, item.path.name, item.line)
        for item in batch
        if isinstance(item, Misunderstood)
    ]
    door.bury(lost)
    summary.refused += len(lost)
    summary.by_reason.update({"not_mapped": len(lost)} if lost else {})
    skips = [item.reason for item in batch if isinstance(item, Skipped)]
    summary.skipped += len(skips)
    summary.by_skip.update(skips)


def _count(item: Found, outcome: Outcome, summary: ImportSummary) -> None:
    if isinstance(outcome, EventRejected):
        summary.refused += 1
        summary.by_reason[outcome.reason] += 1
    elif outcome.duplicate:
        summary.duplicates += 1
    elif item.kind == "inference":
        summary.inferences_accepted += 1
    else:
        summary.feedback_accepted += 1
