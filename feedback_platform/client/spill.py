"""The spill: events that the server could not take wait on disk, in order, and outlive the process.

A spill `PATH` is the files `PATH`, `PATH.1`, `PATH.2`, ...; each belongs to the one process that holds its lock. A
process appends to a file of its own and begins another when it is large; at the start it adopts what dead processes
left. A file is deleted once all its events are settled.
"""

import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from feedback_platform.client.segment import FRAME, Segment

_SEGMENTS = 8  # per limit: so much of the room, at most, is held by events that are settled already
_MIN_SEGMENT = 2**20


class Spill:
    """Events on disk, at most `max_bytes` of them (files of earlier processes count too).

    Raises:
        OSError: the folder cannot be made or read.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path, self._max_bytes = path, max_bytes
        self._segment_bytes = max(max_bytes // _SEGMENTS, _MIN_SEGMENT)
        self._lock = threading.RLock()
        self._segments: deque[Segment] = deque()
        self._active: Segment | None = None
        self._next_offset = 0
        self._closed = False
        self.oldest_ticket: int | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._adopt()

    def append(self, events: Sequence[bytes], ticket: int) -> int:
        """Add as many of the events as there is room for; returns how many.

        Args:
            events: in the order in which they are to be sent.
            ticket: the oldest ticket among them.

        Raises:
            OSError: the disk is full or broken; nothing was added.
        """
        with self._lock:
            room = 0 if self._closed else self._max_bytes - self.size
            fitting: list[bytes] = []
            for event in events:
                room -= FRAME.size + len(event)
                if room < 0:
                    break
                fitting.append(event)
            if fitting:
                self._writable().append(fitting)
                self.oldest_ticket = ticket if self.oldest_ticket is None else min(ticket, self.oldest_ticket)
            return len(fitting)

    def read(self, max_events: int, max_bytes: int) -> tuple[list[bytes], int, bool]:
        """The oldest events: (events, damaged frames passed over, whether an earlier process wrote them).

        They stay until `commit`.
        """
        with self._lock:
            if not self._segments:
                return [], 0, False
            first = self._segments[0]
            events, damaged, self._next_offset = first.read(max_events, max_bytes)
            return events, damaged, first.foreign

    def commit(self) -> None:
        """What the last `read` returned is settled."""
        with self._lock:
            if not self._segments:
                return
            first = self._segments[0]
            first.read_to = self._next_offset
            if first.read_to >= first.size:
                self._segments.popleft().remove()
                self._active = None if self._active is first else self._active
            if not self._segments:
                self.oldest_ticket = None

    @property
    def size(self) -> int:
        """Bytes in all files."""
        with self._lock:
            return sum(segment.size for segment in self._segments)

    def close(self) -> None:
        """Let go of the files; what is in them waits for the next process."""
        with self._lock:
            self._closed = True
            while self._segments:
                self._segments.popleft().close()
            self._active = None

    def abandon(self) -> None:
        """In a forked child: close its copies of the files; the parent's lock stays, and this object's may be stuck."""
        for segment in list(self._segments):
            segment.close()

    def _writable(self) -> Segment:
        if self._active is None or self._active.size >= self._segment_bytes:
            number = max((segment_number(self._path, found) for found in self._files()), default=-1) + 1
            while (segment := Segment.create(self._named(number))) is None:
                number += 1
            self._active = segment
            self._segments.append(segment)
        return self._active

    def _adopt(self) -> None:
        for found in self._files():
            segment = Segment.adopt(found)
            if segment is None:
                continue
            if segment.size:
                self._segments.append(segment)
                self.oldest_ticket = 0
            else:
                segment.remove()

    def _files(self) -> list[Path]:
        found = [path for path in self._path.parent.iterdir() if segment_number(self._path, path) >= 0]
        return sorted(found, key=lambda path: segment_number(self._path, path))

    def _named(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path


def segment_number(base: Path, path: Path) -> int:
    """0 for the spill's own name, n for its n-th further file, -1 for a file that is none of its."""
    if path.name == base.name:
        return 0
    tail = path.name.removeprefix(f"{base.name}.")
    return int(tail) if tail != path.name and tail.isascii() and tail.isdigit() else -1
