"""Explains any id: where is it, why, by which rule, in which versions, and what would change that (law 6).

An id may name an inference, a feedback event, an example or a refused line, and more than one of them. Read-only.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from feedback_platform.compile.explain_facts import DatasetFacts, Row, dataset_facts, raw_rows
from feedback_platform.compile.explain_story import (
    Story,
    example_story,
    feedback_story,
    inference_story,
    not_compiled,
    said,
)
from feedback_platform.compile.explain_words import excerpt, when
from feedback_platform.engines.duckdb import DuckEngine
from feedback_platform.lake.store import Lake
from feedback_platform.settings import Settings

Kind = Literal["inference", "feedback", "example", "dead_letter", "accepted", "unknown"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """An entry of the event log with the id asked for: its stream, position and receipt time."""

    stream: Literal["inference", "feedback"]
    log_seq: int
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing that the id names: facts that hold everywhere, and its story in each dataset.

    `would_change` is said here when no dataset has a say yet.
    """

    kind: Kind
    facts: tuple[str, ...]
    stories: tuple[Story, ...] = ()
    would_change: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is known of an id."""

    id: str
    subjects: tuple[Subject, ...]

    @property
    def is_known(self) -> bool:
        """Whether anything has that id."""
        return any(s.kind != "unknown" for s in self.subjects)

    def as_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def explain(
    settings: Settings, event_id: str, datasets: Sequence[str], accepted: Sequence[Accepted] = ()
) -> Explanation:
    """Explain an id across datasets.

    Args:
        settings: whose lake, and how much of the machine.
        event_id: a request_id, feedback_id or example_id.
        datasets: names of the datasets to look in; those never compiled are named as such.
        accepted: what the event log has under the id; says where an event is that is not landed yet.
    """
    lake = Lake(settings.lake)
    with _engine(settings) as engine:
        inferences = raw_rows(lake, engine, "raw_inference_logs", event_id)
        feedback = raw_rows(lake, engine, "raw_feedback", event_id)
        letters = raw_rows(lake, engine, "dead_letters", event_id)
    subjects: list[Subject] = []
    for row in inferences:
        stories = [_in_dataset(settings, lake, d, row, "inference") for d in datasets]
        subjects.append(Subject("inference", _inference_facts(row), tuple(stories)))
    for row in feedback:
        stories = [_in_dataset(settings, lake, d, row, "feedback") for d in datasets]
        subjects.append(Subject("feedback", _feedback_facts(row), tuple(stories)))
    if not inferences and not feedback:
        examples = [s for d in datasets if (s := _example(settings, lake, d, event_id)) is not None]
        if examples:
            subjects.append(Subject("example", (f"{event_id} is an example.",), tuple(examples)))
    landed = {"inference": bool(inferences), "feedback": bool(feedback)}
    subjects += [_waiting(event_id, entry) for entry in accepted if not landed[entry.stream]]
    subjects += [_letter(row) for row in letters]
    return Explanation(event_id, tuple(subjects) or (_unknown(settings, event_id),))


def _engine(settings: Settings) -> DuckEngine:
    return DuckEngine(settings.memory_limit, settings.threads)


def _in_dataset(
    settings: Settings, lake: Lake, dataset: str, row: Row, kind: Literal["inference", "feedback"]
) -> Story:
    with _engine(settings) as engine:
        facts = dataset_facts(lake, dataset, engine)
        if facts is None:
            return not_compiled(dataset, None, row["log_seq"], kind)
        return _story(facts, row, kind)


def _story(facts: DatasetFacts, row: Row, kind: Literal["inference", "feedback"]) -> Story:
    cuts = facts.manifest.cuts
    seen = cuts.inference if kind == "inference" else cuts.feedback
    if row["log_seq"] > seen:
        return not_compiled(facts.manifest.dataset, seen, row["log_seq"], kind)
    return inference_story(facts, row) if kind == "inference" else feedback_story(facts, row)


def _example(settings: Settings, lake: Lake, dataset: str, example_id: str) -> Story | None:
    with _engine(settings) as engine:
        facts = dataset_facts(lake, dataset, engine)
        return None if facts is None else example_story(facts, example_id)


def _inference_facts(row: Row) -> tuple[str, ...]:
    session = f", session {row['session_id']}" if row["session_id"] else ""
    return (
        f"Inference {row['request_id']}: answered at {when(row['event_at'])} by model {row['model']}, version "
        f"{row['model_version']} (task {row['task']}, environment {row['environment']}{session}).",
        f"Accepted at {when(row['received_at'])}, position {row['log_seq']} of the inference log.",
        f"Asked: {excerpt(row['last_user'] or row['input'])}",
        f"Answered: {excerpt(row['output_text'] or row['output'])}",
    )


def _feedback_facts(row: Row) -> tuple[str, ...]:
    rater = row["rater"] or "an unnamed rater"
    targets = (
        (row["target_request_id"], "request"),
        (row["target_session_id"], "session"),
        (row["target_keys"], "whatever has the keys"),
        (row["subject_feedback_id"], "feedback"),
    )
    about = next((f"{word} {value}" for value, word in targets if value), "nothing")
    return (
        f"Feedback {row['feedback_id']}: {said(row)} by {rater} ({row['source_kind']}), given at "
        f"{when(row['event_at'])} on {about}.",
        f"Accepted at {when(row['received_at'])}, position {row['log_seq']} of the feedback log.",
    )


def _waiting(event_id: str, entry: Accepted) -> Subject:
    return Subject(
        "accepted",
        (
            f"{event_id} was accepted at {when(entry.received_at)}, position {entry.log_seq} of the {entry.stream} "
            "log. It is durable there, and not landed in the lake yet.",
        ),
        would_change="`feedback land`; Dagster's landing job does it by itself.",
    )


def _letter(row: Row) -> Subject:
    place = f"line {row['line']} of {row['origin']}" if row["line"] else str(row["origin"])
    return Subject(
        "dead_letter",
        (f"Refused at {when(row['received_at'])}: {place}, meant as {row['kind']}. {row['message']}",),
        would_change="Mend it as the message says and send it again; a refused line leaves no trace elsewhere.",
    )


def _unknown(settings: Settings, event_id: str) -> Subject:
    return Subject(
        "unknown",
        (f"Nothing here has the id {event_id}: no accepted event, example or refused line with a readable id.",),
        would_change=f"Send the event. This looked at tenant {settings.tenant!r} in {settings.home}; "
        "FEEDBACK_TENANT and FEEDBACK_HOME choose others.",
    )
