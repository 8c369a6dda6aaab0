"""Events in: one inference, one feedback, a batch of both. An answer of 202 says that the event is durable."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from feedback_platform.api.access import principal, signed, token
from feedback_platform.api.call import JSON, NDJSON, Call, Header
from feedback_platform.api.problems import Problem, of_error, of_refusal
from feedback_platform.api.server import OpenTenant, Server
from feedback_platform.contracts.events import MAX_EVENT_BYTES, AnyFeedback, Event, Kind
from feedback_platform.contracts.wire_feedback import Adjudication, Retraction
from feedback_platform.errors import AccessError, EventRejected, FeedbackPlatformError, Forbidden, RateLimited
from feedback_platform.intake.door import Arrival, Outcome
from feedback_platform.intake.guards.principal import Principal, Scope
from feedback_platform.intake.guards.token_rules import restrict, stamped
from feedback_platform.intake.guards.tokens import FeedbackToken
from feedback_platform.intake.log import Receipt

MAX_BATCH_BYTES = 64 * 2**20
MAX_BATCH_EVENTS = 10_000
MAX_LINES = 4 * MAX_BATCH_EVENTS  # blank ones included
MAX_COMMAS = 4_000_000

SCOPE: dict[Kind, Scope] = {"inference": "ingest:inference", "feedback": "ingest:feedback"}
NO_STORE: tuple[Header, ...] = ((b"cache-control", b"no-store"),)


class Accepted(msgspec.Struct, frozen=True):
    """The receipt of one event: it is durable at this position of the log."""

    id: str
    log_seq: int
    durable: bool = True
    duplicate: bool = False


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one event of a batch."""

    index: int
    status: int
    id: str | None = None
    log_seq: int | None = None
    durable: bool | None = None
    duplicate: bool | None = None
    problem: dict[str, Any] | None = None


class BatchAnswer(msgspec.Struct, frozen=True):
    """What became of a batch: the counts add up to its events, `results` is in their order."""

    accepted: int
    duplicates: int
    refused: int
    results: list[Result]


class _Probe(msgspec.Struct):
    feedback_type: Any = msgspec.UNSET


_PROBE = msgspec.json.Decoder(_Probe)
_RAW_LIST = msgspec.json.Decoder(list[msgspec.Raw])


async def post_inference(server: Server, call: Call) -> None:
    """`POST /v1/inferences`."""
    speaker = principal(server, call, "ingest:inference")
    call.accept_only(JSON)
    await _post_one(server, call, speaker, "inference", None)


async def post_feedback(server: Server, call: Call) -> None:
    """`POST /v1/feedback`, with a key or a feedback token."""
    bearer = token(server, call)
    if bearer is None:
        speaker = principal(server, call, "ingest:feedback", "review")
    else:
        speaker = Principal(bearer.tenant, f"token:{bearer.user_id or bearer.request_id}", frozenset())
    call.accept_only(JSON)
    await _post_one(server, call, speaker, "feedback", bearer)


async def _post_one(server: Server, call: Call, speaker: Principal, kind: Kind, bearer: FeedbackToken | None) -> None:
    body = await call.body(MAX_EVENT_BYTES, signed(speaker, call))
    opened = await server.tenant(speaker.tenant)
    server.take(opened, speaker, 1)
    if bearer is not None:
        _take_user(opened, bearer.user_id or bearer.request_id)  # before parsing: refused events count too
    [outcome] = await opened.queue.submit([_arrival(opened, speaker, kind, body, call.endpoint, None, bearer)])
    server.metrics.count_events(speaker.tenant, kind, {outcome_word(outcome): 1})
    if isinstance(outcome, EventRejected):
        raise outcome
    await call.answer_json(202, _accepted(outcome), NO_STORE)


async def post_batch(server: Server, call: Call) -> None:
    """`POST /v1/batch`: NDJSON or a JSON array of inferences and feedback; an answer for each, and partial success."""
    speaker = principal(server, call, "ingest:inference", "ingest:feedback", "review")
    call.accept_only(NDJSON, JSON)
    body = await call.body(MAX_BATCH_BYTES, signed(speaker, call))
    opened = await server.tenant(speaker.tenant)
    texts = _lines(body) if call.media_type == NDJSON else _elements(body)
    del body
    if len(texts) > MAX_BATCH_EVENTS:
        raise _too_many()
    server.take(opened, speaker, len(texts))
    answer = await _take_in(server, opened, speaker, texts, call.endpoint)
    await call.answer_json(207 if answer.refused else 202, answer, NO_STORE)


