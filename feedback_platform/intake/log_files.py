"""What the SQLite log stands on: folders that survive a power cut, the secret key, a sound SQLite.

Linux and macOS local disks; nothing here knows what the log holds.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from feedback_platform.errors import LogError

KEY_BYTES = 32


def make_folder(folder: Path) -> None:
    """Create a folder with its parents so that their directory entries survive a power cut."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the directory entries of a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process (or thread) in per folder; the rest wait."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def owned_file(path: Path) -> None:
    """Create an empty file that only its owner may read, unless there is one; the side files of SQLite follow it.

    Where that cannot be, SQLite says so when it opens the file.
    """
    with suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def secret_key(path: Path) -> bytes:
    """The secret key at a path, created once, readable by its owner only; racing creators agree on one.

    Raises:
        LogError: see `read_key`.
    """
    if not path.exists():
        _create_key(path)
    return read_key(path)


def read_key(path: Path) -> bytes:
    """The secret key at a path.

    Raises:
        LogError: what is there is no key.
    """
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise LogError(f"{path} holds {len(key)} bytes instead of {KEY_BYTES}. Restore it from a backup.")
    return key


def _create_key(path: Path) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, secrets.token_bytes(KEY_BYTES))
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        os.link(draft, path)  # fails when another process was first; its key stands
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    sync_folder(path.parent)


def check_sqlite(version: str) -> None:
    """Refuse SQLite releases that can corrupt a WAL database which two connections write.

    Raises:
        LogError: 3.7.0 to 3.51.2 have the WAL-reset bug, and 3.52.0 was withdrawn.
    """
    numbers = tuple(int(part) for part in version.split(".")[:3])
    if numbers < (3, 51, 3) or numbers == (3, 52, 0):
        raise LogError(
            f"SQLite {version} can corrupt the event log (WAL-reset bug, fixed in 3.51.3). "
            "Install apsw 3.54 or later, which brings its own SQLite."
        )
