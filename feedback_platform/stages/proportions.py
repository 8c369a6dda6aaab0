"""Closed-form inference for proportions from integer counts: intervals, tests, effect sizes.

Knows nothing of segments, datasets or verdicts; standard library only, so that a value depends on nothing
but its arguments. Every float made here is quantised by the caller (`ppm`) before it is stored or compared.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from statistics import NormalDist

PPM = 1_000_000
_FISHER_BELOW = 5  # Cochran's rule: below this expected count the chi-square approximation is not trusted


def ppm(value: float) -> int:
    """Quantise a finite float to parts per million, half to even."""
    return round(value * PPM)


def ratio_to_ppm(numerator: int, denominator: int) -> int:
    """Exact `numerator / denominator` in parts per million, half to even; 0 when the denominator is 0."""
    return round(Fraction(numerator * PPM, denominator)) if denominator else 0


def z_of(confidence: float) -> float:
    """Two-sided normal quantile: 0.95 gives 1.95996."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(hits: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of one proportion (Wilson 1927); (0, 1) when nothing was seen."""
    if total == 0:
        return 0.0, 1.0
    z2 = z_of(confidence) ** 2
    p = hits / total
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = math.sqrt(z2 * (p * (1 - p) / total + z2 / (4 * total * total))) / (1 + z2 / total)
    # The interval touches 0 and 1 exactly at the edges; rounding error must not move it inside.
    return (0.0 if hits == 0 else centre - half), (1.0 if hits == total else centre + half)


def newcombe(x1: int, n1: int, x2: int, n2: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of `x1/n1 - x2/n2` by the hybrid score method (Newcombe 1998, method 10); needs n1, n2 > 0."""
    p1, p2 = x1 / n1, x2 / n2
    (low1, high1), (low2, high2) = wilson(x1, n1, confidence), wilson(x2, n2, confidence)
    return (
        p1 - p2 - math.hypot(p1 - low1, high2 - p2),
        p1 - p2 + math.hypot(high1 - p1, p2 - low2),
    )


def cohens_h(p1: float, p2: float) -> float:
    """Difference of arcsine-transformed proportions (Cohen 1988): 0.2 small, 0.5 medium, 0.8 large."""
    return 2 * math.asin(math.sqrt(p1)) - 2 * math.asin(math.sqrt(p2))


def log_rate_ratio(
    b1: int, a1: int, b2: int, a2: int, *, nested: bool, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Natural log of `(b1/a1) / (b2/a2)` and its interval, as (estimate, low, high).

    nested: b is part of a (Katz et al. 1978); otherwise a and b are separate samples, the same number is an
    odds ratio and the variance is Woolf's (1955). An empty cell adds 0.5 to all four (Haldane 1956, Anscombe
    1956), which keeps the interval finite; the estimate itself stays raw wherever it exists.
    """
    hit = [float(b1), float(b2)]
    other = [float(a1 - b1), float(a2 - b2)] if nested else [float(a1), float(a2)]
    if min(*hit, *other) == 0:
        hit, other = [x + 0.5 for x in hit], [x + 0.5 for x in other]
    base = [h + o for h, o in zip(hit, other, strict=True)] if nested else other
    estimate = math.log(hit[0] / base[0]) - math.log(hit[1] / base[1])
    sign = -1 if nested else 1
    half = z_of(confidence) * math.sqrt(sum(1 / h + sign / b for h, b in zip(hit, base, strict=True)))
    low, high = estimate - half, estimate + half
    if min(b1, b2, a1, a2) > 0:
        estimate = math.log(b1 / a1) - math.log(b2 / a2)
    return estimate, min(low, estimate), max(high, estimate)


def chi_square(table: Sequence[tuple[int, int]]) -> tuple[float, int]:
    """Pearson's statistic and degrees of freedom of a k x 2 table; empty rows and columns do not count."""
    rows = [row for row in table if sum(row)]
    columns = [sum(row[0] for row in rows), sum(row[1] for row in rows)]
    if len(rows) < 2 or min(columns) == 0:
        return 0.0, 0
    total = sum(columns)
    statistic = math.fsum(
        (cell - expected) ** 2 / expected
        for row in rows
        for cell, column in zip(row, columns, strict=True)
        for expected in (sum(row) * column / total,)
    )
    return statistic, len(rows) - 1


def chi_square_tail(statistic: float, dof: int) -> float:
    """P(X >= statistic) for whole degrees of freedom (finite sums: Abramowitz and Stegun 26.4.4-5)."""
    if dof == 0 or statistic <= 0:
        return 1.0
    half = statistic / 2
    if dof % 2:
        tail, term, i = math.erfc(math.sqrt(half)), math.exp(-half) * math.sqrt(half) / math.gamma(1.5), 1.5
    else:
        tail, term, i = 0.0, math.exp(-half), 1.0
    for _ in range(dof // 2):
        tail, term, i = tail + term, term * half / i, i + 1
    return min(tail, 1.0)


def fisher_exact(table: Sequence[tuple[int, int]]) -> float:
    """Two-sided exact p-value of a 2 x 2 table: the sum over all tables no likelier than this one."""
    (a, b), (c, d) = table
    row, column, total = a + b, a + c, a + b + c + d
    support = range(max(0, row + column - total), min(row, column) + 1)
    log_p = [_log_choose(column, k) + _log_choose(total - column, row - k) for k in support]
    observed, norm = log_p[a - support.start], _log_choose(total, row)
    return min(1.0, math.fsum(math.exp(lp - norm) for lp in log_p if lp <= observed + 1e-7))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def two_by_two_p(table: Sequence[tuple[int, int]]) -> float:
    """Two-sided p-value of independence: chi-square, or Fisher's exact test if fewer than 5 are expected."""
    rows = [sum(row) for row in table]
    columns = [sum(row[0] for row in table), sum(row[1] for row in table)]
    if min(rows) == 0 or min(columns) == 0:
        return 1.0
    if min(rows) * min(columns) / sum(rows) < _FISHER_BELOW:
        return fisher_exact(table)
    return chi_square_tail(*chi_square(table))


def cramers_v(table: Sequence[tuple[int, int]]) -> float:
    """Bias-corrected Cramer's V of a k x 2 table (Bergsma 2013): 0 no association, 1 complete."""
    statistic, dof = chi_square(table)
    total = sum(sum(row) for row in table)
    if dof == 0 or total < 2:
        return 0.0
    phi2 = max(0.0, statistic / total - dof / (total - 1))
    rows = dof + 1 - dof * dof / (total - 1)
    columns = 2 - 1 / (total - 1)
    room = min(rows - 1, columns - 1)
    return min(1.0, math.sqrt(phi2 / room)) if room > 0 else 0.0


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for the false discovery rate (Benjamini and Hochberg 1995), in the given order."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i], reverse=True)
    adjusted, lowest = [1.0] * len(p_values), 1.0
    for rank, i in zip(range(len(p_values), 0, -1), order, strict=True):
        lowest = min(lowest, p_values[i] * len(p_values) / rank)
        adjusted[i] = lowest
    return adjusted
