"""The inference that clients send (schema version 1): every field, its type and its bounds, declared once.

Feedback is declared in `wire_feedback`. Pure declarations: JSON Schema and docs follow from them, and
`events` parses with them. Optional fields that are null count as absent. Rules that span fields stand in
`__post_init__` and raise `Fault`.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct
from msgspec.structs import force_setattr

from feedback_platform.contracts.refusals import Fault

SCHEMA_VERSION = 1
MAX_ENTRIES = 64
MAX_TEXT = 256

EventId = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.:\-]{1,128}\Z", description="1-128 of A-Za-z0-9_.:-")]
Name = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339 with Z or an offset")]
ShortMap = Annotated[
    dict[Name, Annotated[str, Meta(max_length=MAX_TEXT)]],
    Meta(max_length=MAX_ENTRIES, description=f"up to {MAX_ENTRIES} names; values up to {MAX_TEXT} characters"),
]
JsonObject = dict[str, Any]


class Wire(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Base of all wire objects: immutable, unknown fields refused, absent fields omitted when written."""


def to_utc(event: Struct, instant: datetime) -> None:
    """Set the event's `timestamp` to the same instant in UTC; for `__post_init__` only."""
    if instant.tzinfo is UTC:
        return
    try:
        force_setattr(event, "timestamp", instant.astimezone(UTC))
    except OverflowError:
        raise Fault("timestamp_invalid", "timestamp", "In UTC the year must be 1 to 9999.") from None


class Template(Wire, frozen=True):
    """The prompt template that made the input."""

    id: Name
    version: Name | None = None
    variables: JsonObject | None = None


class Item(Wire, frozen=True):
    """One item of a slate that was shown."""

    item_id: Name
    position: Annotated[int, Meta(ge=0)]
    propensity: Probability | None = None
    score: float | None = None
    features: JsonObject | None = None
    output: Any = UNSET


class Chunk(Wire, frozen=True):
    """One retrieved passage."""

    chunk_id: Name
    score: float | None = None
    text: str | None = None


class SubModel(Wire, frozen=True):
    """One sub-model on the way to the answer."""

    component: Name
    version: Name
    output: Any = UNSET
    probabilities: dict[str, Probability] | None = None


class Step(Wire, frozen=True):
    """One step of an agent's trace."""

    id: Name
    name: Name
    input: Any = UNSET
    output: Any = UNSET
    error: Any = UNSET
    latency_ms: Annotated[float, Meta(ge=0)] | None = None
    cost: float | None = None


class Attributions(Wire, frozen=True):
    """Feature attributions logged with the answer."""

    method: Name
    values: Any


class Inference(Wire, frozen=True, kw_only=True):
    """One answered request, as the client reports it."""

    request_id: EventId
    timestamp: Instant
    model: Name
    model_version: Name
    input: Any
    output: Any
    task: Name = "default"
    environment: Name = "production"
    variant: Name | None = None
    parameters: JsonObject | None = None
    template: Template | None = None
    tools: list[JsonObject] | None = None
    confidence: Probability | None = None
    probabilities: dict[str, Probability] | None = None
    logprob: float | None = None
    token_logprobs: list[float | JsonObject | None] | None = None
    embedding: list[float] | None = None
    embedding_model: Name | None = None
    items: list[Item] | None = None
    decision: Any = UNSET
    propensity: Probability | None = None
    retrieved: list[Chunk] | None = None
    route: list[SubModel] | None = None
    steps: list[Step] | None = None
    attributions: Attributions | None = None
    regenerates: EventId | None = None
    parent_request_id: EventId | None = None
    session_id: Name | None = None
    user_id: Name | None = None
    keys: ShortMap | None = None
    segments: ShortMap | None = None
    system: JsonObject | None = None
    training_allowed: bool = True
    metadata: JsonObject | None = None

    def __post_init__(self) -> None:
        to_utc(self, self.timestamp)
        if self.input is None:
            raise Fault("field_missing", "input", "Send what the model was given; null is not an input.")
