"""Evaluations and annotations on spans become feedback in words of the wire contract.

What is judged. An evaluation event judges the span that it is recorded on, if that is a model call; else that span's
parent, if it is a model call of the same export; else the call with the event's `gen_ai.response.id`; else, unseen,
`keys.response_id` or the parent. An annotation judges its span; on the root of a trace, or under `trace.`, it judges
`keys.trace_id`; under `session.` the session. What judges a tool or another step is left out and counted.

What is said. A score within 0 and 1 is a rating on that scale. Any other score has a scale that OTLP does not tell: with
a label the label stands (it is what the conventions make of such a score), without one the score is an `outcome`. A
label alone is a label, an explanation alone a comment. The rest of the three is kept beside it.

Who says it. A model, unless `annotator_kind` says HUMAN or CODE; `identifier` is the source's id. The span's user is the
one who was answered, not the one who judges, and stays out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from feedback_platform.intake.otlp.attributes import child, first, flattened, json_object, name, number, text
from feedback_platform.intake.otlp.inferences import NotMapped, instant, session_of
from feedback_platform.intake.otlp.kinds import MODEL_CALL
from feedback_platform.intake.otlp.spans import Attributes, Span, SpanEvent

EVALUATION_EVENT = "gen_ai.evaluation.result"
_KINDS = {"human": "human", "user": "human", "llm": "model", "model": "model", "code": "code"}
# Prefix of the flattened list, name of the object inside, mark in the feedback's id.
_ANNOTATIONS = (
    ("annotations", "annotation", "an"),
    ("evaluations", "evaluation", "el"),
    ("trace.annotations", "annotation", "ta"),
    ("trace.evaluations", "evaluation", "te"),
    ("session.annotations", "annotation", "sa"),
    ("session.evaluations", "evaluation", "se"),
)


@dataclass(frozen=True, slots=True)
class Export:
    """What the spans of one export tell about each other.

    Attributes:
        kinds: span's request id -> what it is (`kinds.kind_of`).
        responses: provider's response id -> request id of the model call that returned it.
    """

    kinds: Mapping[str, str] = field(default_factory=dict)
    responses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judgement:
    """One result, in whichever form it was recorded; `mark` makes the feedback's id unique in its span."""

    mark: str
    name: str | None
    score: float | int | None
    label: str | None
    explanation: str | None
    judge: str | None
    judge_id: str | None
    metadata: Mapping[str, object]
    time_ns: int

    @property
    def said(self) -> tuple[object, ...]:
        """What makes two records the same result."""
        return self.name, self.score, self.label, self.explanation, self.judge_id


Result = dict[str, object] | str | NotMapped


def feedback_of(span: Span, attributes: Attributes, export: Export) -> Iterator[Result]:
    """Each judgement on this span: a feedback event, the reason why it is left out, or what is wrong with it."""
    for place, event in enumerate(event for event in span.events if event.name == EVALUATION_EVENT):
        judgement = _evaluation(event, place)
        yield _feedback(span, judgement, _evaluated(span, event, export), event.attributes)
    seen: set[tuple[object, ...]] = set()
    for prefix, inner, mark in _ANNOTATIONS:
        target = _annotated(span, attributes, prefix, export)
        for place, entry in enumerate(flattened(attributes, prefix)):
            judgement = _annotation(span, child(entry, inner), f"{mark}{place}")
            # `annotations` and `evaluations` are two spellings; some send both.
            if (twin := (prefix.rpartition(".")[0], *judgement.said)) not in seen:
                yield _feedback(span, judgement, target, {})
            seen.add(twin)


def _evaluation(event: SpanEvent, place: int) -> Judgement:
    found = event.attributes
    return Judgement(
        f"ev{place}",
        name(found.get("gen_ai.evaluation.name")),
        number(found.get("gen_ai.evaluation.score.value")),
        text(found.get("gen_ai.evaluation.score.label")),
        text(found.get("gen_ai.evaluation.explanation")),
        text(first(found, "annotation.annotator_kind", "evaluation.annotator_kind")),
        name(first(found, "annotation.identifier", "evaluation.identifier")),
        json_object(first(found, "annotation.metadata", "evaluation.metadata")) or {},
        event.time_ns,
    )


