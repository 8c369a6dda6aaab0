"""What the UI shows of a table: column schema and lineage from its contract, numbers from what a step did."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from feedback_platform.compile.manifest import Manifest
from feedback_platform.compile.steps import StepResult
from feedback_platform.contracts.table import Column, TableContract
from feedback_platform.lake.table import LakeTable

OWNERS = ("team:ml_platform",)
TABLE_KINDS = frozenset({"duckdb", "deltalake"})
Metadata = dict[str, Any]
Input = tuple[dg.AssetKey, TableContract]


def column_schema(contract: TableContract) -> dg.TableSchema:
    """The contract's columns as the UI's schema table."""
    return dg.TableSchema(columns=[_column(c, contract) for c in contract.content()])


def column_lineage(contract: TableContract, inputs: Sequence[Input]) -> dg.TableColumnLineage:
    """Columns that pass under their own name from the nearest input that has them."""
    deps: dict[str, list[dg.TableColumnDep]] = {}
    for key, source in inputs:
        for name in set(source.names()) & set(contract.names()):
            deps[name] = [dg.TableColumnDep(asset_key=key, column_name=name)]
    return dg.TableColumnLineage(deps_by_column={name: deps[name] for name in contract.names() if name in deps})


def table_metadata(result: StepResult, table: LakeTable) -> Metadata:
    """Numbers of a step: rows become a chart, the rest says what moved and what it cost."""
    base: Metadata = {
        "note": result.note,
        "dagster/uri": table.folder.as_uri(),
        "dagster/column_schema": column_schema(table.contract),
    }
    if result.window is None or result.change is None:
        return {"window": "none", **base}
    change = result.change
    return {
        **window_metadata(result.window),
        **base,
        "dagster/row_count": result.rows,
        "rows added": change.added,
        "rows updated": change.updated,
        "rows removed": change.removed,
        "bytes written": change.bytes_written,
        "seconds": change.seconds,
    }


def window_metadata(window: Manifest) -> Metadata:
    """What the window saw."""
    return {
        "window": window.window,
        "trigger": window.trigger,
        "inferences up to": window.cuts.inference,
        "feedback up to": window.cuts.feedback,
        "watermark": dg.MetadataValue.timestamp(datetime.fromtimestamp(window.watermark / 1e6, UTC)),
    }


def version_metadata(result: StepResult) -> Metadata:
    """What a publication made."""
    window = result.window
    if window is None:
        return {"window": "none", "note": result.note}
    version: Metadata = {} if window.version is None else {"version": window.version}
    return {
        **window_metadata(window),
        **version,
        "note": result.note,
        "status": window.status,
        "dagster/row_count": result.rows,
        "rows by objective": counts_table("objective", window.rows),
        "changes": counts_table("change", window.changes),
        "inferences by state": counts_table("state", _states(window, "inference")),
        "feedback by state": counts_table("state", _states(window, "feedback")),
        "state hash": window.state_hash,
        "change hash": window.change_hash,
        "config hash": window.config_hash,
    }


def counts_table(name: str, counts: Mapping[str, int]) -> dg.TableMetadataValue:
    """Counts as a small table, largest first."""
    schema = dg.TableSchema(columns=[dg.TableColumn(name, "string"), dg.TableColumn("count", "int")])
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dg.MetadataValue.table([dg.TableRecord({name: key, "count": n}) for key, n in ranked], schema)


def _column(column: Column, contract: TableContract) -> dg.TableColumn:
    rules = [f"{rule} {', '.join(str(v) for _, v in given)}" for rule, given in column.checks]
    as_of = [] if column.as_of is None else [f"as of the {column.as_of}"]
    return dg.TableColumn(
        column.name,
        column.duckdb_type.lower(),
        description=column.description,
        constraints=dg.TableColumnConstraints(
            nullable=column.nullable, unique=contract.key == (column.name,), other=[*rules, *as_of]
        ),
    )


def _states(window: Manifest, stream: str) -> Mapping[str, int]:
    states: Mapping[str, int] = window.ledger.get(stream, {}).get("states", {})
    return states
