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
GROUP_BYTES = 4 * 2**20
PREPARED_HERE_BYTES = 512 * 2**10  # larger groups are prepared in a thread, so that other requests are answered
MAX_WAITING_EVENTS = 50_000
MAX_WAITING_BYTES = 256 * 2**20
MAX_UNOBSERVED, MAX_UNOBSERVED_BYTES = 2_000, 64 * 2**20
OBSERVED_TOGETHER = 1_000
OBSERVE_SECONDS, OBSERVE_PAUSE_SECONDS, OBSERVE_AT_LEAST_SECONDS = 0.5, 0.05, 5.0
BUSY_EVENTS = 100  # in a pause: about 2,000 a second
RETRY_SECONDS = 1

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Job:
    arrivals: Sequence[Arrival]
    size: int
    done: asyncio.Future[list[Outcome]]
    taken: int = 0  # of its arrivals, into groups; -1 once it is settled
    outcomes: list[Outcome] = field(default_factory=list)


_Span = tuple[_Job, int]
_Writing = tuple["asyncio.Future[list[Outcome]]", Batch, list[_Span]]


class GroupCommit:
    """The queue before a door.

    Args:
        door: where the arrivals go.
        max_events, max_bytes: how much may wait; what comes beyond is refused with `Overloaded`.
    """

    def __init__(self, door: Door, *, max_events: int = MAX_WAITING_EVENTS, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self.door = door
        self.max_events, self.max_bytes = max_events, max_bytes
        self.waiting_events = self.waiting_bytes = self.groups = self.settled = 0
        self.failure: str | None = None
        self._writing_since: float | None = None
        self._queue: deque[_Job] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._writer = ThreadPoolExecutor(1, "log-writer")
        self._observer = ThreadPoolExecutor(1, "privacy-counter")
        self._unobserved: list[Event] = []
        self._unobserved_bytes = 0
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
        size = sum(a.weight for a in arrivals)
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
        """Write what waits, then let go of the threads; what was not counted yet stays uncounted."""
        if self._pump is not None:
            await asyncio.shield(self._pump)
        if self._observing is not None:
            self._observing.cancel()
        self._writer.shutdown()
        self._observer.shutdown(cancel_futures=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        writing: _Writing | None = None
        spans: list[_Span] = []
        try:
            while self._queue or writing:
                await asyncio.sleep(0)  # requests that were read already join this group
                if writing is not None and len(self._queue) < GROUP_EVENTS and self._queued() < GROUP_EVENTS:
                    # Few wait: let more join while the disk works. Of many, the next group is prepared meanwhile.
                    await self._finish(*writing)
                    writing = None
                    continue
                spans = self._take()
                arrivals = [a for job, n in spans for a in job.arrivals[job.taken - n : job.taken]]
                batch = await self._prepare(arrivals)
                if writing is not None:
                    await self._finish(*writing)
                    writing = None
                if batch is None:
                    await self._one_by_one(arrivals, spans)
                else:
                    self._writing_since = time.monotonic()
                    writing = loop.run_in_executor(self._writer, self.door.commit, batch), batch, spans
        except BaseException as error:  # whatever it is, nobody may wait for ever
            _log.exception("The queue of the event log stopped; what waits is refused")
            if writing is not None:
                try:
                    await self._finish(*writing)
                except BaseException:  # noqa: BLE001
                    spans = [*writing[2], *spans]
            self._failed(LogError(f"The events could not be written ({type(error).__name__})."), spans)
            while self._queue:
                self._fail(self._queue.popleft(), LogError("The events could not be written."))
            if not isinstance(error, Exception):
                raise
        finally:
            self._pump = None

    def _queued(self) -> int:
        return sum(len(job.arrivals) - job.taken for job in self._queue)

    def _take(self) -> list[_Span]:
        """The next group, bounded in events and in bytes: jobs, each with how many of its arrivals are in it."""
        spans: list[_Span] = []
        room, size = GROUP_EVENTS, 0
        while self._queue and room and size < GROUP_BYTES:
            job = self._queue[0]
            n = 0
            while n < room and job.taken < len(job.arrivals) and size < GROUP_BYTES:
                size += job.arrivals[job.taken].weight
                job.taken += 1
                n += 1
            spans.append((job, n))
            room -= n
            if job.taken == len(job.arrivals):
                self._queue.popleft()
        return spans

    async def _prepare(self, arrivals: Sequence[Arrival]) -> Batch | None:
        """The group laid out; None when something in it fails and it must be done one by one."""
        try:
            if sum(a.weight for a in arrivals) < PREPARED_HERE_BYTES:
                return self.door.prepare(arrivals)
            return await asyncio.to_thread(self.door.prepare, arrivals)
        except Exception:  # noqa: BLE001
            _log.exception("A group could not be prepared; its requests are tried one by one")
            return None

    async def _finish(self, writing: asyncio.Future[list[Outcome]], batch: Batch, spans: list[_Span]) -> None:
        try:
            outcomes = await writing
        except Exception as error:  # noqa: BLE001
            if isinstance(error, LogError) or len(spans) == 1:
                self._failed(error, spans)
            else:
                await self._one_by_one(batch.arrivals, spans)
            return
        finally:
            self._writing_since = None
        self._done(batch, spans, outcomes)

    async def _one_by_one(self, arrivals: Sequence[Arrival], spans: list[_Span]) -> None:
        """Take in each job's part of a group alone: one that fails must not fail its neighbours.

        Args:
            arrivals: the group's; of a long job the next part may have been taken since.
            spans: whose they are.
        """
        loop = asyncio.get_running_loop()
        place = 0
        for job, n in spans:
            own = arrivals[place : place + n]
            place += n
            if job.taken < 0:
                continue
            try:
                alone = await asyncio.to_thread(self.door.prepare, own)
                self._writing_since = time.monotonic()
                outcomes = await loop.run_in_executor(self._writer, self.door.commit, alone)
            except Exception as error:  # noqa: BLE001
                self._failed(error, [(job, n)])
            else:
                self._done(alone, [(job, n)], outcomes)
            finally:
                self._writing_since = None

    def _failed(self, error: Exception, spans: list[_Span]) -> None:
        if isinstance(error, LogError):
            self.failure = str(error)
        else:
            _log.error("An arrival could not be written", exc_info=error)
        for job, _ in spans:
            self._fail(job, LogError(str(error)) if isinstance(error, LogError) else error)

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
        job.taken = -1
        self.settled += len(job.arrivals)
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
        self._settle(job, error)

    def _observe(self, batch: Batch) -> None:
        """Count personal data in the background, many events at a time, because one search costs what a thousand do.

        While requests wait, counting does, but for a thousand events every few seconds: under a lasting flood it is a
        sample, and what was not looked at stays among the events not scanned.
        """
        if self.door.privacy is None or len(self._unobserved) + len(batch.stored) > MAX_UNOBSERVED:
            return
        size = sum(arrival.weight for arrival in batch.arrivals)
        if self._unobserved_bytes + size > MAX_UNOBSERVED_BYTES:
            return
        self._unobserved += batch.stored
        self._unobserved_bytes += size
        if self._observing is None:
            self._observing = asyncio.get_running_loop().create_task(self._observe_all())

    async def _lull(self) -> None:
        """Wait until fewer than some thousand events a second come in, but not for ever: answering comes first."""
        until = time.monotonic() + OBSERVE_AT_LEAST_SECONDS
        settled = -BUSY_EVENTS
        while self.settled - settled >= BUSY_EVENTS and time.monotonic() < until:
            settled = self.settled
            await asyncio.sleep(OBSERVE_PAUSE_SECONDS)

    async def _observe_all(self) -> None:
        assert self.door.privacy is not None
        try:
            while self._unobserved:
                if len(self._unobserved) < OBSERVED_TOGETHER:
                    await asyncio.sleep(OBSERVE_SECONDS)
                await self._lull()
                events, self._unobserved = self._unobserved[:OBSERVED_TOGETHER], self._unobserved[OBSERVED_TOGETHER:]
                self._unobserved_bytes = self._unobserved_bytes if self._unobserved else 0
                await asyncio.get_running_loop().run_in_executor(self._observer, self.door.privacy.observe, events)
        except Exception:  # noqa: BLE001
            _log.exception("Personal data could not be counted")
        finally:
            self._observing = None
