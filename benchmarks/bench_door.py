"""What one accepted inference of 1 KB costs inside the door, step by step, without HTTP.

    python benchmarks/bench_door.py

CPU microseconds per event, the best of five passes over 4,000 events; `prepare` and `commit` in groups of 256.
"""

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from intake import Maker

from feedback_platform.contracts import rows
from feedback_platform.contracts.canonical import body_hmac
from feedback_platform.contracts.events import parse_event, parse_inference
from feedback_platform.intake.door import Arrival
from feedback_platform.intake.tenants import open_tenant
from feedback_platform.settings import Settings

EVENTS, GROUP, PASSES = 4_000, 256, 5


def cost(act: Callable[[], object]) -> float:
    """CPU microseconds per event."""
    best = float("inf")
    for _ in range(PASSES):
        started = time.process_time()
        act()
        best = min(best, time.process_time() - started)
    return best / EVENTS * 1e6


def show(what: str, act: Callable[[], object]) -> None:
    """One line."""
    print(f"{what:<46} {cost(act):>7.1f}")


def main() -> None:
    """The table."""
    maker, now = Maker(), datetime(2026, 11, 20, tzinfo=UTC)
    texts = [maker.event() for _ in range(EVENTS)]
    bodies = [parse_event("inference", text)[1] for text in texts]
    events = [parse_inference(text) for text in texts]
    laid_out = rows.inference_rows(events, now)
    print(f"{'CPU microseconds per event':<46}")
    show("parse, limits, canonical body", lambda: [parse_event("inference", text) for text in texts])
    show("keyed hash of the body", lambda: [body_hmac("inference", body, b"k" * 32) for body in bodies])
    show("row with its hashes", lambda: rows.inference_rows(events, now))
    show("row as JSON", lambda: [rows.row_bytes(row) for row in laid_out])
    with tempfile.TemporaryDirectory() as folder, open_tenant(Settings(home=Path(folder))) as tenant:

        def groups() -> list[list[Arrival]]:
            arrivals = [Arrival("inference", maker.event(), "benchmark") for _ in range(EVENTS)]
            return [arrivals[start : start + GROUP] for start in range(0, EVENTS, GROUP)]

        given = groups()
        show("prepare, all of the above and pseudonyms", lambda: [tenant.door.prepare(group) for group in given])
        prepared = iter([[tenant.door.prepare(group) for group in groups()] for _ in range(PASSES)])
        show("commit, ids and rows into SQLite", lambda: [tenant.door.commit(batch) for batch in next(prepared)])


if __name__ == "__main__":
    main()
