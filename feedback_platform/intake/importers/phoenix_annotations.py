"""One Phoenix annotation as feedback on what it judges: from the client's objects, its data frame or a REST page."""

import math
from collections.abc import Mapping

from feedback_platform.intake.importers.foreign import Found, Item
from feedback_platform.intake.importers.ids import content_id, instant, wire_time
from feedback_platform.intake.importers.mapped_values import as_object, named, present, verdict
from feedback_platform.intake.importers.record_files import Record

SOURCE_KINDS = {"HUMAN": "human", "LLM": "model", "CODE": "code"}
THUMBS = {"thumbs-up": True, "thumbs_up": True, "👍": True, "thumbs-down": False, "thumbs_down": False, "👎": False}
CORRECTIONS = ("correction", "corrected_output", "expected_output", "expected_response")
_OWN = "px-"  # identifiers that Phoenix makes itself name no rater


def feedback(record: Record, kind: str, target: Mapping[str, object]) -> Item:
    """The event; `kind` is the field that names what is judged, `target` the same in words of the wire."""
    row = record.body
    criterion = named(row.get("name") or row.get("annotation_name")) or "overall"
    result = as_object(row.get("result"))
    label, score, words = (result.get(key, row.get(f"result.{key}")) for key in ("label", "score", "explanation"))
    said = _said(criterion, label, score, words)
    at = instant(row.get("updated_at") or row.get("created_at"))
    if said is None or at is None:
        problem = "no readable time" if said else "neither a label nor a score nor an explanation"
        return record.misunderstood("feedback", f"annotation {criterion!r} has {problem}")
    identifier = str(row.get("identifier") or "")
    said_type, value = said
    event = {
        "feedback_id": content_id("px", kind, row[kind], criterion, identifier),
        "feedback_type": said_type,
        "feedback_value": value,
        "target": target,
        "timestamp": wire_time(at),
        "name": criterion,
        "source": present(
            kind=SOURCE_KINDS.get(str(row.get("annotator_kind")), "code"), id=_rater(row, identifier), client="phoenix"
        ),
        **present(
            explanation=words if said_type not in ("comment", "explicit_correction") else None,
            metadata=present(
                **as_object(row.get("metadata")),
                label=label if said_type in ("rating", "outcome") else None,
                score=score if said_type in ("label", "thumbs") and _is_number(score) else None,
            ),
        ),
    }
    return Found("feedback", event, record.path, record.line)


def _said(criterion: str, label: object, score: object, words: object) -> tuple[str, dict[str, object]] | None:
    if isinstance(label, str) and label in THUMBS:
        return "thumbs", {"up": THUMBS[label]}
    rated = verdict(score, criterion) if _is_number(score) else None
    if rated is not None and rated[0] == "rating":
        return rated
    if isinstance(label, str) and label:
        return verdict(label, criterion)
    if rated is not None or not isinstance(words, str) or not words:
        return rated
    return ("explicit_correction", {"output": words}) if criterion in CORRECTIONS else ("comment", {"text": words})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _rater(row: Mapping[str, object], identifier: str) -> str | None:
    return named(row.get("user_id")) or (named(identifier) if not identifier.startswith(_OWN) else None)
