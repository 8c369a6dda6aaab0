"""The DuckDB engine: named relations made on demand, SQL steps, batch functions, Parquet parts, and what each step cost.

It knows files and SQL; it knows neither Delta nor which stage it runs. One engine is one private in-memory database
that spills to a folder of its own within a memory limit.
"""

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files as package_files
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import polars as pl
import pyarrow as pa

from feedback_platform.contracts.table import Column

Batch = Callable[[pl.DataFrame], pl.DataFrame]
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_TEXT = re.compile(r"--[^\n]*|'(?:[^']|'')*'")
_TEXT_OR_PARAM = re.compile(rf"{_TEXT.pattern}|@([a-z_]+)\b")
_IO = Path("/proc/self/io")
BATCH_ROWS = 100_000
ROW_GROUP_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one step cost: rows it made, bytes it read from files, wall seconds."""

    name: str
    rows: int
    bytes_read: int
    seconds: float


@dataclass(slots=True)
class DuckEngine:
    """A private DuckDB. Use as a context manager; the spill folder goes with it.

    Args:
        memory_limit: DuckDB's limit, e.g. "4GB"; work beyond it spills.
        threads: 0 for all cores.
        params: values for `@name` in SQL: whole numbers, or text (quoted here).
    """

    memory_limit: str = "4GB"
    threads: int = 0
    params: Mapping[str, int | str] = field(default_factory=dict)
    costs: list[StepCost] = field(default_factory=list)
    _definitions: dict[str, Callable[[], str]] = field(default_factory=dict)
    _made: set[str] = field(default_factory=set)
    _spill: Path = field(init=False)
    connection: duckdb.DuckDBPyConnection = field(init=False)

    def __post_init__(self) -> None:
        self._spill = Path(tempfile.mkdtemp(prefix="feedback-spill-"))
        self.connection = open_database(":memory:", self.memory_limit, self.threads, self._spill)
        self.connection.execute(package_files("feedback_platform.engines.macros").joinpath("duckdb.sql").read_text())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()
        shutil.rmtree(self._spill, ignore_errors=True)

    def define(self, name: str, sql: Callable[[], str] | str) -> None:
        """A relation that is made as a view when SQL first names it."""
        self._definitions[name] = (lambda: sql) if isinstance(sql, str) else sql

    def define_files(self, name: str, paths: Sequence[Path], columns: Sequence[Column]) -> None:
        """A relation over Parquet files; with none it is empty but typed."""
        self.define(name, scan_sql(paths, columns))

    def define_frame(self, name: str, frame: pl.DataFrame) -> None:
        """A small relation from a frame."""
        self.connection.register(f"{name}__arrow", frame.to_arrow())
        self.connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM {name}__arrow")
        self.connection.unregister(f"{name}__arrow")

    def create(self, name: str, sql: str, batch: Batch | None = None) -> int:
        """Materialise a step as a table and return its rows; `batch` maps each Arrow batch on the way."""
        started, read = time.perf_counter(), bytes_read()
        text = self.prepare(sql)
        if batch is not None:
            self.connection.register(f"{name}__arrow", self._mapped(text, batch))
            text = f"SELECT * FROM {name}__arrow"
        rows = int(self.connection.execute(f"CREATE OR REPLACE TABLE {name} AS {text}").fetchall()[0][0])
        if batch is not None:
            self.connection.unregister(f"{name}__arrow")
        self.costs.append(StepCost(name, rows, bytes_read() - read, time.perf_counter() - started))
        return rows

    def stream_into(self, name: str, sql: str, batch: Batch) -> None:
        """A relation that maps a query batch by batch while it is read; it can be read once."""
        self.connection.register(name, self._mapped(self.prepare(sql), batch))

    def copy(self, name: str, sql: str, target: Path) -> int:
        """Write a query to one Parquet file and return its rows; no file is left when there are none."""
        started, read = time.perf_counter(), bytes_read()
        options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS}"
        text = f"COPY ({self.prepare(sql)}) TO {quoted(str(target))} ({options})"
        rows = int(self.connection.execute(text).fetchall()[0][0])
        if rows == 0:
            target.unlink(missing_ok=True)
        self.costs.append(StepCost(name, rows, bytes_read() - read, time.perf_counter() - started))
        return rows

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """All rows of a small query."""
        return self.connection.execute(self.prepare(sql)).fetchall()

    def one(self, sql: str) -> tuple[object, ...]:
        """The only row of a query."""
        return self.rows(sql)[0]

    def frame(self, sql: str) -> pl.DataFrame:
        """A query as a Polars frame, through Arrow."""
        table = self.connection.sql(self.prepare(sql)).to_arrow_table()
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def stream(self, sql: str) -> Iterator[pl.DataFrame]:
        """A query in batches, never whole in memory."""
        reader = self.connection.cursor().sql(self.prepare(sql)).to_arrow_reader(BATCH_ROWS)
        for batch in reader:
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            yield frame

    def count(self, name: str) -> int:
        """Rows of a relation."""
        return int(str(self.one(f"SELECT count(*) FROM {name}")[0]))

    def prepare(self, sql: str) -> str:
        """SQL with its `@params` filled in, after making every relation that it names."""
        text = _TEXT_OR_PARAM.sub(lambda m: self._literal(m[1]) if m[1] else m[0], sql)
        for name in dict.fromkeys(_NAME.findall(_TEXT.sub(" ", text))):
            self._make(name)
        return text

    def _literal(self, name: str) -> str:
        value = self.params[name]
        return str(value) if isinstance(value, int) else quoted(value)

    def _make(self, name: str) -> None:
        if name in self._made or name not in self._definitions:
            return
        self._made.add(name)
        self.connection.execute(f"CREATE OR REPLACE VIEW {name} AS {self.prepare(self._definitions[name]())}")

    def _mapped(self, sql: str, batch: Batch) -> pa.RecordBatchReader:
        reader = self.connection.cursor().sql(sql).to_arrow_reader(BATCH_ROWS)
        empty = pl.from_arrow(reader.schema.empty_table())
        assert isinstance(empty, pl.DataFrame)
        schema = batch(empty).to_arrow().schema

        def mapped() -> Iterator[pa.RecordBatch]:
            for arrow in reader:
                frame = pl.from_arrow(arrow)
                assert isinstance(frame, pl.DataFrame)
                yield from batch(frame).to_arrow().cast(schema).to_batches()

        return pa.RecordBatchReader.from_batches(schema, mapped())


def bytes_read() -> int:
    """Bytes that this process has read from files so far; 0 where the system does not tell (Linux does)."""
    try:
        return int(_IO.read_text(encoding="ascii").split()[1])
    except OSError:
        return 0


def open_database(path: str, memory_limit: str, threads: int, spill: Path) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection in UTC with a memory limit and a place to spill."""
    connection = duckdb.connect(path)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET memory_limit = {quoted(memory_limit)}")
    connection.execute(f"SET temp_directory = {quoted(str(spill))}")
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("SET parquet_metadata_cache = true")
    connection.execute("SET enable_progress_bar = false")
    if threads:
        connection.execute(f"SET threads = {threads}")
    return connection


def scan_sql(paths: Sequence[Path], columns: Sequence[Column]) -> str:
    """SELECT over Parquet files in the declared column order; typed and empty when there are no files."""
    if not paths:
        typed = ", ".join(f'CAST(NULL AS {c.duckdb_type}) AS "{c.name}"' for c in columns)
        return f"SELECT {typed} WHERE false"
    listed = ", ".join(quoted(str(p)) for p in paths)
    names = ", ".join(f'"{c.name}"' for c in columns)
    return f"SELECT {names} FROM read_parquet([{listed}], union_by_name = true)"


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
