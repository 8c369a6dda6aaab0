"""A disk that is full, read-only, refuses or hangs: the API says so, tells nobody wrong, and goes on by itself afterwards.

`pytest -m disk` (`make test-disk`): the state of a server lies on a small file system of its own, which needs root.
"""

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedback_platform_tests.api.disk_faults import (
    MALFORMED,
    PATIENCE,
    Teller,
    cli,
    entries,
    filled,
    in_words,
    unavailable,
    wait_for,
    wait_until_ready,
)
from feedback_platform_tests.api.serving import served, start
from feedback_platform_tests.api.test_checker import raw_tables
from feedback_platform_tests.builders import inference, thumbs
from feedback_platform_tests.powercut import Disk, disk, why_unavailable

pytestmark = pytest.mark.disk

MEGABYTES = 48
LONG = "so long that it needs pages of its own; " * 500


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Disk]:
    reason = why_unavailable(tmp_path)
    if reason:
        pytest.skip(reason)
    with disk(tmp_path, megabytes=MEGABYTES) as mounted:
        yield mounted


# --- full -------------------------------------------------------------------------------------------------------------


def test_on_a_full_disk_nothing_is_acknowledged_and_a_freed_one_is_used_without_a_restart(drive: Disk) -> None:
    with served(drive.root / "home", "--dev") as server:
        told = Teller(server)
        told.fine("before", 5)
        with filled(drive):
            told.until_turned_away()
            for n in range(10):
                unavailable(told.post(f"full-{n}"))
                unavailable(server.get("/readyz"))
            unavailable(told.post("full-feedback", thumbs("f-full", explanation=LONG)))
            unavailable(told.post("full-malformed", {**inference("m", text=LONG), "timestamp": "soon"}))
            assert server.get("/healthz").status == 200, "it lives"
        wait_until_ready(server)
        told.fine("after", 5)
        assert told.post("full-3").status == 202, "what was turned away is welcome now"
        assert told.post("malformed", {**inference("m"), "timestamp": "soon"}).status == MALFORMED
        server.kill()
        told.hold(drive.cut() / "home", unknowns=0)


def test_after_a_full_disk_and_a_restart_what_has_a_receipt_is_there_and_nothing_else(drive: Disk) -> None:
    server = start(drive.root / "home", "--dev")
    told = Teller(server)
    told.fine("before", 50)
    with filled(drive):
        told.until_turned_away()
        unavailable(told.post("full-1"))
        server.kill()
        after = drive.cut() / "home"
        told.hold(after, unknowns=0)
    (after.parent / "filler").unlink()
    with served(after, "--dev") as again:
        assert again.post("/v1/inferences", told.event("full-1")).json["log_seq"] == 1 + told.history.outcomes()["ok"]


def test_a_server_that_meets_a_full_disk_says_so_and_starts_once_there_is_space(drive: Disk) -> None:
    with served(drive.root / "home", "--dev") as server:
        told = Teller(server)
        told.fine("before", 5)
    with filled(drive):
        found = cli(drive.root / "home", "serve", "--dev", "--port", "0", timeout=60)
        in_words(found, "disk")
    with served(drive.root / "home", "--dev") as server:
        told.server = server
        told.fine("after", 1)
    told.hold(drive.root / "home", unknowns=0)


def test_a_batch_that_fits_only_in_part_counts_once_when_it_is_sent_again(drive: Disk) -> None:
    events = [{**inference(f"b{n}"), "input": f"{n} " * 400, "metadata": {"mark": f"b{n}"}} for n in range(1_500)]
    with served(drive.root / "home", "--dev") as server:
        with filled(drive, leave=4 * 2**20):
            unavailable(server.post("/v1/batch", events))
            part = len(entries(drive.root / "home"))
            assert part % 256 == 0, "groups are written whole or not at all"
            assert 0 < part < len(events), "the disk must end within the batch"
        wait_until_ready(server)
        answer = server.post("/v1/batch", events)
        assert (answer.status, answer.json["accepted"], answer.json["duplicates"]) == (202, len(events) - part, part)
        receipts = {result["id"]: result["log_seq"] for result in answer.json["results"]}
    kept = entries(drive.root / "home")
    assert {entry.id: entry.position for entry in kept} == receipts
    assert len(kept) == len(events)


def test_landing_on_a_full_disk_fails_in_words_and_goes_on_later(drive: Disk) -> None:
    home = drive.root / "home"
    with served(home, "--dev") as server:
        told = Teller(server)
        told.fine("first", 20)
        assert told.post("malformed-1", {**inference("m1"), "timestamp": "soon"}).status == MALFORMED
        assert cli(home, "land").returncode == 0
        told.fine("second", 200)
        assert told.post("malformed-2", {**inference("m2"), "timestamp": "soon"}).status == MALFORMED
        with filled(drive):
            for _ in range(2):
                in_words(cli(home, "land"), "disk|space")
        for leave in (8_192, 24_576, 49_152, 98_304, 196_608):
            with filled(drive, leave=leave):
                done = cli(home, "land")
                if done.returncode:
                    in_words(done, "disk|space")
        told.fine("third", 3)
        assert cli(home, "land").returncode == 0
        told.hold(home, unknowns=0, landed=True)


