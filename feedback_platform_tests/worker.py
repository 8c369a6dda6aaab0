"""Processes for the fault suites: `python -m feedback_platform_tests.worker ROLE HOME [ARGUMENT]`.

Each role works on one tenant's home until it is done, killed, or its time is over. A line on standard output is an
acknowledgement: what it names must survive. An error that a role does not expect ends it with a traceback.
"""

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from feedback_platform.compile.ledger import take_ledger
from feedback_platform.compile.manifest import CLOSED
from feedback_platform.compile.snapshots import snapshot_due, take_snapshots
from feedback_platform.compile.verify import stored_state_hash
from feedback_platform.compile.warehouse import rebuild_warehouse
from feedback_platform.compile.window import Compiler, abandon
from feedback_platform.contracts.raw_tables import RAW_TABLES
from feedback_platform.contracts.stage_tables import STAGE_TABLES
from feedback_platform.errors import LeaseHeldError
from feedback_platform.lake.store import window_prefix
from feedback_platform.lake.table import LakeTable
from feedback_platform.lake.upkeep import checkpoint, compact, vacuum
from feedback_platform.outputs import compile_once
from feedback_platform_tests.builders import (
    Event,
    Line,
    adjudication,
    correction,
    feedback,
    inference,
    line,
    rating,
    retraction,
    thumbs,
)

HOUR = 60.0
# Dead files live longer than any reader here holds the list of files that it began with.
RETENTION = timedelta(seconds=15)
HOLD_SECONDS = 1.0
TEXTS = ["how are you", "How  are you", "what is the time", "tell a joke", "sing"]


def a_line(home: Path) -> Line:
    """The line that all fault suites use: one dataset of one task, so that some events are foreign."""
    return line(home, select={"tasks": ["chat"]})


def round_of_events(number: int, inferences: int = 6, judgements: int = 12) -> tuple[list[Event], list[Event]]:
    """New events of one round, the same every time: also late, retracting, adjudicating and session feedback."""
    draw = random.Random(number)
    minute = number * HOUR
    asked = [
        inference(
            f"r{number}-{n}",
            minute=minute + n,
            text=f"{draw.choice(TEXTS)} {draw.randrange(40)}",
            task=draw.choice(["chat", "chat", "chat", "other"]),
            logprob=-draw.random(),
            session_id=f"s{number}-{n % 2}",
        )
        for n in range(inferences)
    ]
    return asked, [_judgement(draw, number, n, minute + 30 + n) for n in range(judgements)]


def _judgement(draw: random.Random, number: int, n: int, minute: float) -> Event:
    earlier = max(0, number - draw.choice([0, 0, 0, 1, 3, 10]))
    request_id, rater = f"r{earlier}-{draw.randrange(7)}", draw.choice(["ann", "bob", "cleo"])
    feedback_id, common = f"f{number}-{n}", dict[str, Any](minute=minute, rater=rater)
    match draw.randrange(8):
        case 0 | 1:
            return thumbs(feedback_id, request_id, up=draw.random() < 0.7, **common)
        case 2 | 3:
            return rating(feedback_id, request_id, score=draw.choice([10, 60, 95]), **common)
        case 4:
            return correction(feedback_id, request_id, output=f"better {draw.randrange(9)}", **common)
        case 5:
            return feedback(feedback_id, "thumbs", {"up": True}, target={"session_id": f"s{earlier}-0"}, **common)
        case 6:
            return retraction(feedback_id, f"f{earlier}-{draw.randrange(12)}", **common)
        case _:
            return adjudication(feedback_id, {"verdict": "valid"}, request_id=request_id, **common)


