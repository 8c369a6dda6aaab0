"""What starts a dataset's job: its schedule and its volume sensor. Ticks look, `stages` decides, ticks answer."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import dagster as dg
import msgspec

from feedback_platform.components.assets import TRIGGER_TAG
from feedback_platform.components.platform import Platform
from feedback_platform.contracts.policies import DatasetPolicy
from feedback_platform.stages.triggers import Asked, decide_on_volume, next_attempt

VOLUME_SECONDS = 60
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def compile_schedule(policy: DatasetPolicy, job: Any) -> dg.ScheduleDefinition:
    """`trigger.schedule`, in UTC, switched on."""
    return dg.ScheduleDefinition(
        name=f"{policy.name}_schedule",
        job=job,
        cron_schedule=policy.trigger.schedule or "",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Compiles {policy.name} by the clock; with nothing new the run says so and publishes nothing.",
        tags={TRIGGER_TAG: "schedule"},
    )


def volume_sensor(policy: DatasetPolicy, job: Any) -> dg.SensorDefinition:
    """Compiles after `trigger.volume` newly landed feedback events."""

    @dg.sensor(
        name=f"{policy.name}_volume_sensor",
        job=job,
        minimum_interval_seconds=VOLUME_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Compiles {policy.name} once {policy.trigger.volume:,} feedback events have landed since the last "
        f"window, at most every {policy.trigger.cooldown}.",
    )
    def sensor(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult:
        if run := unfinished_run(context, job.name):
            return dg.SensorResult(skip_reason=f"Run {run[:8]} of {job.name} has not ended yet.")
        settings, now = platform.settings(), int(time.time())
        if not settings.lake.exists():
            return dg.SensorResult(skip_reason="Nothing has landed yet.")
        compiler = platform.compiler(policy)
        asked, last = remembered(context.cursor), compiler.store.last_closed()
        landed, seen = compiler.lake.landed(), 0 if last is None else last.cuts.feedback
        closed_at = None if last is None else _epoch(last.closed_at or last.opened_at)
        unanswered = asked is not None and (closed_at is None or closed_at < asked.at)
        decision = decide_on_volume(
            new_feedback=landed[1] - seen,
            policy=policy.trigger,
            since_last=None if closed_at is None else now - closed_at,
            since_asked=now - asked.at if asked is not None and unanswered else None,
        )
        if not decision.run:
            return dg.SensorResult(skip_reason=decision.reason)
        return request(context, decision.reason, f"{seen}-{landed[1]}", now, trigger="volume")

    return sensor


def request(
    context: dg.SensorEvaluationContext, reason: str, positions: str, now: int, *, trigger: str
) -> dg.SensorResult:
    """A run for these log positions, under a key that no earlier request of this sensor had."""
    asked = Asked(positions, now, next_attempt(remembered(context.cursor), now))
    context.log.info(reason)
    run = dg.RunRequest(run_key=f"{trigger}:{positions}:{asked.attempt}", tags={TRIGGER_TAG: trigger})
    return dg.SensorResult(run_requests=[run], cursor=msgspec.json.encode(asked).decode())


def remembered(cursor: str | None) -> Asked | None:
    """The sensor's last request."""
    return msgspec.json.decode(cursor, type=Asked) if cursor else None


def _epoch(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def unfinished_run(context: dg.SensorEvaluationContext, job_name: str) -> str | None:
    """Id of a run of the job that is queued or running."""
    found: Sequence[dg.DagsterRun] = context.instance.get_runs(
        dg.RunsFilter(job_name=job_name, statuses=_UNFINISHED), limit=1
    )
    return found[0].run_id if found else None
