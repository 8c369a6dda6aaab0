"""Reads versions: SQL for a table's state at a window, for the net changes between two, and lazy frames over them.

Engine SQL, like `relations.py`. Files are those of the lake at the moment of the call; a version stays readable because
its change rows are never rewritten, only merged into larger files.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from feedback_platform.compile.manifest import Manifest, ManifestStore, datasets_in
from feedback_platform.compile.relations import current_sql
from feedback_platform.contracts.stage_tables import SAMPLED_DATASET
from feedback_platform.engines.duckdb import BATCH_ROWS, DuckEngine, scan_sql
from feedback_platform.errors import ExportError, NotFoundError
from feedback_platform.lake import deltalog
from feedback_platform.lake.store import Lake
from feedback_platform.settings import Settings, load_settings
from feedback_platform.stages.training_views import feature_type, features_sql, training_view_sql

_WINDOW = re.compile(r"w(\d+)")
CHANGES = ("change", "change_reason")


def table_files(lake: Lake, table: str, dataset: str | None = None, upto: int | None = None) -> list[Path]:
    """Files of a table, without those that only windows after `upto` wrote; none when the table was never made."""
    opened = lake.table(table, dataset)
    if not deltalog.versions(opened.folder):
        return []
    return [f.path for f in opened.snapshot().files if upto is None or _may_hold(f.prefix, upto)]


def changes_sql(lake: Lake, dataset: str, table: str, window: int) -> str:
    """SELECT of all change rows of a dataset's table that windows up to this one wrote."""
    scan = scan_sql(table_files(lake, table, dataset, window), lake.table(table, dataset).contract.columns())
    return f'SELECT * FROM ({scan}) WHERE "window" <= {window}'


def state_sql(lake: Lake, dataset: str, table: str, window: int) -> str:
    """SELECT of a dataset's table as the window left it: the contract's columns, one row per key."""
    contract = lake.table(table, dataset).contract
    content = ", ".join(f'"{c}"' for c in contract.names())
    # Materialised, the payload of every change row would be held at once.
    return (
        f"WITH change_rows AS NOT MATERIALIZED ({changes_sql(lake, dataset, table, window)}) "
        f"SELECT {content} FROM ({current_sql('change_rows', contract)})"
    )


def dataset_sql(lake: Lake, dataset: str, manifest: Manifest) -> str:
    """SELECT of `sampled_dataset` at the manifest's version."""
    return state_sql(lake, dataset, SAMPLED_DATASET.name, manifest.window)


def thresholds_sql(lake: Lake, dataset: str, manifest: Manifest) -> str:
    """SELECT of `sampling_thresholds` at the manifest's version."""
    return state_sql(lake, dataset, "sampling_thresholds", manifest.window)


def dataset_changes_sql(lake: Lake, dataset: str, older: Manifest, newer: Manifest) -> str:
    """SELECT of what changed in `sampled_dataset` between two versions: `change`, `change_reason`, then all columns.

    One row per example whose presence or content differs: `add`, `update` with its content at `newer`, or `remove` with
    its content when it was last in. Reasons of several steps stand in order, separated by `; `. Payload is read only of
    change rows between the two; of older rows only keys and hashes.
    """
    rows = changes_sql(lake, dataset, SAMPLED_DATASET.name, newer.window)
    content = ", ".join(f'l."{c}"' for c in SAMPLED_DATASET.names())
    return f"""
        WITH moved AS NOT MATERIALIZED (SELECT * FROM ({rows}) WHERE "window" > {older.window}),
        spans AS (
          SELECT example_id, min("window") AS first_window, max("window") AS last_window,
            array_to_string(list(op_reason ORDER BY "window"), '; ') AS reasons
          FROM moved GROUP BY example_id
        ),
        begun AS (
          SELECT s.*, f.prev_window AS old_window FROM spans AS s
          JOIN moved AS f ON f.example_id = s.example_id AND f."window" = s.first_window
        ),
        known AS NOT MATERIALIZED (SELECT example_id, "window", row_hash FROM ({rows}) WHERE "window" <= {older.window})
        SELECT
          CASE WHEN l.op = 'remove' THEN 'remove' WHEN b.old_window IS NULL THEN 'add' ELSE 'update' END AS change,
          b.reasons AS change_reason, {content}
        FROM begun AS b
        JOIN moved AS l ON l.example_id = b.example_id AND l."window" = b.last_window
        LEFT JOIN known AS o ON o.example_id = b.example_id AND o."window" = b.old_window
        WHERE CASE WHEN l.op = 'remove' THEN b.old_window IS NOT NULL ELSE l.row_hash IS DISTINCT FROM o.row_hash END
    """


