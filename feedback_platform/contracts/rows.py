"""Accepted events become rows of the raw tables: flat, canonical, everything but the log position.

Pure: the receipt time is given.
The columns are those of `raw_tables`; times are aware datetimes in UTC, nested values canonical JSON text.
"""

import hmac
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import UNSET

from feedback_platform.contracts import wire_feedback as wire
from feedback_platform.contracts.canonical import canonical_json, normalise_text, xxh3
from feedback_platform.contracts.payload import input_kind, last_user, output_text
from feedback_platform.contracts.wire import SCHEMA_VERSION, Inference
from feedback_platform.contracts.wire_feedback import AnyFeedback

CLOCK_SKEW = timedelta(minutes=10)
Row = dict[str, Any]

_ONE = 1_000_000
# Fields of an inference that are columns of the same name: as they are, and as canonical JSON.
_PLAIN = (
    "variant", "session_id", "user_id", "confidence", "logprob", "regenerates", "parent_request_id",
    "embedding_model", "propensity",
)  # fmt: skip
_JSON = (
    "probabilities", "token_logprobs", "segments", "keys", "template", "tools", "parameters", "embedding", "items",
    "decision", "retrieved", "route", "steps", "attributions", "system", "metadata",
)  # fmt: skip


def inference_rows(events: Sequence[Inference], received_at: datetime) -> list[Row]:
    """Rows of `raw_inference_logs` without `log_seq` and without absent values, in the order of the events."""
    return [_inference_row(event, received_at) for event in events]


def feedback_rows(
    events: Sequence[AnyFeedback], received_at: datetime, ids: Sequence[str], can_review: Sequence[bool]
) -> list[Row]:
    """Rows of `raw_feedback` without `log_seq` and without absent values, in the order of the events.

    Args:
        events: parsed feedback.
        received_at: when the platform took them.
        ids: the id of each event: its own, or one derived from its body (`derived_id`).
        can_review: of each event, whether its sender holds the `review` scope.
    """
    told = zip(events, ids, can_review, strict=True)
    return [_feedback_row(event, received_at, feedback_id, review) for event, feedback_id, review in told]


def row_bytes(row: Row) -> bytes:
    """A row as the log keeps it: JSON."""
    return msgspec.json.encode(row)


def _inference_row(event: Inference, received_at: datetime) -> Row:
    request = last_user(event.input)
    prompt = canonical_json(event.input)
    output = canonical_json(event.output)
    row: Row = {
        "received_at": received_at,
        "schema_version": SCHEMA_VERSION,
        "request_id": event.request_id,
        "event_at": event.timestamp,
        "task": event.task,
        "environment": event.environment,
        "model": event.model,
        "model_version": event.model_version,
        "training_allowed": event.training_allowed,
        "is_future": event.timestamp > received_at + CLOCK_SKEW,
        "input_kind": input_kind(event.input),
        "input": prompt,
        "output": output,
        "prompt_hash": xxh3(prompt if request is None else normalise_text(request)),
        "output_hash": xxh3(output),
    }
    if request is not None:
        row["last_user"] = request
    if (text := output_text(event.output)) is not None:
        row["output_text"] = text
    for name in _PLAIN:
        value = getattr(event, name)
        if value is not None:
            row[name] = value
    for name in _JSON:
        value = getattr(event, name)
        if value is not None and value is not UNSET:
            row[name] = canonical_json(value)
    return row


