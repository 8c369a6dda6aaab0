"""Contracts of the tables that all datasets of a tenant share: accepted events and refused lines.

JSON columns hold canonical JSON text. Times are UTC microseconds.
"""

import pandera.polars as pa
import polars as pl

from feedback_platform.contracts.table import TableContract, UtcMicros

FEEDBACK_TYPES = [
    "thumbs", "rating", "label", "explicit_correction", "preference_pair", "ranking",
    "implicit", "outcome", "comment", "adjudication", "retraction",
]  # fmt: skip
INPUT_KINDS = ["text", "chat", "features", "json"]
TARGET_KINDS = ["request", "item", "step", "chunk", "session", "keys", "feedback"]


class RawInferenceLogs(pa.DataFrameModel):
    """Every accepted inference, for ever (until erased), as the client sent it."""

    log_seq: int = pa.Field(ge=1, description="position in the inference log")
    received_at: UtcMicros = pa.Field(description="when the platform accepted the event")
    schema_version: int = pa.Field(ge=1, description="version of the wire contract")
    request_id: str = pa.Field(description="the client's id, unique per tenant")
    event_at: UtcMicros = pa.Field(description="completion time told by the client (`timestamp`)")
    task: str = pa.Field(description="which job the model was doing")
    environment: str = pa.Field(description="production, staging, ...")
    model: str = pa.Field(description="model name")
    model_version: str = pa.Field(description="model version")
    variant: str = pa.Field(nullable=True, description="canary or A/B arm")
    session_id: str = pa.Field(nullable=True, description="conversation or visit")
    user_id: str = pa.Field(nullable=True, description="end user")
    training_allowed: bool = pa.Field(description="false: never becomes a dataset row")
    is_future: bool = pa.Field(description="event_at was more than the tolerated skew ahead of received_at")
    input_kind: str = pa.Field(isin=INPUT_KINDS, description="canonical form of the input")
    input: str = pa.Field(description="canonical JSON of the input")
    output: str = pa.Field(description="canonical JSON of the output")
    last_user: str = pa.Field(nullable=True, description="text of the last user turn; null when there is none")
    output_text: str = pa.Field(nullable=True, description="plain text of the output; null when it has none")
    prompt_hash: int = pa.Field(description="xxh3-64 of the normalised last user turn, else of the canonical input")
    output_hash: int = pa.Field(description="xxh3-64 of the canonical output")
    confidence: float = pa.Field(nullable=True, ge=0, le=1, description="the model's own confidence")
    logprob: float = pa.Field(nullable=True, description="mean or total log-probability of the output")
    probabilities: str = pa.Field(nullable=True, description="JSON map class -> probability")
    token_logprobs: str = pa.Field(nullable=True, description="JSON list")
    regenerates: str = pa.Field(nullable=True, description="request that this one answers again")
    parent_request_id: str = pa.Field(nullable=True, description="the turn before")
    segments: str = pa.Field(nullable=True, description="JSON map segment -> value")
    keys: str = pa.Field(nullable=True, description="JSON map of business keys")
    template: str = pa.Field(nullable=True, description="JSON: prompt template id, version, variables")
    tools: str = pa.Field(nullable=True, description="JSON list of tool definitions")
    parameters: str = pa.Field(nullable=True, description="JSON: sampling parameters")
    embedding: str = pa.Field(nullable=True, description="JSON list of numbers")
    embedding_model: str = pa.Field(nullable=True, description="model of the embedding")
    items: str = pa.Field(nullable=True, description="JSON list: the slate shown")
    decision: str = pa.Field(nullable=True, description="JSON: what was done")
    propensity: float = pa.Field(nullable=True, ge=0, le=1, description="logged probability of the decision")
    retrieved: str = pa.Field(nullable=True, description="JSON list of retrieved chunks")
    route: str = pa.Field(nullable=True, description="JSON list of sub-models")
    steps: str = pa.Field(nullable=True, description="JSON list: agent trace")
    attributions: str = pa.Field(nullable=True, description="JSON: feature attributions logged with the answer")
    system: str = pa.Field(nullable=True, description="JSON: latency, endpoint, error")
    metadata: str = pa.Field(nullable=True, description="JSON: the client's own notes")


