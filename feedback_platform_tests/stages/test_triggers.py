"""Decisions of the sensors: thresholds, cooldown, and what happens after a run that did not help."""

from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.contracts.policies import Trigger
from feedback_platform.stages.triggers import Asked, decide_on_landing, decide_on_volume, next_attempt

VOLUME = Trigger(volume=100, cooldown="1h")


def volume(new: int, since_last: float | None = None, since_asked: float | None = None):
    return decide_on_volume(new_feedback=new, policy=VOLUME, since_last=since_last, since_asked=since_asked)


def test_volume_waits_below_its_threshold():
    assert volume(99).reason == "99 of 100 new feedback events have landed since the last window."
    assert not volume(99).run


def test_volume_runs_at_its_threshold():
    assert volume(100).run
    assert volume(100, since_last=3_600).run


def test_volume_honours_the_cooldown():
    decision = volume(500, since_last=600)
    assert (decision.run, "cooldown of 1h has 3,000 s left" in decision.reason) == (False, True)


def test_volume_asks_again_after_a_run_that_closed_no_window_but_not_at_once():
    decision = volume(500, since_last=9_999, since_asked=60)
    assert (decision.run, "closed no window" in decision.reason) == (False, True)
    assert volume(500, since_last=9_999, since_asked=3_600).run


def test_volume_without_a_number_never_runs():
    decision = decide_on_volume(new_feedback=10**9, policy=Trigger(), since_last=None, since_asked=None)
    assert decision.reason == "The policy sets no trigger.volume."


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0, 100))
def test_landing_runs_exactly_when_enough_wait_or_one_waits_long_enough(inferences, feedback, oldest):
    waiting = {"inference": inferences, "feedback": feedback}
    decision = decide_on_landing(waiting, oldest_seconds=oldest, land_events=40, land_seconds=30)
    total = inferences + feedback
    assert decision.run == (total > 0 and (total >= 40 or oldest >= 30))
    assert total == 0 or f"{total:,} events wait" in decision.reason


def test_attempts_never_repeat_even_when_memory_is_lost():
    first = next_attempt(None, now=1_000)
    second = next_attempt(Asked("1-2", 1_000, first), now=1_001)
    after_reset = next_attempt(None, now=5_000)
    assert first < second < after_reset


def test_a_log_behind_the_lake_is_landed_at_once_so_that_landing_can_refuse_it():
    decision = decide_on_landing({"inference": -2, "feedback": 0}, oldest_seconds=0, land_events=10, land_seconds=30)
    assert decision.run
    assert "inference log ends before" in decision.reason
