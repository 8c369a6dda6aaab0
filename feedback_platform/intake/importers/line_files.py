"""Reading foreign files: lines, the values of one big JSON list, files in folders; plain or gzip, never whole.

Knows nothing of any format. A file that ends in the middle or does not decompress yields what came before and then
one `Broken`, so that an importer can say so (`UnreadableRest`) instead of losing the tail silently.
"""

import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from feedback_platform.contracts.events import MAX_EVENT_BYTES
from feedback_platform.errors import ImportFormatError, NotFoundError
from feedback_platform.intake.importers.foreign import Misunderstood

MAX_RECORD_BYTES = 16 * MAX_EVENT_BYTES
"""Largest record that is held: a foreign record may carry much that no event does (a snapshot of a whole chat)."""

_CHUNK = 2**20
_READ = 2**20
_KEPT = 2**16
_PROBED = 20
_BETWEEN = b" \t\r\n,\xef\xbb\xbf"
_BOM = b"\xef\xbb\xbf"
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}"]', re.DOTALL)
_UNREADABLE = (EOFError, gzip.BadGzipFile, zlib.error)


@dataclass(frozen=True, slots=True)
class Raw:
    """One record as it stands in a file: its bytes and its line or place in the list, from 1."""

    body: bytes
    line: int


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that cannot be read, or the point beyond which the file cannot."""

    message: str
    body: bytes
    line: int
    ends_file: bool = False


def opened(path: Path) -> BinaryIO:
    """The file as bytes, decompressed when its first bytes say gzip."""
    with path.open("rb") as file:
        magic = file.read(2)
    return cast(BinaryIO, gzip.open(path, "rb") if magic == b"\x1f\x8b" else path.open("rb", buffering=_CHUNK))


def files(paths: Sequence[Path], suffixes: Sequence[str]) -> list[Path]:
    """The files to read: those named, and below folders all with one of the suffixes (`.gz` may follow), sorted.

    Raises:
        NotFoundError: a path does not exist.
        ImportFormatError: a folder holds no such file.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise NotFoundError(f"{path} does not exist; nothing was imported. Check the path.")
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(p for p in path.rglob("*") if p.is_file() and _plain_suffix(p) in suffixes)
        if not inside:
            raise ImportFormatError(f"{path} holds no file that ends in {' or '.join(suffixes)} (or with .gz added).")
        found += inside
    return found


def lines(path: Path) -> Iterator[Raw | Broken]:
    """Each line that is not blank; of one beyond the limit only the beginning is held."""
    number = 0
    with opened(path) as file:
        while True:
            number += 1
            try:
                line = _next_line(file)
            except _UNREADABLE as error:
                yield _cut(path, f"line {number - 1}", str(error), b"", number)
                return
            if line is None:
                return
            body, whole = line
            body = body.removeprefix(_BOM) if number == 1 else body
            if not whole:
                yield Broken(f"the line is longer than {MAX_RECORD_BYTES} bytes", body[:_KEPT], number)
            elif body.strip():
                yield Raw(body, number)


def listed(path: Path) -> Iterator[Raw | Broken]:
    """Each object of a JSON list, or of a file of objects one after another (such as JSON Lines), found by brackets.

    Raises:
        ImportFormatError: the file begins with neither `[` nor `{`.
    """
    if beginning(path) not in (b"[", b"{"):
        raise ImportFormatError(f"{path} is not JSON: it begins with neither `[` nor `{{`. Is it another format?")
    number = 0
    with opened(path) as file:
        splitter = _Splitter()
        while not splitter.failed:
            try:
                chunk = file.read(_READ)
            except _UNREADABLE as error:
                yield _cut(path, f"record {number}", str(error), splitter.rest(), number + 1)
                return
            if not chunk:
                break
            for body, is_record in splitter.feed(chunk):
                number += 1
                yield Raw(body, number) if is_record else Broken("text between two records", body, number)
    if splitter.failed or splitter.is_inside:
        reason = splitter.failed or "it ends in the middle"
        yield _cut(path, f"record {number}", reason, splitter.rest(), number + 1)