def training_sql(
    lake: Lake,
    manifest: Manifest,
    objective: str,
    connection: duckdb.DuckDBPyConnection,
    *,
    rows: str | None = None,
    extra: tuple[str, ...] = (),
) -> str:
    """SELECT of an objective's training view at a version, features of a classifier typed as `f_*` columns.

    Args:
        rows: other rows of `sampled_dataset` to show than the version's, such as a change set.
        extra: further columns of the rows to pass on.
    """
    whole = dataset_sql(lake, manifest.dataset, manifest)
    features = feature_columns(connection, whole, manifest) if objective == "classification" else {}
    thresholds = f"({thresholds_sql(lake, manifest.dataset, manifest)})"
    shown = f"({rows or whole})"
    return training_view_sql(objective, rows=shown, thresholds=thresholds, features=features, extra=extra)


def feature_columns(connection: duckdb.DuckDBPyConnection, rows: str, manifest: Manifest) -> Mapping[str, str]:
    """Feature name -> DuckDB type over a version's rows, by name; only those that `data.features` lists, if it does.

    Raises:
        ExportError: two names differ only in case, which SQL columns cannot.
    """
    found = {str(key): feature_type(kinds) for key, kinds in connection.execute(features_sql(f"({rows})")).fetchall()}
    wanted = manifest.dataset_policy().data.features
    kept = found if wanted is None else {key: found.get(key, "VARCHAR") for key in wanted}
    folded: dict[str, str] = {}
    for key in kept:
        if (other := folded.setdefault(key.lower(), key)) != key:
            raise ExportError(
                f"features {other!r} and {key!r} differ only in case, and column names may not. "
                "List the features to use in `data.features`."
            )
    return kept


def load_dataset(
    name: str,
    version: int | None = None,
    since: int | None = None,
    objective: str | None = None,
    settings: Settings | None = None,
) -> pl.LazyFrame:
    """A dataset's version as a lazy frame in `example_id` order; see `feedback_platform.load_dataset`."""
    settings = settings or load_settings()
    if name not in datasets_in(settings.lake):
        known = ", ".join(datasets_in(settings.lake)) or "none yet"
        raise NotFoundError(f"dataset {name!r} has not been compiled. Compiled datasets: {known}.")
    lake = Lake(settings.lake)
    store = ManifestStore(lake.dataset_folder(name))
    manifest = store.version(version)
    with DuckEngine(settings.memory_limit, settings.threads) as engine:
        changes = None if since is None else dataset_changes_sql(lake, name, _older(store, since, manifest), manifest)
        if objective is None:
            sql = changes or dataset_sql(lake, name, manifest)
        else:
            extra = () if changes is None else CHANGES
            sql = training_sql(lake, manifest, objective, engine.connection, rows=changes, extra=extra)
        schema = pl.DataFrame(engine.connection.sql(f"SELECT * FROM ({sql}) LIMIT 0").to_arrow_table()).schema
    return _lazy(sql, schema, settings)


def _older(store: ManifestStore, since: int, newer: Manifest) -> Manifest:
    older = store.version(since)
    if older.window > newer.window:
        raise NotFoundError(f"since={since} is later than version {newer.version}. Give `since` an earlier version.")
    return older


def _lazy(sql: str, schema: pl.Schema, settings: Settings) -> pl.LazyFrame:
    def batches(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        picked = "*" if columns is None else ", ".join('"' + c.replace('"', '""') + '"' for c in columns)
        limit = "" if n_rows is None else f" LIMIT {n_rows}"
        text = f"SELECT {picked or 'example_id'} FROM ({sql}) ORDER BY example_id{limit}"
        with DuckEngine(settings.memory_limit, settings.threads) as engine:
            reader: pa.RecordBatchReader = engine.connection.sql(text).to_arrow_reader(batch_size or BATCH_ROWS)
            for batch in reader:
                frame = pl.DataFrame(batch)
                yield frame if predicate is None else frame.filter(predicate)

    return register_io_source(batches, schema=schema)


def _may_hold(prefix: str, upto: int) -> bool:
    """Whether files of this prefix may hold rows of windows up to `upto`; merged files hold several windows'."""
    match = _WINDOW.fullmatch(prefix)
    return match is None or int(match[1]) <= upto
