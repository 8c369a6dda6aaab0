"""The client for asyncio: logging is a plain call, for it never waits; flushing and closing are awaited."""

import asyncio
from types import TracebackType

from feedback_platform.client.base import BaseClient


class AsyncClient(BaseClient):
    """Like `Client`, with the same arguments; the event loop is never blocked, and needs not run for events to be sent."""

    async def flush(self, timeout: float = 30.0) -> bool:
        """Send what was logged before this call; True when the server has answered for all of it."""
        return await asyncio.to_thread(self._engine.flush, timeout)

    async def close(self, timeout: float | None = None) -> None:
        """Send what is left (for `exit_timeout` seconds by default), keep the rest in the spill, take no more events."""
        await asyncio.to_thread(self._engine.close, self.config.exit_timeout if timeout is None else timeout)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
