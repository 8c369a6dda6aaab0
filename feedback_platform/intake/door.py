"""The one way in: what arrives is parsed, protected and made durable together, or refused with a reason and kept.

The HTTP API, OTLP, importers and replays all come through here, so that one event gets one answer whatever brought
it. `prepare` computes and touches no disk; `commit` writes. Both take batches: a group of requests costs one flush.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, cast

from feedback_platform.contracts.canonical import body_bytes, body_hmac
from feedback_platform.contracts.events import (
    MAX_EVENT_BYTES,
    AnyFeedback,
    Event,
    Inference,
    Kind,
    parse_event,
    readable_id,
)
from feedback_platform.contracts.rows import derived_id, feedback_rows, inference_rows, row_bytes
from feedback_platform.errors import EventRejected, Forbidden, IdConflict, RateLimited
from feedback_platform.intake.letter_rows import looked_at
from feedback_platform.intake.log import MAX_DEAD_LETTER_BYTES, Conflict, DeadLetter, EventLog, Receipt, Record
from feedback_platform.intake.sizes import held_bytes

Outcome = Receipt | EventRejected


class Protection(Protocol):
    """A tenant's policy on personal data; `intake.privacy.protect.Privacy` is the one."""

    def protect(self, events: Sequence[Event]) -> Sequence[Event | EventRejected]:
        """The events as they may be stored, in order; the given objects are consumed."""
        ...

    def observe(self, events: Sequence[Event]) -> None:
        """Count what would be masked; called after the events are durable."""
        ...

    def scrub_refusal(self, refusal: EventRejected) -> EventRejected:
        """A refusal as it may be kept: it quotes no id and no personal data."""
        ...

    def scrub_dead_letter(self, body: bytes) -> bytes:
        """A refused body as it may be kept."""
        ...

    def scrub_foreign(self, message: str, body: bytes) -> tuple[str, bytes]:
        """A record of a foreign format, and what is said about it, as they may be kept."""
        ...


@dataclass(frozen=True, slots=True)
class Arrival:
    """Something that wants in.

    Attributes:
        kind: what it is meant to be.
        body: JSON text or a decoded object; of one beyond the limit the beginning is enough.
        origin: file name or endpoint, for the dead letter.
        line: line in the file, from 1.
        size: bytes that were sent, where `body` is only their beginning.
        can_review: the sender holds the `review` scope.
        restrict: narrows what this sender may say; raises EventRejected.
        buried: it is a dead letter already, so a refusal makes no new one.
        by_token: the sender had no more than a feedback token; a dead letter of it is never sent again.
    """

    kind: Kind
    body: Mapping[str, object] | bytes
    origin: str
    line: int | None = None
    size: int | None = None
    can_review: bool = False
    restrict: Callable[[Event], Event] | None = None
    buried: bool = False
    by_token: bool = False

    @property
    def weight(self) -> int:
        """About how many bytes of memory its body takes."""
        return held_bytes(self.body)


@dataclass(frozen=True, slots=True)
class Unmapped:
    """A foreign record that should have become an event and did not; kept as a dead letter.

    Attributes:
        kind: what it should have been.
        message: what is wrong with it and what to do.
        body: the record.
        origin, line: where it stood.
    """

    kind: Literal["inference", "feedback", "unknown"]
    message: str
    body: bytes
    origin: str
    line: int | None = None


