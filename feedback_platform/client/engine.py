"""What stands behind a client in one process: queue, spill, counters and the sender's thread. A forked child gets another.

`record` is the callers' path: it encodes, queues and counts, and neither waits for the network nor raises.
"""

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from weakref import WeakSet

import msgspec

from feedback_platform.client import encode, ids
from feedback_platform.client.config import Config
from feedback_platform.client.queue import EventQueue
from feedback_platform.client.sender import Sender
from feedback_platform.client.spill import Spill
from feedback_platform.client.stats import Counters, Stats


class Engine:
    """Takes events from callers and sees to it that they arrive.

    Args:
        config: limits and times.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._closed = False
        self._set_up()
        engines.add(self)

    def _set_up(self) -> None:
        config = self._config
        self._counters = Counters()
        self._queue = EventQueue(config.max_queue_events, config.max_queue_bytes, config.batch_events)
        self._spill: Spill | None = None
        self._sender: Sender | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()

    def start(self) -> None:
        """Open the spill and start the thread, once.

        Raises:
            OSError: the spill's folder cannot be used; the client works without a spill.
            RuntimeError: the interpreter is shutting down and starts no thread.
        """
        with self._starting:
            if self._sender is not None:
                return
            trouble = None
            if self._config.spill is not None:
                try:
                    self._spill = Spill(self._config.spill, self._config.max_spill_bytes)
                except OSError as error:
                    trouble = error
            self._sender = Sender(self._config, self._queue, self._spill, self._counters)
            self._thread = threading.Thread(target=self._sender.run, name="feedback-client", daemon=True)
            _call_at_exit(self.close, self._config.exit_timeout)
            self._thread.start()
            if trouble is not None:
                raise trouble

    def record(self, event: Mapping[str, object]) -> None:
        """Take an event as it is now; whatever becomes of it is in the counters."""
        try:
            body, odd = encode.line(event)
        except Exception as error:  # noqa: BLE001  nothing may reach the caller
            self._lose("unencodable", error)
            return
        try:
            self._take(body, odd)
        except Exception as error:  # noqa: BLE001  nothing may reach the caller
            self._lose("internal", error)

    def freeze(self, value: object) -> object:
        """The value as it is now, encoded; the value itself when it cannot be encoded, which `record` then counts."""
        try:
            body, odd = encode.line(value)
        except Exception:  # noqa: BLE001  nothing may reach the caller
            return value
        if odd:
            with self._counters.lock:
                self._counters.unencodable_values += 1
        return msgspec.Raw(body)

    def flush(self, timeout: float) -> bool:
        """Wait until all that was recorded before this call is answered for or given up; False when time ran out."""
        latest = self._queue.hurry()
        with self._queue.settled:
            return self._queue.settled.wait_for(lambda: self._answered(latest), timeout)

    def close(self, timeout: float) -> None:
        """Take no more events, send what is left for at most so many seconds, and keep the rest in the spill."""
        with self._starting:
            if self._closed:
                return
            self._closed = True
        deadline = time.monotonic() + timeout
        if self._sender is not None and self._thread is not None:
            self._sender.stop(deadline)
            if self._thread.ident is None:  # it could not be started: the interpreter is shutting down
                self._sender.run()
            elif self._thread is not threading.current_thread():
                self._thread.join(timeout + 0.1)
            self._sender.mute()
        self._salvage()
        if self._spill is not None:
            self._spill.close()
        atexit.unregister(self.close)

    def renew(self) -> None:
        """In a forked child: let go of the parent's files and connection, as they are, and begin empty."""
        if self._spill is not None:
            self._spill.abandon()
        if self._sender is not None:
            self._sender.abandon()
        self._set_up()

    def stats(self) -> Stats:
        """What became of the events so far."""
        with self._counters.lock:
            return self._counters.snapshot(*self._queue.size(), 0 if self._spill is None else self._spill.size)

    def _take(self, body: bytes, odd: bool) -> None:
        counters = self._counters
        if self._sender is None and not self._closed:
            self._start_late()
        with counters.lock:
            counters.logged += 1
            counters.unencodable_values += odd
        if self._closed or not self._queue.put(body):
            self._overflow(body)

    def _overflow(self, body: bytes) -> None:
        """The queue is full or closed: to the disk at once, or drop the event and count it."""
        if self._closed:
            self._counters.drop("closed")
            return
        if self._spill is None:
            self._counters.drop("queue_full")
            return
        try:
            kept = self._spill.append([body], self._queue.ticket())
        except OSError as error:
            self._counters.last_error = f"spill: {error}"
            self._counters.drop("spill_failed")
            return
        if not kept:
            self._counters.drop("spill_full")
            return
        with self._counters.lock:
            self._counters.spilled += 1
            self._counters.waiting += 1

    def _start_late(self) -> None:
        """In a forked child the first event starts the thread."""
        try:
            self.start()
        except (OSError, RuntimeError) as error:
            self._counters.last_error = f"start: {error}"

    def _answered(self, latest: int) -> bool:
        oldest = self._queue.oldest()
        waiting = None if self._spill is None else self._spill.oldest_ticket
        return all(ticket is None or ticket > latest for ticket in (oldest, waiting))

    def _salvage(self) -> None:
        rest = self._queue.seize()
        if not rest:
            return
        kept = 0
        if self._spill is not None:
            try:
                kept = self._spill.append(list(rest.values()), min(rest))
            except OSError as error:
                self._counters.last_error = f"spill: {error}"
        with self._counters.lock:
            self._counters.spilled += kept
            self._counters.waiting += kept
        self._counters.drop("exit" if self._spill is None else "spill_full", len(rest) - kept)
        if self._sender is not None:
            self._sender.complain()

    def _lose(self, reason: str, error: Exception) -> None:
        with self._counters.lock:
            self._counters.logged += reason == "unencodable"
            self._counters.last_error = f"{reason}: {type(error).__name__}"
            self._counters.drop(reason)


engines: WeakSet[Engine] = WeakSet()


def _call_at_exit(close: Callable[[float], None], timeout: float) -> None:
    """Also in a child of multiprocessing, which ends without `atexit`."""
    atexit.register(close, timeout)
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, close, args=(timeout,), exitpriority=0)


def renew_after_fork() -> None:
    """In a forked child: no thread survived, locks may be held for ever, and the queue is the parent's to send."""
    ids.renew()
    for engine in list(engines):
        engine.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=renew_after_fork)
