"""JSON Lines of the wire contract: one event per line, plain or gzip, streamed line by line.

Importing again finds only duplicates. A line is read up to the size limit of an event, whatever its length.
"""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from feedback_platform.contracts.events import MAX_EVENT_BYTES
from feedback_platform.errors import NotFoundError
from feedback_platform.intake.door import Door
from feedback_platform.intake.importers.foreign import Found, Item, Kind, Skipped, UnreadableRest
from feedback_platform.intake.importers.runner import ImportSummary, Progress, run_import

BLANK = "blank_line"
_CHUNK = 2**20


def import_jsonl(
    door: Door,
    inferences: Sequence[Path],
    feedback: Sequence[Path],
    *,
    can_review: bool = True,
    progress: Progress | None = None,
    summary: ImportSummary | None = None,
) -> ImportSummary:
    """Import files of inferences, then files of feedback.

    Args:
        door: the tenant's door.
        inferences: files with one inference per line, plain or gzip (told by their first bytes).
        feedback: files with one feedback event per line.
        can_review: whether adjudications and retractions in the files count as a reviewer's.
        progress: called after every durable batch with the file and the counts so far.
        summary: counted into, so that the caller knows what is in when an error ends the import.

    Raises:
        NotFoundError: a file is missing; nothing was imported.
        ImportIncomplete: a file is cut short or damaged; all before the damage, and the other files, are in.
    """
    for path in (*inferences, *feedback):
        if not path.is_file():
            raise NotFoundError(f"{path} is not a file; nothing was imported. Check the path.")
    items = read_events(inferences, feedback)
    return run_import(door, items, can_review=can_review, progress=progress, summary=summary)


def read_events(inferences: Sequence[Path], feedback: Sequence[Path]) -> Iterator[Item]:
    """Each line as an event of its file's kind.

    Raises:
        UnreadableRest: at the end, when some files could not be read to theirs.
    """
    damaged: list[str] = []
    kinds: tuple[tuple[Kind, Sequence[Path]], ...] = (("inference", inferences), ("feedback", feedback))
    for kind, paths in kinds:
        for path in paths:
            try:
                for number, body, size in read_lines(path):
                    yield Found(kind, body, path, number, size) if body.strip() else Skipped(BLANK)
            except UnreadableRest as error:
                damaged.append(str(error))
    if damaged:
        raise UnreadableRest("; ".join(damaged))


def read_lines(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """Lines with their number (from 1) and size in bytes; of one beyond the limit only the beginning is held.

    Raises:
        UnreadableRest: the file ends in the middle or does not decompress; what came before was yielded.
    """
    number = 0
    with _opened(path) as file:
        while True:
            number += 1
            try:
                found = _next_line(file)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise UnreadableRest(f"{path} cannot be read beyond line {number - 1}: {error}") from error
            if found is None:
                return
            body, size = found
            yield number, body.removeprefix(b"\xef\xbb\xbf") if number == 1 else body, size


def _next_line(file: BinaryIO) -> tuple[bytes, int] | None:
    """A line without its end, and its size without it too."""
    head = file.readline(MAX_EVENT_BYTES + 3)
    if not head:
        return None
    size, tail = len(head), head
    while not tail.endswith(b"\n") and (tail := file.readline(_CHUNK)):
        size += len(tail)
    end = tail or head  # the file may end without a line end
    return head.rstrip(b"\r\n"), size - (len(end) - len(end.rstrip(b"\r\n")))


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        magic = file.read(2)
    return cast(BinaryIO, gzip.open(path, "rb") if magic == b"\x1f\x8b" else path.open("rb", buffering=_CHUNK))
