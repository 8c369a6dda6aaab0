"""Contracts of the tables of one dataset, in the order in which a compilation advances them.

Each stores change rows (see `table.ChangeRow`); the columns here are the content of the current state. Scores, shares
and weights are whole numbers in millionths (`_ppm`), so that they add up and hash the same on every engine.
"""

import pandera.polars as pa
import polars as pl

from feedback_platform.contracts.pair_tables import AttributedPairs, EnrichedRecords, ValidatedPairs
from feedback_platform.contracts.raw_tables import FEEDBACK_TYPES, INPUT_KINDS
from feedback_platform.contracts.table import PPM, TableContract, UtcMicros

FEEDBACK_STATES = [
    "erased", "foreign", "retracted", "pending", "expired", "refused", "invalid", "in_review",
    "superseded", "evidence", "used", "applied", "no_effect",
]  # fmt: skip
INFERENCE_STATES = [
    "erased", "foreign", "not_permitted", "unlabelled", "immature", "in_review", "no_valid_feedback",
    "duplicate", "sampled_out", "in_dataset",
]  # fmt: skip
OBJECTIVES = ["sft", "preference", "unpaired", "classification"]


class ResolvedExamples(pa.DataFrameModel):
    """One row per objective and unit: an example with its label, or the reason why there is none."""

    example_id: str = pa.Field(description="hash of dataset, objective and unit key")
    objective: str = pa.Field(isin=OBJECTIVES, description="what it trains")
    unit: str = pa.Field(isin=["inference", "pair"], description="what is labelled")
    unit_key: str = pa.Field(description="identifies the unit within the objective")
    criterion: str = pa.Field(description="criterion judged")
    request_id: str = pa.Field(description="the inference judged")
    state: str = pa.Field(
        isin=["resolved", "immature", "in_review", "no_valid_feedback", "not_permitted"], description="is it an example"
    )
    reason: str = pa.Field(nullable=True, description="why it is none")
    mature_at: UtcMicros = pa.Field(nullable=True, description="immature: when it matures, in event time")
    chosen_request_id: str = pa.Field(nullable=True, description="request of the preferred side")
    rejected_request_id: str = pa.Field(nullable=True, description="request of the other side")
    task: str = pa.Field(nullable=True, description="job of the model")
    model: str = pa.Field(nullable=True, description="model judged")
    model_version: str = pa.Field(nullable=True, description="version judged")
    variant: str = pa.Field(nullable=True, description="canary or A/B arm")
    event_at: UtcMicros = pa.Field(nullable=True, description="when the inference completed")
    label_at: UtcMicros = pa.Field(nullable=True, description="when the last feedback used was given")
    session_id: str = pa.Field(nullable=True, description="session of the inference")
    user_id: str = pa.Field(nullable=True, description="end user")
    segments: str = pa.Field(nullable=True, description="JSON map segment -> value")
    input_kind: str = pa.Field(nullable=True, isin=INPUT_KINDS, description="canonical form of the input")
    input: str = pa.Field(nullable=True, description="canonical JSON of the input")
    output: str = pa.Field(nullable=True, description="canonical JSON of the output given")
    target: str = pa.Field(nullable=True, description="canonical JSON of the output to learn")
    chosen: str = pa.Field(nullable=True, description="canonical JSON of the preferred output")
    rejected: str = pa.Field(nullable=True, description="canonical JSON of the other output")
    tools: str = pa.Field(nullable=True, description="JSON list of tool definitions")
    label_kind: str = pa.Field(
        nullable=True, isin=["target", "binary", "class", "preference"], description="form of the label"
    )
    label: str = pa.Field(nullable=True, description="the label")
    label_confidence_ppm: int = pa.Field(nullable=True, ge=0, le=PPM, description="agreement times trust")
    label_source: str = pa.Field(
        nullable=True, isin=["event", "absence", "adjudication"], description="what settled it"
    )
    rule_id: str = pa.Field(nullable=True, description="the rule that settled it")
    n_raters: int = pa.Field(nullable=True, ge=0, description="raters that counted")
    agreement_ppm: int = pa.Field(nullable=True, ge=0, le=PPM, description="share of raters behind the label")
    evidence: pl.List(pl.String) = pa.Field(description="feedback behind the label, sorted")  # type: ignore[valid-type]
    pair_source: str = pa.Field(nullable=True, description="where a preference pair comes from")
    edit_ratio_ppm: int = pa.Field(
        nullable=True, ge=0, le=PPM, description="edit distance over length; null for long texts"
    )
    uncertainty_ppm: int = pa.Field(nullable=True, description="uncertainty of the inference")
    prompt_hash: int = pa.Field(nullable=True, description="hash of the normalised last user turn")
    content_hash: int = pa.Field(nullable=True, description="hash of the fields that make two examples the same")


