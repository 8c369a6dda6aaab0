"""Evaluations and annotations become feedback: what they judge, what they say, who says it."""

import pytest

from feedback_platform.intake.otlp.decode import JSON
from feedback_platform.intake.otlp.mapping import read_export
from feedback_platform_tests.intake.otlp.exports import (
    CHAT,
    END,
    PARENT,
    SPAN,
    TRACE,
    as_json,
    evaluation,
    event,
    events,
    read,
    span,
)

CALL = f"{TRACE}-{SPAN}"
JUDGE = "00000000000000aa"
EVALUATOR = {"openinference.span.kind": "EVALUATOR"}


def judged(**attributes):
    return event(span(events=[evaluation(**attributes)]), kind="feedback")


def annotated(prefix="annotations", inner="annotation", attributes=None, **fields):
    """A span's attributes with one annotation."""
    named = {f"{prefix}.0.{inner}.{key}": value for key, value in fields.items()}
    return (CHAT if attributes is None else attributes) | named


def test_an_evaluation_of_the_span_it_is_recorded_on():
    found = event(
        span(
            events=[evaluation(name="Relevance", score__value=0.75, score__label="relevant", explanation="On topic.")]
        ),
        kind="feedback",
        resource={"service.name": "judge"},
    )
    assert found == {
        "feedback_id": f"{CALL}-ev0",
        "feedback_type": "rating",
        "feedback_value": {"score": 0.75, "min": 0, "max": 1},
        "request_id": CALL,
        "timestamp": "2026-01-01T00:00:06.234567Z",
        "name": "Relevance",
        "explanation": "On topic.",
        "source": {"kind": "model", "client": "judge"},
        "metadata": {"trace_id": TRACE, "span_id": SPAN, "label": "relevant", "scope": "tests"},
    }


@pytest.mark.parametrize(
    ("said", "kind", "value"),
    [
        ({"score__value": 1}, "rating", {"score": 1, "min": 0, "max": 1}),
        ({"score__value": 0.0}, "rating", {"score": 0.0, "min": 0, "max": 1}),
        ({"score__value": True}, "rating", {"score": 1, "min": 0, "max": 1}),
        ({"score__label": "pass"}, "label", {"label": "pass"}),
        ({"score__label": "false"}, "label", {"label": "false"}),
        ({"score__value": 4.0, "score__label": "good"}, "label", {"label": "good"}),
        ({"score__value": 4.0}, "outcome", {"name": "n", "value": 4.0}),
        ({"score__value": -0.5}, "outcome", {"name": "n", "value": -0.5}),
        ({"score__value": 2**62}, "outcome", {"name": "n", "value": float(2**62)}),
        ({"score__value": float("inf"), "score__label": "pass"}, "label", {"label": "pass"}),
        ({"explanation": "Good."}, "comment", {"text": "Good."}),
        ({"score__label": "x" * 300}, "comment", {"text": "x" * 300}),
    ],
)
def test_what_is_said_decides_the_type(said, kind, value):
    found = judged(name="n", **said)
    assert (found["feedback_type"], found["feedback_value"]) == (kind, value)


def test_what_the_value_does_not_hold_is_kept_beside_it():
    found = judged(name="n", score__value=4.0, score__label="good", explanation="Why.")
    assert (found["metadata"]["score"], found["explanation"]) == (4.0, "Why.")
    assert "explanation" not in judged(name="n", explanation="Good.")
    assert "name" not in judged(score__value=1)


def test_an_evaluation_on_a_child_judges_its_parent():
    call, judge = span(), span(EVALUATOR, id=JUDGE, parent=SPAN, events=[evaluation(name="n", score__value=1)])
    for spans in ((call, judge), (judge, call), (judge,)):  # a parent that comes in another export is trusted
        found = event(*spans, kind="feedback")
        assert (found["request_id"], found["feedback_id"]) == (CALL, f"{TRACE}-{JUDGE}-ev0")
    assert read(call, judge).skipped == {}, "a span that carries a judgement has given what it has"


def test_an_evaluation_by_response_id():
    chain = span({"openinference.span.kind": "CHAIN"}, id=PARENT)
    named = (
        "gen_ai.evaluation.result",
        END,
        {"gen_ai.evaluation.score.value": 1.0, "gen_ai.response.id": "chatcmpl-123"},
    )
    judge = span(EVALUATOR, id=JUDGE, parent=PARENT, events=[named])
    assert event(span(), chain, judge, kind="feedback")["request_id"] == CALL
    assert event(chain, judge, kind="feedback")["target"] == {"keys": {"response_id": "chatcmpl-123"}}
    assert event(span(EVALUATOR, id=JUDGE, events=[named]), kind="feedback")["target"] == {
        "keys": {"response_id": "chatcmpl-123"}
    }
    other = span(CHAT | {"gen_ai.response.id": "other"}, id=PARENT)
    under_other = span(EVALUATOR, id=JUDGE, parent=PARENT, events=[named])
    assert event(span(), other, under_other, kind="feedback")["request_id"] == f"{TRACE}-{PARENT}", (
        "the parent goes first"
    )


