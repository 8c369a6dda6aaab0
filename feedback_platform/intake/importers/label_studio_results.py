"""What one Label Studio result (`{type, value, from_name, to_name}`) says, in words of the wire contract. Pure.

Value shapes are those that `label-studio-sdk` 2.1 declares (`label_interface/control_tags.py`) and Label Studio 1.23
exports. What an export does not hold, the scale of a rating or the meaning of a text box, a hints file may tell.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from feedback_platform.errors import ConfigError
from feedback_platform.intake.importers.ids import short
from feedback_platform.intake.importers.values import (
    JsonObject,
    Nothing,
    NotMapped,
    items,
    mapping,
    named,
    number,
    text,
)

_COMMENTS = re.compile(r"comment|remark|note|reason|explanation|why|rationale", re.IGNORECASE)
_CORRECTIONS = re.compile(
    r"correct|edit|rewrit|revis|better|ideal|expected|improved|answer|response|output", re.IGNORECASE
)
_RIGHT_OF = {"a": "b", "A": "B", "1": "2", "left": "right", "Left": "Right"}
_STARS = (1.0, 5.0)


@dataclass(frozen=True, slots=True)
class Hints:
    """What the labeling config knows and the export does not; every part is optional.

    Attributes:
        ratings: (min, max) by name of a Rating or Number control; a Rating has 1 to 5 otherwise.
        textareas: `comment` or `correction` by name of a TextArea.
        pairwise: fields of the task's data on the left and on the right, by name of a Pairwise control.
    """

    ratings: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    textareas: Mapping[str, str] = field(default_factory=dict)
    pairwise: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def read_hints(path: Path | None) -> Hints:
    """The hints file, YAML such as `{ratings: {helpful: [1, 10]}, textareas: {why: comment}, pairwise: {better: [a, b]}}`.

    Raises:
        ConfigError: it is no such file.
    """
    if path is None:
        return Hints()
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        unknown = set(told) - {"ratings", "textareas", "pairwise"}
        pairs = {name: tuple(two) for name, two in (told.get("pairwise") or {}).items()}
        scales = {name: tuple(map(float, two)) for name, two in (told.get("ratings") or {}).items()}
        areas = dict(told.get("textareas") or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is no hints file: {error}. Known: ratings, textareas, pairwise.") from None
    wrong = [name for name, two in {**pairs, **scales}.items() if len(two) != 2]
    wrong += [name for name, kind in areas.items() if kind not in ("comment", "correction")]
    if unknown or wrong:
        fix = "Known: ratings and pairwise with two values each, textareas with `comment` or `correction`."
        raise ConfigError(f"{path}: {', '.join(sorted(unknown) + wrong)} cannot be read. {fix}")
    return Hints(scales, areas, pairs)  # type: ignore[arg-type]  # lengths are checked above


def predicted(results: list[object]) -> object:
    """A prediction's output: the bare value of a single result, else an object of values by control.

    Raises:
        NotMapped: there is no result.
    """
    said: dict[str, list[object]] = {}
    for result in map(mapping, items(results)):
        if name := text(result.get("from_name")):
            said.setdefault(name, []).append(_bare(result))
    if not said:
        raise NotMapped("the prediction has no result.")
    told = {name: found[0] if len(found) == 1 else found for name, found in said.items()}
    return next(iter(told.values())) if len(told) == 1 else told


def judged(result: JsonObject, data: JsonObject, predicted_controls: set[str], hints: Hints) -> list[JsonObject]:
    """Feedback in one result: type, value and criterion, and `part` where one result makes several.

    Raises:
        Nothing: a kind of result that has no place in the wire contract, by its type.
        NotMapped: its value is not what its type promises.
    """
    kind, name = text(result.get("type")), text(result.get("from_name"))
    if kind is None or name is None:
        raise Nothing("relation" if kind == "relation" else "result_without_name")
    value = mapping(result.get("value"))
    match kind:
        case "choices" | "taxonomy":
            return _labels(name, [_path(choice) for choice in items(value.get(kind))])
        case "rating" | "number":
            return [_score(name, kind, number(value.get(kind)), hints)]
        case "textarea":
            return [_text(name, value.get("text"), name in predicted_controls, hints)]
        case "pairwise":
            return [_pair(name, text(value.get("selected")), result, data, hints)]
    raise Nothing(f"type_{re.sub('[^a-z0-9]+', '_', kind.lower())[:40]}")


def _labels(name: str, chosen: list[str]) -> list[JsonObject]:
    """One class: a label under the control's name. Several: a label for each, under a criterion of its own."""
    if not chosen:
        raise Nothing("nothing_chosen")
    if len(chosen) == 1:
        return [_said("label", {"label": short(chosen[0])}, name)]
    return [_said("label", {"label": short(c)}, f"{name}={c}") | {"part": c} for c in chosen]


