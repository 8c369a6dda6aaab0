"""Laws of the bias maths: published values, another route through scipy, and what counts must not change."""

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from feedback_platform.errors import ConfigError, ContractViolation
from feedback_platform.stages import proportions as pr
from feedback_platform.stages.bias import (
    BiasThresholds,
    Finding,
    SegmentCount,
    assess,
    gate,
    merge,
    segment_summary,
)
from feedback_platform.stages.response_bounds import positive_rate_bounds


def find(findings: tuple[Finding, ...], value: str, comparison: str = "inferences_feedback") -> Finding:
    return next(f for f in findings if f.value == value and f.comparison == comparison)


def n(number: int | None) -> int:
    assert number is not None
    return number


def two(mobile: tuple[int, int, int], desktop: tuple[int, int, int]) -> list[SegmentCount]:
    return [
        SegmentCount(None, "device", "mobile", *mobile),
        SegmentCount(None, "device", "desktop", *desktop),
    ]


@st.composite
def cells(draw: st.DrawFn, *, nested: bool = False) -> SegmentCount:
    n_inferences = draw(st.integers(0, 4_000))
    n_feedback = draw(st.integers(0, n_inferences))
    n_dataset = draw(st.integers(0, n_feedback if nested else 5_000))
    n_labelled = draw(st.integers(0, n_feedback))
    return SegmentCount(
        draw(st.sampled_from([None, "", "sft", "reward"])), draw(st.sampled_from(["device", "region"])),
        draw(st.sampled_from(["a", "b", "c", ""])), n_inferences, n_feedback, n_dataset,
        n_labelled, draw(st.integers(0, n_labelled)),
    )  # fmt: skip


# --- the statistics, against published values and scipy


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_matches_newcombe_1998a_table_1(hits, total, low, high):
    assert pr.wilson(hits, total) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((10, 10, 0, 20), 0.6791, 1.0),
    ],
)
def test_newcombe_matches_method_10_of_newcombe_1998b(table, low, high):
    assert pr.newcombe(*table) == pytest.approx((low, high), abs=5e-5)


def test_ratio_interval_matches_scipy_relative_risk_and_odds_ratio():
    risk = stats.contingency.relative_risk(30, 120, 20, 200)
    estimate, low, high = (math.exp(x) for x in pr.log_rate_ratio(30, 120, 20, 200, nested=True))
    interval = risk.confidence_interval(0.95)
    assert (estimate, low, high) == pytest.approx((risk.relative_risk, interval.low, interval.high))

    odds = stats.contingency.odds_ratio(np.array([[30, 20], [120, 200]]), kind="sample")
    estimate, low, high = (math.exp(x) for x in pr.log_rate_ratio(30, 120, 20, 200, nested=False))
    interval = odds.confidence_interval(0.95)
    assert (estimate, low, high) == pytest.approx((odds.statistic, interval.low, interval.high))


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 500)), min_size=2, max_size=8))
@settings(max_examples=60, deadline=None)
def test_chi_square_and_cramers_v_match_scipy(table):
    result = stats.chi2_contingency(np.array(table), correction=False)
    statistic, dof = pr.chi_square(table)
    assert statistic == pytest.approx(result.statistic, abs=1e-8)
    assert pr.chi_square_tail(statistic, dof) == pytest.approx(result.pvalue, rel=1e-6, abs=1e-12)
    total, r = np.array(table).sum(), len(table)
    phi2 = max(0.0, result.statistic / total - (r - 1) / (total - 1))
    room = min(r - (r - 1) ** 2 / (total - 1), 2 - 1 / (total - 1)) - 1
    expected = min(1.0, math.sqrt(phi2 / room)) if room > 0 else 0.0
    assert pr.cramers_v(table) == pytest.approx(expected, abs=1e-6)


