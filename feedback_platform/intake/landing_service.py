"""Landing without end: what was accepted reaches the raw tables within seconds, for every tenant below a home.

The same exactly-once landing as the command and the sensor use; whoever comes first lands, the others find nothing.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from feedback_platform.errors import FeedbackPlatformError
from feedback_platform.intake.guards.principal import is_tenant
from feedback_platform.intake.landing import Landed, land, oldest_waiting, waiting
from feedback_platform.intake.sqlite_log import SqliteEventLog, open_log
from feedback_platform.lake.store import Lake
from feedback_platform.settings import Settings
from feedback_platform.stages.triggers import decide_on_landing

TICK_SECONDS = 0.5
MAX_PAUSE_SECONDS = 60.0

Told = Callable[[str, list[Landed]], None]
_log = logging.getLogger(__name__)


def keep_landing(settings: Settings, seconds: float, stop: threading.Event, told: Told) -> None:
    """Land until told to stop.

    Args:
        settings: the home whose tenants are landed; those that appear later are found.
        seconds: how old an accepted event may get before it is landed.
        stop: set it to end after the landing that runs.
        told: called after each landing that moved something, with the tenant.
    """
    logs: dict[str, SqliteEventLog] = {}
    pauses: dict[str, tuple[float, float]] = {}  # tenant -> not before, and the pause after the next failure
    try:
        while not stop.wait(TICK_SECONDS):
            for own in tenants_with_logs(settings):
                not_before, pause = pauses.get(own.tenant, (0.0, 1.0))
                if time.monotonic() < not_before:
                    continue
                try:
                    _land_if_due(own, logs, seconds, told)
                    pauses.pop(own.tenant, None)
                except Exception as error:  # noqa: BLE001 - one tenant's trouble, whatever it is, must not stop the others
                    known = isinstance(error, FeedbackPlatformError | OSError)
                    words = "Landing of tenant %s failed, next attempt in %.0f s: %s"
                    _log.error(words, own.tenant, pause, error, exc_info=None if known else error)
                    pauses[own.tenant] = time.monotonic() + pause, min(2 * pause, MAX_PAUSE_SECONDS)
    finally:
        for log in logs.values():
            log.close()


def tenants_with_logs(settings: Settings) -> Iterator[Settings]:
    """The settings of each tenant that has accepted something."""
    for path in sorted(settings.home.glob("*/log/events.sqlite")):
        if is_tenant(name := _tenant_of(path)):
            yield replace(settings, tenant=name)


def _tenant_of(path: Path) -> str:
    return path.parent.parent.name


def _land_if_due(settings: Settings, logs: dict[str, SqliteEventLog], seconds: float, told: Told) -> None:
    log = logs.get(settings.tenant)
    if log is None:
        log = logs[settings.tenant] = open_log(settings.log_path)
    lake = Lake(settings.lake)
    counts = {str(stream): n for stream, n in waiting(log, lake).items()}
    if not any(counts.values()):
        return
    oldest = oldest_waiting(log, lake)
    age = 0.0 if oldest is None else (datetime.now(UTC) - oldest).total_seconds()
    decision = decide_on_landing(
        counts, oldest_seconds=age, land_events=settings.land_events, land_seconds=max(0, round(seconds))
    )
    if decision.run:
        told(settings.tenant, land(log, lake))
