"""Pseudonyms: one spelling for ever, told apart by key and purpose, and left alone where they stand already."""

import hashlib
import hmac
import re
import string

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.intake.privacy.pseudonyms import PURPOSES, Pseudonyms

KEY = bytes(range(32))
ONE, OTHER = Pseudonyms(KEY), Pseudonyms(KEY[::-1])
purposes = st.sampled_from(PURPOSES)
ids = st.text(st.characters(codec="utf-8"), max_size=300)


@pytest.mark.parametrize(
    ("purpose", "value", "pseudonym"),
    [
        ("person", "alice", "pn_fcfdee57_f84766fff6bac9242bc4183780a299e5"),
        ("session", "alice", "pn_fcfdee57_7a96a754a14463a2166531a200b6d986"),
    ],
)
def test_the_bytes_never_change(purpose, value, pseudonym):
    """A change here separates every stored event from those to come."""
    assert ONE.of(purpose, value) == pseudonym


@given(purposes, ids)
def test_they_are_hmac_sha256_under_a_key_per_purpose(purpose, value):
    label = f"feedback_platform pseudonym of a {purpose}".encode()
    derived = hmac.new(KEY, label, hashlib.sha256).hexdigest().encode()
    expected = hmac.new(derived, value.encode(), hashlib.sha256).hexdigest()[:32]
    assert ONE.of(purpose, value) == f"pn_{ONE.key_id}_{expected}"


@given(purposes, st.lists(ids, max_size=30), st.integers(1, 8))
def test_batches_give_what_single_ids_give(purpose, values, times):
    values = (values + [ONE.of("person", "known"), ONE.of("person", "known") + "\n"]) * times
    single = [ONE.of(purpose, value) for value in values]
    assert ONE.many(purpose, values) == single
    assert ONE.series(purpose, pl.Series("id", [None, *values])).to_list() == [None, *single]


@given(purposes, purposes, ids)
def test_a_pseudonym_stays_as_it_is(purpose, again, value):
    pseudonym = ONE.of(purpose, value)
    assert ONE.of(again, pseudonym) == pseudonym
    assert ONE.many(again, [pseudonym] * 200) == [pseudonym] * 200


@given(purposes, ids)
def test_other_keys_and_purposes_give_others(purpose, value):
    assert ONE.of(purpose, value)[-32:] != OTHER.of(purpose, value)[-32:]
    assert ONE.of("person", value) != ONE.of("session", value)
    foreign = OTHER.of(purpose, value)
    assert ONE.of(purpose, foreign) != foreign


@given(purposes, ids)
def test_they_fit_where_ids_fit_and_say_nothing(purpose, value):
    pseudonym = ONE.of(purpose, value)
    assert re.fullmatch(r"[A-Za-z0-9_.:\-]{1,128}", pseudonym)
    assert len(value) < 4 or set(value) <= set(string.hexdigits) or value not in pseudonym


@pytest.mark.parametrize("change", [str.upper, lambda p: p[:-1], lambda p: p + "0", lambda p: " " + p])
def test_what_only_resembles_a_pseudonym_is_replaced(change):
    near = change(ONE.of("person", "alice"))
    assert ONE.of("person", near) != near
    assert ONE.many("person", [near] * 150) == [ONE.of("person", near)] * 150


def test_the_key_id_tells_keys_apart_without_telling_them():
    assert ONE.key_id != OTHER.key_id
    assert re.fullmatch("[0-9a-f]{8}", ONE.key_id)
    assert ONE.key_id not in KEY.hex()


def test_a_short_key_is_refused():
    with pytest.raises(ValueError, match="at least 16 bytes, this one has 5"):
        Pseudonyms(b"short")
