"""Finds datasets: every `defs.yaml` of type FeedbackDataset in the package, the projects, and the working directory.

A project folder made by `feedback init` is remembered in `FEEDBACK_HOME/projects.json`, so that the command and Dagster
find the same datasets.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from feedback_platform.contracts.policies import DatasetPolicy, resolve_policy
from feedback_platform.errors import ConfigError, NotFoundError
from feedback_platform.lake.files import make_folder, write_atomically
from feedback_platform.settings import Settings

COMPONENT = "feedback_platform.components.FeedbackDataset"


@dataclass(frozen=True, slots=True)
class DatasetSource:
    """A dataset, the file that declares it, and what that file says."""

    policy: DatasetPolicy
    path: Path
    given: Mapping[str, Any]


def find_datasets(settings: Settings) -> dict[str, DatasetSource]:
    """All datasets by name.

    Raises:
        ConfigError: a file cannot be read, or two files declare one name.
    """
    found: dict[str, DatasetSource] = {}
    for path in _yaml_files(settings):
        for source in read_datasets(path):
            other = found.get(source.policy.name)
            if other is not None and other.path != source.path:
                raise ConfigError(
                    f"dataset {source.policy.name!r} is declared in {other.path} and in {path}. Rename one of them."
                )
            found[source.policy.name] = source
    return found


def find_dataset(settings: Settings, name: str) -> DatasetSource:
    """One dataset by name; raises NotFoundError naming those there are."""
    known = find_datasets(settings)
    if name not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise NotFoundError(f"no dataset {name!r}. Known: {listed}. `feedback init DIR` makes one.")
    return known[name]


def read_datasets(path: Path) -> Iterator[DatasetSource]:
    """The datasets that one YAML file declares (documents of other component types are passed over)."""
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}. Mend the file.") from error
    for document in documents:
        if isinstance(document, dict) and document.get("type") == COMPONENT:
            given = document.get("attributes") or {}
            yield DatasetSource(resolve_policy(given), path, given)


def remember_project(settings: Settings, folder: Path) -> None:
    """Note a project folder in `FEEDBACK_HOME/projects.json`."""
    known = {*_remembered(settings), str(folder.absolute())}
    make_folder(settings.home)
    write_atomically(settings.home / "projects.json", json.dumps(sorted(known), indent=1).encode())


def project_folders(settings: Settings) -> list[Path]:
    """Folders that may hold datasets beside the package's own."""
    return [*settings.projects, *(Path(p) for p in _remembered(settings)), Path.cwd()]


def _yaml_files(settings: Settings) -> list[Path]:
    package = Path(str(files("feedback_platform"))) / "defs"
    paths = {p.resolve() for p in package.rglob("defs.yaml")}
    for folder in project_folders(settings):
        for pattern in ("defs.yaml", "*/defs.yaml", "defs/*/defs.yaml"):
            paths |= {p.resolve() for p in folder.glob(pattern)}
    return sorted(paths)


def _remembered(settings: Settings) -> list[str]:
    path = settings.home / "projects.json"
    if not path.exists():
        return []
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}. Delete it and run `feedback init DIR` again.") from error
    return [p for p in known if Path(p).is_dir()]
