"""The analysts' warehouse: one small DuckDB file of documented views and macros over the lake's files, and no data.

Views name files by absolute path, so the file serves the machine whose lake it is. It is made beside and renamed over:
whoever has the old one open goes on reading the files it names (kept for days after a compaction), whoever opens it
next sees the new one. Tables show the state at the last closed window, `sampled_dataset` and `train_*` the newest
version that is not yanked.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import msgspec

from feedback_platform.compile.manifest import Manifest, ManifestStore, datasets_in
from feedback_platform.compile.reading import changes_sql, state_sql, table_files
from feedback_platform.compile.relations import current_sql
from feedback_platform.contracts.raw_tables import RAW_TABLES
from feedback_platform.contracts.stage_tables import SAMPLED_DATASET, STAGE_TABLES
from feedback_platform.contracts.table import Column, TableContract
from feedback_platform.engines.duckdb import quoted, scan_sql
from feedback_platform.lake.files import fsync_dir, fsync_file, make_folder
from feedback_platform.lake.locks import exclusive
from feedback_platform.lake.store import Lake
from feedback_platform.settings import Settings
from feedback_platform.stages.training_views import (
    COLUMN_DESCRIPTIONS,
    VIEW_DESCRIPTIONS,
    VIEWS,
    training_columns,
    training_view_sql,
)

STORAGE_VERSION = "v1.5.0"  # what DuckDB 2 writes by default, 1.5 cannot open
_LOCK_SECONDS = 60.0
_VERSION_COLUMNS: Mapping[str, tuple[str, str]] = {
    "version": ("BIGINT", "number of the version"),
    "window": ("BIGINT", "compilation window that made it"),
    "published_at": ("TIMESTAMPTZ", "when it was published"),
    "trigger": ("VARCHAR", "what started the compilation"),
    "rows": ("VARCHAR", "JSON: examples it holds"),
    "changes": ("VARCHAR", "JSON: examples added, updated and removed since the version before"),
    "change_hash": ("VARCHAR", "hash over its changes"),
    "state_hash": ("VARCHAR", "hash over its examples"),
    "config_hash": ("VARCHAR", "hash of the policy it was compiled under"),
    "inference_position": ("BIGINT", "last position of the inference log that it has seen"),
    "feedback_position": ("BIGINT", "last position of the feedback log that it has seen"),
    "yanked": ("VARCHAR", "why it should no longer be used; null for a good version"),
}
_REVIEW_COLUMNS: Mapping[str, str] = {
    "subject": "feedback: a judgement in doubt; example: a label in doubt",
    "subject_id": "pair_id or example_id",
    "request_id": "the inference judged",
    "feedback_id": "the feedback in doubt",
    "objective": "what the example would train",
    "criterion": "criterion judged",
    "reasons": "why a person should look",
    "review_until": "when waiting ends, in event time",
}


def rebuild_warehouse(settings: Settings, lake: Lake) -> Path:
    """Write `warehouse.duckdb` anew from the lake as it is, and return its path.

    Raises:
        LeaseHeldError: another process has been rebuilding it for a minute.
    """
    target = settings.warehouse
    make_folder(target.parent)
    with exclusive(target.with_name(".warehouse.lock"), wait_seconds=_LOCK_SECONDS, what="rebuild the warehouse"):
        beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        log = beside.with_name(beside.name + ".wal")
        try:
            for stale in (beside, log):
                stale.unlink(missing_ok=True)
            _write(beside, lake)
            fsync_file(beside)
            beside.replace(target)
            fsync_dir(target.parent)
        finally:
            for left in (beside, log):
                left.unlink(missing_ok=True)
    return target


def _write(path: Path, lake: Lake) -> None:
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"ATTACH {quoted(str(path))} AS warehouse (STORAGE_VERSION '{STORAGE_VERSION}')")
        connection.execute("USE warehouse; BEGIN")
        for statement in _statements(lake):
            connection.execute(statement)
        connection.execute("COMMIT; USE memory; DETACH warehouse")


def _statements(lake: Lake) -> Iterator[str]:
    for contract in RAW_TABLES:
        scan = scan_sql(table_files(lake, contract.name), contract.columns())
        yield from _view("main", contract.name, scan, contract.description, _described(contract.columns()))
    for dataset in datasets_in(lake.folder):
        yield from _dataset(lake, dataset)


def _dataset(lake: Lake, dataset: str) -> Iterator[str]:
    store = ManifestStore(lake.dataset_folder(dataset))
    published = store.versions()
    latest = next((m for m in reversed(published) if m.yanked is None), None)
    # A window that is being published has its number for good, and is not closed yet.
    window = max([m.window for m in (store.last_closed(), *published) if m is not None], default=0)
    yield f'CREATE SCHEMA IF NOT EXISTS "{dataset}"'
    yield from _versions(dataset, published)
    for contract in STAGE_TABLES:
        yield from _table(lake, dataset, contract, window)
    yield from _sampled_dataset(lake, dataset, latest, window)
    yield from _review_queue(dataset)


def _table(lake: Lake, dataset: str, contract: TableContract, window: int) -> Iterator[str]:
    """A stage table's current state and history; the pairs of attribution in two views."""
    if contract is SAMPLED_DATASET:
        return
    name, state = contract.name, state_sql(lake, dataset, contract.name, window)
    content = _described(contract.content())
    if name == "attributed_pairs":
        why = "Feedback that judges no inference of the dataset, with the reason."
        rest = f"SELECT * FROM ({state}) WHERE status <> 'attributed'"
        yield from _view(dataset, "unattributed_feedback", rest, why, content)
        state = f"SELECT * FROM ({state}) WHERE status = 'attributed'"
    yield from _view(dataset, name, state, contract.description, content)
    changes, what = changes_sql(lake, dataset, name, window), f"Every change of `{name}`, with window and reason."
    yield from _view(dataset, f"{name}_changes", changes, what, _described(contract.columns()))


