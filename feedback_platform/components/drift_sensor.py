"""The drift sensor of a dataset: counts feedback rates, holds them against the last version's, tells or compiles.

Its whole memory is a small JSON in the cursor: reference, evidence, and whether this reference's drift was told.
"""

import time
from dataclasses import replace
from typing import Any

import dagster as dg
import msgspec

from feedback_platform.compile.drift import RateCount, Reference, count_since, measure_reference
from feedback_platform.compile.manifest import Manifest
from feedback_platform.compile.window import Compiler
from feedback_platform.components.assets import TRIGGER_TAG, asset_key
from feedback_platform.components.platform import Platform
from feedback_platform.components.sensors import unfinished_run
from feedback_platform.contracts.policies import DatasetPolicy
from feedback_platform.stages.drift import (
    Watch,
    is_drift,
    look,
    looks_per_false_alarm,
    shift,
    strongest,
    tolerated,
)

LOOK_SECONDS = 600
FEWEST_NEW = 30


class Memory(msgspec.Struct, frozen=True):
    """The cursor. `landed`: positions at the last look; `upto`: event time counted so far; `told`: the alarm."""

    window: int
    reference: Reference | None
    landed: tuple[int, int] = (0, 0)
    upto: int = 0
    watch: Watch = Watch(evidence=-1e308)  # JSON knows no infinity
    told: str | None = None


def drift_sensor(policy: DatasetPolicy, job: Any) -> dg.SensorDefinition:
    """Watches the feedback rate; an alarm is significant and larger than `drift.effect`, and comes once per version."""

    @dg.sensor(
        name=f"{policy.name}_drift_sensor",
        job=job,
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Compares the share of inferences that get feedback with that of the last version of "
        f"{policy.name}; at most {policy.drift.false_alarms} false alarms, effect {policy.drift.effect} (Cohen's h). "
        f"An alarm makes it {policy.drift.action}.",
    )
    def sensor(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult:
        compiler = platform.compiler(policy)
        versions = compiler.store.versions()
        if not versions:
            return dg.SensorResult(skip_reason="No version is published yet, so there is no rate to compare with.")
        memory = _recall(context.cursor, compiler, versions[-1])
        memory, reason, alarm = observe(memory, compiler, versions[-1])
        if alarm and policy.drift.action == "compile" and unfinished_run(context, job.name):
            return dg.SensorResult(skip_reason=f"{reason} A run is under way already; asks again afterwards.")
        cursor = msgspec.json.encode(memory).decode()
        if not alarm:
            return dg.SensorResult(skip_reason=reason, cursor=cursor)
        return _answer(context, policy, memory, reason, cursor)

    return sensor


def observe(memory: Memory, compiler: Compiler, version: Manifest) -> tuple[Memory, str, bool]:
    """One look: the new memory, what there is to say, and whether it is an alarm."""
    reference, landed = memory.reference, compiler.lake.landed()
    if reference is None:
        return memory, f"Version {version.version} saw too little feedback to set a rate.", False
    if memory.told:
        return memory, f"Told already, waiting for the next version: {memory.told}", False
    if landed == memory.landed:
        return memory, f"Nothing has landed since the last look. {_said(memory)}", False
    counted = count_since(compiler, version, reference, memory.upto)
    if counted.n < FEWEST_NEW:
        return memory, f"{counted.n} of {FEWEST_NEW} new inferences are old enough to judge. {_said(memory)}", False
    memory = replace_memory(memory, landed, counted, compiler.policy.drift.effect)
    allowed = looks_per_false_alarm(compiler.policy.drift.false_alarms, LOOK_SECONDS)
    if not is_drift(memory.watch, allowed):
        return memory, f"No drift. {_said(memory)}", False
    reason = _alarm(memory, version, reference, compiler.policy.drift.effect)
    return msgspec.structs.replace(memory, told=reason), reason, True


def replace_memory(memory: Memory, landed: tuple[int, int], counted: RateCount, effect: float) -> Memory:
    """The memory after a look at these counts."""
    assert memory.reference is not None
    watch = look(memory.watch, counted.n, counted.k, tolerated(memory.reference.n, memory.reference.k, effect))
    watch = replace(watch, evidence=max(watch.evidence, -1e308))
    return msgspec.structs.replace(memory, landed=landed, upto=counted.upto, watch=watch)


def _recall(cursor: str | None, compiler: Compiler, version: Manifest) -> Memory:
    """The cursor's memory; a new one when a version was published since."""
    memory = msgspec.json.decode(cursor, type=Memory) if cursor else None
    if memory is not None and memory.window == version.window:
        return memory
    reference = measure_reference(compiler, version)
    return Memory(version.window, reference, upto=0 if reference is None else reference.upto)


def _answer(
    context: dg.SensorEvaluationContext, policy: DatasetPolicy, memory: Memory, reason: str, cursor: str
) -> dg.SensorResult:
    context.log.warning(reason)
    watch = memory.watch
    told = dg.AssetObservation(
        asset_key=asset_key(policy.name, "feedback_events"),
        description=reason,
        metadata={"drift": "feedback_rate", "inferences": watch.n, "with feedback": watch.k, "looks": watch.looks},
    )
    if policy.drift.action == "notify":
        return dg.SensorResult(skip_reason=reason, cursor=cursor, asset_events=[told])
    run = dg.RunRequest(run_key=f"drift:{memory.window}:{int(time.time())}", tags={TRIGGER_TAG: "drift"})
    return dg.SensorResult(run_requests=[run], cursor=cursor, asset_events=[told])


def _alarm(memory: Memory, version: Manifest, reference: Reference, effect: float) -> str:
    n, k = strongest(memory.watch, tolerated(reference.n, reference.k, effect))
    moved = shift(n, k, reference.n, reference.k)
    return (
        f"The feedback rate has moved: {k / n:.1%} of the last {n:,} inferences that are old enough, "
        f"{reference.k / reference.n:.1%} in version {version.version} (Cohen's h {moved:+.2f}, floor {effect})."
    )


def _said(memory: Memory) -> str:
    watch, reference = memory.watch, memory.reference
    if watch.n == 0 or reference is None:
        return "Nothing counted yet."
    return f"{watch.k / watch.n:.1%} of {watch.n:,} inferences, {reference.k / reference.n:.1%} in the reference."
