"""An acknowledged commit survives a power failure (`pytest -m root`)."""

import sys

import pytest

from feedback_platform.errors import DamagedTableError
from feedback_platform.lake.files import write_atomically
from feedback_platform.lake.table import LakeTable
from feedback_platform.lake.upkeep import recover, verify
from feedback_platform_tests.lake.things import add, ids, open_things
from feedback_platform_tests.lake.writer import expected_upto
from feedback_platform_tests.powercut import disk, run_and_cut, why_unavailable

pytestmark = pytest.mark.root


@pytest.fixture
def drive(tmp_path):
    reason = why_unavailable(tmp_path)
    if reason:
        pytest.skip(reason)
    with disk(tmp_path) as mounted:
        yield mounted


@pytest.mark.parametrize("acks", [1, 4, 9])
def test_every_acknowledged_commit_is_there_after_the_cut(drive, acks):
    command = [sys.executable, "-m", "feedback_platform_tests.lake.writer", str(drive.root), "app", "1000"]
    cut = run_and_cut(drive, command, lines=acks)
    last = len(cut.said)
    assert last >= acks
    table = opened(open_things(cut.root))
    done = table.transaction("app")
    assert done is not None
    assert done - last in (0, 1), "the commit under way may be there, whole"
    assert ids(table) == expected_upto("app", done)
    add(table, done + 1, ["next"])
    verify(open_things(cut.root))


def test_an_atomic_write_survives_and_a_plain_one_does_not(drive):
    write_atomically(drive.root / "kept", b"kept")
    (drive.root / "lost").write_bytes(b"lost")
    after = drive.cut()
    assert (after / "kept").read_bytes() == b"kept"
    assert not (after / "lost").exists(), "the harness would not notice a missing fsync"


def opened(table: LakeTable) -> LakeTable:
    """The table, as a start after the cut finds it: the commit that nobody was told of may be damaged."""
    try:
        table.ensure()
    except DamagedTableError:
        recover(table)
    return table
