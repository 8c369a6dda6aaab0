"""The feedback that clients send (schema version 1): a class per `feedback_type`, its value, its target.

Pure declarations, like `wire`; the bounds and the base class are declared there.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta

from feedback_platform.contracts.canonical import canonical_json
from feedback_platform.contracts.refusals import Fault
from feedback_platform.contracts.wire import EventId, Instant, JsonObject, Name, ShortMap, Wire, to_utc

MAX_RANKED = 1_000


class Target(Wire, frozen=True):
    """What is judged: a request (or a part of it), a session, or whatever carries these business keys."""

    request_id: EventId | None = None
    item_id: Name | None = None
    step_id: Name | None = None
    chunk_id: Name | None = None
    session_id: Name | None = None
    keys: Annotated[ShortMap, Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        if sum(way is not None for way in (self.request_id, self.session_id, self.keys)) != 1:
            raise Fault("target_invalid", "", "Name exactly one of `request_id`, `session_id` and `keys`.")
        parts = sum(part is not None for part in (self.item_id, self.step_id, self.chunk_id))
        if parts > 1 or (parts and self.request_id is None):
            fix = "With `request_id` name at most one of `item_id`, `step_id` and `chunk_id`."
            raise Fault("target_invalid", "", fix)


class Source(Wire, frozen=True):
    """Who speaks."""

    kind: Literal["human", "model", "code"] = "human"
    id: Name | None = None
    client: Name | None = None


class Ref(Wire, frozen=True):
    """One side of a preference or place in a ranking: a request, an item of the target, an inline output."""

    request_id: EventId | None = None
    item_id: Name | None = None
    output: Any = UNSET

    def __post_init__(self) -> None:
        if (self.request_id is not None) + (self.item_id is not None) + (self.output is not UNSET) != 1:
            raise Fault("reference_invalid", "", "Name exactly one of `request_id`, `item_id` and `output`.")

    def what(self) -> tuple[str | None, str | None, str | None]:
        """What it refers to, to look up: equal for equal references."""
        return self.request_id, self.item_id, None if self.output is UNSET else canonical_json(self.output)


class ThumbsValue(Wire, frozen=True):
    """A thumb."""

    up: bool


class RatingValue(Wire, frozen=True):
    """A score on a scale."""

    score: float
    min: float
    max: float

    def __post_init__(self) -> None:
        if not self.min < self.max:
            raise Fault("rating_scale_invalid", "min", f"`min` must be below `max` ({self.max:g}).")
        if self.min / 2 == self.max / 2:  # halves, because the scale itself may be wider than the doubles
            raise Fault("rating_scale_invalid", "min", f"`min` is too close to `max` ({self.max:g}).")
        if not self.min <= self.score <= self.max:
            raise Fault("rating_out_of_scale", "score", f"It must be within {self.min:g} and {self.max:g}.")


class LabelValue(Wire, frozen=True):
    """A class."""

    label: Name


class CorrectionValue(Wire, frozen=True):
    """What the output should have been."""

    output: Any


class PairValue(Wire, frozen=True):
    """The better and the worse of two."""

    chosen: Ref
    rejected: Ref
    tie: bool = False

    def __post_init__(self) -> None:
        if self.chosen == self.rejected:
            raise Fault("reference_repeated", "rejected", "A pair compares two different things.")


class RankingValue(Wire, frozen=True):
    """Two or more things, best first."""

    order: Annotated[list[Ref], Meta(min_length=2, max_length=MAX_RANKED)]

    def __post_init__(self) -> None:
        seen = set()
        for place, ref in enumerate(self.order):
            if (what := ref.what()) in seen:
                raise Fault("reference_repeated", f"order[{place}]", "Name each thing once.")
            seen.add(what)


class ImplicitValue(Wire, frozen=True):
    """A signal read off behaviour."""

    signal: Name
    value: bool | float


class OutcomeValue(Wire, frozen=True):
    """What came of it, often late."""

    name: Name
    value: bool | float


class CommentValue(Wire, frozen=True):
    """Free text."""

    text: Annotated[str, Meta(min_length=1)]


class AdjudicationValue(Wire, frozen=True):
    """A reviewer's verdict on one feedback (`feedback_id`) or on the target."""

    verdict: Literal["valid", "invalid"]
    feedback_id: EventId | None = None
    label: Name | None = None
    output: Any = UNSET


class RetractionValue(Wire, frozen=True):
    """The feedback that is taken back."""

    feedback_id: EventId


class Feedback(Wire, frozen=True, kw_only=True, tag_field="feedback_type"):
    """What every kind of feedback carries; its subclasses add `feedback_value`."""

    feedback_id: EventId | None = None
    request_id: EventId | None = None
    target: Target | None = None
    timestamp: Instant | None = None
    name: Name = "overall"
    explanation: str | None = None
    source: Source | None = None
    model_version: Name | None = None
    user_id: Name | None = None
    session_id: Name | None = None
    segments: ShortMap | None = None
    metadata: JsonObject | None = None

    def __post_init__(self) -> None:
        if self.timestamp is not None:
            to_utc(self, self.timestamp)
        if self.request_id is not None and self.target is not None:
            raise Fault("target_ambiguous", "target", "Send either `request_id` or `target`, not both.")
        if self.request_id is None and self.target is None and self.subject is None:
            fix = "Send `request_id`, or `target` with one of `request_id`, `session_id` and `keys`."
            raise Fault("target_missing", "", fix)

    @property
    def feedback_type(self) -> str:
        """The wire name of the kind."""
        return str(type(self).__struct_config__.tag)

    @property
    def subject(self) -> str | None:
        """Id of the feedback that this one is about, where it is about another."""
        return None


class Thumbs(Feedback, frozen=True, tag="thumbs"):
    """Thumb up or down."""

    feedback_value: ThumbsValue


class Rating(Feedback, frozen=True, tag="rating"):
    """A score."""

    feedback_value: RatingValue


class Label(Feedback, frozen=True, tag="label"):
    """A class."""

    feedback_value: LabelValue


class Correction(Feedback, frozen=True, tag="explicit_correction"):
    """A corrected output; equal to the output it is an acceptance."""

    feedback_value: CorrectionValue


class PreferencePair(Feedback, frozen=True, tag="preference_pair"):
    """A comparison of two."""

    feedback_value: PairValue


class Ranking(Feedback, frozen=True, tag="ranking"):
    """An order of several."""

    feedback_value: RankingValue


class Implicit(Feedback, frozen=True, tag="implicit"):
    """A behavioural signal."""

    feedback_value: ImplicitValue


class Outcome(Feedback, frozen=True, tag="outcome"):
    """An outcome in the world."""

    feedback_value: OutcomeValue


class Comment(Feedback, frozen=True, tag="comment"):
    """A remark."""

    feedback_value: CommentValue


class Adjudication(Feedback, frozen=True, tag="adjudication"):
    """A reviewer's verdict."""

    feedback_value: AdjudicationValue

    @property
    def subject(self) -> str | None:
        """The feedback that is judged; none when the target itself is settled."""
        return self.feedback_value.feedback_id


class Retraction(Feedback, frozen=True, tag="retraction"):
    """Feedback taken back."""

    feedback_value: RetractionValue

    @property
    def subject(self) -> str | None:
        """The feedback that is taken back."""
        return self.feedback_value.feedback_id


AnyFeedback = (
    Thumbs | Rating | Label | Correction | PreferencePair | Ranking
    | Implicit | Outcome | Comment | Adjudication | Retraction
)  # fmt: skip
