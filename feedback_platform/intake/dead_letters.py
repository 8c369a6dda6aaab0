"""Refused events that were kept: found in the log and, once pruned there, in the lake; sent again after a fix.

A replay goes through the door like everything else. A letter that was accepted after all is remembered as such.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import msgspec

from feedback_platform.contracts.events import Kind
from feedback_platform.engines.duckdb import DuckEngine
from feedback_platform.errors import ConfigError, EventRejected
from feedback_platform.intake.door import Arrival, Door, Outcome
from feedback_platform.intake.log import EventLog
from feedback_platform.lake import deltalog
from feedback_platform.lake.store import Lake

PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter.

    Attributes:
        seq: its position in the dead-letter log.
        received_at: when it was refused.
        origin, line: where it came from.
        kind: what it tried to be.
        event_id: its id, where one could be read.
        reason, message: why it was refused.
        body: what was kept of it; pseudonyms in the place of ids.
        size_bytes: size of what was sent.
        replayed_as: id of the event that it became later, None when it did not.
    """

    seq: int
    received_at: datetime
    origin: str
    line: int | None
    kind: str
    event_id: str | None
    reason: str
    message: str
    body: str
    size_bytes: int
    replayed_as: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all of it was kept. Ids may have grown into pseudonyms, so it is told by the JSON."""
        try:
            return isinstance(msgspec.json.decode(self.body), dict)
        except (msgspec.MsgspecError, RecursionError):
            return False


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which letters: all given conditions hold; empty ones hold always."""

    seqs: tuple[int, ...] = ()
    reasons: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    replayed: bool = False

    def __contains__(self, letter: Letter) -> bool:
        return (
            (not self.seqs or letter.seq in self.seqs)
            and (not self.reasons or letter.reason in self.reasons)
            and (not self.origins or letter.origin in self.origins)
            and (self.replayed or letter.replayed_as is None)
        )


@dataclass(frozen=True, slots=True)
class Edit:
    """What to change in each body before it is sent again; names are dotted paths.

    Attributes:
        drop: fields to remove.
        rename: old name -> new name.
        put: name -> value.
    """

    drop: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    put: Mapping[str, Any] = field(default_factory=dict)

    def applied(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body, changed in place."""
        for old, new in self.rename.items():
            holder, name = _holder(body, old)
            if name in holder:
                value = holder.pop(name)
                target, last = _holder(body, new)
                target[last] = value
        for path in self.drop:
            holder, name = _holder(body, path)
            holder.pop(name, None)
        for path, value in self.put.items():
            holder, name = _holder(body, path)
            holder[name] = value
        return body


@dataclass(slots=True)
class Replay:
    """What a replay did: outcome per letter, None for one that cannot be sent (not whole, or of no known kind)."""

    outcomes: list[tuple[Letter, Outcome | None]] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """How many ended as `accepted`, `duplicate`, `refused` or `not_sendable`."""
        return sum(_ended(outcome) == kind for _, outcome in self.outcomes)


def letters(log: EventLog, lake: Lake, chosen: Chosen, memory_limit: str = "1GB") -> Iterator[Letter]:
    """Dead letters in order of their positions: pruned ones from the lake, the rest from the log."""
    replayed = log.replays()
    first = log.first("dead_letter") or log.head("dead_letter") + 1
    if first > 1:
        yield from (letter for letter in _from_lake(lake, first, replayed, memory_limit) if letter in chosen)
    after = first - 1
    while rows := log.read("dead_letter", after, PAGE):
        after = rows[-1][0]
        for seq, row in rows:
            letter = _letter(seq, msgspec.json.decode(row), replayed)
            if letter in chosen:
                yield letter


def replay(door: Door, found: Iterator[Letter], edit: Edit, *, can_review: bool = True) -> Replay:
    """Send letters again, each batch durable before the next is read; a letter refused again makes no new one."""
    done = Replay()
    batch: list[Letter] = []
    for letter in found:
        batch.append(letter)
        if len(batch) >= PAGE:
            _replay(door, batch, edit, can_review, done)
            batch = []
    _replay(door, batch, edit, can_review, done)
    return done


def _replay(door: Door, batch: Sequence[Letter], edit: Edit, can_review: bool, done: Replay) -> None:
    sendable = [letter for letter in batch if letter.kind in ("inference", "feedback") and letter.is_whole]
    arrivals = [
        Arrival(
            cast(Kind, letter.kind), edit.applied(msgspec.json.decode(letter.body)), letter.origin, letter.line,
            can_review=can_review, buried=True,
        )
        for letter in sendable
    ]  # fmt: skip
    outcomes = dict(zip((letter.seq for letter in sendable), door.admit(arrivals), strict=True))
    door.log.note_replays({seq: o.id for seq, o in outcomes.items() if not isinstance(o, EventRejected)}, door.clock())
    done.outcomes += [(letter, outcomes.get(letter.seq)) for letter in batch]


def _from_lake(lake: Lake, before: int, replayed: Mapping[int, str], memory_limit: str) -> Iterator[Letter]:
    table = lake.table("dead_letters")
    if not deltalog.versions(table.folder):
        return
    with DuckEngine(memory_limit) as engine:
        engine.connection.execute("SET TimeZone = 'UTC'")
        engine.define_files("letters", [f.path for f in table.snapshot().files], table.contract.columns())
        sql = engine.prepare(f"SELECT * FROM letters WHERE log_seq < {before} ORDER BY log_seq")
        cursor = engine.connection.execute(sql)
        names = [column[0] for column in cursor.description or ()]
        while rows := cursor.fetchmany(PAGE):
            for row in rows:
                fields = dict(zip(names, row, strict=True))
                yield _letter(fields.pop("log_seq"), fields, replayed)


def _letter(seq: int, row: dict[str, Any], replayed: Mapping[int, str]) -> Letter:
    if isinstance(row["received_at"], str):
        row["received_at"] = datetime.fromisoformat(row["received_at"])
    return Letter(seq=seq, replayed_as=replayed.get(seq), **row)


def _holder(body: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """The object that holds the last name of a path, made where absent."""
    *above, last = path.split(".")
    for name in above:
        inner = body.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{path!r}: {name} is no object in this event. Name a field that is.")
        body = inner
    return body, last


def _ended(outcome: Outcome | None) -> str:
    if outcome is None:
        return "not_sendable"
    if isinstance(outcome, EventRejected):
        return "refused"
    return "duplicate" if outcome.duplicate else "accepted"
