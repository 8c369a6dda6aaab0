"""Datasets whose YAML lies outside the package: projects of the settings, and those that `feedback init` remembered."""

from pathlib import Path

import dagster as dg

import feedback_platform
from feedback_platform.compile.datasets import DatasetSource, find_datasets
from feedback_platform.components import FeedbackDataset
from feedback_platform.settings import load_settings

PACKAGE = Path(feedback_platform.__file__).resolve().parent


@dg.definitions
def projects() -> dg.Definitions:
    """The same component as for the package's own datasets, which Dagster finds by folder."""
    found = [s for s in find_datasets(load_settings()).values() if not is_packaged(s)]
    return dg.Definitions.merge(*(FeedbackDataset(source.policy).definitions() for source in found))


def is_packaged(source: DatasetSource) -> bool:
    """Whether the file lies below `feedback_platform/defs`."""
    return source.path.resolve().is_relative_to(PACKAGE / "defs")
