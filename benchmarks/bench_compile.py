"""Landing and compiling against one plain DuckDB script (`baseline.sql`) that does the same joins, windows and writes.

    python benchmarks/bench_compile.py first --inferences 5000000 --feedback 1000000
    python benchmarks/bench_compile.py increment --history 1000000,5000000,20000000 --feedback 100000

Both sides of `first` run in one call, each in a process of its own; the figure to quote is their ratio.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import generate

from feedback_platform.compile.publication import publish
from feedback_platform.compile.window import TABLE_NAMES, Compiler, advance_named, note_hashes, open_or_resume
from feedback_platform.compile.workspace import LakeWorkspace
from feedback_platform.contracts.policies import resolve_policy
from feedback_platform.contracts.raw_tables import RAW_FEEDBACK, RAW_INFERENCE_LOGS
from feedback_platform.contracts.table import TableContract
from feedback_platform.intake.landing import land
from feedback_platform.intake.log import Record
from feedback_platform.intake.sqlite_log import open_log
from feedback_platform.lake.committer import commit
from feedback_platform.lake.store import LANDING
from feedback_platform.settings import Settings

CHUNK = 200_000
MEMORY = "4GB"
HISTORY_FEEDBACK = 200_000
POLICY = {"name": "bench", "objectives": ["sft", "preference", "unpaired"], "sample": {"strategy": "uncertainty"}}
RECEIVED = datetime(2026, 6, 1, tzinfo=UTC)


def compiler(home: Path) -> Compiler:
    """The benchmark's dataset in a home of its own."""
    return Compiler(Settings(home=home, memory_limit=MEMORY), resolve_policy(POLICY))


def first(n_inferences: int, n_feedback: int, work: Path) -> None:
    """Ours and the script, in one run."""
    events = work / "events"
    events.mkdir(parents=True)
    say(f"generating {n_inferences:,} inferences and {n_feedback:,} feedback events")
    write_events(events, n_inferences, n_feedback)
    fill_log(work / "home", events)
    script = child("_script", work)
    ours = child("_ours", work)
    ratio = ours["seconds"] / script["seconds"]
    print(json.dumps({"script": script, "ours": ours, "ratio_seconds": round(ratio, 2)}, indent=1))
    print(
        f"\nours / script: {ratio:.2f} times the seconds, "
        f"{ours['peak_mb'] / script['peak_mb']:.2f} times the peak memory (limit {MEMORY} each)"
    )


def increment(histories: list[int], n_feedback: int, work: Path) -> None:
    """New feedback on the newest inferences of a growing history: bytes of payload read, all bytes read, seconds."""
    rows = []
    for n in histories:
        home = work / f"home-{n}"
        say(f"history of {n:,} inferences and {HISTORY_FEEDBACK:,} feedback events")
        fill_lake(home, n, HISTORY_FEEDBACK)
        compile_once(compiler(home))
        fill_feedback(home, HISTORY_FEEDBACK, n_feedback, max(0, n - 1_000_000), n)
        done = child("_increment", home)
        rows.append({"history": n, **done})
        shutil.rmtree(home)
        print(json.dumps(rows[-1]), flush=True)
    base = rows[0]
    print(f"\n{'history':>12} {'seconds':>8} {'ratio':>6} {'payload MB':>11} {'ratio':>6} {'all MB read':>12}")
    for row in rows:
        print(
            f"{row['history']:>12,} {row['seconds']:>8.1f} {row['seconds'] / base['seconds']:>6.2f} "
            f"{row['payload_mb']:>11.1f} {row['payload_mb'] / base['payload_mb']:>6.2f} {row['read_mb']:>12.0f}"
        )


def compile_once(c: Compiler) -> dict[str, dict[str, float]]:
    """One window from cut to publication; seconds and bytes read per table."""
    spent: dict[str, dict[str, float]] = {}
    with c.lease():
        started = time.perf_counter()
        manifest = open_or_resume(c, trigger="benchmark")
        assert manifest is not None
        spent["cut"] = {"seconds": time.perf_counter() - started}
        for name in TABLE_NAMES:
            with c.engine() as engine:
                started = time.perf_counter()
                advance_named(name, manifest, LakeWorkspace(c.lake, "bench", manifest.window), engine)
                payload = sum(cost.bytes_read for cost in engine.costs if cost.name in ("payload", "texts"))
                spent[name] = {"seconds": time.perf_counter() - started, "payload_mb": payload / 1e6}
        for step, act in (("hashes", note_hashes), ("publish", publish)):
            started = time.perf_counter()
            act(c, manifest.window)
            spent[step] = {"seconds": time.perf_counter() - started}
    return spent


def run_child(mode: str, work: Path) -> dict[str, object]:
    """What a child process measures."""
    started, read = time.perf_counter(), bytes_read()
    if mode == "_script":
        run_script(work)
        spent: dict[str, dict[str, float]] = {}
    else:
        c = compiler(work / "home" if mode == "_ours" else work)
        spent = {}
        if mode == "_ours":
            with open_log(c.settings.log_path) as log:
                land(log, c.lake)
            spent["land"] = {"seconds": time.perf_counter() - started}
        spent |= compile_once(c)
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "read_mb": round((bytes_read() - read) / 1e6),
        "payload_mb": round(sum(s.get("payload_mb", 0) for s in spent.values()), 1),
        "steps": {name: round(s["seconds"], 2) for name, s in spent.items()},
    }


