"""Folders for part files that are not committed yet, safe from vacuum while their writer lives.

Each folder holds a lock file that its writer keeps locked; the kernel frees it when the writer dies, and
then the folder is a leftover.
"""

import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from feedback_platform.errors import LakeError
from feedback_platform.lake.files import make_folder
from feedback_platform.lake.locks import is_at, take

MARK = "_staging"

_TRIES, _PAUSE_SECONDS = 100, 0.01

_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*")


class Stagings:
    """The staging folders of one table; those started here are locked by this process.

    Args:
        table: the table's folder.
    """

    def __init__(self, table: Path) -> None:
        self._table = table
        self._locks: dict[Path, int] = {}

    def start(self, prefix: str, *, committed: Callable[[], set[Path]]) -> Path:
        """A new folder below `prefix`, after removing what dead writers left there.

        Args:
            prefix: first folder below the table: letters, digits and `. _ = -`.
            committed: the files that the table names, asked only when there are leftovers.

        Raises:
            LakeError: the prefix would need escaping in a log entry.
        """
        if not _PREFIX.fullmatch(prefix):
            raise LakeError(f"{prefix!r} cannot be a path prefix. Use letters, digits and . _ = - only.")
        below = self._table / prefix
        for folder in [f for f in self._locks if f.parent == below]:
            os.close(self._locks.pop(folder))
        self._clear(below, committed)
        folder = below / uuid.uuid4().hex[:12]
        lock = _take_soon(folder)
        if lock is None:
            raise LakeError(f"{folder} was taken by another process while it was made. Run again.")
        self._locks[folder] = lock
        return folder

    def end(self, folders: Iterable[Path]) -> None:
        """Give up the protection of folders: their files are committed, or not wanted."""
        for folder in folders:
            (folder / MARK).unlink(missing_ok=True)
            if folder in self._locks:
                os.close(self._locks.pop(folder))

    def _clear(self, below: Path, committed: Callable[[], set[Path]]) -> None:
        dead = [mark.parent for mark in below.glob(f"*/{MARK}") if not is_live(mark.parent)]
        named = committed() if dead else set()
        for folder in dead:
            if any(path.is_relative_to(folder) for path in named):
                self.end([folder])  # its writer died between the commit and this
            else:
                shutil.rmtree(folder)


def _take_soon(folder: Path) -> int | None:
    """The lock of a new folder.

    Another process may try it at this moment to see whether the folder is live, or, with a short retention, remove the
    folder while it is empty.
    """
    for _ in range(_TRIES):
        make_folder(folder)
        with suppress(FileNotFoundError):
            lock = take(folder / MARK)
            if lock is not None and is_at(lock, folder / MARK):
                return lock
            if lock is not None:
                os.close(lock)
        time.sleep(_PAUSE_SECONDS)
    return None


def is_live(folder: Path) -> bool:
    """Whether a living process stages files in `folder`."""
    if not (folder / MARK).exists():
        return False
    lock = take(folder / MARK)
    if lock is None:
        return True
    os.close(lock)
    return False
