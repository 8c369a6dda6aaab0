"""One file of the spill: append-only frames `length, CRC-32, event`, held under an exclusive lock by one process.

Survives the process, not a power cut: nothing is synced, so that a write costs the caller microseconds. Linux and macOS.
"""

import fcntl
import os
import struct
import zlib
from pathlib import Path

FRAME = struct.Struct("<II")  # length of the event in bytes, CRC-32 of the event


class Segment:
    """A locked file of frames; `size` and `read_to` are byte offsets, `events` counts what this process appended."""

    def __init__(self, path: Path, handle: int, *, foreign: bool) -> None:
        self.path, self.foreign = path, foreign
        self._handle = handle
        self.size = os.fstat(handle).st_size
        self.read_to = 0

    @classmethod
    def create(cls, path: Path) -> "Segment | None":
        """A new file, readable by its owner only; None when the name is taken."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            handle = os.open(path, flags, 0o600)
        except FileExistsError:
            return None
        return cls(path, handle, foreign=False) if _locked(handle, path) else None

    @classmethod
    def adopt(cls, path: Path) -> "Segment | None":
        """A file that an earlier process left; None when a living process holds it or it is gone."""
        try:
            handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        return cls(path, handle, foreign=True) if _locked(handle, path) else None

    def append(self, events: list[bytes]) -> None:
        """Add frames, all or none.

        Raises:
            OSError: the disk is full or broken; the file is as it was.
        """
        data = memoryview(b"".join(FRAME.pack(len(event), zlib.crc32(event)) + event for event in events))
        written = 0
        try:
            while written < len(data):
                written += os.write(self._handle, data[written:])
        except OSError:
            os.ftruncate(self._handle, self.size)
            raise
        self.size += len(data)

    def read(self, max_events: int, max_bytes: int) -> tuple[list[bytes], int, int]:
        """The next events, oldest first: (events, frames that are damaged or torn, offset behind them).

        Always moves on while the offset is below `size`: an event above `max_bytes` comes alone.
        """
        events: list[bytes] = []
        damaged, at, taken = 0, self.read_to, 0
        while at < self.size and len(events) < max_events:
            head = os.pread(self._handle, FRAME.size, at)
            length, crc = FRAME.unpack(head) if len(head) == FRAME.size else (self.size, 0)
            end = at + FRAME.size + length
            if end > self.size:  # a torn tail, or a length that makes no sense: nothing behind it can be found
                return events, damaged + 1, self.size
            if events and taken + length > max_bytes:
                break
            event = os.pread(self._handle, length, at + FRAME.size)
            at = end
            if zlib.crc32(event) == crc:
                events.append(event)
                taken += length
            else:
                damaged += 1
        return events, damaged, at

    def remove(self) -> None:
        """Delete the file; its events are settled."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of the file; the lock goes with the last copy of the handle, a parent's stays."""
        os.close(self._handle)


def _locked(handle: int, path: Path) -> bool:
    """Lock the open file; False (and closed) when another holds it or the name stands for another file by now."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), path.stat()):
            return True
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    return False
