"""What all requests share: settings, keys, open tenants with their queues, rates, counters."""

import asyncio
import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from feedback_platform.api.call import Bodies
from feedback_platform.api.metrics import Metrics
from feedback_platform.api.problems import Problem
from feedback_platform.errors import RateLimited
from feedback_platform.intake.group_commit import GroupCommit
from feedback_platform.intake.guards.buckets import Buckets
from feedback_platform.intake.guards.keys import KeyStore, key_store_path
from feedback_platform.intake.guards.principal import Principal, loopback_dev
from feedback_platform.intake.tenants import Tenant, configured_origins, open_tenant
from feedback_platform.settings import Settings

FLUSH_SECONDS = 60.0
SLOW_CALLS = 4


@dataclass(slots=True)
class OpenTenant:
    """A tenant with its queue and its rates."""

    tenant: Tenant
    queue: GroupCommit
    keys: Buckets
    users: Buckets


class Server:
    """The state of one server process.

    Args:
        settings: where state lives; its tenant is the one that development mode speaks for.
        dev: nobody needs a key; the caller sees to it that only this machine can reach the server.
    """

    def __init__(self, settings: Settings, *, dev: bool = False) -> None:
        self.settings, self.dev = settings, dev
        # Of tenants that nobody has called for yet too: a page's first request is a preflight, which names no tenant.
        self.origins = configured_origins(settings)
        self.neighbour = loopback_dev(settings.tenant)
        self.metrics = Metrics()
        self.started = time.monotonic()
        self.keys = KeyStore(key_store_path(settings))
        self.slow = asyncio.Semaphore(SLOW_CALLS)
        self._tenants: dict[str, OpenTenant] = {}
        self.bodies = Bodies()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the settings' tenant, so that a log that cannot be opened stops the start and not the first request."""
        if self.dev:
            self.tenant(self.settings.tenant)
        loop = asyncio.get_running_loop()
        self._tasks += [loop.create_task(self._flush()), loop.create_task(self.bodies.sweep())]

    async def stop(self) -> None:
        """Write what waits, then close the logs."""
        for task in self._tasks:
            task.cancel()
        for opened in self._tenants.values():
            await opened.queue.close()
            opened.tenant.close()
        self.keys.flush_used()
        self.keys.close()

    def tenant(self, name: str) -> OpenTenant:
        """A tenant, opened at its first request."""
        found = self._tenants.get(name)
        if found is None:
            opened = open_tenant(self.settings, name)
            opened.log.checkpoint_in_background()
            self.origins[name] = opened.config.origins
            limits = opened.config.limits
            found = self._tenants[name] = OpenTenant(
                opened,
                GroupCommit(opened.door),
                Buckets(limits.key.per_second, limits.key.burst),
                Buckets(limits.user.per_second, limits.user.burst),
            )
        return found

    def tenants(self) -> dict[str, OpenTenant]:
        """Tenants that were asked for since the start."""
        return dict(self._tenants)

    def take(self, principal: Principal, events: int) -> None:
        """Take from the key's bucket.

        Raises:
            RateLimited: over the key's rate.
            Problem: 413, more at once than the rate will ever admit.
        """
        bucket = self.tenant(principal.tenant).keys
        wait = bucket.take(principal.key_id, events, time.monotonic())
        if math.isinf(wait):
            fix = f"This key may send {bucket.burst:g} events at once; send them in parts."
            raise Problem(413, "batch_too_large", fix)
        if wait:
            raise RateLimited(min(wait, 3600), "Slow down, or ask the operator for a higher `limits.key`.")

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await asyncio.to_thread(self.keys.flush_used)


def now() -> datetime:
    """The wall clock of keys and tokens."""
    return datetime.now(UTC)
