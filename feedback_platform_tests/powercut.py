"""Cutting the power of a real file system: an ext4 image, and a copy of it taken while a process writes to it.

The copy holds what the file system had handed to its disk at that moment and nothing of what was still in memory:
what a machine finds after its power failed. Needs root and loop devices; a test that uses it carries the marker
`root`.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted ext4 image: `root` is where to write, `after` where its copies appear."""

    root: Path
    image: Path
    after: Path
    mounts: ExitStack

    def cut(self) -> Path:
        """Root of a file system as this disk would be found after a power failure now; its journal is replayed."""
        number = len(list(self.after.glob("*.img")))
        copy = self.after / f"{number}.img"
        _run("cp", "--sparse=always", str(self.image), str(copy))
        return self.mounts.enter_context(_mounted(copy, self.after / f"{number}"))


@dataclass(frozen=True, slots=True)
class Cut:
    """What was found after the cut: the file system's root, and every line that the writer had said before it."""

    root: Path
    said: tuple[str, ...]


def why_unavailable(folder: Path) -> str | None:
    """Why no power can be cut here, or None when it can."""
    if os.geteuid() != 0:
        return "mounting a loop device needs root"
    missing = [tool for tool in ("mkfs.ext4", "mount", "umount") if shutil.which(tool) is None]
    if missing:
        return f"missing tools: {', '.join(missing)}"
    try:
        with disk(folder, megabytes=8):
            return None
    except subprocess.CalledProcessError as e:
        return f"no loop mounts here: {e.stderr.strip()}"


@contextmanager
def disk(folder: Path, *, megabytes: int = 64) -> Iterator[Disk]:
    """A fresh disk below `folder`, with the blocks of a large one; all mounts are gone afterwards."""
    work = folder / f"disk{len(list(folder.glob('disk*')))}"
    work.mkdir(parents=True)
    image = work / "disk.img"
    with image.open("wb") as file:
        file.truncate(megabytes * 1024 * 1024)
    _run("mkfs.ext4", "-q", "-F", "-b", "4096", str(image))
    (work / "after").mkdir()
    with ExitStack() as mounts:
        root = mounts.enter_context(_mounted(image, work / "root"))
        yield Disk(root, image, work / "after", mounts)


def run_and_cut(where: Disk, command: Sequence[str], *, lines: int, environ: Mapping[str, str] | None = None) -> Cut:
    """Start a writer on the disk, cut the power once it has said `lines` lines, and stop it.

    Lines are acknowledgements: what they promise was promised before the cut. The writer is halted while the disk is
    copied, so the copy is of one moment.
    """
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environ or {})})
    assert writer.stdout is not None
    with writer:
        said = list(islice(writer.stdout, lines))
        os.kill(writer.pid, signal.SIGSTOP)
        root = where.cut()
        writer.kill()
        said += list(writer.stdout)
    return Cut(root, tuple(line.strip() for line in said if line.endswith("\n")))


@contextmanager
def _mounted(image: Path, at: Path) -> Iterator[Path]:
    at.mkdir()
    # The journal is not to commit on its own every 5 s: a forgotten fsync would then go unnoticed now and then.
    _run("mount", "-o", "loop,commit=900", str(image), str(at))
    try:
        yield at
    finally:
        _run("umount", str(at))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
