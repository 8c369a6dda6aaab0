"""The manifest of a compilation window: what it was cut at, under which rules, and what came out. One JSON file each.

A window moves open -> publishing -> published, or open -> empty, blocked or abandoned. Ids are never reused.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import rfc8785

from feedback_platform.contracts.policies import DatasetPolicy, content_mapping, resolve_policy
from feedback_platform.errors import DamagedTableError, NotFoundError
from feedback_platform.lake.files import write_atomically

Status = Literal["open", "publishing", "published", "empty", "blocked", "abandoned"]
CLOSED: tuple[Status, ...] = ("published", "empty", "blocked")
NO_HASH = "0" * 64


class Cuts(msgspec.Struct, frozen=True):
    """Landed log positions, inclusive: what the window may see."""

    inference: int = 0
    feedback: int = 0


class TableStep(msgspec.Struct, frozen=True):
    """What a window did to one table."""

    added: int
    updated: int
    removed: int
    bytes_written: int
    seconds: float


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One window. `prev_*` speak of the last closed window, 0 and zeros when there is none.

    `changes` and `change_hash` are the window's own; `since_version` adds those of windows closed without a version.
    """

    dataset: str
    window: int
    status: Status
    trigger: str
    cuts: Cuts
    prev_cuts: Cuts
    prev_window: int
    recompile: bool
    policy: dict[str, Any]
    config_hash: str
    semantics: dict[str, int]
    fits: dict[str, str] = {}
    watermark: int
    opened_at: str
    closed_at: str | None = None
    why: str | None = None
    tables: dict[str, TableStep] = {}
    prev_state_hash: str = NO_HASH
    change_hash: str = NO_HASH
    state_hash: str = NO_HASH
    changes: dict[str, int] = {}
    since_version: dict[str, int] = {}
    rows: dict[str, int] = {}
    ledger: dict[str, Any] = {}
    version: int | None = None
    yanked: str | None = None

    def dataset_policy(self) -> DatasetPolicy:
        """The policy that the window was cut under."""
        return resolve_policy(self.policy)


def config_hash(policy: DatasetPolicy) -> str:
    """SHA-256 of the canonical JSON of what decides a version's content."""
    return hashlib.sha256(rfc8785.dumps(msgspec.to_builtins(content_mapping(policy)))).hexdigest()


class ManifestStore:
    """The manifests of one dataset, in `<dataset folder>/windows/`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "windows"

    def save(self, manifest: Manifest) -> Manifest:
        """Write durably, replacing the earlier state of the same window."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path(manifest.window), msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        return manifest

    def load(self, window: int) -> Manifest:
        """One window's manifest."""
        path = self.path(window)
        if not path.exists():
            raise NotFoundError(f"window {window} has no manifest. `feedback versions` lists what there is.")
        try:
            return msgspec.json.decode(path.read_bytes(), type=Manifest)
        except msgspec.DecodeError as error:
            raise DamagedTableError(
                f"manifest {path.name} cannot be read: {error}. Restore it from a backup."
            ) from error

    def all(self) -> list[Manifest]:
        """All windows, oldest first."""
        return [self.load(int(p.stem)) for p in sorted(self._folder.glob("*.json"))] if self._folder.exists() else []

    def open_one(self) -> Manifest | None:
        """The window that is not closed yet, if any."""
        unfinished = [m for m in self.all() if m.status in ("open", "publishing")]
        return unfinished[-1] if unfinished else None

    def last_closed(self) -> Manifest | None:
        """The newest closed window."""
        closed = [m for m in self.all() if m.status in CLOSED]
        return closed[-1] if closed else None

    def versions(self) -> list[Manifest]:
        """Published windows in version order."""
        return [m for m in self.all() if m.version is not None and m.status in ("published", "publishing")]

    def version(self, number: int | None) -> Manifest:
        """The window of a version; the newest that is not yanked for None."""
        published = [m for m in self.all() if m.status == "published"]
        if number is None:
            published = [m for m in published if m.yanked is None]
        else:
            published = [m for m in published if m.version == number]
        if not published:
            known = ", ".join(str(m.version) for m in self.all() if m.status == "published") or "none yet"
            raise NotFoundError(f"version {number or 'latest'} is not published. Published versions: {known}.")
        return published[-1]

    def next_window(self) -> int:
        """The next id; abandoned ones count."""
        return max((m.window for m in self.all()), default=0) + 1

    def path(self, window: int) -> Path:
        """Where a window's manifest lies."""
        return self._folder / f"{window:06d}.json"


def datasets_in(lake: Path) -> Iterator[str]:
    """Names of datasets that have been compiled at least once."""
    for folder in sorted(lake.glob("*/windows")):
        yield folder.parent.name


def evolve(manifest: Manifest, **changes: Any) -> Manifest:
    """A copy with fields replaced."""
    return msgspec.structs.replace(manifest, **changes)


def summary(manifest: Manifest) -> Mapping[str, Any]:
    """What `feedback versions` shows of a window."""
    return {
        "version": manifest.version,
        "window": manifest.window,
        "published_at": manifest.closed_at,
        "trigger": manifest.trigger,
        "rows": manifest.rows,
        "changes": manifest.since_version or manifest.changes,
        "log_positions": msgspec.to_builtins(manifest.cuts),
        "config_hash": manifest.config_hash,
        "semantics": manifest.semantics,
        "change_hash": manifest.change_hash,
        "state_hash": manifest.state_hash,
        "yanked": manifest.yanked,
    }
