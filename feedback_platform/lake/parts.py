"""What a parquet part file holds, judged before it may join a table: schema, rows, statistics, row rules.

Reads files; changes nothing.
"""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import duckdb
import pandera.errors
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from feedback_platform.contracts.table import TableContract
from feedback_platform.errors import ContractViolation

_MEMORY = "1GB"
_SAMPLE_ROWS = 20


@dataclass(frozen=True, slots=True)
class Part:
    """A part file's facts, from its footer.

    Attributes:
        path: absolute path.
        rows: number of rows.
        bytes: size on disk.
        stats: Delta statistics as JSON: rows, and minima, maxima and null counts of the contract's `stats`
            columns.
        complete: columns known to hold no null, from the footer.
    """

    path: Path
    rows: int
    bytes: int
    stats: str
    complete: frozenset[str]


def inspect(path: Path, contract: TableContract) -> Part:
    """Read a part's footer and compare its schema with the contract's.

    Raises:
        ContractViolation: it is not parquet, or names, order or types of its columns differ.
    """
    try:
        with pq.ParquetFile(path) as file:
            schema, meta = file.schema_arrow, file.metadata
    except (OSError, pa.ArrowInvalid) as e:
        raise ContractViolation(f"{contract.name}: {path} is not a readable parquet file ({e}). Write it again.") from e
    _compare(schema, contract, path)
    nulls, lows, highs = _bounds(meta)
    kept = [c for c in contract.stats if c in lows]
    stats = {
        "numRecords": meta.num_rows,
        "minValues": {c: _json_value(lows[c]) for c in kept},
        "maxValues": {c: _json_value(highs[c]) for c in kept},
        "nullCount": {c: nulls[c] for c in contract.stats if c in nulls},
    }
    complete = frozenset(c for c, n in nulls.items() if n == 0)
    return Part(path, meta.num_rows, path.stat().st_size, json.dumps(stats), complete)


def check_rows(parts: Sequence[Part], contract: TableContract) -> None:
    """Hold every row against the contract's rules: one aggregate query, streamed.

    Raises:
        ContractViolation: names the rule, how many rows break it, one row's key, and Pandera's view of a
            sample.
    """
    complete = frozenset.intersection(*(p.complete for p in parts)) if parts else frozenset()
    skip = {f"{c}: not null" for c in complete}
    faults = {rule: sql for rule, sql in contract.row_faults_sql().items() if rule not in skip}
    if not parts or not faults:
        return
    cursor = engine()
    files = [str(p.path) for p in parts]
    tallies = ", ".join(f"count(*) FILTER (WHERE {sql})" for sql in faults.values())
    [counts] = cursor.execute(f"SELECT {tallies} FROM read_parquet(?)", [files]).fetchall()
    broken = {rule: n for rule, n in zip(faults, counts, strict=True) if n}
    if broken:
        raise ContractViolation(_complaint(cursor, files, contract, faults, broken))


def differences(found: pa.Schema, wanted: pa.Schema) -> list[str]:
    """Differences by column name that matter; nullability, list element names and string widths do not."""
    have = {f.name: _plain(f.type) for f in found}
    want = {f.name: _plain(f.type) for f in wanted}
    return [
        *(f"`{n}` is missing" for n in want if n not in have),
        *(f"`{n}` is not in the contract" for n in have if n not in want),
        *(f"`{n}` is {have[n]}, not {t}" for n, t in want.items() if n in have and not have[n].equals(t)),
    ]


def engine(memory_limit: str = _MEMORY) -> duckdb.DuckDBPyConnection:
    """A cursor on this process's small DuckDB; it spills to the system's temporary folder."""
    return _database(os.getpid(), memory_limit).cursor()


@lru_cache(maxsize=2)
def _database(_process: int, memory_limit: str) -> duckdb.DuckDBPyConnection:
    # Opening one costs as much as a commit. The process id is in the key: a forked child must not share it.
    spill = str(Path(tempfile.gettempdir()) / f"feedback_lake_{os.getpid()}")
    return duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": spill})


def _compare(schema: pa.Schema, contract: TableContract, path: Path) -> None:
    wanted = contract.arrow_schema()
    faults = differences(schema, wanted)
    if not faults and schema.names != wanted.names:
        faults = [f"the order of columns is {schema.names}, not {wanted.names}"]
    if faults:
        raise ContractViolation(
            f"{contract.name}: the columns of {path} break the contract: {'; '.join(faults)}. "
            "Cast and order the columns as the contract has them, or change the contract and run `alter`."
        )


def _plain(kind: pa.DataType) -> pa.DataType:
    """The logical type without the spellings that writers choose freely."""
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.json":
        return pa.string()  # DuckDB's JSON is text with a note
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return pa.list_(pa.field("element", _plain(kind.value_type)))
    if pa.types.is_timestamp(kind) and kind.tz in ("UTC", "Etc/UTC", "+00:00", "Z"):
        return pa.timestamp(kind.unit, tz="UTC")
    return kind


def _bounds(meta: pq.FileMetaData) -> tuple[dict[str, int], dict[str, object], dict[str, object]]:
    """Null count, minimum and maximum per flat column, where every row group states them."""
    nulls: dict[str, int] = {}
    lows: dict[str, object] = {}
    highs: dict[str, object] = {}
    groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
    for index in range(meta.num_columns):
        name = meta.schema.column(index).path
        if "." in name:
            continue
        stats = [g.column(index).statistics for g in groups]
        if all(s is not None and s.has_null_count for s in stats):
            nulls[name] = sum(s.null_count for s in stats)
        valued = [s for s in stats if s is None or s.has_min_max or s.null_count is None or s.num_values]
        if valued and all(s is not None and s.has_min_max for s in valued):
            lows[name] = min(s.min for s in valued)
            highs[name] = max(s.max for s in valued)
    return nulls, lows, highs


def _json_value(value: object) -> object:
    if hasattr(value, "isoformat"):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return value


def _complaint(
    cursor: duckdb.DuckDBPyConnection,
    files: list[str],
    contract: TableContract,
    faults: dict[str, str],
    broken: dict[str, int],
) -> str:
    worst = max(broken, key=lambda rule: broken[rule])
    query = f"SELECT * FROM read_parquet(?) WHERE {faults[worst]} LIMIT {_SAMPLE_ROWS}"
    sample = pl.DataFrame(cursor.sql(query, params=[files]).to_arrow_table()).cast(pl.Schema(contract.polars_schema()))
    key = {c: sample[c][0] for c in contract.key if c in sample.columns}
    others = [f"{rule} ({n})" for rule, n in broken.items() if rule != worst]
    return (
        f"{contract.name}: {broken[worst]} row(s) break `{worst}`, for one {key}"
        + (f"; also broken: {', '.join(others)}" if others else "")
        + f". {_pandera_says(sample, contract)}Nothing was committed; correct what wrote the rows."
    )


def _pandera_says(sample: pl.DataFrame, contract: TableContract) -> str:
    """Pandera's first findings on the sample, or nothing when the rule concerns bookkeeping columns."""
    try:
        contract.model.validate(sample.select(contract.names()), lazy=True)
    except pandera.errors.SchemaErrors as e:
        cases = e.failure_cases.select("column", "check", "failure_case").unique(maintain_order=True).head(3)
        told = (f"{c['column']} {c['check']} (found {str(c['failure_case'])[:60]})" for c in cases.to_dicts())
        return f"Pandera: {'; '.join(told)}. "
    return ""
