"""What the API answered with 202 survives a power failure (`pytest -m root`).

Many clients post to a server; its disk is copied at some moment, as a power cut would leave it, and the next server goes
on from the copy, on the same port and for the same clients. Afterwards the checker looks at what they were told.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from feedback_platform_tests.api.serving import start
from feedback_platform_tests.api.test_checker import SEED, clients, hold, kill, read_history
from feedback_platform_tests.powercut import Disk, disk, why_unavailable

pytestmark = pytest.mark.root

CUTS = 6


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Disk]:
    reason = why_unavailable(tmp_path)
    if reason:
        pytest.skip(reason)
    with disk(tmp_path, megabytes=256) as mounted:
        yield mounted


def test_a_first_event_that_was_acknowledged_is_there_after_the_cut(drive: Disk) -> None:
    """The log, its folder and its keys are as young as the event."""
    server = start(drive.root / "home", "--dev")
    event = {"request_id": "r1", "model": "m", "model_version": "1", "input": "i", "output": "o",
             "timestamp": "2026-01-01T00:00:00Z"}  # fmt: skip
    receipt = server.post("/v1/inferences", event)
    assert receipt.status == 202, receipt
    os.kill(server.process.pid, signal.SIGSTOP)
    home = drive.cut() / "home"
    kill(server)
    again = start(home, "--dev")
    repeated = again.post("/v1/inferences", event)
    other = again.post("/v1/inferences", {**event, "output": "another"})
    kill(again)
    assert (repeated.json["log_seq"], repeated.json["duplicate"]) == (receipt.json["log_seq"], True)
    assert (other.status, other.reason) == (409, "id_conflict"), "the key that knows a body is the same"


def test_no_client_was_told_wrong_by_a_server_whose_power_was_cut(drive: Disk, tmp_path: Path) -> None:
    draw, cuts = random.Random(SEED), list[float]()
    now = drive
    server = start(now.root / "home", "--dev")
    with clients(server.port, tmp_path / "history.jsonl", SEED):
        for _ in range(CUTS):
            time.sleep(0.5 + draw.random())
            os.kill(server.process.pid, signal.SIGSTOP)  # the copy is of one moment
            cuts.append(time.monotonic())
            root = now.cut()
            kill(server)
            now = replace(now, root=root, image=root.with_suffix(".img"))
            server = start(now.root / "home", "--dev", port=server.port)
        time.sleep(0.5)
    kill(server)
    history = read_history(tmp_path / "history.jsonl")
    found = hold(now.root / "home", history, cuts)
    assert found["ok"] > 200 * CUTS, found
