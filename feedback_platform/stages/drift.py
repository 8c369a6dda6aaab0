"""Drift of the feedback rate: has the share of inferences that get feedback moved, by more than a stated effect?

Looking again and again makes fixed-size tests fire with certainty, so evidence here is anytime-valid. At each look a
new test starts and the running ones go on (the Shiryaev-Roberts e-detector of Shin, Ramdas and Rinaldo,
arXiv 2203.03532); their sum reaches L within t looks with probability at most t / L, whatever the number of looks.
Each test is a likelihood ratio mixed over Jeffreys' prior beyond the tolerated rates, so significant and large are
decided together, and a reference of finite size can not turn into an alarm by patience alone.
"""

import math
import re
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special

from feedback_platform.contracts.policies import micros
from feedback_platform.errors import ConfigError
from feedback_platform.stages.proportions import cohens_h, wilson

MOST_STARTS = 16
REFERENCE_CONFIDENCE = 0.999
_FALSE_ALARMS = re.compile(r"^(\d+)/(\d+[a-z]+)$")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tolerated:
    """Rates that are no drift: the reference's interval, widened by the effect on Cohen's scale. 0 and 1: no bound."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Watch:
    """What has been seen since the reference. `starts`: (inferences, with feedback) since each running test began.

    `evidence` is the sum of the tests' e-values as a natural logarithm; `n` and `k` count all looks.
    """

    looks: int = 0
    n: int = 0
    k: int = 0
    starts: tuple[tuple[int, int], ...] = ()
    evidence: float = -math.inf


def tolerated(n: int, k: int, effect: float) -> Tolerated:
    """Rates within `effect` (Cohen's h) of a reference rate k / n, whose own 99.9 % interval is allowed for."""
    low, high = wilson(k, n, REFERENCE_CONFIDENCE)
    return Tolerated(_shifted(low, -effect), _shifted(high, effect))


def looks_per_false_alarm(false_alarms: str, seconds_between_looks: float) -> float:
    """Looks in which one false alarm is allowed: `1/30d` at a look every 600 s gives 4,320.

    Raises:
        ConfigError: the text is not a number of alarms, a slash and a duration.
    """
    match = _FALSE_ALARMS.match(false_alarms)
    if match is None or int(match[1]) == 0:
        raise ConfigError(
            f"drift.false_alarms {false_alarms!r} is not understood. "
            "Write alarms per duration, such as 1/30d: at most one false alarm in 30 days."
        )
    return max(1.0, micros(match[2]) / 1e6 / seconds_between_looks / int(match[1]))


def look(watch: Watch, n: int, k: int, bounds: Tolerated) -> Watch:
    """The watch after k of n further inferences got feedback.

    Only the strongest tests are carried on: leaving one out can only lower the sum, so the bound still holds.
    """
    starts = np.array([*watch.starts, (0, 0)], dtype=np.float64) + (n, k)
    values = _log_e(starts[:, 0], starts[:, 1], bounds)
    best = np.argsort(-values, kind="stable")[:MOST_STARTS]
    kept = tuple((int(a), int(b)) for a, b in starts[np.sort(best)])
    total = float(special.logsumexp(values[best])) if np.isfinite(values[best]).any() else -math.inf
    return replace(watch, looks=watch.looks + 1, n=watch.n + n, k=watch.k + k, starts=kept, evidence=total)


def is_drift(watch: Watch, looks_allowed: float) -> bool:
    """Whether the evidence has reached what chance reaches once in so many looks."""
    return watch.evidence >= math.log(looks_allowed)


def strongest(watch: Watch, bounds: Tolerated) -> tuple[int, int]:
    """(inferences, with feedback) of the test that speaks loudest: about when the shift began."""
    starts = np.array(watch.starts, dtype=np.float64)
    values = _log_e(starts[:, 0], starts[:, 1], bounds)
    return watch.starts[int(np.argmax(values))]


def shift(n: int, k: int, reference_n: int, reference_k: int) -> float:
    """Cohen's h of a rate against the reference's; negative when feedback became rarer."""
    return cohens_h(k / n, reference_k / reference_n)


def _shifted(rate: float, effect: float) -> float:
    """The rate at a distance on Cohen's scale, stopped at 0 and 1."""
    angle = 2 * math.asin(math.sqrt(rate)) + effect
    return math.sin(min(max(angle, 0.0), math.pi) / 2) ** 2


def _log_e(n: Floats, k: Floats, bounds: Tolerated) -> Floats:
    """Log e-values: half the stake on a rate above the bounds, half on one below."""
    sides = [np.full(n.shape, -np.inf)]
    if bounds.high < 1:
        sides.append(_log_above(n, k, bounds.high))
    if bounds.low > 0:
        sides.append(_log_above(n, n - k, 1 - bounds.low))
    values: Floats = np.logaddexp.reduce(sides) - math.log(2)
    return values


def _log_above(n: Floats, k: Floats, p: float) -> Floats:
    """Log of the likelihood mixed over rates above p, over the likelihood at p."""
    a, b = k + 0.5, n - k + 0.5
    with np.errstate(divide="ignore"):  # no weight above p in double precision: no evidence, log 0
        mixed = special.betaln(a, b) + np.log(special.betaincc(a, b, p))
    prior = special.betaln(0.5, 0.5) + math.log(special.betaincc(0.5, 0.5, p))
    values: Floats = mixed - prior - k * math.log(p) - (n - k) * math.log1p(-p)
    return values
