"""The job run from the command, and upkeep: both leave what the UI and the next run expect."""

import dagster as dg
import pytest

from feedback_platform.compile.datasets import find_dataset
from feedback_platform.compile.manifest import ManifestStore
from feedback_platform.compile.rebuild import rebuild
from feedback_platform.compile.window import TABLE_NAMES, Compiler
from feedback_platform.defs.demo import dagster_home, run_dataset_job
from feedback_platform.errors import NotFoundError
from feedback_platform.intake.landing import land
from feedback_platform.intake.sqlite_log import open_log
from feedback_platform.lake.store import Lake
from feedback_platform.settings import load_settings
from feedback_platform_tests.builders import inference, line, rating


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name, value in (("HOME", str(tmp_path)), ("THREADS", "1"), ("MEMORY_LIMIT", "512MB"), ("REPLAY_EVENTS", "0")):
        monkeypatch.setenv(f"FEEDBACK_{name}", value)
    monkeypatch.chdir(tmp_path)
    sender = line(tmp_path)
    sender.send(
        [inference(f"r{n}", minute=n, text=f"q{n}", task="translation") for n in range(6)],
        [rating(f"f{n}", f"r{n}", score=90 if n % 2 else 10, rater="ann") for n in range(6)],
    )
    sender.land()
    return load_settings()


def test_the_job_runs_quietly_and_its_history_is_where_the_ui_looks(settings, capfd):
    assert run_dataset_job("translation_quality", settings)
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == ""
    manifest = ManifestStore(settings.lake / "translation_quality").version(None)
    assert manifest.version == 1
    with dg.DagsterInstance.from_config(str(settings.home / "dagster")) as instance:
        (run,) = instance.get_runs()
        assert (run.job_name, run.status) == ("compile_translation_quality", dg.DagsterRunStatus.SUCCESS)
        event = instance.get_latest_materialization_event(dg.AssetKey(["translation_quality", "dataset_manifests"]))
        assert event is not None
    assert (settings.home / "dagster" / "history" / "runs.db").exists()


def test_an_unknown_dataset_is_named_with_those_there_are(settings):
    with pytest.raises(NotFoundError, match=r"'nope' in Dagster\. Known: translation_quality"):
        run_dataset_job("nope", settings)


def test_a_dagster_yaml_that_is_there_is_kept(settings):
    home = dagster_home(settings)
    assert str(home) in (home / "dagster.yaml").read_text(encoding="utf-8")
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    assert (dagster_home(settings) / "dagster.yaml").read_text(encoding="utf-8") == "telemetry: {enabled: false}\n"


def test_upkeep_merges_closed_windows_and_changes_nothing(settings, monkeypatch):
    from feedback_platform.components.platform import Platform
    from feedback_platform.defs.upkeep import upkeep

    monkeypatch.setattr("feedback_platform.compile.upkeep.MIN_FILES", 2)
    compiler = Compiler(settings, find_dataset(settings, "translation_quality").policy)
    from feedback_platform.outputs import compile_once

    compile_once(compiler, "test")
    sender = line(settings.home)
    sender.slices = 5
    sender.send([inference("r9", text="q9", task="translation")], [rating("f9", "r9", rater="ann")])
    log = open_log(settings.log_path)
    land(log, Lake(settings.lake))
    log.close()
    compile_once(compiler, "test")
    result = upkeep.execute_in_process(resources={"platform": Platform()})
    assert result.success
    files = compiler.lake.table("attributed_pairs", "translation_quality").snapshot().files
    assert [f.prefix for f in files] == ["c"]
    assert all(r.equal for r in rebuild(compiler))
    assert [m.version for m in compiler.store.versions()] == [1, 2]
    assert set(compiler.store.all()[-1].tables) == set(TABLE_NAMES)
