"""What all requests share: settings, keys, open tenants with their queues, rates, counters."""

import asyncio
import copy
import logging
import math
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from feedback_platform.api.call import Bodies
from feedback_platform.api.metrics import Metrics
from feedback_platform.api.problems import Problem
from feedback_platform.errors import FeedbackPlatformError, LogError, Overloaded, RateLimited
from feedback_platform.intake.group_commit import GroupCommit
from feedback_platform.intake.guards.buckets import Buckets
from feedback_platform.intake.guards.keys import KeyStore, key_store_path
from feedback_platform.intake.guards.principal import Principal, is_tenant, loopback_dev
from feedback_platform.intake.tenants import Tenant, configured_origins, open_tenant, token_signing_key
from feedback_platform.settings import Settings

_log = logging.getLogger("feedback_platform.api")
FLUSH_SECONDS = 60.0
REOPEN_SECONDS = 5.0
OPEN_SECONDS = 10.0
ORIGINS_SECONDS = 1.0


@dataclass(slots=True)
class OpenTenant:
    """A tenant with its queue and its rates; `probe` is the try to write that runs now, or ran last."""

    tenant: Tenant
    queue: GroupCommit
    keys: Buckets
    users: Buckets
    probe: asyncio.Task[None] | None = None


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
        self.keys = KeyStore(key_store_path(settings))
        # Each kind of slow work has turns of its own, so that exports hold up neither look-ups nor events.
        self.decoding, self.looking_up, self.exporting = (asyncio.Semaphore(n) for n in (2, 4, 2))
        self._opening: dict[str, asyncio.Task[OpenTenant]] = {}
        self._unopened: dict[str, tuple[float, Exception]] = {}
        self._token_keys: dict[str, bytes] = {}
        self._key_origins: tuple[float, tuple[str, ...]] = (-math.inf, ())
        self._tenants: dict[str, OpenTenant] = {}
        self.bodies = Bodies()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the settings' tenant, so that a log that cannot be opened stops the start and not the first request."""
        if self.dev:
            await self.tenant(self.settings.tenant)
        loop = asyncio.get_running_loop()
        self._tasks += [loop.create_task(self._flush()), loop.create_task(self.bodies.sweep())]

    async def stop(self) -> None:
        """Write what waits, then close the logs."""
        for task in self._tasks:
            task.cancel()
        if self._opening:
            await asyncio.wait(list(self._opening.values()), timeout=OPEN_SECONDS)
        try:
            for name, opened in list(self._tenants.items()):
                try:
                    await opened.queue.close()
                    opened.tenant.close()
                except Exception:  # noqa: BLE001
                    _log.exception("Tenant %s could not be closed", name)
        finally:
            try:
                self.keys.flush_used()
            except FeedbackPlatformError as error:
                _log.error("When keys were used last could not be noted: %s", error)
            self.keys.close()

    async def tenant(self, name: str) -> OpenTenant:
        """A tenant, opened at its first request, in a thread: its log may be locked, its disk slow.

        Raises:
            Overloaded: it is still being opened.
            ConfigError, LogError: it cannot be opened; the same answer for a few seconds, then it is tried again.
        """
        found = self._tenants.get(name)
        if found is not None:
            return found
        failed_at, error = self._unopened.get(name, (-math.inf, None))
        if error is not None and time.monotonic() - failed_at < REOPEN_SECONDS:
            raise _afresh(error)
        task = self._opening.get(name)
        if task is None:
            task = self._opening[name] = asyncio.create_task(self._open(name))
            task.add_done_callback(lambda done: self._opened(name, done))
        try:
            return await asyncio.wait_for(asyncio.shield(task), OPEN_SECONDS)
        except TimeoutError:
            raise Overloaded("The tenant's log is still being opened.", 5) from None
        except FeedbackPlatformError as error:
            raise _afresh(error) from None

    async def _open(self, name: str) -> OpenTenant:
        opened = await asyncio.to_thread(open_tenant, self.settings, name)
        opened.log.checkpoint_in_background()
        limits = opened.config.limits
        return OpenTenant(
            opened,
            GroupCommit(opened.door),
            Buckets(limits.key.per_second, limits.key.burst),
            Buckets(limits.user.per_second, limits.user.burst),
        )

    def _opened(self, name: str, task: "asyncio.Task[OpenTenant]") -> None:
        del self._opening[name]
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._tenants[name] = task.result()
            self.origins[name] = self._tenants[name].tenant.config.origins
            self._unopened.pop(name, None)
        elif isinstance(error, Exception):
            _log.error("Tenant %s could not be opened: %s", name, error)
            self._unopened[name] = time.monotonic(), error

    def token_key(self, tenant: str) -> bytes | None:
        """The key that signs a tenant's feedback tokens; None where there is none, so that a guess creates nothing."""
        found = self._token_keys.get(tenant)
        if found is None and is_tenant(tenant):
            own = replace(self.settings, tenant=tenant)
            if own.log_path.with_name("token.key").is_file():
                found = self._token_keys[tenant] = token_signing_key(own)
        return found

    def key_origins(self) -> tuple[str, ...]:
        """Origins of the browser keys that are in force; read at most once a second."""
        read_at, origins = self._key_origins
        if time.monotonic() - read_at > ORIGINS_SECONDS:
            origins = tuple(self.keys.origins(now()))
            self._key_origins = time.monotonic(), origins
        return origins

    def tenants(self) -> dict[str, OpenTenant]:
        """Tenants that were asked for since the start."""
        return dict(self._tenants)

    def take(self, opened: OpenTenant, principal: Principal, events: int) -> None:
        """Take from the key's bucket.

        Raises:
            RateLimited: over the key's rate.
            Problem: 413, more at once than the rate will ever admit.
        """
        bucket = opened.keys
        wait = bucket.take(principal.key_id, events, time.monotonic())
        if math.isinf(wait):
            fix = f"This key may send {bucket.burst:g} events at once; send them in parts."
            raise Problem(413, "batch_too_large", fix)
        if wait:
            raise RateLimited(min(wait, 3600), "Slow down, or ask the operator for a higher `limits.key`.")

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await asyncio.to_thread(self.keys.flush_used)
            except FeedbackPlatformError as error:
                _log.error("When keys were used last could not be noted: %s", error)


def now() -> datetime:
    """The wall clock of keys and tokens."""
    return datetime.now(UTC)


def _afresh(error: Exception) -> Exception:
    """The same error without the frames of those who had it before, and what these hold."""
    try:
        return copy.copy(error).with_traceback(None)
    except TypeError:  # its class takes other arguments than it keeps
        return LogError(str(error))
