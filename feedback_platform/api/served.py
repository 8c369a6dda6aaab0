"""Exports that the server makes for trainers to fetch: each version and format once, below the tenant's exports.

`<exports>/.served/<dataset>/v<version>/<format>`. What lies there is used again only while it is whole and says of
itself what the version's manifest says; a lake that was restored to another version 3 is exported again. The folder
may be deleted at any time.
"""

import asyncio
import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from feedback_platform.api.problems import Problem
from feedback_platform.api.server import Server
from feedback_platform.compile.manifest import Manifest
from feedback_platform.lake.files import make_folder
from feedback_platform.lake.locks import exclusive
from feedback_platform.lake.store import Lake
from feedback_platform.publish.export import export_version
from feedback_platform.publish.folder import MANIFEST, ExportedFile
from feedback_platform.settings import Settings

FOLDER = ".served"
PATIENCE_SECONDS = 45.0
LOCK_SECONDS = 3600.0
RETRY_SECONDS = 5

_IDENTITY = ("dataset", "version", "window", "config_hash", "change_hash", "state_hash")


@dataclass(frozen=True, slots=True)
class Served:
    """An export on disk: its folder, and its files in the order in which they are told, `manifest.json` first."""

    folder: Path
    files: Mapping[str, ExportedFile]


class _Facts(msgspec.Struct):
    """What an export's own `manifest.json` says."""

    format: str
    dataset: str
    version: int
    window: int
    config_hash: str
    change_hash: str
    state_hash: str
    files: list[ExportedFile]


_making: WeakKeyDictionary[Server, dict[Path, asyncio.Task[Served]]] = WeakKeyDictionary()


async def served(server: Server, settings: Settings, manifest: Manifest, format: str) -> Served:
    """The export of a version, made when it is not there yet; whoever asks meanwhile waits for the same one.

    Raises:
        ExportError: the version has nothing in this format.
        Problem: 503, it takes longer than a client should wait; the making goes on.
    """
    folder = settings.exports / FOLDER / manifest.dataset / f"v{manifest.version}" / format
    found = await asyncio.to_thread(_found, folder, manifest, format)
    if found is not None:
        return found
    tasks = _making.setdefault(server, {})
    task = tasks.get(folder)
    if task is None:
        task = tasks[folder] = asyncio.create_task(_made(server, settings, manifest, format, folder))
        task.add_done_callback(lambda done: _forget(tasks, folder, done))
    try:
        return await asyncio.wait_for(asyncio.shield(task), PATIENCE_SECONDS)
    except TimeoutError:
        detail = f"The {format} export of version {manifest.version} is being made; ask again in {RETRY_SECONDS} s."
        raise Problem(503, "export_in_progress", detail, retry_after=RETRY_SECONDS) from None


async def _made(server: Server, settings: Settings, manifest: Manifest, format: str, folder: Path) -> Served:
    async with server.exporting:
        return await asyncio.to_thread(_make, settings, manifest, format, folder)


def _make(settings: Settings, manifest: Manifest, format: str, folder: Path) -> Served:
    """Export to the folder, unless another process has meanwhile."""
    make_folder(folder.parent)
    lock = folder.with_name(f".{format}.lock")
    with exclusive(lock, wait_seconds=LOCK_SECONDS, what=f"export of {manifest.dataset} as {format}"):
        found = _found(folder, manifest, format)
        if found is not None:
            return found
        if folder.exists():
            shutil.rmtree(folder)
        export_version(Lake(settings.lake), manifest, format=format, out=folder, settings=settings)
        found = _found(folder, manifest, format)
    if found is None:
        raise OSError(f"{folder} is not what was just written there")
    return found


def _found(folder: Path, manifest: Manifest, format: str) -> Served | None:
    """What lies in the folder, if it is whole and of this version."""
    try:
        text = (folder / MANIFEST).read_bytes()
        facts = msgspec.json.decode(text, type=_Facts)
        whole = all((folder / file.path).stat().st_size == file.bytes for file in facts.files)
    except (OSError, msgspec.MsgspecError):
        return None
    if not whole or facts.format != format or _identity(facts) != _identity(manifest):
        return None
    head = ExportedFile(MANIFEST, None, len(text), hashlib.sha256(text).hexdigest())
    return Served(folder, {file.path: file for file in (head, *sorted(facts.files, key=lambda f: f.path))})


def _identity(of: Any) -> tuple[object, ...]:
    return tuple(getattr(of, name) for name in _IDENTITY)


def _forget(tasks: dict[Path, "asyncio.Task[Served]"], folder: Path, done: "asyncio.Task[Served]") -> None:
    """Let the next request try again; a failure was told to those who waited, if anyone still did."""
    tasks.pop(folder, None)
    if not done.cancelled():
        done.exception()
