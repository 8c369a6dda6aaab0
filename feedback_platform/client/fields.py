"""The optional fields of the wire contract as typed keyword arguments. Declarations only; what they mean stands in the
contract, and the server judges the values."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict

JsonObject = Mapping[str, Any]


class InferenceFields(TypedDict, total=False):
    """What an inference may carry beside model, version, input and output; None counts as absent.

    `timestamp` is the completion, by default the time of the call; one without an offset is taken as local time.
    """

    request_id: str | None
    timestamp: datetime | str | None
    task: str | None
    environment: str | None
    variant: str | None
    parameters: JsonObject | None
    template: JsonObject | None
    tools: Sequence[JsonObject] | None
    confidence: float | None
    probabilities: Mapping[str, float] | None
    logprob: float | None
    token_logprobs: Sequence[float | JsonObject | None] | None
    embedding: Sequence[float] | None
    embedding_model: str | None
    items: Sequence[JsonObject] | None
    decision: Any
    propensity: float | None
    retrieved: Sequence[JsonObject] | None
    route: Sequence[JsonObject] | None
    steps: Sequence[JsonObject] | None
    attributions: JsonObject | None
    regenerates: str | None
    parent_request_id: str | None
    session_id: str | None
    user_id: str | None
    keys: Mapping[str, str] | None
    segments: Mapping[str, str] | None
    system: JsonObject | None
    training_allowed: bool | None
    metadata: JsonObject | None


class FeedbackFields(TypedDict, total=False):
    """What feedback may carry beside its type, value and request; None counts as absent.

    `target` names what is judged where `request_id` alone does not: `{request_id, item_id | step_id | chunk_id}`,
    `{session_id}` or `{keys: {name: id}}`. Without `source`, `user_id` or `session_id` there is no rater, and a later
    thumb does not replace an earlier one.
    """

    target: JsonObject | None
    feedback_id: str | None
    timestamp: datetime | str | None
    name: str | None
    explanation: str | None
    source: JsonObject | None
    model_version: str | None
    user_id: str | None
    session_id: str | None
    segments: Mapping[str, str] | None
    metadata: JsonObject | None
