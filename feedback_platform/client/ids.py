"""UUIDv7 (RFC 9562, section 5.7): ids that sort by the time they were made. Knows only the clock and the system's
randomness."""

import os
import threading
import time

_TAIL_BITS = 74  # what RFC 9562 leaves beside 48 bits of milliseconds, 4 of version and 2 of variant
_LOW_BITS = 62
_ROOM = (1 << (_TAIL_BITS - 1)) - 1  # a fresh tail leaves its top bit clear, so that it can count upwards
_VERSION, _VARIANT = 7 << 76, 2 << 62


class Generator:
    """Makes ids that increase strictly within a process, across threads and even when the clock steps back.

    Within a millisecond the 74 random bits are raised by a random 32-bit step (method 2 of RFC 9562, section 6.2).
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._millisecond = 0
        self._tail = 0

    def bits(self, now_ms: int) -> int:
        """The next id as a 128-bit number.

        Args:
            now_ms: milliseconds since 1970, UTC.
        """
        with self._lock:
            if now_ms > self._millisecond:
                self._millisecond = now_ms
                self._tail = int.from_bytes(os.urandom(10), "big") & _ROOM
            else:
                self._tail += 1 + int.from_bytes(os.urandom(4), "big")
                if self._tail >> _TAIL_BITS:
                    self._millisecond += 1
                    self._tail = int.from_bytes(os.urandom(10), "big") & _ROOM
            high, low = self._tail >> _LOW_BITS, self._tail & ((1 << _LOW_BITS) - 1)
            return self._millisecond << 80 | _VERSION | high << 64 | _VARIANT | low


_generators = [Generator()]


def renew() -> None:
    """Start anew in a forked child: its parent's lock may be held for ever, and its next tail must be its own."""
    _generators[0] = Generator()


def uuid7() -> str:
    """A new UUIDv7 as 36 characters; sorts after every earlier one of this process."""
    digits = f"{_generators[0].bits(time.time_ns() // 1_000_000):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
