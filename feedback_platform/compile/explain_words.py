"""Words for states and reasons: why an event is where it is, and what would change that. Text only, no lookups.

Placeholders in braces are filled by `explain_story` from the event's rows and the dataset's policy.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

Words = Mapping[tuple[str, str], tuple[str, str]]
_NEVER = "Published versions never change; the next one would."

# (state, reason) -> (why, what would change that); the reason "" serves all reasons that are not named.
INFERENCES: Words = MappingProxyType(
    {
        ("foreign", ""): (
            "The dataset does not select it: {not_selected}.",
            "A wider `select` in the dataset's YAML.",
        ),
        ("not_permitted", ""): (
            "It was sent with `training_allowed: false`.",
            "Nothing. Only another inference, sent with permission, can be trained on.",
        ),
        ("unlabelled", ""): (
            "No feedback on it has been attributed.",
            "Feedback that names it and was given by {latest_feedback} (`attribution.window` is {window}).",
        ),
        ("immature", ""): (
            "It has a label but is not mature before {mature_at} (`maturity.after` is {maturity}).",
            "An event with a time after {mature_at} (the watermark is {watermark}), or a shorter `maturity.after`.",
        ),
        ("in_review", ""): (
            "A person should decide first.",
            "An adjudication by a reviewer, or the end of the waiting time (`resolve.review.expire` is {expire}).",
        ),
        ("no_valid_feedback", "evidence_only"): (
            "Its feedback counts as evidence, but none of it can be a label for these objectives.",
            "Feedback of a kind in `resolve.precedence` that says what a good output is, such as a correction.",
        ),
        ("no_valid_feedback", "all_invalid"): (
            "All feedback on it is invalid.",
            "An adjudication that calls a piece of it valid, or new feedback.",
        ),
        ("no_valid_feedback", "disagreement"): (
            "Its raters disagree: less than {agreement} of them say the same.",
            "More feedback, an adjudication, or a lower `resolve.agreement`.",
        ),
        ("no_valid_feedback", "no_clear_verdict"): (
            "Its feedback is neither clearly good nor clearly bad.",
            "More feedback, an adjudication, or other `resolve.rating_good` and `resolve.rating_bad`.",
        ),
        ("no_valid_feedback", "no_target"): (
            "Its output was judged bad, and nobody said what a good one would be.",
            "A correction, or an adjudication that brings an output.",
        ),
        ("no_valid_feedback", "adjudicated_invalid"): (
            "A reviewer ruled it out.",
            "A later adjudication.",
        ),
        ("no_valid_feedback", "cluster_conflict"): (
            "Examples with the same content have other labels, and no label has {agreement} of them.",
            "More examples of that content that agree, or `dedup.conflict: keep`.",
        ),
        ("no_valid_feedback", ""): (
            "Its feedback gives no example: {reason}.",
            "Other feedback on it, or an adjudication.",
        ),
        ("duplicate", ""): (
            "Another example with the same content stands for it.",
            "The removal of that example (this one may then take its place), or `dedup.method: off`.",
        ),
        ("sampled_out", "prompt_in_another_split"): (
            "Its prompt is already in another part (train, validation or test), and using it would leak.",
            "Other `split.groups`; a published example never changes sides.",
        ),
        ("sampled_out", ""): (
            "Its rank is beyond what `sample.budget` draws.",
            "A larger `sample.budget`, or removals before it: ranks are kept, so it moves up.",
        ),
        ("in_dataset", ""): (
            "It is in the dataset.",
            f"A retraction, a later judgement of the same rater, an adjudication, or another policy. {_NEVER}",
        ),
    }
)
FEEDBACK: Words = MappingProxyType(
    {
        ("foreign", ""): (
            "What it judges is outside the dataset's `select`.",
            "A wider `select` in the dataset's YAML.",
        ),
        ("retracted", ""): (
            "It was taken back by {by}.",
            "Nothing brings it back. New feedback needs an id of its own.",
        ),
        ("pending", "waiting_for_inference"): (
            "It waits for {awaited} until {deadline}.",
            "The arrival of {awaited}. After {deadline} it is `expired` until then.",
        ),
        ("pending", "waiting_for_feedback"): (
            "It is about feedback {subject}, which has not arrived; it waits until {deadline}.",
            "The arrival of feedback {subject}.",
        ),
        ("pending", "waiting_for_keys"): (
            "It names business keys, and no inference with these keys has been found; it waits until {deadline}.",
            "The same judgement sent with `request_id`.",
        ),
        ("expired", "no_subject_in_window"): (
            "It is about feedback {subject}, which did not arrive within {window}.",
            "The arrival of feedback {subject}, however late.",
        ),
        ("expired", ""): (
            "It waited {window} for {awaited} in vain.",
            "The arrival of {awaited}, however late, if it was answered at most {window} before the feedback.",
        ),
        ("refused", "precedes_inference"): (
            "It was given at {feedback_at}, before the inference was answered at {inference_at}.",
            "The same judgement with a right time and a new id, or a larger `attribution.clock_skew` ({skew}).",
        ),
        ("refused", "needs_review_scope"): (
            "Its sender may not adjudicate.",
            "The same ruling from a sender with the scope `review`, under a new id.",
        ),
        ("refused", "model_version_mismatch"): (
            "It speaks of model version {believed}, the inference is from {model_version}.",
            "The same judgement with the right `model_version` and a new id, or `attribution.version_mismatch: flag`.",
        ),
        ("invalid", "adjudicated_invalid"): (
            "A reviewer called it invalid.",
            "A later adjudication of it with the verdict `valid`.",
        ),
        ("invalid", ""): (
            "Validation found it invalid: {codes}.",
            "An adjudication of it with the verdict `valid`.",
        ),
        ("in_review", ""): (
            "A person should look at it: {codes}. It waits until {review_until}.",
            "An adjudication of it. Without one it becomes invalid after {review_until}.",
        ),
        ("superseded", ""): (
            "A later judgement of the same rater, {by}, replaced it.",
            "A retraction of {by}.",
        ),
        ("evidence", "training_not_allowed"): (
            "It counts, but its inference may not be trained on.",
            "Nothing: permission is given when the inference is sent.",
        ),
        ("evidence", ""): (
            "It counts as evidence, but no example rests on it: another signal, or nothing, settled the label.",
            "A retraction of the feedback that decided, or another order in `resolve.precedence`.",
        ),
        ("used", ""): (
            "It is behind {n_examples}.",
            f"A retraction, a later judgement of the same rater, an adjudication, or another policy. {_NEVER}",
        ),
        ("applied", ""): (
            "It took effect on {subject_or_target}.",
            "A retraction is final; an adjudication yields to a later one.",
        ),
        ("no_effect", "cannot_retract_a_retraction"): (
            "It takes back {subject}, which is itself a retraction.",
            "Nothing. To judge again, send new feedback.",
        ),
        ("no_effect", ""): (
            "It takes back {subject}, which somebody else gave.",
            "A retraction by the same rater, or from a sender with the scope `review`.",
        ),
    }
)
CODES: Mapping[str, str] = MappingProxyType(
    {
        "empty_correction": "the correction is empty",
        "unknown_class": "the label is not one of `data.classes`",
        "rater_burst": "its rater gave more judgements in one hour than plausible",
        "future_timestamp": "its time lies in the future of its receipt",
        "inference_future_timestamp": "the inference's time lies in the future of its receipt",
        "adjudicated_invalid": "a reviewer called it invalid",
        "adjudicated_valid": "a reviewer called it valid",
        "review_expired": "nobody looked at it in time",
        "version_mismatch": "it speaks of another model version",
        "within_clock_skew": "it is earlier than the inference, within the tolerated skew of clocks",
    }
)
# What a feedback event says; the placeholders are keys of its value.
SAID: Mapping[str, str] = MappingProxyType(
    {
        "rating": "a rating of {score:g} on {min:g} to {max:g}",
        "label": "the label {label!r}",
        "explicit_correction": "a correction",
        "ranking": "a ranking",
        "implicit": "the signal {signal!r} = {value}",
        "outcome": "the outcome {name!r} = {value}",
        "comment": "a comment",
        "adjudication": "a reviewer's ruling: {verdict}",
        "retraction": "a retraction of {feedback_id}",
    }
)
EXAMPLES: Mapping[str, str] = MappingProxyType(
    {
        "training_not_allowed": "training on it is not permitted",
        "not_mature": "it is not mature yet",
        "in_review": "a judgement on it waits for a reviewer",
        "evidence_only": "none of the feedback can be a label here",
        "all_invalid": "all feedback is invalid",
        "disagreement": "the raters disagree",
        "no_clear_verdict": "the feedback is neither clearly good nor clearly bad",
        "no_target": "the output was judged bad and nobody gave a better one",
        "adjudicated_invalid": "a reviewer ruled it out",
        "same_output": "both sides of the pair are the same",
        "different_prompts": "the two sides answer different prompts",
        "tie": "the comparison is a tie",
        "length_ratio": "the two sides differ in length more than `pairs.max_length_ratio`",
        "same_content": "an example with the same content stands for it",
        "cluster_conflict": "examples with the same content have other labels",
        "prompt_in_another_split": "its prompt is already in another part",
    }
)
REMEDIES: Mapping[str, str] = MappingProxyType({reason: change for (_, reason), (_, change) in INFERENCES.items()})


def lookup(words: Words, state: str, reason: str | None) -> tuple[str, str]:
    """(why, what would change that) of a state and a reason code or comma-separated codes."""
    for key in ((state, reason or ""), (state, "")):
        if key in words:
            return words[key]
    return f"Its state is {state}, for the reason {reason}.", "See the dataset's policy: `feedback config`."


def code_words(codes: str | None) -> str:
    """Comma-separated reason codes in words."""
    return ", ".join(CODES.get(code, code) for code in (codes or "").split(",") if code)


def when(time: datetime | None) -> str:
    """A time in UTC to the second."""
    return "an unknown time" if time is None else f"{time:%Y-%m-%d %H:%M:%S} UTC"


def share(ppm: int | None) -> str:
    """Millionths as per cent."""
    return "unknown" if ppm is None else f"{ppm / 10_000:.0f} %"


def excerpt(text: str | None, limit: int = 100) -> str:
    """The beginning of a text on one line."""
    flat = " ".join((text or "").split())
    return flat if len(flat) <= limit else f"{flat[:limit]}..."


def listed(ids: Sequence[str], most: int = 5) -> str:
    """Ids with commas; beyond a few, how many more."""
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return ", ".join(ids[:most]) + more


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as `1 to 3, 5`."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and runs[-1][-1] == n - 1:
            runs[-1] = [runs[-1][0], n]
        else:
            runs.append([n])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
