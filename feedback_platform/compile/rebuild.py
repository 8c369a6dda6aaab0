"""Rebuild: replay every closed window from the raw tables into an empty lake, and hold the hashes against the record."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from feedback_platform.compile.hashes import version_hashes
from feedback_platform.compile.manifest import CLOSED, Manifest, evolve
from feedback_platform.compile.window import TABLE_NAMES, Compiler, advance_named, current_semantics
from feedback_platform.compile.workspace import LakeWorkspace
from feedback_platform.lake.store import Lake


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """One window: hashes on record and made again. `comparable` is False when stage semantics have moved since."""

    window: int
    version: int | None
    change_hash: str
    state_hash: str
    rebuilt_change_hash: str
    rebuilt_state_hash: str
    comparable: bool

    @property
    def equal(self) -> bool:
        """Whether both hashes are the same."""
        return (self.change_hash, self.state_hash) == (self.rebuilt_change_hash, self.rebuilt_state_hash)


def rebuild(
    compiler: Compiler, *, folder: Path | None = None, progress: Callable[[Rebuilt], None] | None = None
) -> list[Rebuilt]:
    """Replay all closed windows of the dataset; the lake itself is only read.

    Args:
        compiler: the dataset.
        folder: where to build (kept); a temporary folder, removed afterwards, unless given.
        progress: told of each window as it is done.
    """
    root = folder or Path(tempfile.mkdtemp(prefix="feedback-rebuild-"))
    try:
        return _replay(compiler, Lake(root), progress)
    finally:
        if folder is None:
            shutil.rmtree(root, ignore_errors=True)


def _replay(compiler: Compiler, scratch: Lake, progress: Callable[[Rebuilt], None] | None) -> list[Rebuilt]:
    state, results = "0" * 64, []
    for recorded in compiler.store.all():
        if recorded.status not in (*CLOSED, "publishing"):
            continue
        hashes = replay_window(compiler, scratch, evolve(recorded, prev_state_hash=state))
        state = str(hashes["state_hash"])
        result = Rebuilt(
            recorded.window,
            recorded.version,
            recorded.change_hash,
            recorded.state_hash,
            str(hashes["change_hash"]),
            state,
            comparable=recorded.semantics == current_semantics(),
        )
        results.append(result)
        if progress is not None:
            progress(result)
    return results


def replay_window(compiler: Compiler, scratch: Lake, manifest: Manifest) -> dict[str, object]:
    """Advance every table of a scratch lake to one window, from the real raw tables; returns its hashes."""
    for name in TABLE_NAMES:
        work = LakeWorkspace(scratch, manifest.dataset, manifest.window, raw=compiler.lake)
        with compiler.engine() as engine:
            advance_named(name, manifest, work, engine)
    work = LakeWorkspace(scratch, manifest.dataset, manifest.window, raw=compiler.lake)
    with compiler.engine() as engine:
        return version_hashes(manifest, work, engine)