def _feedback_row(event: AnyFeedback, received_at: datetime, feedback_id: str, can_review: bool) -> Row:
    event_at = event.timestamp or received_at
    source = event.source or wire.Source()
    target = event.target or wire.Target(request_id=event.request_id) if _has_target(event) else None
    output = value.get("output") if (value := _value_columns(event)) else None
    row = {
        "received_at": received_at,
        "schema_version": SCHEMA_VERSION,
        "feedback_id": feedback_id,
        "event_at": event_at,
        "feedback_type": event.feedback_type,
        "name": event.name,
        "value": canonical_json(event.feedback_value),
        "target_kind": _target_kind(target),
        "target_request_id": target.request_id if target else None,
        "target_part_id": (target.item_id or target.step_id or target.chunk_id) if target else None,
        "target_session_id": target.session_id if target else None,
        "target_keys": _json(target.keys) if target else None,
        "subject_feedback_id": event.subject,
        "request_ids": _request_ids(event, target),
        "output_hash": None if output is None else xxh3(output),
        "rater": source.id or event.user_id or event.session_id,
        "source_kind": source.kind,
        "source_id": source.id,
        "source_client": source.client,
        "can_review": can_review,
        "model_version": event.model_version,
        "user_id": event.user_id,
        "session_id": event.session_id,
        "is_future": event_at > received_at + CLOCK_SKEW,
        "segments": _json(event.segments),
        "explanation": event.explanation,
        "metadata": _json(event.metadata),
        **value,
    }
    return {name: value for name, value in row.items() if value is not None}


def derived_id(event: AnyFeedback, tenant: str, key: bytes) -> str:
    """The id of feedback that brings none: equal bodies get equal ids, so that a blind retry counts once.

    Keyed (HMAC-SHA-256), so that nobody without the log's key can guess a body and recognise it by its id.
    """
    digest = hmac.digest(key, f"{tenant}\n{canonical_json(event)}".encode(), "sha256").hex()
    return f"fb_{digest[:40]}"


def _has_target(event: AnyFeedback) -> bool:
    return event.target is not None or event.request_id is not None


def _target_kind(target: wire.Target | None) -> str:
    if target is None:
        return "feedback"
    if target.request_id is None:
        return "session" if target.session_id is not None else "keys"
    parts = (("item", target.item_id), ("step", target.step_id), ("chunk", target.chunk_id))
    return next((kind for kind, part in parts if part is not None), "request")


def _request_ids(event: AnyFeedback, target: wire.Target | None) -> list[str]:
    refs: Iterable[wire.Ref] = ()
    if isinstance(event, wire.PreferencePair):
        refs = (event.feedback_value.chosen, event.feedback_value.rejected)
    elif isinstance(event, wire.Ranking):
        refs = event.feedback_value.order
    named = {ref.request_id for ref in refs} | {target.request_id if target else None}
    return sorted(request_id for request_id in named if request_id is not None)


def _value_columns(event: AnyFeedback) -> Row:
    """The columns that only this kind of feedback fills."""
    match event.feedback_value:
        case wire.ThumbsValue(up=up):
            return {"score_ppm": _ONE if up else 0}
        case wire.RatingValue() as rating:
            return {"score_ppm": _scaled(rating)}
        case wire.LabelValue(label=label):
            return {"label": label}
        case wire.CorrectionValue(output=output):
            return {"output": canonical_json(output)}
        case wire.PairValue() as pair:
            return _pair_columns(pair)
        case wire.ImplicitValue(signal=signal, value=value) | wire.OutcomeValue(name=signal, value=value):
            return {"signal": signal, "number": float(value)}
        case wire.AdjudicationValue() as ruling:
            return {"verdict": ruling.verdict, "label": ruling.label, "output": _sent(ruling.output)}
    return {}


def _scaled(rating: wire.RatingValue) -> int:
    share = (rating.score / 2 - rating.min / 2) / (rating.max / 2 - rating.min / 2)  # halves cannot overflow
    return round(share * _ONE)


def _pair_columns(pair: wire.PairValue) -> Row:
    return {
        "chosen_request_id": pair.chosen.request_id,
        "rejected_request_id": pair.rejected.request_id,
        "chosen_output": _sent(pair.chosen.output),
        "rejected_output": _sent(pair.rejected.output),
        "is_tie": pair.tie,
    }


def _json(value: object) -> str | None:
    """Canonical JSON of an optional value; null counts as absent."""
    return None if value is UNSET or value is None else canonical_json(value)


def _sent(output: object) -> str | None:
    """Canonical JSON of an output that may be missing; one that was sent as null is the text `null`."""
    return None if output is UNSET else canonical_json(output)
