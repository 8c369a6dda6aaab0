"""Token buckets: never more than burst + rate * t, never less than was promised, and in bounded memory."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.errors import ConfigError
from feedback_platform.intake.guards.buckets import Buckets

RATES = st.floats(0.01, 1e5)
BURSTS = st.floats(0.5, 1e4)
# A history: the pause before a request as a share of the time that fills a bucket, whose it is, its share of the burst.
PAUSES = st.floats(0, 1.2) | st.sampled_from([0.0, 0.01, 0.3, 0.5, 0.99, 1.0, 3.0])
HISTORIES = st.lists(st.tuples(PAUSES, st.sampled_from("abcdefgh"), st.floats(0, 1.2)), min_size=1, max_size=60)


def play(buckets, history, start):
    """Each admitted request as (time, tokens), by key."""
    now = start
    admitted: dict[str, list[tuple[float, float]]] = {}
    for pause, key, share in history:
        now += pause * buckets.burst / buckets.rate
        n = share * buckets.burst
        if buckets.take(key, n, now) == 0:
            admitted.setdefault(key, []).append((now, n))
        assert len(buckets) <= buckets.max_entries
    return admitted


@given(RATES, BURSTS, HISTORIES, st.integers(1, 10), st.sampled_from([0.0, 1e3, 1e7]))
def test_no_key_ever_gets_more_than_the_burst_and_what_time_brings(rate, burst, history, max_entries, start):
    """In every stretch of time, whoever else asks, also where the entries do not suffice for the keys."""
    for admitted in play(Buckets(rate, burst, max_entries), history, start).values():
        for first in range(len(admitted)):
            got = 0.0
            for at, n in admitted[first:]:
                got += n
                limit = burst + rate * (at - admitted[first][0])
                assert got <= limit * (1 + 1e-9) + rate * 1e-5


@given(RATES, BURSTS, HISTORIES, st.floats(0, 1), st.sampled_from([0.0, 1e7]))
def test_who_waits_as_told_is_admitted(rate, burst, history, share, start):
    buckets = Buckets(rate, burst)
    last = max((at for some in play(buckets, history, start).values() for at, _ in some), default=start)
    n, now = share * burst, last
    wait = buckets.take("a", n, now)
    assert 0 <= wait <= burst / rate * (1 + 1e-9) + 1e-5
    if wait:
        assert buckets.take("a", n, now + wait * 0.99 - 1e-5) > 0 or wait < 1e-3, "and not earlier"
        assert buckets.take("a", n, now + wait) == 0


@given(RATES, BURSTS, HISTORIES)
def test_keys_do_not_feel_each_other_while_there_is_room(rate, burst, history):
    together = play(Buckets(rate, burst), history, 0.0)
    for one in "abcdefgh":
        buckets, now, alone = Buckets(rate, burst), 0.0, []
        for pause, key, share in history:
            now += pause * burst / rate
            if key == one and buckets.take(key, share * burst, now) == 0:
                alone.append((now, share * burst))
        assert alone == together.get(one, [])


@pytest.mark.parametrize("began", [0.0, 0.5, 3.0, 6.0, 9.99])
def test_no_debt_is_forgotten_while_others_come_and_go(began):
    """The generations turn at times of their own, wherever in them a bucket was emptied."""
    buckets = Buckets(rate=1, burst=10)
    for tick in range(1_000):
        now = tick / 20
        buckets.take(f"other-{tick}", 1, now)
        if now == began or (tick and now - 0.05 < began <= now):
            assert buckets.take("debtor", 10, now) == 0
        elif began < now < began + 9.9:
            assert buckets.take("debtor", 10, now) > 0
    assert buckets.take("debtor", 10, 50.0) == 0


def test_a_refused_request_costs_nothing():
    buckets = Buckets(rate=1, burst=10)
    assert buckets.take("a", 8, 0.0) == 0
    assert [buckets.take("a", 5, 0.0) for _ in range(5)] == pytest.approx([3.0] * 5)
    assert buckets.take("a", 2, 0.0) == 0


def test_more_than_the_burst_can_never_be_had():
    buckets = Buckets(rate=1, burst=10)
    assert buckets.take("a", 10.5, 0.0) == math.inf
    assert buckets.take("a", 10, 0.0) == 0
    with pytest.raises(ValueError, match="not filled by hand"):
        buckets.take("a", -1, 0.0)


def test_inventing_keys_clears_no_debt_and_harms_no_known_key():
    buckets = Buckets(rate=1, burst=10, max_entries=100)
    buckets.take("debtor", 10, 0.0)
    buckets.take("regular", 1, 0.0)
    for n in range(50_000):
        buckets.take(f"invented-{n}", 10, 0.001 + n * 1e-6)
        assert len(buckets) <= 100
    assert buckets.take("debtor", 1, 0.1) > 0.8
    assert buckets.take("regular", 9, 0.1) == 0
    assert buckets.take("newcomer", 10, 0.1) > 0, "newcomers share what is left"
    assert buckets.take("newcomer", 10, 30.2) == 0, "until it is over"


def test_invented_keys_are_forgotten_when_their_buckets_are_full_again():
    buckets = Buckets(rate=100, burst=100, max_entries=10_000)
    for n in range(5_000):
        buckets.take(f"invented-{n}", 1, 0.0)
    assert len(buckets) == 5_000
    buckets.take("a", 1, 1.1)
    buckets.take("a", 1, 2.2)
    assert len(buckets) == 1


@pytest.mark.parametrize(
    ("rate", "burst", "entries"), [(0, 1, 1), (1, 0, 1), (math.inf, 1, 1), (1, math.nan, 1), (1, 1, 0)]
)
def test_a_limit_that_limits_nothing_is_refused(rate, burst, entries):
    with pytest.raises(ConfigError, match="Set"):
        Buckets(rate, burst, entries)
