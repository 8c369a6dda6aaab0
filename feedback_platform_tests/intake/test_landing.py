"""Landing in closed ranges: bounded by bytes as well as rows, each event once, whatever ends it in between."""

import os
import subprocess
import sys
from datetime import UTC, datetime

import msgspec
import polars as pl
import pytest

from feedback_platform.intake import landing
from feedback_platform.intake.door import Arrival, Door
from feedback_platform.intake.landing import Landed, land
from feedback_platform.intake.log import Receipt
from feedback_platform.intake.sqlite_log import SqliteEventLog, open_log
from feedback_platform.lake.store import LANDING, Lake
from feedback_platform_tests.builders import inference

MIB = 2**20
LARGE = 50_000
TABLE = "raw_inference_logs"

# Prints by how many bytes the peak of the process rose. Deleted tables and imports are paid before.
_LANDING = """
import resource, sys
from pathlib import Path
from feedback_platform.intake.landing import land
from feedback_platform.intake.sqlite_log import open_log
from feedback_platform.lake.store import Lake
unit = 1 if sys.platform == "darwin" else 1024
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
log, lake = open_log(Path(sys.argv[1]) / "log" / "events.sqlite"), Lake(Path(sys.argv[1]) / "lake")
before = peak()
land(log, lake, range_bytes=int(sys.argv[2]))
print(peak() - before)
"""


def fill(log: SqliteEventLog, count: int, size: int) -> None:
    """Events r1 to rN whose rows are all different and of about one size; a row holds question and answer twice."""
    door = Door(log, "default", lambda: datetime(2026, 6, 1, tzinfo=UTC))
    for first in range(1, count + 1, 200):
        numbers = range(first, min(first + 200, count + 1))
        bodies = [msgspec.json.encode(inference(f"r{n}", text=f"{n:09d} " * (size // 40))) for n in numbers]
        outcomes = door.admit([Arrival("inference", body, "x") for body in bodies])
        assert all(isinstance(one, Receipt) for one in outcomes)


@pytest.fixture
def log(tmp_path):
    with open_log(tmp_path / "log" / "events.sqlite") as opened:
        yield opened


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


def parts(lake: Lake) -> list[list[int]]:
    """The positions in each part, parts in the order of the log."""
    files = lake.table(TABLE).snapshot().files
    return sorted(sorted(pl.read_parquet(f.path, columns=["log_seq"])["log_seq"]) for f in files)


def test_a_range_ends_at_its_bytes_and_each_event_is_landed_once(log, lake):
    fill(log, 300, LARGE)
    [landed, *_] = land(log, lake, range_bytes=2 * MIB)
    assert landed == Landed(TABLE, 300, 300)
    found = parts(lake)
    assert [seq for part in found for seq in part] == list(range(1, 301)), "gapless, each once"
    of_a_part = 2 * MIB // len(log.read("inference", 0, 1)[0][1])
    assert of_a_part == pytest.approx(2 * MIB / LARGE, rel=0.05)
    assert max(map(len, found)) <= of_a_part + 1
    assert all(len(part) > of_a_part // 2 for part in found[:-1]), "and no smaller than the bound asks for"
    table = lake.table(TABLE)
    assert table.transaction(LANDING) == 300
    assert land(log, lake, range_bytes=2 * MIB)[0] == Landed(TABLE, 0, 300)
    assert parts(lake) == found


def test_small_events_share_a_range_up_to_its_rows(log, lake, monkeypatch):
    monkeypatch.setattr(landing, "RANGE_ROWS", 100)
    fill(log, 250, 100)
    assert land(log, lake)[0].rows == 250
    assert len(parts(lake)) == 1, "what is read at once is not cut"
    fill(log, 400, 100)
    assert land(log, lake)[0] == Landed(TABLE, 150, 400)
    assert [len(part) for part in parts(lake)] == [250, 150]


def test_an_event_larger_than_a_range_is_a_range(log, lake):
    fill(log, 5, LARGE)
    assert land(log, lake, range_bytes=1000)[0].rows == 5
    assert parts(lake) == [[1], [2], [3], [4], [5]]


def test_what_was_landed_before_an_error_is_not_landed_again(log, lake):
    fill(log, 200, LARGE)

    def full(table, rows):
        if rows > 60:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        land(log, lake, full, range_bytes=2 * MIB)
    position = lake.table(TABLE).transaction(LANDING)
    assert position is not None
    assert 60 < position < 200, "each range is committed with its own last position"
    assert land(log, lake, range_bytes=2 * MIB)[0] == Landed(TABLE, 200 - position, 200)
    assert [seq for part in parts(lake) for seq in part] == list(range(1, 201))


def test_memory_does_not_grow_with_the_backlog(tmp_path):
    with open_log(tmp_path / "log" / "events.sqlite") as log:
        fill(log, 1_600, LARGE)  # 80 MB; landed as one range it takes over 200 MB
    command = [sys.executable, "-c", _LANDING, str(tmp_path), str(4 * MIB)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "POLARS_MAX_THREADS": "2"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) < 120 * MIB
    assert sum(map(len, parts(Lake(tmp_path / "lake")))) == 1_600