class FeedbackEvents(pa.DataFrameModel):
    """The lifecycle of each event of the dataset: one state, one reason."""

    feedback_id: str = pa.Field(description="the event")
    feedback_type: str = pa.Field(isin=FEEDBACK_TYPES, description="kind of signal")
    feedback_at: UtcMicros = pa.Field(description="when it was given")
    request_id: str = pa.Field(nullable=True, description="the (first) inference it judges")
    state: str = pa.Field(isin=FEEDBACK_STATES, description="where it ended")
    reason: str = pa.Field(nullable=True, description="why")
    n_pairs: int = pa.Field(ge=0, description="inferences it judges")


class CandidateExamples(pa.DataFrameModel):
    """Every resolved example with its duplicate cluster, split and sampling rank; all ranks are kept."""

    example_id: str = pa.Field(description="the example")
    objective: str = pa.Field(isin=OBJECTIVES, description="what it trains")
    request_id: str = pa.Field(description="the inference judged")
    state: str = pa.Field(isin=["candidate", "duplicate", "conflict", "split_bridge"], description="may it be drawn")
    reason: str = pa.Field(nullable=True, description="why not")
    representative_id: str = pa.Field(nullable=True, description="the example that stands for it")
    cluster_id: str = pa.Field(description="examples of the objective with the same content")
    group_id: str = pa.Field(description="examples with the same prompt: never in two splits")
    split_root: str = pa.Field(description="what decides the split: session or prompt")
    split: str = pa.Field(isin=["train", "validation", "test"], description="part")
    is_bridged: bool = pa.Field(description="its group spans roots of different parts")
    dup_count: int = pa.Field(ge=1, description="examples that the representative stands for")
    stratum: str = pa.Field(description="sampling stratum")
    arm: str = pa.Field(isin=["random", "weighted"], description="random: drawn without the weight")
    weight_ppm: int = pa.Field(ge=1, description="sampling weight, 1,000,000 = 1")
    sampling_rank: int = pa.Field(ge=0, description="hash over weight; the lowest are drawn first")
    event_at: UtcMicros = pa.Field(description="when the inference completed")
    label: str = pa.Field(nullable=True, description="the label")


class SamplingThresholds(pa.DataFrameModel):
    """How far down the ranks each stratum is drawn: the part of the sample that moves for every row."""

    cell: str = pa.Field(description="objective, stratum and arm")
    objective: str = pa.Field(isin=OBJECTIVES, description="what it trains")
    stratum: str = pa.Field(description="sampling stratum")
    arm: str = pa.Field(isin=["random", "weighted"], description="sampling arm")
    n_candidates: int = pa.Field(ge=0, description="candidates in the cell")
    n_drawn: int = pa.Field(ge=0, description="candidates drawn")
    threshold: int = pa.Field(ge=0, description="ranks up to this one are drawn")


class SampledDataset(pa.DataFrameModel):
    """The dataset: one row per example drawn, with payload, label, origin, grouping and selection."""

    example_id: str = pa.Field(description="hash of dataset, objective and unit key")
    objective: str = pa.Field(isin=OBJECTIVES, description="what it trains")
    unit: str = pa.Field(description="what is labelled")
    unit_key: str = pa.Field(description="identifies the unit within the objective")
    criterion: str = pa.Field(description="criterion judged")
    request_id: str = pa.Field(description="the inference judged")
    chosen_request_id: str = pa.Field(nullable=True, description="request of the preferred side")
    rejected_request_id: str = pa.Field(nullable=True, description="request of the other side")
    task: str = pa.Field(nullable=True, description="job of the model")
    model: str = pa.Field(description="model judged")
    model_version: str = pa.Field(description="version judged")
    variant: str = pa.Field(nullable=True, description="canary or A/B arm")
    event_at: UtcMicros = pa.Field(description="when the inference completed")
    label_at: UtcMicros = pa.Field(description="when the last feedback used was given")
    session_id: str = pa.Field(nullable=True, description="session of the inference")
    user_id: str = pa.Field(nullable=True, description="end user")
    segments: str = pa.Field(nullable=True, description="JSON map segment -> value")
    input_kind: str = pa.Field(isin=INPUT_KINDS, description="canonical form of the input")
    input: str = pa.Field(description="canonical JSON of the input")
    output: str = pa.Field(description="canonical JSON of the output given")
    target: str = pa.Field(nullable=True, description="canonical JSON of the output to learn")
    chosen: str = pa.Field(nullable=True, description="canonical JSON of the preferred output")
    rejected: str = pa.Field(nullable=True, description="canonical JSON of the other output")
    tools: str = pa.Field(nullable=True, description="JSON list of tool definitions")
    label_kind: str = pa.Field(description="form of the label")
    label: str = pa.Field(nullable=True, description="the label")
    label_confidence_ppm: int = pa.Field(ge=0, le=PPM, description="agreement times trust")
    label_source: str = pa.Field(isin=["event", "absence", "adjudication"], description="what settled it")
    rule_id: str = pa.Field(description="the rule that settled it")
    n_raters: int = pa.Field(ge=0, description="raters that counted")
    agreement_ppm: int = pa.Field(ge=0, le=PPM, description="share of raters behind the label")
    evidence: pl.List(pl.String) = pa.Field(description="feedback behind the label, sorted")  # type: ignore[valid-type]
    pair_source: str = pa.Field(nullable=True, description="where a preference pair comes from")
    edit_ratio_ppm: int = pa.Field(nullable=True, description="edit distance over length; null for long texts")
    uncertainty_ppm: int = pa.Field(nullable=True, description="uncertainty of the inference")
    cluster_id: str = pa.Field(description="examples of the objective with the same content")
    group_id: str = pa.Field(description="examples with the same prompt")
    dup_count: int = pa.Field(ge=1, description="examples that this one stands for")
    split: str = pa.Field(isin=["train", "validation", "test"], description="part")
    stratum: str = pa.Field(description="sampling stratum")
    arm: str = pa.Field(isin=["random", "weighted"], description="sampling arm")
    weight_ppm: int = pa.Field(ge=1, description="sampling weight")
    sampling_rank: int = pa.Field(ge=0, description="rank within stratum and arm")
    row_hash: str = pa.Field(str_matches="^[0-9a-f]{64}$", description="SHA-256 of the row's canonical JSON")


