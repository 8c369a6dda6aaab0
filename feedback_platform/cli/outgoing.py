"""`feedback export`, `query` and `yank`: versions handed out, looked at, and taken out of use."""

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from feedback_platform.cli.finding import compiled
from feedback_platform.cli.screen import json_option, plain, print_json, print_table, say, working
from feedback_platform.errors import QueryError
from feedback_platform.settings import Settings

if TYPE_CHECKING:
    import duckdb

CELL_WIDTH = 200


@click.command("export")
@click.argument("dataset")
@click.option("--version", type=int, help="Version; the newest that is not yanked by default.")
@click.option("--format", "format_name", required=True, help="parquet, sft, dpo, kto, openai_sft, openai_preference.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write; else below exports/.")
@json_option
@click.pass_obj
def export_command(
    settings: Settings, dataset: str, version: int | None, format_name: str, out: Path | None, as_json: bool
) -> None:
    """Write a version of DATASET for a trainer. The same version gives the same bytes."""
    from feedback_platform.outputs import export_folder
    from feedback_platform.publish.export import export_version

    compiler = compiled(settings, dataset)
    manifest = compiler.store.version(version)
    folder = out or export_folder(settings, manifest) / format_name
    with working(f"exporting {dataset} version {manifest.version}"):
        result = export_version(compiler.lake, manifest, format=format_name, out=folder, settings=settings)
    files = [{"path": f.path, "rows": f.rows, "bytes": f.bytes, "sha256": f.sha256} for f in result.files]
    if as_json:
        print_json({"dataset": dataset, "version": manifest.version, "format": result.format,
                           "folder": str(result.folder), "rows": result.rows, "files": files})  # fmt: skip
        return
    say(f"{dataset} version {manifest.version} as {result.format}: {result.rows:,} examples in {result.folder}")
    print_table(("file", "rows", "bytes"), [(f["path"], f["rows"], f["bytes"]) for f in files])


@click.command("yank")
@click.argument("dataset")
@click.argument("version", type=int)
@click.option("--why", required=True, help="Shown to whoever asks for the version.")
@json_option
@click.pass_obj
def yank_command(settings: Settings, dataset: str, version: int, why: str, as_json: bool) -> None:
    """Mark VERSION of DATASET as not to be used; it stays readable by its number."""
    from feedback_platform.compile.publication import yank
    from feedback_platform.outputs import after_publication

    compiler = compiled(settings, dataset)
    manifest = yank(compiler, version, why)
    after_publication(compiler)
    if as_json:
        print_json({"dataset": dataset, "version": version, "yanked": manifest.yanked})
        return
    say(f"{dataset} version {version} is yanked: {why}. It stays readable as version {version} and is not `latest`.")


@click.command("query")
@click.argument("sql")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
@click.pass_obj
def query_command(settings: Settings, sql: str, as_csv: bool, as_json: bool) -> None:
    """Run one SELECT on the warehouse, read-only: it can read the lake's files and nothing else.

    `SHOW ALL TABLES` lists what there is; a dataset's tables are in a schema of its name.
    """
    columns, rows = run_query(settings, sql)
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([plain(v) if v is not None else "" for v in row] for row in rows)
    else:
        print_table(columns, [tuple(_short(v) for v in row) for row in rows])
        say(f"{len(rows):,} row{'s' * (len(rows) != 1)}")


def run_query(settings: Settings, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of one SELECT on the warehouse.

    Raises:
        QueryError: there is no warehouse yet, the text is not one SELECT, or DuckDB refuses it.
    """
    import duckdb
    import pyarrow as pa

    if not settings.warehouse.exists():
        raise QueryError(f"{settings.warehouse} is not there yet. `feedback compile DATASET` writes it.")
    connection = duckdb.connect(str(settings.warehouse), read_only=True)
    try:
        _lock_down(connection, settings)
        statements = connection.extract_statements(sql)
        # Access to the lake's folder would include writing to it (COPY, EXPLAIN ANALYZE COPY).
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise QueryError("one SELECT is expected (or FROM, SHOW, DESCRIBE, SUMMARIZE): the warehouse is read-only.")
        table: pa.Table = connection.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        raise QueryError(f"{error}. `feedback query 'SHOW ALL TABLES'` lists what there is.") from None
    finally:
        connection.close()
    values = [column.to_pylist() for column in table.columns]
    return list(table.column_names), list(zip(*values, strict=True))


def _lock_down(connection: "duckdb.DuckDBPyConnection", settings: Settings) -> None:
    """Only files of the lake can be opened from here on, and that cannot be undone."""
    lake = str(settings.lake).replace("'", "''")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET memory_limit = '{settings.memory_limit}'")
    connection.execute("SET enable_progress_bar = false")
    connection.execute(f"SET allowed_directories = ['{lake}']")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _short(value: object) -> object:
    text = value if isinstance(value, str) else None
    return value if text is None or len(text) <= CELL_WIDTH else f"{text[:CELL_WIDTH]}..."
