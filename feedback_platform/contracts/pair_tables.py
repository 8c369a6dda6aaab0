"""Contracts of feedback beside what it judges: attributed, validated and enriched pairs, one building on the other.

Each stores change rows (see `table.ChangeRow`). Scores, shares and weights are whole numbers in millionths (`_ppm`).
"""

import pandera.polars as pa

from feedback_platform.contracts.raw_tables import FEEDBACK_TYPES, TARGET_KINDS
from feedback_platform.contracts.table import PPM, UtcMicros

PAIR_STATUSES = ["attributed", "retracted", "pending", "expired", "refused", "applied", "no_effect"]


class AttributedPairs(pa.DataFrameModel):
    """Feedback beside the inference it judges, one row per pair; and, with its reason, feedback that has none."""

    pair_id: str = pa.Field(description="feedback_id, and the request_id where there is one")
    feedback_id: str = pa.Field(description="the feedback event")
    request_id: str = pa.Field(nullable=True, description="the inference it judges; null while there is none")
    target_kind: str = pa.Field(isin=TARGET_KINDS, description="what is judged: request, item, session, ...")
    target_key: str = pa.Field(description="the target: later judgements of the same rater on it replace earlier ones")
    status: str = pa.Field(isin=PAIR_STATUSES, description="what attribution made of it")
    reason: str = pa.Field(nullable=True, description="why it is not attributed")
    by_feedback_id: str = pa.Field(nullable=True, description="the event that caused it, such as the retraction")
    flags: str = pa.Field(description="remarks that do not stop it, comma-separated")
    deadline_at: UtcMicros = pa.Field(nullable=True, description="pending: when waiting ends, in event time")
    weight_ppm: int = pa.Field(ge=0, le=PPM, description="share of the feedback that this pair carries")
    feedback_type: str = pa.Field(isin=FEEDBACK_TYPES, description="kind of signal")
    name: str = pa.Field(description="criterion judged")
    rater: str = pa.Field(nullable=True, description="who judges")
    source_kind: str = pa.Field(description="human, model or code")
    source_client: str = pa.Field(nullable=True, description="client software")
    can_review: bool = pa.Field(description="sent with the review scope")
    feedback_at: UtcMicros = pa.Field(description="when the feedback was given")
    inference_at: UtcMicros = pa.Field(nullable=True, description="when the inference completed")
    delay_ms: int = pa.Field(nullable=True, description="feedback_at minus inference_at")
    score_ppm: int = pa.Field(nullable=True, description="thumb or rating on a 0-1 scale")
    label: str = pa.Field(nullable=True, description="class given")
    given_verdict: str = pa.Field(nullable=True, description="adjudication's verdict")
    output_hash: int = pa.Field(nullable=True, description="hash of the corrected output")
    output_chars: int = pa.Field(nullable=True, description="characters of the corrected output's JSON")
    is_acceptance: bool = pa.Field(nullable=True, description="the correction leaves the output as it was")
    subject_feedback_id: str = pa.Field(nullable=True, description="feedback that an adjudication is about")
    chosen_request_id: str = pa.Field(nullable=True, description="preferred request")
    rejected_request_id: str = pa.Field(nullable=True, description="other request")
    is_tie: bool = pa.Field(nullable=True, description="preference without a winner")
    signal: str = pa.Field(nullable=True, description="implicit signal or outcome name")
    number: float = pa.Field(nullable=True, description="implicit or outcome value")
    model: str = pa.Field(nullable=True, description="model judged")
    model_version: str = pa.Field(nullable=True, description="version judged")
    session_id: str = pa.Field(nullable=True, description="session of the inference")
    training_allowed: bool = pa.Field(nullable=True, description="the inference may become a dataset row")
    confidence: float = pa.Field(nullable=True, description="the model's own confidence")
    logprob: float = pa.Field(nullable=True, description="log-probability of the output")
    probabilities: str = pa.Field(nullable=True, description="JSON map class -> probability")


class ValidatedPairs(AttributedPairs):
    """Each attributed pair with a verdict and all its reason codes."""

    verdict: str = pa.Field(isin=["valid", "invalid", "requires_human_review"], description="may it be used")
    reasons: str = pa.Field(description="all reason codes, comma-separated; empty when there is none")
    decided_by: str = pa.Field(isin=["rule", "adjudication"], description="who decided")
    trust_ppm: int = pa.Field(ge=0, le=PPM, description="1 for a clean pair, less for a doubtful one that is kept")
    review_until: UtcMicros = pa.Field(nullable=True, description="in review: when waiting ends, in event time")


class EnrichedRecords(ValidatedPairs):
    """Valid pairs with what is known around them; `as_of` says when each column was knowable."""

    is_current: bool = pa.Field(
        description="no later judgement of the same rater replaces it", metadata={"as_of": "label"}
    )
    superseded_by: str = pa.Field(
        nullable=True, description="the judgement that replaces it", metadata={"as_of": "label"}
    )
    hour_of_day: int = pa.Field(ge=0, le=23, description="UTC hour of the inference", metadata={"as_of": "inference"})
    weekday: int = pa.Field(ge=1, le=7, description="ISO weekday of the inference", metadata={"as_of": "inference"})
    session_turn: int = pa.Field(
        nullable=True, ge=1, description="place of the inference in its session", metadata={"as_of": "inference"}
    )
    uncertainty_ppm: int = pa.Field(
        nullable=True,
        ge=0,
        le=PPM,
        description="1 minus margin, confidence or exp(logprob)",
        metadata={"as_of": "inference"},
    )
    uncertainty_source: str = pa.Field(
        nullable=True, description="margin, confidence or logprob", metadata={"as_of": "inference"}
    )
    entropy_ppm: int = pa.Field(
        nullable=True,
        ge=0,
        le=PPM,
        description="entropy of the probabilities, 1 = uniform",
        metadata={"as_of": "inference"},
    )
    rater_events_24h: int = pa.Field(
        ge=0, description="judgements of the rater in the 24 hours before", metadata={"as_of": "feedback"}
    )
