"""Where an event is now: received, landed, attributed, in version n, or why not. The story that `feedback explain` tells."""

import asyncio

from feedback_platform.api.access import principal
from feedback_platform.api.call import Call
from feedback_platform.api.problems import Problem
from feedback_platform.api.server import Server
from feedback_platform.compile.explain import Accepted, Explanation, explain
from feedback_platform.compile.known import all_names
from feedback_platform.errors import AccessError
from feedback_platform.intake.tenants import Tenant

MAX_ID = 128


async def get_event(server: Server, call: Call) -> None:
    """`GET /v1/events/{id}`: of the caller's own tenant; another tenant's id is as unknown as one that never was."""
    speaker = principal(server, call, "ingest:inference", "ingest:feedback", "read:dataset", "review", "admin")
    if speaker.origins:
        fix = "Whoever opens the page can read it; ask from a server, with another key."
        raise AccessError("scope_missing", f"A key that is bound to web pages may only send. {fix}", 403)
    opened = await server.tenant(speaker.tenant)
    server.take(opened, speaker, 1)
    event_id = call.scope["path_params"]["event_id"]
    if len(event_id) > MAX_ID:
        raise Problem(404, "not_found", f"An id has at most {MAX_ID} characters.")
    async with server.looking_up:
        found = await asyncio.to_thread(_look_up, opened.tenant, event_id)
    if not found.is_known:
        raise Problem(404, "not_found", f"No event has the id {event_id!r}. Was it sent, and with this key's tenant?")
    await call.answer_json(200, found.as_mapping())


def _look_up(tenant: Tenant, event_id: str) -> Explanation:
    accepted = []
    for stream in ("inference", "feedback"):
        receipt = tenant.log.receipt(stream, event_id)
        if receipt is not None:
            accepted.append(Accepted(stream, receipt.log_seq, receipt.received_at))
    return explain(tenant.settings, event_id, all_names(tenant.settings), accepted)