def run_script(work: Path) -> None:
    """The plain script over the same events."""
    (work / "script").mkdir()
    text = (Path(__file__).parent / "baseline.sql").read_text(encoding="utf-8")
    for name, value in {
        "events": str(work / "events"),
        "out": str(work / "script"),
        "inference_columns": column_types(RAW_INFERENCE_LOGS),
        "feedback_columns": column_types(RAW_FEEDBACK),
    }.items():
        text = text.replace(f"{{{name}}}", value)
    connection = connect()
    connection.execute("SET preserve_insertion_order = false")
    for statement in text.split(";\n"):
        if statement.strip():
            connection.execute(statement)


def column_types(contract: TableContract) -> str:
    """The columns of a raw table for `read_json`."""
    return "{" + ", ".join(f"'{c.name}': '{c.duckdb_type}'" for c in contract.columns() if c.name != "log_seq") + "}"


def write_events(folder: Path, n_inferences: int, n_feedback: int) -> None:
    """Both streams as NDJSON, as the log holds them."""
    connection = connect()
    for a in range(0, n_inferences, CHUNK):
        sql = generate.inferences(a, min(CHUNK, n_inferences - a))
        copy_json(connection, RAW_INFERENCE_LOGS, sql, folder / f"inferences-{a:012d}.ndjson")
    for a in range(0, n_feedback, CHUNK):
        sql = generate.feedback(a, min(CHUNK, n_feedback - a), 0, n_inferences)
        copy_json(connection, RAW_FEEDBACK, sql, folder / f"feedback-{a:012d}.ndjson")


def copy_json(connection: duckdb.DuckDBPyConnection, contract: TableContract, sql: str, path: Path) -> None:
    """Rows as JSON lines."""
    connection.execute(f"COPY ({generate.as_rows(contract, sql, None, wire=True)}) TO '{path}' (FORMAT json)")


def fill_log(home: Path, events: Path) -> None:
    """Append the events to the log; not measured, the door has a benchmark of its own."""
    with open_log(compiler(home).settings.log_path) as log:
        for stream, pattern, key in (
            ("inference", "inferences-*", "request_id"),
            ("feedback", "feedback-*", "feedback_id"),
        ):
            for path in sorted(events.glob(pattern)):
                for records in batches(path, key):
                    log.append("inference" if stream == "inference" else "feedback", records)


def batches(path: Path, key: str) -> Iterator[list[Record]]:
    """Records of a file, 10,000 at a time."""
    mark = f'"{key}":"'.encode()
    records: list[Record] = []
    with path.open("rb") as lines:
        for line in lines:
            start = line.index(mark) + len(mark)
            event_id = line[start : line.index(b'"', start)].decode()
            records.append(Record(event_id, b"0" * 16, line.rstrip(b"\n"), RECEIVED))
            if len(records) == 10_000:
                yield records
                records = []
    yield records


def fill_lake(home: Path, n_inferences: int, n_feedback: int) -> None:
    """A landed history, written straight into the raw tables."""
    table = compiler(home).lake.table("raw_inference_logs")
    connection = connect()
    for a in range(0, n_inferences, CHUNK):
        n = min(CHUNK, n_inferences - a)
        part = table.staging("r") / f"{a:012d}.parquet"
        copy_parquet(connection, generate.as_rows(table.contract, generate.inferences(a, n), a + 1), part)
        commit(table, [part], app=LANDING, txn=a + n, check=False)
    fill_feedback(home, 0, n_feedback, 0, n_inferences)


def fill_feedback(home: Path, start: int, count: int, first_inference: int, last_inference: int) -> None:
    """More landed feedback."""
    table = compiler(home).lake.table("raw_feedback")
    connection = connect()
    for a in range(start, start + count, CHUNK):
        n = min(CHUNK, start + count - a)
        part = table.staging("r") / f"{a:012d}.parquet"
        sql = generate.feedback(a, n, first_inference, last_inference)
        copy_parquet(connection, generate.as_rows(table.contract, sql, a + 1), part)
        commit(table, [part], app=LANDING, txn=a + n, check=False)


def copy_parquet(connection: duckdb.DuckDBPyConnection, sql: str, path: Path) -> None:
    """Rows as Parquet, as landing writes it."""
    connection.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20000)")


def connect() -> duckdb.DuckDBPyConnection:
    """A DuckDB with the benchmark's memory limit."""
    connection = duckdb.connect()
    connection.execute(f"SET memory_limit = '{MEMORY}'; SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    return connection


def child(mode: str, work: Path) -> dict[str, float]:
    """Run a mode in a process of its own and read what it measured."""
    say(mode.strip("_"))
    done = subprocess.run([sys.executable, __file__, mode, "--work", str(work)], check=True, stdout=subprocess.PIPE)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def bytes_read() -> int:
    """Bytes this process has read from files."""
    return int(Path("/proc/self/io").read_text(encoding="ascii").split()[1])


def say(text: str) -> None:
    """Progress, on stderr."""
    print(f"[{datetime.now(UTC):%H:%M:%S}] {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["first", "increment", "_ours", "_script", "_increment"])
    parser.add_argument("--inferences", type=int, default=5_000_000)
    parser.add_argument("--feedback", type=int, default=None)
    parser.add_argument("--history", default="1000000,5000000,20000000")
    parser.add_argument("--work", type=Path, default=None, help="folder for the data (removed afterwards unless given)")
    given = parser.parse_args()
    if given.mode.startswith("_"):
        print(json.dumps(run_child(given.mode, given.work)))
        return
    work = Path(tempfile.mkdtemp(prefix="feedback-bench-", dir=given.work))
    try:
        if given.mode == "first":
            first(given.inferences, given.feedback or 1_000_000, work)
        else:
            increment([int(n) for n in given.history.split(",")], given.feedback or 100_000, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