class BiasReport(pa.DataFrameModel):
    """Who is in the data: one row per objective, segment value and comparison of two of the three populations."""

    cell: str = pa.Field(description="objective, segment, value and comparison")
    objective: str = pa.Field(isin=OBJECTIVES, description="what the dataset rows train")
    segment: str = pa.Field(description="segment")
    value: str = pa.Field(description="its value")
    comparison: str = pa.Field(
        isin=["inferences_feedback", "feedback_dataset", "inferences_dataset"], description="populations compared"
    )
    verdict: str = pa.Field(isin=["ok", "under_represented", "over_represented", "too_few"], description="judgement")
    reason: str = pa.Field(description="what the judgement rests on")
    n_inferences: int = pa.Field(ge=0, description="selected inferences of the value")
    n_feedback: int = pa.Field(ge=0, description="those with attributed feedback")
    n_dataset: int = pa.Field(ge=0, description="those in the dataset")
    n_labelled: int = pa.Field(ge=0, description="dataset rows with a yes-or-no label")
    n_positive: int = pa.Field(ge=0, description="those with yes")
    rate_ppm: int = pa.Field(description="second population over first, in the value")
    rate_rest_ppm: int = pa.Field(description="the same in the rest of the segment")
    rate_low_ppm: int = pa.Field(nullable=True, description="lower end of the rate's interval")
    rate_high_ppm: int = pa.Field(nullable=True, description="upper end of the rate's interval")
    ratio_ppm: int = pa.Field(nullable=True, description="rate over rate of the rest")
    ratio_low_ppm: int = pa.Field(nullable=True, description="lower end of the ratio's interval")
    ratio_high_ppm: int = pa.Field(nullable=True, description="upper end of the ratio's interval")
    effect_h_ppm: int = pa.Field(nullable=True, description="Cohen's h")
    p_adjusted_ppm: int = pa.Field(nullable=True, description="p value after Benjamini-Hochberg")


_STAGE_STATS: tuple[str, ...] = ("window",)
ATTRIBUTED_PAIRS = TableContract(
    "attributed_pairs", AttributedPairs, ("pair_id",), "dataset", _STAGE_STATS, derived=True
)
VALIDATED_PAIRS = TableContract("validated_pairs", ValidatedPairs, ("pair_id",), "dataset", _STAGE_STATS, derived=True)
ENRICHED_RECORDS = TableContract(
    "enriched_records", EnrichedRecords, ("pair_id",), "dataset", _STAGE_STATS, derived=True
)
RESOLVED_EXAMPLES = TableContract(
    "resolved_examples", ResolvedExamples, ("example_id",), "dataset", _STAGE_STATS, derived=True
)
FEEDBACK_EVENTS = TableContract(
    "feedback_events", FeedbackEvents, ("feedback_id",), "dataset", _STAGE_STATS, derived=True
)
CANDIDATE_EXAMPLES = TableContract(
    "candidate_examples", CandidateExamples, ("example_id",), "dataset", _STAGE_STATS, derived=True
)
SAMPLING_THRESHOLDS = TableContract(
    "sampling_thresholds", SamplingThresholds, ("cell",), "dataset", _STAGE_STATS, derived=True
)
SAMPLED_DATASET = TableContract(
    "sampled_dataset", SampledDataset, ("example_id",), "dataset", _STAGE_STATS, derived=True
)
BIAS_REPORT = TableContract("bias_report", BiasReport, ("cell",), "dataset", _STAGE_STATS, derived=True)
STAGE_TABLES = (
    ATTRIBUTED_PAIRS, VALIDATED_PAIRS, ENRICHED_RECORDS, RESOLVED_EXAMPLES, FEEDBACK_EVENTS,
    CANDIDATE_EXAMPLES, SAMPLING_THRESHOLDS, SAMPLED_DATASET, BIAS_REPORT,
)  # fmt: skip
