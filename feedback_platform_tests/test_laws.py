"""The laws as properties, over random histories on real DuckDB and real Delta.

Law 2 (conservation), 3 (exactly once), 4 (a version is a pure function: of cuts, of slicing, of arrival order).
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from feedback_platform.compile.rebuild import rebuild
from feedback_platform_tests.builders import Event, Line, line
from feedback_platform_tests.histories import histories, slicings

EXAMPLES = 12
POLICY: dict[str, Any] = {"select": {"tasks": ["chat"]}}
slow = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes seconds: shrinking would take an hour
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


@slow
@given(st.data())
def test_other_cuts_and_other_arrival_order_give_the_same_final_state(data: st.DataObject) -> None:
    inferences, feedback = data.draw(histories())
    slices = data.draw(slicings(len(inferences), len(feedback)))
    whole = [(list(range(len(inferences))), list(range(len(feedback))))]
    with fresh_line(**POLICY) as once, fresh_line(**POLICY) as sliced:
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


@slow
@given(st.data())
def test_every_event_is_in_exactly_one_state_and_a_rebuild_gives_the_same_hashes(data: st.DataObject) -> None:
    inferences, feedback = data.draw(histories())
    slices = data.draw(slicings(len(inferences), len(feedback), most=3))
    with fresh_line(**POLICY) as one:
        for mine, theirs in slices:
            one.send([inferences[i] for i in mine], [feedback[i] for i in theirs])
            if one.compile() is None:
                continue
            ledger = one.ledger()
            assert ledger.unaccounted == 0, ledger.as_mapping()
        assert sum(one.ledger().inference.states.values()) == len(inferences)
        assert sum(one.ledger().feedback.states.values()) == len(feedback)
        assert all(result.equal for result in rebuild(one.compiler))
