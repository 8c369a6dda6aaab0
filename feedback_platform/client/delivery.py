"""One batch: post it, read the answer, count, call back. Decides when the next attempt may be; moves no events."""

import random
import time
from collections.abc import Iterable

from feedback_platform.client.answers import Verdict, judged
from feedback_platform.client.complaints import Complaints
from feedback_platform.client.config import Config
from feedback_platform.client.stats import Counters, Refusal
from feedback_platform.client.transport import TROUBLE, Transport

FIRST_BACKOFF = 0.1
KEY_REFUSED_PAUSE = 60.0


class Delivery:
    """Sends batches, one at a time; used by the sender's thread only.

    Attributes:
        not_before: `time.monotonic()` before which no attempt should be made; 0.0 when sending works.
        muted: set when the client has been closed over this thread's head: answers count no more.
    """

    def __init__(self, config: Config, counters: Counters) -> None:
        self._config, self._counters = config, counters
        self._transport = Transport(config)
        self._complaints = Complaints(counters, config.url)
        self._failures = 0
        self._max_body = config.batch_bytes
        self._told = False
        self.not_before = 0.0
        self.muted = False

    def head(self, events: Iterable[tuple[int, bytes]]) -> dict[int, bytes]:
        """The first events that fit into one request; at least one."""
        batch: dict[int, bytes] = {}
        size = 0
        for key, event in events:
            size += len(event) + 1
            if batch and size > self._max_body:
                break
            batch[key] = event
            if len(batch) == self._config.batch_events:
                break
        return batch

    def send(self, batch: dict[int, bytes], timeout: float, *, on_disk: bool) -> list[int]:
        """Post a batch; returns the keys that are settled. The rest is to be sent again, after `not_before`.

        Args:
            batch: key -> event.
            timeout: seconds per step of the exchange.
            on_disk: the events are safe, so that a refused key (HTTP 401) may be put right before they are sent again.
        """
        keys, events = list(batch), list(batch.values())
        try:
            answer = self._transport.post(b"\n".join(events) + b"\n", timeout)
        except TROUBLE as error:
            self._count_sent(len(events))
            self._back_off(f"{type(error).__name__}: {error}", None)
            return []
        self._count_sent(len(events))
        if answer.status == 401 and on_disk:
            self._back_off("HTTP 401: the API key is not accepted", KEY_REFUSED_PAUSE)
            return []
        verdict = judged(answer, events)
        if self.muted:
            return []
        self._count(verdict)
        if verdict.too_large:
            self._max_body = max(1, sum(map(len, events)) // 2)
        elif verdict.trouble:
            self._back_off(verdict.trouble, answer.retry_after)
        else:
            self._failures, self.not_before = 0, 0.0
            self._complaints.back()
        return [keys[place] for place in (*verdict.accepted, *verdict.refused)]

    def hurry(self, *, at_once: bool) -> None:
        """Do not wait any longer, unless the server named the time; `at_once`: not even then."""
        if at_once or not self._told:
            self.not_before = 0.0

    def failed(self, error: Exception) -> None:
        """An error that nobody foresaw: wait as for a server that is away."""
        self._back_off(f"internal: {type(error).__name__}: {error}", None)

    def complain(self, *, last: bool = False) -> None:
        """Warn of losses, where a warning is due."""
        self._complaints.losses(last=last)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's connection."""
        self._transport.abandon()

    def _count_sent(self, count: int) -> None:
        with self._counters.lock:
            self._counters.sent += count

    def _count(self, verdict: Verdict) -> None:
        with self._counters.lock:
            self._counters.accepted += len(verdict.accepted) - verdict.duplicates
            self._counters.duplicates += verdict.duplicates
            self._counters.refused.update(refusal.reason for refusal in verdict.refused.values())
            self._counters.retries += verdict.too_large
        for refusal in verdict.refused.values():
            self._complaints.refused(refusal)
            self._tell(refusal)

    def _tell(self, refusal: Refusal) -> None:
        if self._config.on_refused is None:
            return
        try:
            self._config.on_refused(refusal)
        except Exception:  # noqa: BLE001  the callback is the application's
            with self._counters.lock:
                self._counters.callback_errors += 1

    def _back_off(self, trouble: str, told: float | None) -> None:
        """Exponential with jitter, so that clients do not return in step; never sooner than the server said."""
        ceiling = min(self._config.max_backoff, FIRST_BACKOFF * 2 ** min(self._failures, 20))
        wait = (told or 0.0) + ceiling * random.uniform(0.5, 1.0)
        self._failures += 1
        self._told = told is not None
        self.not_before = time.monotonic() + wait
        with self._counters.lock:
            self._counters.retries += 1
            self._counters.last_error = trouble
        self._complaints.away(trouble)