async def _take_in(
    server: Server, opened: OpenTenant, speaker: Principal, texts: Sequence[tuple[int, bytes]], origin: str
) -> BatchAnswer:
    kinds = [_kind(text) for _, text in texts]
    permitted = {kind: _permits(speaker, kind) for kind in SCOPE}
    arrivals = [
        _arrival(opened, speaker, kind, text, origin, line, None)
        for (line, text), kind in zip(texts, kinds, strict=True)
        if permitted[kind]
    ]
    outcomes = iter(await opened.queue.submit(arrivals))
    refusals = {kind: of_error(_lacking(speaker, kind)).details() for kind in SCOPE if not permitted[kind]}
    results: list[Result] = []
    words: dict[Kind, Counter[str]] = {"inference": Counter(), "feedback": Counter()}
    for index, kind in enumerate(kinds):
        outcome = next(outcomes) if permitted[kind] else None
        results.append(Result(index, 403, problem=refusals[kind]) if outcome is None else _result(index, outcome))
        words[kind]["forbidden" if outcome is None else outcome_word(outcome)] += 1
    for kind, said in words.items():
        server.metrics.count_events(speaker.tenant, kind, said)
    counts = words["inference"] + words["feedback"]
    known = counts["accepted"] + counts["duplicate"]
    return BatchAnswer(counts["accepted"], counts["duplicate"], len(results) - known, results)


def _arrival(
    opened: OpenTenant,
    speaker: Principal,
    kind: Kind,
    body: bytes,
    origin: str,
    line: int | None,
    bearer: FeedbackToken | None,
) -> Arrival:
    limits = _limits(opened, speaker, bearer) if kind == "feedback" else None
    can_review = "review" in speaker.scopes
    return Arrival(kind, body, origin, line, can_review=can_review, restrict=limits, by_token=bearer is not None)


def _limits(opened: OpenTenant, speaker: Principal, bearer: FeedbackToken | None) -> Callable[[Event], Event]:
    """What a feedback event must pass: the token or scopes that it came with, and its end user's rate."""
    only_reviews = bearer is None and SCOPE["feedback"] not in speaker.scopes

    passed = bearer is not None  # a token's user was counted before the event was read

    def check(event: Event) -> Event:
        nonlocal passed
        judged = cast(AnyFeedback, event)
        if bearer is not None:
            judged = _restricted(judged, bearer)
        if only_reviews and not isinstance(judged, Adjudication | Retraction):
            raise Forbidden(_lacking(speaker, "feedback"))
        person = judged.source is None or judged.source.kind == "human"
        user = judged.user_id or (judged.source.id if judged.source is not None else None)
        if user is not None and person and not passed:
            _take_user(opened, user)
            passed = True  # an event that is prepared twice counts once
        return judged

    return check


def _take_user(opened: OpenTenant, user: str) -> None:
    wait = opened.users.take(user, 1, time.monotonic())
    if wait:
        raise RateLimited(min(wait, 3600), "This end user sends too much feedback; send it again later.")


def _restricted(event: AnyFeedback, bearer: FeedbackToken) -> AnyFeedback:
    try:
        return stamped(event, restrict(event, bearer))
    except AccessError as error:
        raise Forbidden(error) from None


def _lines(body: bytes) -> list[tuple[int, bytes]]:
    if body.count(b"\n") + body.count(b"\r") > MAX_LINES:  # each line costs some 40 bytes, however short it is
        raise _too_many()
    return [(number, text) for number, text in enumerate(body.splitlines(), 1) if text.strip()]


def _elements(body: bytes) -> list[tuple[int, bytes]]:
    # Each element costs some 70 bytes, however short it is; and embeddings have many commas.
    if body.count(b",") > MAX_COMMAS:
        raise _too_many()
    try:
        return [(number, bytes(raw)) for number, raw in enumerate(_RAW_LIST.decode(body), 1)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        fix = f"A batch is a JSON array of events, or NDJSON with Content-Type: {NDJSON} ({error})."
        raise Problem(400, "body_not_ours", fix) from None


def _too_many() -> Problem:
    return Problem(
        413, "batch_too_large", f"A batch may have {MAX_BATCH_EVENTS} events and {MAX_COMMAS} values; send it in parts."
    )


def _kind(text: bytes) -> Kind:
    """Feedback names its `feedback_type`, an inference does not; what cannot be read is told apart by the same word."""
    if b'"feedback_type"' not in text:
        return "inference"
    try:
        return "inference" if _PROBE.decode(text).feedback_type is msgspec.UNSET else "feedback"
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "feedback"


def _permits(speaker: Principal, kind: Kind) -> bool:
    return SCOPE[kind] in speaker.scopes or (kind == "feedback" and "review" in speaker.scopes)


def _lacking(speaker: Principal, kind: Kind) -> AccessError:
    """What a speaker without the scope of a kind is told."""
    try:
        speaker.require(SCOPE[kind])
    except AccessError as error:
        return error
    raise FeedbackPlatformError(f"{kind} is permitted")


def _accepted(receipt: Receipt) -> Accepted:
    return Accepted(receipt.id, receipt.log_seq, True, receipt.duplicate)


def _result(index: int, outcome: Outcome) -> Result:
    if isinstance(outcome, EventRejected):
        problem = of_refusal(outcome)
        return Result(index, problem.status, problem=problem.details())
    return Result(index, 202, outcome.id, outcome.log_seq, True, outcome.duplicate)


def outcome_word(outcome: Outcome) -> str:
    """What the counters call an outcome: accepted, duplicate, or the reason of the refusal."""
    if isinstance(outcome, EventRejected):
        return outcome.reason
    return "duplicate" if outcome.duplicate else "accepted"
