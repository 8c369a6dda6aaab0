"""What all definitions share: the resource, and one process per run (DuckDB's memory limit holds for a process)."""

import dagster as dg

from feedback_platform.components.platform import RESOURCE, Platform


@dg.definitions
def shared() -> dg.Definitions:
    """Resource and executor."""
    return dg.Definitions(resources={RESOURCE: Platform()}, executor=dg.in_process_executor)
