"""What was acknowledged or published survives a power failure (`pytest -m root`).

Parts are written by DuckDB and Polars, log entries by Delta, none of which flushes: each flush is ours, so this tests
those writers' versions as much as our code.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from feedback_platform.compile.rebuild import rebuild
from feedback_platform.compile.verify import stored_state_hash
from feedback_platform.compile.window import TABLE_NAMES
from feedback_platform.contracts.raw_tables import RAW_TABLES
from feedback_platform.errors import DamagedTableError
from feedback_platform.intake.log import Stream
from feedback_platform.intake.sqlite_log import open_log
from feedback_platform.lake.table import LakeTable
from feedback_platform.lake.upkeep import recover, verify
from feedback_platform.outputs import compile_once, export_folder
from feedback_platform_tests.builders import Line
from feedback_platform_tests.powercut import Cut, Disk, disk, run_and_cut, why_unavailable
from feedback_platform_tests.test_soak import assert_once
from feedback_platform_tests.worker import a_line

pytestmark = pytest.mark.root

STREAMS: dict[str, Stream] = {"inference": "inference", "feedback": "feedback"}
PER_ROUND = 18  # events, each acknowledged on a line of its own


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Disk]:
    reason = why_unavailable(tmp_path)
    if reason:
        pytest.skip(reason)
    with disk(tmp_path, megabytes=256) as mounted:
        yield mounted


@pytest.mark.parametrize("lines", [1, PER_ROUND, 3 * PER_ROUND + 5])
def test_every_acknowledged_event_is_there_after_the_cut(drive: Disk, lines: int) -> None:
    cut = run_and_cut(drive, worker("import", drive, "500"), lines=lines)
    one = a_line(cut.root / "home")
    assert_acknowledged(one, cut)
    one.land()
    assert_once(one, list(cut.said))


def test_a_published_version_is_there_after_the_cut_and_needs_no_recovery(drive: Disk) -> None:
    lines = 2 * (PER_ROUND + 1)  # the second version was said, and its writer rests
    cut = run_and_cut(drive, worker("publish", drive, "2"), lines=lines)
    one = a_line(cut.root / "home")
    assert [line.split()[1] for line in cut.said if line.startswith("version")] == ["1", "2"]
    for table in every_table(one):
        verify(table)
    assert_acknowledged(one, cut)
    assert_published(one, cut)
    assert one.ledger().unaccounted == 0


@pytest.mark.parametrize("further", [3, PER_ROUND])
def test_a_published_version_is_there_when_the_next_one_is_cut_short(drive: Disk, further: int) -> None:
    cut = run_and_cut(drive, worker("publish", drive, "99"), lines=PER_ROUND + 1 + further)
    one = a_line(cut.root / "home")
    for table in every_table(one):
        mended(table)
    assert_acknowledged(one, cut)
    assert_published(one, cut)
    one.land()
    compile_once(one.compiler, "test")
    assert_once(one, list(cut.said))
    assert one.ledger().unaccounted == 0, "what was cut short is compiled now"
    assert all(result.equal for result in rebuild(one.compiler))


def worker(role: str, drive: Disk, argument: str) -> list[str]:
    """The command of a worker whose home is on the disk."""
    return [sys.executable, "-m", "feedback_platform_tests.worker", role, str(drive.root / "home"), argument]


def assert_acknowledged(one: Line, cut: Cut) -> None:
    """The log is sound and gives a receipt for every event that was acknowledged."""
    log = open_log(one.settings.log_path)
    try:
        assert log.integrity_check() == []
        said = [line.split() for line in cut.said if not line.startswith("version")]
        assert said, "nothing was acknowledged before the cut"
        lost = [event_id for kind, event_id in said if log.receipt(STREAMS[kind], event_id) is None]
        assert not lost
    finally:
        log.close()


def assert_published(one: Line, cut: Cut) -> None:
    """Every version that was said has its manifest, its rows and its exports, and can be made again."""
    compiler = one.compiler
    said = [line.split()[1:] for line in cut.said if line.startswith("version")]
    assert said, "no version was published before the cut"
    for number, window, change_hash, state_hash in said:
        manifest = compiler.store.version(int(number))
        assert (manifest.window, manifest.change_hash, manifest.state_hash) == (int(window), change_hash, state_hash)
        assert stored_state_hash(compiler, manifest) == state_hash
        parts = sorted((export_folder(compiler.settings, manifest) / "parquet").rglob("*.parquet"))
        assert parts, f"version {number} has lost its export"
        with duckdb.connect() as connection:
            for part in parts:
                connection.read_parquet(str(part)).fetchall()
    rebuilt = {r.version: r.equal for r in rebuild(compiler) if r.version is not None}
    assert all(rebuilt[int(number)] for number, *_ in said)


def every_table(one: Line) -> list[LakeTable]:
    """Raw tables and the dataset's."""
    lake = one.compiler.lake
    return [*(lake.table(c.name) for c in RAW_TABLES), *(lake.table(name, "d") for name in TABLE_NAMES)]


def mended(table: LakeTable) -> None:
    """The table as `doctor --repair` leaves it: a commit that nobody was told of may be damaged."""
    try:
        table.ensure()
    except DamagedTableError:
        recover(table)
    verify(table)
