"""Who gives feedback, and what of it enters the dataset: segment skew across three populations.

In: one small table of counts per (objective, segment, value). Out: findings, summaries and a gate, all in
whole numbers (parts per million, "ppm") so that they hash alike on every engine. Counting belongs to the
engines, the statistics to `proportions.py`, drawing to `report/`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from feedback_platform.errors import ConfigError
from feedback_platform.stages import proportions as pr
from feedback_platform.stages.segment_counts import (
    COMPARISONS,
    Comparison,
    Group,
    SegmentCount,
    groups,
    merge,
    populations,
)

__all__ = [
    "BiasThresholds", "Finding", "GateVerdict", "SegmentCount", "SegmentSummary",
    "assess", "gate", "merge", "segment_summary",
]  # fmt: skip

Verdict = Literal["ok", "under_represented", "over_represented", "too_few"]
_VERDICT_ORDER = {"under_represented": 0, "over_represented": 0, "ok": 1, "too_few": 2}


@dataclass(frozen=True)
class BiasThresholds:
    """What counts as a finding: four-fifths (29 CFR 1607.4(D), on both sides), Cohen's "small" h of 0.2."""

    min_support: int = 30
    false_discovery_rate: float = 0.05
    four_fifths: float = 0.8
    effect_h: float = 0.2
    confidence: float = 0.95

    def __post_init__(self) -> None:
        rates = (self.false_discovery_rate, self.four_fifths, self.confidence)
        if self.min_support < 1 or self.effect_h <= 0 or not all(0 < r < 1 for r in rates):
            raise ConfigError(f"{self} cannot be: rates lie in (0, 1), min_support from 1, effect_h above 0.")


@dataclass(frozen=True)
class Finding:
    """One segment value in one comparison. `base` is the population compared from, `hit` the one compared to.

    rate = hit / base of the value; ratio = its rate over the rate of the rest of the segment; difference and
    effect_h compare the two rates when hit is part of base (`nested`: no value has more hits than base), else
    the value's shares in the two populations. effect_low is the bound of the ratio nearest to 1, inverted
    below 1: "at least so many times". None: not estimable, or too few to say.
    """

    objective: str | None
    segment: str
    value: str
    comparison: Comparison
    verdict: Verdict
    reason: str
    nested: bool
    n_base: int
    n_hit: int
    n_base_rest: int
    n_hit_rest: int
    share_base_ppm: int
    share_hit_ppm: int
    rate_ppm: int
    rate_rest_ppm: int
    rate_low_ppm: int | None = None
    rate_high_ppm: int | None = None
    ratio_ppm: int | None = None
    ratio_low_ppm: int | None = None
    ratio_high_ppm: int | None = None
    difference_ppm: int | None = None
    difference_low_ppm: int | None = None
    difference_high_ppm: int | None = None
    effect_h_ppm: int | None = None
    effect_low_ppm: int | None = None
    p_ppm: int | None = None
    p_adjusted_ppm: int | None = None

    @property
    def flagged(self) -> bool:
        """Whether the verdict is a complaint."""
        return self.verdict in ("under_represented", "over_represented")


@dataclass(frozen=True)
class SegmentSummary:
    """How strongly one segment decides membership: bias-corrected Cramer's V, p-value of independence."""

    objective: str | None
    segment: str
    comparison: Comparison
    n_values: int
    n_base: int
    n_hit: int
    cramers_v_ppm: int
    p_ppm: int


@dataclass(frozen=True)
class GateVerdict:
    """Whether publication may go on, and why in one sentence."""

    passed: bool
    reason: str
    n_flagged: int


def assess(counts: Iterable[SegmentCount], *, policy: BiasThresholds | None = None) -> tuple[Finding, ...]:
    """Judge every segment value in every comparison.

    Flagged needs both: an adjusted p (Benjamini-Hochberg over all tests of the call) below the false
    discovery rate, and a large effect (ratio interval wholly outside four-fifths, or |h| at the threshold).
    Ranked: flagged, ok, too few; within each by the lower bound of the effect, so that a sure small skew
    stands above an unsure large one.
    """
    policy = policy or BiasThresholds()
    measured = [m for _, cells in groups(counts) for c in COMPARISONS for m in _measure(cells, c, policy)]
    tested = [p for _, p in measured if p is not None]
    adjusted = iter(pr.benjamini_hochberg(tested))
    judged = [f if p is None else _judge(f, p, next(adjusted), policy) for f, p in measured]
    return tuple(sorted(judged, key=_rank))


def _rank(f: Finding) -> tuple[object, ...]:
    key = (f.objective or "", f.segment, f.value, f.comparison)
    return (_VERDICT_ORDER[f.verdict], -(f.effect_low_ppm or 0), -abs(f.effect_h_ppm or 0), *key)


def _measure(
    cells: Sequence[SegmentCount], comparison: Comparison, policy: BiasThresholds
) -> Iterator[tuple[Finding, float | None]]:
    """Findings of one segment before judgement, each with its raw p-value (None: too few to test)."""
    pairs = [populations(c, comparison) for c in cells]
    all_base, all_hit = sum(a for a, _ in pairs), sum(b for _, b in pairs)
    nested = all(b <= a for a, b in pairs)
    for cell, (base, hit) in zip(cells, pairs, strict=True):
        fields: dict[str, int] = {}
        if nested and base:
            low, high = pr.wilson(hit, base, policy.confidence)
            fields = {"rate_low_ppm": pr.ppm(low), "rate_high_ppm": pr.ppm(high)}
        verdict: Verdict = "too_few"
        reason = _too_few(base, all_base - base, all_hit, policy.min_support)
        p_value = None
        if not reason:
            effects, p_value = _effects(base, hit, all_base - base, all_hit - hit, nested, policy.confidence)
            verdict, reason = _size(effects, policy)
            fields |= effects
        yield Finding(
            objective=cell.objective, segment=cell.segment, value=cell.value, comparison=comparison,
            verdict=verdict, reason=reason, nested=nested,
            n_base=base, n_hit=hit, n_base_rest=all_base - base, n_hit_rest=all_hit - hit,
            share_base_ppm=pr.ratio_to_ppm(base, all_base), share_hit_ppm=pr.ratio_to_ppm(hit, all_hit),
            rate_ppm=pr.ratio_to_ppm(hit, base),
            rate_rest_ppm=pr.ratio_to_ppm(all_hit - hit, all_base - base),
            **fields,
        ), p_value  # fmt: skip


