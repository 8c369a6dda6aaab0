"""Reading decoded JSON whose shape nobody promised: the value when it has the type that is wanted, else nothing."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from feedback_platform.intake.importers.foreign import Kind, Misunderstood, Skipped
from feedback_platform.intake.importers.line_files import Raw

JsonObject = dict[str, object]


class NotMapped(Exception):
    """A record, or one event of it, that should be mapped and cannot be; the text says why and what to do."""


class Nothing(Exception):
    """A record that has nothing for us; the text is the reason code."""

    def skipped(self) -> Skipped:
        """As an item."""
        return Skipped(str(self))


def misunderstood(kind: Kind, problem: NotMapped, raw: Raw, path: Path) -> Misunderstood:
    """The item for a record that could not be mapped."""
    return Misunderstood(kind, str(problem), raw.body, path, raw.line)


def text(value: object) -> str | None:
    """A string that says something."""
    return value if isinstance(value, str) and value else None


def named(value: object) -> str | None:
    """An id or a name, which some sources write as a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(value)


def number(value: object) -> float | None:
    """A number; a boolean is none, digits in quotes are (64-bit integers are often exported so)."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def mapping(value: object) -> JsonObject:
    """An object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[object]:
    """A list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def json_in(value: object) -> object:
    """The value of a string that holds JSON; any other value as it is, and so a string that holds none."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.MsgspecError, RecursionError):
        return value


def present(fields: Mapping[str, object] | Iterable[tuple[str, object]]) -> JsonObject:
    """The fields that are neither null nor an empty list or object."""
    return {name: value for name, value in dict(fields).items() if value is not None and value not in ([], {})}