def decoded(
    raws: Iterable[Raw | Broken], path: Path, damage: list[str] | None = None
) -> Iterator[tuple[Raw, dict[str, object]] | Misunderstood]:
    """The JSON object of each record; what is none is misunderstood, with the reason.

    Args:
        raws: records of one file.
        path: the file.
        damage: gets the words about a file that cannot be read to its end; without it that is misunderstood too.
    """
    for raw in raws:
        if isinstance(raw, Broken) and raw.ends_file and damage is not None:
            damage.append(raw.message)
            continue
        if isinstance(raw, Broken):
            yield Misunderstood("unknown", raw.message, raw.body, path, raw.line)
            continue
        try:
            value = msgspec.json.decode(raw.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            yield Misunderstood("unknown", f"not JSON: {error}", raw.body, path, raw.line)
            continue
        if isinstance(value, dict):
            yield raw, value
        else:
            message = f"a {type(value).__name__} where an object was expected"
            yield Misunderstood("unknown", message, raw.body, path, raw.line)


def recognised(
    path: Path,
    records: Iterator[tuple[Raw, dict[str, object]] | Misunderstood],
    is_known: Callable[[dict[str, object]], bool],
    expected: str,
) -> Iterator[tuple[Raw, dict[str, object]] | Misunderstood]:
    """The same records, once one of the first 20 proves to be of the format.

    Raises:
        ImportFormatError: none is; names the file, what was expected and the names that the first object has.
    """
    head: list[tuple[Raw, dict[str, object]] | Misunderstood] = []
    for record in records:
        head.append(record)
        if (not isinstance(record, Misunderstood) and is_known(record[1])) or len(head) == _PROBED:
            break
    if head and not any(not isinstance(r, Misunderstood) and is_known(r[1]) for r in head):
        first = next((r[1] for r in head if not isinstance(r, Misunderstood)), None)
        found = "no JSON object" if first is None else f"objects with {', '.join(list(first)[:12]) or 'no names'}"
        raise ImportFormatError(f"{path} is not {expected}; its first records are {found}.")
    yield from head
    yield from records


def beginning(path: Path) -> bytes:
    """The first byte that is not white space, or nothing.

    Raises:
        ImportFormatError: the first bytes do not decompress.
    """
    try:
        with opened(path) as file:
            return file.read(4096).removeprefix(_BOM).lstrip()[:1]
    except _UNREADABLE as error:
        raise ImportFormatError(f"{path} cannot be decompressed: {error}. Repair or fetch the file again.") from None


class _Splitter:
    """Cuts bytes into top-level objects (of a list or in a row) by counting brackets outside strings."""

    def __init__(self) -> None:
        self.failed = ""
        self._buffer = bytearray()
        self._at = 0  # everything before is scanned
        self._start = -1  # where the open object begins; -1 between two
        self._gap = 0  # where the text between two objects begins
        self._depth = 0
        self._base: int | None = None  # depth at which objects are records: 1 inside a list, else 0

    @property
    def is_inside(self) -> bool:
        """Whether an object or the list is still open, or words follow the last."""
        return self._depth > 0 or bool(self.rest().strip(_BETWEEN))

    def rest(self) -> bytes:
        """The beginning of what is not a complete object."""
        return bytes(self._buffer[self._gap if self._start < 0 else self._start :][:_KEPT])

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, bool]]:
        """What ends within the bytes fed so far: (object, True), or (stray text between two, False)."""
        self._buffer += chunk
        for token in _TOKEN.finditer(self._buffer, self._at):
            mark = token.group()
            if mark == b'"':  # the string goes on in the next chunk
                self._at = token.start()
                break
            self._at = token.end()
            if len(mark) == 1:
                yield from self._bracket(mark, token.start())
                if self.failed:
                    return
        else:
            self._at = len(self._buffer)
        self._forget()

    def _bracket(self, mark: bytes, place: int) -> Iterator[tuple[bytes, bool]]:
        if mark in b"[{":
            first = self._base is None
            if first:
                self._base = 1 if mark == b"[" else 0
            if self._depth == self._base:
                yield from self._stray(place)
                self._start = place
            elif first:
                self._gap = place + 1
            self._depth += 1
            return
        self._depth -= 1
        if self._depth < 0:
            self.failed = "a bracket closes what was never opened"
        elif self._depth == self._base and self._start >= 0:
            yield bytes(self._buffer[self._start : place + 1]), True
            self._start, self._gap = -1, place + 1
        elif self._depth == 0:
            yield from self._stray(place)
            self._gap = place + 1

    def _stray(self, place: int) -> Iterator[tuple[bytes, bool]]:
        between = bytes(self._buffer[self._gap : place])
        if between.strip(_BETWEEN):
            yield between[:_KEPT], False

    def _forget(self) -> None:
        """Drop what was handed out; an object beyond the limit ends the reading."""
        done = self._gap if self._start < 0 else self._start
        del self._buffer[:done]
        self._at -= done
        self._gap, self._start = 0, min(self._start, 0)
        if len(self._buffer) > MAX_RECORD_BYTES:
            self.failed = f"the record is larger than {MAX_RECORD_BYTES} bytes"


def _next_line(file: BinaryIO) -> tuple[bytes, bool] | None:
    head = file.readline(MAX_RECORD_BYTES + 2)
    if not head:
        return None
    tail, whole = head, True
    while not tail.endswith(b"\n") and (tail := file.readline(_CHUNK)):
        whole = False
    return head.rstrip(b"\r\n"), whole


def _cut(path: Path, place: str, reason: str, body: bytes, line: int) -> Broken:
    return Broken(f"{path} cannot be read beyond {place}: {reason}", body, line, ends_file=True)


def _plain_suffix(path: Path) -> str:
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
