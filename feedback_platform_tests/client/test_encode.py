"""Whatever an application logs becomes one line of JSON, and never an exception."""

import collections
import dataclasses
import enum
import json
import uuid
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.client import encode
from feedback_platform_tests.client.conftest import balanced, log


class Hostile:
    """Raises wherever it can."""

    def __repr__(self):
        raise RuntimeError("no")

    def model_dump(self, **_):
        raise RuntimeError("no")

    def tolist(self):
        raise RuntimeError("no")


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: object


class Model:
    def model_dump(self, mode):
        return {"mode": mode}


class Text(str):
    pass


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
odd_values = st.recursive(
    st.none() | st.floats() | st.text(st.characters(exclude_categories=())) | st.binary() | st.complex_numbers()
    | st.builds(object) | st.builds(Hostile) | st.dates() | st.datetimes() | st.uuids() | st.decimals(),
    lambda inner: st.lists(inner) | st.tuples(inner)
    | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers()), inner),
    max_leaves=20,
)  # fmt: skip


@given(json_values)
def test_json_comes_back_as_it_was(value):
    body, odd = encode.line(value)
    assert json.loads(body) == value
    assert not odd


@given(odd_values)
def test_anything_becomes_one_line_of_json(value):
    body, _ = encode.line({"input": value})
    assert set(json.loads(body)) == {"input"}
    assert b"\n" not in body


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float64(1.5), 1.5), (np.int32(3), 3), (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]), (Text("t"), "t"),
        (Model(), {"mode": "json"}), (Point(1, np.float32(0.5)), {"x": 1, "y": 0.5}), (Colour.RED, "red"),
        (collections.deque([1]), [1]), (collections.ChainMap({"a": 1}), {"a": 1}), (float("inf"), None),
        (msgspec.Raw(b'{\n"a":\n1}'), {"a": 1}), (Decimal("1.10"), "1.10"), (uuid.UUID(int=1), str(uuid.UUID(int=1))),
    ],
)  # fmt: skip
def test_what_json_can_hold_is_written_as_such(value, written):
    body, odd = encode.line([value])
    assert json.loads(body) == [written]
    assert not odd


def test_what_json_cannot_hold_is_written_as_its_repr_and_the_rest_stays():
    circle: dict[str, object] = {"name": "circle"}
    circle["self"] = circle
    body, odd = encode.line({"f": len, "c": circle, "h": Hostile(), "s": "\ud800", (1, 2): [1, {2}], "n": np.int8(1)})
    found = json.loads(body)
    assert odd
    assert found["f"] == "<built-in function len>"
    assert found["c"]["name"] == "circle"
    assert found["c"]["self"].startswith("{'name'")
    assert (found["h"], found["s"], found["(1, 2)"], found["n"]) == ("<Hostile>", "?", [1, [2]], 1)


def test_wide_circles_end():
    """Every level refers to itself many times; without care this is 20 ** 60 steps."""
    circle: list[object] = []
    circle.extend([circle] * 20)
    assert encode.line(circle)[1]


def test_an_odd_object_is_logged_counted_and_never_raised(make, peer):
    client = make()
    log(client, input={"socket": object(), "text": "kept"}, metadata={"hostile": Hostile()})
    log(client, 1)
    assert client.flush(5)
    assert peer.events[0]["input"]["text"] == "kept"
    assert peer.events[0]["input"]["socket"].startswith("<object object")
    assert balanced(client.stats()).unencodable_values == 1


def test_what_cannot_even_be_walked_is_dropped_and_counted(make, peer):
    class Endless(dict[object, object]):
        def items(self):
            raise RuntimeError("no")

    client = make()
    rid = log(client, input=Endless({(1, 2): 3}))
    assert rid
    assert client.flush(5)
    stats = balanced(client.stats())
    assert (stats.logged, dict(stats.dropped), peer.requests) == (1, {"unencodable": 1}, [])
