"""The checker can fail: each fault that it looks for, put into a small sound history, is found and named."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest

from feedback_platform_tests.api.checker import Attempt, Entry, History, Letter, Sent, faults
from feedback_platform_tests.builders import inference, thumbs


@dataclass(slots=True)
class Told:
    """A small history and what is kept of it; everything is as it should be until a test changes it."""

    history: History = field(default_factory=History)
    kept: list[Entry] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)

    def send(self, mark: str, kind: str, event_id: str, outcome: str, position: int | None, reason: str = "") -> None:
        """An event that was sent once and, with a position, kept."""
        note: dict[str, Any] = {"metadata": {"mark": mark}, "minute": len(self.history.sent)}
        event = inference(event_id, **note) if kind == "inference" else thumbs(event_id, **note)
        self.history.sent[mark] = Sent(mark, kind, event)
        when = 10.0 * len(self.history.sent)
        receipt_id, seq = (event_id, position) if outcome == "ok" else (None, None)
        self.history.attempts.append(Attempt(mark, when, when + 1, outcome, receipt_id, seq, reason=reason))
        if outcome == "refused":
            self.letters.append(Letter(mark, reason))
        elif position is not None:
            self.kept.append(Entry(kind, position, stored(kind, event)))

    def faults(self) -> str:
        """What the checker says."""
        return "; ".join(faults(self.history, self.kept, self.letters))


def stored(kind: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a row that the checker looks at, made by hand."""
    row = {"event_at": event["timestamp"], "metadata": msgspec.json.encode(event["metadata"]).decode()}
    if kind == "inference":
        texts = {name: msgspec.json.encode(event[name]).decode() for name in ("input", "output")}
        return {**row, **texts, **{name: event[name] for name in ("request_id", "model", "model_version")}}
    value = msgspec.json.encode(event["feedback_value"]).decode()
    names = {name: event[name] for name in ("feedback_id", "feedback_type")}
    return {**row, **names, "value": value, "target_request_id": event["request_id"]}


@pytest.fixture
def told() -> Told:
    made = Told()
    made.send("a", "inference", "r1", "ok", 1)
    made.send("b", "inference", "r2", "ok", 2)
    made.send("c", "feedback", "f1", "ok", 1)
    made.send("d", "inference", "r3", "unknown", 3)
    made.send("e", "inference", "r4", "unknown", None)
    made.send("f", "inference", "r1", "refused", None, "id_conflict")
    return made


def test_a_sound_history_passes(told: Told) -> None:
    assert told.faults() == ""
    assert told.history.outcomes() == {"ok": 3, "unknown": 2, "refused": 1}


def test_a_lost_acknowledgement_is_found(told: Told) -> None:
    told.kept.pop(2)
    assert "feedback f1 was acknowledged at 1 and is lost" in told.faults()
    assert "gap" not in told.faults(), "the rest is as it was"


def test_a_doubled_entry_is_found(told: Told) -> None:
    told.kept.append(replace(told.kept[0], position=4))
    assert "id ('inference', 'r1') is stored 2 times" in told.faults()
    assert "body a is stored 2 times" in told.faults()


def test_an_unknown_that_is_there_twice_is_found(told: Told) -> None:
    twice = told.kept[3]
    told.kept.append(replace(twice, position=4, row={**twice.row, "request_id": "r3b"}))
    assert "body d is stored 2 times" in told.faults()


def test_an_invented_entry_is_found(told: Told) -> None:
    extra = inference("r9", metadata={"mark": "z"})
    told.kept.append(Entry("inference", 4, stored("inference", extra)))
    assert told.faults() == "inference r9 at 4 was never sent"


def test_other_content_than_was_sent_is_found(told: Told) -> None:
    told.kept[1] = replace(told.kept[1], row={**told.kept[1].row, "output": '"another answer"'})
    assert told.faults() == "inference r2 at 2 is not what was sent: output 'another answer'"


def test_swapped_positions_are_found(told: Told) -> None:
    told.kept[:2] = [replace(told.kept[0], position=2), replace(told.kept[1], position=1)]
    assert "inference r1 was acknowledged at 1 and is r1 at 2" in told.faults()


def test_a_gap_is_found(told: Told) -> None:
    told.kept[3] = replace(told.kept[3], position=4)
    assert told.faults() == "inference: 3 entries do not have the positions 1 to 3"


def test_two_receipts_for_one_id_are_found(told: Told) -> None:
    told.history.attempts.append(Attempt("a", 90, 91, "ok", "r1", 7, True))
    assert "inference r1 has receipts for the positions ['1', '7']" in told.faults()


def test_a_refused_body_that_is_stored_is_found(told: Told) -> None:
    told.history.attempts.append(Attempt("d", 90, 91, "refused", reason="id_conflict"))
    told.letters.append(Letter("d", "id_conflict"))
    assert told.faults() == "inference r3 was refused (id_conflict) and is stored"


def test_a_conflict_with_nothing_is_found(told: Told) -> None:
    told.send("g", "inference", "r8", "refused", None, "id_conflict")
    assert told.faults() == "inference r8 conflicts with nothing that is stored"


def test_positions_against_time_are_found(told: Told) -> None:
    for place, entry in enumerate(told.kept[:2]):
        told.kept[place] = replace(entry, position=2 - place)
    told.history.attempts[:2] = [
        msgspec.structs.replace(one, log_seq=2 - place) for place, one in enumerate(told.history.attempts[:2])
    ]
    assert told.faults() == "inference b stands at 1, behind 2 that was acknowledged before it was sent"


def test_a_refusal_without_a_dead_letter_and_one_too_many_are_found(told: Told) -> None:
    told.letters[:] = [Letter("e", "id_conflict"), Letter("e", "id_conflict")]
    assert "f was refused and has no dead letter" in told.faults()
    assert "e has 2 dead letters and was sent 1 times" in told.faults()
