"""Sampling: budgets, strata and arms, refills, and the dataset's rows."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import feedback_platform
from feedback_platform.contracts.policies import resolve_policy
from feedback_platform.contracts.stage_tables import SAMPLED_DATASET
from feedback_platform.stages.sampling import allot, hashed
from feedback_platform_tests.builders import Event, Line, inference, line, retraction, thumbs


def allotted(cells: list[tuple[str, str, int]], **sample: Any) -> list[int | None]:
    """`k` of each (stratum, arm, n) of one objective."""
    total = sum(n for *_, n in cells)
    rows = [
        {
            "objective": "sft",
            "stratum": s,
            "arm": a,
            "n": n,
            "n_objective": total,
            "n_strata": len({c[0] for c in cells}),
        }
        for s, a, n in cells
    ]
    k: list[int | None] = allot(pl.DataFrame(rows), resolve_policy({"name": "d", "sample": sample}))["k"].to_list()
    return k


ARMS = [("all", "random", 100), ("all", "weighted", 900)]


def test_all_and_a_rate_have_no_number():
    assert allotted(ARMS) == allotted(ARMS, budget={"rate": 0.5}) == [None, None]


def test_a_total_is_shared_between_the_arms():
    assert allotted(ARMS, budget={"total": 50}) == [5, 45]
    assert allotted(ARMS, budget={"total": 50}, random_arm=0.5) == [25, 25]
    assert allotted(ARMS, budget={"per_version": 50}) == [5, 45]


def test_a_small_budget_is_not_exceeded():
    assert allotted(ARMS, budget={"total": 1}) == [0, 1]
    assert sum(k or 0 for k in allotted([(f"s{n}", "weighted", 9) for n in range(20)], budget={"total": 7})) == 7


def test_an_arm_without_candidates_leaves_its_share_to_the_other():
    assert allotted([("all", "weighted", 9)], budget={"total": 5}) == [5]


def test_strata_share_equally_when_stratified_and_by_size_otherwise():
    cells = [("a", "weighted", 90), ("b", "weighted", 10)]
    assert allotted(cells, strategy="stratified", budget={"total": 20}) == [10, 10]
    assert allotted(cells, budget={"total": 20}) == [18, 2]


@given(
    sizes=st.lists(st.integers(1, 500), min_size=1, max_size=12),
    total=st.integers(1, 300),
    strategy=st.sampled_from(["uniform", "stratified"]),
    arm=st.sampled_from([0.1, 0.25, 0.5]),
)
def test_shares_sum_to_the_budget_and_none_is_above_its_cell(sizes, total, strategy, arm):
    cells = [(f"s{n:02}", a, size) for n, size in enumerate(sizes) for a in ("random", "weighted")]
    ks = allotted(cells, strategy=strategy, budget={"total": total}, random_arm=arm)
    assert sum(k or 0 for k in ks) == min(total, 2 * sum(sizes))
    for (_, a, size), k in zip(cells, ks, strict=True):
        share = 1 / len(sizes) if strategy == "stratified" else size / sum(sizes)
        owed = total * share * (arm if a == "random" else 1 - arm)
        assert (k or 0) <= size
        assert (k or 0) > owed - 1 or k == size, "only a full cell gets less than it is owed"


def test_what_a_small_stratum_cannot_fill_goes_to_the_others():
    cells = [("a", "weighted", 2), ("b", "weighted", 28)]
    assert allotted(cells, strategy="stratified", budget={"total": 20}) == [2, 18]


def test_a_rows_hash_covers_every_column_but_itself():
    columns = {c: k for c, k in SAMPLED_DATASET.polars_schema().items() if c in SAMPLED_DATASET.names()}
    row: dict[str, Any] = {c: "x" if k == pl.String else [] if k == pl.List else None for c, k in columns.items()}
    policy = resolve_policy({"name": "d"})

    def hash_of(**changes: Any) -> str:
        schema = {c: k for c, k in columns.items() if c != "row_hash"}
        frame = pl.DataFrame([{c: {**row, **changes}[c] for c in schema}], schema=schema)
        text: str = hashed(frame, policy)["row_hash"].item()
        return text

    assert hash_of() == hash_of()
    others = {c: "y" if k == pl.String else ["y"] if k == pl.List else 7 for c, k in columns.items() if c != "row_hash"}
    others |= {c: pl.Series([7]).cast(k).item() for c, k in columns.items() if isinstance(k, pl.Datetime)}
    assert len({hash_of(), *(hash_of(**{c: v}) for c, v in others.items())}) == len(others) + 1


GIVEN = [inference(f"r{n:02}", text=f"text {n}", minute=n) for n in range(24)]


def said(requests: list[Event]) -> list[Event]:
    """One thumb each, two thirds of them up."""
    return [thumbs(f"f_{e['request_id']}", e["request_id"], up=n % 3 > 0, rater="ann") for n, e in enumerate(requests)]


def started(home: Any, requests: list[Event] = GIVEN, *, random_arm: float = 0.0, **sample: Any) -> Line:
    one = line(home, objectives=["unpaired"], sample={"random_arm": random_arm, **sample})
    one.send(requests, said(requests))
    one.compile()
    return one


def drawn(one: Line) -> set[str]:
    return set(one.table("sampled_dataset")["request_id"])


def lowest(one: Line, k: int) -> set[str]:
    ranked = one.table("candidate_examples").filter(state="candidate").sort("sampling_rank")
    return set(ranked["request_id"].head(k))


def test_a_total_draws_the_lowest_ranks_and_a_removal_refills(tmp_path):
    one = started(tmp_path / "home", budget={"total": 8})
    assert drawn(one) == lowest(one, 8)
    assert one.ledger().inference.reasons["sampled_out"] == {"beyond_budget": 16}
    before, order = drawn(one), one.table("candidate_examples").sort("sampling_rank")["request_id"].to_list()
    gone, refill = order[0], order[8]
    one.send([], [retraction("back", f"f_{gone}", rater="ann")])
    one.compile()
    assert drawn(one) == before - {gone} | {refill}
    changes = feedback_platform.load_dataset("d", since=1, settings=one.settings).collect()
    assert set(changes.select("request_id", "change", "change_reason").rows()) == {
        (gone, "remove", "no_feedback_left"), (refill, "add", "new"),
    }  # fmt: skip


def test_a_total_stays_within_the_lowest_of_all_as_data_grows(tmp_path):
    one = started(tmp_path / "home", GIVEN[:12], budget={"total": 8})
    before = drawn(one)
    one.send(GIVEN[12:], said(GIVEN[12:]))
    one.compile()
    assert drawn(one) == lowest(one, 8)
    assert before & lowest(one, 8) == drawn(one) & {e["request_id"] for e in GIVEN[:12]}
    reasons = feedback_platform.load_dataset("d", since=1, settings=one.settings).collect()
    assert set(reasons.filter(change="remove")["change_reason"]) == {"sampled_out"}


def test_a_budget_per_version_adds_to_what_is_in(tmp_path):
    one = started(tmp_path / "home", GIVEN[:12], budget={"per_version": 3})
    first = drawn(one)
    assert (len(first), first) == (3, lowest(one, 3))
    one.send(GIVEN[12:], said(GIVEN[12:]))
    one.compile()
    assert first < drawn(one)
    assert len(drawn(one)) == 6


def test_a_budget_per_version_keeps_its_members_when_no_candidate_is_left(tmp_path):
    one = started(tmp_path / "home", GIVEN[:3], random_arm=0.1, budget={"per_version": 10})
    members = {e["request_id"] for e in GIVEN[:3]}
    assert drawn(one) == members
    one.send([], [thumbs("agrees", "r00", up=False, rater="bob", minute=70)])
    assert one.done().changes == {"add": 0, "update": 1, "remove": 0}
    assert drawn(one) == members
    one.policy = {**one.policy, "resolve": {"agreement": 0.7}}
    done = one.done()
    assert (done.trigger, done.status, done.changes["remove"]) == ("policy_changed", "empty", 0)
    assert drawn(one) == members


@pytest.mark.parametrize(
    ("sample", "labels"),
    [({"random_arm": 0.1}, None), ({"strategy": "stratified"}, [("false", 8), ("true", 12)])],
    ids=["arms", "a small stratum"],
)
def test_a_total_is_filled_exactly(tmp_path, sample, labels):
    one = started(tmp_path / "home", budget={"total": 20}, **sample)
    rows = one.table("sampled_dataset")
    assert (rows.height, one.table("sampling_thresholds")["n_drawn"].sum()) == (20, 20)
    if labels:
        assert sorted(rows["label"].value_counts().rows()) == labels


def test_a_rate_draws_every_rank_below_it_and_keeps_strata(tmp_path):
    one = started(tmp_path / "home", budget={"rate": 0.5}, strategy="stratified")
    ranks = one.by("candidate_examples", "request_id", "sampling_rank")
    assert drawn(one) == {r for r, rank in ranks.items() if rank <= 1 << 39}
    assert 0 < len(drawn(one)) < 24
    cells = one.table("sampling_thresholds")
    assert set(cells["stratum"]) == {"true", "false"}
    assert cells["n_drawn"].sum() == len(drawn(one))


def test_strata_have_equal_shares_of_a_total(tmp_path):
    one = started(tmp_path / "home", budget={"total": 10}, strategy="stratified")
    assert sorted(one.table("sampled_dataset")["label"].value_counts().rows()) == [("false", 5), ("true", 5)]


@pytest.mark.parametrize("column", ["split", "arm", "stratum", "cluster_id", "group_id", "sampling_rank", "weight_ppm"])
def test_dataset_rows_carry_their_candidates_columns(all_in, column):
    assert all_in.by("sampled_dataset", "example_id", column) == all_in.by("candidate_examples", "example_id", column)


@pytest.fixture(scope="module")
def all_in(tmp_path_factory):
    return started(tmp_path_factory.mktemp("all") / "home", random_arm=0.5)


def test_without_a_budget_everything_is_drawn(all_in):
    assert len(drawn(all_in)) == 24
    assert set(all_in.table("sampling_thresholds")["threshold"]) == {2**53 - 1}
    assert all_in.ledger().inference.states == {"in_dataset": 24}
