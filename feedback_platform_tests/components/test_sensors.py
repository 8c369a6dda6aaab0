"""The sensors: what they see, when they ask, and what they say when they do not."""

import time
from dataclasses import replace

import dagster as dg
import msgspec
import pytest

from feedback_platform.components.drift_sensor import Memory
from feedback_platform.components.feedback_dataset import FeedbackDataset
from feedback_platform.contracts.policies import resolve_policy
from feedback_platform.errors import ConfigError
from feedback_platform.stages.triggers import Asked
from feedback_platform_tests.builders import inference, thumbs
from feedback_platform_tests.components.dagster_line import dagster_line, send_some

VOLUME = {"trigger": {"volume": 6, "cooldown": "0s"}}


def skipped(result: dg.SensorResult) -> str:
    """The reason, of a tick that asked for nothing."""
    assert not result.run_requests
    assert result.skip_reason is not None
    return result.skip_reason.skip_message or ""


@pytest.fixture
def driven(tmp_path):
    with dagster_line(tmp_path, **VOLUME) as driven:
        yield driven


def test_landing_waits_for_the_first_event(driven):
    assert skipped(driven.tick("landing_sensor")) == "No event has been accepted yet."


def test_landing_asks_once_events_have_waited_and_not_again_when_landed(driven):
    send_some(driven)
    result = driven.tick("landing_sensor")
    assert len(result.run_requests or []) == 1, "received months ago by the builders' clock"
    assert driven.run("land_events").success
    assert skipped(driven.tick("landing_sensor", result.cursor)) == "Every accepted event has landed."


def test_landing_waits_for_more_while_events_are_young(driven, monkeypatch):
    monkeypatch.setenv("FEEDBACK_LAND_SECONDS", "999999999")
    send_some(driven)
    assert "10 events wait (4 inference, 6 feedback)" in skipped(driven.tick("landing_sensor"))


def test_landing_does_not_hammer_when_a_run_landed_nothing(driven):
    send_some(driven)
    first = driven.tick("landing_sensor")
    assert "landed nothing: see why it failed" in skipped(driven.tick("landing_sensor", first.cursor))
    earlier = msgspec.json.decode(first.cursor or "", type=Asked)
    old = msgspec.json.encode(Asked(earlier.positions, 0, earlier.attempt)).decode()
    again = driven.tick("landing_sensor", old)
    keys = [r.run_key for result in (first, again) for r in result.run_requests or []]
    assert len(set(keys)) == 2, "the same positions, another attempt: the key of a failed run is spent"


def test_volume_counts_what_landed_since_the_last_window(driven):
    assert skipped(driven.tick("d_volume_sensor")) == "Nothing has landed yet."
    send_some(driven, count=3)
    driven.line.land()
    assert "4 of 6 new feedback events" in skipped(driven.tick("d_volume_sensor"))
    send_some(driven, first=10, count=2)
    driven.line.land()
    (request,) = driven.tick("d_volume_sensor").run_requests or []
    assert request.tags["feedback_platform/trigger"] == "volume"
    assert (request.run_key or "").startswith("volume:0-7:")
    driven.line.compile()
    assert "0 of 6 new feedback events" in skipped(driven.tick("d_volume_sensor"))


def test_volume_waits_for_an_unfinished_run(driven):
    send_some(driven)
    driven.line.land()
    job = driven.definitions.resolve_job_def("compile_d")
    run = driven.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert skipped(driven.tick("d_volume_sensor")) == f"Run {run.run_id[:8]} of compile_d has not ended yet."


def test_volume_asks_again_after_a_failed_run_under_another_key(driven):
    send_some(driven)
    driven.line.land()
    first = driven.tick("d_volume_sensor")
    assert "closed no window" in skipped(driven.tick("d_volume_sensor", first.cursor))
    asked = msgspec.json.decode(first.cursor or "", type=Asked)
    old = msgspec.json.encode(Asked(asked.positions, int(time.time()) - 3_600, asked.attempt)).decode()
    again = driven.tick("d_volume_sensor", old)
    keys = {r.run_key for result in (first, again) for r in result.run_requests or []}
    assert len(keys) == 2


