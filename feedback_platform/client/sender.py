"""The background thread: takes events from the queue and the spill, sends them, and shelters them on disk in an outage.

The only place where events move between memory, disk and the network. Runs until told to stop; an error in here becomes
a pause, never the end of the thread.
"""

import time

from feedback_platform.client.config import Config
from feedback_platform.client.delivery import Delivery
from feedback_platform.client.queue import EventQueue
from feedback_platform.client.spill import Spill
from feedback_platform.client.stats import Counters

_READ_EVENTS = 500
_READ_BYTES = 2**20


class Sender:
    """Sends what is in the queue and the spill.

    Args:
        config: limits and times.
        queue: where callers put events.
        spill: where events wait in an outage, or None.
        counters: what became of them.
    """

    def __init__(self, config: Config, queue: EventQueue, spill: Spill | None, counters: Counters) -> None:
        self._config, self._queue, self._spill, self._counters = config, queue, spill, counters
        self._delivery = Delivery(config, counters)
        self._replay: dict[int, bytes] = {}
        self._deadline: float | None = None
        self._tried_last = False

    def stop(self, deadline: float) -> None:
        """Send what is left until `time.monotonic()` reaches the deadline, then end.

        With a spill, one failed attempt is enough: what is left is safe there.
        """
        self._deadline = deadline
        self._queue.hurry()

    def mute(self) -> None:
        """The client was closed while this thread waits for an answer: the answer counts no more."""
        self._delivery.muted = True

    def complain(self) -> None:
        """Warn of what was lost at the end."""
        self._delivery.complain(last=True)

    def abandon(self) -> None:
        """In a forked child: let go of the parent's connection."""
        self._delivery.abandon()

    def run(self) -> None:
        """The thread."""
        while not self._finished():
            self._queue.sleep(self._patience())
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001  the thread must outlive whatever happens
                self._delivery.failed(error)
        self._delivery.complain(last=True)
        self._delivery.close()

    def _turn(self) -> None:
        stopping = self._deadline is not None
        if self._queue.urgent():
            self._delivery.hurry(at_once=stopping)
        elif self._paused() or not self._has_work():
            self._queue.linger(self._config.linger)
        self._queue.take()
        if not self._paused():
            self._send_spilled()
        if not self._paused():
            self._send_fresh()
        if self._paused() or self._queue.crowded():
            self._shelter()
        self._tried_last = stopping
        self._delivery.complain()

    def _send_spilled(self) -> None:
        if not self._replay and not self._refill():
            return
        batch = self._delivery.head(self._replay.items())
        settled = self._delivery.send(batch, self._timeout(), on_disk=True)
        if self._delivery.muted:
            return
        for key in settled:
            del self._replay[key]
        with self._counters.lock:
            self._counters.waiting -= len(settled)
        if not self._replay:
            self._commit()

    def _send_fresh(self) -> None:
        if batch := self._delivery.head(self._queue.taken.items()):
            settled = self._delivery.send(batch, self._timeout(), on_disk=self._spill is not None)
            self._queue.settle(settled)

    def _refill(self) -> bool:
        """Read on in the spill; False when there is nothing to send in it."""
        if self._spill is None or not self._spill.size:
            return False
        events, damaged, foreign = self._spill.read(_READ_EVENTS, _READ_BYTES)
        with self._counters.lock:
            self._counters.drop("spill_damaged", damaged)
            if foreign:
                self._counters.recovered += len(events) + damaged
                self._counters.waiting += len(events)
            else:
                self._counters.waiting -= damaged
        self._replay = dict(enumerate(events))
        if not events:
            self._commit()
        return bool(events)

    def _commit(self) -> None:
        if self._spill is not None:
            self._spill.commit()
        self._queue.settle(())

    def _shelter(self) -> None:
        """Move what is in memory to the disk, as far as there is room."""
        if self._spill is None or not self._queue.taken:
            return
        tickets, events = list(self._queue.taken), list(self._queue.taken.values())
        try:
            moved = self._spill.append(events, tickets[0])
        except OSError as error:
            with self._counters.lock:
                self._counters.last_error = f"spill: {error}"
            return
        with self._counters.lock:
            self._counters.spilled += moved
            self._counters.waiting += moved
        self._queue.settle(tickets[:moved])

    def _has_work(self) -> bool:
        return bool(self._queue.taken or self._replay or (self._spill is not None and self._spill.size))

    def _paused(self) -> bool:
        return time.monotonic() < self._delivery.not_before

    def _patience(self) -> float | None:
        """Seconds until there is something to do without a call from outside; None: for ever."""
        now = time.monotonic()
        if self._paused():
            wait: float | None = self._delivery.not_before - now
        else:
            wait = 0.0 if self._has_work() else None
        if self._deadline is not None:
            wait = max(0.0, min(self._deadline - now, self._deadline if wait is None else wait))
        return wait

    def _timeout(self) -> float:
        if self._deadline is None:
            return self._config.timeout
        return max(0.05, min(self._config.timeout, self._deadline - time.monotonic()))

    def _finished(self) -> bool:
        if self._deadline is None:
            return False
        if time.monotonic() >= self._deadline:
            return True
        if self._queue.oldest() is None and not self._has_work():
            return True
        return self._tried_last and self._spill is not None and self._paused() and not self._queue.taken
