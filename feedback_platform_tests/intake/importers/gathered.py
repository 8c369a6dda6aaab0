"""What an importer yields, sorted and held against the wire contract; shared by the tests of the tracing tools."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feedback_platform.contracts.events import parse_feedback, parse_inference
from feedback_platform.intake.importers.foreign import Found, Importer, Misunderstood, Options, Skipped

DATA = Path(__file__).parents[2] / "data" / "importers"


@dataclass
class Gathered:
    inferences: list[dict[str, Any]] = field(default_factory=list)
    feedback: list[dict[str, Any]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    misunderstood: list[Misunderstood] = field(default_factory=list)

    @property
    def said(self) -> Counter[tuple[str, str]]:
        """How often each criterion was judged in which way."""
        return Counter((event["feedback_type"], event["name"]) for event in self.feedback)


def gather(importer: Importer, *paths: Path, **options: Any) -> Gathered:
    """Read twice: the events must be equal, valid on the wire, and each id used once."""
    items, again = (list(importer.read(paths, Options(**options))) for _ in range(2))
    assert items == again
    found = Gathered()
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
