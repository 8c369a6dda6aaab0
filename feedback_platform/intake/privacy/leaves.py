"""The free texts of wire objects: which strings people wrote or models answered, and how to put others in their place.

Free text is every string, at any depth, below the fields of `FREE_TEXT`. Left alone are ids and business keys (they
are joins: send pseudonyms in `keys`), declared categories (`segments`, `signal`, names), `tools`, `parameters`,
`attributions`, tokens, numbers, and the keys of objects.
"""

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import force_setattr

from feedback_platform.contracts import wire, wire_feedback
from feedback_platform.contracts.wire_feedback import AnyFeedback

_FEEDBACK = ("feedback_value", "explanation", "metadata")
FREE_TEXT: Mapping[type[Struct], tuple[str, ...]] = {
    wire.Inference: (
        "input", "output", "template", "items", "decision", "retrieved", "route", "steps", "system", "metadata",
    ),
    wire.Template: ("variables",),
    wire.Item: ("features", "output"),
    wire.Chunk: ("text",),
    wire.SubModel: ("output",),
    wire.Step: ("input", "output", "error"),
    **dict.fromkeys(AnyFeedback.__args__, _FEEDBACK),
    wire_feedback.LabelValue: ("label",),
    wire_feedback.CorrectionValue: ("output",),
    wire_feedback.PairValue: ("chosen", "rejected"),
    wire_feedback.RankingValue: ("order",),
    wire_feedback.Ref: ("output",),
    wire_feedback.CommentValue: ("text",),
    wire_feedback.AdjudicationValue: ("label", "output"),
}  # fmt: skip


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    return attrgetter(*names) if len(names) > 1 else lambda holder: (getattr(holder, names[0]),)


_VALUES: Mapping[type, Callable[[Any], tuple[Any, ...]]] = {kind: _getter(names) for kind, names in FREE_TEXT.items()}

Path = tuple[Any, str | int] | None
"""The path above and the last step; None for the top."""


class Leaf(NamedTuple):
    """One text: what holds it, under which name or number, where that is in the event."""

    holder: Any
    key: str | int
    path: Path
    text: str


def leaves(value: object) -> list[Leaf]:
    """The texts of a wire object, or all strings of a JSON value; in a fixed order."""
    found: list[Leaf] = []
    _collect(value, None, found)
    return found


def texts(value: object) -> list[str]:
    """The texts of `leaves` alone, in the same order and an order of magnitude faster."""
    found: list[str] = []
    _gather(value, found)
    return found


def put(leaf: Leaf, text: str) -> None:
    """Replace a text where it stands; the event is changed, frozen or not."""
    if isinstance(leaf.holder, Struct):
        force_setattr(leaf.holder, str(leaf.key), text)
    else:
        leaf.holder[leaf.key] = text


def dotted(path: Path) -> str:
    """A path as refusals write it: `steps[0].output.answer`."""
    steps: list[str | int] = []
    while path is not None:
        path, step = path
        steps.append(step)
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in reversed(steps)).lstrip(".")


def _gather(holder: Any, found: list[str]) -> None:
    kind = type(holder)
    if kind is dict:
        values: Iterable[Any] = holder.values()
    elif kind is list:
        values = holder
    elif (getter := _VALUES.get(kind)) is not None:
        values = getter(holder)
    else:
        return
    for value in values:
        if type(value) is str:
            found.append(value)
        elif value is not None:
            _gather(value, found)


def _collect(holder: Any, path: Path, found: list[Leaf]) -> None:
    entries: Iterable[tuple[Any, Any]]
    if isinstance(holder, dict):
        entries = holder.items()
    elif isinstance(holder, list):
        entries = enumerate(holder)
    else:
        entries = ((name, getattr(holder, name)) for name in FREE_TEXT.get(type(holder), ()))
    for key, value in entries:
        if isinstance(value, str):
            found.append(Leaf(holder, key, (path, key), value))
        elif isinstance(value, dict | list | Struct):
            _collect(value, (path, key), found)
