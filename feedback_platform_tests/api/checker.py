"""What must hold between what clients saw and what the log keeps, whatever was killed meanwhile; in Jepsen's manner.

Clients write down what they sent and what came of it. `faults` holds that history against the log, or against the raw
tables, and says in words whatever contradicts it. Pure: it reads no file and starts no process.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

SHOWN = 20


class Sent(msgspec.Struct, frozen=True):
    """An event that somebody sent: every body has a mark of its own, however often it is sent."""

    mark: str
    kind: str
    event: dict[str, Any]

    @property
    def id(self) -> str | None:
        """The id that it was sent with."""
        name = "request_id" if self.kind == "inference" else "feedback_id"
        return self.event.get(name)


class Attempt(msgspec.Struct, frozen=True):
    """One sending of one event, alone or in a batch.

    Attributes:
        mark: which event.
        began, ended: seconds on the machine's monotonic clock.
        outcome: `ok` with a receipt, `refused` with a definite no, `unknown`.
        id, log_seq, duplicate: the receipt.
        reason: why it was refused, or what happened to the connection.
    """

    mark: str
    began: float
    ended: float
    outcome: str
    id: str | None = None
    log_seq: int | None = None
    duplicate: bool = False
    reason: str = ""


@dataclass(slots=True)
class History:
    """Everything that the clients saw."""

    sent: dict[str, Sent] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)

    def outcomes(self) -> Counter[str]:
        """How many events ended how: a definite answer to any attempt beats an unknown one."""
        best: dict[str, str] = {}
        for one in self.attempts:
            if one.outcome != "unknown" or one.mark not in best:
                best[one.mark] = one.outcome
        return Counter(best.values())


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept: position and row, from the log or from a raw table."""

    kind: str
    position: int
    row: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.row["request_id" if self.kind == "inference" else "feedback_id"])

    @property
    def mark(self) -> str:
        """The mark of the body."""
        return str(msgspec.json.decode(self.row["metadata"])["mark"])


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: the mark that its body holds, and the reason."""

    mark: str
    reason: str


def faults(history: History, entries: Sequence[Entry], letters: Iterable[Letter] = ()) -> list[str]:
    """Whatever contradicts exactly once, durable before acknowledged, and nothing invented; empty when nothing does."""
    stored = {entry.mark: entry for entry in entries}
    found = [
        *_gaps(entries),
        *_doubled(entries),
        *_invented(history, entries),
        *_acknowledged(history, stored),
        *_refused(history, stored),
        *_order(history),
        *_buried(history, Counter(letter.mark for letter in letters)),
    ]
    return found[:SHOWN] + ([f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])


def _gaps(entries: Sequence[Entry]) -> Iterator[str]:
    for kind in ("inference", "feedback"):
        places = sorted(entry.position for entry in entries if entry.kind == kind)
        if places != list(range(1, len(places) + 1)):
            yield f"{kind}: {len(places)} entries do not have the positions 1 to {len(places)}"


def _doubled(entries: Sequence[Entry]) -> Iterator[str]:
    for what, keys in (("id", ((e.kind, e.id) for e in entries)), ("body", (e.mark for e in entries))):
        yield from (f"{what} {key} is stored {times} times" for key, times in Counter(keys).items() if times > 1)


def _invented(history: History, entries: Sequence[Entry]) -> Iterator[str]:
    attempted = {one.mark for one in history.attempts}
    for entry in entries:
        sent = history.sent.get(entry.mark)
        if sent is None or entry.mark not in attempted:
            yield f"{entry.kind} {entry.id} at {entry.position} was never sent"
        elif (other := _difference(sent, entry)) is not None:
            yield f"{entry.kind} {entry.id} at {entry.position} is not what was sent: {other}"


def _acknowledged(history: History, stored: Mapping[str, Entry]) -> Iterator[str]:
    """A receipt names the entry that is there, and all receipts for one id are one."""
    receipts: dict[tuple[str, str | None], set[int | None]] = defaultdict(set)
    for one in history.attempts:
        if one.outcome != "ok":
            continue
        entry = stored.get(one.mark)
        kind = history.sent[one.mark].kind
        receipts[kind, one.id].add(one.log_seq)
        if entry is None:
            yield f"{kind} {one.id} was acknowledged at {one.log_seq} and is lost"
        elif (entry.id, entry.position) != (one.id, one.log_seq):
            yield f"{kind} {one.id} was acknowledged at {one.log_seq} and is {entry.id} at {entry.position}"
    for (kind, event_id), places in receipts.items():
        if len(places) > 1:
            yield f"{kind} {event_id} has receipts for the positions {sorted(map(str, places))}"


def _refused(history: History, stored: Mapping[str, Entry]) -> Iterator[str]:
    """What got a definite no is not there; a conflict has an entry that it conflicts with."""
    ids = {(entry.kind, entry.id) for entry in stored.values()}
    for one in history.attempts:
        if one.outcome != "refused":
            continue
        sent = history.sent[one.mark]
        if one.mark in stored:
            yield f"{sent.kind} {sent.id} was refused ({one.reason}) and is stored"
        elif one.reason == "id_conflict" and (sent.kind, sent.id) not in ids:
            yield f"{sent.kind} {sent.id} conflicts with nothing that is stored"


def _order(history: History) -> Iterator[str]:
    """Time and positions agree: what was acknowledged before another was first sent stands before it."""
    first: dict[str, float] = {}
    for one in history.attempts:
        first[one.mark] = min(one.began, first.get(one.mark, one.began))
    for kind in ("inference", "feedback"):
        acks = [a for a in history.attempts if a.outcome == "ok" and history.sent[a.mark].kind == kind]
        done = sorted((a.ended, a.log_seq or 0) for a in acks)
        highest, at = 0, 0
        for mark, position in sorted({(a.mark, a.log_seq or 0) for a in acks}, key=lambda p: first[p[0]]):
            while at < len(done) and done[at][0] < first[mark]:
                highest = max(highest, done[at][1])
                at += 1
            if position <= highest:
                yield f"{kind} {mark} stands at {position}, behind {highest} that was acknowledged before it was sent"


def _buried(history: History, letters: Counter[str]) -> Iterator[str]:
    """Every refusal is kept, none more often than it was sent, and nothing else is."""
    tries = Counter(one.mark for one in history.attempts)
    for mark in {one.mark for one in history.attempts if one.outcome == "refused"} - letters.keys():
        yield f"{mark} was refused and has no dead letter"
    for mark, times in letters.items():
        if times > tries[mark]:
            yield f"{mark} has {times} dead letters and was sent {tries[mark]} times"


def _difference(sent: Sent, entry: Entry) -> str | None:
    """The first field of the row that is not what the sent event says."""
    if sent.kind != entry.kind:
        return f"kind {entry.kind}"
    row, event = entry.row, sent.event
    wanted: dict[str, Any] = {"event_at": _instant(event["timestamp"]), "metadata": event["metadata"]}
    found: dict[str, Any] = {"event_at": _instant(row["event_at"]), "metadata": msgspec.json.decode(row["metadata"])}
    if sent.kind == "inference":
        wanted |= {name: event[name] for name in ("request_id", "model", "model_version", "input", "output")}
        found |= {name: row[name] for name in ("request_id", "model", "model_version")}
        found |= {name: msgspec.json.decode(row[name]) for name in ("input", "output")}
    else:
        wanted |= {name: event[name] for name in ("feedback_id", "feedback_type", "explanation") if name in event}
        found |= {name: row[name] for name in wanted if name not in found}
        wanted |= {"feedback_value": event["feedback_value"], "target_request_id": event["request_id"]}
        found |= {"feedback_value": msgspec.json.decode(row["value"]), "target_request_id": row["target_request_id"]}
    return next((f"{name} {found[name]!r}" for name in wanted if wanted[name] != found[name]), None)


def _instant(value: str | datetime) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value
