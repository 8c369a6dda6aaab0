"""Exports: one version of a dataset in one format to one folder. The same version gives the same bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from feedback_platform.compile.manifest import Manifest
from feedback_platform.engines.duckdb import DuckEngine
from feedback_platform.errors import ExportError
from feedback_platform.lake.store import Lake
from feedback_platform.publish.dpo import DPO
from feedback_platform.publish.folder import ExportedFile, listed, replacing, write_manifest
from feedback_platform.publish.kto import KTO
from feedback_platform.publish.openai_preference import OPENAI_PREFERENCE
from feedback_platform.publish.openai_sft import OPENAI_SFT
from feedback_platform.publish.parquet import Parquet
from feedback_platform.publish.sft import SFT
from feedback_platform.publish.source import Source
from feedback_platform.settings import Settings


class Format(Protocol):
    """Writes a version into an empty folder."""

    @property
    def name(self) -> str:
        """What users call it."""
        ...

    def write(self, source: Source, folder: Path) -> tuple[dict[str, int], dict[str, object]]:
        """Fill the folder; returns the rows of each file and what the manifest should say."""
        ...


FORMATS: Mapping[str, Format] = {f.name: f for f in (Parquet(), SFT, DPO, KTO, OPENAI_SFT, OPENAI_PREFERENCE)}


@dataclass(frozen=True, slots=True)
class ExportResult:
    """An export: its format, folder, data files (and words about them), and how many examples it holds."""

    format: str
    folder: Path
    files: tuple[ExportedFile, ...]
    rows: int


def export_version(lake: Lake, manifest: Manifest, *, format: str, out: Path, settings: Settings) -> ExportResult:
    """Write a published version to the folder `out`, which an older export there makes way for.

    Raises:
        ExportError: the format is not known, the version has nothing for it, or `out` holds something else.
    """
    if format not in FORMATS:
        raise ExportError(f"format {format!r} is not known. Formats: {', '.join(FORMATS)}.")
    if manifest.version is None:
        raise ExportError(
            f"window {manifest.window} of {manifest.dataset} is not published. `feedback versions` lists what is."
        )
    with DuckEngine(settings.memory_limit, settings.threads) as engine, replacing(out) as folder:
        source = Source(lake, manifest, engine.connection)
        rows, facts = FORMATS[format].write(source, folder)
        files = listed(folder, rows)
        write_manifest(folder, source.facts(format) | facts, files)
    examples = sum(n for name, n in rows.items() if not name.endswith(".provenance.jsonl"))
    return ExportResult(format, out.absolute(), files, examples)
