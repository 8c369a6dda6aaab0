"""Sampling and the dataset itself: how many ranks each stratum may have, and the rows drawn with their hashes.

Set logic stands in `sampling.sql` and `dataset.sql`. All ranks are kept in `candidate_examples`, so a removal refills.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import polars as pl

from feedback_platform.contracts.policies import Budget, DatasetPolicy
from feedback_platform.contracts.stage_tables import FEEDBACK_EVENTS, SAMPLED_DATASET, SAMPLING_THRESHOLDS
from feedback_platform.stages.candidates import RANK_SCALE
from feedback_platform.stages.content import row_hash
from feedback_platform.stages.stage import Stage, load_steps


def allot(cells: pl.DataFrame, policy: DatasetPolicy) -> pl.DataFrame:
    """Adds `k` (examples a cell may have, null = all) to each cell.

    A budget is shared equally over strata when stratified, by size otherwise, and within a stratum between the arms
    present in the policy's proportion. What a cell cannot fill goes to the others; whole numbers sum to the budget.
    """
    budget = policy.sample.budget
    if not isinstance(budget, Budget) or budget.rate is not None:
        return cells.with_columns(k=pl.lit(None, dtype=pl.Int64))
    size = budget.total if budget.total is not None else (budget.per_version or 0)
    ordered = cells.sort("objective", "stratum", "arm")
    drawn: list[int] = []
    for group in ordered.partition_by("objective", maintain_order=True):
        drawn += fill(size, _weights(group, policy), group["n"].to_list())
    return ordered.with_columns(k=pl.Series(drawn, dtype=pl.Int64))


def fill(budget: int, weights: Sequence[Fraction], sizes: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to the weights, none above its size, that sum to the budget or to all there is.

    Cells that their share would overfill are filled, and the rest is shared again; then largest remainders, ties in
    the given order.
    """
    open_cells, left = [i for i, w in enumerate(weights) if w > 0], min(budget, sum(sizes))
    given = [Fraction(0)] * len(sizes)
    while open_cells and left > 0:
        total = sum(weights[i] for i in open_cells)
        full = [i for i in open_cells if left * weights[i] / total >= sizes[i]]
        for i in full or open_cells:
            given[i] = Fraction(sizes[i]) if full else left * weights[i] / total
        left -= sum(sizes[i] for i in full) if full else left
        open_cells = [i for i in open_cells if i not in full]
    whole = [int(g) for g in given]
    missing = round(sum(given)) - sum(whole)
    by_remainder = sorted(range(len(sizes)), key=lambda i: (whole[i] - given[i], i))
    return [n + (i in by_remainder[:missing]) for i, n in enumerate(whole)]


def _weights(group: pl.DataFrame, policy: DatasetPolicy) -> list[Fraction]:
    arm = Fraction(str(policy.sample.random_arm))
    parts = {"random": arm, "weighted": 1 - arm}
    strata: dict[str, tuple[int, Fraction]] = {}
    for stratum, name, n in group.select("stratum", "arm", "n").iter_rows():
        count, present = strata.get(stratum, (0, Fraction(0)))
        strata[stratum] = (count + n, present + parts[name])
    weights = []
    for stratum, name in group.select("stratum", "arm").iter_rows():
        count, present = strata[stratum]
        share = Fraction(1) if policy.sample.strategy == "stratified" else Fraction(count)
        weights.append(share * parts[name] / present if present else share)
    return weights


def hashed(rows: pl.DataFrame, policy: DatasetPolicy) -> pl.DataFrame:
    """Adds `row_hash`, the SHA-256 of each row's canonical JSON (no positions, no receipt times)."""
    columns = [c for c in SAMPLED_DATASET.names() if c != "row_hash"]
    return rows.with_columns(row_hash=row_hash(columns, rows.schema)).select(SAMPLED_DATASET.names())


def _params(policy: DatasetPolicy) -> Mapping[str, int | str]:
    budget = policy.sample.budget
    given = budget if isinstance(budget, Budget) else Budget()
    return {
        "needs_ranks": int(given.total is not None or given.per_version is not None),
        "per_version": int(given.per_version is not None),
        "rate_rank": -1 if given.rate is None else round(given.rate * RANK_SCALE),
    }


def sampling() -> Stage:
    """How far down the ranks each stratum is drawn; unit: the draw as a whole."""
    return Stage(
        SAMPLING_THRESHOLDS,
        unit="",
        semantics=1,
        sql=load_steps("sampling"),
        batches={"allotted": allot},
        params=_params,
    )


def dataset() -> Stage:
    """The rows drawn, with payload and hash; unit: one example."""
    return Stage(
        SAMPLED_DATASET,
        unit="example_id",
        semantics=1,
        sql=load_steps("dataset"),
        batches={"body": hashed},
        params=_params,
    )


def lifecycle() -> Stage:
    """Where each feedback event of the dataset ended; unit: one feedback event."""
    return Stage(FEEDBACK_EVENTS, unit="feedback_id", semantics=1, sql=load_steps("lifecycle"))
