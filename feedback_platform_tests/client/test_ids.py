"""UUIDv7: the form of RFC 9562, strictly increasing whatever the clock does, across threads."""

import itertools
import threading
import time
import uuid

from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.client.ids import Generator, uuid7

clocks = st.lists(st.one_of(st.integers(0, 2**48 - 1000), st.just(1_700_000_000_000)), min_size=1, max_size=50)


@given(clocks)
def test_ids_increase_whatever_the_clock_does(times):
    generator = Generator()
    made = [generator.bits(now) for now in times]
    assert made == sorted(set(made))


@given(clocks)
def test_ids_have_version_variant_and_the_latest_time(times):
    generator = Generator()
    for place, now in enumerate(times):
        found = uuid.UUID(int=generator.bits(now))
        assert (found.version, found.variant) == (7, uuid.RFC_4122)
        assert found.int >> 80 == max(times[: place + 1])


def test_a_full_millisecond_borrows_from_the_next():
    generator = Generator()
    first = generator.bits(5)
    generator._tail = (1 << 74) - 1
    second = generator.bits(5)
    assert second > first
    assert second >> 80 == 6


def test_the_text_is_canonical_and_of_now():
    before = time.time_ns() // 1_000_000
    text = uuid7()
    assert str(uuid.UUID(text)) == text
    assert before <= uuid.UUID(text).int >> 80 <= time.time_ns() // 1_000_000 + 1


def test_threads_never_share_an_id():
    made: list[list[str]] = [[] for _ in range(4)]
    threads = [threading.Thread(target=lambda mine=mine: mine.extend(uuid7() for _ in range(5_000))) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == sorted(mine) for mine in made)
    assert len(set(itertools.chain(*made))) == 20_000