def say(text: str) -> None:
    """An acknowledgement."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def send_round(one: Line, number: int) -> None:
    """Import one round and acknowledge each of its events."""
    asked, judged = round_of_events(number)
    summary = one.send(asked, judged)
    assert summary.refused == 0, summary
    for event in asked:
        say(f"inference {event['request_id']}")
    for event in judged:
        say(f"feedback {event['feedback_id']}")


# --- one thing, done once ---------------------------------------------------------------------------------------------


def compile_role(home: Path, _: str) -> None:
    """Land, compile and publish."""
    one = a_line(home)
    one.land()
    compile_once(one.compiler, "test")


def abandon_role(home: Path, _: str) -> None:
    """Give up the open window."""
    compiler = a_line(home).compiler
    with compiler.lease(what="abandon"):
        abandon(compiler, why="a test")


def compact_role(home: Path, _: str) -> None:
    """Merge what is final in every table."""
    for table, final in tables_to_tend(a_line(home).compiler):
        compact(table, upto=final)


# --- rounds, until somebody ends it -----------------------------------------------------------------------------------


def import_role(home: Path, rounds: str) -> None:
    """Import round after round."""
    for number in range(int(rounds)):
        send_round(a_line(home), number)


def publish_role(home: Path, last: str) -> None:
    """Import, land, compile, acknowledge the version, over and over; once the last one is out, do nothing more."""
    number = 0
    while True:
        one = a_line(home)
        send_round(one, number)
        one.land()
        done = compile_once(one.compiler, "test").manifest
        if done is not None and done.status == "published":
            say(f"version {done.version} {done.window} {done.change_hash} {done.state_hash}")
            if done.version == int(last):
                time.sleep(3600)
        number += 1


# --- the soak: each role for so many seconds --------------------------------------------------------------------------


def soak_compile_role(home: Path, seconds: str) -> None:
    """Compile whatever has landed; another process may hold the lease."""
    for _ in _until(seconds):
        try:
            compile_once(a_line(home).compiler, "soak")
        except LeaseHeldError:
            time.sleep(0.05)


def soak_feed_role(home: Path, seconds: str) -> None:
    """Import and land rounds of events; also re-sends the round before, which must count once."""
    one = a_line(home)
    for number in _until(seconds):
        send_round(one, number)
        one.send(*round_of_events(max(0, number - 1)))
        one.land()


def soak_tend_role(home: Path, seconds: str) -> None:
    """Compact what is final, checkpoint, vacuum, take snapshots, and show the merged files to analysts."""
    for _ in _until(seconds):
        compiler = a_line(home).compiler
        for table, final in tables_to_tend(compiler):
            compact(table, upto=final)
            checkpoint(table)
            vacuum(table, retention=RETENTION, now=datetime.now(UTC))
        with suppress(LeaseHeldError), compiler.lease(wait_seconds=2, what="snapshot"):
            if window := snapshot_due(compiler.store, compiler.lake, compiler.policy.name, every=2):
                take_snapshots(compiler.lake, compiler.policy.name, window, memory_limit="512MB")
        rebuild_warehouse(compiler.settings, compiler.lake)


def soak_read_role(home: Path, seconds: str) -> None:
    """Read the newest version, the ledger and the warehouse, and hold each against what was promised."""
    reads = 0
    for _ in _until(seconds):
        compiler = a_line(home).compiler
        latest = compiler.store.last_closed()
        if latest is None:
            continue
        stored = stored_state_hash(compiler, latest)
        assert stored == latest.state_hash, f"window {latest.window}: {stored} is stored, not {latest.state_hash}"
        with compiler.engine() as engine:
            ledger = take_ledger(compiler.lake, latest, engine)
        now = compiler.store.last_closed()
        assert ledger.unaccounted == 0 or now != latest, ledger.as_mapping()
        _read_warehouse(compiler.settings.warehouse)
        reads += 1
    say(f"reads {reads}")


def _read_warehouse(path: Path) -> None:
    if not path.exists():
        return
    with duckdb.connect(str(path), read_only=True) as connection:
        sql = "SELECT count(*), count(DISTINCT example_id) FROM d.sampled_dataset"
        first = connection.execute(sql).fetchone()
        time.sleep(HOLD_SECONDS)
        again = connection.execute(sql).fetchone()
    assert first is not None
    assert first == again, "an open handle shows what it showed"
    assert first[0] == first[1], "no example twice"


def tables_to_tend(compiler: Compiler) -> Iterator[tuple[LakeTable, Callable[[str], bool]]]:
    """Every table and which of its prefixes are final."""
    for contract in RAW_TABLES:
        yield compiler.lake.table(contract.name), lambda prefix: True
    for contract in STAGE_TABLES:
        closed = {window_prefix(m.window) for m in compiler.store.all() if m.status in CLOSED}
        yield compiler.lake.table(contract.name, compiler.policy.name), closed.__contains__


def _until(seconds: str) -> Iterator[int]:
    end, number = time.monotonic() + float(seconds), 0
    while time.monotonic() < end:
        yield number
        number += 1


ROLES: dict[str, Callable[[Path, str], None]] = {
    "compile": compile_role,
    "abandon": abandon_role,
    "compact": compact_role,
    "import": import_role,
    "publish": publish_role,
    "soak-compile": soak_compile_role,
    "soak-feed": soak_feed_role,
    "soak-tend": soak_tend_role,
    "soak-read": soak_read_role,
}


if __name__ == "__main__":
    role, where, *rest = sys.argv[1:]
    ROLES[role](Path(where), rest[0] if rest else "")
