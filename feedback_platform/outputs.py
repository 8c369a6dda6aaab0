"""What a publication writes for others, and a whole compilation in one call: the same for the command and for Dagster.

Exports and the report are written while the window is `publishing`, the warehouse after it is `published`; each may be
written again. A format that the version has no examples for is noted beside the exports and never fails a publication.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from feedback_platform.compile.manifest import Manifest, TableStep
from feedback_platform.compile.publication import Output, publish
from feedback_platform.compile.warehouse import rebuild_warehouse
from feedback_platform.compile.window import Compiler, open_or_resume, run_tables
from feedback_platform.contracts.policies import DatasetPolicy
from feedback_platform.errors import ConfigError, ExportError
from feedback_platform.lake.files import make_folder, write_atomically
from feedback_platform.publish.export import FORMATS, export_version
from feedback_platform.report.page import write_report
from feedback_platform.settings import Settings

Progress = Callable[[str, TableStep], None]


@dataclass(frozen=True, slots=True)
class Compiled:
    """What came of a compilation. `published` has a version; `empty` changed nothing; `nothing_new` cut no window."""

    outcome: Literal["published", "empty", "nothing_new"]
    manifest: Manifest | None = None
    skipped_formats: tuple[str, ...] = ()


def default_outputs(settings: Settings, policy: DatasetPolicy) -> tuple[Output, ...]:
    """Outputs for `publication.publish`: the exports of `publish.formats`, then the HTML report.

    Raises:
        ConfigError: `publish.formats` names a format that does not exist, or `publish.to` is no folder.
    """
    unknown = [name for name in policy.publish.formats if name not in FORMATS]
    if unknown:
        raise ConfigError(
            f"dataset {policy.name!r}: publish.formats {unknown} are not known. Formats: {', '.join(FORMATS)}."
        )
    if "://" in policy.publish.to:
        raise ConfigError(
            f"dataset {policy.name!r}: publish.to {policy.publish.to!r} is not a folder. "
            "Name a folder, and copy the exports from there."
        )

    def exports(compiler: Compiler, manifest: Manifest) -> None:
        folder = export_folder(settings, manifest, policy.publish.to)
        for name in policy.publish.formats:
            _export(compiler, manifest, name, folder)

    return exports, write_report


def export_folder(settings: Settings, manifest: Manifest, to: str = "exports") -> Path:
    """Where a version's exports lie, one folder per format; `to` is below the tenant's folder unless absolute."""
    return settings.root / to / manifest.dataset / f"v{manifest.version}"


def after_publication(compiler: Compiler) -> Path:
    """Show the newest closed window to analysts; returns the warehouse's path."""
    return rebuild_warehouse(compiler.settings, compiler.lake)


def compile_once(
    compiler: Compiler, trigger: str, progress: Progress | None = None, outputs: tuple[Output, ...] | None = None
) -> Compiled:
    """Under the dataset's lease: open or resume a window, advance every table, publish, rebuild the warehouse.

    Raises:
        LeaseHeldError: another process compiles this dataset.
        PublishBlocked: a check or the bias gate refused.
    """
    chosen = default_outputs(compiler.settings, compiler.policy) if outputs is None else outputs
    with compiler.lease():
        manifest = open_or_resume(compiler, trigger=trigger)
        if manifest is None:
            _catch_up(compiler)
            return Compiled("nothing_new", compiler.store.last_closed())
        if manifest.status == "open":
            manifest = run_tables(compiler, manifest, progress)
        manifest = publish(compiler, manifest.window, chosen)
        after_publication(compiler)
    outcome: Literal["published", "empty"] = "published" if manifest.status == "published" else "empty"
    return Compiled(outcome, manifest, skipped_formats(compiler, manifest))


def skipped_formats(compiler: Compiler, manifest: Manifest) -> tuple[str, ...]:
    """Formats of the policy that this version has no examples for."""
    if manifest.version is None:
        return ()
    folder = export_folder(compiler.settings, manifest, compiler.policy.publish.to)
    return tuple(name for name in compiler.policy.publish.formats if _note(folder, name).exists())


def _export(compiler: Compiler, manifest: Manifest, name: str, folder: Path) -> None:
    note = _note(folder, name)
    try:
        export_version(compiler.lake, manifest, format=name, out=folder / name, settings=compiler.settings)
        note.unlink(missing_ok=True)
    except ExportError as refusal:
        make_folder(folder)
        write_atomically(note, f"{refusal}\n".encode())


def _note(folder: Path, name: str) -> Path:
    return folder / f"{name}.skipped.txt"


def _catch_up(compiler: Compiler) -> None:
    """A run that died after its last window was closed may have left an older warehouse behind."""
    last, warehouse = compiler.store.last_closed(), compiler.settings.warehouse
    if last is None:
        return
    shown = warehouse.stat().st_mtime if warehouse.exists() else 0.0
    if shown < compiler.store.path(last.window).stat().st_mtime:
        after_publication(compiler)
