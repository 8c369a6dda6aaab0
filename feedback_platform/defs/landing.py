"""Landing: the shared raw tables, their job and the sensor that starts it. Never part of a dataset's job."""

import time
from collections.abc import Iterator

import dagster as dg

from feedback_platform.compile.verify import misplaced_rows, repeated_ids
from feedback_platform.components.feedback_dataset import RUN_TAGS
from feedback_platform.components.metadata import OWNERS, column_schema
from feedback_platform.components.platform import Platform
from feedback_platform.components.sensors import remembered, request, unfinished_run
from feedback_platform.contracts.raw_tables import RAW_TABLES
from feedback_platform.intake.landing import TABLES, land, oldest_waiting, waiting
from feedback_platform.intake.log import EventLog
from feedback_platform.lake.store import LANDING, Lake
from feedback_platform.stages.triggers import RETRY_SECONDS, decide_on_landing

GROUP = "raw"
POLL_SECONDS = 30


@dg.multi_asset(
    name="land",
    group_name=GROUP,
    specs=[
        dg.AssetSpec(
            contract.name,
            description=contract.description,
            kinds={"sqlite", "deltalake"},
            owners=list(OWNERS),
            code_version="1",
            metadata={"dagster/column_schema": column_schema(contract), "dagster/table_name": contract.name},
        )
        for contract in RAW_TABLES
    ],
    pool="raw_tables",
)
def raw_tables(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
    """Lands everything that the event log holds beyond the raw tables, exactly once."""
    lake = platform.lake()
    with platform.log() as log:
        landed = land(log, lake)
    for done in landed:
        table = lake.table(done.table)
        context.log.info(f"{done.table}: {done.rows:,} rows landed, up to position {done.position:,}")
        yield dg.MaterializeResult(
            asset_key=done.table,
            metadata={
                "dagster/row_count": table.snapshot().rows,
                "dagster/uri": table.folder.as_uri(),
                "dagster/column_schema": column_schema(table.contract),
                "rows added": done.rows,
                "landed up to": done.position,
                "files": len(table.snapshot().files),
            },
        )


def ids_check(table: str) -> dg.AssetChecksDefinition:
    """Exactly once, seen from the table: no id twice."""

    @dg.asset_check(
        asset=table,
        description="No id stands twice among the newest million rows. A failure means that an event was landed twice.",
    )
    def ids_are_unique(platform: Platform) -> dg.AssetCheckResult:
        with platform.engine() as engine:
            rows, repeated = repeated_ids(platform.lake(), table, engine)
        return dg.AssetCheckResult(
            passed=repeated == 0,
            description=f"{repeated:,} of the newest {rows:,} rows repeat an id.",
            metadata={"rows": rows, "repeated": repeated},
        )

    return ids_are_unique


def positions_check(table: str) -> dg.AssetChecksDefinition:
    """Nothing lost between log and table: positions without a gap."""

    @dg.asset_check(
        asset=table,
        description="The newest million log positions are all there, once. A failure means lost or doubled events.",
    )
    def positions_are_gapless(platform: Platform) -> dg.AssetCheckResult:
        with platform.engine() as engine:
            position, wrong = misplaced_rows(platform.lake(), table, engine)
        return dg.AssetCheckResult(
            passed=wrong == 0,
            description=f"{wrong:,} positions up to {position:,} are missing, doubled or beyond the end.",
            metadata={"landed up to": position, "wrong": wrong},
        )

    return positions_are_gapless


raw_checks = [
    *(ids_check(contract.name) for contract in RAW_TABLES),
    *(positions_check(contract.name) for contract in RAW_TABLES),
]

land_events = dg.define_asset_job(
    "land_events",
    selection=dg.AssetSelection.assets(*(contract.name for contract in RAW_TABLES)),
    description="Moves accepted events from the event log into the raw tables.",
    tags=RUN_TAGS,
    executor_def=dg.in_process_executor,
)


@dg.sensor(
    job=land_events,
    minimum_interval_seconds=POLL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Lands once enough accepted events wait in the log, or the oldest has waited long enough.",
)
def landing_sensor(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult:
    """Ticks read the log's heads and the tables' positions, nothing else."""
    settings, lake, now = platform.settings(), platform.lake(), int(time.time())
    if run := unfinished_run(context, land_events.name):
        return dg.SensorResult(skip_reason=f"Run {run[:8]} of {land_events.name} has not ended yet.")
    if not settings.log_path.exists():
        return dg.SensorResult(skip_reason="No event has been accepted yet.")
    with platform.log() as log:
        counts, oldest = waiting(log, lake), _oldest_seconds(log, lake, now)
    decision = decide_on_landing(
        {str(stream): n for stream, n in counts.items()},
        oldest_seconds=oldest,
        land_events=settings.land_events,
        land_seconds=settings.land_seconds,
    )
    if not decision.run:
        return dg.SensorResult(skip_reason=decision.reason)
    asked, positions = remembered(context.cursor), _positions(lake)
    if asked is not None and asked.positions == positions and now - asked.at < RETRY_SECONDS:
        reason = f"{decision.reason} Asked for a run {now - asked.at} s ago that landed nothing: see why it failed."
        return dg.SensorResult(skip_reason=f"{reason} Asks again in {RETRY_SECONDS - now + asked.at} s.")
    return request(context, decision.reason, positions, now, trigger="landing")


def _positions(lake: Lake) -> str:
    return "-".join(str(lake.table(name).transaction(LANDING) or 0) for _, name in TABLES)


def _oldest_seconds(log: EventLog, lake: Lake, now: int) -> float:
    """How long the oldest event that is not landed has waited; 0 when none is."""
    oldest = oldest_waiting(log, lake)
    return 0.0 if oldest is None else max(0.0, now - oldest.timestamp())
