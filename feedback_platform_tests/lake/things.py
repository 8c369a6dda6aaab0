"""A small table for the lake's tests: its contract, part files for it, and what it holds."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pyarrow.parquet as pq

from feedback_platform.contracts.table import TableContract, UtcMicros
from feedback_platform.lake.committer import Commit, commit
from feedback_platform.lake.table import LakeTable


class Thing(pa.DataFrameModel):
    """Things, for tests."""

    id: str = pa.Field(description="which thing")
    n: int = pa.Field(ge=0, description="a count")
    at: UtcMicros = pa.Field(description="a time")
    note: str = pa.Field(nullable=True, description="a note")


class NotedThing(Thing):
    """Things with one more column."""

    extra: str = pa.Field(nullable=True, description="added later")


THINGS = TableContract("things", Thing, key=("id",), scope="shared", stats=("n", "at"))
NOTED_THINGS = replace(THINGS, model=NotedThing)


def open_things(folder: Path) -> LakeTable:
    return LakeTable(folder / "things", THINGS)


def rows(ids: Iterable[str], **columns: object) -> pl.DataFrame:
    """One row per id that keeps the contract, but for the columns given."""
    names = list(ids)
    values: Mapping[str, object] = {"n": 1, "at": 0, "note": None, **columns}
    frame = pl.DataFrame({"id": names}).with_columns(pl.lit(v).alias(k) for k, v in values.items())
    return frame.cast({c: t for c, t in THINGS.polars_schema().items() if c not in columns or c == "n"})


def write_part(table: LakeTable, prefix: str, frame: pl.DataFrame) -> Path:
    path = table.staging(prefix) / "part-0.parquet"
    # PyArrow's writer leaves its bytes in memory, where a power cut takes them; on some kernels Polars' does not.
    pq.write_table(frame.to_arrow(), path)
    return path


def add(table: LakeTable, txn: int, ids: Iterable[str], *, app: str = "app", prefix: str | None = None) -> Commit:
    part = write_part(table, prefix or f"w{txn}", rows(ids))
    return commit(table, [part], app=app, txn=txn)


def ids(table: LakeTable) -> list[str]:
    """All ids in the table, sorted; a row that is there twice shows twice."""
    uris = table.snapshot().uris()
    return sorted(pl.read_parquet(uris, columns=["id"])["id"].to_list()) if uris else []
