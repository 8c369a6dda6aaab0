"""The spill on a real disk: first in, first out over many files, across processes that die, within its bound."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.client import spill as module
from feedback_platform.client.spill import Spill, segment_number

steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(st.binary(max_size=60), min_size=1, max_size=6)),
        st.tuples(st.just("read"), st.integers(1, 5)),
        st.tuples(st.just("die"), st.none()),
    ),
    max_size=30,
)


@pytest.fixture
def small_files(monkeypatch):
    monkeypatch.setattr(module, "_MIN_SEGMENT", 100)


@pytest.mark.usefixtures("small_files")
@given(steps)
def test_first_in_first_out_and_what_is_committed_is_gone(history):
    """Against a plain list; a process that dies between two commits repeats at most the file it was reading."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spill"
        spill = Spill(path, 800)
        waiting: list[bytes] = []
        repeated: list[bytes] | None = []
        for kind, argument in history:
            if kind == "append":
                waiting += argument[: spill.append(argument, 1)]
            elif kind == "die":
                spill.close()
                spill = Spill(path, 800)
                repeated = None
            else:
                events, damaged, _ = spill.read(argument, 10_000)
                assert damaged == 0
                if repeated is None:  # what the dead one had committed of its file comes again, in front
                    rest = drained(spill)
                    assert rest[len(rest) - len(waiting) :] == waiting
                    waiting, repeated = [], []
                else:
                    assert events == waiting[: len(events)]
                    assert bool(events) == bool(waiting)
                    del waiting[: len(events)]
                    spill.commit()
            assert spill.size <= 800
        rest = drained(spill)
        assert rest[len(rest) - len(waiting) if repeated is None else 0 :] == waiting
        assert (list(Path(folder).iterdir()), spill.size, spill.oldest_ticket) == ([], 0, None)


def drained(spill):
    """All that is left, committed."""
    found = []
    while spill.size:
        found += spill.read(3, 10_000)[0]
        spill.commit()
    return found


@pytest.mark.usefixtures("small_files")
def test_a_long_outage_uses_several_files_and_frees_them_one_by_one(tmp_path):
    spill = Spill(tmp_path / "spill", 2_000)
    for number in range(60):
        assert spill.append([b"%020d" % number], number) == 1
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) > 3
    for number in range(30):
        assert spill.read(1, 10_000)[0] == [b"%020d" % number]
        spill.commit()
    assert 1 < len(list(tmp_path.iterdir())) < len(names)
    assert spill.append([b"x" * 500], 61) == 1  # there is room again


def test_an_event_above_the_byte_limit_comes_alone(tmp_path):
    spill = Spill(tmp_path / "spill", 10_000)
    spill.append([b"a" * 500, b"b", b"c"], 1)
    assert spill.read(10, 100)[0] == [b"a" * 500]
    spill.commit()
    assert spill.read(10, 100)[0] == [b"b", b"c"]


def test_files_of_others_are_left_alone(tmp_path):
    for name in ("spill.log", "spill.1.bak", "spillage", "other"):
        (tmp_path / name).write_text("mine")
    spill = Spill(tmp_path / "spill", 10_000)
    spill.append([b"a"], 1)
    drained(spill)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "spill.1.bak", "spill.log", "spillage"]
    assert segment_number(tmp_path / "spill", tmp_path / "spill.12") == 12