class RawFeedback(pa.DataFrameModel):
    """Every accepted feedback event, for ever (until erased): what was said, about what, by whom."""

    log_seq: int = pa.Field(ge=1, description="position in the feedback log")
    received_at: UtcMicros = pa.Field(description="when the platform accepted the event")
    schema_version: int = pa.Field(ge=1, description="version of the wire contract")
    feedback_id: str = pa.Field(description="the client's id, or a hash of tenant and canonical body")
    event_at: UtcMicros = pa.Field(description="when the feedback was given (`timestamp`, else received_at)")
    feedback_type: str = pa.Field(isin=FEEDBACK_TYPES, description="kind of signal")
    name: str = pa.Field(description="criterion judged")
    value: str = pa.Field(description="canonical JSON of `feedback_value`")
    target_kind: str = pa.Field(isin=TARGET_KINDS, description="what is judged")
    target_request_id: str = pa.Field(nullable=True, description="request judged")
    target_part_id: str = pa.Field(nullable=True, description="item, step or chunk within the request")
    target_session_id: str = pa.Field(nullable=True, description="session judged")
    target_keys: str = pa.Field(nullable=True, description="JSON map of business keys judged")
    subject_feedback_id: str = pa.Field(
        nullable=True, description="feedback that a retraction or adjudication is about"
    )
    request_ids: pl.List(pl.String) = pa.Field(description="all requests named by target and value, sorted")  # type: ignore[valid-type]
    chosen_request_id: str = pa.Field(nullable=True, description="preferred request of a preference_pair")
    rejected_request_id: str = pa.Field(nullable=True, description="other request of a preference_pair")
    chosen_output: str = pa.Field(nullable=True, description="canonical JSON of an inline preferred output")
    rejected_output: str = pa.Field(nullable=True, description="canonical JSON of an inline other output")
    is_tie: bool = pa.Field(nullable=True, description="preference_pair without a winner")
    output: str = pa.Field(nullable=True, description="canonical JSON of a corrected or adjudicated output")
    output_hash: int = pa.Field(nullable=True, description="xxh3-64 of `output`")
    score_ppm: int = pa.Field(
        nullable=True, ge=0, le=1_000_000, description="thumb or rating on a 0-1 scale, in millionths"
    )
    label: str = pa.Field(nullable=True, description="class given by a label or adjudication")
    verdict: str = pa.Field(nullable=True, isin=["valid", "invalid"], description="adjudication's verdict")
    signal: str = pa.Field(nullable=True, description="implicit signal or outcome name")
    number: float = pa.Field(nullable=True, description="implicit or outcome value; true is 1, false is 0")
    rater: str = pa.Field(nullable=True, description="source.id, else user_id, else session_id")
    source_kind: str = pa.Field(isin=["human", "model", "code"], description="who speaks")
    source_id: str = pa.Field(nullable=True, description="the source's id")
    source_client: str = pa.Field(nullable=True, description="client software that sent it")
    can_review: bool = pa.Field(description="sent with the `review` scope")
    model_version: str = pa.Field(nullable=True, description="version the sender believes it judges")
    user_id: str = pa.Field(nullable=True, description="end user")
    session_id: str = pa.Field(nullable=True, description="sender's session")
    is_future: bool = pa.Field(description="event_at was more than the tolerated skew ahead of received_at")
    segments: str = pa.Field(nullable=True, description="JSON map segment -> value")
    explanation: str = pa.Field(nullable=True, description="free text")
    metadata: str = pa.Field(nullable=True, description="JSON: the client's own notes")


class DeadLetters(pa.DataFrameModel):
    """Every refused line with the reason a person understands; bounded copies of what was sent."""

    log_seq: int = pa.Field(ge=1, description="position in the dead-letter log")
    received_at: UtcMicros = pa.Field(description="when it was refused")
    origin: str = pa.Field(description="file name or endpoint")
    line: int = pa.Field(nullable=True, ge=1, description="line number in the file")
    kind: str = pa.Field(isin=["inference", "feedback", "unknown"], description="what it tried to be")
    event_id: str = pa.Field(nullable=True, description="its id, where one could be read")
    reason: str = pa.Field(description="reason code")
    message: str = pa.Field(description="field, value and fix in words")
    body: str = pa.Field(description="the first 32 KiB of what was sent, undecodable bytes replaced")
    size_bytes: int = pa.Field(ge=0, description="size of what was sent")


RAW_INFERENCE_LOGS = TableContract(
    "raw_inference_logs", RawInferenceLogs, ("request_id",), "shared", stats=("log_seq", "event_at", "received_at")
)
RAW_FEEDBACK = TableContract(
    "raw_feedback", RawFeedback, ("feedback_id",), "shared", stats=("log_seq", "event_at", "received_at")
)
DEAD_LETTERS = TableContract("dead_letters", DeadLetters, ("log_seq",), "shared", stats=("log_seq",))
RAW_TABLES = (RAW_INFERENCE_LOGS, RAW_FEEDBACK, DEAD_LETTERS)