def _too_few(base: int, rest: int, all_hit: int, min_support: int) -> str:
    if all_hit == 0:
        return "empty_population"
    if rest == 0:
        return "only_value"
    return "below_min_support" if min(base, rest) < min_support else ""


def _effects(
    base: int, hit: int, base_rest: int, hit_rest: int, nested: bool, confidence: float
) -> tuple[dict[str, int], float]:
    """Effect fields of a finding and the raw p-value of its 2 x 2 table."""
    log_ratio, low, high = pr.log_rate_ratio(hit, base, hit_rest, base_rest, nested=nested, confidence=confidence)
    x1, n1, x2, n2 = hit, base, hit_rest, base_rest
    if not nested:
        x1, n1, x2, n2 = hit, hit + hit_rest, base, base + base_rest
    near, far = pr.newcombe(x1, n1, x2, n2, confidence)
    fields = {
        "ratio_ppm": pr.ppm(math.exp(log_ratio)),
        "ratio_low_ppm": pr.ppm(math.exp(low)),
        "ratio_high_ppm": pr.ppm(math.exp(high)),
        "difference_ppm": pr.ppm(x1 / n1 - x2 / n2),
        "difference_low_ppm": pr.ppm(near),
        "difference_high_ppm": pr.ppm(far),
        "effect_h_ppm": pr.ppm(pr.cohens_h(x1 / n1, x2 / n2)),
        "effect_low_ppm": pr.ppm(math.exp(max(0.0, low, -high))),
    }
    return fields, pr.two_by_two_p([(x1, n1 - x1), (x2, n2 - x2)])


def _size(effects: dict[str, int], policy: BiasThresholds) -> tuple[Verdict, str]:
    """Verdict and reason should the finding prove significant; decides on the stored whole numbers."""
    floor, ceiling = pr.ppm(policy.four_fifths), pr.ppm(1 / policy.four_fifths)
    off_ratio = effects["ratio_high_ppm"] < floor or effects["ratio_low_ppm"] > ceiling
    off_effect = abs(effects["effect_h_ppm"]) >= pr.ppm(policy.effect_h)
    if not (off_ratio or off_effect):
        return "ok", "not_large"
    reason = "ratio_and_effect_size" if off_ratio and off_effect else "ratio" if off_ratio else "effect_size"
    return ("over_represented" if effects["ratio_ppm"] > pr.PPM else "under_represented"), reason


def _judge(f: Finding, p_value: float, p_adjusted: float, policy: BiasThresholds) -> Finding:
    """Add the p-values and withdraw a verdict that they do not carry."""
    f = replace(f, p_ppm=pr.ppm(p_value), p_adjusted_ppm=pr.ppm(p_adjusted))
    if pr.ppm(p_adjusted) < pr.ppm(policy.false_discovery_rate):
        return f
    return replace(f, verdict="ok", reason="not_significant")


def segment_summary(
    counts: Iterable[SegmentCount], *, policy: BiasThresholds | None = None
) -> tuple[SegmentSummary, ...]:
    """Cramer's V of every segment in every comparison; values below the minimum support are pooled."""
    policy = policy or BiasThresholds()
    return tuple(
        _summarise(group, [populations(c, comparison) for c in cells], comparison, policy.min_support)
        for group, cells in groups(counts)
        for comparison in COMPARISONS
    )


def _summarise(group: Group, pairs: list[tuple[int, int]], comparison: Comparison, min_support: int) -> SegmentSummary:
    enough = [p for p in pairs if p[0] >= min_support]
    few = [p for p in pairs if p[0] < min_support]
    table = [*enough, (sum(a for a, _ in few), sum(b for _, b in few))]
    if all(b <= a for a, b in pairs):
        table = [(a - b, b) for a, b in table]
    return SegmentSummary(
        *group, comparison, len(pairs), sum(a for a, _ in pairs), sum(b for _, b in pairs),
        pr.ppm(pr.cramers_v(table)), pr.ppm(pr.chi_square_tail(*pr.chi_square(table))),
    )  # fmt: skip


def gate(findings: Iterable[Finding], mode: Literal["off", "warn", "block"]) -> GateVerdict:
    """Decide on publication: only `block` with at least one flagged finding stops it."""
    if mode not in ("off", "warn", "block"):
        raise ConfigError(f"bias gate {mode!r} is not known: choose off, warn or block.")
    flagged = [f for f in findings if f.flagged]
    if mode == "off" or not flagged:
        return GateVerdict(True, "gate is off" if mode == "off" else "no finding is flagged", len(flagged))
    worst = flagged[0]
    where = f"{worst.segment}={worst.value} {worst.verdict} ({worst.comparison})"
    reason = f"{len(flagged)} flagged, first {where}"
    return GateVerdict(mode == "warn", reason, len(flagged))
