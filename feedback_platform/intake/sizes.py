"""How much memory a body holds: what bounds batches and queues. A body is JSON text, or the object decoded from it."""

import sys
from collections.abc import Mapping
from typing import Any


def held_bytes(body: object) -> int:
    """Bytes of a text; of a decoded value about the memory it takes, which is a few times its text for small values.

    A value that stands in several places counts in each, because writing it down repeats it.
    """
    if isinstance(body, bytes):
        return len(body)
    size, seen = 0, [body]
    while seen:  # not recursive: how deep a body may nest is checked later
        value: Any = seen.pop()
        size += sys.getsizeof(value)
        if isinstance(value, Mapping):
            seen.extend(value)
            seen.extend(value.values())
        elif isinstance(value, list | tuple | set | frozenset):
            seen.extend(value)
    return size