def _score(name: str, kind: str, score: float | None, hints: Hints) -> JsonObject:
    if score is None:
        raise NotMapped(f"`{name}` has no number.")
    if kind == "number" and name not in hints.ratings:
        return _said("outcome", {"name": short(name), "value": score}, name)
    low, high = hints.ratings.get(name, _STARS)
    if not low <= score <= high:
        fix = f"Tell its scale in a hints file (--mapping): `ratings: {{{name}: [1, 10]}}`."
        raise NotMapped(f"`{name}` is {score:g}, outside {low:g} to {high:g}. {fix}")
    return _said("rating", {"score": score, "min": low, "max": high}, name)


def _text(name: str, said: object, is_predicted: bool, hints: Hints) -> JsonObject:
    """A correction where a model predicted this text box or its name says so; else a comment, which trains nothing."""
    lines = [line for line in ([said] if isinstance(said, str) else items(said)) if isinstance(line, str)]
    joined = "\n".join(lines)
    if not joined.strip():
        raise Nothing("empty_text")
    kind = hints.textareas.get(name)
    if kind is None:
        corrects = is_predicted or (_CORRECTIONS.search(name) and not _COMMENTS.search(name))
        kind = "correction" if corrects else "comment"
    if kind == "correction":
        return _said("explicit_correction", {"output": joined}, name)
    return _said("comment", {"text": joined}, name)


def _pair(name: str, selected: str | None, result: JsonObject, data: JsonObject, hints: Hints) -> JsonObject:
    if selected not in ("left", "right"):
        raise Nothing("nothing_selected")
    fix = f"Name them in a hints file (--mapping): `pairwise: {{{name}: [left_field, right_field]}}`."
    shown = text(result.get("to_name")) or ""
    left, right = hints.pairwise.get(name) or (shown, _right_of(shown))
    absent = [repr(side) for side in (left, right) if side not in data]
    if absent:
        raise NotMapped(f"`{name}`: the data has no {' and no '.join(absent)} that was compared. {fix}")
    sides = [{"output": data[left]}, {"output": data[right]}]
    better, worse = sides if selected == "left" else sides[::-1]
    return _said("preference_pair", {"chosen": better, "rejected": worse}, name)


def _right_of(left: str) -> str:
    """The neighbour of the left field by name: `answer_a` -> `answer_b`, `text1` -> `text2`, `left` -> `right`."""
    ending = next((e for e in _RIGHT_OF if left.endswith(e)), "")
    return left.removesuffix(ending) + _RIGHT_OF.get(ending, "")


def _said(kind: str, value: JsonObject, name: str) -> JsonObject:
    return {"feedback_type": kind, "feedback_value": value, "name": short(name)}


def _path(choice: object) -> str:
    """A choice; a nested one as the path to it."""
    if isinstance(choice, list):
        return " / ".join(named(step) or "" for step in choice)
    return named(choice) or ""


def _bare(result: JsonObject) -> object:
    """The value of a result as an output: a class, a number, a text; regions keep their whole value."""
    kind, value = result.get("type"), mapping(result.get("value"))
    if kind in ("choices", "taxonomy"):
        chosen = [_path(choice) for choice in items(value.get(str(kind)))]
        return chosen[0] if len(chosen) == 1 else chosen
    if kind == "textarea":
        said = value.get("text")
        return said if isinstance(said, str) else "\n".join(line for line in items(said) if isinstance(line, str))
    if kind in ("rating", "number"):
        return value.get(str(kind))
    return value