@given(st.tuples(*[st.integers(0, 40)] * 4).filter(lambda t: sum(t) > 0))
@settings(max_examples=60, deadline=None)
def test_fisher_matches_scipy(t):
    table = [(t[0], t[1]), (t[2], t[3])]
    assert pr.fisher_exact(table) == pytest.approx(stats.fisher_exact(table).pvalue, abs=1e-9)


def test_small_expected_counts_use_the_exact_test_and_large_ones_chi_square():
    small, large = [(1, 30), (8, 30)], [(10, 300), (80, 300)]
    assert pr.two_by_two_p(small) == pytest.approx(stats.fisher_exact(small).pvalue)
    assert pr.two_by_two_p(large) == pytest.approx(stats.chi2_contingency(large, correction=False).pvalue)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_benjamini_hochberg_matches_scipy(p_values):
    assert pr.benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values))


def test_shares_round_half_to_even_exactly():
    assert pr.ratio_to_ppm(1, 2_000_000) == 0
    assert pr.ratio_to_ppm(3, 2_000_000) == 2
    assert pr.ratio_to_ppm(10**30 + 1, 10**30 * 2) == 500_000


# --- the judgement


def test_planted_response_bias_is_found_at_its_step_and_only_there():
    findings = assess(two((6_000, 1_080, 864), (6_000, 600, 480)))
    mobile = find(findings, "mobile")
    assert (mobile.verdict, mobile.reason) == ("over_represented", "ratio_and_effect_size")
    assert (mobile.ratio_ppm, mobile.rate_ppm, mobile.rate_rest_ppm) == (1_800_000, 180_000, 100_000)
    assert mobile.effect_h_ppm == round(2e6 * (math.asin(math.sqrt(0.18)) - math.asin(math.sqrt(0.1))))
    assert find(findings, "desktop").verdict == "under_represented"
    kept = find(findings, "mobile", "feedback_dataset")
    assert (kept.verdict, kept.reason, kept.ratio_ppm) == ("ok", "not_significant", 1_000_000)
    assert find(findings, "mobile", "inferences_dataset").flagged
    assert [f.flagged for f in findings] == sorted((f.flagged for f in findings), reverse=True)


def test_a_significant_but_small_difference_is_not_flagged():
    mobile = find(assess(two((10**6, 105_000, 0), (10**6, 100_000, 0))), "mobile")
    assert (mobile.verdict, mobile.reason, mobile.p_adjusted_ppm) == ("ok", "not_large", 0)


def test_a_large_but_unsure_difference_is_not_flagged():
    mobile = find(assess(two((40, 8, 0), (40, 4, 0))), "mobile")
    assert (mobile.verdict, mobile.reason, mobile.ratio_ppm) == ("ok", "not_significant", 2_000_000)


def test_effect_size_alone_flags_where_rates_are_high():
    kept = find(assess(two((2_000, 2_000, 1_980), (2_000, 2_000, 1_800))), "mobile", "feedback_dataset")
    assert (kept.verdict, kept.reason) == ("over_represented", "effect_size")


def test_ranking_puts_a_sure_skew_above_an_unsure_larger_one():
    numbers = {"sure": (20_000, 4_000, 0), "unsure": (40, 16, 0), "rest": (20_000, 2_000, 0)}
    findings = assess([SegmentCount(None, "s", value, *cell) for value, cell in numbers.items()])
    assert n(find(findings, "unsure").ratio_ppm) > n(find(findings, "sure").ratio_ppm)
    ranked = [f.value for f in findings if f.verdict == "over_represented"]
    assert ranked == ["sure", "unsure"]


