"""Upkeep: one job, once a day. Merges small files, deletes dead ones, writes checkpoints, prunes the landed log."""

from datetime import UTC, datetime

import dagster as dg

from feedback_platform.compile.upkeep import tend
from feedback_platform.compile.warehouse import rebuild_warehouse
from feedback_platform.components.feedback_dataset import RUN_TAGS
from feedback_platform.components.platform import Platform
from feedback_platform.intake.landing import prune, retention_limit


@dg.op(description="Compact, checkpoint and vacuum every table; files of an open window are left alone.")
def tend_tables(context: dg.OpExecutionContext, platform: Platform) -> None:
    """Metadata: files merged, files deleted."""
    settings, lake = platform.settings(), platform.lake()
    tended = tend(lake, now=datetime.now(UTC), memory_limit=settings.memory_limit)
    merged, deleted = sum(t.compacted.merged for t in tended), sum(t.vacuumed.files for t in tended)
    if merged:
        rebuild_warehouse(settings, lake)  # it names files
    context.log.info(f"{len(tended)} tables: {merged} files merged, {deleted} dead files deleted")
    context.add_output_metadata({"tables": len(tended), "files merged": merged, "files deleted": deleted})


@dg.op(ins={"after": dg.In(dg.Nothing)}, description="Delete landed entries from the event log, once read back.")
def prune_log(context: dg.OpExecutionContext, platform: Platform) -> None:
    """Metadata: entries deleted."""
    settings = platform.settings()
    with platform.log() as log:
        pruned = prune(log, platform.lake(), retention_limit(datetime.now(UTC), settings.log_retention_days))
    context.log.info(f"{pruned:,} entries older than {settings.log_retention_days} days pruned")
    context.add_output_metadata({"entries pruned": pruned})


@dg.job(
    tags=RUN_TAGS,
    executor_def=dg.in_process_executor,
    description="Keeps tables quick and the event log short. Changes no row and no version.",
)
def upkeep() -> None:
    """Tables first: pruning reads them."""
    prune_log(after=tend_tables())


upkeep_schedule = dg.ScheduleDefinition(
    name="daily_upkeep_schedule",
    job=upkeep,
    cron_schedule="30 3 * * *",
    description="Upkeep once a day, in the small hours.",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
