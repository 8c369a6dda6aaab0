"""Sampling and the dataset itself: how many ranks each stratum may have, and the rows drawn with their hashes.

Set logic stands in `sampling.sql` and `dataset.sql`. All ranks are kept in `candidate_examples`, so a removal refills.
"""

from collections.abc import Mapping

import polars as pl

from feedback_platform.contracts.policies import Budget, DatasetPolicy
from feedback_platform.contracts.stage_tables import FEEDBACK_EVENTS, SAMPLED_DATASET, SAMPLING_THRESHOLDS
from feedback_platform.stages.candidates import RANK_SCALE
from feedback_platform.stages.content import row_hash
from feedback_platform.stages.stage import Stage, load_steps


def allot(cells: pl.DataFrame, policy: DatasetPolicy) -> pl.DataFrame:
    """Adds `k` (examples a cell may have, null = all) to each cell.

    A budget is shared equally over strata when stratified, by size otherwise, and within a stratum between the arms
    present in the policy's proportion. Largest remainders make the whole numbers sum to the budget of each objective.
    """
    budget = policy.sample.budget
    if not isinstance(budget, Budget) or budget.rate is not None:
        return cells.with_columns(k=pl.lit(None, dtype=pl.Int64))
    size = budget.total if budget.total is not None else (budget.per_version or 0)
    stratified = policy.sample.strategy == "stratified"
    in_stratum = pl.col("n").sum().over("objective", "stratum")
    share = 1 / pl.col("n_strata") if stratified else in_stratum / pl.col("n_objective")
    arm = policy.sample.random_arm
    part = pl.when(pl.col("arm") == "random").then(pl.lit(arm)).otherwise(pl.lit(1 - arm))
    owed = size * share * part / part.sum().over("objective", "stratum")
    by_remainder = [pl.col("owed").floor() - pl.col("owed"), pl.col("stratum"), pl.col("arm")]
    place = pl.struct(by_remainder[0].round(9).alias("rest"), *by_remainder[1:]).rank("ordinal").over("objective")
    missing = size - pl.col("owed").floor().sum().over("objective")
    return (
        cells.with_columns(owed=owed.round(9))
        .with_columns(k=(pl.col("owed").floor() + (place <= missing)).cast(pl.Int64))
        .drop("owed")
    )


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
