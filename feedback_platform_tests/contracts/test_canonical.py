"""Canonical JSON is RFC 8785, hashes have golden values, normalised text is a fixed point."""

import hmac
import unicodedata

import polars as pl
import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from feedback_platform.contracts.canonical import (
    NotCanonical,
    body_hmac,
    canonical_json,
    normalise_text,
    xxh3,
    xxh3_series,
)

SAFE = 2**53 - 1
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-SAFE, SAFE),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=4)),
    max_leaves=12,
)


@given(VALUES)
@example({"\U0001f600": 1, "\uffff": 2, "a": 3})
@example([1e16, 1e21, 1e-5, 1e-6, 1e-7, 1.0, -0.0, 0.1, 123456789.125, 9007199254740991.0, 9007199254740993.0])
@example({"b": [], "a": {}, "\x7f\u2028\x1f": '\x00/\\"'})
def test_equals_the_reference_implementation(value):
    assert canonical_json(value) == rfc8785.dumps(value).decode()


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), [-float("inf")], 2**53, {"a": [-(2**53)]}, "\ud800", {1: 2}, {"a": object()}]
)
def test_refuses_what_has_no_canonical_form(value):
    with pytest.raises(NotCanonical):
        canonical_json(value)


def test_whole_floats_and_integers_are_one_value():
    assert canonical_json({"t": 1.0}) == canonical_json({"t": 1}) == '{"t":1}'


def test_xxh3_golden_values():
    # XXH3-64, seed 0, as published with the reference implementation: 0x2D06800538D394C2 for the empty input.
    assert xxh3("") == 0x2D06800538D394C2
    assert xxh3("a") == 16629034431890738719 - 2**64
    assert xxh3("hello") == 10760762337991515389 - 2**64


def test_xxh3_of_a_series_keeps_order_nulls_and_name():
    hashed = xxh3_series(pl.Series("text", ["hello", None, ""]))
    assert hashed.name == "text"
    assert hashed.dtype == pl.Int64
    assert hashed.to_list() == [xxh3("hello"), None, xxh3("")]


@given(st.text())
def test_normalised_text_is_a_fixed_point(text):
    once = normalise_text(text)
    assert normalise_text(once) == once


@given(st.text(st.characters(max_codepoint=127)))
def test_the_ascii_shortcut_agrees_with_the_general_rule(text):
    assert normalise_text(text) == normalise_text(text + "\u00e9")[:-1].rstrip()


def test_normalised_text_ignores_width_case_and_space():
    assert normalise_text("  \uff28\uff25\uff2c\uff2c\uff2f\n\tSTRASSE ") == normalise_text("hello stra\u00dfe")


@given(st.sampled_from(["inference", "feedback"]), st.binary(max_size=200), st.binary(min_size=1, max_size=100))
def test_the_body_hash_is_the_standard_librarys_hmac(kind, body, key):
    assert body_hmac(kind, body, key) == hmac.digest(key, kind.encode() + b"\n" + body, "sha256")[:16]


def test_body_hash_depends_on_kind_body_and_key():
    base = body_hmac("inference", b"{}", b"k")
    assert base == body_hmac("inference", b"{}", b"k")
    others = {
        body_hmac("feedback", b"{}", b"k"),
        body_hmac("inference", b"[]", b"k"),
        body_hmac("inference", b"{}", b"l"),
    }
    assert len(others | {base}) == 4


@given(st.floats(allow_nan=False, allow_infinity=False) | st.floats(1e-7, 1e-4) | st.floats(1e14, 1e23))
@example(9007199254740993.0)
@example(1e21)
@example(999999999999999900000.0)
@example(-1.5e-6)
def test_a_number_is_written_as_the_reference_writes_it(number):
    assert canonical_json({"\u00e9": [number]}) == rfc8785.dumps({"\u00e9": [number]}).decode()


ORDERED = st.text(st.sampled_from("a\u00e9\ud7ff\ue000\uffff\U00010000\U0001f600"), max_size=3)


@given(st.dictionaries(ORDERED, st.dictionaries(ORDERED, st.just(1), max_size=3), max_size=6))
def test_keys_are_sorted_as_the_reference_sorts_them(value):
    assert canonical_json(value) == rfc8785.dumps(value).decode()


MARKS = "\u0301\u0308\u0323\u0344\u0345\u0f73\u0f74\u3099\uff9e\U0001d165"


STARTS = st.sampled_from("a\u1e69\u03b9\u304b\u1ec7 \u01f0")
RUNS = st.tuples(STARTS, st.text(st.sampled_from(MARKS), min_size=1, max_size=8), st.sampled_from([1, 9, 40]))


@given(st.lists(RUNS, min_size=1, max_size=4))
def test_long_runs_of_marks_have_the_normal_form_of_the_standard(pieces):
    text = "".join(start + marks * times for start, marks, times in pieces)
    folded = unicodedata.normalize("NFKC", text).casefold()
    assert normalise_text(text) == " ".join(unicodedata.normalize("NFKC", folded).split())


def test_half_a_million_marks_are_normalised():
    found = normalise_text("a" + "\u0308" * 250_000 + "\u0323" * 250_000)  # by insertion this is 6e10 steps
    assert found == "\u1ea1" + "\u0323" * 249_999 + "\u0308" * 250_000
