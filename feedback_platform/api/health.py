"""Whether the server is up, whether it takes events, what it counts, and what a problem's reason means."""

import asyncio

from feedback_platform import __version__
from feedback_platform.api.access import principal
from feedback_platform.api.call import Call
from feedback_platform.api.problems import API_REASONS, UNAVAILABLE_SECONDS, Problem, of_error
from feedback_platform.api.server import OpenTenant, Server
from feedback_platform.contracts.events import REASONS
from feedback_platform.errors import LogError
from feedback_platform.intake.log import STREAMS, Stream
from feedback_platform.intake.tenants import Tenant

STALLED_SECONDS = 5.0
METRICS_TYPE = b"text/plain; version=1.0.0; charset=utf-8"


async def healthz(server: Server, call: Call) -> None:
    """`GET /healthz`: the process answers."""
    await call.answer_json(200, {"status": "ok", "version": __version__})


async def readyz(server: Server, call: Call) -> None:
    """`GET /readyz`: 200 while events are taken.

    503 after a write failed, until one succeeds; while one takes too long; while too much waits. Where there are
    several tenants, one of them that takes events is enough.
    """
    tenants = list(server.tenants().values())
    troubles = [trouble for opened in tenants if (trouble := await _trouble(opened)) is not None]
    if troubles and len(troubles) == len(tenants):
        raise troubles[0]
    await call.answer_json(200, {"status": "ready", "version": __version__})


async def _trouble(opened: OpenTenant) -> Problem | None:
    queue = opened.queue
    if queue.stalled_seconds > STALLED_SECONDS:
        detail = f"A write to the event log has not ended for {queue.stalled_seconds:.0f} s. Check the disk."
        return Problem(503, "log_unavailable", detail, retry_after=UNAVAILABLE_SECONDS)
    if queue.failure is not None:
        # The last write failed: try one that changes nothing, so that readiness returns before the next event does.
        try:
            await _probed(opened)
            queue.failure = None
        except TimeoutError:
            return Problem(503, "log_unavailable", "The event log does not answer.", retry_after=UNAVAILABLE_SECONDS)
        except LogError as error:
            return of_error(error)
    if queue.waiting_events >= queue.max_events:
        return Problem(503, "overloaded", f"{queue.waiting_events} events wait to be written.", retry_after=1)
    return None


async def _probed(opened: OpenTenant) -> None:
    """One probe of a tenant at a time, whoever asks: a disk that hangs must not use up the threads."""
    if opened.probe is None or opened.probe.done():
        opened.probe = asyncio.create_task(asyncio.to_thread(opened.tenant.log.check_writable))
    await asyncio.wait_for(asyncio.shield(opened.probe), STALLED_SECONDS)


async def metrics(server: Server, call: Call) -> None:
    """`GET /metrics`, for Prometheus, for keys with `admin`.

    Keys of the server's own tenant see all of it, those of other tenants the counters of theirs.
    """
    speaker = principal(server, call, "admin")
    for name, opened in server.tenants().items():
        server.metrics.waiting.labels(name).set(opened.queue.waiting_events)
        if opened.queue.stalled_seconds < STALLED_SECONDS:
            # In a thread: the log is locked while a write waits for another process.
            for stream, head in (await asyncio.to_thread(_heads, opened.tenant)).items():
                server.metrics.accepted.labels(name, stream).set(head)
        for detector, found in opened.tenant.privacy.counts().found.items():
            server.metrics.personal.labels(name, detector).set(found)
    text = server.metrics.text()
    if speaker.tenant != server.settings.tenant:
        own = f'tenant="{speaker.tenant}"'.encode()
        text = b"".join(line for line in text.splitlines(keepends=True) if line.startswith(b"#") or own in line)
    await call.answer(200, text, [(b"content-type", METRICS_TYPE)])


def _heads(tenant: Tenant) -> dict[Stream, int]:
    return {stream: tenant.log.head(stream) for stream in STREAMS}


async def problem_page(server: Server, call: Call) -> None:
    """`GET /problems/{reason}`: what a problem's `type` means."""
    reason = call.scope["path_params"]["reason"]
    meaning = REASONS.get(reason) or API_REASONS.get(reason)
    if meaning is None:
        raise Problem(404, "not_found", f"There is no reason {reason[:80]!r}.")
    await call.answer_json(200, {"reason": reason, "meaning": meaning})
