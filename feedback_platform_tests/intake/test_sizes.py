"""What a body is taken to hold: never less than its text, whatever its shape."""

import tracemalloc

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_platform.intake.sizes import held_bytes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=20), inner, max_size=5),
    max_leaves=10,
)


@given(st.binary())
def test_a_text_holds_its_bytes(text):
    assert held_bytes(text) == len(text)


@given(st.dictionaries(st.text(max_size=20), JSON, max_size=5))
@settings(max_examples=50)
def test_a_decoded_value_holds_no_less_than_its_text(value):
    assert held_bytes(value) >= len(msgspec.json.encode(value)) / 7, "a character is escaped with up to six"
    assert held_bytes({"a": value}) > held_bytes(value)


def test_it_is_about_the_memory_that_decoding_takes():
    text = msgspec.json.encode([{"text": f"{n} " * 50, "values": [n + 0.5, n + 0.25], "more": {}} for n in range(500)])
    tracemalloc.start()
    value = msgspec.json.decode(text)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 0.8 * taken < held_bytes(value) < 2 * taken


def test_a_value_in_several_places_counts_in_each():
    shared = ["x" * 10_000]
    assert held_bytes({"a": shared, "b": (shared, {"c": shared})}) > 30_000


def test_depth_is_no_matter():
    value: object = "x" * 1000
    for _ in range(100_000):
        value = [value]
    assert held_bytes(value) > 100_000
