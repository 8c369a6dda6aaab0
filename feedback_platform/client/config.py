"""What a client was told, checked once: address, key, limits. Reads the environment, touches no network."""

import math
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from feedback_platform.client.stats import Refusal
from feedback_platform.errors import ConfigError

DEFAULT_URL = "http://127.0.0.1:8700"
MiB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of a client; times in seconds, sizes in bytes. `Client` documents them."""

    url: str
    api_key: str | None
    spill: Path | None
    max_queue_events: int
    max_queue_bytes: int
    max_spill_bytes: int
    batch_events: int
    batch_bytes: int
    linger: float
    timeout: float
    max_backoff: float
    exit_timeout: float
    gzip_over: int | None
    tls: ssl.SSLContext | None
    on_refused: Callable[[Refusal], object] | None

    def __post_init__(self) -> None:
        _check_url(self.url)
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ConfigError("The API key holds characters that no HTTP header can carry. Check for a stray line end.")
        for name in ("max_queue_events", "max_queue_bytes", "max_spill_bytes", "batch_events", "batch_bytes"):
            if (value := getattr(self, name)) < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1.")
        for name in ("timeout", "max_backoff"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise ConfigError(f"{name} is {value}; give a positive number of seconds.")
        for name in ("linger", "exit_timeout"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise ConfigError(f"{name} is {value}; give a number of seconds, 0 or more.")


def from_environment(
    url: str | None, api_key: str | None, spill: str | os.PathLike[str] | None
) -> tuple[str, str | None, Path | None]:
    """Address, key and spill file: as given, else from FEEDBACK_URL, FEEDBACK_API_KEY and FEEDBACK_SPILL."""
    chosen = spill if spill is not None else os.environ.get("FEEDBACK_SPILL") or None
    address = url or os.environ.get("FEEDBACK_URL") or DEFAULT_URL
    key = api_key or os.environ.get("FEEDBACK_API_KEY") or None
    return address, key, None if chosen is None else Path(chosen).absolute()


def _check_url(url: str) -> None:
    fix = f"Give the server's address, like {DEFAULT_URL}."
    try:
        parts = urlsplit(url)
        port_is_sound = parts.port is None or parts.port > 0
    except ValueError as error:
        raise ConfigError(f"`{url}` is not an address: {error}. {fix}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_sound:
        raise ConfigError(f"`{url}` is not an http or https address. {fix}")
    if parts.username or parts.query or parts.fragment:
        raise ConfigError(f"The address has a user, query or fragment. Pass the key as `api_key`. {fix}")
