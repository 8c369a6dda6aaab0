"""The drift evidence: false alarms stay rare however often one looks, real shifts are seen soon, small ones never."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from feedback_platform.errors import ConfigError
from feedback_platform.stages.drift import (
    MOST_STARTS,
    Tolerated,
    Watch,
    is_drift,
    look,
    looks_per_false_alarm,
    shift,
    strongest,
    tolerated,
)
from feedback_platform.stages.proportions import cohens_h

REFERENCE = (5_000, 1_500)
EFFECT = 0.2
LOOKS = 200
MONTH = looks_per_false_alarm("1/30d", 600)


def first_alarm(rate: float, rng: np.random.Generator, *, looks: int = LOOKS, batch: int = 50) -> int | None:
    """The look that raises the alarm when inferences get feedback at this rate."""
    bounds, watch = tolerated(*REFERENCE, EFFECT), Watch()
    for number, k in enumerate(rng.binomial(batch, rate, size=looks), 1):
        watch = look(watch, batch, int(k), bounds)
        if is_drift(watch, MONTH):
            return number
    return None


def alarms(rate: float, streams: int) -> list[int | None]:
    rng = np.random.default_rng(11)
    return [first_alarm(rate, rng) for _ in range(streams)]


def test_one_false_alarm_in_thirty_days_is_a_bound_per_look():
    assert MONTH == 4_320
    assert looks_per_false_alarm("2/1d", 600) == 72


def test_no_shift_raises_no_alarm_in_200_looks():
    assert alarms(0.3, streams=20) == [None] * 20


@pytest.mark.parametrize("side", ["low", "high"])
def test_at_the_edge_of_what_is_tolerated_few_streams_alarm_in_200_looks(side):
    edge = getattr(tolerated(*REFERENCE, EFFECT), side)
    found = [a for a in alarms(edge, streams=40) if a is not None]
    # At most looks / MONTH = 4.6 % in expectation, so of 40 streams two at the most.
    assert len(found) <= 2


@pytest.mark.parametrize(("rate", "latest"), [(0.6, 8), (0.5, 60), (0.1, 60), (0.0, 8)])
def test_a_large_shift_is_seen_within_few_looks_of_50(rate, latest):
    found = alarms(rate, streams=20)
    assert all(a is not None and a <= latest for a in found), found


def test_a_shift_after_a_long_calm_is_seen_as_soon_as_one_at_the_start():
    rng = np.random.default_rng(5)
    bounds, watch = tolerated(*REFERENCE, EFFECT), Watch()
    for _ in range(400):
        watch = look(watch, 50, int(rng.binomial(50, 0.3)), bounds)
    looks = 0
    while not is_drift(watch, MONTH):
        watch, looks = look(watch, 50, int(rng.binomial(50, 0.55)), bounds), looks + 1
    assert looks <= 15
    n, k = strongest(watch, bounds)
    assert k / n > 0.45
    assert n <= 50 * (looks + 10)


@given(p=st.floats(0.05, 0.95), low=st.floats(0.05, 0.95), high=st.floats(0.05, 0.95), n=st.integers(1, 12))
def test_a_fresh_test_is_an_e_value_for_every_tolerated_rate(p, low, high, n):
    """Expectation at most 1 inside the bounds, exactly summed over all outcomes."""
    bounds = Tolerated(min(low, high), max(low, high))
    inside = min(max(p, bounds.low), bounds.high)
    total = 0.0
    for k in range(n + 1):
        chance = math.comb(n, k) * inside**k * (1 - inside) ** (n - k)
        total += chance * math.exp(look(Watch(), n, k, bounds).evidence)
    assert total <= 1 + 1e-9


def test_evidence_equals_the_mixture_integrated_by_hand():
    bounds, n, k = Tolerated(0.2, 0.4), 20, 12

    def prior(q: float) -> float:
        return 1 / math.sqrt(q * (1 - q))

    def ratio(low: float, high: float, at: float) -> float:
        def mixed(q: float) -> float:
            return prior(q) * q**k * (1 - q) ** (n - k)

        weight, _ = integrate.quad(prior, low, high)
        likelihood, _ = integrate.quad(mixed, low, high)
        return float(likelihood / weight / (at**k * (1 - at) ** (n - k)))

    expected = (ratio(0.4, 1, 0.4) + ratio(0, 0.2, 0.2)) / 2
    assert math.exp(look(Watch(), n, k, bounds).evidence) == pytest.approx(expected, rel=1e-6)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=40))
def test_memory_is_bounded_and_counts_everything(batches):
    watch, bounds = Watch(), tolerated(*REFERENCE, EFFECT)
    for n, k in batches:
        watch = look(watch, n, min(n, k), bounds)
    assert len(watch.starts) <= MOST_STARTS
    assert (watch.looks, watch.n) == (len(batches), sum(n for n, _ in batches))
    assert watch.k == sum(min(n, k) for n, k in batches)


@given(st.integers(1, 10_000), st.data(), st.floats(0, 1))
def test_tolerated_rates_hold_the_reference_and_at_least_the_effect(n, data, effect):
    k = data.draw(st.integers(0, n))
    bounds = tolerated(n, k, effect)
    assert 0 <= bounds.low <= k / n <= bounds.high <= 1
    for edge in (bounds.low, bounds.high):
        assert edge in (0, 1) or edge < 1e-12 or abs(cohens_h(edge, k / n)) >= effect - 1e-6


def test_a_small_reference_can_not_alarm_by_patience():
    """30 % in a reference of 100; the truth is 34 %: a fixed-rate test would alarm with certainty."""
    bounds, watch = tolerated(100, 30, 0.1), Watch()
    for _ in range(2_000):
        watch = look(watch, 50, 17, bounds)
    assert not is_drift(watch, MONTH)


def test_shift_has_a_direction():
    assert shift(100, 10, 100, 30) < 0 < shift(100, 50, 100, 30)


@pytest.mark.parametrize("text", ["30d", "0/30d", "1/month", "one/30d"])
def test_a_budget_that_can_not_be_read_says_how_to_write_it(text):
    with pytest.raises(ConfigError, match="1/30d"):
        looks_per_false_alarm(text, 600)
