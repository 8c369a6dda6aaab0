"""Validation: may a pair be used, and if not, why?

The rule stands in `validation.sql`. The statistical part is one number per policy: the smallest count of judgements in
an hour whose Poisson tail is below `burst_p`; so no row-wise floating point is needed.
"""

from collections.abc import Mapping

import polars as pl
from scipy.special import pdtrc

from feedback_platform.contracts.policies import DatasetPolicy, micros
from feedback_platform.contracts.stage_tables import VALIDATED_PAIRS
from feedback_platform.stages.stage import Stage, load_steps


def burst_count(rate: int, p: float) -> int:
    """Smallest n with P(X >= n) < p for X ~ Poisson(rate): so many judgements in one hour are no chance."""
    n = 0
    while pdtrc(n, rate) > p:  # P(X > n); scipy.stats has the inverse and takes 0.7 s to import
        n += 1
    return n + 1


def _params(policy: DatasetPolicy) -> Mapping[str, int | str]:
    rule = policy.validation
    return {
        "burst_count": burst_count(rule.burst_rate, rule.burst_p),
        "action": rule.action,
        "has_classes": int(policy.data.classes is not None),
        "review_expire": micros(policy.resolve.review.expire),
    }


def _frames(policy: DatasetPolicy) -> Mapping[str, pl.DataFrame]:
    return {
        "burst_exempt": pl.DataFrame({"client": list(policy.validation.burst_exempt)}, schema={"client": pl.String}),
        "classes": pl.DataFrame({"label": list(policy.data.classes or ())}, schema={"label": pl.String}),
    }


def validation() -> Stage:
    """Each attributed pair with a verdict and all its reason codes; unit: one feedback event."""
    return Stage(
        VALIDATED_PAIRS, unit="feedback_id", semantics=1, sql=load_steps("validation"), params=_params, frames=_frames
    )
