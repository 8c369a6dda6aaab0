"""One MLflow assessment (feedback or expectation) as feedback on the request it judges. No files, no spans."""

import msgspec

from feedback_platform.intake.importers.foreign import Found, Item, Skipped
from feedback_platform.intake.importers.ids import instant, safe_id, wire_time
from feedback_platform.intake.importers.mapped_values import as_object, held, named, present, verdict
from feedback_platform.intake.importers.record_files import Record

SOURCE_KINDS = {"HUMAN": "human", "LLM_JUDGE": "model", "AI_JUDGE": "model", "CODE": "code"}
NO_OUTPUTS = ("expected_facts", "expected_retrieved_context")
_NOBODY = "default"
_Assessment = dict[str, object]


def feedback(assessment: _Assessment, request_id: str | None, record: Record) -> Item:
    """An assessment as feedback; `request_id` is None where it judges what is no inference."""
    if assessment.get("valid") is False:
        return Skipped("overridden_assessment")
    if "issue" in assessment:
        return Skipped("reference_to_issue")
    if request_id is None:
        return Skipped("judges_no_model_call")
    criterion = named(assessment.get("assessment_name")) or "overall"
    said = _said(assessment, criterion)
    if isinstance(said, Skipped):
        return said
    at = instant(assessment.get("last_update_time") or assessment.get("create_time"))
    if at is None or not assessment.get("assessment_id"):
        return record.misunderstood("feedback", f"assessment {criterion!r} has no readable `assessment_id` and time")
    source = as_object(assessment.get("source"))
    rater = source.get("source_id")
    event = {
        "feedback_id": safe_id(assessment["assessment_id"]),
        "feedback_type": said[0],
        "feedback_value": said[1],
        "request_id": request_id,
        "timestamp": wire_time(at),
        "name": criterion,
        "source": present(
            kind=SOURCE_KINDS.get(str(source.get("source_type")), "code"),
            id=named(rater) if rater != _NOBODY else None,
            client="mlflow",
        ),
        **present(
            explanation=assessment.get("rationale") if said[1] != {"text": assessment.get("rationale")} else None,
            metadata=as_object(assessment.get("metadata")),
        ),
    }
    return Found("feedback", event, record.path, record.line)


def _said(assessment: _Assessment, criterion: str) -> tuple[str, dict[str, object]] | Skipped:
    if "expectation" in assessment:
        value = _expected(as_object(assessment["expectation"]))
        is_output = criterion.startswith("expected_") and criterion not in NO_OUTPUTS
        return ("explicit_correction", {"output": value}) if is_output else _comment(value)
    body = as_object(assessment.get("feedback"))
    if body.get("error"):
        return Skipped("failed_assessment")
    value = body.get("value")
    if value in (None, ""):
        rationale = assessment.get("rationale")
        return _comment(rationale) if rationale else Skipped("assessment_without_value")
    return verdict(value, criterion) or _comment(value)


def _expected(expectation: dict[str, object]) -> object:
    """The value; of lists and objects it is kept as JSON text."""
    serialized = as_object(expectation.get("serialized_value"))
    return held(serialized.get("value")) if serialized else expectation.get("value")


def _comment(value: object) -> tuple[str, dict[str, object]]:
    return "comment", {"text": value if isinstance(value, str) else msgspec.json.encode(value).decode()}
