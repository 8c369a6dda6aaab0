"""Runs an importer: its events go through the door in batches, everything else is counted; nothing is lost silently."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from feedback_platform.errors import EventRejected, FeedbackPlatformError
from feedback_platform.intake.door import Arrival, Door, Outcome, Unmapped
from feedback_platform.intake.importers.foreign import Found, Item, Misunderstood, Skipped, UnreadableRest

BATCH_EVENTS = 5_000
BATCH_BYTES = 32 * 2**20
GUESSED_BYTES = 2_000


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
    door: Door, items: Iterable[Item], *, can_review: bool = True, progress: Progress | None = None
) -> ImportSummary:
    """Take in everything that an importer yields, each batch durable before the next is read.

    Args:
        door: the tenant's door.
        items: what the importer found.
        can_review: whether adjudications and retractions count as a reviewer's.
        progress: called after every durable batch with the file and the counts so far.

    Raises:
        ImportIncomplete: a file is cut short or damaged; all before the damage, and the other files, are in.
    """
    summary = ImportSummary()
    damage = ""
    for batch in _batches(items):
        if isinstance(batch, str):
            damage = batch
            continue
        _take_in(door, batch, can_review, summary)
        if progress is not None and batch:
            last = next((item.path for item in reversed(batch) if not isinstance(item, Skipped)), Path())
            progress(last, summary)
    if damage:
        fix = "What could be read is imported; repair the file and import it again: known events count once."
        raise ImportIncomplete(f"{damage}. {fix}", summary)
    return summary


def _batches(items: Iterable[Item]) -> Iterator[list[Item] | str]:
    """Batches in order; words about damage, where there was some, come last."""
    batch: list[Item] = []
    size = 0
    damage = ""
    try:
        for item in items:
            batch.append(item)
            size += _size(item)
            if len(batch) >= BATCH_EVENTS or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
    except UnreadableRest as error:
        damage = str(error)
    yield batch
    if damage:
        yield damage


def _size(item: Item) -> int:
    match item:
        case Found(event=bytes() as body) | Misunderstood(body=body):
            return len(body)
        case Found():
            return GUESSED_BYTES
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
