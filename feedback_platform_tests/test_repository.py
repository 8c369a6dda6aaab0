"""The files around the package agree: pins, dependencies, both roads into Dagster, make, CI and the wheel."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance
from dagster._core.workspace.load_target import PyProjectFileTarget, WorkspaceFileTarget

import feedback_platform

ROOT = Path(__file__).parent.parent
PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.!+-]+)(?:  # (?P<why>\S.*))?")


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def canonical(requirement: str) -> str:
    """The package's name as registries compare it."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def direct_dependencies() -> list[str]:
    project = pyproject()["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["dev"]]


def pins() -> dict[str, re.Match[str]]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    matches = [(line, PIN.fullmatch(line)) for line in lines if line and not line.startswith("#")]
    assert not [line for line, match in matches if match is None], "one exact pin a line: no URL, hash or range"
    return {canonical(match["name"]): match for _, match in matches if match}


def test_every_direct_dependency_is_pinned_with_its_reason():
    pinned = pins()
    assert not [d for d in direct_dependencies() if canonical(d) not in pinned]
    assert not [d for d in direct_dependencies() if not pinned[canonical(d)]["why"]]


def test_every_declared_dependency_says_why_it_is_wanted():
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    declared = [next(x for x in lines if x.strip().startswith(f'"{d}"')) for d in direct_dependencies()]
    assert not [line for line in declared if " # " not in line]


def test_the_package_and_its_metadata_state_one_version():
    assert pyproject()["project"]["version"] == feedback_platform.__version__


def test_both_roads_into_dagster_name_the_same_module_and_location(monkeypatch):
    monkeypatch.chdir(ROOT)  # a bare `dagster dev` looks in the working directory
    roads = [PyProjectFileTarget("pyproject.toml"), WorkspaceFileTarget(paths=["workspace.yaml"])]
    origins = [road.create_origins() for road in roads]
    found = {(o.location_name, o.loadable_target_origin.module_name) for group in origins for o in group}
    assert [len(group) for group in origins] == [1, 1]
    assert found == {("feedback_platform", "feedback_platform.definitions")}


def test_dagster_yaml_keeps_history_where_it_is_told_to(tmp_path):
    text = (ROOT / "dagster.yaml").read_text(encoding="utf-8")
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(text.replace("data/dagster", str(home)), encoding="utf-8")
    with DagsterInstance.from_config(str(home)) as instance:
        assert (instance.run_monitoring_enabled, instance.telemetry_enabled) == (True, False)
        assert (instance.run_retries_enabled, instance.run_retries_max_retries) == (True, 2)
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1
    assert (home / "history" / "runs.db").exists()


def test_dagster_yaml_names_its_folder_in_one_way_only():
    """`make dev` moves history by replacing that one path."""
    config = yaml.safe_load((ROOT / "dagster.yaml").read_text(encoding="utf-8"))
    folders = [
        config["storage"]["sqlite"]["base_dir"],
        config["compute_logs"]["config"]["base_dir"],
        config["local_artifact_storage"]["config"]["base_dir"],
    ]
    assert {"/".join(folder.split("/")[:2]) for folder in folders} == {"data/dagster"}
    assert "s|data/dagster|" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_ci_runs_the_targets_in_order():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    parts = re.findall(r"^part (\S+)", script, re.MULTILINE)
    assert parts == ["test", "test-faults", "test-powercut", "test-disk", "test-duckdb15", "demo"]
    assert "set -euo pipefail" in script
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize(
    "target",
    [
        "setup",
        "check",
        "test",
        "demo",
        "dev",
        "test-faults",
        "test-powercut",
        "test-disk",
        "test-duckdb15",
        "bench",
        "clean",
    ],
)
def test_make_knows_each_target(target):
    """`make -n` prints what it would do; an unknown target or a broken Makefile fails."""
    plan = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert plan.returncode == 0, plan.stderr


def test_files_name_no_home_folder_and_no_registry():
    home, registry = re.compile(r"(?<![\w.])/(home|root|Users|work)/\w"), re.compile(r"py" + r"pi\.(org|io)")
    suffixes = {".py", ".sql", ".toml", ".yaml", ".txt", ".md", ".j2", ".html", ""}
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    ours = [ROOT / name for name in listed if name and not name.startswith("data/sample/")]
    texts = {p: p.read_text(encoding="utf-8") for p in ours if p.suffix in suffixes and p.is_file()}
    assert not [str(p) for p, text in texts.items() if home.search(text) or registry.search(text)]


@pytest.mark.slow
def test_the_wheel_brings_everything_that_is_read_at_run_time(tmp_path):
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(build, check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "feedback_platform"
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= inside
    assert "feedback_platform/pyproject.toml" in inside  # dagster.load_from_defs_folder reads it
    assert not [name for name in inside if name.startswith("feedback_platform_tests")]
