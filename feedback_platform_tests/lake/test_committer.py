"""A commit is whole or absent, happens once, and only with rows that keep the contract."""

import os
import subprocess
import sys
from datetime import UTC, datetime

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.errors import CommitConflict, ContractViolation, LakeError
from feedback_platform.lake.committer import alter, commit, remove_prefix, settle, write_entry
from feedback_platform.lake.crash import COMMIT_POINTS, reach
from feedback_platform.lake.parts import inspect
from feedback_platform.lake.table import LakeTable
from feedback_platform_tests.lake.things import (
    NOTED_THINGS,
    THINGS,
    add,
    ids,
    open_things,
    rows,
    write_part,
)
from feedback_platform_tests.lake.writer import expected_upto


@pytest.fixture
def table(tmp_path):
    return open_things(tmp_path)


def test_rows_of_a_commit_are_visible_and_counted(table):
    done = add(table, 1, ["a", "b"])
    assert (done.rows, done.files, done.skipped) == (2, 1, False)
    assert ids(table) == ["a", "b"]
    assert table.snapshot().rows == 2
    assert table.snapshot().files[0].prefix == "w1"
    assert table.transaction("app") == 1


@pytest.mark.parametrize("txn", [5, 4], ids=["same", "lower"])
def test_a_repeat_is_skipped_and_its_parts_are_gone(table, txn):
    add(table, 5, ["a"])
    part = write_part(table, "again", rows(["a"]))
    assert commit(table, [part], app="app", txn=txn).skipped
    assert ids(table) == ["a"]
    assert not part.exists()


def test_a_repeat_with_the_very_same_files_keeps_them(table):
    part = write_part(table, "w1", rows(["a"]))
    for _ in range(2):
        commit(table, [part], app="app", txn=1)
    assert ids(table) == ["a"]


def test_transaction_zero_counts_as_committed(table):
    add(table, 0, ["a"])
    assert add(table, 0, ["a"]).skipped


@given(order=st.lists(st.integers(0, 4), max_size=8))
def test_whatever_is_repeated_the_table_is_the_rising_part(order, tmp_path_factory):
    table = open_things(tmp_path_factory.mktemp("lake"))
    rising: list[int] = []
    for txn in order:
        done = add(table, txn, [str(txn)])
        assert done.skipped is bool(rising and txn <= rising[-1])
        rising += [] if done.skipped else [txn]
    assert ids(table) == [str(t) for t in rising]


def test_apps_count_apart(table):
    add(table, 7, ["a"], app="one")
    assert not add(table, 1, ["b"], app="two").skipped
    assert ids(table) == ["a", "b"]


def test_no_parts_and_empty_parts_record_the_transaction_alone(table):
    empty = write_part(table, "w2", rows([]))
    assert commit(table, [], app="app", txn=1).files == 0
    assert commit(table, [empty], app="app", txn=2).files == 0
    assert table.transaction("app") == 2
    assert table.snapshot().files == ()
    assert not empty.exists()


def test_another_process_sees_the_same_table(table, tmp_path):
    add(table, 1, ["a"])
    other = open_things(tmp_path)
    add(other, 2, ["b"])
    assert ids(table) == ["a", "b"]
    assert add(table, 2, ["c"]).skipped


def test_a_table_made_anew_at_the_same_place_is_not_confused_with_the_old_one(table, tmp_path):
    add(table, 1, ["a"])
    subprocess.run(["rm", "-r", str(table.folder)], check=True)
    add(open_things(tmp_path), 1, ["b"])
    assert ids(table) == ["b"]


def test_replacing_a_prefix_leaves_only_the_new_rows(table):
    add(table, 1, ["a"], prefix="w1")
    add(table, 2, ["b"], prefix="w2")
    part = write_part(table, "w2", rows(["c"]))
    commit(table, [part], app="app", txn=3, replace_prefix="w2")
    assert ids(table) == ["a", "c"]


def test_a_removed_prefix_is_gone_and_the_rest_stays(table):
    add(table, 1, ["a"], prefix="w1")
    add(table, 2, ["b"], prefix="w10")
    remove_prefix(table, "w1", app="app", txn=3)
    assert ids(table) == ["b"]
    assert remove_prefix(table, "w10", app="app", txn=3).skipped


