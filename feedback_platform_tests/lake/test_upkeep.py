"""Upkeep changes files, never rows; damage is found before it is read or built upon, and can be undone."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from feedback_platform.errors import ContractViolation, DamagedTableError, LakeError, LeaseHeldError
from feedback_platform.lake import deltalog
from feedback_platform.lake.committer import alter, commit, remove_prefix
from feedback_platform.lake.files import write_atomically
from feedback_platform.lake.locks import exclusive
from feedback_platform.lake.table import LakeTable
from feedback_platform.lake.upkeep import checkpoint, compact, recover, vacuum, verify
from feedback_platform_tests.lake.things import NOTED_THINGS, add, ids, open_things, rows, write_part
from feedback_platform_tests.lake.writer import expected_upto

WEEK = timedelta(days=7)


@pytest.fixture
def table(tmp_path):
    table = open_things(tmp_path)
    for txn in range(1, 5):
        add(table, txn, [f"{txn}-a", f"{txn}-b"])
    return table


def now():
    return datetime.now(UTC)


def content(table):
    return pl.read_parquet(table.snapshot().uris()).sort("id")


def test_compaction_keeps_rows_and_transactions(table):
    before = content(table)
    done = compact(table, upto=lambda prefix: prefix != "w4")
    assert (done.merged, done.written, done.given_up) == (3, 1, 0)
    assert content(table).equals(before)
    assert [f.prefix for f in table.snapshot().files] == ["c", "w4"]
    assert table.transaction("app") == 4
    assert add(table, 4, ["again"]).skipped


def test_merged_files_merge_again_until_they_are_big_enough(table):
    compact(table, upto=lambda prefix: prefix in ("w1", "w2"))
    compact(table, upto=lambda _: True)
    assert [f.prefix for f in table.snapshot().files] == ["c"]
    assert compact(table, upto=lambda _: True).merged == 0
    assert len(ids(table)) == 8


def test_a_merged_prefix_cannot_be_replaced_for_its_rows_would_double(table):
    compact(table, upto=lambda prefix: prefix in ("w1", "w2"))
    with pytest.raises(LakeError, match="`w2` were merged by compaction"):
        remove_prefix(table, "w2", app="app", txn=5)
    remove_prefix(table, "w4", app="app", txn=5)
    assert len(ids(table)) == 6


def test_compaction_fills_a_column_added_later_with_null(table):
    noted = LakeTable(table.folder, NOTED_THINGS)
    alter(noted)
    compact(noted, upto=lambda _: True)
    assert content(noted)["extra"].to_list() == [None] * 8
    verify(noted)


def test_vacuum_deletes_what_is_unreferenced_and_old_enough(table):
    old = [f.path for f in table.snapshot().files]
    for path in old:
        os.utime(path, (0, 0))
    compact(table, upto=lambda _: True)
    assert vacuum(table, now=now()).files == 0, "days count from the removal, not from the writing"
    assert vacuum(table, now=now() + WEEK + timedelta(minutes=1)).files == len(old)
    assert not any(path.exists() for path in old)
    assert len(ids(table)) == 8
    verify(table)


def test_vacuum_spares_a_living_writer_and_takes_a_dead_one(table, tmp_path):
    part = write_part(table, "w9", rows(["late"]))
    later = now() + 2 * WEEK
    assert vacuum(open_things(tmp_path), now=later).files == 0
    commit(table, [part], app="app", txn=9)
    killed = [sys.executable, "-m", "feedback_platform_tests.lake.writer", str(tmp_path), "other", "1"]
    subprocess.run(killed, env={**os.environ, "FEEDBACK_CRASH_AT": "things.after_fsync"}, check=False)
    dead = list(table.folder.glob("other1/*/*.parquet"))
    assert len(dead) == 1
    assert vacuum(table, now=later).files == 2, "the part and its staging mark"
    assert not (table.folder / "other1").exists() or not dead[0].exists()
    assert "late" in ids(table)


def test_a_checkpoint_keeps_rows_and_transactions(table, tmp_path):
    checkpoint(table)
    add(table, 5, ["x"])
    fresh = open_things(tmp_path)
    assert len(ids(fresh)) == 9
    assert fresh.transaction("app") == 5
    verify(fresh)


def newest(table):
    return deltalog.entry(table.folder, deltalog.versions(table.folder)[-1])


def empty_commit(table):
    newest(table).write_bytes(b"")


def cut_commit(table):
    newest(table).write_bytes(newest(table).read_bytes()[:-40])


def empty_part(table):
    next(table.folder.glob("w4/*/*.parquet")).write_bytes(b"")


def missing_part(table):
    next(table.folder.glob("w4/*/*.parquet")).unlink()


def short_part(table):
    path = next(table.folder.glob("w4/*/*.parquet"))
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [empty_commit, cut_commit, empty_part, missing_part, short_part])
def test_damage_of_the_newest_commit_is_found_and_rolled_back(table, tmp_path, damage):
    damage(table)
    fresh = open_things(tmp_path)
    with pytest.raises(DamagedTableError, match="doctor --repair"):
        fresh.snapshot()
    with pytest.raises(DamagedTableError):
        add(open_things(tmp_path), 5, ["sealed in"])
    done = recover(fresh)
    assert done.version == 3
    assert [p.parent.parent.name for p in done.quarantined] == ["_quarantine"]
    assert fresh.transaction("app") == 3
    add(fresh, 4, ["4-a", "4-b"])
    assert len(ids(fresh)) == 8
    verify(fresh)


def test_a_handle_that_was_open_over_a_recovery_does_not_build_on_the_lost_commit(table, tmp_path):
    empty_commit(table)
    recover(open_things(tmp_path))
    add(table, 4, ["4-c"])
    assert ids(table) == ["1-a", "1-b", "2-a", "2-b", "3-a", "3-b", "4-c"]
    verify(open_things(tmp_path))


def test_a_hole_in_the_log_is_found_and_rolled_back_to(table, tmp_path):
    deltalog.entry(table.folder, 3).unlink()
    fresh = open_things(tmp_path)
    with pytest.raises(DamagedTableError, match="missing between its neighbours"):
        fresh.snapshot()
    assert recover(fresh).version == 2
    assert fresh.transaction("app") == 2


@pytest.mark.parametrize("which", ["*.checkpoint.parquet", "_last_checkpoint"])
@pytest.mark.parametrize("gone", [True, False], ids=["missing", "empty"])
def test_a_damaged_checkpoint_costs_nothing(table, tmp_path, which, gone):
    checkpoint(table)
    path = next((table.folder / "_delta_log").glob(which))
    path.unlink() if gone else path.write_bytes(b"")
    fresh = open_things(tmp_path)
    if (which, gone) != ("_last_checkpoint", True):  # without the pointer readers find the checkpoint themselves
        with pytest.raises(DamagedTableError, match="checkpoint"):
            fresh.snapshot()
    recover(fresh)
    assert len(ids(fresh)) == 8
    assert fresh.transaction("app") == 4
    verify(fresh)


def test_old_damage_is_told_but_never_rolled_back(table):
    for txn in range(5, 25):
        add(table, txn, [])
    empty = next(table.folder.glob("w2/*/*.parquet"))
    empty.write_bytes(b"")
    with pytest.raises(DamagedTableError, match="has 0 bytes"):
        verify(table)
    with pytest.raises(DamagedTableError, match="too far back"):
        recover(table)
    assert table.transaction("app") == 24


def test_verify_looks_inside_the_files(table):
    path = next(table.folder.glob("w2/*/*.parquet"))
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(DamagedTableError, match="not readable parquet"):
        verify(table)


def test_a_damaged_first_commit_leaves_an_empty_folder_to_start_from(tmp_path):
    table = open_things(tmp_path)
    table.ensure()
    empty_commit(table)
    fresh = open_things(tmp_path)
    with pytest.raises(DamagedTableError):
        fresh.ensure()
    assert recover(fresh).version is None
    add(fresh, 1, ["a"])
    assert ids(fresh) == ["a"]


def test_who_waits_in_vain_is_told_who_holds_the_lock(tmp_path):
    lock = tmp_path / "lock"
    held = pytest.raises(LeaseHeldError, match=rf"inner.*process {os.getpid()} \(outer\)")
    with exclusive(lock, wait_seconds=0, what="outer"), held, exclusive(lock, wait_seconds=0.02, what="inner"):
        pass
    with exclusive(lock, wait_seconds=0, what="next"):
        pass


def test_a_lock_outlives_no_process(tmp_path):
    hold = (
        "import os, sys, signal; from pathlib import Path; from feedback_platform.lake.locks import exclusive\n"
        "with exclusive(Path(sys.argv[1]), wait_seconds=0, what='x'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", hold, str(tmp_path / "lock")], check=False)
    with exclusive(tmp_path / "lock", wait_seconds=0, what="next"):
        pass


def test_an_atomic_write_replaces_whole_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "file"
    for data in (b"one", b"second"):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("commits", [8, pytest.param(150, marks=pytest.mark.slow)])
def test_two_writers_beside_compaction_and_vacuum_lose_nothing(tmp_path, commits):
    table = open_things(tmp_path)
    table.ensure()
    command = [sys.executable, "-m", "feedback_platform_tests.lake.writer", str(tmp_path)]
    writers = [subprocess.Popen([*command, app, str(commits)]) for app in ("one", "two")]
    merged = 0
    while any(w.poll() is None for w in writers):
        merged += compact(table, upto=lambda _: True).merged
        vacuum(table, retention=timedelta(0), now=now())
        checkpoint(table)
        time.sleep(0.02)
    assert [w.returncode for w in writers] == [0, 0]
    assert merged > 0
    assert ids(table) == sorted(expected_upto("one", commits) + expected_upto("two", commits))
    verify(open_things(tmp_path))


def test_a_change_that_adding_columns_cannot_make_is_refused(table):
    noted = LakeTable(table.folder, NOTED_THINGS)
    alter(noted)
    with pytest.raises(ContractViolation, match="`extra` is not in the contract"):
        alter(table)
