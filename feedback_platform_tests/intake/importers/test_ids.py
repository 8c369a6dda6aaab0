"""Ids and times of foreign records: always the same, always what the wire takes."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.intake.importers.ids import content_id, instant, safe_id, short, uuid7_time

ON_THE_WIRE = re.compile(r"[A-Za-z0-9_.:\-]{1,128}")


@given(st.text(), st.text())
def test_any_id_becomes_one_that_the_wire_takes_and_different_ones_stay_so(one, other):
    assert ON_THE_WIRE.fullmatch(safe_id(one))
    assert (safe_id(one) == safe_id(other)) == (one == other)


def test_an_id_of_the_source_stays_as_it_is():
    assert safe_id("chatcmpl-B7TKN", 3) == "chatcmpl-B7TKN:3"


def test_content_ids_follow_the_content_and_not_the_order_of_its_names():
    assert content_id("x", {"a": 1, "b": 2}) == content_id("x", {"b": 2, "a": 1})
    assert content_id("x", {"a": 1}) != content_id("x", {"a": 2})
    assert content_id("x", {"a": 2**60}) == content_id("x", {"a": 2**60})


@given(st.text(min_size=1))
def test_long_names_fit_and_stay_apart(name):
    assert short(name) == name if len(name) <= 256 else len(short(name)) == 256
    assert short(name + "x" * 300) != short(name + "y" * 300)


@pytest.mark.parametrize(
    "value",
    [1741120731, 1741120731.0, "1741120731", 1741120731000, 1741120731000000, 1741120731000000000,
     "2025-03-04T20:38:51Z", "2025-03-04 20:38:51", "2025-03-04T21:38:51+01:00"],
)  # fmt: skip
def test_times_as_logs_write_them(value):
    assert instant(value) == datetime(2025, 3, 4, 20, 38, 51, tzinfo=UTC)


@pytest.mark.parametrize("value", [None, True, "soon", "", -5, 10**30, [], "0001-01-01T00:00:00+14:00"])
def test_what_is_no_time_is_nothing(value):
    assert instant(value) is None


def test_a_time_ordered_uuid_tells_its_time():
    assert uuid7_time("019562dd-a149-7840-959d-00e444ae080f") == datetime(2025, 3, 4, 20, 34, 6, 793000, tzinfo=UTC)
    assert uuid7_time("019562dd-a149-4840-959d-00e444ae080f") is None
