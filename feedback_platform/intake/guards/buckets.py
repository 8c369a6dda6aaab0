"""How much one speaker may send: token buckets in bounded memory. No clock; one thread (the event loop) per object.

A bucket holds up to `burst` tokens and gains `rate` a second. One number per key says it all: the instant at which
its bucket will be full again (the theoretical arrival time of the generic cell rate algorithm, ITU-T I.371). A key
that has not sent for `burst / rate` seconds has a full bucket, so it needs no entry, and forgetting it changes nothing.

Memory is bounded for whoever invents keys (say, user ids): entries live in two generations that together hold at
most `max_entries`. A turn of the generations drops those that took nothing for `burst / rate` seconds, and nobody
else: an entry in debt is never evicted. While there is no room, keys without an entry share one of 256 buckets,
picked by Python's keyed string hash, which a sender cannot aim. So inventing keys can slow down newcomers, until
twice `burst / rate` seconds after it ends at most; it clears nobody's debt and touches no key that has an entry.
No key is ever admitted more than `burst + rate * t` in t seconds.
"""

import math

from feedback_platform.errors import ConfigError

_SHARED = 256
_SLACK = 1e-6  # seconds; absorbs the rounding of clocks that count in seconds, so that waiting as told suffices


class Buckets:
    """Token buckets by key. Keys are counted per process, so n server processes admit up to n times as much.

    With a limit per key and one per end user, take the end user's first: then one of them cannot use up the
    key's tokens by asking in vain.

    Args:
        rate: tokens a second.
        burst: tokens that a full bucket holds; also the most that can be taken at once.
        max_entries: keys remembered at a time; about 150 bytes each.

    Raises:
        ConfigError: a rate or burst that is not above zero and finite, or no entries.
    """

    def __init__(self, rate: float, burst: float, max_entries: int = 100_000) -> None:
        for name, value in (("rate", rate), ("burst", burst)):
            if not 0 < value < math.inf:
                raise ConfigError(f"{name} {value!r} admits nothing or everything. Set a finite number above 0.")
        if max_entries < 1:
            raise ConfigError(f"max_entries {max_entries} remembers nobody. Set 1 or more.")
        self.rate, self.burst, self.max_entries = rate, burst, max_entries
        self._seconds = 1 / rate
        self._window = burst / rate
        self._keep = self._window + _SLACK  # an entry may owe that much
        self._new: dict[str, float] = {}
        self._old: dict[str, float] = {}
        self._shared = [-math.inf] * _SHARED
        self._turn = -math.inf

    def __len__(self) -> int:
        """Keys remembered now."""
        return len(self._new) + len(self._old)

    def take(self, key: str, n: float, now: float) -> float:
        """Take n tokens, or none of them.

        Args:
            key: whose bucket.
            n: tokens, not negative.
            now: a monotonic clock, in seconds.

        Returns:
            0.0 when they were taken; else the seconds after which they may be asked for again, infinite when
            n is more than the bucket ever holds.
        """
        if not 0 <= n <= self.burst:
            if n < 0:
                raise ValueError(f"{n} tokens cannot be taken: a bucket is not filled by hand")
            return math.inf
        if now >= self._turn:
            self._turn_over(now)
        full_at = self._new.get(key)
        if full_at is None:
            return self._take_elsewhere(key, n, now)
        then = (full_at if full_at > now else now) + n * self._seconds
        if (wait := then - now - self._window) > _SLACK:
            return wait
        self._new[key] = then
        return 0.0

    def _take_elsewhere(self, key: str, n: float, now: float) -> float:
        """For a key that the new generation does not know: from the old one, or from the bucket that it shares.

        What a key owes in a shared bucket follows it into its own, so that moving clears no debt.
        """
        full_at, slot = self._old.get(key), hash(key) % _SHARED
        then = max(self._shared[slot] if full_at is None else full_at, now) + n * self._seconds
        if (wait := then - now - self._window) > _SLACK:
            return wait
        if full_at is None and len(self) >= self.max_entries:
            self._shared[slot] = then
            return 0.0
        self._old.pop(key, None)  # first, so that there is never one entry too many
        self._new[key] = then
        return 0.0

    def _turn_over(self, now: float) -> None:
        """Forget who took nothing for a window: their buckets are full."""
        idle = now >= self._turn + self._keep
        self._old = {} if idle else self._new
        self._new = {}
        self._turn = now + self._keep
