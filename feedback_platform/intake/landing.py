"""Landing: closed ranges of the event log become parts of the raw Delta tables, exactly once.

The transaction id of a landed range is its last log position, so a repetition is seen by the committer. Pruning
deletes landed entries from the log only after they were read back from the table.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

import polars as pl

from feedback_platform.contracts.table import TableContract
from feedback_platform.engines.duckdb import DuckEngine
from feedback_platform.errors import LakeError, LogGapError
from feedback_platform.intake.log import EventLog, Stream
from feedback_platform.lake.committer import commit
from feedback_platform.lake.files import make_folder
from feedback_platform.lake.locks import exclusive
from feedback_platform.lake.store import LANDING, Lake
from feedback_platform.lake.table import LakeTable

TABLES: tuple[tuple[Stream, str], ...] = (
    ("inference", "raw_inference_logs"),
    ("feedback", "raw_feedback"),
    ("dead_letter", "dead_letters"),
)
Range = tuple[int, list[tuple[int, bytes]]]
RANGE_ROWS = 100_000
RANGE_BYTES = 64 * 2**20
FETCHES = 4
LOCK_SECONDS = 120.0
ROW_GROUP_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Landed:
    """What one landing did to one table: rows and the last position."""

    table: str
    rows: int
    position: int


def land(
    log: EventLog,
    lake: Lake,
    progress: Callable[[str, int], None] | None = None,
    *,
    range_bytes: int = RANGE_BYTES,
) -> list[Landed]:
    """Land everything that the log holds beyond the tables, in closed ranges.

    Args:
        log: where the events are.
        lake: where they go.
        progress: called after each range with the table and the rows landed in it so far.
        range_bytes: about how many bytes of rows one range holds at most; memory grows to several times that.

    Raises:
        LogGapError: the log begins after the table's position (an older lake was restored), or ends before it
            (an older log was).
        LakeError: a part could not be written; what landed before it stays.
        LeaseHeldError: another process is landing and does not finish.
    """
    with _landing_lock(lake, "land"):
        return [_land_stream(log, lake.table(name), stream, progress, range_bytes) for stream, name in TABLES]


def waiting(log: EventLog, lake: Lake) -> dict[Stream, int]:
    """Accepted events that are not landed yet, per stream."""
    return {s: log.head(s) - (lake.table(name).transaction(LANDING) or 0) for s, name in TABLES}


def oldest_waiting(log: EventLog, lake: Lake) -> datetime | None:
    """Receipt time of the oldest accepted event that is not landed, None when all are."""
    times = [log.oldest_unlanded_at(stream, lake.table(name).transaction(LANDING) or 0) for stream, name in TABLES]
    return min((t for t in times if t is not None), default=None)


def prune(log: EventLog, lake: Lake, older_than: datetime) -> int:
    """Delete landed entries received before a time, after reading them back from the tables; returns how many."""
    pruned = 0
    with _landing_lock(lake, "prune"):
        for stream, name in TABLES:
            table = lake.table(name)
            position, first = table.transaction(LANDING) or 0, log.first(stream)
            if first is not None and position >= first:
                _verify_landed(table, first, position)
                pruned += log.prune(stream, position, older_than)
    return pruned


def _landing_lock(lake: Lake, what: str) -> AbstractContextManager[None]:
    make_folder(lake.folder)
    return exclusive(lake.folder / "_landing.lock", wait_seconds=LOCK_SECONDS, what=what)


def _land_stream(
    log: EventLog, table: LakeTable, stream: Stream, progress: Callable[[str, int], None] | None, range_bytes: int
) -> Landed:
    start, head, first = table.transaction(LANDING) or 0, log.head(stream), log.first(stream)
    _check_position(stream, table.name, start, head, first)
    landed = start
    for upto, entries in _read_ahead(_ranges(log, stream, start, head, range_bytes)):
        part = table.staging("r") / f"{landed + 1:012d}-{upto:012d}.parquet"
        _write_part(entries, table.contract, part)
        commit(table, [part], app=LANDING, txn=upto)
        landed = upto
        if progress is not None:
            progress(table.name, landed - start)
    return Landed(table.name, landed - start, landed)


def _ranges(log: EventLog, stream: Stream, start: int, head: int, range_bytes: int) -> Iterator[Range]:
    """Closed ranges of at most about `RANGE_ROWS` entries and `range_bytes` bytes, each with its last position."""
    entries: list[tuple[int, bytes]] = []
    size, fetched = 0, range_bytes // FETCHES
    for batch in log.read_range(stream, start, head, batch_bytes=fetched) if head > start else ():
        entries.extend(batch)
        size += sum(len(row) for _, row in batch)
        if len(entries) >= RANGE_ROWS or size > range_bytes - fetched:
            yield entries[-1][0], entries
            entries, size = [], 0
    if entries:
        yield entries[-1][0], entries


def _read_ahead(ranges: Iterator[Range]) -> Iterator[Range]:
    """The same ranges, the next one being read while the caller works on the last."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, ranges, None)
        while (found := coming.result()) is not None:
            coming = reader.submit(next, ranges, None)
            yield found


def _check_position(stream: Stream, table: str, start: int, head: int, first: int | None) -> None:
    if head < start:
        raise LogGapError(
            f"{table} holds the {stream} log up to {start}, but the log ends at {head}: an older log was put back. "
            "Restore the log that belongs to this lake, or restore both from one backup."
        )
    if (first is None and head > start) or (first is not None and first > start + 1 and head > start):
        raise LogGapError(
            f"{table} holds the {stream} log up to {start}, but the log begins at {first}: an older lake was put "
            "back. Restore the lake that belongs to this log, or restore both from one backup."
        )


def _write_part(entries: Sequence[tuple[int, bytes]], contract: TableContract, part: Path) -> None:
    schema = contract.polars_schema()
    times = [c for c, kind in schema.items() if isinstance(kind, pl.Datetime)]
    read = {c: pl.String() if c in times else kind for c, kind in schema.items() if c != "log_seq"}
    rows = pl.read_ndjson(BytesIO(b"\n".join(row for _, row in entries)), schema=read)
    frame = rows.with_columns(
        pl.Series("log_seq", [seq for seq, _ in entries], dtype=pl.Int64),
        *(pl.col(c).str.to_datetime(time_unit="us", time_zone="UTC") for c in times),
    ).select(list(schema))
    try:
        frame.write_parquet(
            part, compression="zstd", compression_level=1, row_group_size=ROW_GROUP_ROWS, statistics=True
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LakeError(
            f"{part} could not be written: {error}. Is the disk full? Free space, then run again."
        ) from error


def _verify_landed(table: LakeTable, first: int, position: int) -> None:
    """Every position in [first, position] can be read from the table exactly once."""
    with DuckEngine(memory_limit="1GB") as engine:
        engine.define_files("landed", [f.path for f in table.snapshot().files], table.contract.columns())
        row = engine.one(
            f"SELECT count(*), count(DISTINCT log_seq) FROM landed WHERE log_seq BETWEEN {first} AND {position}"
        )
    wanted = position - first + 1
    if row != (wanted, wanted):
        raise LogGapError(
            f"{table.name} gives back {row[0]} rows ({row[1]} distinct) for log positions {first} to {position}, "
            f"expected {wanted}. Nothing was pruned; run `feedback doctor`."
        )


def retention_limit(now: datetime, days: int) -> datetime:
    """Entries received before this time may be pruned."""
    return now - timedelta(days=days)
