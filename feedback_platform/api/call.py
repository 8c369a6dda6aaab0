"""One HTTP request as the endpoints see it: headers, a bounded body, and answers. Plain ASGI, nothing of events."""

import asyncio
import time
import zlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, cast

import msgspec
from starlette.types import Receive, Scope, Send

from feedback_platform.api.problems import Problem
from feedback_platform.errors import Overloaded

BODY_SECONDS = 30.0
MAX_COMPRESSED_BYTES = 32 * 2**20
BODIES_BYTES = 512 * 2**20
SMALL_BYTES = 64 * 2**10
MAX_INFLATION = 1_032  # what deflate can make of one byte
JSON = "application/json"
NDJSON = "application/x-ndjson"
PROBLEM = "application/problem+json"

Header = tuple[bytes, bytes]
_JSON_TYPE = (b"content-type", b"application/json")


class Bodies:
    """All request bodies of a server: how much memory they may take together, and how long each may take to arrive.

    One sweep a second looks for late ones: a timer per request, or `asyncio.timeout`, cost a tenth of a small
    request's whole time. Small bodies are not counted; there can only be as many as connections.
    """

    def __init__(self, budget: int = BODIES_BYTES) -> None:
        self._free = budget
        self._reading: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()

    def reserve(self, size: int) -> int:
        """Take from the memory for bodies; returns what must be given back with `release`.

        Raises:
            Overloaded: too many large bodies are on their way.
        """
        if size <= SMALL_BYTES:
            return 0
        if size > self._free:
            raise Overloaded("Too many large bodies are being read.", 1)
        self._free -= size
        return size

    def release(self, size: int) -> None:
        """Give back what `reserve` took."""
        self._free += size

    async def read(self, reading: Coroutine[object, object, bytes]) -> bytes:
        """What a reading gives, or a 408 when it takes longer than `BODY_SECONDS`."""
        task = cast("asyncio.Task[object]", asyncio.current_task())
        self._reading[task] = time.monotonic()
        try:
            return await reading
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            task.uncancel()
            raise Problem(408, "body_too_slow", f"The body took over {BODY_SECONDS:g} s; send it faster.") from None
        finally:
            del self._reading[task]
            self._late.discard(task)

    async def sweep(self) -> None:
        """Run this for as long as requests are served."""
        while True:
            await asyncio.sleep(1)
            since = time.monotonic() - BODY_SECONDS
            for task, began in list(self._reading.items()):
                if began < since and task not in self._late:
                    self._late.add(task)
                    task.cancel()


class Call:
    """A request and its one answer."""

    __slots__ = ("_bodies", "_receive", "_reserved", "_send", "always", "headers", "scope", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send, bodies: Bodies) -> None:
        self.scope, self._receive, self._send, self._bodies = scope, receive, send, bodies
        self._reserved = 0
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.always: list[Header] = []  # headers of every answer to this request
        self.status = 0

    def header(self, name: bytes) -> str | None:
        """A request header by its lower-case name, None where absent."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def endpoint(self) -> str:
        """Method and path, as in `POST /v1/feedback`."""
        return f"{self.scope['method']} {self.scope['path']}"

    @property
    def media_type(self) -> str:
        """The request's content type without its parameters, in lower case."""
        return (self.header(b"content-type") or "").split(";")[0].strip().lower()

    def accept_only(self, *types: str) -> None:
        """Refuse other content types: a browser form cannot post to us without asking first."""
        if self.media_type not in types:
            found = self.media_type or "no Content-Type"
            raise Problem(415, "media_type", f"Got {found}; send Content-Type: {' or '.join(types)}.")

    async def body(self, limit: int, check: Callable[[bytes], None] | None = None) -> bytes:
        """The whole body, decompressed; `check` sees the bytes as they were sent.

        Raises:
            Problem: 400 it does not decompress or the sender went away, 408 it came too slowly, 413 it is larger
                than the limit, 415 its encoding is not known.
        """
        encoding = (self.header(b"content-encoding") or "identity").strip().lower()
        if encoding not in ("identity", "gzip"):
            raise Problem(415, "content_encoding", f"Content-Encoding {encoding!r} is not known; use gzip or none.")
        plain = encoding == "identity"
        raw = await self.raw_body(limit if plain else min(limit, MAX_COMPRESSED_BYTES))
        if check is not None:
            check(raw)
        return raw if plain else _decompressed(raw, limit)

    async def raw_body(self, limit: int) -> bytes:
        """The body as it was sent; raises as `body`."""
        length = self.header(b"content-length") or ""
        size = int(length) if length.isdigit() else limit
        if size > limit:
            raise _too_large(limit)
        if b"content-encoding" in self.headers:
            size = min(limit, size * MAX_INFLATION)
        self._reserved += self._bodies.reserve(size)
        return await self._bodies.read(self._read(limit))

    def end(self) -> None:
        """Call this when the request has been answered."""
        if self._reserved:
            self._bodies.release(self._reserved)
            self._reserved = 0

    async def _read(self, limit: int) -> bytes:
        message = await self._receive()
        first = _chunk(message)
        if not message.get("more_body", False):
            if len(first) > limit:
                raise _too_large(limit)
            return first
        chunks, size = [first], len(first)
        while message.get("more_body", False):
            if size > limit:
                raise _too_large(limit)
            message = await self._receive()
            chunks.append(_chunk(message))
            size += len(chunks[-1])
        if size > limit:
            raise _too_large(limit)
        return b"".join(chunks)

    async def answer(self, status: int, content: bytes, headers: Iterable[Header] = (_JSON_TYPE,)) -> None:
        """Send the answer."""
        self.status = status
        length = () if status == 204 else ((b"content-length", str(len(content)).encode()),)  # RFC 9110, 8.6
        start = {"type": "http.response.start", "status": status, "headers": [*headers, *self.always, *length]}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": content})

    async def answer_json(self, status: int, facts: object, headers: Iterable[Header] = ()) -> None:
        """Send an object as JSON."""
        await self.answer(status, msgspec.json.encode(facts), [_JSON_TYPE, *headers])

    async def answer_problem(self, problem: Problem) -> None:
        """Send problem details (RFC 9457)."""
        headers = [(b"content-type", PROBLEM.encode()), *problem.headers()]
        await self.answer(problem.status, msgspec.json.encode(problem.details()), headers)


def _chunk(message: Any) -> bytes:
    if message["type"] == "http.disconnect":
        raise Problem(400, "body_incomplete", "The connection ended before the body did; send it again.")
    body: bytes = message.get("body", b"")
    return body


def _decompressed(raw: bytes, limit: int) -> bytes:
    reader = zlib.decompressobj(wbits=31)
    try:
        body = reader.decompress(raw, limit + 1)
    except zlib.error as error:
        raise Problem(400, "gzip_invalid", f"The body is not gzip ({error}); compress it again.") from None
    if len(body) > limit:
        raise _too_large(limit)
    if not reader.eof or reader.unused_data:
        raise Problem(400, "gzip_invalid", "The body is not one whole gzip member; compress it again.")
    return body


def _too_large(limit: int) -> Problem:
    return Problem(413, "body_too_large", f"A body may have {limit} bytes here; send fewer events at a time.")
