"""Dagster's entry point: the catalogue of everything in `defs/`."""

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """All definitions, found by folder."""
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
