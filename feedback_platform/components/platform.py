"""The one resource: hands out settings, compilers and the event log, made from the environment when work starts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg

from feedback_platform.compile.window import Compiler
from feedback_platform.contracts.policies import DatasetPolicy
from feedback_platform.engines.duckdb import DuckEngine
from feedback_platform.intake.log import EventLog
from feedback_platform.intake.sqlite_log import open_log
from feedback_platform.lake.store import Lake
from feedback_platform.settings import Settings, load_settings

RESOURCE = "platform"


class Platform(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where state lives. Empty fields are read from the environment (`FEEDBACK_HOME`, `FEEDBACK_TENANT`)."""

    home: str | None = None
    tenant: str | None = None

    def settings(self) -> Settings:
        """Settings of the environment, with the fields given here in place of its own."""
        settings = load_settings()
        home = settings.home if self.home is None else Path(self.home)
        return replace(settings, home=home, tenant=self.tenant or settings.tenant)

    def compiler(self, policy: DatasetPolicy) -> Compiler:
        """One dataset, ready to be compiled."""
        return Compiler(self.settings(), policy)

    def lake(self) -> Lake:
        """The tenant's tables."""
        return Lake(self.settings().lake)

    def engine(self) -> DuckEngine:
        """A fresh engine within the settings' limits."""
        settings = self.settings()
        return DuckEngine(memory_limit=settings.memory_limit, threads=settings.threads)

    @contextmanager
    def log(self) -> Iterator[EventLog]:
        """The tenant's event log, closed afterwards."""
        log = open_log(self.settings().log_path)
        try:
            yield log
        finally:
            log.close()