def test_an_evaluation_of_something_else():
    said = [evaluation(name="n", score__value=1)]
    root = event(span({"openinference.span.kind": "AGENT"}, events=said), kind="feedback")
    assert root["target"] == {"keys": {"trace_id": TRACE}}
    chain = span({"openinference.span.kind": "CHAIN"}, id=PARENT)
    found = read(chain, span(EVALUATOR, id=JUDGE, parent=PARENT, events=said))
    assert (found.mapped, found.skipped) == ((), {"chain_span": 1, "judges_no_model_call": 1})


def test_an_evaluation_that_failed_is_counted_and_an_empty_one_explained():
    failed = ("gen_ai.evaluation.result", END, {"gen_ai.evaluation.name": "n", "error.type": "timeout"})
    found = read(span(events=[failed, evaluation(name="n")]))
    assert found.skipped == {"evaluation_failed": 1}
    [misfit] = found.misfits
    assert (misfit.kind, misfit.span) == ("feedback", 0)
    assert "neither a score nor a label" in misfit.message


@pytest.mark.parametrize(
    ("annotator", "kind"),
    [("HUMAN", "human"), ("LLM", "model"), ("CODE", "code"), ("robot", "model"), (None, "model")],
)
def test_an_annotation_says_who_judged(annotator, kind):
    more = {"annotator_kind": annotator} if annotator else {}
    attributes = annotated(
        name="correctness", label="correct", score=1, identifier="reviewer-42", metadata='{"v": 2}', **more
    )
    found = event(span(attributes | {"user.id": "u-1"}), kind="feedback")
    assert found["source"] == {"kind": kind, "id": "reviewer-42"}
    assert (found["feedback_id"], found["request_id"], found["name"]) == (f"{CALL}-an0", CALL, "correctness")
    assert found["timestamp"] == "2026-01-01T00:00:01.234567Z"
    assert found["metadata"].items() >= {"label": "correct", "attributes": {"v": 2}}.items()
    assert "user_id" not in found, "the user was answered and did not judge"


def test_annotations_of_traces_sessions_roots_and_steps():
    in_session = CHAT | {"session.id": "s-1"}
    session = event(span(annotated("session.annotations", attributes=in_session, name="n", score=1)), kind="feedback")
    assert (session["target"], session["feedback_id"]) == ({"session_id": "s-1"}, f"{CALL}-sa0")
    trace = event(span(annotated("trace.evaluations", "evaluation", name="n", score=1)), kind="feedback")
    assert (trace["target"], trace["feedback_id"]) == ({"keys": {"trace_id": TRACE}}, f"{CALL}-te0")
    agent = annotated(attributes={"openinference.span.kind": "AGENT"}, name="n", score=1)
    assert event(span(agent), kind="feedback")["target"] == {"keys": {"trace_id": TRACE}}
    assert read(span(agent, parent=PARENT)).skipped == {"judges_no_model_call": 1}
    assert read(span(annotated("session.annotations", name="n", score=1))).skipped == {"judges_no_model_call": 1}


def test_both_spellings_of_one_result_count_once():
    twins = annotated(name="n", score=1) | annotated("evaluations", "evaluation", name="n", score=1)
    assert len(events(span(twins), kind="feedback")) == 1
    different = annotated(name="n", score=1) | annotated("evaluations", "evaluation", name="n", score=0)
    assert [one["feedback_id"] for one in events(span(different), kind="feedback")] == [f"{CALL}-an0", f"{CALL}-el0"]
    wider = annotated(name="n", score=1) | annotated("trace.annotations", name="n", score=1)
    assert len(events(span(wider), kind="feedback")) == 2


def test_ids_are_the_same_at_every_export_and_different_in_one():
    said = [evaluation(name="a", score__value=1), ("other", END, {}), evaluation(name="a", score__value=1)]
    body = as_json(span(annotated(name="a", score=1), events=said))
    first, again = (read_export(body, JSON) for _ in range(2))
    assert first == again
    assert [m.event["feedback_id"] for m in first.mapped[1:]] == [f"{CALL}-ev0", f"{CALL}-ev1", f"{CALL}-an0"]
    assert {m.span for m in first.mapped} == {0}


def test_a_call_without_text_still_carries_its_judgement():
    bare = {key: value for key, value in CHAT.items() if not key.endswith("messages")}
    found = read(span(bare, events=[evaluation(name="n", score__value=1)]))
    assert [mapped.kind for mapped in found.mapped] == ["feedback"]
    assert found.skipped == {"content_not_captured": 1}, "its judgement will wait for it in vain, so it is told"
