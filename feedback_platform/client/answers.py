"""What an answer of `POST /v1/batch` means for each event of the batch. Pure: no network, no counters."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from feedback_platform.client.stats import Refusal
from feedback_platform.client.transport import Answer

# A refusal must be the server's own word. Anything else (a proxy's 404, a 502, a redirect) passes, so it is retried.
_FINAL_FOR_ALL = (400, 401, 403, 415, 422)
_FINAL_FOR_ONE = (400, 403, 409, 413, 422)

T = TypeVar("T")


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457 problem details, as far as they are of use here."""

    title: str = ""
    detail: str = ""
    reason: str = ""
    field: str = ""
    fix: str = ""


class Result(msgspec.Struct, frozen=True):
    """What became of one event of the batch."""

    index: int
    status: int
    duplicate: bool = False
    problem: Problem | None = None


class Receipt(msgspec.Struct, frozen=True):
    """The body of a 202 or 207."""

    duplicates: int = 0
    results: list[Result] = []


@dataclass(frozen=True, slots=True)
class Verdict:
    """The events of a batch, by their place in it; those in none of the lists are to be sent again.

    Attributes:
        accepted: durable at the server, duplicates included.
        duplicates: how many of them the server had already.
        refused: those that it will never take, by place.
        too_large: the batch was too large for one request, and has more than one event.
        trouble: why the rest is to be sent again, in words; "" when there is no rest.
    """

    accepted: Sequence[int] = ()
    duplicates: int = 0
    refused: dict[int, Refusal] = field(default_factory=dict)
    too_large: bool = False
    trouble: str = ""


def judged(answer: Answer, events: Sequence[bytes]) -> Verdict:
    """Read the answer to a batch of events."""
    count = len(events)
    if answer.status == 202:
        receipt = _read(answer.body, Receipt) or Receipt()
        return Verdict(range(count), min(receipt.duplicates, count))
    if answer.status == 207:
        return _judged_one_by_one(answer, events)
    if answer.status == 413 and count > 1:
        return Verdict(too_large=True, trouble="HTTP 413: the batch is too large")
    problem = _read(answer.body, Problem) or Problem()
    if answer.status in _FINAL_FOR_ALL or answer.status == 413:
        return Verdict(refused={place: _refusal(answer.status, problem, event) for place, event in enumerate(events)})
    return Verdict(trouble=f"HTTP {answer.status} {problem.detail or problem.title}".rstrip())


def _judged_one_by_one(answer: Answer, events: Sequence[bytes]) -> Verdict:
    receipt = _read(answer.body, Receipt)
    if receipt is None:
        return Verdict(trouble="HTTP 207 with a body that cannot be read")
    results = {result.index: result for result in receipt.results if 0 <= result.index < len(events)}
    accepted = [place for place, result in results.items() if result.status in (200, 201, 202)]
    refused = {
        place: _refusal(result.status, result.problem or Problem(), events[place])
        for place, result in results.items()
        if result.status in _FINAL_FOR_ONE
    }
    rest = len(events) - len(accepted) - len(refused)
    trouble = f"the server could not take {rest} of {len(events)} events for now" if rest else ""
    return Verdict(accepted, sum(results[place].duplicate for place in accepted), refused, trouble=trouble)


def _refusal(status: int, problem: Problem, event: bytes) -> Refusal:
    reason = problem.reason or f"http_{status}"
    return Refusal(reason, status, problem.field, problem.detail or problem.title, problem.fix, event)


def _read(body: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