def _sampled_dataset(lake: Lake, dataset: str, latest: Manifest | None, window: int) -> Iterator[str]:
    """History, newest version and any version of the dataset, and the training views of the newest."""
    contract, name = SAMPLED_DATASET, SAMPLED_DATASET.name
    version = f'(SELECT min(v.version) FROM "{dataset}".dataset_versions AS v WHERE v."window" >= c."window")'
    changes = f"SELECT {version} AS version, c.* FROM ({changes_sql(lake, dataset, name, window)}) AS c"
    documented = {"version": "first version with the change", **_described(contract.columns())}
    yield from _view(dataset, f"{name}_changes", changes, "Every change of the dataset, by version.", documented)
    shown = latest.window if latest else 0
    content = _described(contract.content())
    yield from _view(dataset, name, state_sql(lake, dataset, name, shown), contract.description, content)
    yield from _macros(dataset)
    for objective, view in VIEWS.items():
        thresholds = f"({state_sql(lake, dataset, 'sampling_thresholds', shown)})"
        sql = training_view_sql(objective, rows=f'"{dataset}".{name}', thresholds=thresholds)
        told = {**content, **COLUMN_DESCRIPTIONS}
        columns = {c: told[c] for c in training_columns(objective)}
        yield from _view(dataset, view, sql, VIEW_DESCRIPTIONS[view], columns)


def _macros(dataset: str) -> Iterator[str]:
    """`<dataset>.at(v)` and `<dataset>_at(v)`: the dataset at version v."""
    listed = ", ".join(f'"{c}"' for c in SAMPLED_DATASET.names())
    window = f'SELECT w."window" FROM "{dataset}".dataset_versions AS w WHERE w.version = v'
    rows = f'SELECT * FROM "{dataset}".sampled_dataset_changes WHERE "window" <= ({window})'
    state = f"SELECT {listed} FROM ({current_sql('change_rows', SAMPLED_DATASET)})"
    yield f'CREATE MACRO "{dataset}".at(v) AS TABLE WITH change_rows AS NOT MATERIALIZED ({rows}) {state}'
    yield f'CREATE MACRO main."{dataset}_at"(v) AS TABLE SELECT * FROM "{dataset}".at(v)'
    for macro in (f'"{dataset}".at', f'main."{dataset}_at"'):
        yield f"COMMENT ON MACRO TABLE {macro} IS 'The dataset at version v; empty when v is not published.'"


def _review_queue(dataset: str) -> Iterator[str]:
    sql = f"""
        SELECT 'feedback' AS subject, p.pair_id AS subject_id, p.request_id, p.feedback_id,
          CAST(NULL AS VARCHAR) AS objective, p.name AS criterion, p.reasons, p.review_until
        FROM "{dataset}".validated_pairs AS p WHERE p.verdict = 'requires_human_review'
        UNION ALL
        SELECT 'example', e.example_id, e.request_id, NULL, e.objective, e.criterion, e.reason, NULL
        FROM "{dataset}".resolved_examples AS e WHERE e.state = 'in_review'
    """
    yield from _view(dataset, "review_queue", sql, "What waits for a person's decision.", _REVIEW_COLUMNS)


def _versions(dataset: str, published: list[Manifest]) -> Iterator[str]:
    rows = [_version_row(m) for m in published] or [["NULL"] * len(_VERSION_COLUMNS)]
    values = ", ".join(f"({', '.join(row)})" for row in rows)
    names = ", ".join(f'"{name}"' for name in _VERSION_COLUMNS)
    typed = ", ".join(f'CAST("{name}" AS {kind}) AS "{name}"' for name, (kind, _) in _VERSION_COLUMNS.items())
    sql = f"SELECT {typed} FROM (VALUES {values}) AS listed ({names}) WHERE version IS NOT NULL"
    descriptions = {name: what for name, (_, what) in _VERSION_COLUMNS.items()}
    yield from _view(dataset, "dataset_versions", sql, "The published versions.", descriptions)


def _version_row(manifest: Manifest) -> list[str]:
    values: Mapping[str, object] = {
        **msgspec.structs.asdict(manifest),
        "published_at": manifest.closed_at,
        "rows": msgspec.json.encode(manifest.rows, order="sorted").decode(),
        "changes": msgspec.json.encode(manifest.changes, order="sorted").decode(),
        "inference_position": manifest.cuts.inference,
        "feedback_position": manifest.cuts.feedback,
    }
    return ["NULL" if values[name] is None else quoted(str(values[name])) for name in _VERSION_COLUMNS]


def _view(schema: str, name: str, sql: str, description: str, columns: Mapping[str, str]) -> Iterator[str]:
    """A view with its comment, and a comment on each of its columns."""
    full = f'"{schema}"."{name}"'
    yield f"CREATE VIEW {full} AS {sql}"
    yield f"COMMENT ON VIEW {full} IS {quoted(description)}"
    yield from (f'COMMENT ON COLUMN {full}."{column}" IS {quoted(what)}' for column, what in columns.items())


def _described(columns: tuple[Column, ...]) -> dict[str, str]:
    return {c.name: c.description for c in columns}
