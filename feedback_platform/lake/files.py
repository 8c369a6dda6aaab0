"""Making bytes durable on a local disk: the one place that calls fsync.

Neither Delta's writer nor DuckDB's or Polars' parquet writer flushes what it writes; a power cut takes all of
it. A file is durable once its bytes *and* the folder entry that names it are flushed.
"""

import os
from collections.abc import Iterable
from pathlib import Path


def fsync_file(path: Path) -> None:
    """Flush the file's bytes and size to the disk."""
    _fsync(path, os.O_RDONLY)


def fsync_dir(path: Path) -> None:
    """Flush the folder's entries: names added, renamed or removed in it."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def fsync_files(paths: Iterable[Path], *, below: Path) -> None:
    """Flush files and every folder between them and `below`, `below` included."""
    folders: set[Path] = {below}
    for path in paths:
        fsync_file(path)
        folders.update(p for p in path.parents if p.is_relative_to(below))
    for folder in sorted(folders, reverse=True):
        fsync_dir(folder)


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents, durably."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        fsync_dir(folder.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path`: readers see the old bytes or the new ones, also after a power cut.

    Raises:
        OSError: the disk is full or read-only; `path` is as it was.
    """
    # The process id keeps two writers from sharing a temporary file; the name stays on the same file system.
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    fsync_dir(path.parent)


def _fsync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
