"""One mechanism for every stage: touched keys -> state of those units -> difference to the state before -> change rows.

A recompile is the same with all keys, a rebuild the same on an empty lake.
"""

import time
from functools import partial
from pathlib import Path

import polars as pl

from feedback_platform.compile.manifest import Manifest, TableStep
from feedback_platform.compile.relations import define_relations
from feedback_platform.compile.workspace import Workspace
from feedback_platform.contracts.policies import DatasetPolicy
from feedback_platform.contracts.table import TableContract
from feedback_platform.engines.duckdb import DuckEngine
from feedback_platform.stages.stage import Batch, Stage

NOTHING = TableStep(added=0, updated=0, removed=0, bytes_written=0, seconds=0.0)


def advance(stage: Stage, manifest: Manifest, workspace: Workspace, engine: DuckEngine) -> TableStep:
    """Bring one table to the manifest's window; does nothing when it is there already.

    The engine must be fresh: steps become its tables.
    """
    started = time.perf_counter()
    policy = manifest.dataset_policy()
    name = stage.table.name
    if not workspace.is_done(name):
        engine.params = {"watermark": manifest.watermark, **stage.params(policy)}
        define_relations(engine, workspace, manifest, policy)
        for relation, frame in stage.frames(policy).items():
            engine.define_frame(relation, frame)
        _run_steps(stage, manifest, engine)
        changes = changes_sql(stage, manifest, has_past=bool(workspace.before(name)))
        size = workspace.write(name, lambda part: engine.copy(name, changes, part))
    else:
        size = 0
    counts = change_counts(workspace, stage.table, engine)
    return TableStep(
        added=counts.get("add", 0),
        updated=counts.get("update", 0),
        removed=counts.get("remove", 0),
        bytes_written=size,
        seconds=round(time.perf_counter() - started, 3),
    )


def _run_steps(stage: Stage, manifest: Manifest, engine: DuckEngine) -> None:
    policy = manifest.dataset_policy()
    for name, step in stage.sql.items():
        batch, text = stage.batches.get(name), step.sql
        if name == "touched" and manifest.recompile and stage.unit:
            text = f"{text} UNION SELECT {stage.unit} FROM {stage.table.name}_before"
        mapped = None if batch is None else partial(_apply, batch, policy)
        if mapped is not None and step.is_view:
            engine.stream_into(name, text, mapped)
        elif step.is_view:
            engine.define(name, text)
        else:
            engine.create(name, text, mapped)


def _apply(batch: Batch, policy: DatasetPolicy, rows: pl.DataFrame) -> pl.DataFrame:
    return batch(rows, policy)


def changes_sql(stage: Stage, manifest: Manifest, *, has_past: bool) -> str:
    """Change rows: the body's rows that are new, differ from the state before, or are no longer made."""
    contract, window = stage.table, manifest.window
    columns = contract.names()
    typed = ", ".join(f'CAST("{c.name}" AS {c.duckdb_type}) AS "{c.name}"' for c in contract.content())
    if not has_past:
        return (
            f"SELECT CAST({window} AS BIGINT) AS \"window\", 'add' AS op, 'new' AS op_reason, "
            f"CAST(NULL AS BIGINT) AS prev_window, {typed} FROM body"
        )
    unit = f"WHERE {stage.unit} IN (SELECT {stage.unit} FROM touched)" if stage.unit else ""
    key = contract.key[0]
    compared = [c for c in columns if c not in (*contract.key, "row_hash")]
    changed = ", ".join(f'CASE WHEN n."{c}" IS DISTINCT FROM o."{c}" THEN \'{c}\' END' for c in compared)
    updated = f"'policy_changed: ' || concat_ws(',', {changed})" if manifest.recompile else f"concat_ws(',', {changed})"
    added, removed = ("'policy_changed'", "'policy_changed'") if manifest.recompile else ("'new'", "'gone'")
    gone = f"coalesce(r.reason, {removed})"
    reasons = (
        "reasons" if "reasons" in stage.sql else f"(SELECT NULL::VARCHAR AS {key}, NULL::VARCHAR AS reason WHERE false)"
    )
    picked = ", ".join(f'CASE WHEN n."{key}" IS NULL THEN o."{c}" ELSE n."{c}" END AS "{c}"' for c in columns)
    return f"""
        SELECT CAST({window} AS BIGINT) AS "window",
          CASE WHEN o."{key}" IS NULL THEN 'add' WHEN n."{key}" IS NULL THEN 'remove' ELSE 'update' END AS op,
          CASE WHEN o."{key}" IS NULL THEN {added} WHEN n."{key}" IS NULL THEN {gone} ELSE {updated} END AS op_reason,
          o."window" AS prev_window, {picked}
        FROM (SELECT {typed} FROM body) AS n
        FULL JOIN (SELECT * FROM {contract.name}_before {unit}) AS o ON o."{key}" = n."{key}"
        LEFT JOIN {reasons} AS r ON r."{key}" = o."{key}"
        WHERE n."{key}" IS NULL OR o."{key}" IS NULL
          OR {" OR ".join(f'n."{c}" IS DISTINCT FROM o."{c}"' for c in compared)}
    """


def change_counts(workspace: Workspace, contract: TableContract, engine: DuckEngine) -> dict[str, int]:
    """How many rows the window added, updated and removed."""
    paths: list[Path] = list(workspace.now(contract.name))
    if not paths:
        return {}
    listed = ", ".join(f"'{p}'" for p in paths)
    rows = engine.connection.execute(f"SELECT op, count(*) FROM read_parquet([{listed}]) GROUP BY op").fetchall()
    return {str(op): int(n) for op, n in rows}
