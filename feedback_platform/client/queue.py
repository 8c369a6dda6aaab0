"""The bounded queue in memory between the callers and the sender: puts never wait for the sender.

Every event has a ticket, so that `flush` knows what came before it. An event stays in the queue, and counts towards its
bounds, until it is settled. Knows nothing of HTTP or files.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Iterable, Mapping


class EventQueue:
    """Events that callers put and the sender takes; at most `max_events` and `max_bytes` of them.

    Args:
        max_events: bound on events, those on the wire included.
        max_bytes: bound on the sum of their sizes.
        batch_events: so many fresh events end the sender's wait for company.
    """

    def __init__(self, max_events: int, max_bytes: int, batch_events: int) -> None:
        self._lock = threading.RLock()  # reentrant: a signal handler or a finaliser may log while this thread puts
        self.settled = threading.Condition(self._lock)
        self._wake = threading.Lock()  # a binary semaphore: unlike an Event it may be released from a signal handler
        self._wake.acquire()
        self._fresh: deque[tuple[int, bytes]] = deque()
        self._taken: dict[int, bytes] = {}
        self._bytes = 0
        self._tickets = 0
        self._resting = False
        self._urgent = False
        self._max_events, self._max_bytes, self._batch_events = max_events, max_bytes, batch_events

    # Callers' side

    def put(self, body: bytes) -> bool:
        """Add an event; False when there is no room for it."""
        size = len(body)
        with self._lock:
            count = len(self._fresh) + len(self._taken)
            if count >= self._max_events or self._bytes + size > self._max_bytes:
                return False
            self._tickets += 1
            self._fresh.append((self._tickets, body))
            self._bytes += size
            wake = self._resting or len(self._fresh) == self._batch_events
            self._resting = False
        if wake:
            self.wake()
        return True

    def ticket(self) -> int:
        """A ticket for an event that does not enter the queue."""
        with self._lock:
            self._tickets += 1
            return self._tickets

    def hurry(self) -> int:
        """Have the sender act now; returns the latest ticket."""
        with self._lock:
            self._urgent = True
            latest = self._tickets
        self.wake()
        return latest

    def wake(self) -> None:
        """End the sender's sleep."""
        with contextlib.suppress(RuntimeError):  # it is awake already
            self._wake.release()

    # Sender's side

    def sleep(self, timeout: float | None) -> None:
        """Wait until something comes, `hurry` is called or the time (seconds; None is for ever) is over."""
        with self._lock:
            if self._urgent or (self._fresh and timeout is None):
                return
            self._resting = not self._fresh
        self._wake.acquire(timeout=-1 if timeout is None else timeout)
        self._resting = False

    def linger(self, seconds: float) -> None:
        """Let a batch gather: wait until it is full, `hurry` is called or the time is over."""
        if not self._urgent and 0 < len(self._fresh) < self._batch_events:
            self._wake.acquire(timeout=seconds)

    def urgent(self) -> bool:
        """Whether `hurry` was called since the last time this was asked."""
        with self._lock:
            urgent, self._urgent = self._urgent, False
        return urgent

    def take(self) -> None:
        """Move what is fresh into the sender's hands."""
        with self._lock:
            self._taken.update(self._fresh)
            self._fresh.clear()

    @property
    def taken(self) -> Mapping[int, bytes]:
        """Ticket -> event in the sender's hands, oldest first."""
        return self._taken

    def settle(self, tickets: Iterable[int]) -> None:
        """These events need no more care; whoever waits in `settled` is told."""
        with self._lock:
            for ticket in tickets:
                body = self._taken.pop(ticket, b"")
                self._bytes -= len(body)
            if not self._taken and not self._fresh:
                self._bytes = 0
            self.settled.notify_all()

    def seize(self) -> dict[int, bytes]:
        """Empty the queue for good and return what was in it, oldest first."""
        with self._lock:
            self.take()
            self._max_events = 0
            rest, self._taken, self._bytes = self._taken, {}, 0
            self.settled.notify_all()
        return rest

    # Both

    def oldest(self) -> int | None:
        """The ticket of the oldest event that is not settled."""
        with self._lock:
            if self._taken:
                return min(self._taken)
            return self._fresh[0][0] if self._fresh else None

    def size(self) -> tuple[int, int]:
        """Events and bytes."""
        with self._lock:
            return len(self._fresh) + len(self._taken), self._bytes

    def crowded(self) -> bool:
        """Whether more than half of the room is taken."""
        events, size = self.size()
        return 2 * events > self._max_events or 2 * size > self._max_bytes
