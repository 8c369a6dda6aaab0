"""Answers that lie on disk: one file, or a tar of several, whole or from some byte on. Knows nothing of datasets.

A tar is never written anywhere: its headers are computed, so its length and every byte range of it are known before
the first file is opened. The same files give the same bytes: names as given, no owners, no times.
"""

import asyncio
import re
import tarfile
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path

from feedback_platform.api.call import Call, Header
from feedback_platform.api.problems import Problem

PIECE_BYTES = 2**20
_RANGE = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive bytes of an answer: a file of `size` bytes, or the bytes themselves."""

    source: Path | bytes
    size: int


@dataclass(frozen=True, slots=True)
class Content:
    """An answer that never changes.

    Attributes:
        parts: its bytes, in order.
        media_type: what they are.
        etag: what identifies them, without the quotation marks.
        name: what a browser should call the file.
    """

    parts: tuple[Part, ...]
    media_type: str
    etag: str
    name: str

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(part.size for part in self.parts)


def tar_parts(folder: Path, files: Iterable[tuple[str, int]]) -> tuple[Part, ...]:
    """A tar of files of a folder, given as (name, bytes), in that order."""
    parts: list[Part] = []
    for name, size in files:
        entry = tarfile.TarInfo(name)
        entry.size = size
        head = entry.tobuf(tarfile.PAX_FORMAT)
        parts += [Part(head, len(head)), Part(folder / name, size), _zeros(-size % tarfile.BLOCKSIZE)]
    end = 2 * tarfile.BLOCKSIZE
    so_far = end + sum(part.size for part in parts)
    return *parts, _zeros(end + -so_far % tarfile.RECORDSIZE)


async def send(call: Call, content: Content, headers: Iterable[Header] = ()) -> None:
    """Answer with the content: 200, 206 for one byte range, or 304 for whoever has it already.

    Raises:
        Problem: 416, the range begins behind the end.
    """
    tag = f'"{content.etag}"'
    about = [(b"etag", tag.encode()), (b"cache-control", b"private, no-cache"), *headers]
    if tag in _listed(call.header(b"if-none-match")):
        await _send(call, 304, about, content, 0, 0)
        return
    wanted = call.header(b"range") if call.header(b"if-range") in (None, tag) else None
    chosen = _range(wanted, content.size)
    start, stop = chosen or (0, content.size)
    about += [
        (b"content-type", content.media_type.encode()),
        (b"content-length", str(stop - start).encode()),
        (b"content-disposition", f'attachment; filename="{content.name}"'.encode()),
        (b"accept-ranges", b"bytes"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if chosen:
        about.append((b"content-range", f"bytes {start}-{stop - 1}/{content.size}".encode()))
    if call.scope["method"] == "HEAD":
        start = stop
    await _send(call, 206 if chosen else 200, about, content, start, stop)


async def _send(call: Call, status: int, headers: list[Header], content: Content, start: int, stop: int) -> None:
    """Send the bytes from `start` to `stop`, and stop reading when nobody listens any more."""
    call.status = status
    await call._send({"type": "http.response.start", "status": status, "headers": [*headers, *call.always]})
    gone = asyncio.create_task(_gone(call))
    try:
        async with aclosing(_pieces(content.parts, start, stop)) as pieces:
            async for piece in pieces:
                if gone.done():
                    return
                await call._send({"type": "http.response.body", "body": piece, "more_body": True})
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
    await call._send({"type": "http.response.body", "body": b""})


async def _gone(call: Call) -> None:
    while (await call._receive())["type"] != "http.disconnect":
        pass


async def _pieces(parts: Iterable[Part], start: int, stop: int) -> AsyncGenerator[bytes]:
    """The bytes from `start` to `stop`, some at a time; files are read in a thread."""
    at = 0
    for part in parts:
        low, high = max(start - at, 0), min(stop - at, part.size)
        at += part.size
        if low >= high:
            continue
        if isinstance(part.source, bytes):
            yield part.source[low:high]
            continue
        file = await asyncio.to_thread(part.source.open, "rb")
        try:
            file.seek(low)
            while low < high:
                piece = await asyncio.to_thread(file.read, min(PIECE_BYTES, high - low))
                if not piece:
                    raise OSError(f"{part.source} ended {high - low} bytes early")
                low += len(piece)
                yield piece
        finally:
            file.close()


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last; None when no range is asked for, or none that is understood (RFC 9110)."""
    match = _RANGE.fullmatch(header.strip()) if header is not None else None
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups("")
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        unmet = ((b"content-range", f"bytes */{size}".encode()),)
        raise Problem(416, "range_unsatisfiable", f"There are {size} bytes: you may have all.", extra_headers=unmet)
    return start, stop


def _listed(header: str | None) -> list[str]:
    return [] if header is None else [tag.strip().removeprefix("W/") for tag in header.split(",")]


def _zeros(count: int) -> Part:
    return Part(bytes(count), count)
