"""Refused events that were kept: found in the log and, once pruned there, in the lake; sent again after a fix.

A replay goes through the door like everything else, with the rights of whoever sent the letter: the log keeps whether
that was a reviewer. The lake does not, so that letters pruned in the log come back without that right, as do those of
releases that did not keep it. What came with a feedback token is never sent again, because the token's limits are not
kept; its origin says so (`POST /v1/feedback (token)`), in the log and in the lake. A letter that was accepted after all
is remembered as such.
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
from feedback_platform.intake.letter_rows import came_by_token
from feedback_platform.intake.log import EventLog
from feedback_platform.lake import deltalog
from feedback_platform.lake.store import Lake

PAGE = 1_000
# Bytes that were no text were replaced, and of what was too large only the beginning was kept.
_NOT_AS_SENT = ("not_utf8", "event_too_large")


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
        can_review: its sender held the `review` scope; None where that is not known.
        restricted: it came with a feedback token.
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
    can_review: bool | None = None
    restricted: bool = False
    replayed_as: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all of it was kept, and as it was sent. Ids may have grown into pseudonyms, so the JSON tells it."""
        if self.reason in _NOT_AS_SENT or (self.reason == "not_mapped" and "\ufffd" in self.body):
            return False
        try:
            return isinstance(msgspec.json.decode(self.body), dict)
        except (msgspec.MsgspecError, RecursionError):
            return False

    @property
    def is_sendable(self) -> bool:
        """Whether it can go through the door again."""
        return self.kind in ("inference", "feedback") and not self.restricted and self.is_whole


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
        """The body, changed in place; what is not there is neither removed nor renamed.

        Raises:
            ConfigError: a field is to be set within something that is no object.
        """
        for old, new in self.rename.items():
            holder, name = _holder(body, old)
            if name in holder:
                _put(body, new, holder.pop(name))
        for path in self.drop:
            holder, name = _holder(body, path)
            holder.pop(name, None)
        for path, value in self.put.items():
            _put(body, path, value)
        return body


@dataclass(slots=True)
class Replay:
    """What a replay did: outcome per letter, None for one that cannot be sent (see `Letter.is_sendable`)."""

    outcomes: list[tuple[Letter, Outcome | None]] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """How many ended as `accepted`, `duplicate`, `refused`, `by_token` (never sent again) or `not_sendable`."""
        return sum(_ended(letter, outcome) == kind for letter, outcome in self.outcomes)


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


def replay(door: Door, found: Iterator[Letter], edit: Edit, *, as_reviewer: bool = False) -> Replay:
    """Send letters again, each batch durable before the next is read; a letter refused again makes no new one.

    Args:
        door: the tenant's door.
        found: the letters.
        edit: what to change in each; a letter that it does not fit counts as refused.
        as_reviewer: letters of which nobody knows whether a reviewer sent them count as a reviewer's.
    """
    done = Replay()
    batch: list[Letter] = []
    for letter in found:
        batch.append(letter)
        if len(batch) >= PAGE:
            _replay(door, batch, edit, as_reviewer, done)
            batch = []
    _replay(door, batch, edit, as_reviewer, done)
    return done


def _replay(door: Door, batch: Sequence[Letter], edit: Edit, as_reviewer: bool, done: Replay) -> None:
    outcomes: dict[int, Outcome] = {}
    arrivals: dict[int, Arrival] = {}
    for letter in batch:
        if letter.is_sendable:
            try:
                arrivals[letter.seq] = _arrival(letter, edit, as_reviewer)
            except ConfigError as error:
                outcomes[letter.seq] = EventRejected("edit_does_not_fit", fix=str(error))
    outcomes |= zip(arrivals, door.admit(list(arrivals.values())), strict=True)
    door.log.note_replays({seq: o.id for seq, o in outcomes.items() if not isinstance(o, EventRejected)}, door.clock())
    done.outcomes += [(letter, outcomes.get(letter.seq)) for letter in batch]


def _arrival(letter: Letter, edit: Edit, as_reviewer: bool) -> Arrival:
    body = edit.applied(msgspec.json.decode(letter.body))
    can_review = as_reviewer if letter.can_review is None else letter.can_review
    return Arrival(cast(Kind, letter.kind), body, letter.origin, letter.line, can_review=can_review, buried=True)


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
    row["restricted"] = row.get("restricted", False) or came_by_token(row["origin"])
    return Letter(seq=seq, replayed_as=replayed.get(seq), **row)


def _holder(body: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """The object that holds the last name of a path, an empty one where there is none; and that name."""
    *above, last = path.split(".")
    for name in above:
        inner = body.get(name)
        body = inner if isinstance(inner, dict) else {}
    return body, last


def _put(body: dict[str, Any], path: str, value: Any) -> None:
    """Set a field, making the objects above it where they are absent."""
    *above, last = path.split(".")
    for name in above:
        body = body.setdefault(name, {})
        if not isinstance(body, dict):
            raise ConfigError(f"{path!r}: {name} is no object in this event. Name a field that is.")
    body[last] = value


def _ended(letter: Letter, outcome: Outcome | None) -> str:
    if outcome is None:
        return "by_token" if letter.restricted else "not_sendable"
    if isinstance(outcome, EventRejected):
        return "refused"
    return "duplicate" if outcome.duplicate else "accepted"