def test_dataset_rows_outside_the_base_are_compared_by_shares():
    findings = assess(two((1_000, 100, 3_000), (1_000, 100, 1_000)))
    f = find(findings, "mobile", "feedback_dataset")
    assert (f.nested, f.verdict, f.ratio_ppm) == (False, "over_represented", 3_000_000)
    assert (f.share_base_ppm, f.share_hit_ppm, f.difference_ppm) == (500_000, 750_000, 250_000)
    assert (f.rate_ppm, f.rate_low_ppm) == (30_000_000, None)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (two((29, 29, 29), (5_000, 1, 1)), "below_min_support"),
        (two((5_000, 1, 1), (29, 29, 29)), "below_min_support"),
        (two((5_000, 50, 1), (0, 0, 0)), "only_value"),
        (two((5_000, 0, 0), (5_000, 0, 0)), "empty_population"),
    ],
)
def test_too_few_says_why_and_never_flags(counts, reason):
    f = find(assess(counts), "mobile")
    assert (f.verdict, f.reason, f.ratio_ppm, f.p_adjusted_ppm) == ("too_few", reason, None, None)


@given(st.lists(cells(), max_size=10), st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_a_verdict_always_has_support_significance_and_size(counts, min_support):
    policy = BiasThresholds(min_support=min_support)
    for f in assess(counts, policy=policy):
        assert f.flagged == (f.reason in ("ratio", "effect_size", "ratio_and_effect_size"))
        if f.flagged:
            assert min(f.n_base, f.n_base_rest) >= min_support
            assert n(f.p_adjusted_ppm) < 50_000
            outside = n(f.ratio_high_ppm) < 800_000 or n(f.ratio_low_ppm) > 1_250_000
            assert outside or abs(n(f.effect_h_ppm)) >= 200_000
        if f.ratio_ppm is not None:
            assert n(f.ratio_low_ppm) <= f.ratio_ppm <= n(f.ratio_high_ppm)
            assert n(f.difference_low_ppm) <= n(f.difference_ppm) <= n(f.difference_high_ppm)


@given(st.lists(cells(), max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_of_cells_changes_nothing(counts, random):
    shuffled = random.sample(counts, len(counts))
    assert assess(shuffled) == assess(counts)
    assert segment_summary(shuffled) == segment_summary(counts)
    assert positive_rate_bounds(shuffled) == positive_rate_bounds(counts)


@given(st.lists(cells(), max_size=12), st.lists(cells(), max_size=12), st.lists(cells(), max_size=4))
@settings(max_examples=60, deadline=None)
def test_counts_of_shards_merge_into_the_counts_of_the_whole(left, right, third):
    assert merge(left, right) == merge(right, left) == merge([*left, *right])
    assert merge(merge(left, right), third) == merge(left, merge(right, third))
    assert assess(merge(left, right)) == assess([*left, *right])


def test_merge_keeps_no_objective_apart_from_an_empty_one():
    a, b = SegmentCount(None, "s", "v", 3, 1, 1), SegmentCount("", "s", "v", 4, 2, 0)
    assert merge([a, b], [a]) == (replace(b), SegmentCount(None, "s", "v", 6, 2, 2))


def test_stored_numbers_are_whole():
    for f in assess(two((6_000, 1_080, 864), (6_000, 600, 480))):
        assert not [v for v in vars(f).values() if isinstance(v, float)]


def _coin(*key: object) -> float:
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def test_no_more_false_findings_than_nominal_when_nothing_is_biased():
    """40 reports of 4 segments x 3 values, 300 inferences each; all answer with the same chance of 0.2."""
    small = significant = 0
    for report in range(40):
        counts = [
            SegmentCount(None, f"s{s}", f"v{v}", 300, sum(_coin(report, s, v, i) < 0.2 for i in range(300)), 0)
            for s in range(4)
            for v in range(3)
        ]
        tested = [f for f in assess(counts) if f.comparison == "inferences_feedback"]
        small += sum(n(f.p_ppm) < 50_000 for f in tested)
        significant += any(n(f.p_adjusted_ppm) < 50_000 for f in tested)
        assert not any(f.flagged and f.reason == "ratio" for f in tested)
    assert 5 <= small <= 45, "raw p-values should be near uniform: 24 of 480 below 0.05"
    assert significant <= 5, "adjusted: at most about 2 of 40 reports with any significant value"


# --- segments, bounds, gate


def test_segment_summary_measures_association_per_step():
    summary = {s.comparison: s for s in segment_summary(two((6_000, 1_080, 864), (6_000, 600, 480)))}
    table = [(6_000 - 1_080, 1_080), (6_000 - 600, 600)]
    chi2 = stats.chi2_contingency(table, correction=False).statistic
    expected = math.sqrt((chi2 / 12_000 - 1 / 11_999) / (1 - 1 / 11_999))
    assert summary["inferences_feedback"].cramers_v_ppm == pytest.approx(expected * 1e6, abs=1)
    assert summary["feedback_dataset"].cramers_v_ppm == 0
    assert summary["feedback_dataset"].p_ppm == 1_000_000


def test_rare_values_are_pooled_before_the_segment_is_tested():
    common = two((6_000, 600, 0), (6_000, 600, 0))
    rare = [SegmentCount(None, "device", f"tv{i}", 2, i % 2, 0) for i in range(40)]
    pooled = [SegmentCount(None, "device", "tv", 80, 20, 0)]
    v = [s.cramers_v_ppm for c in (rare, pooled) for s in segment_summary([*common, *c])[:1]]
    assert v[0] == v[1]


def test_weights_cannot_but_the_sensitivity_curve_does_reach_the_truth():
    """True quality 0.7505; unhappy users answer 5 times as often: observed 0.376, k = 5 gives the truth."""
    total, positive = 100_000, 75_050
    answered = (round(positive * 0.04), round((total - positive) * 0.2))
    cell = SegmentCount("reward", "tier", "all", total, sum(answered), 0, sum(answered), answered[0])
    whole = positive_rate_bounds([cell])[0]
    assert whole.segment is None
    assert whole.observed_ppm == pytest.approx(376_000, abs=2_000)
    assert dict(whole.curve)[5_000_000] == pytest.approx(750_500, abs=100)
    assert whole.low_ppm < 750_500 < whole.high_ppm


@given(st.lists(cells(nested=True), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_bounds_hold_whatever_the_silent_ones_think(counts):
    for b in positive_rate_bounds(counts):
        worst, best = b.n_positive, b.n_positive + b.n_inferences - b.n_labelled
        assert b.low_ppm == pr.ratio_to_ppm(worst, b.n_inferences)
        assert b.high_ppm == pr.ratio_to_ppm(best, b.n_inferences)
        rates = [rate for _, rate in b.curve]
        assert rates == sorted(rates)
        assert b.low_ppm <= rates[0] <= rates[-1] <= b.high_ppm


def test_no_bounds_without_labels():
    assert positive_rate_bounds(two((10, 5, 5), (10, 5, 5))) == ()


def test_gate_stops_only_when_told_to_and_says_why():
    biased, fair = assess(two((6_000, 1_080, 9), (6_000, 600, 5))), assess(two((600, 60, 6), (600, 60, 6)))
    blocked = gate(biased, "block")
    assert (blocked.passed, blocked.n_flagged) == (False, 2)
    assert "device=" in blocked.reason
    assert gate(biased, "warn").passed
    assert gate(biased, "warn").reason == blocked.reason
    assert gate(biased, "off").reason == "gate is off"
    assert gate(fair, "block").passed
    with pytest.raises(ConfigError, match="choose off, warn or block"):
        gate(fair, "stop")  # type: ignore[arg-type]


@pytest.mark.parametrize("numbers", [(-1, 0, 0), (5, 6, 0), (5, 5, 5, 3, 4)])
def test_impossible_counts_are_refused_by_name(numbers):
    with pytest.raises(ContractViolation, match="device='mobile'"):
        SegmentCount(None, "device", "mobile", *numbers)


def test_impossible_thresholds_are_refused():
    with pytest.raises(ConfigError, match="min_support"):
        BiasThresholds(four_fifths=1.2)
