"""A server, clients that are closed at the end of a test, and what must hold of their counters."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from feedback_platform.client import Client, Stats
from feedback_platform_tests.client.peer import Peer


@pytest.fixture
def peer() -> Iterator[Peer]:
    server = Peer().start()
    yield server
    server.stop()


@pytest.fixture
def make(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Client]]:
    """Clients of the peer, quick to retry."""
    for name in ("FEEDBACK_URL", "FEEDBACK_API_KEY", "FEEDBACK_SPILL"):
        monkeypatch.delenv(name, raising=False)
    made: list[Client] = []

    def build(**arguments: object) -> Client:
        settings: dict[str, Any] = {"url": peer.url, "linger": 0.01, "max_backoff": 0.1, **arguments}
        made.append(Client(**settings))
        return made[-1]

    yield build
    for client in made:
        client.close(0.0)


def log(client, number: int = 0, **fields) -> str:
    arguments = {"model": "m", "model_version": "1", "input": f"q{number}", "output": f"a{number}", **fields}
    return str(client.log_inference(**arguments))


def balanced(stats: Stats) -> Stats:
    """Every event is in exactly one place."""
    ended = stats.accepted + stats.duplicates + sum(stats.refused.values()) + sum(stats.dropped.values())
    assert stats.logged + stats.recovered == stats.queued + stats.waiting + ended, stats
    return stats


def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for the background; fails when the time is over."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)
