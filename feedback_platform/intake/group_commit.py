"""Group commit: requests that wait together become durable together, in one flush of the log.

While a thread writes one group, the next is prepared; arrivals that no longer fit are turned away at once, never
dropped. One object per tenant, used from one event loop.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from feedback_platform.contracts.events import Event
from feedback_platform.errors import LogError, Overloaded
from feedback_platform.intake.door import Arrival, Batch, Door, Outcome, Unmapped
from feedback_platform.intake.log import Receipt

GROUP_EVENTS = 256
MAX_WAITING_EVENTS = 50_000
MAX_WAITING_BYTES = 256 * 2**20
MAX_UNOBSERVED = 10_000
OBSERVED_TOGETHER = 1_000
OBSERVE_SECONDS = 0.5
RETRY_SECONDS = 1

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Job:
    arrivals: Sequence[Arrival]
    size: int
    done: asyncio.Future[list[Outcome]]
    taken: int = 0
    outcomes: list[Outcome] = field(default_factory=list)


_Span = tuple[_Job, int]


class GroupCommit:
    """The queue before a door.

    Args:
        door: where the arrivals go.
        max_events, max_bytes: how much may wait; what comes beyond is refused with `Overloaded`.
    """

    def __init__(self, door: Door, *, max_events: int = MAX_WAITING_EVENTS, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self.door = door
        self.max_events, self.max_bytes = max_events, max_bytes
        self.waiting_events = self.waiting_bytes = self.groups = 0
        self.failure: str | None = None
        self._writing_since: float | None = None
        self._queue: deque[_Job] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._writer = ThreadPoolExecutor(1, "log-writer")
        self._observer = ThreadPoolExecutor(1, "privacy-counter")
        self._unobserved: list[Event] = []
        self._observing: asyncio.Task[None] | None = None

    @property
    def stalled_seconds(self) -> float:
        """How long the write under way has taken, 0 when there is none."""
        return 0.0 if self._writing_since is None else time.monotonic() - self._writing_since

    async def submit(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        """An outcome per arrival, in order; what has a receipt is durable.

        Raises:
            Overloaded: too much waits already; nothing of this was taken.
            LogError: the log cannot be written. Earlier groups of a long submission may have been; sending all of
                it again is safe.
        """
        size = sum(len(a.body) if isinstance(a.body, bytes) else 0 for a in arrivals)
        if self.waiting_events and (
            self.waiting_events + len(arrivals) > self.max_events or self.waiting_bytes + size > self.max_bytes
        ):
            raise Overloaded(f"{self.waiting_events} events wait to be written.", RETRY_SECONDS)
        if not arrivals:
            return []
        loop = asyncio.get_running_loop()
        job = _Job(arrivals, size, loop.create_future())
        self.waiting_events += len(arrivals)
        self.waiting_bytes += size
        self._queue.append(job)
        if self._pump is None:
            self._pump = loop.create_task(self._run())
        return await job.done

    async def bury(self, unmapped: Sequence[Unmapped]) -> None:
        """Keep what never became an arrival.

        Raises:
            LogError: the log cannot be written.
        """
        if unmapped:
            await asyncio.get_running_loop().run_in_executor(self._writer, self.door.bury, unmapped)

    async def close(self) -> None:
        """Write what waits, then let go of the threads."""
        if self._pump is not None:
            await self._pump
        if self._observing is not None:
            await self._observing
        self._writer.shutdown()
        self._observer.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        writing: tuple[asyncio.Future[list[Outcome]], Batch, list[_Span]] | None = None
        try:
            while self._queue or writing:
                await asyncio.sleep(0)  # requests that were read already join this group
                if writing is not None and len(self._queue) < GROUP_EVENTS and self._queued() < GROUP_EVENTS:
                    # Few wait: let more join while the disk works. Of many, the next group is prepared meanwhile.
                    await self._finish(*writing)
                    writing = None
                    continue
                spans = self._take()
                batch = self._prepare(spans) if spans else None
                if writing is not None:
                    await self._finish(*writing)
                    writing = None
                if batch is not None:
                    self._writing_since = time.monotonic()
                    writing = loop.run_in_executor(self._writer, self.door.commit, batch), batch, spans
        finally:
            self._pump = None

    def _queued(self) -> int:
        return sum(len(job.arrivals) - job.taken for job in self._queue)

    def _take(self) -> list[_Span]:
        """The next group: jobs, each with how many of its arrivals are in it."""
        spans: list[_Span] = []
        room = GROUP_EVENTS
        while self._queue and room:
            job = self._queue[0]
            n = min(room, len(job.arrivals) - job.taken)
            spans.append((job, n))
            job.taken += n
            room -= n
            if job.taken == len(job.arrivals):
                self._queue.popleft()
        return spans

    def _prepare(self, spans: list[_Span]) -> Batch | None:
        arrivals = [a for job, n in spans for a in job.arrivals[job.taken - n : job.taken]]
        try:
            return self.door.prepare(arrivals)
        except Exception as error:  # noqa: BLE001
            if len(spans) == 1:
                _log.exception("An arrival could not be prepared")
                self._fail(spans[0][0], error)
                spans.clear()
                return None
        # One arrival must not fail its neighbours: find the one that does.
        good: list[_Span] = []
        for job, n in spans:
            try:
                self.door.prepare(job.arrivals[job.taken - n : job.taken])
                good.append((job, n))
            except Exception as error:  # noqa: BLE001
                _log.exception("An arrival could not be prepared")
                self._fail(job, error)
        spans[:] = good
        return self.door.prepare([a for job, n in spans for a in job.arrivals[job.taken - n : job.taken]])

    async def _finish(self, writing: asyncio.Future[list[Outcome]], batch: Batch, spans: list[_Span]) -> None:
        try:
            outcomes = await writing
        except Exception as error:  # noqa: BLE001
            if isinstance(error, LogError) or len(spans) == 1:
                self._failed(error, spans)
            else:
                await self._one_by_one(batch, spans)
            return
        finally:
            self._writing_since = None
        self._done(batch, spans, outcomes)

    async def _one_by_one(self, batch: Batch, spans: list[_Span]) -> None:
        """Write each job's part of a group alone: what cannot be written must not fail its neighbours."""
        loop = asyncio.get_running_loop()
        place = 0
        for span in spans:
            arrivals = batch.arrivals[place : place + span[1]]
            place += span[1]
            try:
                alone = self.door.prepare(arrivals)
                outcomes = await loop.run_in_executor(self._writer, self.door.commit, alone)
            except Exception as error:  # noqa: BLE001
                self._failed(error, [span])
            else:
                self._done(alone, [span], outcomes)

    def _failed(self, error: Exception, spans: list[_Span]) -> None:
        if isinstance(error, LogError):
            self.failure = str(error)
        else:
            _log.error("An arrival could not be written", exc_info=error)
        for job, _ in spans:
            self._fail(job, error)

    def _done(self, batch: Batch, spans: list[_Span], outcomes: list[Outcome]) -> None:
        if self.failure is not None and any(isinstance(o, Receipt) and not o.duplicate for o in outcomes):
            self.failure = None  # a group of repetitions writes nothing, so it proves nothing
        self.groups += 1
        place = 0
        for job, n in spans:
            job.outcomes += outcomes[place : place + n]
            place += n
            if len(job.outcomes) == len(job.arrivals):
                self._settle(job)
        self._observe(batch)

    def _settle(self, job: _Job, error: Exception | None = None) -> None:
        self.waiting_events -= len(job.arrivals)
        self.waiting_bytes -= job.size
        if job.done.done():  # the client went away
            return
        if error is None:
            job.done.set_result(job.outcomes)
        else:
            job.done.set_exception(error)

    def _fail(self, job: _Job, error: Exception) -> None:
        if job.taken < 0:
            return
        if self._queue and self._queue[0] is job:
            self._queue.popleft()
        job.taken = -1
        self._settle(job, error)

    def _observe(self, batch: Batch) -> None:
        """Count personal data in the background, many events at a time, because one search costs what a thousand do.

        When counting falls behind, events stay among those not scanned.
        """
        if self.door.privacy is None or len(self._unobserved) + len(batch.stored) > MAX_UNOBSERVED:
            return
        self._unobserved += batch.stored
        if self._observing is None:
            self._observing = asyncio.get_running_loop().create_task(self._observe_all())

    async def _observe_all(self) -> None:
        assert self.door.privacy is not None
        try:
            while self._unobserved:
                if len(self._unobserved) < OBSERVED_TOGETHER:
                    await asyncio.sleep(OBSERVE_SECONDS)
                events, self._unobserved = self._unobserved[:OBSERVED_TOGETHER], self._unobserved[OBSERVED_TOGETHER:]
                began = time.monotonic()
                await asyncio.get_running_loop().run_in_executor(self._observer, self.door.privacy.observe, events)
                await asyncio.sleep(3 * (time.monotonic() - began))  # answering comes first
        except Exception:  # noqa: BLE001
            _log.exception("Personal data could not be counted")
        finally:
            self._observing = None
