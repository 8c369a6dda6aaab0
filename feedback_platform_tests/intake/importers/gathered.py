"""What an importer yields, sorted and held against the wire contract; shared by the tests of the tracing tools."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feedback_platform.contracts.events import parse_feedback, parse_inference
from feedback_platform.intake.door import Door
from feedback_platform.intake.importers.foreign import (
    Found,
    Importer,
    Item,
    Misunderstood,
    Options,
    Skipped,
    UnreadableRest,
)
from feedback_platform.intake.importers.runner import ImportSummary, run_import
from feedback_platform.intake.sqlite_log import open_log

RECEIVED = datetime(2026, 12, 1, tzinfo=UTC)
DATA = Path(__file__).parents[2] / "data" / "importers"


@dataclass
class Gathered:
    inferences: list[dict[str, Any]] = field(default_factory=list)
    feedback: list[dict[str, Any]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    misunderstood: list[Misunderstood] = field(default_factory=list)
    damage: str = ""

    @property
    def said(self) -> Counter[tuple[str, str]]:
        """How often each criterion was judged in which way."""
        return Counter((event["feedback_type"], event["name"]) for event in self.feedback)


def _all(importer: Importer, paths: Sequence[Path], options: Options) -> tuple[list[Item], str]:
    items: list[Item] = []
    try:
        items.extend(importer.read(paths, options))
    except UnreadableRest as error:
        return items, str(error)
    return items, ""


def import_twice(importer: Importer, folder: Path, *paths: Path) -> tuple[ImportSummary, ImportSummary]:
    """Through the real door into a real log, and once more."""
    with open_log(folder / "log" / "events.sqlite") as log:
        door = Door(log, "t", lambda: RECEIVED)
        first, second = (run_import(door, importer.read(paths, Options())) for _ in range(2))
    return first, second


def gather(importer: Importer, *paths: Path, **options: Any) -> Gathered:
    """Read twice: the events must be equal, valid on the wire, and each id used once."""
    (items, damage), again = (_all(importer, paths, Options(**options)) for _ in range(2))
    assert (items, damage) == again
    found = Gathered(damage=damage)
    for item in items:
        match item:
            case Found(kind="inference", event=dict() as event):
                parse_inference(event)
                found.inferences.append(event)
            case Found(kind="feedback", event=dict() as event):
                parse_feedback(event)
                found.feedback.append(event)
            case Skipped(reason):
                found.skipped[reason] += 1
            case Misunderstood():
                found.misunderstood.append(item)
            case _:
                raise AssertionError(f"an event is an object here: {item}")
    for name, events in (("request_id", found.inferences), ("feedback_id", found.feedback)):
        ids = [event[name] for event in events]
        assert len(set(ids)) == len(ids)
    return found
