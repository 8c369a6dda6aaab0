"""The door itself: events go in as they were sent and come out as they may be stored.

One object per tenant and process; threads may share it. It holds no text and logs none: what it finds it counts.
Pseudonyms are made on the critical path and cost about a microsecond; texts are looked at there only in the modes
`mask` and `reject`, and in `report` whenever `observe` is called.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence

from msgspec.structs import force_setattr

from feedback_platform.contracts.wire import Inference
from feedback_platform.contracts.wire_feedback import AnyFeedback
from feedback_platform.errors import EventRejected
from feedback_platform.intake.privacy.counts import PrivacyCounts, Tally
from feedback_platform.intake.privacy.detectors import Detectors
from feedback_platform.intake.privacy.leaves import Leaf, dotted, leaves, put, texts
from feedback_platform.intake.privacy.policy import PrivacyPolicy
from feedback_platform.intake.privacy.pseudonyms import Pseudonyms
from feedback_platform.intake.privacy.scrub import Scrubber

Event = Inference | AnyFeedback


class Privacy:
    """A tenant's policy at work.

    Args:
        policy: what to do.
        key: the tenant's secret key for pseudonyms, 32 bytes.

    Raises:
        ConfigError: a pattern of the policy cannot be used.
    """

    def __init__(self, policy: PrivacyPolicy, key: bytes) -> None:
        self.policy = policy
        self.pseudonyms = Pseudonyms(key)
        self._detectors = Detectors(policy.detect, policy.patterns)
        self._scrubber = Scrubber(policy, self.pseudonyms, self._detectors)
        self._tally = Tally()

    def protect(self, events: Sequence[Event]) -> list[Event | EventRejected]:
        """The events as they may be stored, in their order; a refusal in the place of a refused one.

        The given objects are consumed: they are changed in place and handed back, because a copy would cost more
        than all the rest. Give freshly parsed ones and use what comes back.
        """
        self._tally.seen(len(events))
        self._identify(events)
        if self.policy.mask_text == "mask":
            self._mask(events)
        return self._judged(events) if self.policy.mask_text == "reject" else [*events]

    def observe(self, events: Sequence[Event]) -> None:
        """Count what would be masked in events that went through `protect`; does nothing but in mode `report`."""
        if self.policy.mask_text != "report":
            return
        counts, hits = self._look(events)
        self._tally.scanned(len(events), counts, len(hits), masked=False)

    def counts(self) -> PrivacyCounts:
        """What was found and done so far."""
        return self._tally.snapshot()

    def scrub_dead_letter(self, body: bytes) -> bytes:
        """A refused body as it may be kept: ids as pseudonyms, in `mask` and `reject` texts masked. Never raises.

        Give the whole body and cut afterwards: of a body that is cut short only what still looks like an id or like
        personal data can be told.
        """
        return self._scrubber.body(body)

    def scrub_refusal(self, refusal: EventRejected) -> EventRejected:
        """A refusal as it may be kept or logged: it names no id and, in `mask` and `reject`, no personal data."""
        return self._scrubber.refusal(refusal)

    def scrub_foreign(self, message: str, body: bytes) -> tuple[str, bytes]:
        """A record of a foreign format and the words about it as they may be kept. Never raises.

        Ids are told by the names of their fields, at any depth. In `mask` and `reject` all texts are masked; the words,
        which may quote a span's name, in every mode but `off`.
        """
        return self._scrubber.message(message), self._scrubber.foreign(body)

    def _identify(self, events: Sequence[Event]) -> None:
        person, session = self.pseudonyms.person, self.pseudonyms.session
        chosen = self.policy.pseudonymise
        users, sessions, raters = "user_id" in chosen, "session_id" in chosen, "source.id" in chosen
        for event in events:
            if users and event.user_id is not None:
                force_setattr(event, "user_id", person(event.user_id))
            if sessions and event.session_id is not None:
                force_setattr(event, "session_id", session(event.session_id))
            if type(event) is Inference:
                continue
            target, source = event.target, event.source  # type: ignore[union-attr]
            if sessions and target is not None and target.session_id is not None:
                force_setattr(target, "session_id", session(target.session_id))
            if raters and source is not None and source.kind == "human" and source.id is not None:
                force_setattr(source, "id", person(source.id))

    def _look(self, events: Sequence[Event]) -> tuple[Counter[str], dict[int, dict[int, str]]]:
        """What all texts of all events hold, in one search for the batch.

        Returns:
            Hits per detector; place of an event -> place of a text among its texts -> that text, masked.
        """
        found_texts: list[str] = []
        starts: list[int] = []
        for event in events:
            starts.append(len(found_texts))
            found_texts += texts(event)
        found = self._detectors.find(found_texts)
        hits: dict[int, dict[int, str]] = {}
        for place in sorted(found.masked):
            owner = bisect_right(starts, place) - 1
            hits.setdefault(owner, {})[place - starts[owner]] = found.masked[place]
        return found.counts, hits

    def _mask(self, events: Sequence[Event]) -> None:
        counts, hits = self._look(events)
        for owner, masked in hits.items():
            own = leaves(events[owner])
            for place, text in masked.items():
                put(own[place], text)
        self._tally.scanned(len(events), counts, len(hits), masked=True)

    def _judged(self, events: Sequence[Event]) -> list[Event | EventRejected]:
        counts, hits = self._look(events)
        out: list[Event | EventRejected] = [*events]
        for owner, masked in hits.items():
            out[owner] = self._refusal(leaves(events[owner])[min(masked)])
        self._tally.scanned(len(events), counts, len(hits), masked=False, rejected=len(hits))
        return out

    def _refusal(self, leaf: Leaf) -> EventRejected:
        kinds = ", ".join(sorted(self._detectors.count([leaf.text])))
        fix = f"This text holds personal data ({kinds}), which this tenant does not take. Mask it and send it again."
        return EventRejected("personal_data", field=dotted(leaf.path), value="", fix=fix)
