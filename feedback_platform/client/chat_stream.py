"""The pieces of a streamed chat completion, put together again while they pass to the caller untouched.

Knows the shape of chat-completion chunks; needs no vendor's package.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

_SET_ONCE = ("role", "id", "type")  # repeated, not continued, by some servers


class Assembler:
    """Takes chunks and knows the response so far."""

    def __init__(self) -> None:
        self._messages: dict[int, dict[str, Any]] = {}
        self._finish: dict[int, Any] = {}
        self._facts: dict[str, Any] = {}

    def take(self, chunk: dict[str, Any]) -> None:
        """Add a chunk (as plain objects)."""
        for name in ("id", "model", "usage"):
            if chunk.get(name) is not None:
                self._facts[name] = chunk[name]
        for choice in chunk.get("choices") or ():
            place = choice.get("index") or 0
            merge(self._messages.setdefault(place, {}), choice.get("delta") or {})
            if choice.get("finish_reason") is not None:
                self._finish[place] = choice["finish_reason"]

    def response(self) -> dict[str, Any]:
        """What a response in one piece would have been, as far as it has come."""
        choices = [
            {"index": place, "message": _settled(message), "finish_reason": self._finish.get(place)}
            for place, message in sorted(self._messages.items())
        ]
        return {**self._facts, "choices": choices}


def merge(message: dict[str, Any], delta: dict[str, Any]) -> None:
    """Continue a message by a delta: texts are appended, tool calls matched by their index, the rest replaced."""
    for name, value in delta.items():
        if value is None:
            message.setdefault(name, None)
        elif name == "tool_calls":
            calls = message.get(name) or {}
            for call in value:
                place = call.get("index")
                merge(calls.setdefault(len(calls) if place is None else place, {}), call)
            message[name] = calls
        elif isinstance(value, str) and name not in _SET_ONCE:
            message[name] = (message.get(name) or "") + value
        elif isinstance(value, dict):
            inner = dict(message.get(name) or {})
            merge(inner, value)
            message[name] = inner
        else:
            message[name] = value


def _settled(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not isinstance(calls, dict):
        return message
    whole = [{name: value for name, value in call.items() if name != "index"} for _, call in sorted(calls.items())]
    return {**message, "tool_calls": whole}


class ObservedStream:
    """Stands in for a vendor's stream: the same chunks, attributes and methods; says when it ends, once.

    Args:
        stream: the vendor's stream, iterable with `for` or `async for`.
        seen: called with each chunk.
        ended: called at the end with the exception that ended it, or None, and whether the caller left early.
    """

    def __init__(
        self, stream: Any, seen: Callable[[Any], None], ended: Callable[[BaseException | None, bool], None]
    ) -> None:
        self._stream, self._seen, self._ended = stream, seen, ended
        self._iterator: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._iterator is None:
            self._iterator = iter(self._stream)
        try:
            chunk = next(self._iterator)
        except StopIteration:
            self._ended(None, False)
            raise
        except BaseException as error:
            self._ended(error, False)
            raise
        self._seen(chunk)
        return chunk

    def __enter__(self) -> "ObservedStream":
        self._stream.__enter__()
        return self

    def __exit__(self, *trouble: Any) -> Any:
        self._ended(trouble[1], True)
        return self._stream.__exit__(*trouble)

    def close(self) -> Any:
        """Close the stream; what has come is logged."""
        self._ended(None, True)
        return self._stream.close()

    def __del__(self) -> None:
        if ended := self.__dict__.get("_ended"):
            ended(None, True)


class ObservedAsyncStream(ObservedStream):
    """The same for `async for`."""

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._iterator is None:
            self._iterator = aiter(self._stream)
        try:
            chunk = await anext(self._iterator)
        except StopAsyncIteration:
            self._ended(None, False)
            raise
        except BaseException as error:
            self._ended(error, False)
            raise
        self._seen(chunk)
        return chunk

    async def __aenter__(self) -> "ObservedAsyncStream":
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *trouble: Any) -> Any:
        self._ended(trouble[1], True)
        return await self._stream.__aexit__(*trouble)
