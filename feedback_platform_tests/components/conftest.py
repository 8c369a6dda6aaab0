"""One thread, little memory, and no replay of history after each publication unless a test asks for it."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def small() -> Iterator[None]:
    """Settings of the environment, as a deployment would make them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("THREADS", "1"), ("MEMORY_LIMIT", "512MB"), ("REPLAY_EVENTS", "0")):
            patch.setenv(f"FEEDBACK_{name}", value)
        yield
