"""An example told in sentences: its label decision, cluster, split and draw, and its history in the versions."""

from dataclasses import dataclass, field

from feedback_platform.compile.explain_facts import DatasetFacts, Row
from feedback_platform.compile.explain_words import EXAMPLES, listed, ranges, share
from feedback_platform.stages.training_views import ALL_RANKS


@dataclass(frozen=True, slots=True)
class History:
    """What the dataset's versions say about some examples: versions that hold them, and sentences about the changes."""

    versions: tuple[int, ...]
    lines: tuple[str, ...] = field(default=())


def example_lines(facts: DatasetFacts, example: Row) -> list[str]:
    """Label decision, cluster, split and draw of one example."""
    name = f"{example['objective']} example {example['example_id']}"
    if example["objective"] == "preference" and example["pair_source"]:
        name += f" (pair from {example['pair_source']})"
    if example["state"] != "resolved":
        return [f"No {example['objective']} example: {EXAMPLES.get(example['reason'] or '', example['reason'])}."]
    evidence = example["evidence"]
    lines = [
        f"{name}: label {example['label']!r} by rule {example['rule_id']}, "
        f"{example['n_raters']} rater{'s' * (example['n_raters'] != 1)}, "
        f"agreement {share(example['agreement_ppm'])}, evidence {listed(evidence)}."
    ]
    match example["candidate_state"]:
        case "duplicate":
            lines.append(
                f"  Duplicate: example {example['representative_id']} of request "
                f"{example['representative_request_id']} has the same content and stands for it."
            )
        case "conflict" | "split_bridge":
            lines.append(f"  Left out: {EXAMPLES.get(example['candidate_reason'], example['candidate_reason'])}.")
        case "candidate":
            if example["dup_count"] > 1:
                lines.append(f"  It stands for {example['dup_count']} examples with the same content.")
            lines.append(f"  Split {example['split']}, {_root(example['split_root'])}. {_draw(example)}")
    return lines


def history_of(facts: DatasetFacts, where: str) -> History:
    """Versions that hold the examples, and each change with the version that brought it."""
    published = [m for m in facts.store.versions() if m.window <= facts.manifest.window]
    changes = facts.history(where)
    held: set[int] = set()
    lines = []
    for change in changes:
        version = next((m for m in published if m.window >= change["window"]), None)
        shown = f"Version {version.version}" if version else f"Window {change['window']}, not published yet"
        verb = {"add": "added", "update": "updated", "remove": "removed"}[change["op"]]
        lines.append(f"{shown} {verb} {change['objective']} example {change['example_id']} ({_why(change)}).")
    for example_id in {c["example_id"] for c in changes}:
        mine = [c for c in changes if c["example_id"] == example_id]
        for m in published:
            past = [c for c in mine if c["window"] <= m.window]
            if past and past[-1]["op"] != "remove" and m.version is not None:
                held.add(m.version)
    versions = tuple(sorted(held))
    if versions:
        yanked = [str(m.version) for m in published if m.version in held and m.yanked is not None]
        aside = f" (yanked: {', '.join(yanked)})" if yanked else ""
        lines.append(f"It is in version{'s' * (len(versions) > 1)} {ranges(versions)}{aside}.")
    elif changes:
        lines.append("It is in no published version.")
    return History(versions, tuple(lines))


def example_state(example: Row) -> tuple[str, str | None]:
    """State and reason of one example: in the dataset, or where it stopped."""
    if example["state"] != "resolved":
        return example["state"], example["reason"]
    if example["candidate_state"] != "candidate":
        return example["candidate_state"] or "resolved", example["candidate_reason"]
    return ("in_dataset", None) if example["is_drawn"] else ("sampled_out", "beyond_budget")


def _draw(example: Row) -> str:
    place = f"stratum {example['stratum']!r}, arm {example['arm']!r}"
    if example["threshold"] is None or example["threshold"] >= ALL_RANKS:
        return f"Every candidate of {place} is drawn."
    verdict = "drawn" if example["is_drawn"] else "not drawn"
    return (
        f"Rank {example['sampling_rank']:,} in {place}; ranks up to {example['threshold']:,} are drawn "
        f"({example['n_drawn']:,} of {example['n_candidates']:,}): {verdict}."
    )


def _root(root: str) -> str:
    kind, _, key = root.partition(":")
    names = {"s": "session", "u": "user", "r": "request", "p": "prompt hash"}
    return f"decided by {names.get(kind, kind)} {key}"


def _why(change: Row) -> str:
    reason = str(change["op_reason"])
    return f"changed: {reason.replace(',', ', ')}" if change["op"] == "update" else reason
