"""Full snapshots of a dataset's tables every so many windows, so that reading the current state stays bounded.

A snapshot holds the current rows after one closed window, each with the window that wrote it. It lies in a Delta table
of its own beside the change rows, which stay whole: history and old versions never need a snapshot.
"""

from feedback_platform.compile.manifest import ManifestStore
from feedback_platform.compile.relations import current_sql, past_sql
from feedback_platform.compile.workspace import LakeWorkspace, bases
from feedback_platform.contracts.stage_tables import STAGE_TABLES
from feedback_platform.engines.duckdb import DuckEngine
from feedback_platform.lake.committer import commit
from feedback_platform.lake.store import Lake, base_prefix

SNAPSHOT = "snapshot"
EVERY = 10


def snapshot_due(store: ManifestStore, lake: Lake, dataset: str, every: int = EVERY) -> int | None:
    """The last closed window, when so many windows were closed since the last snapshot and none is open."""
    last = store.last_closed()
    if last is None or store.open_one() is not None:
        return None
    tables = [lake.base_table(c.name, dataset) for c in STAGE_TABLES]
    taken = min((t.transaction(SNAPSHOT) or 0) if t.folder.is_dir() else 0 for t in tables)
    return last.window if last.window - taken >= every else None


def take_snapshots(lake: Lake, dataset: str, window: int, *, memory_limit: str) -> int:
    """Write the state after a closed window for every table; the caller holds the dataset's lease. Returns rows."""
    rows = 0
    for contract in STAGE_TABLES:
        base = lake.base_table(contract.name, dataset)
        if (base.transaction(SNAPSHOT) or 0) >= window:
            continue
        work = LakeWorkspace(lake, dataset, window + 1)
        columns = ", ".join(
            'CAST(NULL AS BIGINT) AS "prev_window"' if c.name == "prev_window" else f'"{c.name}"'
            for c in contract.columns()
        )
        part = base.staging(base_prefix(window)) / "part-0.parquet"
        with DuckEngine(memory_limit=memory_limit) as engine:
            engine.define("past", past_sql(work, contract, window))
            state = current_sql("past", contract)
            written = engine.copy(contract.name, f"SELECT {columns} FROM ({state})", part)
        older = _newest(lake, contract.name, dataset, window)
        commit(
            base,
            [part] if written else [],
            app=SNAPSHOT,
            txn=window,
            replace_prefix=None if older is None else base_prefix(older),
        )
        base.stagings.end([part.parent])  # without a part the commit does not know of the folder
        rows += written
    return rows


def _newest(lake: Lake, table: str, dataset: str, before: int) -> int | None:
    return max((w for w, _ in bases(lake, table, dataset) if w < before), default=None)
