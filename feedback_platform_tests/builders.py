"""Small events by keyword, in the wire form, and a tenant's whole line in a temporary folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from feedback_platform.compile.ledger import Ledger, take_ledger
from feedback_platform.compile.manifest import Manifest
from feedback_platform.compile.publication import publish
from feedback_platform.compile.relations import define_relations
from feedback_platform.compile.window import Compiler, open_or_resume, run_tables
from feedback_platform.compile.workspace import LakeWorkspace
from feedback_platform.contracts.policies import resolve_policy
from feedback_platform.intake.door import Door
from feedback_platform.intake.importers.jsonl import import_jsonl
from feedback_platform.intake.importers.runner import ImportSummary
from feedback_platform.intake.landing import land
from feedback_platform.intake.sqlite_log import open_log
from feedback_platform.settings import Settings

Event = dict[str, Any]
START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
RECEIVED = datetime(2026, 6, 1, tzinfo=UTC)


def at(minutes: float) -> str:
    """A time on the wire, so many minutes after the start."""
    return (START + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def inference(request_id: str = "r1", *, minute: float = 0, text: str = "a question", **fields: Any) -> Event:
    """An inference; `fields` override and add."""
    given = {"timestamp": at(minute), "model": "bot", "model_version": "1", "output": f"an answer to {text}"}
    return {"request_id": request_id, "input": text, **given, **fields}


def feedback(feedback_id: str, kind: str, value: Mapping[str, Any], *, minute: float = 60, **fields: Any) -> Event:
    """A feedback event; a target is `request_id=` or `target=`; `rater=` is the source's id."""
    rater = fields.pop("rater", None)
    source = {"source": {"kind": "human", "id": rater}} if rater else {}
    given = {"feedback_id": feedback_id, "feedback_type": kind, "feedback_value": dict(value), "timestamp": at(minute)}
    return {**given, **source, **fields}


def thumbs(feedback_id: str, request_id: str = "r1", *, up: bool = True, **fields: Any) -> Event:
    """A thumb on a request."""
    return feedback(feedback_id, "thumbs", {"up": up}, request_id=request_id, **fields)


def rating(feedback_id: str, request_id: str = "r1", *, score: float = 90, **fields: Any) -> Event:
    """A rating from 0 to 100."""
    return feedback(feedback_id, "rating", {"score": score, "min": 0, "max": 100}, request_id=request_id, **fields)


def correction(feedback_id: str, request_id: str = "r1", *, output: Any = "better", **fields: Any) -> Event:
    """A corrected output."""
    return feedback(feedback_id, "explicit_correction", {"output": output}, request_id=request_id, **fields)


def retraction(feedback_id: str, subject: str, **fields: Any) -> Event:
    """Takes back a feedback event."""
    return feedback(feedback_id, "retraction", {"feedback_id": subject}, **fields)


def adjudication(feedback_id: str, value: Mapping[str, Any], **fields: Any) -> Event:
    """A reviewer's ruling."""
    return feedback(feedback_id, "adjudication", value, **fields)


@dataclass(slots=True)
class Line:
    """One tenant with one dataset: import, land, compile, look."""

    home: Path
    policy: Mapping[str, Any] = field(default_factory=dict)
    slices: int = 0

    @property
    def settings(self) -> Settings:
        """Small limits, one thread: tests run side by side."""
        return Settings(home=self.home, memory_limit="512MB", threads=1)

    @property
    def compiler(self) -> Compiler:
        """The dataset `d`, all objectives for text unless the policy says otherwise."""
        given = {"name": "d", "objectives": ["sft", "preference", "unpaired"], **self.policy}
        return Compiler(self.settings, resolve_policy(given))

    def send(
        self, inferences: Sequence[Event] = (), feedback: Sequence[Event] = (), *, can_review: bool = True
    ) -> ImportSummary:
        """Through the importer into the log."""
        self.slices += 1
        self.home.mkdir(parents=True, exist_ok=True)
        paths = []
        for name, events in (("i", inferences), ("f", feedback)):
            path = self.home / f"{name}-{self.slices}.jsonl"
            path.write_bytes(b"".join(msgspec.json.encode(e) + b"\n" for e in events))
            paths.append(path)
        log = open_log(self.settings.log_path)
        try:
            return import_jsonl(Door(log, "default", lambda: RECEIVED), paths[:1], paths[1:], can_review=can_review)
        finally:
            log.close()

    def land(self) -> None:
        """Log to lake."""
        log = open_log(self.settings.log_path)
        try:
            land(log, self.compiler.lake)
        finally:
            log.close()

    def compile(self, trigger: str = "test") -> Manifest | None:
        """Land and compile one window, publish it."""
        self.land()
        compiler = self.compiler
        with compiler.lease():
            manifest = open_or_resume(compiler, trigger=trigger)
            if manifest is None:
                return None
            if manifest.status == "open":
                manifest = run_tables(compiler, manifest)
            return publish(compiler, manifest.window)

    def done(self, trigger: str = "test") -> Manifest:
        """Compile a window that there is something for."""
        manifest = self.compile(trigger)
        assert manifest is not None, "nothing new to compile"
        return manifest

    def table(self, name: str, *, order: str | None = None) -> pl.DataFrame:
        """Current state of a table at the last window."""
        compiler = self.compiler
        manifest = compiler.store.all()[-1]
        with compiler.engine() as engine:
            define_relations(
                engine, LakeWorkspace(compiler.lake, "d", manifest.window), manifest, manifest.dataset_policy()
            )
            frame = engine.frame(f"SELECT * FROM {name}")
        return frame.sort(order or frame.columns[0])

    def by(self, table: str, key: str, *columns: str) -> dict[str, Any]:
        """Key -> value of one column, or tuple of several, in a table's current state."""
        rows = self.table(table).select(key, *columns).rows()
        return {row[0]: row[1] if len(columns) == 1 else row[1:] for row in rows}

    def states(self) -> dict[str, tuple[str, str | None]]:
        """feedback_id -> (state, reason)."""
        rows = self.table("feedback_events").select("feedback_id", "state", "reason").rows()
        return {feedback_id: (state, reason) for feedback_id, state, reason in rows}

    def ledger(self) -> Ledger:
        """The ledger at the last window."""
        compiler = self.compiler
        with compiler.engine() as engine:
            return take_ledger(compiler.lake, compiler.store.all()[-1], engine)


def line(home: Path, **policy: Any) -> Line:
    """A line in a folder; keyword arguments are the dataset's policy."""
    return Line(home, policy)
