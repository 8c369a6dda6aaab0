"""The assets: one job takes events to a version; each step advances its table to the open window, or says why not."""

import os
import subprocess
import sys
from dataclasses import dataclass

import dagster as dg
import polars as pl
import pytest

from feedback_platform.compile.manifest import Cuts, evolve
from feedback_platform.compile.rebuild import rebuild
from feedback_platform.compile.steps import table_inputs
from feedback_platform.compile.window import TABLE_NAMES, open_or_resume, run_table
from feedback_platform.lake.committer import commit
from feedback_platform.lake.store import window_prefix
from feedback_platform_tests.builders import thumbs
from feedback_platform_tests.components.dagster_line import (
    DagsterLine,
    checks,
    dagster_line,
    failures,
    metadata,
    send_some,
)


@dataclass(frozen=True)
class History:
    """A run, a run with nothing new, more events, a third run."""

    driven: DagsterLine
    first: dg.ExecuteInProcessResult
    idle: dg.ExecuteInProcessResult
    second: dg.ExecuteInProcessResult
    rows: dict[str, tuple[int, int]]


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    with dagster_line(tmp_path_factory.mktemp("history")) as driven:
        send_some(driven)
        driven.line.land()
        first = driven.run(**{"feedback_platform/trigger": "volume"})
        idle, before = driven.run(), {t: driven.line.table(t).height for t in TABLE_NAMES}
        send_some(driven, first=10)
        driven.line.land()
        second = driven.run()
        yield History(driven, first, idle, second, {t: (n, driven.line.table(t).height) for t, n in before.items()})


@pytest.fixture
def driven(tmp_path):
    with dagster_line(tmp_path) as driven:
        send_some(driven)
        driven.line.land()
        yield driven


def versions(driven):
    return [(m.version, m.state_hash, m.change_hash, m.rows) for m in driven.line.compiler.store.all()]


def last(driven):
    return driven.line.compiler.store.all()[-1]


def test_inputs_are_what_the_sql_names():
    inputs = table_inputs()
    assert tuple(inputs) == TABLE_NAMES
    assert inputs["attributed_pairs"] == ("raw_inference_logs", "raw_feedback")
    assert inputs["validated_pairs"] == ("attributed_pairs",)
    assert inputs["sampled_dataset"] == ("resolved_examples", "candidate_examples", "sampling_thresholds")
    # The past of a table is no input: thresholds look at what was drawn before.
    assert inputs["sampling_thresholds"] == ("candidate_examples",)


def test_one_run_lands_nothing_and_publishes_a_version(history):
    assert history.first.success, failures(history.first)
    manifest = history.driven.line.compiler.store.load(1)
    assert (manifest.status, manifest.version, manifest.trigger) == ("published", 1, "volume")
    assert set(manifest.tables) == set(TABLE_NAMES)
    events = history.first.get_asset_materialization_events()
    assert {e.asset_key.path[0] for e in events} == {"d"}


def test_metadata_tells_rows_changes_and_window(history):
    found = metadata(history.first, "attributed_pairs")
    rows, _ = history.rows["attributed_pairs"]
    assert (found["dagster/row_count"], found["rows added"], found["rows removed"]) == (rows, rows, 0)
    assert (found["window"], found["inferences up to"], found["feedback up to"]) == (1, 4, 6)
    assert found["note"] == "advanced to window 1"
    names = [c.name for c in found["dagster/column_schema"].columns]
    assert names == list(history.driven.line.compiler.lake.table("attributed_pairs", "d").contract.names())
    assert all(c.description for c in found["dagster/column_schema"].columns)
    assert found["bytes written"] > 0


def test_column_lineage_leads_back_to_the_raw_events(history):
    lineage = metadata(history.first, "attributed_pairs")["dagster/column_lineage"].deps_by_column
    (source,) = lineage["feedback_id"]
    assert (source.asset_key.to_user_string(), source.column_name) == ("raw_feedback", "feedback_id")


def test_row_counts_add_up_over_windows(history):
    for table in TABLE_NAMES:
        found = tuple(metadata(run, table)["dagster/row_count"] for run in (history.first, history.second))
        assert found == history.rows[table], table


def test_publication_tells_version_hashes_and_states(history):
    found, manifest = metadata(history.second, "dataset_manifests"), last(history.driven)
    assert (found["version"], found["status"], found["state hash"]) == (2, "published", manifest.state_hash)
    records = [r.data for r in found["inferences by state"].records]
    assert {r["state"]: r["count"] for r in records} == manifest.ledger["inference"]["states"]
    assert history.driven.platform.settings().warehouse.exists()


def test_with_nothing_new_every_step_says_so_and_no_window_is_cut(history):
    assert history.idle.success
    assert metadata(history.idle, "attributed_pairs")["note"] == "nothing has landed since window 1 was cut"
    for table in (*TABLE_NAMES[1:], "dataset_manifests"):
        found = metadata(history.idle, table)
        assert found["window"] == "none"
        assert "no window is open (window 1 is published)" in found["note"]
    assert [m.window for m in history.driven.line.compiler.store.all()] == [1, 2]


def test_only_the_first_table_cuts_a_window(driven):
    result = driven.materialize("validated_pairs")
    assert result.success
    assert "only attributed_pairs cuts one" in metadata(result, "validated_pairs")["note"]
    assert driven.line.compiler.store.all() == []
    driven.materialize("attributed_pairs")
    assert (last(driven).status, set(last(driven).tables)) == ("open", {"attributed_pairs"})


