"""Where a window reads and writes: the lake itself, or a scratch folder over it (plan, dry run)."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from feedback_platform.compile.relations import Files
from feedback_platform.lake.committer import commit
from feedback_platform.lake.store import COMPILE, Lake, window_prefix

_BASE = re.compile(r"s(\d+)")


class Workspace(Files, Protocol):
    """Inputs and outputs of one window."""

    def is_done(self, table: str) -> bool:
        """Whether the window has already written this table."""
        ...

    def write(self, table: str, write_part: Callable[[Path], int]) -> int:
        """Let `write_part` fill one Parquet file, make it part of the table, and return its bytes."""
        ...


class LakeWorkspace:
    """The window's tables in the lake; writes are commits with the window as transaction id."""

    def __init__(self, lake: Lake, dataset: str, window: int, raw: Lake | None = None) -> None:
        self._lake, self._dataset, self._window, self._raw = lake, dataset, window, raw or lake
        self._prefix = window_prefix(window)

    def raw(self, table: str) -> Sequence[Path]:
        """Files of a shared table."""
        return [f.path for f in self._raw.table(table).snapshot().files]

    def before(self, table: str) -> Sequence[Path]:
        """Files of all earlier windows."""
        files = self._lake.table(table, self._dataset).snapshot().files
        # Merged files (prefix `c`) sort before every window. Files of a later, open window are not of the past.
        return [f.path for f in files if f.prefix < self._prefix]

    def base(self, table: str) -> tuple[int, Sequence[Path]]:
        """The newest snapshot of an earlier window."""
        found = [b for b in bases(self._lake, table, self._dataset) if b[0] < self._window]
        return found[-1] if found else (0, [])

    def now(self, table: str) -> Sequence[Path]:
        """Files of this window."""
        files = self._lake.table(table, self._dataset).snapshot().files
        return [f.path for f in files if f.prefix == self._prefix]

    def is_done(self, table: str) -> bool:
        """Whether the table's transaction has reached the window."""
        return (self._lake.table(table, self._dataset).transaction(COMPILE) or 0) >= self._window

    def write(self, table: str, write_part: Callable[[Path], int]) -> int:
        """Write one part, check it against the contract and commit it exactly once."""
        target = self._lake.table(table, self._dataset)
        part = target.staging(self._prefix) / "part-0.parquet"
        rows = write_part(part)
        parts = [part] if rows else []
        done = commit(target, parts, app=COMPILE, txn=self._window, replace_prefix=self._prefix)
        target.stagings.end([part.parent])  # without a part the commit does not know of the folder
        return done.bytes


class ScratchWorkspace:
    """Reads the lake, writes to a folder of its own: what a window would do, without doing it."""

    def __init__(self, lake: Lake, dataset: str, folder: Path, last_closed: int) -> None:
        self._lake, self._dataset, self._folder = lake, dataset, folder
        self._next = window_prefix(last_closed + 1)
        self._parts: dict[str, list[Path]] = {}

    def raw(self, table: str) -> Sequence[Path]:
        """Files of a shared table."""
        return [f.path for f in self._lake.table(table).snapshot().files]

    def before(self, table: str) -> Sequence[Path]:
        """The table as the last closed window left it; what an open window has written does not count."""
        files = self._lake.table(table, self._dataset).snapshot().files
        return [f.path for f in files if f.prefix < self._next]

    def base(self, table: str) -> tuple[int, Sequence[Path]]:
        """The newest snapshot."""
        found = bases(self._lake, table, self._dataset)
        return found[-1] if found else (0, [])

    def now(self, table: str) -> Sequence[Path]:
        """What the scratch window has written."""
        return self._parts.get(table, [])

    def is_done(self, table: str) -> bool:
        """Whether the scratch window has computed this table."""
        return table in self._parts

    def write(self, table: str, write_part: Callable[[Path], int]) -> int:
        """Write one part into the scratch folder."""
        part = self._folder / f"{table}.parquet"
        rows = write_part(part)
        self._parts[table] = [part] if rows else []
        return part.stat().st_size if rows else 0


def bases(lake: Lake, table: str, dataset: str) -> list[tuple[int, Sequence[Path]]]:
    """Snapshots of a table: window and files."""
    opened = lake.base_table(table, dataset)
    files: dict[int, list[Path]] = {}
    for file in opened.snapshot().files if opened.folder.is_dir() else ():
        if match := _BASE.fullmatch(file.prefix):
            files.setdefault(int(match[1]), []).append(file.path)
    return sorted(files.items())
