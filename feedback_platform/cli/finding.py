"""What commands look up before they work: datasets, compilers, positions of the logs. Nothing here writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from feedback_platform.settings import Settings

if TYPE_CHECKING:
    from feedback_platform.compile.window import Compiler
    from feedback_platform.intake.sqlite_log import SqliteEventLog


@dataclass(frozen=True, slots=True)
class LogPosition:
    """One log: events accepted, of those landed in the lake, and those that wait."""

    accepted: int
    landed: int
    waiting: int


def compiler_for(settings: Settings, name: str) -> "Compiler":
    """A dataset ready to be compiled, under its YAML."""
    from feedback_platform.compile.datasets import find_dataset
    from feedback_platform.compile.window import Compiler

    return Compiler(settings, find_dataset(settings, name).policy)


def compiled(settings: Settings, name: str) -> "Compiler":
    """A dataset that was compiled before; under its last policy where its YAML is gone."""
    from feedback_platform.compile import known

    return known.compiled(settings, name)


def all_names(settings: Settings) -> list[str]:
    """Datasets that are declared or were compiled, by name."""
    from feedback_platform.compile import known

    return known.all_names(settings)


@contextmanager
def existing_log(settings: Settings) -> Iterator["SqliteEventLog | None"]:
    """The tenant's event log; None when nothing was ever accepted."""
    from feedback_platform.intake.sqlite_log import open_log

    if not settings.log_path.exists():
        yield None
        return
    log = open_log(settings.log_path)
    try:
        yield log
    finally:
        log.close()


def log_positions(settings: Settings) -> dict[str, LogPosition]:
    """Position of each log."""
    from feedback_platform.intake.landing import TABLES
    from feedback_platform.lake import deltalog
    from feedback_platform.lake.store import LANDING, Lake

    lake = Lake(settings.lake)
    positions: dict[str, LogPosition] = {}
    with existing_log(settings) as log:
        for stream, name in TABLES:
            table = lake.table(name)
            landed = (table.transaction(LANDING) or 0) if deltalog.versions(table.folder) else 0
            accepted = log.head(stream) if log is not None else landed
            positions[stream] = LogPosition(accepted, landed, accepted - landed)
    return positions


def positions_mapping(positions: dict[str, LogPosition]) -> dict[str, dict[str, int]]:
    """Plain values for JSON."""
    return {stream: asdict(position) for stream, position in positions.items()}
