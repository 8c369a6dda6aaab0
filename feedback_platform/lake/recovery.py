"""Is a table whole, and if not, back to the last version that is.

A commit is flushed before the next begins, so a power cut can damage the newest one only.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from feedback_platform.errors import DamagedTableError
from feedback_platform.lake import deltalog
from feedback_platform.lake.files import fsync_dir, make_folder
from feedback_platform.lake.table import DataFile, LakeTable

QUARANTINE = "_quarantine"

_RECOVERABLE = 16  # newest versions that may be rolled back


@dataclass(frozen=True, slots=True)
class Verified:
    """A table found whole: its version, files and rows."""

    version: int
    files: int
    rows: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """What `recover` did: the version it is at now (None: no log, made anew when opened), files moved."""

    version: int | None
    quarantined: tuple[Path, ...]


def verify(table: LakeTable) -> Verified:
    """Look at every log entry and every data file: sizes against the log, parquet footers against row counts.

    Raises:
        DamagedTableError: names the file and what to do.
    """
    table.ensure()
    table.check(_all(table))
    snapshot = table.snapshot()
    for file in snapshot.files:
        why = deltalog.check_file(file.path, file.bytes) or _bad_footer(file)
        if why:
            raise DamagedTableError(
                f"{table.name}: {file.path} {why}. Restore that file from a backup, or run `feedback rebuild`."
            )
    return Verified(snapshot.version, len(snapshot.files), snapshot.rows)


def recover(table: LakeTable) -> Recovered:
    """Set damaged newest log entries aside in `_quarantine/` and roll back to the last whole version.

    Transaction ids roll back as well, so that writers repeat what was lost. A damaged checkpoint is set aside
    alone: the entries before it still tell everything. Data files stay where they are until vacuum.

    Raises:
        DamagedTableError: the damage lies too far back to be the work of a power cut; nothing was changed.
    """
    moved: list[Path] = []
    if (table.folder / deltalog.LOG).is_dir():
        with table.lock("recover"):
            while damage := deltalog.find_damage(table.folder, _all(table)):
                _refuse_deep(table, damage)
                moved += _set_aside(table, damage)
    table.forget()
    known = deltalog.versions(table.folder)
    return Recovered(known[-1] if known else None, tuple(moved))


def _all(table: LakeTable) -> int:
    return len(deltalog.versions(table.folder))


def _bad_footer(file: DataFile) -> str | None:
    try:
        rows = pq.read_metadata(file.path).num_rows
    except (OSError, ValueError) as e:  # ArrowInvalid is a ValueError
        return f"is not readable parquet ({e})"
    return None if rows == file.rows else f"holds {rows} rows, the log recorded {file.rows}"


def _refuse_deep(table: LakeTable, damage: deltalog.Damage) -> None:
    newest = deltalog.versions(table.folder)[-1]
    if damage.is_checkpoint or damage.version > newest - _RECOVERABLE:
        return
    raise DamagedTableError(
        f"{table.name}: {damage.file} {damage.why}; that is version {damage.version} of {newest}, "
        "too far back to roll back to. Restore the table from a backup, or run `feedback rebuild`."
    )


def _set_aside(table: LakeTable, damage: deltalog.Damage) -> list[Path]:
    """Move the damaged checkpoint, or entries and checkpoints from the damaged version on, newest first."""
    log = table.folder / deltalog.LOG
    doomed = [log / deltalog.LAST_CHECKPOINT]
    for version in deltalog.checkpoints(table.folder):
        if version >= damage.version:
            doomed += deltalog.checkpoint_files(table.folder, version)
    if not damage.is_checkpoint:
        later = (v for v in reversed(deltalog.versions(table.folder)) if v >= damage.version)
        doomed += [deltalog.entry(table.folder, v) for v in later]
    make_folder(table.folder / QUARANTINE)
    target = Path(tempfile.mkdtemp(dir=table.folder / QUARANTINE, prefix=f"from-{damage.version}-"))
    present = [p for p in doomed if p.exists()]
    moved = [p.rename(target / p.name) for p in present]
    for folder in (log, target, table.folder / QUARANTINE):
        fsync_dir(folder)
    return moved
