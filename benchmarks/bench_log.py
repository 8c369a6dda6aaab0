"""What an append to the event log costs, alone and beside a thread that computes: why it is one statement per table.

    python benchmarks/bench_log.py

Prints microseconds per event: our append, and the same rows with a statement per row (`executemany`), with Python's own
turns between threads (5 ms) and with the short ones that `feedback serve` sets.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from feedback_platform.cli.serving import SWITCH_SECONDS
from feedback_platform.intake.log import Record
from feedback_platform.intake.sqlite_log import SqliteEventLog, open_log

EVENTS, GROUP = 8_000, 256
DEFAULT_SECONDS = 0.005  # how long Python lets a thread compute when another waits
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def ours(log: SqliteEventLog, start: int) -> None:
    """One statement per table."""
    log.append("inference", records(start))


def by_row(log: SqliteEventLog, start: int) -> None:
    """A statement per row, after the same look for known ids."""
    given = records(start)
    with log.transaction():
        log._taken("inference", [record.id for record in given])
        keys = [("inference", r.id, r.hmac, start + n, 0) for n, r in enumerate(given, 1)]
        log.db.executemany("INSERT INTO event_keys VALUES (?, ?, ?, ?, ?)", keys)
        log.db.executemany(
            "INSERT INTO inference VALUES (?, 0, ?)", [(start + n, r.row) for n, r in enumerate(given, 1)]
        )
        log._move_head("inference", start + len(given))


def records(start: int) -> list[Record]:
    """A group with ids in order, 2 KB each."""
    return [Record(f"{n:032x}", b"x" * 16, b"y" * 2_000, NOW) for n in range(start, start + GROUP)]


def measure(append: Callable[[SqliteEventLog, int], None], beside: bool) -> float:
    """Microseconds per event."""
    ended = threading.Event()

    def compute() -> None:
        while not ended.is_set():
            sum(range(100))

    with tempfile.TemporaryDirectory() as folder, open_log(Path(folder) / "log" / "events.sqlite") as log:
        other = threading.Thread(target=compute)
        if beside:
            other.start()
        started = time.perf_counter()
        for start in range(0, EVENTS, GROUP):
            append(log, start)
        took = time.perf_counter() - started
        ended.set()
        if beside:
            other.join()
    return took / EVENTS * 1e6


def main() -> None:
    """The table."""
    turns = (("5 ms turns", DEFAULT_SECONDS), ("server's turns", SWITCH_SECONDS))
    print("Microseconds per event in groups of", GROUP)
    print(f"{'':<32} {'alone':>8}" + "".join(f" {'beside one, ' + name:>28}" for name, _ in turns))
    for name, append in (("one statement per table (ours)", ours), ("a statement per row", by_row)):
        cells = [measure(append, beside=False)]
        for _, seconds in turns:
            sys.setswitchinterval(seconds)
            cells.append(measure(append, beside=True))
        print(f"{name:<32} {cells[0]:>8.1f}" + "".join(f" {cell:>28.1f}" for cell in cells[1:]))


if __name__ == "__main__":
    main()
