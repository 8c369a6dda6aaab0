"""An export's folder on disk: written beside, flushed, then put in place of an older export; never half-written.

Knows files and checksums, nothing of formats.
"""

import glob
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from feedback_platform.errors import ExportError
from feedback_platform.lake.files import fsync_dir, fsync_files, make_folder

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file of an export: path within its folder, data rows (null for words about them), bytes, SHA-256."""

    path: str
    rows: int | None
    bytes: int
    sha256: str


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `out` at the end; on an error `out` is as it was.

    Two renames put it there, so for an instant between them `out` does not exist.

    Raises:
        ExportError: something that is no export stands at `out`; it would be deleted.
    """
    out = out.absolute()
    if out.exists() and not _is_export(out):
        raise ExportError(f"{out} holds something that is not an export. Name a new or empty folder.")
    make_folder(out.parent)
    _clear(out)
    beside, old = (out.with_name(f".{out.name}.{os.getpid()}.{end}") for end in ("tmp", "old"))
    beside.mkdir()
    try:
        yield beside
        fsync_files((p for p in beside.rglob("*") if p.is_file()), below=beside)
        if out.exists():
            out.rename(old)
        beside.rename(out)
        fsync_dir(out.parent)
    except BaseException:
        if old.exists() and not out.exists():
            old.rename(out)
        shutil.rmtree(beside, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def listed(folder: Path, rows: Mapping[str, int]) -> tuple[ExportedFile, ...]:
    """Every file in the folder by path, with its checksum; `rows` tells how many each data file holds."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return tuple(_described(p, str(p.relative_to(folder)), rows) for p in files)


def write_manifest(folder: Path, facts: Mapping[str, object], files: tuple[ExportedFile, ...]) -> None:
    """`manifest.json`: the version's facts and every other file's checksum."""
    text = msgspec.json.encode({**facts, "files": files})
    (folder / MANIFEST).write_bytes(msgspec.json.format(text, indent=2) + b"\n")


def _clear(out: Path) -> None:
    """Delete what exports to this folder left behind when they were killed; running ones are left alone."""
    for left in out.parent.glob(f".{glob.escape(out.name)}.*"):
        match = re.fullmatch(re.escape(f".{out.name}.") + r"(\d+)\.(tmp|old)", left.name)
        if match and (int(match[1]) == os.getpid() or not _runs(int(match[1]))):
            shutil.rmtree(left)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _described(path: Path, name: str, rows: Mapping[str, int]) -> ExportedFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ExportedFile(name, rows.get(name), path.stat().st_size, digest)


def _is_export(folder: Path) -> bool:
    return folder.is_dir() and ((folder / MANIFEST).is_file() or not any(folder.iterdir()))