def _annotation(span: Span, body: object, mark: str) -> Judgement:
    return Judgement(
        mark,
        name(child(body, "name")),
        number(child(body, "score")),
        text(child(body, "label")),
        text(child(body, "explanation")),
        text(child(body, "annotator_kind")),
        name(child(body, "identifier")),
        json_object(child(body, "metadata")) or {},
        span.end_ns,
    )


def _evaluated(span: Span, event: SpanEvent, export: Export) -> dict[str, object] | None:
    """Target of an evaluation event; None where it judges something that is no model call."""
    if export.kinds.get(span.request_id) == MODEL_CALL:
        return {"request_id": span.request_id}
    parent = f"{span.trace_id}-{span.parent_id}" if span.parent_id else ""
    kind = export.kinds.get(parent)
    response = name(event.attributes.get("gen_ai.response.id"))
    if kind == MODEL_CALL:
        return {"request_id": parent}
    if response is not None:
        known = export.responses.get(response)
        return {"request_id": known} if known else {"target": {"keys": {"response_id": response}}}
    if not parent:
        return {"target": {"keys": {"trace_id": span.trace_id}}}
    return {"request_id": parent} if kind is None else None


def _annotated(span: Span, attributes: Attributes, prefix: str, export: Export) -> dict[str, object] | None:
    """Target of an annotation; None where there is none for us."""
    if prefix.startswith("session."):
        session = session_of(attributes)
        return {"target": {"session_id": session}} if session else None
    if prefix.startswith("trace."):
        return {"target": {"keys": {"trace_id": span.trace_id}}}
    if export.kinds.get(span.request_id) == MODEL_CALL:
        return {"request_id": span.request_id}
    return None if span.parent_id else {"target": {"keys": {"trace_id": span.trace_id}}}


def _feedback(span: Span, said: Judgement, target: dict[str, object] | None, event: Attributes) -> Result:
    if target is None:
        return "judges_no_model_call"
    valued = _valued(said)
    if valued is None:
        if text(event.get("error.type")):
            return "evaluation_failed"
        return NotMapped("It has neither a score nor a label nor an explanation. Record one of them.")
    kind, value = valued
    try:
        timestamp = instant(said.time_ns or span.end_ns or span.start_ns)
    except NotMapped as error:
        return error
    feedback = {
        "feedback_id": f"{span.request_id}-{said.mark}",
        "feedback_type": kind,
        "feedback_value": value,
        **target,
        "timestamp": timestamp,
        "name": said.name,
        "explanation": None if kind == "comment" else said.explanation,
        "source": _source(span, said),
        "metadata": _metadata(span, said, kind),
    }
    return {key: value for key, value in feedback.items() if value is not None}


def _valued(said: Judgement) -> tuple[str, dict[str, object]] | None:
    """Type and value of the feedback; None where nothing was said."""
    if said.score is not None and 0 <= said.score <= 1:
        return "rating", {"score": said.score, "min": 0, "max": 1}
    if name(said.label) is not None:
        return "label", {"label": said.label}
    if said.score is not None:
        return "outcome", {"name": said.name or "score", "value": said.score}
    remark = "\n".join(part for part in (said.label, said.explanation) if part)
    return ("comment", {"text": remark}) if remark else None


def _source(span: Span, said: Judgement) -> dict[str, object]:
    source = {
        "kind": _KINDS.get((said.judge or "").lower(), "model"),
        "id": said.judge_id,
        "client": name(span.resource.get("service.name")),
    }
    return {key: value for key, value in source.items() if value is not None}


def _metadata(span: Span, said: Judgement, kind: str) -> dict[str, object]:
    facts = {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "score": said.score if kind not in ("rating", "outcome") else None,
        "label": said.label if kind not in ("label", "comment") else None,
        "scope": span.scope or None,
        "attributes": dict(said.metadata) or None,
    }
    return {key: value for key, value in facts.items() if value is not None}
