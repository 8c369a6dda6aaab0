"""The Open Bandit Dataset (and logs in its form): each row is one recommended item and whether it was clicked.

`<policy>/<campaign>/<campaign>.csv` (or .csv.gz) with `item_context.csv` beside it; give folders or files. Columns:
`timestamp, item_id, position, click, propensity_score` (also `action_prob`), `user_feature_*`, `user-item_affinity_*`.

- A row is an inference: its input are the user's columns, its output the item, shown as a slate of one with position,
  propensity and the item's features. The model is the policy, told by the folder (`bts`, `random`) or by --model; the
  campaign is a segment and the task `recommendation`.
- A click is `implicit` feedback on the item. No click is no feedback: only a dataset's `maturity.absence` policy may
  read it as a negative.
- Rows have no ids and may repeat, so the id is a hash of policy, campaign, row number and content. The row number is
  the unnamed index column where there is one, so that a part of the file gives the same ids.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from feedback_platform.errors import ImportFormatError
from feedback_platform.intake.importers import line_files
from feedback_platform.intake.importers.foreign import Found, Item, Misunderstood, Options, UnreadableRest
from feedback_platform.intake.importers.ids import UNVERSIONED, content_id, instant, short, wire_time
from feedback_platform.intake.importers.values import JsonObject, NotMapped, number

NAME = "open-bandit"
SUMMARY = "Open Bandit Dataset: recommended items with position, propensity and click"

POLICIES = ("bts", "random")
_ITEMS = "item_context.csv"
_NEEDED = ("timestamp", "item_id", "position", "click")
_PROPENSITIES = ("propensity_score", "action_prob")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")
_UNREADABLE = (EOFError, gzip.BadGzipFile, zlib.error, csv.Error)

Row = Mapping[str, str]


def read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    """An inference per row and, after it, feedback when it was clicked.

    Raises:
        ImportFormatError: a file lacks the columns of the dataset, or nothing names its policy.
        UnreadableRest: at the end, when some files could not be read to theirs.
    """
    damage: list[str] = []
    logs = [path for path in line_files.files(paths, (".csv",)) if not path.name.startswith(_ITEMS)]
    if not logs:
        raise ImportFormatError(f"{', '.join(map(str, paths))}: no log beside {_ITEMS}. Give the folder of a campaign.")
    for path in logs:
        yield from _log(path, options, damage)
    if damage:
        raise UnreadableRest("; ".join(damage))


def _log(path: Path, options: Options, damage: list[str]) -> Iterator[Item]:
    campaign, policy = _origin(path, options)
    number_of_row = 0
    try:
        features = _item_features(path.parent, damage)
        for line, row, problem in _rows(path, (*_NEEDED,)):
            number_of_row += 1
            try:
                if problem:
                    raise NotMapped(problem)
                event = _inference(row, number_of_row, campaign, policy, features, options)
                click = _click(row, event)
            except NotMapped as reason:
                body = ",".join(row.values()).encode("utf-8", "surrogateescape")
                yield Misunderstood("inference", str(reason), body, path, line)
                continue
            yield Found("inference", event, path, line)
            if click is not None:
                yield Found("feedback", click, path, line)
    except _UNREADABLE as error:
        damage.append(f"{path} cannot be read beyond row {number_of_row}: {error}")


def _origin(path: Path, options: Options) -> tuple[str, str]:
    """Campaign and policy, from `<policy>/<campaign>/<campaign>.csv` or `<policy>/<campaign>.csv`."""
    campaign = path.name.split(".")[0]
    folder = next((parent.name for parent in path.absolute().parents if parent.name in POLICIES), None)
    policy = options.model or folder
    if policy is None:
        named = " or ".join(POLICIES)
        raise ImportFormatError(f"{path}: no folder above it is named {named}. Name the policy with --model.")
    return campaign, policy


def _rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, Row, str | None]]:
    """Line, cells by column and what is wrong with the row."""
    with io.TextIOWrapper(line_files.opened(path), "utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file)
        names = next(rows, [])
        missing = [name for name in needed if name not in names]
        if missing:
            found = ", ".join(names[:12]) or "nothing"
            raise ImportFormatError(f"{path} is no Open Bandit log: no column {', '.join(missing)}; it has {found}.")
        for cells in rows:
            problem = None
            if len(cells) != len(names):
                problem = f"the row has {len(cells)} cells, the heading {len(names)}."
            yield rows.line_num, dict(zip(names, cells, strict=False)), problem


def _item_features(folder: Path, damage: list[str]) -> Mapping[str, JsonObject]:
    """Features by item id; empty when there is no item context."""
    path = next((p for p in (folder / _ITEMS, folder / f"{_ITEMS}.gz") if p.is_file()), None)
    if path is None:
        return {}
    found: dict[str, JsonObject] = {}
    for line, row, problem in _rows(path, ("item_id",)):
        if problem:
            damage.append(f"{path} line {line}: {problem}")
        found[row["item_id"]] = {name: _typed(row[name]) for name in row if name not in ("", "item_id") and row[name]}
    return found


def _inference(
    row: Row, place: int, campaign: str, policy: str, features: Mapping[str, JsonObject], options: Options
) -> JsonObject:
    at, position = instant(row["timestamp"]), number(row["position"])
    if at is None:
        raise NotMapped(f"`timestamp` {row['timestamp']!r} is no time.")
    if position is None or position < 0 or position % 1:
        raise NotMapped(f"`position` {row['position']!r} is no place in a slate.")
    if not row["item_id"]:
        raise NotMapped("the row has no `item_id`.")
    shown: JsonObject = {"item_id": short(row["item_id"]), "position": int(position)}
    decided: JsonObject = {}
    if (propensity := _propensity(row)) is not None:
        shown["propensity"] = propensity
        decided = {"decision": row["item_id"], "propensity": propensity}
    if about := features.get(row["item_id"]):
        shown["features"] = about
    told = {name: cell for name, cell in row.items() if name}
    event: JsonObject = {
        "request_id": content_id("obd", policy, campaign, row.get("") or place, told),
        "timestamp": wire_time(at),
        "model": short(policy),
        "model_version": short(options.model_version or UNVERSIONED),
        "task": short(options.task or "recommendation"),
        "input": {name: _typed(row[name]) for name in row if name.startswith("user") and row[name]},
        "output": row["item_id"],
        "items": [shown],
        "segments": {"campaign": short(campaign)},
        **decided,
    }
    return event | ({"environment": options.environment} if options.environment else {})


def _propensity(row: Row) -> float | None:
    cell = next((row[name] for name in _PROPENSITIES if row.get(name)), None)
    if cell is None:
        return None
    chance = number(cell)
    if chance is None or not 0 <= chance <= 1:
        raise NotMapped(f"the propensity {cell!r} is no probability.")
    return chance


def _click(row: Row, event: JsonObject) -> JsonObject | None:
    clicked = number(row["click"])
    if clicked not in (0, 1):
        raise NotMapped(f"`click` {row['click']!r} is neither 0 nor 1.")
    if not clicked:
        return None
    return {
        "feedback_id": f"{event['request_id']}:click",
        "feedback_type": "implicit",
        "feedback_value": {"signal": "click", "value": True},
        "target": {"request_id": event["request_id"], "item_id": short(row["item_id"])},
        "timestamp": event["timestamp"],
    }


def _typed(cell: str) -> str | float:
    return float(cell) if _NUMBER.fullmatch(cell) else cell
