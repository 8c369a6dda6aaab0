"""Datasets by name, whether declared in a YAML file now or only compiled before."""

from feedback_platform.compile.datasets import find_datasets
from feedback_platform.compile.manifest import ManifestStore, datasets_in
from feedback_platform.compile.window import Compiler
from feedback_platform.errors import NotFoundError
from feedback_platform.settings import Settings


def compiled(settings: Settings, name: str) -> Compiler:
    """A dataset under its YAML; under its last policy where its YAML is gone.

    Raises:
        NotFoundError: nobody knows it.
    """
    known = find_datasets(settings)
    if name in known:
        return Compiler(settings, known[name].policy)
    if name in datasets_in(settings.lake):
        return Compiler(settings, ManifestStore(settings.lake / name).all()[-1].dataset_policy())
    raise NotFoundError(f"no dataset {name!r}. Known: {', '.join(all_names(settings)) or 'none'}.")


def all_names(settings: Settings) -> list[str]:
    """Datasets that are declared or were compiled, by name."""
    return sorted({*find_datasets(settings), *datasets_in(settings.lake)})
