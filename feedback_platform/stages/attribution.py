"""Attribution: which inference does a piece of feedback judge?

The rule stands in `attribution.sql`. This module declares the stage: its unit, parameters and semantics number.
"""

from collections.abc import Mapping

from feedback_platform.contracts.policies import DatasetPolicy, micros
from feedback_platform.contracts.stage_tables import ATTRIBUTED_PAIRS
from feedback_platform.stages.stage import Stage, load_steps


def _params(policy: DatasetPolicy) -> Mapping[str, int | str]:
    rule = policy.attribution
    return {
        "window": micros(rule.window),
        "skew": micros(rule.clock_skew),
        "session_rule": rule.session,
        "version_mismatch": rule.version_mismatch,
        "review_expire": micros(policy.resolve.review.expire),
    }


def attribution() -> Stage:
    """Feedback beside the inference it judges, or the reason why there is none; unit: one feedback event."""
    return Stage(ATTRIBUTED_PAIRS, unit="feedback_id", semantics=1, sql=load_steps("attribution"), params=_params)
