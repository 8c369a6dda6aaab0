"""Laws 1 to 3 at the HTTP API: a server is killed again and again under many clients, and none of them was told wrong.

`FEEDBACK_CHECKER_KILLS` sets how often the slow one kills (100), `FEEDBACK_FAULT_SEED` which delays it draws. What the
machine makes of the delays differs from run to run; the laws may not.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from feedback_platform.contracts.raw_tables import RAW_TABLES
from feedback_platform.engines.duckdb import DuckEngine
from feedback_platform.intake.sqlite_log import open_log
from feedback_platform.lake.store import Lake
from feedback_platform.lake.upkeep import verify
from feedback_platform.settings import Settings
from feedback_platform_tests.api.checker import Attempt, Entry, History, Letter, Sent, faults
from feedback_platform_tests.api.serving import Served, start

SEED = int(os.environ.get("FEEDBACK_FAULT_SEED", "1"))
KILLS = int(os.environ.get("FEEDBACK_CHECKER_KILLS", "100"))
UP_SECONDS = 0.5  # a server lives up to so long before it is killed
SETTLE_SECONDS = 60

CLI = [sys.executable, "-m", "feedback_platform.cli", "--home"]
CLIENTS = [sys.executable, "-m", "feedback_platform_tests.api.checker_clients"]


def test_killed_a_few_times_no_client_was_told_wrong(tmp_path: Path) -> None:
    history, kills = disturbed(tmp_path / "home", kills=4, lander_kills=0, seed=SEED)
    hold(tmp_path / "home", history, kills)


@pytest.mark.slow
def test_killed_a_hundred_times_no_client_was_told_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history, kills = disturbed(tmp_path / "home", kills=KILLS, lander_kills=KILLS // 4, seed=SEED)
    found = hold(tmp_path / "home", history, kills)
    hit = struck(history, kills)
    with capsys.disabled():
        sys.stdout.write(f"\nseed {SEED}: {KILLS} kills, {hit} of them with requests in flight; {dict(found)}\n")
    assert hit >= KILLS // 3, "too few kills met a request: let the servers live longer"
    assert found["ok"] >= 100 * KILLS
    assert found["refused"] >= 10 * KILLS
    assert found["unknown"] > 0


# --- the run ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Landers:
    """A process that lands without end, killed now and then while servers are."""

    home: Path
    process: "subprocess.Popen[bytes] | None" = None
    kills: int = 0

    def begin(self) -> None:
        """Have one running."""
        if self.process is None:
            command = [*CLI, str(self.home), "land", "--watch", "--every", "0", "--child"]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process, self.kills = None, self.kills + 1


def disturbed(home: Path, *, kills: int, lander_kills: int, seed: int) -> tuple[History, list[float]]:
    """Let clients post to a server that is killed so many times; when each kill fell. A healthy one settles the rest.

    One server in six is killed before it listens. One in ten has a lander of its own (`--land`).
    """
    draw = random.Random(seed)
    server = start(home, "--dev")
    landers, times = Landers(home), list[float]()
    with clients(server.port, home.with_name("history.jsonl"), seed):
        for n in range(kills):
            if lander_kills and n * lander_kills // kills != (n - 1) * lander_kills // kills:
                landers.kill()
                landers.begin()
            time.sleep(UP_SECONDS * draw.random())
            times.append(time.monotonic())
            kill(server)
            if draw.random() < 1 / 6:
                kill_while_starting(home, server.port, draw.random())
            options = ["--land"] if lander_kills and draw.random() < 0.1 else []
            server = start(home, "--dev", *options, port=server.port)
        time.sleep(1)
    landers.kill()
    assert landers.kills >= lander_kills
    server.process.terminate()
    server.process.wait(timeout=30)
    assert server.process.stdout is not None
    server.process.stdout.close()
    return read_history(home.with_name("history.jsonl")), times


def kill(server: Served) -> None:
    """SIGKILL."""
    server.kill()
    assert server.process.returncode == -signal.SIGKILL, "the server had ended by itself"
    assert server.process.stdout is not None
    server.process.stdout.close()


def kill_while_starting(home: Path, port: int, delay: float) -> None:
    """Start a server and kill it some time later, ready or not."""
    command = [*CLI, str(home), "serve", "--dev", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        time.sleep(delay)
        process.kill()


@contextmanager
def clients(port: int, path: Path, seed: int) -> Iterator[None]:
    """Clients for the length of the block, and until each of their events is settled."""
    with subprocess.Popen([*CLIENTS, str(port), str(path), str(seed)], stdin=subprocess.PIPE) as process:
        try:
            yield
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=SETTLE_SECONDS) == 0, "a client got an answer that makes no sense"
        finally:
            process.kill()


def read_history(path: Path) -> History:
    """What the clients wrote down."""
    history = History()
    for line in path.read_bytes().splitlines():
        if b'"event":' in line:
            sent = msgspec.json.decode(line, type=Sent)
            history.sent[sent.mark] = sent
        else:
            history.attempts.append(msgspec.json.decode(line, type=Attempt))
    return history


def struck(history: History, kills: list[float]) -> int:
    """Kills that fell between a request and the answer that it never got."""
    lost = [(one.began, one.ended) for one in history.attempts if one.outcome == "unknown"]
    return sum(any(began < at < ended for began, ended in lost) for at in kills)


# --- what is looked at afterwards -------------------------------------------------------------------------------------


def hold(home: Path, history: History, kills: list[float]) -> Mapping[str, int]:
    """Log and, once landed, raw tables against the history."""
    log = open_log(home / "default" / "log" / "events.sqlite")
    try:
        assert log.integrity_check() == []
        kept = [
            Entry(stream, position, msgspec.json.decode(row))
            for stream in ("inference", "feedback")
            for position, row in log.read(stream, 0, 10**9)
        ]
        letters = [letter(msgspec.json.decode(row)) for _, row in log.read("dead_letter", 0, 10**9)]
    finally:
        log.close()
    assert faults(history, kept, letters) == []
    found = history.outcomes()
    assert struck(history, kills) > 0, "no kill met a request"
    assert found["ok"] == len(kept) - sum(mark_unknown(history, kept)), "every entry is acknowledged or unknown"
    subprocess.run([*CLI, str(home), "land"], check=True, stdout=subprocess.DEVNULL)
    landed, buried = raw_tables(home)
    assert faults(history, landed, buried) == []
    assert [(e.kind, e.position, e.mark) for e in landed] == [(e.kind, e.position, e.mark) for e in kept]
    assert buried == letters
    return found


def mark_unknown(history: History, kept: list[Entry]) -> Iterator[bool]:
    """For each entry whether nobody has a receipt for it."""
    acked = {one.mark for one in history.attempts if one.outcome == "ok"}
    return (entry.mark not in acked for entry in kept)


def raw_tables(home: Path) -> tuple[list[Entry], list[Letter]]:
    """What landed, in the order of the log."""
    lake = Lake(Settings(home=home).lake)
    rows: dict[str, list[dict[str, Any]]] = {}
    for contract in RAW_TABLES:
        table = lake.table(contract.name)
        verify(table)
        with DuckEngine(memory_limit="512MB") as engine:
            engine.define_files("raw", [f.path for f in table.snapshot().files], contract.columns())
            rows[contract.name] = engine.frame("SELECT * FROM raw ORDER BY log_seq").to_dicts()
    tables = (("inference", "raw_inference_logs"), ("feedback", "raw_feedback"))
    landed = [Entry(kind, row["log_seq"], row) for kind, name in tables for row in rows[name]]
    return landed, [letter(row) for row in rows["dead_letters"]]


def letter(row: Mapping[str, Any]) -> Letter:
    """A dead letter of the log or of the table."""
    return Letter(msgspec.json.decode(row["body"])["metadata"]["mark"], row["reason"])
