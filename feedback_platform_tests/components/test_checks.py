"""The asset checks: they state the laws, and each fails for its own reason."""

import dagster as dg
import polars as pl
import pytest

from feedback_platform.compile.manifest import evolve
from feedback_platform.compile.window import TABLE_NAMES
from feedback_platform_tests.builders import inference, thumbs
from feedback_platform_tests.components.dagster_line import checks, dagster_line, failures, send_some


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    with dagster_line(tmp_path_factory.mktemp("compiled")) as driven:
        send_some(driven)
        driven.line.land()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FEEDBACK_REPLAY_EVENTS", "1000")
            yield driven, driven.run()


def test_every_table_and_law_is_checked(compiled):
    _, result = compiled
    assert result.success, failures(result)
    found = checks(result)
    assert set(found) == {
        *((table, "rows_keep_their_contract") for table in TABLE_NAMES),
        ("sampled_dataset", "every_event_is_accounted_for"),
        ("bias_report", "bias_is_within_bounds"),
        ("dataset_manifests", "versions_are_reproducible"),
    }
    assert all(e.passed for e in found.values()), found


def test_the_ledger_shows_its_sums(compiled):
    driven, result = compiled
    evaluation = checks(result)["sampled_dataset", "every_event_is_accounted_for"]
    ledger = driven.line.compiler.store.all()[-1].ledger
    assert (evaluation.description or "").startswith("4 inferences = ")
    states = evaluation.metadata["feedback"]
    assert isinstance(states, dg.TableMetadataValue)
    assert {r.data["state"]: r.data["count"] for r in states.records} == ledger["feedback"]["states"]


def test_a_small_history_is_replayed(compiled):
    _, result = compiled
    evaluation = checks(result)["dataset_manifests", "versions_are_reproducible"]
    assert evaluation.metadata["windows replayed"].value == 1


def test_a_record_that_the_rows_do_not_add_up_to_is_seen_without_replay(tmp_path, monkeypatch):
    monkeypatch.setenv("FEEDBACK_REPLAY_EVENTS", "0")
    with dagster_line(tmp_path) as driven:
        send_some(driven)
        driven.line.land()
        driven.run()
        store = driven.line.compiler.store
        store.save(evolve(store.load(1), state_hash="f" * 64))
        result = driven.run()
    assert result.success, "the check judges; it does not block"
    evaluation = checks(result)["dataset_manifests", "versions_are_reproducible"]
    assert (evaluation.passed, evaluation.metadata["windows replayed"].value) == (False, 0)
    assert "stored rows of window 1 sum to" in (evaluation.description or "")


def skewed(driven):
    """Region north gets thumbs, south does not."""
    numbers = range(120)
    region = ["north" if n % 2 else "south" for n in numbers]
    driven.line.send(
        [inference(f"r{n}", minute=n, text=f"q {n}", segments={"region": region[n]}) for n in numbers],
        [thumbs(f"t{n}", f"r{n}", rater="ann", minute=300 + n) for n in numbers if region[n] == "north" or n % 12 == 0],
    )
    driven.line.land()


@pytest.mark.parametrize(("gate", "severity", "status"), [("warn", "WARN", "published"), ("block", "ERROR", "blocked")])
def test_bias_warns_or_blocks_as_the_policy_says(tmp_path, gate, severity, status):
    with dagster_line(tmp_path, bias={"gate": gate}, objectives=["unpaired"]) as driven:
        skewed(driven)
        result = driven.run()
        evaluation = checks(result)["bias_report", "bias_is_within_bounds"]
        assert (evaluation.passed, evaluation.severity.value) == (False, severity)
        assert result.success == (gate == "warn")
        assert driven.line.compiler.store.all()[-1].status == status
        if gate == "block":
            assert "the bias gate blocks" in failures(result)


def test_raw_checks_see_a_row_landed_twice(tmp_path):
    from feedback_platform.lake.committer import commit

    with dagster_line(tmp_path) as driven:
        send_some(driven)
        assert all(e.passed for e in checks(driven.run("land_events")).values())
        table = driven.line.compiler.lake.table("raw_feedback")
        part = table.staging("r") / "again.parquet"
        pl.read_parquet(table.snapshot().files[0].path).head(2).write_parquet(part)
        commit(table, [part], app="vandal", txn=1)
        found = checks(driven.run("land_events"))
    failed = {key: e.description for key, e in found.items() if not e.passed}
    assert failed == {
        ("raw_feedback", "ids_are_unique"): "2 of the newest 8 rows repeat an id.",
        ("raw_feedback", "positions_are_gapless"): "2 positions up to 6 are missing, doubled or beyond the end.",
    }
