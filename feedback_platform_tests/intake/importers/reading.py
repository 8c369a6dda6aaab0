"""Runs an importer twice, holds what it yields against the wire contract, and makes files to import."""

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from feedback_platform.contracts.events import parse_feedback, parse_inference
from feedback_platform.intake.importers.foreign import (
    Found,
    Importer,
    Item,
    Misunderstood,
    Options,
    Skipped,
    UnreadableRest,
)

DATA = Path(__file__).parents[2] / "data" / "importers"


@dataclass
class Read:
    """What came of a file: events by kind, reasons of what was skipped, what was misunderstood, words of damage."""

    inferences: list[dict[str, Any]] = field(default_factory=list)
    feedback: list[dict[str, Any]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    misunderstood: list[Misunderstood] = field(default_factory=list)
    damage: str = ""

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Inferences, feedback, skipped, misunderstood."""
        return len(self.inferences), len(self.feedback), self.skipped.total(), len(self.misunderstood)

    @property
    def kinds(self) -> Counter[str]:
        return Counter(event["feedback_type"] for event in self.feedback)

    def said(self, kind: str) -> dict[str, Any]:
        """The only feedback of this kind."""
        (event,) = (event for event in self.feedback if event["feedback_type"] == kind)
        return event


def read(importer: Importer, *paths: Path, options: Options | None = None) -> Read:
    """All that an importer yields; a second reading must give the same bytes, and the door must take every event."""
    (items, damage), (again, _) = (_all(importer, paths, options or Options()) for _ in range(2))
    assert _bytes(items) == _bytes(again)
    found = Read(damage=damage)
    for item in items:
        match item:
            case Found(kind="inference", event=dict() as event):
                parse_inference(event)
                found.inferences.append(event)
            case Found(kind="feedback", event=dict() as event):
                parse_feedback(event)
                found.feedback.append(event)
            case Skipped(reason=reason):
                found.skipped[reason] += 1
            case Misunderstood():
                assert item.message
                found.misunderstood.append(item)
            case _:
                raise AssertionError(f"an event is an object here: {item}")
    return found


def written(path: Path, records: Sequence[object], *, zipped: bool = False) -> Path:
    """JSON Lines; a record that is bytes is written as it is."""
    lines = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    data = b"\n".join([*lines, b""])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0) if zipped else data)
    return path


def _all(importer: Importer, paths: Sequence[Path], options: Options) -> tuple[list[Item], str]:
    items: list[Item] = []
    try:
        for item in importer.read(paths, options):
            items.append(item)  # noqa: PERF402  what came before the damage counts
    except UnreadableRest as error:
        return items, str(error)
    return items, ""


def _bytes(items: Sequence[Item]) -> list[bytes]:
    return [msgspec.json.encode(item, enc_hook=str) for item in items]
