"""The laws as properties, over random histories on real DuckDB and real Delta.

Law 2 (conservation), 3 (exactly once), 4 (a version is a pure function: of cuts, of slicing, of arrival order).
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from feedback_platform.compile.rebuild import rebuild
from feedback_platform_tests.builders import Event, Line, line
from feedback_platform_tests.histories import histories, slicings

EXAMPLES = 6  # about 4 s of work each
MANY = int(os.environ.get("FEEDBACK_LAW_EXAMPLES", "60"))
POLICY: dict[str, Any] = {"select": {"tasks": ["chat"]}}
# Each changes what the default leaves untouched; one that is exempt from slicing must still conserve and rebuild.
POLICIES: dict[str, dict[str, Any]] = {
    "session uniform": {"attribution": {"session": "uniform"}},
    "session discounted": {"attribution": {"session": "discounted"}},
    "validation reviews": {"validation": {"action": "review"}},
    "validation rejects": {"validation": {"action": "reject"}},
    "matures after two days": {"maturity": {"after": "2d"}},
    "disagreement is reviewed": {"resolve": {"disagreement": "review"}},
    "reviews are short": {"resolve": {"disagreement": "review", "review": {"expire": "3d"}}},
    "dedup off": {"dedup": {"method": "off"}},
    "split by user": {"split": {"by": "user"}},
    "three even parts": {"split": {"parts": [34, 33, 33]}},
    "a budget in total": {"sample": {"budget": {"total": 2}}},
    "a budget by rate": {"sample": {"budget": {"rate": 0.5}, "strategy": "stratified"}},
    "uncertain ones first": {"sample": {"budget": {"total": 3}, "strategy": "uncertainty"}},
    "a short window": {"attribution": {"window": "1d", "version_mismatch": "refuse"}},
}
EXEMPT: dict[str, dict[str, Any]] = {"a budget per version": {"sample": {"budget": {"per_version": 1}}}}


def searching(examples: int) -> settings:
    """So many examples; one takes seconds, so shrinking one that fails would take an hour."""
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )


@contextmanager
def fresh_line(**policy: Any) -> Iterator[Line]:
    """A line in a folder that goes away, as Hypothesis needs one per example."""
    folder = Path(tempfile.mkdtemp(prefix="laws-"))
    try:
        yield line(folder / "home", **policy)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def unbridged(frame: pl.DataFrame, lines: list[Line]) -> pl.DataFrame:
    """Rows outside groups that any run found bridged after publication: the one exemption of law 4."""
    bridged = {g for one in lines for g in one.table("candidate_examples").filter("is_bridged")["group_id"]}
    return frame.filter(~pl.col("group_id").is_in(sorted(bridged)))


def run_slices(
    one: Line, inferences: list[Event], feedback: list[Event], slices: list[tuple[list[int], list[int]]]
) -> None:
    """Send, land and compile slice by slice."""
    for mine, theirs in slices:
        one.send([inferences[i] for i in mine], [feedback[i] for i in theirs])
        one.compile()


def same_state_however_sliced(data: st.DataObject, policy: dict[str, Any]) -> None:
    """Law 4 (b) and (c): other cuts and another order of arrival end in the same state."""
    inferences, feedback = data.draw(histories())
    slices = data.draw(slicings(len(inferences), len(feedback)))
    whole = [(list(range(len(inferences))), list(range(len(feedback))))]
    with fresh_line(**POLICY, **policy) as once, fresh_line(**POLICY, **policy) as sliced:
        run_slices(once, inferences, feedback, whole)
        run_slices(sliced, inferences, feedback, slices)
        for table in ("attributed_pairs", "validated_pairs", "enriched_records", "resolved_examples"):
            assert sliced.table(table).equals(once.table(table)), table
        lines = [once, sliced]
        keys = ["example_id"]
        assert (
            unbridged(sliced.table("sampled_dataset"), lines)
            .sort(keys)
            .equals(unbridged(once.table("sampled_dataset"), lines).sort(keys))
        )
        if not any(one.table("candidate_examples")["is_bridged"].any() for one in lines):
            assert sliced.table("feedback_events").equals(once.table("feedback_events"))
            assert sliced.compiler.store.all()[-1].state_hash == once.compiler.store.all()[-1].state_hash


def conserved_and_rebuilt(data: st.DataObject, policy: dict[str, Any]) -> None:
    """Laws 2 and 4 (a): after every window each event is in one state; a rebuild gives every window's hashes."""
    inferences, feedback = data.draw(histories())
    slices = data.draw(slicings(len(inferences), len(feedback), most=3))
    with fresh_line(**POLICY, **policy) as one:
        accepted = [0, 0]
        for mine, theirs in slices:
            came = one.send([inferences[i] for i in mine], [feedback[i] for i in theirs])
            assert came.inferences_accepted + came.feedback_accepted + came.refused == len(mine) + len(theirs)
            accepted = [accepted[0] + came.inferences_accepted, accepted[1] + came.feedback_accepted]
            if one.compile() is None:
                continue
            ledger = one.ledger()
            assert ledger.unaccounted == 0, ledger.as_mapping()
            assert [sum(a.states.values()) for a in (ledger.inference, ledger.feedback)] == accepted
        assert all(result.equal for result in rebuild(one.compiler))


@searching(EXAMPLES)
@given(st.data())
def test_other_cuts_and_other_arrival_order_give_the_same_final_state(data: st.DataObject) -> None:
    same_state_however_sliced(data, {})


@searching(EXAMPLES)
@given(st.data())
def test_every_event_is_in_exactly_one_state_and_a_rebuild_gives_the_same_hashes(data: st.DataObject) -> None:
    conserved_and_rebuilt(data, {})


@pytest.mark.slow
@searching(MANY)
@given(st.data())
def test_many_histories_end_in_the_same_state_however_sliced(data: st.DataObject) -> None:
    same_state_however_sliced(data, {})


@pytest.mark.slow
@searching(MANY)
@given(st.data())
def test_many_histories_are_conserved_and_rebuilt(data: st.DataObject) -> None:
    conserved_and_rebuilt(data, {})


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
@searching(max(1, MANY // 6))
@given(data=st.data())
def test_under_other_policies_the_final_state_is_the_same_however_sliced(
    data: st.DataObject, policy: dict[str, Any]
) -> None:
    same_state_however_sliced(data, policy)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [*POLICIES.values(), *EXEMPT.values()], ids=[*POLICIES, *EXEMPT])
@searching(max(1, MANY // 6))
@given(data=st.data())
def test_under_other_policies_events_are_conserved_and_versions_rebuilt(
    data: st.DataObject, policy: dict[str, Any]
) -> None:
    conserved_and_rebuilt(data, policy)


@pytest.mark.slow
def test_the_sample_in_one_two_or_five_slices_ends_in_the_same_state() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "feedback_platform_tests.slices", "--slices", "1,2,5"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("one state\n")
