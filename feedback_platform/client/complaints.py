"""What the operators read in the log: losses, refusals and outages, each at most once a minute.

Only the background thread writes here, so that no log handler runs inside a caller's call.
"""

import logging
import time

from feedback_platform.client.stats import Counters, Refusal

EVERY_SECONDS = 60.0

log = logging.getLogger("feedback_platform.client")


class Complaints:
    """Says what is new in the counters."""

    def __init__(self, counters: Counters, url: str) -> None:
        self._counters, self._url = counters, url
        self._next: dict[str, float] = {}
        self._told_dropped = 0
        self._away = False

    def losses(self, *, last: bool = False) -> None:
        """Warn when events were dropped since the last warning; `last` does not wait for the minute to pass."""
        with self._counters.lock:
            dropped = dict(self._counters.dropped)
        total = sum(dropped.values())
        if total > self._told_dropped and (last or self._due("dropped")):
            self._told_dropped = total
            counts = ", ".join(f"{reason} {count}" for reason, count in sorted(dropped.items()))
            log.warning(
                "%d events were not kept so far (%s). A larger queue or a spill file keeps more.", total, counts
            )

    def refused(self, refusal: Refusal) -> None:
        """Warn of an event that the server will never take."""
        if self._due(f"refused {refusal.reason}"):
            where = f" at `{refusal.field}`" if refusal.field else ""
            log.warning("The server refused an event: %s%s. %s %s", refusal.reason, where, refusal.detail, refusal.fix)

    def away(self, trouble: str) -> None:
        """Warn that sending fails; at the first failure, then once a minute."""
        if not self._away or self._due("away"):
            self._due("away")
            self._away = True
            log.warning("Cannot send to %s (%s). Events are kept and sending is tried again.", self._url, trouble)

    def back(self) -> None:
        """Tell that sending works again."""
        if self._away:
            self._away = False
            log.info("Sending to %s works again.", self._url)

    def _due(self, what: str) -> bool:
        now = time.monotonic()
        if now < self._next.get(what, 0.0):
            return False
        self._next[what] = now + EVERY_SECONDS
        return True
