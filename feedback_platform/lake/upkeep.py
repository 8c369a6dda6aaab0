"""What keeps a table healthy: merging small files, deleting dead ones, checkpoints.

All of it runs beside writers: each change takes the table's lock, and none alters a row.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from feedback_platform.errors import LakeError
from feedback_platform.lake import deltalog
from feedback_platform.lake.committer import COMPACTED, write_entry
from feedback_platform.lake.files import fsync_dir, fsync_file, fsync_files
from feedback_platform.lake.parts import Part, engine, inspect
from feedback_platform.lake.recovery import Recovered, Verified, recover, verify
from feedback_platform.lake.staging import is_live
from feedback_platform.lake.table import DataFile, LakeTable

__all__ = [
    "Compacted", "Recovered", "Vacuumed", "Verified", "checkpoint", "compact", "recover", "vacuum", "verify",
]  # fmt: skip

# DuckDB holds whole row groups in memory: at its default of 122,880 wide rows a merge spilled and took 7 times
# as long.
_ROW_GROUP = 16_384
MERGED = "c"  # prefix of merged files, which no window may have


@dataclass(frozen=True, slots=True)
class Compacted:
    """Files merged into fewer; `given_up` groups lost a source to another writer meanwhile."""

    merged: int
    written: int
    given_up: int


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """Files deleted and the bytes they held."""

    files: int
    bytes: int


def compact(
    table: LakeTable,
    *,
    target_bytes: int = 128 * 1024 * 1024,
    upto: Callable[[str], bool],
    min_files: int = 2,
    memory_limit: str = "1GB",
) -> Compacted:
    """Merge small files into files of about `target_bytes`; rows and their order within files stay the same.

    A merged prefix can no longer be replaced or removed (the committer refuses), so `upto` must pass final
    ones only. Reading and writing happen outside the lock; a group whose files another writer removed
    meanwhile is given up.

    Args:
        table: the table.
        target_bytes: files at least half as big are left alone.
        upto: whether files of a prefix are final.
        min_files: smallest number of files worth merging.
        memory_limit: DuckDB's, for the rewriting.
    """
    merged = written = given_up = 0
    for group in _groups(table, target_bytes, upto, min_files):
        if _merge(table, group, memory_limit):
            merged, written = merged + len(group), written + 1
        else:
            given_up += 1
    return Compacted(merged, written, given_up)


def vacuum(table: LakeTable, *, retention: timedelta = timedelta(days=7), now: datetime) -> Vacuumed:
    """Delete files that the table does not name and that have not been touched for `retention`.

    Removal touches a file, so its days count from the removal. What a living process stages is never deleted.
    """
    table.ensure()
    before = (now - retention).timestamp()
    files = freed = 0
    with table.lock("vacuum"):
        named = {f.path for f in table.snapshot().files}
        for path in list(_unnamed(table, named)):
            with suppress(FileNotFoundError):  # a writer that ends tidies up without the table's lock
                stat = path.stat()
                if stat.st_mtime < before:
                    path.unlink()
                    files, freed = files + 1, freed + stat.st_size
        _remove_empty_folders(table, before)
    return Vacuumed(files, freed)


def checkpoint(table: LakeTable) -> int:
    """Write a durable checkpoint of the log, so that the table opens from few files; returns its version."""
    table.ensure()
    with table.lock("checkpoint"):
        handle = table.handle()
        handle.create_checkpoint()
        version = handle.version()
        for path in deltalog.checkpoint_files(table.folder, version):
            fsync_file(path)
        fsync_file(table.folder / deltalog.LOG / deltalog.LAST_CHECKPOINT)
        fsync_dir(table.folder / deltalog.LOG)
    return version


def _groups(
    table: LakeTable, target_bytes: int, upto: Callable[[str], bool], min_files: int
) -> Iterator[list[DataFile]]:
    group: list[DataFile] = []
    for file in table.snapshot().files:
        final = file.prefix == MERGED or upto(file.prefix)
        if not final or file.bytes >= target_bytes // 2:
            continue
        group.append(file)
        if sum(f.bytes for f in group) >= target_bytes:
            if len(group) >= min_files:
                yield group
            group = []
    if len(group) >= min_files:
        yield group


def _merge(table: LakeTable, group: Sequence[DataFile], memory_limit: str) -> bool:
    folder = table.staging(MERGED)
    part = _rewrite(table, group, folder / "part-0.parquet", memory_limit)
    fsync_files([part.path], below=table.folder)
    with table.lock("compact"):
        handle = table.handle()
        present = {f.path for f in table.files(handle)}
        still = all(f.path in present for f in group)
        if still:
            prefixes = sorted({f.prefix for f in group} - {MERGED})
            # The part's own id comes first: it tells this commit from any other if the outcome is unknown.
            ids = [(f"{MERGED}/{folder.name}", 1), *((COMPACTED + p, 1) for p in prefixes)]
            write_entry(table, handle, [part], group, ids, is_change=False)
    if not still:
        part.path.unlink()
    table.stagings.end([folder])
    return still


def _rewrite(table: LakeTable, group: Sequence[DataFile], target: Path, memory_limit: str) -> Part:
    files = [str(f.path) for f in group]
    have = {name for f in group for name in pq.read_schema(f.path).names}
    columns = ", ".join(
        f'"{c.name}"' if c.name in have else f'CAST(NULL AS {c.duckdb_type}) AS "{c.name}"'
        for c in table.contract.columns()
    )
    cursor = engine(memory_limit)
    cursor.execute(
        f"COPY (SELECT {columns} FROM read_parquet($files, union_by_name = true)) "
        f"TO '{str(target).replace(chr(39), chr(39) * 2)}' (FORMAT parquet, COMPRESSION zstd, "
        f"ROW_GROUP_SIZE {_ROW_GROUP})",
        {"files": files},
    )
    part = inspect(target, table.contract)
    wanted = sum(f.rows for f in group)
    if part.rows != wanted:
        raise LakeError(
            f"{table.name}: merging {len(group)} files of {wanted} rows gave {part.rows}. "
            "Nothing was committed; run `feedback doctor`."
        )
    return part


def _unnamed(table: LakeTable, named: set[Path]) -> Iterator[Path]:
    """Files that the table does not name and nobody stages; `_*` and `.*` at the top are ours."""
    for root, folders, files in os.walk(table.folder):
        here = Path(root)
        if here == table.folder:
            folders[:] = [f for f in folders if not f.startswith(("_", "."))]
            yield from (p for p in (here / deltalog.LOG).glob("*.tmp"))
            files = [f for f in files if not f.startswith(("_", "."))]
        elif is_live(here):
            continue
        yield from (p for f in files if (p := here / f) not in named)


def _remove_empty_folders(table: LakeTable, before: float) -> None:
    for root, _, _ in os.walk(table.folder, topdown=False):
        here = Path(root)
        ours = here == table.folder or here.relative_to(table.folder).parts[0].startswith(("_", "."))
        with suppress(FileNotFoundError):
            if not ours and not any(here.iterdir()) and here.stat().st_mtime < before:
                here.rmdir()
