"""The catalogue: exactly these assets, checks, jobs, sensors and schedules, and nothing that cannot run."""

import textwrap
import tomllib
from pathlib import Path

import dagster as dg
import pytest
import yaml

from feedback_platform.compile.window import TABLE_NAMES
from feedback_platform.definitions import defs

ROOT = Path(__file__).parents[2]
RAW = ("raw_inference_logs", "raw_feedback", "dead_letters")


def load(home: Path, monkeypatch, *projects: Path) -> dg.Definitions:
    """The code location as Dagster loads it, from a home of its own."""
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("FEEDBACK_HOME", str(home))
    monkeypatch.setenv("FEEDBACK_PROJECTS", ":".join(str(p) for p in projects))
    monkeypatch.chdir(home)
    loaded = defs()
    assert isinstance(loaded, dg.Definitions)
    return loaded


def dataset_names(dataset: str) -> tuple[set[str], set[str]]:
    """Assets and checks of a dataset."""
    assets = {f"{dataset}/{table}" for table in (*TABLE_NAMES, "dataset_manifests")}
    laws = {
        f"{dataset}/sampled_dataset:every_event_is_accounted_for",
        f"{dataset}/bias_report:bias_is_within_bounds",
        f"{dataset}/dataset_manifests:versions_are_reproducible",
    }
    return assets, {f"{dataset}/{table}:rows_keep_their_contract" for table in TABLE_NAMES} | laws


def inventory(loaded: dg.Definitions) -> dict[str, set[str]]:
    graph = loaded.resolve_asset_graph()
    return {
        "assets": {key.to_user_string() for key in graph.get_all_asset_keys()},
        "checks": {f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys},
        "jobs": {job.name for job in loaded.resolve_all_job_defs()} - {"__ASSET_JOB"},
        "sensors": {s.name for s in loaded.sensors or ()},
        "schedules": {s.name for s in loaded.schedules or ()},
    }


def test_the_catalogue_holds_exactly_this(tmp_path, monkeypatch):
    assets, laws = dataset_names("translation_quality")
    raw = {f"{table}:{check}" for table in RAW for check in ("ids_are_unique", "positions_are_gapless")}
    assert inventory(load(tmp_path, monkeypatch)) == {
        "assets": {*assets, *RAW},
        "checks": laws | raw,
        "jobs": {"compile_translation_quality", "land_events", "upkeep"},
        "sensors": {"landing_sensor", "translation_quality_drift_sensor"},
        "schedules": {"translation_quality_schedule", "daily_upkeep_schedule"},
    }


def test_nothing_is_a_phantom_and_everything_is_described(tmp_path, monkeypatch):
    graph = load(tmp_path, monkeypatch).resolve_asset_graph()
    for node in graph.asset_nodes:
        assert node.is_executable, f"{node.key} exists only as somebody's dependency"
        assert node.description, node.key
        assert node.kinds, node.key
        assert node.owners, node.key
        assert node.group_name in ("raw", "translation_quality")
        assert node.code_version, node.key


def test_landing_is_no_part_of_a_datasets_job(tmp_path, monkeypatch):
    loaded = load(tmp_path, monkeypatch)
    assets, _ = dataset_names("translation_quality")
    job = loaded.resolve_job_def("compile_translation_quality")
    assert {k.to_user_string() for k in job.asset_layer.selected_asset_keys} == assets
    landing = loaded.resolve_job_def("land_events")
    assert {k.to_user_string() for k in landing.asset_layer.selected_asset_keys} == set(RAW)


def test_checks_that_publication_waits_for_are_blocking(tmp_path, monkeypatch):
    graph = load(tmp_path, monkeypatch).resolve_asset_graph()
    blocking = {key.name for key in graph.asset_check_keys if graph.get_check_spec(key).blocking}
    assert blocking == {"rows_keep_their_contract", "every_event_is_accounted_for"}
    publication = graph.get(dg.AssetKey(["translation_quality", "dataset_manifests"]))
    upstream = {k.path[-1] for k in graph.get_ancestor_asset_keys(publication.key)}
    assert upstream >= set(TABLE_NAMES), "a failing check on any table must stop publication"


def test_what_is_meant_to_run_is_switched_on(tmp_path, monkeypatch):
    loaded = load(tmp_path, monkeypatch)
    assert {s.default_status for s in loaded.sensors or ()} == {dg.DefaultSensorStatus.RUNNING}
    statuses = {s.default_status for s in loaded.schedules or () if isinstance(s, dg.ScheduleDefinition)}
    assert statuses == {dg.DefaultScheduleStatus.RUNNING}


def test_a_dataset_outside_the_package_appears_beside_the_others(tmp_path, monkeypatch):
    folder = tmp_path / "project" / "defs" / "tickets"
    folder.mkdir(parents=True)
    text = """\
        type: feedback_platform.components.FeedbackDataset
        attributes:
          name: tickets
          trigger: {volume: 500}
    """
    (folder / "defs.yaml").write_text(textwrap.dedent(text), encoding="utf-8")
    found = inventory(load(tmp_path / "home", monkeypatch, tmp_path / "project"))
    assets, laws = dataset_names("tickets")
    assert assets <= found["assets"]
    assert laws <= found["checks"]
    assert {"compile_tickets", "compile_translation_quality"} <= found["jobs"]
    assert {"tickets_volume_sensor", "tickets_drift_sensor"} <= found["sensors"]


def test_a_mistake_in_a_yaml_outside_names_file_and_field(tmp_path, monkeypatch):
    (tmp_path / "defs.yaml").write_text(
        "type: feedback_platform.components.FeedbackDataset\nattributes: {name: t, resolve: {agrement: 1}}\n",
        encoding="utf-8",
    )
    with pytest.raises(Exception, match="Error while building definitions") as failure:
        load(tmp_path, monkeypatch)
    assert "agrement" in str(failure.value.__cause__)


def test_both_roads_name_the_same_location_as_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["dg"]["project"]
    (entry,) = yaml.safe_load((ROOT / "workspace.yaml").read_text(encoding="utf-8"))["load_from"]
    roads = {
        (project["code_location_target_module"], project["code_location_name"]),
        (entry["python_module"]["module_name"], entry["python_module"]["location_name"]),
    }
    assert roads == {("feedback_platform.definitions", "feedback_platform")}