def test_the_lander_beside_a_server_survives_a_full_disk(drive: Disk) -> None:
    home = drive.root / "home"
    with served(home, "--dev", "--land") as server:
        told = Teller(server)
        told.fine("first", 20)
        with filled(drive):
            time.sleep(8)  # it lands what waited for 5 s, or tries
        told.fine("second", 20)
        wait_for(lambda: len(raw_tables(home)[0]) == 40)
    told.hold(home, unknowns=0, landed=True)


# --- read-only --------------------------------------------------------------------------------------------------------


def test_a_file_system_that_turned_read_only_costs_nothing_that_was_acknowledged(drive: Disk) -> None:
    """What ext4 does when it finds an error in itself; only a new mount ends it."""
    subprocess.run(["mount", "-o", "remount,errors=remount-ro", str(drive.root)], check=True)
    server = start(drive.root / "home", "--dev")
    told = Teller(server)
    told.fine("before", 30)
    device = subprocess.run(["findmnt", "-no", "SOURCE", str(drive.root)], check=True, capture_output=True, text=True)
    trigger = Path("/sys/fs/ext4") / Path(device.stdout.strip()).name / "trigger_fs_error"
    if not trigger.exists():
        server.kill()
        pytest.skip("this kernel's ext4 cannot be told to find an error")
    trigger.write_text("a test\n")
    for n in range(5):
        unavailable(told.post(f"read-only-{n}"))
        unavailable(server.get("/readyz"))
    server.kill()
    in_words(cli(drive.root / "home", "serve", "--dev", "--port", "0", timeout=60), "")
    after = drive.cut() / "home"
    told.hold(after, unknowns=0)
    with served(after, "--dev") as again:
        told.server = again
        told.fine("after", 3)
    told.hold(after, unknowns=0)


def test_a_server_starts_on_no_read_only_mount_and_does_once_it_is_writable(drive: Disk) -> None:
    with served(drive.root / "home", "--dev") as server:
        told = Teller(server)
        told.fine("before", 3)
    subprocess.run(["mount", "-o", "remount,ro", str(drive.root)], check=True)
    in_words(cli(drive.root / "home", "serve", "--dev", "--port", "0", timeout=60), "")
    subprocess.run(["mount", "-o", "remount,rw", str(drive.root)], check=True)
    with served(drive.root / "home", "--dev") as server:
        told.server = server
        told.fine("after", 3)
    told.hold(drive.root / "home", unknowns=0)


def test_files_that_refuse_writes_for_a_while_are_used_again_without_a_restart(drive: Disk) -> None:
    log = drive.root / "home" / "default" / "log"
    with served(drive.root / "home", "--dev") as server:
        told = Teller(server)
        told.fine("before", 5)
        names = [str(path) for path in log.glob("events.sqlite*") if path.suffix != ".sqlite-shm"]
        subprocess.run(["chattr", "+i", *names], check=True)
        try:
            for n in range(5):
                unavailable(told.post(f"refused-{n}"))
                unavailable(server.get("/readyz"))
        finally:
            subprocess.run(["chattr", "-i", *names], check=True)
        wait_until_ready(server)
        told.fine("after", 5)
        server.kill()
        told.hold(drive.cut() / "home", unknowns=0)


# --- hanging ----------------------------------------------------------------------------------------------------------


def test_a_disk_that_hangs_is_told_by_readiness_and_loses_nothing(drive: Disk) -> None:
    with served(drive.root / "home", "--dev") as server:
        told = Teller(server)
        told.fine("before", 5)
        late = [threading.Thread(target=told.by_another_client, args=(f"late-{n}",)) for n in range(4)]
        subprocess.run(["fsfreeze", "-f", str(drive.root)], check=True)
        try:
            for thread in late:
                thread.start()
            assert server.get("/healthz").status == 200
            wait_for(lambda: server.get("/readyz").status == 503)
            unavailable(server.get("/readyz"))
            assert all(thread.is_alive() for thread in late), "nobody has an answer yet"
        finally:
            subprocess.run(["fsfreeze", "-u", str(drive.root)], check=True)
        for thread in late:
            thread.join(PATIENCE)
        wait_until_ready(server)
        assert told.history.outcomes() == {"ok": 9}
        server.kill()
        told.hold(drive.cut() / "home", unknowns=0)
