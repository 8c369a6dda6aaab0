"""Where state lives and how much of the machine may be used: one frozen object, read once by the caller that starts work.

Nothing here is read at import; pass the object on.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from feedback_platform.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Settings:
    """All of the platform's settings.

    Attributes:
        home: root of all state (`FEEDBACK_HOME`, default `data/`).
        tenant: whose events (`FEEDBACK_TENANT`); each tenant has its own log, lake and warehouse.
        memory_limit: DuckDB's memory limit (`FEEDBACK_MEMORY_LIMIT`), e.g. "4GB"; work beyond it spills to disk.
        threads: DuckDB threads (`FEEDBACK_THREADS`), 0 = all cores.
        land_events: events per landed range (`FEEDBACK_LAND_EVENTS`).
        land_seconds: oldest an unlanded event may get before the sensor lands it (`FEEDBACK_LAND_SECONDS`).
        log_retention_days: landed events stay in the log this long (`FEEDBACK_LOG_RETENTION_DAYS`).
        replay_events: the check after a publication replays histories up to so many events, summed over windows
            (`FEEDBACK_REPLAY_EVENTS`).
        projects: extra folders that hold `defs.yaml` files (`FEEDBACK_PROJECTS`, separated like PATH).
    """

    home: Path
    tenant: str = "default"
    memory_limit: str = "4GB"
    threads: int = 0
    land_events: int = 10_000
    land_seconds: int = 30
    log_retention_days: int = 7
    replay_events: int = 100_000
    projects: tuple[Path, ...] = ()

    @property
    def root(self) -> Path:
        """The tenant's folder."""
        return self.home / self.tenant

    @property
    def log_path(self) -> Path:
        """The event log's SQLite file."""
        return self.root / "log" / "events.sqlite"

    @property
    def lake(self) -> Path:
        """Folder of the Delta tables."""
        return self.root / "lake"

    @property
    def warehouse(self) -> Path:
        """The analysts' DuckDB file: views only."""
        return self.root / "warehouse.duckdb"

    @property
    def exports(self) -> Path:
        """Where exports go unless told otherwise."""
        return self.root / "exports"

    @property
    def reports(self) -> Path:
        """Where HTML reports go."""
        return self.root / "reports"


def load_settings(environ: dict[str, str] | None = None) -> Settings:
    """Settings from the environment; relative paths are taken from the working directory."""
    env = dict(os.environ) if environ is None else environ
    return Settings(
        home=Path(env.get("FEEDBACK_HOME", "data")).expanduser().absolute(),
        tenant=env.get("FEEDBACK_TENANT", "default"),
        memory_limit=env.get("FEEDBACK_MEMORY_LIMIT", "4GB"),
        threads=_whole(env, "FEEDBACK_THREADS", 0),
        land_events=_whole(env, "FEEDBACK_LAND_EVENTS", 10_000),
        land_seconds=_whole(env, "FEEDBACK_LAND_SECONDS", 30),
        log_retention_days=_whole(env, "FEEDBACK_LOG_RETENTION_DAYS", 7),
        replay_events=_whole(env, "FEEDBACK_REPLAY_EVENTS", 100_000),
        projects=tuple(
            Path(p).expanduser().absolute() for p in env.get("FEEDBACK_PROJECTS", "").split(os.pathsep) if p
        ),
    )


def _whole(env: dict[str, str], name: str, default: int) -> int:
    text = env.get(name, str(default))
    if not text.isdigit():
        raise ConfigError(f"{name}={text!r} is not a whole number. Set it to one, or unset it for {default}.")
    return int(text)
