"""The files of a table's `_delta_log`, read without Delta's own reader, which does not notice an empty
commit.

Finds damage that a power cut or a bad disk leaves behind. Repairs nothing; that is `upkeep.recover`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

LOG = "_delta_log"
LAST_CHECKPOINT = "_last_checkpoint"

Action = Mapping[str, Mapping[str, object]]

_ENTRY = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint.*\.parquet")


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a table: the first version that cannot be trusted, the file at fault and why."""

    version: int
    file: Path
    why: str
    is_checkpoint: bool = False


def entry(folder: Path, version: int) -> Path:
    """The commit file of a version."""
    return folder / LOG / f"{version:020d}.json"


def versions(folder: Path) -> list[int]:
    """Versions that have a commit file, ascending."""
    return _numbers(folder, _ENTRY)


def checkpoints(folder: Path) -> list[int]:
    """Versions that have a checkpoint, ascending."""
    return _numbers(folder, _CHECKPOINT)


def checkpoint_files(folder: Path, version: int) -> list[Path]:
    """The files of a version's checkpoint."""
    return sorted((folder / LOG).glob(f"{version:020d}.checkpoint*.parquet"))


def find_damage(folder: Path, newest: int) -> Damage | None:
    """First damage among the newest commits: log entries, checkpoints, and the data files that those commits
    added.

    Args:
        folder: the table's folder.
        newest: how many commits to look at, counted from the newest.
    """
    looked_at = versions(folder)[-newest:]
    actions: dict[int, list[Action]] = {}
    gap = _gap(folder, looked_at)
    for version in looked_at:
        if gap and gap.version < version:
            return gap
        parsed = _parse(entry(folder, version))
        if isinstance(parsed, str):
            return Damage(version, entry(folder, version), parsed)
        actions[version] = parsed
    return _bad_checkpoint(folder) or _bad_data(folder, actions)


def check_file(path: Path, size: int) -> str | None:
    """Why a data file cannot be read, or None when it is there with the recorded size."""
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        return "is missing"
    return None if found == size else f"has {found} bytes, the log recorded {size}"


def _numbers(folder: Path, pattern: re.Pattern[str]) -> list[int]:
    log = folder / LOG
    names: Iterable[str] = (p.name for p in log.iterdir()) if log.is_dir() else ()
    return sorted({int(m.group(1)) for name in names if (m := pattern.fullmatch(name))})


def _gap(folder: Path, known: list[int]) -> Damage | None:
    for before, after in pairwise(known):
        if after != before + 1:
            return Damage(before + 1, entry(folder, before + 1), "is missing between its neighbours")
    return None


def _bad_checkpoint(folder: Path) -> Damage | None:
    """The newest checkpoint is what readers start from, so it alone can hide rows."""
    pointer = folder / LOG / LAST_CHECKPOINT
    found = checkpoints(folder)
    newest = found[-1] if found else 0
    if pointer.exists():
        try:
            named = int(json.loads(pointer.read_bytes())["version"])
        except (ValueError, KeyError, TypeError):
            return Damage(newest, pointer, "is empty or garbled", is_checkpoint=True)
        if named not in found:
            return Damage(named, pointer, f"names checkpoint {named}, which is missing", is_checkpoint=True)
    for path in checkpoint_files(folder, newest):
        try:
            pq.read_metadata(path)
        except (OSError, pa.ArrowInvalid) as e:
            return Damage(newest, path, f"cannot be read ({e})", is_checkpoint=True)
    return None


def _parse(path: Path) -> list[Action] | str:
    """The actions of one commit, or why there are none."""
    text = path.read_bytes()
    if not text.strip():
        return "is empty"
    try:
        return [dict(json.loads(line)) for line in text.splitlines() if line.strip()]
    except (ValueError, TypeError) as e:
        return f"is cut short or garbled ({e})"


def _bad_data(folder: Path, actions: Mapping[int, list[Action]]) -> Damage | None:
    """The oldest commit that added a file which is still the table's and is not whole."""
    removed: set[str] = set()
    worst: Damage | None = None
    for version in sorted(actions, reverse=True):
        for add in (a["add"] for a in actions[version] if "add" in a):
            path = folder / unquote(str(add["path"]))
            why = None if add["path"] in removed else check_file(path, int(str(add["size"])))
            worst = Damage(version, path, why) if why else worst
        removed |= {str(a["remove"]["path"]) for a in actions[version] if "remove" in a}
    return worst
