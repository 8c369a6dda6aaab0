"""One event in one dataset, told in sentences: its state, why, what rests on it, and what would change that.

Facts come from `explain_facts`, fixed words from `explain_words`; this module puts them together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from feedback_platform.compile.explain_examples import example_lines, example_state, history_of
from feedback_platform.compile.explain_facts import DatasetFacts, Row
from feedback_platform.compile.explain_words import (
    EXAMPLES,
    FEEDBACK,
    INFERENCES,
    REMEDIES,
    SAID,
    code_words,
    listed,
    lookup,
    when,
)
from feedback_platform.contracts.policies import DatasetPolicy, micros
from feedback_platform.engines.duckdb import quoted


@dataclass(frozen=True, slots=True)
class Story:
    """An event in one dataset.

    Attributes:
        dataset: the dataset.
        state: one of law 2's states; `not_compiled` when the last window has not seen the event.
        reason: reason code, None for good states.
        why: the state in words.
        lines: what else there is to know, one sentence or short paragraph each.
        would_change: what would change the state.
        versions: published versions that hold something of it.
    """

    dataset: str
    state: str
    reason: str | None
    why: str
    would_change: str
    lines: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()


def not_compiled(dataset: str, seen: int | None, position: int, stream: str) -> Story:
    """The event is landed, and no closed window of the dataset reaches it."""
    upto = "it has never been compiled" if seen is None else f"its last window saw the {stream} log up to {seen}"
    return Story(
        dataset, "not_compiled", "landed_not_compiled",
        f"It is landed at position {position} of the {stream} log, and {upto}.",
        f"`feedback compile {dataset}`.",
    )  # fmt: skip


def inference_story(facts: DatasetFacts, inference: Row) -> Story:
    """An inference in a dataset."""
    request_id, dataset = inference["request_id"], facts.manifest.dataset
    found = facts.inference_state(request_id)
    if found is None:
        return not_compiled(dataset, facts.manifest.cuts.inference, inference["log_seq"], "inference")
    state, reason = found
    examples = facts.examples_of_request(request_id)
    maturity = min((e["mature_at"] for e in examples if e["mature_at"] is not None), default=None)
    values = _policy_values(facts) | {
        "reason": EXAMPLES.get(reason or "", reason or ""),
        "not_selected": "; ".join(facts.unselected(inference)),
        "mature_at": when(maturity),
        "latest_feedback": when(_latest_feedback(inference["event_at"], facts.policy)),
    }
    why, change = lookup(INFERENCES, state, reason)
    columns = ("request_id", "chosen_request_id", "rejected_request_id")
    history = history_of(facts, " OR ".join(f"{c} = {quoted(request_id)}" for c in columns))
    lines = () if state == "foreign" else (
        *_judgements(facts, request_id),
        *(line for example in examples for line in example_lines(facts, example)),
        *history.lines,
    )  # fmt: skip
    return Story(dataset, state, reason, why.format_map(values), change.format_map(values), lines, history.versions)


def feedback_story(facts: DatasetFacts, feedback: Row) -> Story:
    """A feedback event in a dataset."""
    feedback_id, dataset = feedback["feedback_id"], facts.manifest.dataset
    found = facts.feedback_state(feedback_id)
    if found is None:
        return not_compiled(dataset, facts.manifest.cuts.feedback, feedback["log_seq"], "feedback")
    state, reason = found
    pairs, examples = facts.pairs(feedback_id), facts.examples_of_feedback(feedback_id)
    values = _policy_values(facts) | _feedback_values(facts, feedback, pairs, examples)
    why, change = lookup(FEEDBACK, state, reason)
    lines = [
        f"It judges request {p['request_id']}." for p in pairs if p["request_id"] != feedback["target_request_id"]
        and p["request_id"] is not None
    ]  # fmt: skip
    flags = {f for p in pairs for f in p["flags"].split(",") if f}
    if flags:
        lines.append(f"Remark: {code_words(','.join(sorted(flags)))}.")
    doubts = {p["reasons"] for p in pairs if p["reasons"] and p["verdict"] == "valid"}
    lines += [f"It is kept although {code_words(d)}; its weight is halved." for d in sorted(doubts) if "adjud" not in d]
    lines += [line for example in examples for line in example_lines(facts, example)]
    history = history_of(facts, _ids("example_id", [e["example_id"] for e in examples]))
    lines += history.lines
    return Story(
        dataset, state, reason, why.format_map(values), change.format_map(values), tuple(lines), history.versions
    )


def example_story(facts: DatasetFacts, example_id: str) -> Story | None:
    """An example in a dataset; None when the dataset never had it."""
    example, history = facts.example(example_id), history_of(facts, f"example_id = {quoted(example_id)}")
    dataset = facts.manifest.dataset
    if example is None:
        if not history.lines:
            return None
        why = "The dataset no longer has this example: no feedback on its request is left for it."
        return Story(dataset, "removed", "no_feedback_left", why, "New feedback on its request.", history.lines,
                     history.versions)  # fmt: skip
    state, reason = example_state(example)
    change = REMEDIES.get(reason or "", "Other feedback on its request, an adjudication, or another policy.")
    if state == "in_dataset":
        change = INFERENCES["in_dataset", ""][1]
    elif state == "sampled_out":
        change = INFERENCES["sampled_out", ""][1]
    values = _policy_values(facts) | {"mature_at": when(example["mature_at"]), "latest_feedback": "its window's end"}
    request_id = example["request_id"]
    why = f"It is the {example['objective']} example of request {request_id}, criterion {example['criterion']}."
    lines = (*example_lines(facts, example), *history.lines,
             f"`feedback explain {request_id}` tells the whole story of the request.")  # fmt: skip
    return Story(dataset, state, reason, why, change.format_map(values), lines, history.versions)


def said(feedback: Mapping[str, Any]) -> str:
    """What a feedback event says, in words."""
    value = msgspec.json.decode(feedback["value"])
    name = "" if feedback["name"] == "overall" else f" on {feedback['name']!r}"
    return _value_words(str(feedback["feedback_type"]), value) + name


def _value_words(kind: str, value: Mapping[str, Any]) -> str:
    if kind == "thumbs":
        return f"a thumb {'up' if value['up'] else 'down'}"
    if kind == "preference_pair":
        tie = " (a tie)" if value.get("tie") else ""
        return f"a preference of {_side(value['chosen'])} over {_side(value['rejected'])}{tie}"
    return SAID[kind].format(**value)


def _judgements(facts: DatasetFacts, request_id: str) -> list[str]:
    judging = facts.judging(request_id)
    lines = [f"Feedback on it: {len(judging)}." if judging else "There is no feedback on it."]
    for feedback in judging:
        state, reason = facts.feedback_state(feedback["feedback_id"]) or ("not_compiled", None)
        why = f" ({reason})" if reason else ""
        rater = feedback["rater"] or "an unnamed rater"
        lines.append(
            f"  {feedback['feedback_id']}: {said(feedback)} by {rater} at {when(feedback['event_at'])}: {state}{why}."
        )
    return lines


def _policy_values(facts: DatasetFacts) -> dict[str, str]:
    policy = facts.policy
    return {
        "window": policy.attribution.window,
        "skew": policy.attribution.clock_skew,
        "maturity": policy.maturity.after,
        "agreement": f"{policy.resolve.agreement:.0%}",
        "expire": policy.resolve.review.expire,
        "watermark": when(datetime.fromtimestamp(facts.manifest.watermark / 1e6, tz=UTC)),
    }


def _feedback_values(facts: DatasetFacts, feedback: Row, pairs: list[Row], examples: list[Row]) -> dict[str, str]:
    first: Row = pairs[0] if pairs else {}
    subject = feedback["subject_feedback_id"]
    by = next((p[k] for p in pairs for k in ("by_feedback_id", "superseded_by") if p[k]), None)
    return {
        "by": by or "another event",
        "subject": subject or "none",
        "subject_or_target": subject or f"request {feedback['target_request_id']}",
        "deadline": when(first.get("deadline_at")),
        "awaited": _awaited(facts, feedback),
        "feedback_at": when(feedback["event_at"]),
        "inference_at": when(first.get("inference_at")),
        "believed": str(feedback["model_version"]),
        "model_version": str(first.get("model_version")),
        "codes": code_words(next((p["reasons"] for p in pairs if p["reasons"]), "")),
        "review_until": when(next((p["review_until"] for p in pairs if p["review_until"]), None)),
        "n_examples": f"{len(examples)} example{'s' * (len(examples) != 1)}",
    }


def _awaited(facts: DatasetFacts, feedback: Row) -> str:
    missing = facts.missing(feedback["request_ids"])
    if missing:
        return f"request {listed(missing)}"
    if feedback["target_session_id"]:
        return f"a request of session {feedback['target_session_id']}"
    if feedback["request_ids"]:
        return f"request {listed(feedback['request_ids'])} answered in that time"
    return "what it names"


def _side(reference: Mapping[str, Any]) -> str:
    if reference.get("request_id"):
        return f"request {reference['request_id']}"
    return f"item {reference['item_id']}" if reference.get("item_id") else "a given text"


def _latest_feedback(event_at: datetime, policy: DatasetPolicy) -> datetime:
    allowed = micros(policy.attribution.window) + micros(policy.attribution.clock_skew)
    return event_at + timedelta(microseconds=allowed)


def _ids(column: str, ids: list[str]) -> str:
    return f"{column} IN ({', '.join(quoted(i) for i in ids)})" if ids else "false"