def test_sensors_and_schedules_exist_where_the_policy_wants_them():
    def names(**given):
        found = FeedbackDataset(resolve_policy({"name": "d", **given})).definitions()
        return {s.name for s in [*(found.sensors or []), *(found.schedules or [])]}

    assert names() == {"d_drift_sensor", "d_schedule"}
    assert names(trigger={"schedule": None, "volume": 5}, drift={"watch": []}) == {"d_volume_sensor"}


def test_a_policy_that_can_not_be_is_refused_with_its_field():
    with pytest.raises(ConfigError, match="agrement"):
        FeedbackDataset.from_attributes_dict(attributes={"name": "d", "resolve": {"agrement": 0.9}})


def rated(driven, first: int, count: int, every: int) -> None:
    """Inferences a minute apart; every n-th gets a thumb after five minutes, and a last one closes the clock."""
    numbers = range(first, first + count)
    driven.line.send(
        [inference(f"r{n}", minute=n, text=f"q{n}") for n in numbers],
        [thumbs(f"t{n}", f"r{n}", rater="ann", minute=n + 5) for n in numbers if n % every == 0],
    )
    driven.line.land()


@pytest.mark.parametrize("action", ["notify", "compile"])
def test_drift_tells_once_when_feedback_becomes_rare(tmp_path, action):
    with dagster_line(tmp_path, drift={"action": action}, objectives=["unpaired"]) as driven:
        assert "No version is published yet" in skipped(driven.tick("d_drift_sensor"))
        rated(driven, 0, 400, every=2)
        driven.line.compile()
        quiet = driven.tick("d_drift_sensor")
        assert "new inferences are old enough" in skipped(quiet)
        rated(driven, 400, 200, every=2)
        same = driven.tick("d_drift_sensor", quiet.cursor)
        assert skipped(same).startswith("No drift. 50.0% of 2")
        assert "Nothing has landed since the last look" in skipped(driven.tick("d_drift_sensor", same.cursor))
        rated(driven, 600, 300, every=10)
        alarm = driven.tick("d_drift_sensor", same.cursor)
        assert len(alarm.run_requests or []) == (action == "compile")
        (told,) = alarm.asset_events
        assert "The feedback rate has moved" in (told.description or "")
        assert "50.1% in version 1" in (told.description or "")
        memory = msgspec.json.decode(alarm.cursor or "", type=Memory)
        assert memory.told == told.description
        assert len(alarm.cursor or "") < 2_000
        assert "Told already" in skipped(driven.tick("d_drift_sensor", alarm.cursor))
        driven.line.compile()
        assert "Told already" not in skipped(driven.tick("d_drift_sensor", alarm.cursor)), (
            "a new version, a new reference"
        )


def test_drift_sees_feedback_fall_silent(tmp_path):
    """No feedback at all moves no feedback clock; time goes on with the inferences."""
    with dagster_line(tmp_path, objectives=["unpaired"]) as driven:
        rated(driven, 0, 400, every=2)
        driven.line.compile()
        cursor = driven.tick("d_drift_sensor").cursor
        memory = msgspec.json.decode(cursor or "", type=Memory)
        assert memory.reference is not None
        # The builders' clock receives everything months later; a live stream lags by seconds.
        live = msgspec.structs.replace(memory, reference=replace(memory.reference, lag=10**6))
        rated(driven, 400, 300, every=10_000)
        alarm = driven.tick("d_drift_sensor", msgspec.json.encode(live).decode())
        assert "The feedback rate has moved: 0.0%" in skipped(alarm)


def test_a_version_without_feedback_sets_no_rate(tmp_path):
    with dagster_line(tmp_path) as driven:
        send_some(driven)
        driven.line.compile()
        assert "too little feedback" in skipped(driven.tick("d_drift_sensor"))


def test_the_schedule_starts_the_job(tmp_path):
    with dagster_line(tmp_path) as driven:
        schedule = driven.definitions.get_repository_def().get_schedule_def("d_schedule")
        assert (schedule.job_name, schedule.cron_schedule, schedule.execution_timezone) == (
            "compile_d",
            "0 6 * * 1",
            "UTC",
        )
        assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