@dataclass(slots=True)
class Batch:
    """Prepared arrivals: what to write, and the outcomes as far as they are known."""

    arrivals: Sequence[Arrival]
    received_at: datetime
    outcomes: list[Outcome | None]
    records: dict[Kind, list[tuple[int, Record]]] = field(default_factory=dict)
    stored: list[Event] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Door:
    """A tenant's door.

    Attributes:
        log: where accepted events and dead letters go.
        tenant: whose events these are; never read from an event.
        clock: gives the receipt time, once per batch.
        privacy: what happens to personal data; None stores events as they came.
    """

    log: EventLog
    tenant: str
    clock: Callable[[], datetime]
    privacy: Protection | None = None

    def admit(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        """Take everything in: for each arrival a receipt, durable when this returns, or why it was refused.

        Raises:
            LogError: nothing of it was written.
        """
        return self.commit(self.prepare(arrivals))

    def prepare(self, arrivals: Sequence[Arrival]) -> Batch:
        """Parse, protect and lay out what is to be written."""
        batch = Batch(arrivals, self.clock(), [None] * len(arrivals))
        macs: dict[int, bytes] = {}
        ids: dict[int, str] = {}
        events: dict[int, Event] = {}
        for place, arrival in enumerate(arrivals):
            try:
                event, body = _parsed(arrival)
                if arrival.restrict is not None and (narrowed := arrival.restrict(event)) is not event:
                    event, body = narrowed, body_bytes(narrowed)
            except EventRejected as refusal:
                batch.outcomes[place] = refusal
                continue
            events[place] = event
            # Of the event as it was sent: a later change of the privacy policy makes no retry a conflict.
            macs[place] = body_hmac(arrival.kind, body, self.log.key)
            ids[place] = self._id(event)
        batch.stored = self._protected(batch, events)
        self._lay_out(batch, events, ids, macs)
        return batch

    def commit(self, batch: Batch) -> list[Outcome]:
        """Write a prepared batch in one transaction.

        Raises:
            LogError: nothing of it was written.
        """
        # Made before the transaction, because others wait for it; only conflicts are not known yet.
        letters = self._letters(batch)
        with self.log.together():
            for kind, placed in batch.records.items():
                answers = self.log.append(kind, [record for _, record in placed])
                for (place, _), answer in zip(placed, answers, strict=True):
                    batch.outcomes[place] = _conflict(kind, answer) if isinstance(answer, Conflict) else answer
            letters |= self._letters(batch, but=letters)
            self.log.append_dead_letters([letters[place] for place in sorted(letters)], batch.received_at)
        return cast(list[Outcome], batch.outcomes)

    def bury(self, unmapped: Sequence[Unmapped]) -> None:
        """Keep records that never became arrivals."""
        self.log.append_dead_letters([self._foreign_letter(one) for one in unmapped], self.clock())

    def observe(self, batch: Batch) -> None:
        """Let the privacy policy count what it would have masked; costs what reading the texts does."""
        if self.privacy is not None:
            self.privacy.observe(batch.stored)

    def _id(self, event: Event) -> str:
        if isinstance(event, Inference):
            return event.request_id
        return event.feedback_id or derived_id(event, self.tenant, self.log.key)

    def _protected(self, batch: Batch, events: dict[int, Event]) -> list[Event]:
        """Put the protected events in the place of the sent ones; refused ones leave."""
        if self.privacy is None:
            return list(events.values())
        for place, event in zip(list(events), self.privacy.protect(list(events.values())), strict=True):
            if isinstance(event, EventRejected):
                batch.outcomes[place] = event
                del events[place]
            else:
                events[place] = event
        return list(events.values())

    def _lay_out(
        self, batch: Batch, events: Mapping[int, Event], ids: Mapping[int, str], macs: Mapping[int, bytes]
    ) -> None:
        inferences = [place for place in events if batch.arrivals[place].kind == "inference"]
        feedback = [place for place in events if batch.arrivals[place].kind == "feedback"]
        rows = {
            "inference": inference_rows([cast(Inference, events[p]) for p in inferences], batch.received_at),
            "feedback": feedback_rows(
                [cast(AnyFeedback, events[p]) for p in feedback],
                batch.received_at,
                [ids[p] for p in feedback],
                [batch.arrivals[p].can_review for p in feedback],
            ),
        }
        kinds: tuple[tuple[Kind, list[int]], ...] = (("inference", inferences), ("feedback", feedback))
        for kind, places in kinds:
            if places:
                batch.records[kind] = [
                    (place, Record(ids[place], macs[place], row_bytes(row), batch.received_at))
                    for place, row in zip(places, rows[kind], strict=True)
                ]

    def _letters(self, batch: Batch, but: Collection[int] = ()) -> dict[int, DeadLetter]:
        """The letters of what is known to be refused, by place; without those of some places."""
        refused = enumerate(zip(batch.arrivals, batch.outcomes, strict=True))
        return {
            place: self._letter(arrival, why)
            for place, (arrival, why) in refused
            if place not in but
            and isinstance(why, EventRejected)
            and not arrival.buried
            and not isinstance(why, Forbidden | RateLimited)
        }

    def _letter(self, arrival: Arrival, refusal: EventRejected) -> DeadLetter:
        sent = arrival.body if isinstance(arrival.body, bytes) else as_text(arrival.body)
        size = len(sent) if arrival.size is None else arrival.size
        body = looked_at(sent, max(size, len(sent)))
        event_id = readable_id(body, arrival.kind)
        if self.privacy is not None:
            body, refusal = self.privacy.scrub_dead_letter(body), self.privacy.scrub_refusal(refusal)
        return DeadLetter(
            origin=arrival.origin,
            line=arrival.line,
            kind=arrival.kind,
            event_id=event_id,
            reason=refusal.reason,
            message=str(refusal),
            body=body[:MAX_DEAD_LETTER_BYTES],
            size_bytes=size,
            can_review=arrival.can_review,
            restricted=arrival.by_token,
        )

    def _foreign_letter(self, one: Unmapped) -> DeadLetter:
        message, body = one.message, looked_at(one.body, len(one.body))
        if self.privacy is not None:
            message, body = self.privacy.scrub_foreign(message, body)
        return DeadLetter(
            origin=one.origin,
            line=one.line,
            kind=one.kind,
            event_id=None,
            reason="not_mapped",
            message=message,
            body=body[:MAX_DEAD_LETTER_BYTES],
            size_bytes=len(one.body),
        )


def as_text(body: Mapping[str, object]) -> bytes:
    """A decoded object as JSON, values that JSON does not have as their `str`."""
    return json.dumps(dict(body), default=str, ensure_ascii=False).encode(errors="replace")


def _parsed(arrival: Arrival) -> tuple[Event, bytes]:
    if arrival.size is not None and arrival.size > MAX_EVENT_BYTES:
        fix = f"Send at most {MAX_EVENT_BYTES} bytes per event."
        raise EventRejected("event_too_large", value=f"{arrival.size} bytes", fix=fix)
    return parse_event(arrival.kind, arrival.body)


def _conflict(kind: Kind, answer: Conflict) -> IdConflict:
    name = "request_id" if kind == "inference" else "feedback_id"
    fix = "The earlier event stands; give this one an id of its own."
    return IdConflict("id_conflict", field=name, value=answer.id, fix=fix)
