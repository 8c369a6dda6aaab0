"""`POST /v1/traces`: OTLP/HTTP, protobuf or JSON. Spans of model calls become inferences, evaluations feedback.

A 200 says that every event of the export is durable or is counted in `partial_success`; errors are a google.rpc.Status
in the encoding of the request, as exporters expect, with the same statuses and Retry-After as everywhere.
"""

import asyncio
import logging

from feedback_platform.api.access import check_signature, principal
from feedback_platform.api.call import Call
from feedback_platform.api.ingest import SCOPE, outcome_word
from feedback_platform.api.problems import Problem, of_error
from feedback_platform.api.server import Server
from feedback_platform.errors import EventRejected, FeedbackPlatformError, RateLimited
from feedback_platform.intake.door import Arrival, Outcome, Unmapped
from feedback_platform.intake.guards.principal import Principal
from feedback_platform.intake.otlp.answer import error_status, export_response, http_status
from feedback_platform.intake.otlp.decode import JSON, media_type, unpacked
from feedback_platform.intake.otlp.mapping import Mapped, ReadExport, read_export
from feedback_platform.intake.otlp.spans import Limits

LIMITS = Limits()
SHOWN_REASONS = 3

_log = logging.getLogger("feedback_platform.api")


async def post_traces(server: Server, call: Call) -> None:
    """Take in an export."""
    encoding = JSON if "json" in call.media_type else "application/x-protobuf"
    try:
        refused, why = await _take_in(server, call)
    except (FeedbackPlatformError, Problem) as error:
        if isinstance(error, EventRejected) and not isinstance(error, RateLimited):
            content = error_status(encoding, str(error), field=error.field)
            await call.answer(http_status(error), content, [(b"content-type", encoding.encode())])
            return
        problem = of_error(error)
        if problem.status >= 500:
            _log.error("%s: %s", call.endpoint, error)
        headers = [(b"content-type", encoding.encode()), *problem.headers()]
        await call.answer(problem.status, error_status(encoding, problem.detail), headers)
    else:
        content = export_response(encoding, refused, why)
        await call.answer(200, content, [(b"content-type", encoding.encode())])


async def _take_in(server: Server, call: Call) -> tuple[int, str]:
    """Spans that were refused, and why; the rest is durable."""
    speaker = principal(server, call, "ingest:inference")
    media_type(call.media_type)
    raw = await call.raw_body(LIMITS.body_bytes)
    check_signature(speaker, call, raw)
    encoding = call.header(b"content-encoding") or ""
    async with server.decoding:
        export = await asyncio.to_thread(_read, raw, encoding, call.media_type)
    opened = await server.tenant(speaker.tenant)
    server.take(opened, speaker, len(export.mapped) + len(export.misfits))
    permitted = [mapped for mapped in export.mapped if SCOPE[mapped.kind] in speaker.scopes]
    arrivals = [_arrival(mapped, speaker, call.endpoint) for mapped in permitted]
    outcomes = await opened.queue.submit(arrivals)
    unmapped = [Unmapped(m.kind, m.message, m.body, call.endpoint, m.span + 1) for m in export.misfits]
    await opened.queue.bury(unmapped)
    for mapped, outcome in zip(permitted, outcomes, strict=True):
        server.metrics.count_events(speaker.tenant, mapped.kind, {outcome_word(outcome): 1})
    return _refused(export, permitted, outcomes)


def _read(raw: bytes, encoding: str, content_type: str) -> ReadExport:
    return read_export(unpacked(raw, encoding, LIMITS), content_type, limits=LIMITS)


def _arrival(mapped: Mapped, speaker: Principal, origin: str) -> Arrival:
    return Arrival(mapped.kind, mapped.event, origin, mapped.span + 1, can_review="review" in speaker.scopes)


def _refused(export: ReadExport, permitted: list[Mapped], outcomes: list[Outcome]) -> tuple[int, str]:
    spans = {misfit.span for misfit in export.misfits}
    reasons = [misfit.message for misfit in export.misfits]
    for mapped, outcome in zip(permitted, outcomes, strict=True):
        if isinstance(outcome, EventRejected):
            spans.add(mapped.span)
            reasons.append(f"span {mapped.span}: {outcome}")
    allowed = {id(mapped) for mapped in permitted}
    forbidden = {mapped.span for mapped in export.mapped if id(mapped) not in allowed}
    if forbidden:
        spans |= forbidden
        reasons.append("the key lacks the scope `ingest:feedback` for evaluation results")
    more = f" (and {len(reasons) - SHOWN_REASONS} more)" if len(reasons) > SHOWN_REASONS else ""
    return len(spans), "; ".join(reasons[:SHOWN_REASONS]) + more
