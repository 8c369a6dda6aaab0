"""Should something run now? Numbers and a policy in, a decision and its reason out.

No clock, no storage, no Dagster: callers look, this decides, callers answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from feedback_platform.contracts.policies import Trigger, micros

RETRY_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to run, and why, in a sentence that a person can act on."""

    run: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Asked:
    """The last request of a sensor: the positions it asked for, when (epoch seconds), and which attempt it was."""

    positions: str
    at: int
    attempt: int


def next_attempt(asked: Asked | None, now: int) -> int:
    """A number that no earlier request of this sensor carried, even when its memory was reset.

    Run keys are remembered for ever, so a key made of positions alone would ask for nothing after a failed run or
    after an older lake was put back.
    """
    return now if asked is None else asked.attempt + 1


def decide_on_landing(
    waiting: Mapping[str, int], *, oldest_seconds: float, land_events: int, land_seconds: int
) -> Decision:
    """Land once enough events wait, or the oldest has waited long enough.

    Args:
        waiting: accepted events that are not landed, per stream.
        oldest_seconds: how long the oldest of them has waited.
        land_events: so many are enough.
        land_seconds: so long is long enough.
    """
    behind = sorted(stream for stream, n in waiting.items() if n < 0)
    if behind:
        return Decision(
            True, f"The {behind[0]} log ends before what the lake holds: landing refuses, and says what to do."
        )
    total = sum(waiting.values())
    if total == 0:
        return Decision(False, "Every accepted event has landed.")
    listed = ", ".join(f"{n:,} {stream}" for stream, n in waiting.items() if n)
    found = f"{total:,} events wait ({listed}), the oldest for {oldest_seconds:.0f} s"
    if total >= land_events or oldest_seconds >= land_seconds:
        return Decision(True, f"{found}.")
    return Decision(False, f"{found}; lands at {land_events:,} events or {land_seconds} s.")


def decide_on_volume(
    *, new_feedback: int, policy: Trigger, since_last: float | None, since_asked: float | None
) -> Decision:
    """Compile once so much feedback has landed since the last closed window, never within the cooldown.

    Args:
        new_feedback: landed feedback that the last closed window did not see.
        policy: its `volume` and `cooldown`.
        since_last: seconds since the last window closed; None when there is none.
        since_asked: seconds since this sensor last asked without a window having closed after it; None when it has not.
    """
    volume, cooldown = policy.volume, micros(policy.cooldown) / 1e6
    if volume is None:
        return Decision(False, "The policy sets no trigger.volume.")
    found = f"{new_feedback:,} of {volume:,} new feedback events have landed since the last window"
    if new_feedback < volume:
        return Decision(False, f"{found}.")
    if since_last is not None and since_last < cooldown:
        return Decision(False, f"{found}; the cooldown of {policy.cooldown} has {cooldown - since_last:,.0f} s left.")
    if since_asked is not None and since_asked < max(RETRY_SECONDS, cooldown):
        return Decision(
            False,
            f"{found}; asked for a run {since_asked:,.0f} s ago that closed no window: see why it failed. "
            f"Asks again in {max(RETRY_SECONDS, cooldown) - since_asked:,.0f} s.",
        )
    return Decision(True, f"{found}.")
