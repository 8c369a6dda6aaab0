"""What was found, masked and refused, as numbers only; shared by threads."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PrivacyCounts:
    """Counts since the start of the process.

    Attributes:
        found: hits per detector, whatever was done about them.
        masked: those of them that were masked.
        events_seen: events that passed the door.
        events_with_hits: of the scanned ones, those with at least one hit.
        events_rejected: events refused for their hits.
        events_not_scanned: events whose texts nobody looked at (yet): mode `off`, or not yet observed.
    """

    found: Mapping[str, int]
    masked: Mapping[str, int]
    events_seen: int
    events_with_hits: int
    events_rejected: int
    events_not_scanned: int


class Tally:
    """Adds up under a lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: Counter[str] = Counter()
        self._masked: Counter[str] = Counter()
        self._seen = self._scanned = self._with_hits = self._rejected = 0

    def seen(self, events: int) -> None:
        """Events passed the door."""
        with self._lock:
            self._seen += events

    def scanned(self, events: int, found: Counter[str], with_hits: int, *, masked: bool, rejected: int = 0) -> None:
        """Texts of events were looked at."""
        with self._lock:
            self._scanned += events
            self._found.update(found)
            self._with_hits += with_hits
            self._rejected += rejected
            if masked:
                self._masked.update(found)

    def snapshot(self) -> PrivacyCounts:
        """The counts as of now."""
        with self._lock:
            return PrivacyCounts(
                found=dict(self._found),
                masked=dict(self._masked),
                events_seen=self._seen,
                events_with_hits=self._with_hits,
                events_rejected=self._rejected,
                events_not_scanned=max(0, self._seen - self._scanned),
            )
