"""A disk with faults for a server, and a client that keeps the history of what it was told."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from feedback_platform.intake.sqlite_log import open_log
from feedback_platform_tests.api.checker import Attempt, Entry, History, Letter, Sent, faults
from feedback_platform_tests.api.serving import Answer, Served
from feedback_platform_tests.api.test_checker import letter, raw_tables
from feedback_platform_tests.builders import Event, inference
from feedback_platform_tests.powercut import Disk

PATIENCE = 30.0
CLI = [sys.executable, "-m", "feedback_platform.cli", "--home"]
MALFORMED = 422


@dataclass(slots=True)
class Teller:
    """Posts marked events and keeps the history for the checker; a 503 is an answer that nobody may rely on."""

    server: Served
    history: History = field(default_factory=History)
    turned_away: set[str] = field(default_factory=set)

    def event(self, mark: str) -> Event:
        """The usual event of a mark; texts long enough to need pages."""
        return inference(mark, text=f"{mark} " * 200, metadata={"mark": mark})

    def post(self, mark: str, event: Mapping[str, Any] | None = None, *, by: Served | None = None) -> Answer:
        """Post one event and note the answer."""
        body = {**(event or self.event(mark)), "metadata": {"mark": mark}}
        kind = "feedback" if "feedback_type" in body else "inference"
        self.history.sent[mark] = Sent(mark, kind, body)
        began = time.monotonic()
        answer = (by or self.server).post("/v1/feedback" if kind == "feedback" else "/v1/inferences", body)
        ended = time.monotonic()
        if answer.status == 202:
            facts = answer.json
            done = Attempt(mark, began, ended, "ok", facts["id"], facts["log_seq"], facts["duplicate"])
            self.turned_away.discard(mark)
        elif answer.status in (409, MALFORMED):
            done = Attempt(mark, began, ended, "refused", reason=answer.reason)
        else:
            done = Attempt(mark, began, ended, "unknown", reason=str(answer.status))
            self.turned_away.add(mark)
        self.history.attempts.append(done)
        return answer

    def by_another_client(self, mark: str) -> None:
        """Post from a thread, on a connection of its own."""
        own = Served(self.server.home, self.server.port, self.server.process)
        self.post(mark, by=own)
        own.drop()

    def fine(self, name: str, count: int) -> None:
        """Events that must be taken."""
        for n in range(count):
            answer = self.post(f"{name}-{n}")
            assert answer.status == 202, answer

    def until_turned_away(self) -> None:
        """What the file system has set aside for the log's file takes a few more events."""
        for n in range(100):
            if self.post(f"last-{n}").status == 503:
                return
        raise AssertionError("the disk is not full")

    def hold(self, home: Path, *, unknowns: int, landed: bool = False) -> None:
        """Log, and raw tables if they have it all, against the history; what was turned away left no trace."""
        kept, letters = entries(home), dead_letters(home)
        assert faults(self.history, kept, letters) == []
        assert sum(entry.mark in self.turned_away for entry in kept) == unknowns
        if landed:
            rows, buried = raw_tables(home)
            assert faults(self.history, rows, buried) == []
            assert [entry.mark for entry in rows] == [entry.mark for entry in kept]
            assert buried == letters


def unavailable(answer: Answer) -> None:
    """A 503 that says when to come back."""
    assert answer.status == 503, answer
    assert answer.reason == "log_unavailable", answer
    assert int(answer.headers["retry-after"]) >= 1


def wait_until_ready(server: Served) -> None:
    """Readiness returns by itself."""
    wait_for(lambda: server.get("/readyz").status == 200)


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.2)


@contextmanager
def filled(drive: Disk, leave: int = 0) -> Iterator[None]:
    """No space on the disk, but for `leave` bytes, for the length of the block."""
    filler = drive.root / "filler"
    with filler.open("wb", buffering=0) as file:
        size = 2**20
        while size:
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                pass
            size //= 2
        os.fsync(file.fileno())
        if leave:
            file.truncate(file.tell() - leave)
            os.fsync(file.fileno())
    try:
        yield
    finally:
        filler.unlink()
        subprocess.run(["sync", "-f", str(drive.root)], check=True)  # space is free once the journal says so


def cli(home: Path, *words: str, timeout: float = PATIENCE) -> "subprocess.CompletedProcess[str]":
    """Run `feedback` to its end."""
    return subprocess.run([*CLI, str(home), *words], capture_output=True, text=True, check=False, timeout=timeout)


def in_words(done: "subprocess.CompletedProcess[str]", words: str) -> None:
    """It could not be done, and says why without a traceback."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    assert any(word in done.stderr for word in words.split("|")), done.stderr


def entries(home: Path) -> list[Entry]:
    """What the log keeps; it must be sound."""
    with open_log(home / "default" / "log" / "events.sqlite") as log:
        assert log.integrity_check() == []
        rows = [("inference", log.read("inference", 0, 10**6)), ("feedback", log.read("feedback", 0, 10**6))]
    return [Entry(kind, position, msgspec.json.decode(row)) for kind, found in rows for position, row in found]


def dead_letters(home: Path) -> list[Letter]:
    """The letters of the log."""
    with open_log(home / "default" / "log" / "events.sqlite") as log:
        return [letter(msgspec.json.decode(row)) for _, row in log.read("dead_letter", 0, 10**6)]