@pytest.mark.parametrize(
    ("frame", "rule"),
    [
        (rows(["ok", "bad"]).with_columns(n=pl.Series([1, -4])), "n: greater_than_or_equal_to"),
        (rows(["ok", "bad"]).with_columns(at=pl.Series([datetime(2026, 1, 1, tzinfo=UTC), None])), "at: not null"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_and_nothing_becomes_visible(table, frame, rule):
    part = write_part(table, "w1", frame.cast(THINGS.polars_schema()))
    with pytest.raises(ContractViolation, match=r"1 row\(s\) break") as told:
        commit(table, [part], app="app", txn=1)
    assert f"`{rule}`" in str(told.value)
    assert "{'id': 'bad'}" in str(told.value)
    assert "Pandera: " in str(told.value)
    assert table.transaction("app") is None
    assert ids(table) == []


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (rows(["a"]).cast({"n": pl.Int32}), "`n` is int32, not int64"),
        (rows(["a"]).with_columns(pl.col("at").dt.cast_time_unit("ms")), r"`at` is timestamp\[ms, tz=UTC\]"),
        (rows(["a"]).with_columns(pl.col("at").dt.replace_time_zone(None)), r"`at` is timestamp\[us\]"),
        (rows(["a"]).drop("note"), "`note` is missing"),
        (rows(["a"]).with_columns(more=pl.lit(1)), "`more` is not in the contract"),
        (rows(["a"]).select("n", "id", "at", "note"), "order of columns"),
    ],
)
def test_a_part_of_another_schema_is_refused(table, frame, why):
    part = write_part(table, "w1", frame)
    with pytest.raises(ContractViolation, match=why):
        commit(table, [part], app="app", txn=1)
    assert ids(table) == []


def test_parts_from_duckdb_and_polars_are_one_schema(table):
    by_duckdb = table.staging("duck") / "part-0.parquet"
    duckdb.connect().execute(
        "COPY (SELECT 'd' AS id, 2::BIGINT AS n, TIMESTAMPTZ '2026-01-02 03:04:05.678901+00' AS at, "
        f"'{{}}'::JSON AS note) TO '{by_duckdb}' (FORMAT parquet, COMPRESSION zstd)"
    )
    by_polars = table.staging("bear") / "part-0.parquet"
    rows(["p"]).write_parquet(by_polars)
    by_arrow = write_part(table, "row", rows(["a"]))
    commit(table, [by_duckdb, by_polars, by_arrow], app="app", txn=1)
    assert ids(table) == ["a", "d", "p"]
    # Any Delta reader agrees, statistics included.
    stats = pl.DataFrame(DeltaTable(table.folder).get_add_actions(flatten=True)).sort("path")
    assert stats["max.n"].to_list() == [1, 2, 1]
    assert stats["min.at"].to_list()[1] == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert "min.id" not in stats.columns


def test_a_torn_part_is_refused(table):
    part = write_part(table, "w1", rows(["a"]))
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(ContractViolation, match="not a readable parquet file"):
        commit(table, [part], app="app", txn=1)


def test_a_part_outside_the_table_is_refused(table, tmp_path):
    rows(["a"]).write_parquet(tmp_path / "part.parquet")
    with pytest.raises(LakeError, match="not a part file below"):
        commit(table, [tmp_path / "part.parquet"], app="app", txn=1)


def test_a_new_column_needs_alter_and_then_shows(table):
    add(table, 1, ["a"])
    noted = LakeTable(table.folder, NOTED_THINGS)
    part = write_part(noted, "w2", rows(["b"]).with_columns(extra=pl.lit("x")))
    with pytest.raises(ContractViolation, match="`extra` is missing"):
        commit(noted, [part], app="app", txn=2)
    assert alter(noted) == ("extra",)
    assert alter(noted) == ()
    commit(noted, [part], app="app", txn=2)
    found = duckdb.connect().execute(
        "SELECT id, extra FROM read_parquet(?, union_by_name = true) ORDER BY id", [noted.snapshot().uris()]
    )
    assert found.fetchall() == [("a", None), ("b", "x")]
    with pytest.raises(ContractViolation, match="`extra` is not in the contract"):
        add(table, 3, ["c"])


@pytest.mark.parametrize("step", sorted(COMMIT_POINTS))
def test_killed_at_any_point_and_run_again_gives_every_row_once(step, tmp_path):
    run = [sys.executable, "-m", "feedback_platform_tests.lake.writer", str(tmp_path), "app", "3"]
    killed = subprocess.run(run, env={**os.environ, "FEEDBACK_CRASH_AT": f"things.{step}:2"}, check=False)
    assert killed.returncode == -9
    after = ids(open_things(tmp_path))
    assert after == expected_upto("app", 2 if step in ("after_commit", "before_cursor") else 1)
    subprocess.run(run, check=True)
    assert ids(open_things(tmp_path)) == expected_upto("app", 3)
    assert len(list((tmp_path / "things" / "app2").iterdir())) == 1, "the dead attempt's folder was removed"


def test_a_crash_point_that_no_test_visits_is_refused():
    with pytest.raises(ValueError, match="POINTS"):
        reach("things.somewhere")


def test_a_foreign_commit_in_between_surfaces_and_parts_are_kept(table):
    add(table, 1, ["a"])
    stale = table.handle()
    foreign = DeltaTable(table.folder)
    foreign.create_write_transaction([], mode="append", schema=foreign.schema())
    part = inspect(write_part(table, "w2", rows(["b"])), THINGS)
    with pytest.raises(CommitConflict, match="app 2 was not committed"):
        write_entry(table, stale, [part], [], [("app", 2)], is_change=True)
    assert part.path.exists()
    commit(table, [part.path], app="app", txn=2)
    assert ids(table) == ["a", "b"]


def test_an_error_after_the_entry_was_written_is_a_success(table):
    add(table, 1, ["a"])
    settle(table, "app", 1, OSError("the answer was lost"))
    with pytest.raises(CommitConflict, match="the answer was lost"):
        settle(table, "app", 2, OSError("the answer was lost"))
