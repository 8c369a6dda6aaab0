"""Gives an engine the relations that stage SQL may name, over the files of one window's inputs.

Engine SQL, not stage SQL: it speaks DuckDB. Which files count as before and as now comes from a `Workspace`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from feedback_platform.compile.manifest import Manifest
from feedback_platform.contracts.policies import DatasetPolicy, Select
from feedback_platform.contracts.raw_tables import RAW_FEEDBACK, RAW_INFERENCE_LOGS
from feedback_platform.contracts.stage_tables import STAGE_TABLES
from feedback_platform.contracts.table import TableContract
from feedback_platform.engines.duckdb import DuckEngine, quoted, scan_sql


class Files(Protocol):
    """Where a window's inputs are."""

    def raw(self, table: str) -> Sequence[Path]:
        """Files of a shared table."""
        ...

    def before(self, table: str) -> Sequence[Path]:
        """Files of a dataset's table as it was before the window."""
        ...

    def base(self, table: str) -> tuple[int, Sequence[Path]]:
        """The newest snapshot before the window: the window it was taken after, and its files; (0, []) for none."""
        ...

    def now(self, table: str) -> Sequence[Path]:
        """Files that the window has written to a table so far."""
        ...


def define_relations(engine: DuckEngine, files: Files, manifest: Manifest, policy: DatasetPolicy) -> None:
    """Every relation that stage SQL may name; each is made only when named."""
    _define_raw(engine, files, manifest, policy)
    for contract in STAGE_TABLES:
        _define_table(engine, files, contract, manifest.window, recompile=manifest.recompile)


def _define_raw(engine: DuckEngine, files: Files, manifest: Manifest, policy: DatasetPolicy) -> None:
    since = (0, 0) if manifest.recompile else (manifest.prev_cuts.inference, manifest.prev_cuts.feedback)
    selected = selection_sql(policy.select)
    inferences = list(files.raw("raw_inference_logs"))
    scan = scan_sql(inferences, RAW_INFERENCE_LOGS.columns())
    cut = f"log_seq <= {manifest.cuts.inference}"
    engine.define("inferences", f"SELECT *, {selected} AS is_selected FROM ({scan}) WHERE {cut}")
    engine.define("new_inferences", f"SELECT * FROM inferences WHERE log_seq > {since[0]}")
    engine.define("wanted_inferences", lambda: _wanted_sql(engine, inferences, cut, selected))
    feedback = scan_sql(list(files.raw("raw_feedback")), RAW_FEEDBACK.columns())
    engine.define("feedback", f"SELECT * FROM ({feedback}) WHERE log_seq <= {manifest.cuts.feedback}")
    engine.define("new_feedback", f"SELECT * FROM feedback WHERE log_seq > {since[1]}")


def _wanted_sql(engine: DuckEngine, paths: Sequence[Path], cut: str, selected: str) -> str:
    """Payload of the requests in step `wanted`, from only the files that hold one of them: keys first, then payload."""
    hit: list[Path] = []
    if paths:
        listed = ", ".join(quoted(str(p)) for p in paths)
        rows = engine.rows(
            f"SELECT DISTINCT filename FROM read_parquet([{listed}], filename = true, union_by_name = true) "
            f"WHERE {cut} AND request_id IN (SELECT request_id FROM wanted)"
        )
        hit = [Path(str(row[0])) for row in rows]
    scan = scan_sql(sorted(hit), RAW_INFERENCE_LOGS.columns())
    return (
        f"SELECT *, {selected} AS is_selected FROM ({scan}) "
        f"WHERE {cut} AND request_id IN (SELECT request_id FROM wanted)"
    )


def _define_table(engine: DuckEngine, files: Files, contract: TableContract, upto: int, *, recompile: bool) -> None:
    name, key = contract.name, ", ".join(contract.key)
    match = " AND ".join(f"n.{k} = b.{k}" for k in contract.key)
    content = ", ".join(f'"{c}"' for c in contract.names())
    engine.define(f"{name}__past", lambda: past_sql(files, contract, upto))
    every = scan_sql(files.before(name), contract.columns())
    engine.define(f"{name}_history", f'SELECT *, "window" AS written_in FROM ({every}) WHERE "window" <= {upto}')
    engine.define(f"{name}__now", lambda: scan_sql(files.now(name), contract.columns()))
    engine.define(f"{name}__before", lambda: current_sql(f"{name}__past", contract, bool(files.before(name))))
    engine.define(f"{name}_before", f'SELECT {content}, "window" FROM {name}__before')
    replaced = f"SELECT {key} FROM {name}__now AS n WHERE n.prev_window IS NOT NULL AND {match}"
    engine.define(f"{name}_old", f"SELECT {content} FROM {name}__before AS b WHERE EXISTS ({replaced})")
    made = f"SELECT {content} FROM {name}__now WHERE op <> 'remove'"
    if files.before(name):
        stayed = f"SELECT {content} FROM {name}__before AS b WHERE NOT EXISTS ({replaced})"
        engine.define(name, lambda: f"{stayed} UNION ALL {made}" if files.now(name) else stayed)
    else:
        engine.define(name, made)
    engine.define(f"{name}_new", f"SELECT * FROM {name}" if recompile else made)


def past_sql(files: Files, contract: TableContract, upto: int) -> str:
    """Change rows before the window that its state needs: the newest snapshot and what came after it.

    Merged files hold rows of many windows, of later ones too once those are closed: `upto` leaves these out.
    """
    window, snapshot = files.base(contract.name)
    changes = scan_sql(files.before(contract.name), contract.columns())
    if not snapshot:
        return f'SELECT * FROM ({changes}) WHERE "window" <= {upto}'
    later = f'SELECT * FROM ({changes}) WHERE "window" > {window} AND "window" <= {upto}'
    return f"{scan_sql(snapshot, contract.columns())} UNION ALL {later}"


def current_sql(changes: str, contract: TableContract, nonempty: bool = True) -> str:
    """Current state from change rows: every row that no later change names as the one it replaces."""
    if not nonempty:
        return f"SELECT * FROM {changes}"
    match = " AND ".join(f"g.{k} = c.{k}" for k in contract.key)
    return (
        f"SELECT * FROM {changes} AS c WHERE c.op <> 'remove' AND NOT EXISTS "
        f'(SELECT 1 FROM {changes} AS g WHERE g.prev_window IS NOT NULL AND g.prev_window = c."window" AND {match})'
    )


def selection_sql(select: Select) -> str:
    """The policy's selection as a condition over inference columns; true where nothing is asked."""
    lists = {
        "model": select.models,
        "model_version": select.versions,
        "task": select.tasks,
        "environment": select.environments,
        "variant": select.variants,
    }
    terms = [
        f"coalesce({c} IN ({', '.join(quoted(v) for v in values)}), false)" for c, values in lists.items() if values
    ]
    for name, values in sorted(select.segments.items()):
        path = quoted("$." + json.dumps(name))
        terms.append(f"coalesce(json_extract_string(segments, {path}) IN ({', '.join(map(quoted, values))}), false)")
    if select.where:
        terms.append(f"coalesce(({select.where}), false)")
    return " AND ".join(terms) or "true"
