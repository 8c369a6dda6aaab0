"""How much memory a body holds: what bounds batches and queues. A body is JSON text, or the object decoded from it."""

from collections.abc import Mapping
from sys import getsizeof
from typing import Any

_LEAVES = frozenset({str, bytes, int, float, bool, type(None)})


def held_bytes(body: object) -> int:
    """Bytes of a text; of a decoded value about the memory it takes, which is a few times its text for small values.

    A value that stands in several places counts in each, because writing it down repeats it.
    """
    if isinstance(body, bytes):
        return len(body)
    size = 0
    inside: list[Any] = [body]
    for value in inside:  # grows as it goes, so that deep nesting needs no stack
        size += getsizeof(value)
        kind = type(value)
        if kind in _LEAVES:
            continue
        if kind is dict or isinstance(value, Mapping):
            inside += value
            inside += value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            inside += value
    return size
