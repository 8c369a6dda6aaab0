"""What every importer of a foreign format yields: wire events, and what it left out and why.

An importer maps; it does not validate, mask or store. The door does that with the same rules as for every other way
in, and `runner` counts. A record that an importer leaves out is `Skipped` (it understood that there is nothing for us
in it) or `Misunderstood` (it should have become an event and did not); the latter is kept as a dead letter.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

Kind = Literal["inference", "feedback"]


@dataclass(frozen=True, slots=True)
class Found:
    """An event in words of the wire contract: JSON bytes or a decoded object, and its line or row (from 1).

    `size` tells the bytes that stood there where `event` holds only the beginning of them.
    """

    kind: Kind
    event: Mapping[str, object] | bytes
    path: Path
    line: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record that has nothing for us, by a short snake_case reason such as `not_a_model_call`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Misunderstood:
    """A record that should have become an event: what is wrong with it and what to do, and the record itself."""

    kind: Literal["inference", "feedback", "unknown"]
    message: str
    body: bytes
    path: Path
    line: int | None = None


Item = Found | Skipped | Misunderstood


class UnreadableRest(Exception):
    """Raised by `read` at its very end: the files whose rest is cut short or damaged, in words.

    Everything readable was yielded before, also of the other files.
    """


@dataclass(frozen=True, slots=True)
class Options:
    """What a foreign log may lack, given by the user.

    Attributes:
        model: name of the model, for records that have none.
        model_version: version of the model, for records that have none.
        task: task of all records; the format's own default where None.
        environment: environment of all records; the format's own where None.
        mapping: file that maps columns to wire fields (tabular formats).
    """

    model: str | None = None
    model_version: str | None = None
    task: str | None = None
    environment: str | None = None
    mapping: Path | None = None


class Importer(Protocol):
    """A foreign format: one module each, with `NAME`, `SUMMARY` and `read`."""

    NAME: str
    SUMMARY: str

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Item]:
        """Everything in the files, inferences first where files tell them apart; streams, never holds a whole file.

        Raises:
            ImportFormatError: a file is not of this format at all; names the file and what was expected.
            UnreadableRest: at the end, when some files could not be read to theirs.
        """
        ...