def test_a_table_is_not_advanced_before_those_it_reads(driven):
    driven.materialize("attributed_pairs")
    result = driven.materialize("enriched_records")
    assert not result.success
    assert "enriched_records reads validated_pairs, not yet at window 1" in failures(result)
    assert set(last(driven).tables) == {"attributed_pairs"}


def test_an_unfinished_window_is_not_published(driven):
    driven.materialize("attributed_pairs")
    result = driven.materialize("dataset_manifests")
    assert not result.success
    assert "Materialize those first" in failures(result)
    assert last(driven).status == "open"


def test_an_open_window_of_another_configuration_is_refused_and_then_replaced(driven):
    driven.materialize("attributed_pairs")
    driven.line.policy = {"seed": 9}
    result = driven.materialize("validated_pairs")
    assert "was cut for another configuration" in failures(result)
    assert driven.run().success
    assert [m.status for m in driven.line.compiler.store.all()] == ["abandoned", "published"]


def test_a_step_repeated_is_not_computed_again(driven):
    driven.materialize("attributed_pairs")
    before = last(driven).tables["attributed_pairs"]
    result = driven.materialize("attributed_pairs")
    assert metadata(result, "attributed_pairs")["note"] == "already at window 1"
    assert last(driven).tables["attributed_pairs"] == before


def test_an_empty_change_set_publishes_nothing(history):
    history.driven.line.send(feedback=[thumbs("x1", "r-unknown", up=True)])
    history.driven.line.land()
    result = history.driven.run()
    assert result.success, failures(result)
    found = metadata(result, "dataset_manifests")
    assert (found["status"], "version" in found) == ("empty", False)
    assert found["note"] == "nothing changed, so there is no new version"


def test_a_compilation_by_the_command_in_between_leaves_nothing_for_the_rest_of_the_run(driven):
    driven.materialize("attributed_pairs", "validated_pairs")
    assert driven.line.compile().version == 1
    result = driven.materialize("enriched_records", "dataset_manifests")
    assert result.success
    assert "window 1 is published" in metadata(result, "enriched_records")["note"]
    assert [m.version for m in driven.line.compiler.store.all()] == [1]


def test_a_run_goes_on_with_the_window_that_a_dead_command_left(driven):
    compiler = driven.line.compiler
    with compiler.lease():
        manifest = open_or_resume(compiler, trigger="manual")
        assert manifest is not None
        run_table(compiler, manifest, "attributed_pairs")
    result = driven.run()
    assert result.success
    assert metadata(result, "attributed_pairs")["note"] == "already at window 1"
    assert [(m.window, m.version) for m in compiler.store.all()] == [(1, 1)]


def test_a_held_lease_names_its_holder(driven, monkeypatch):
    monkeypatch.setattr("feedback_platform.compile.steps.LEASE_SECONDS", 0.05)
    with driven.line.compiler.lease():
        result = driven.materialize("attributed_pairs")
    assert not result.success
    assert f"process {os.getpid()} (compile d)" in failures(result)


RUN = """
import sys
from pathlib import Path
from feedback_platform_tests.components.dagster_line import dagster_line
with dagster_line(Path(sys.argv[1])) as driven:
    sys.exit(not driven.run().success)
"""


@pytest.mark.parametrize("point", ["resolved_examples.noted", "window.versioned"])
def test_a_run_killed_between_steps_publishes_the_same_version_when_repeated(driven, history, point):
    """The history's first window saw the same events and was not disturbed."""
    environment = {**os.environ, "FEEDBACK_CRASH_AT": point}
    command = [sys.executable, "-W", "ignore", "-c", RUN, str(driven.line.home)]
    killed = subprocess.run(command, env=environment, check=False, capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    result = driven.run()
    assert result.success, failures(result)
    assert versions(driven) == versions(history.driven)[:1]
    assert all(r.equal for r in rebuild(driven.line.compiler))


def test_a_failing_blocking_check_stops_publication(driven):
    driven.materialize("attributed_pairs")
    table, prefix = driven.line.compiler.lake.table("attributed_pairs", "d"), window_prefix(1)
    rows = pl.read_parquet(table.snapshot().files[0].path)
    part = table.staging(prefix) / "part-0.parquet"
    rows.with_columns(weight_ppm=pl.lit(-5, pl.Int64)).write_parquet(part)
    commit(table, [part], app="vandal", txn=1, replace_prefix=prefix, check=False)
    result = driven.run()
    assert not result.success
    evaluation = checks(result)["attributed_pairs", "rows_keep_their_contract"]
    assert not evaluation.passed
    assert evaluation.description == "6 rows break 'weight_ppm: greater_than_or_equal_to'"
    done = {e.asset_key.path[-1] for e in result.get_asset_materialization_events()}
    assert done == {"attributed_pairs"}
    assert last(driven).status == "open"


def test_lost_events_stop_publication(driven):
    """A feedback event that vanished from a stage is missed by the ledger."""
    driven.materialize(*TABLE_NAMES)
    manifest = last(driven)
    further = Cuts(manifest.cuts.inference, manifest.cuts.feedback + 1)
    driven.line.compiler.store.save(evolve(manifest, cuts=further))
    result = driven.run()
    assert not result.success
    evaluation = checks(result)["sampled_dataset", "every_event_is_accounted_for"]
    assert not evaluation.passed
    assert "1 are not accounted for" in (evaluation.description or "")
    assert "dataset_manifests" not in {e.asset_key.path[-1] for e in result.get_asset_materialization_events()}
