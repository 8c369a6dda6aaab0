"""Exclusive locks between processes: kernel locks on small files, gone with the process that held them.

A lock file is never deleted: a second process could then lock a new file beside the first one's.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feedback_platform.errors import LeaseHeldError

_POLL_SECONDS = 0.005


@contextmanager
def exclusive(path: Path, *, wait_seconds: float, what: str) -> Iterator[None]:
    """Hold the lock file `path` for the length of the block; the kernel frees it when the process dies.

    Not re-entrant: a second `exclusive` on the same path waits, also in the same process.

    Args:
        path: the lock file; made when missing, its folder must exist.
        wait_seconds: how long to wait for another holder; 0 tries once.
        what: what the lock is held for, shown to those who wait.

    Raises:
        LeaseHeldError: another holder kept it for all of `wait_seconds`; names its process and purpose.
    """
    handle = _wait(path, wait_seconds, what)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "what": what}).encode(), 0)
        yield
    finally:
        os.close(handle)


def take(path: Path) -> int | None:
    """Lock `path` without waiting; the open handle (closing it frees the lock), or None when it is held."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _wait(path: Path, wait_seconds: float, what: str) -> int:
    deadline = time.monotonic() + wait_seconds
    while True:
        handle = take(path)
        if handle is not None:
            if is_at(handle, path):
                return handle
            os.close(handle)  # the folder was replaced between open and lock: that lock guards nothing
        elif time.monotonic() >= deadline:
            raise LeaseHeldError(_held(path, wait_seconds, what))
        else:
            time.sleep(_POLL_SECONDS)


def is_at(handle: int, path: Path) -> bool:
    """Whether the open file is still the one at `path`; a lock on another file guards nothing."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _held(path: Path, wait_seconds: float, what: str) -> str:
    try:
        holder = json.loads(path.read_bytes())
        who = f"process {holder['pid']} ({holder['what']})"
    except (OSError, ValueError, KeyError):  # the holder is between taking the lock and signing it
        who = "another process"
    return (
        f"{what}: {path} is held by {who} and did not come free in {wait_seconds:g} s. "
        "Wait for that process to end, or stop it; the lock frees itself then."
    )
