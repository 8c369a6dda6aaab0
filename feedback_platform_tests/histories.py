"""Random histories for the laws: few ids, many collisions; late, superseding, retracting, adjudicating, session feedback."""

from typing import Any

from hypothesis import strategies as st

from feedback_platform_tests.builders import (
    Event,
    adjudication,
    at,
    correction,
    feedback,
    inference,
    rating,
    retraction,
    thumbs,
)

DAY = 1440.0
RATERS = ["ann", "bob", "cleo", None]
REQUESTS = [f"r{i}" for i in range(8)]
NAMES = ["overall", "overall", "safe"]  # two criteria on one request are two examples
TEXTS = ["how are you", "How  are you", "what is the time", "tell a joke", "sing"]


@st.composite
def inferences(draw: st.DrawFn) -> list[Event]:
    """A few inferences: shared prompts, some sessions with turns of two tasks, one not for training."""
    events = []
    for request_id in draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=8, unique=True)):
        session = draw(st.sampled_from([None, None, "s1", "s2"]))
        extra: Event = {"session_id": session} if session else {}
        if user := draw(st.sampled_from([None, "u1", "u2"])):
            extra["user_id"] = user
        if draw(st.integers(0, 9)) == 0:
            extra["training_allowed"] = False
        events.append(
            inference(
                request_id,
                minute=draw(st.integers(0, int(5 * DAY))),
                text=draw(st.sampled_from(TEXTS)),
                task=draw(st.sampled_from(["chat", "chat", "chat", "other"])),
                output=draw(st.sampled_from(["yes", "no", "maybe"])),
                logprob=draw(st.sampled_from([-0.5, -0.1, -3.0])),
                **extra,
            )
        )
    return events


@st.composite
def judgement(draw: st.DrawFn, feedback_id: str, earlier: list[str]) -> Event:
    """One feedback event of any kind, its target known, unknown, late, early or too late."""
    minute = draw(st.integers(0, int(45 * DAY)) | st.integers(0, int(6 * DAY)))
    request_id = draw(st.sampled_from(REQUESTS))
    rater = draw(st.sampled_from(RATERS))
    common: dict[str, Any] = {"minute": minute, "rater": rater}
    kinds = ["thumbs", "thumbs", "rating", "rating", "correction", "session", "pair", "comment", "click", "adjudicate"]
    kind = draw(st.sampled_from(kinds + (["retract", "retract", "rule"] if earlier else [])))
    match kind:
        case "thumbs":
            return thumbs(feedback_id, request_id, up=draw(st.booleans()), name=draw(st.sampled_from(NAMES)), **common)
        case "rating":
            named = {"name": draw(st.sampled_from(NAMES)), **common}
            return rating(feedback_id, request_id, score=draw(st.sampled_from([10, 60, 95])), **named)
        case "correction":
            return correction(feedback_id, request_id, output=draw(st.sampled_from(["yes", "no", "better"])), **common)
        case "session":
            target = {"session_id": draw(st.sampled_from(["s1", "s2", "s3"]))}
            return feedback(feedback_id, "thumbs", {"up": draw(st.booleans())}, target=target, **common)
        case "pair":
            value = {"chosen": {"request_id": request_id}, "rejected": {"request_id": draw(st.sampled_from(REQUESTS))}}
            return feedback(feedback_id, "preference_pair", value, request_id=request_id, **common)
        case "comment":
            return feedback(feedback_id, "comment", {"text": "hm"}, request_id=request_id, **common)
        case "click":
            return feedback(
                feedback_id, "implicit", {"signal": "click", "value": True}, request_id=request_id, **common
            )
        case "adjudicate":
            value = draw(
                st.sampled_from([{"verdict": "valid"}, {"verdict": "invalid"}, {"verdict": "valid", "output": "best"}])
            )
            return adjudication(feedback_id, value, request_id=request_id, **common)
        case "rule":
            verdict = draw(st.sampled_from(["valid", "invalid"]))
            return adjudication(
                feedback_id, {"verdict": verdict, "feedback_id": draw(st.sampled_from(earlier))}, **common
            )
        case _:
            return retraction(feedback_id, draw(st.sampled_from(earlier)), **common)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Event], list[Event]]:
    """Inferences and feedback; the last event pushes the watermark on, so that deadlines elapse."""
    given = draw(inferences())
    ids: list[str] = []
    events: list[Event] = []
    for n in range(draw(st.integers(1, 22))):
        feedback_id = f"f{n:02d}"
        events.append(draw(judgement(feedback_id, ids)))
        ids.append(feedback_id)
    if draw(st.booleans()):
        events.append(thumbs("z", "nobody", minute=60 * DAY))
    return given, events


@st.composite
def slicings(draw: st.DrawFn, n_inferences: int, n_feedback: int, most: int = 4) -> list[tuple[list[int], list[int]]]:
    """Which events arrive in which slice, in which order: positions of inferences and of feedback."""
    k = draw(st.integers(1, most))
    slices: list[tuple[list[int], list[int]]] = [([], []) for _ in range(k)]
    for i in draw(st.permutations(range(n_inferences))):
        slices[draw(st.integers(0, k - 1))][0].append(i)
    for i in draw(st.permutations(range(n_feedback))):
        slices[draw(st.integers(0, k - 1))][1].append(i)
    return slices


__all__ = ["at", "histories", "slicings"]
