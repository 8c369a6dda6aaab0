"""Findings in plain words: one sentence a reader understands without a statistics course.

Turns the whole numbers of `stages/bias.py` into text; decides which findings a summary names, never what is
flagged. Returns plain text: whoever puts it into HTML escapes it.
"""

from collections.abc import Sequence

from feedback_platform.stages.bias import Finding

MAX_HEADLINES = 6
NONE = "—"
QUESTION = {
    "inferences_feedback": "Who gives feedback",
    "feedback_dataset": "What is kept of it",
    "inferences_dataset": "End to end",
}
_POPULATIONS = {
    "inferences_feedback": ("all inferences", "those with feedback"),
    "feedback_dataset": ("what has feedback", "the dataset"),
    "inferences_dataset": ("all inferences", "the dataset"),
}
VERDICT = {
    "over_represented": "▲ over-represented",
    "under_represented": "▼ under-represented",
    "ok": "● in balance",
    "too_few": "○ too few to say",
}
_REASON = {
    "ratio": "the whole interval of the ratio lies outside four-fifths",
    "effect_size": "the effect size |h| reaches the threshold",
    "ratio_and_effect_size": "ratio outside four-fifths and |h| at the threshold",
    "not_significant": "could be chance (adjusted p)",
    "not_large": "real or not, too small to matter",
    "below_min_support": "fewer cases than the minimum support",
    "only_value": "the only value of this segment: nothing to compare with",
    "empty_population": "the population compared to is empty",
}


def percent(ppm: int | None) -> str:
    """`183_000` as "18.3 %", with more digits below one percent."""
    if ppm is None:
        return NONE
    value = ppm / 10_000
    return f"{value:.1f} %" if value >= 1 or ppm == 0 else f"{value:.2g} %"


def times(ppm: int | None) -> str:
    """A ratio for a sentence, two significant digits: "1.8", "0.55", "12"."""
    if ppm is None:
        return NONE
    value = ppm / 1_000_000
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1.05 else f"{value:.2f}"


def ratio(ppm: int | None) -> str:
    """A ratio for a table: two decimals, or three digits above ten."""
    if ppm is None:
        return NONE
    return f"{ppm / 1e6:.2f}" if ppm < 10_000_000 else f"{ppm / 1e6:.3g}"


def p_text(ppm: int | None) -> str:
    """An adjusted p-value, never shown more exactly than it is stored."""
    if ppm is None:
        return NONE
    return "< 0.001" if ppm < 1_000 else f"{ppm / 1_000_000:.3f}"


def reason_text(reason: str) -> str:
    """A reason code in words; an unknown code stands for itself."""
    return _REASON.get(reason, reason)


def name(f: Finding) -> str:
    """How a reader names the segment value."""
    scope = f" ({f.objective})" if f.objective else ""
    return f"{f.segment} = {f.value or '(empty)'}{scope}"


def sentence(f: Finding) -> str:
    """One flagged finding in one sentence, without its uncertainty."""
    often = f"{times(f.ratio_ppm)} times as often"
    if f.nested and f.comparison == "inferences_feedback":
        return f"Feedback comes {often} from {name(f)} as from the rest."
    if f.nested and f.comparison == "feedback_dataset":
        return f"Judged inferences enter the dataset {often} from {name(f)} as from the rest."
    return f"{name(f)} makes up {_shares(f)}."


def figures(f: Finding) -> str:
    """What stands behind `sentence`: rates, interval of the ratio, shares."""
    interval = f"ratio {ratio(f.ratio_ppm)}, interval {ratio(f.ratio_low_ppm)} to {ratio(f.ratio_high_ppm)}"
    if not f.nested:
        return f"Against the rest of the segment: {interval}."
    return f"Rate {percent(f.rate_ppm)} against {percent(f.rate_rest_ppm)}; {interval}; {_shares(f)}."


def _shares(f: Finding) -> str:
    base, hit = _POPULATIONS[f.comparison]
    return f"{percent(f.share_hit_ppm)} of {hit} but {percent(f.share_base_ppm)} of {base}"


def headlines(findings: Sequence[Finding]) -> list[Finding]:
    """The findings worth a sentence: the surest per objective, segment and comparison, in rank order.

    A segment with two values is flagged from both sides; the over-represented side reads better, so it is
    told when it is about as sure. The way as a whole is left out where one of its steps is already told.
    """
    best: dict[tuple[str | None, str, str], Finding] = {}
    for f in (f for f in findings if f.flagged):
        key = (f.objective, f.segment, f.comparison)
        told = best.setdefault(key, f)
        surer = 10 * (f.effect_low_ppm or 0) >= 9 * (told.effect_low_ppm or 0)
        if told.verdict == "under_represented" and f.verdict == "over_represented" and surer:
            best[key] = f
    steps = {key[:2] for key in best if key[2] != "inferences_dataset"}
    told_once = [f for key, f in best.items() if key[2] != "inferences_dataset" or key[:2] not in steps]
    return told_once[:MAX_HEADLINES]


def overview(findings: Sequence[Finding]) -> str:
    """The report in one sentence."""
    tested = [f for f in findings if f.verdict != "too_few"]
    flagged = sum(f.flagged for f in findings)
    few = len(findings) - len(tested)
    tail = f" {few} more had too few cases to say." if few else ""
    if not findings:
        return "No segment was counted, so nothing can be said about bias."
    if not flagged:
        return f"None of {len(tested)} comparisons is both significant and large.{tail}"
    return f"{flagged} of {len(tested)} comparisons are both significant and large.{tail}"


def origin(findings: Sequence[Finding]) -> str:
    """Where one segment's skew comes from, read off the three comparisons."""
    skewed = {f.comparison for f in findings if f.flagged}
    response, selection = "inferences_feedback" in skewed, "feedback_dataset" in skewed
    if response and selection:
        if "inferences_dataset" not in skewed:
            return "Response and selection are both skewed, but largely cancel out in the dataset."
        return "Skewed twice: by who gives feedback and by what is kept of it."
    if response:
        return "The skew comes from who gives feedback; selection adds none of note."
    if selection:
        return "Feedback comes evenly; the skew comes from what is kept of it."
    if skewed:
        return "Small steps add up: only the way from inference to dataset as a whole is skewed."
    return "No skew of note at any step."
