"""What the unlabelled could still change: bounds and a sensitivity curve for the positive rate.

Weights repair response that depends on a segment; they cannot repair feedback that is missing because of its
own value. So the honest statement is a range, not a corrected number: Manski (1989) bounds without any
assumption, and the rate that would be true if unhappy users answered k times as often as happy ones.
In: the bias counts. Out: whole numbers (ppm).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from feedback_platform.stages.proportions import PPM, ratio_to_ppm
from feedback_platform.stages.segment_counts import SegmentCount, groups

RESPONSE_RATIOS: tuple[Fraction, ...] = tuple(map(Fraction, ("1/5", "1/3", "1/2", "1", "2", "3", "5")))


@dataclass(frozen=True)
class PositiveRateBounds:
    """Positive rate of one segment value, or of the whole objective (segment and value None).

    curve: pairs (how many times as often negatives are labelled as positives, true rate it implies), both
    ppm, the rate held within [low, high]: no answering behaviour can leave the Manski bounds.
    """

    objective: str | None
    segment: str | None
    value: str | None
    n_inferences: int
    n_labelled: int
    n_positive: int
    observed_ppm: int
    low_ppm: int
    high_ppm: int
    curve: tuple[tuple[int, int], ...]


def positive_rate_bounds(counts: Iterable[SegmentCount]) -> tuple[PositiveRateBounds, ...]:
    """Bounds per objective, then per segment value, where labels were counted.

    Cells with more labels than inferences (several labelled units in one inference) have no such bound and
    are left out. The whole of an objective is the sum over its segment with the most inferences.
    """
    cells_by_group = list(groups(counts))
    whole: dict[str | None, SegmentCount] = {}
    for (objective, segment), cells in cells_by_group:
        total = SegmentCount(
            objective, segment, "",
            *(sum(n) for n in zip(*((c.n_inferences, c.n_feedback, c.n_dataset, c.n_labelled, c.n_positive)
                                    for c in cells), strict=True)),
        )  # fmt: skip
        if objective not in whole or total.n_inferences > whole[objective].n_inferences:
            whole[objective] = total
    overall = [_bounds(c, None, None) for c in whole.values() if _bounded(c)]
    single = [_bounds(c, c.segment, c.value) for _, cells in cells_by_group for c in cells if _bounded(c)]
    return (*overall, *single)


def _bounded(cell: SegmentCount) -> bool:
    return 0 < cell.n_labelled <= cell.n_inferences


def _bounds(cell: SegmentCount, segment: str | None, value: str | None) -> PositiveRateBounds:
    low = Fraction(cell.n_positive, cell.n_inferences)
    high = low + Fraction(cell.n_inferences - cell.n_labelled, cell.n_inferences)
    rates = [min(max(_implied_rate(cell, k), low), high) for k in RESPONSE_RATIOS]
    curve = tuple((round(k * PPM), round(rate * PPM)) for k, rate in zip(RESPONSE_RATIOS, rates, strict=True))
    return PositiveRateBounds(
        cell.objective, segment, value, cell.n_inferences, cell.n_labelled, cell.n_positive,
        ratio_to_ppm(cell.n_positive, cell.n_labelled), round(low * PPM), round(high * PPM), curve,
    )  # fmt: skip


def _implied_rate(cell: SegmentCount, k: Fraction) -> Fraction:
    """Bayes: the observed odds of positive are the true odds divided by k."""
    positive, negative = cell.n_positive * k, cell.n_labelled - cell.n_positive
    return positive / (positive + negative)
