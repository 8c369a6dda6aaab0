"""Upkeep of a tenant's lake: merges files that no window will touch again, deletes dead ones, writes checkpoints.

Runs beside writers; which files are final is known from the manifests.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from feedback_platform.compile.manifest import CLOSED, ManifestStore, datasets_in
from feedback_platform.compile.snapshots import snapshot_due, take_snapshots
from feedback_platform.contracts.raw_tables import RAW_TABLES
from feedback_platform.contracts.stage_tables import STAGE_TABLES
from feedback_platform.errors import LeaseHeldError
from feedback_platform.lake.locks import exclusive
from feedback_platform.lake.store import Lake, window_prefix
from feedback_platform.lake.table import LakeTable
from feedback_platform.lake.upkeep import Compacted, Vacuumed, checkpoint, compact, vacuum

MIN_FILES = 8


@dataclass(frozen=True, slots=True)
class Tended:
    """What upkeep did to one table."""

    table: str
    compacted: Compacted
    vacuumed: Vacuumed


def tend(lake: Lake, *, now: datetime, memory_limit: str) -> list[Tended]:
    """Compact, checkpoint and vacuum every table of the lake; raw files are final, a window's once it is closed."""
    done = [_tend(c.name, lake.table(c.name), lambda prefix: True, now, memory_limit) for c in RAW_TABLES]
    for dataset in datasets_in(lake.folder):
        store = ManifestStore(lake.dataset_folder(dataset))
        closed = {window_prefix(m.window) for m in store.all() if m.status in CLOSED}
        for contract in STAGE_TABLES:
            table = lake.table(contract.name, dataset)
            done.append(_tend(f"{dataset}/{contract.name}", table, closed.__contains__, now, memory_limit))
        _snapshot(lake, dataset, memory_limit)
        for contract in STAGE_TABLES:  # a snapshot replaces the one before, whose files nobody else deletes
            base = lake.base_table(contract.name, dataset)
            if base.folder.is_dir():
                done.append(
                    _tend(f"{dataset}/_snapshots/{contract.name}", base, lambda prefix: False, now, memory_limit)
                )
    return done


def _snapshot(lake: Lake, dataset: str, memory_limit: str) -> None:
    """A full snapshot when one is due; a dataset that is being compiled gets its own next time."""
    try:
        with exclusive(lake.dataset_folder(dataset) / "_lease.lock", wait_seconds=0, what=f"snapshot {dataset}"):
            window = snapshot_due(ManifestStore(lake.dataset_folder(dataset)), lake, dataset)
            if window is not None:
                take_snapshots(lake, dataset, window, memory_limit=memory_limit)
    except LeaseHeldError:
        return


def _tend(name: str, table: LakeTable, upto: Callable[[str], bool], now: datetime, memory_limit: str) -> Tended:
    merged = compact(table, upto=upto, min_files=MIN_FILES, memory_limit=memory_limit)
    checkpoint(table)
    return Tended(name, merged, vacuum(table, now=now))
