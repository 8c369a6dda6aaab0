"""Candidates: duplicate clusters, splits and sampling ranks of resolved examples.

Set logic stands in `candidates.sql`; here are the hashes. Ranks are u / w with u uniform by hash (priority sampling:
Duffield, Lund, Thorup 2007), so that a bottom-k of any union equals the bottom-k of the parts' bottom-ks.
"""

from collections.abc import Mapping

import polars as pl

from feedback_platform.contracts.policies import DatasetPolicy
from feedback_platform.contracts.stage_tables import CANDIDATE_EXAMPLES
from feedback_platform.contracts.table import PPM
from feedback_platform.stages.content import unit_interval
from feedback_platform.stages.stage import Stage, load_steps

RANK_SCALE = 1 << 40
PARTS = ("train", "validation", "test")


def draw(rows: pl.DataFrame, policy: DatasetPolicy) -> pl.DataFrame:
    """Adds `root_split`, `arm`, `weight_ppm`, `sampling_rank`, `stratum` by hashes of (seed, salt, key)."""
    sample, seed = policy.sample, policy.seed
    train, validation = policy.split.parts[0], sum(policy.split.parts[:2])
    place = (unit_interval(seed, "split", pl.col("split_root")) * 100).floor().cast(pl.Int64)
    uniform = unit_interval(seed, "rank", pl.col("example_id"))
    with_arm = rows.with_columns(
        root_split=pl.when(place < train).then(pl.lit(PARTS[0]))
        .when(place < validation).then(pl.lit(PARTS[1])).otherwise(pl.lit(PARTS[2])),
        arm=pl.when(unit_interval(seed, "arm", pl.col("example_id")) < sample.random_arm)
        .then(pl.lit("random")).otherwise(pl.lit("weighted")),
        stratum=_stratum(policy),
    )  # fmt: skip
    weighted = with_arm.with_columns(weight_ppm=_weight(policy))
    rank = (uniform * RANK_SCALE * PPM / pl.col("weight_ppm")).floor().cast(pl.Int64)
    return weighted.with_columns(sampling_rank=rank)


def _weight(policy: DatasetPolicy) -> pl.Expr:
    if policy.sample.strategy != "uncertainty":
        return pl.lit(PPM, dtype=pl.Int64)
    scaled = (1 + (policy.sample.max_weight - 1) * pl.col("uncertainty_ppm").fill_null(0) / PPM) * PPM
    weight = scaled.round().cast(pl.Int64).clip(PPM, policy.sample.max_weight * PPM)
    return pl.when(pl.col("arm") == "random").then(pl.lit(PPM, dtype=pl.Int64)).otherwise(weight)


def _stratum(policy: DatasetPolicy) -> pl.Expr:
    if policy.sample.strategy != "stratified":
        return pl.lit("all")
    return pl.concat_str([pl.col(c).cast(pl.String).fill_null("?") for c in policy.sample.by], separator="|")


def _params(policy: DatasetPolicy) -> Mapping[str, int | str]:
    return {
        "split_by": policy.split.by,
        "split_sessions": int("session" in policy.split.groups),
        "split_clusters": int("cluster" in policy.split.groups and policy.split.by == "group"),
        "dedup": int(policy.dedup.method != "off" and len(policy.dedup.fields) > 0),
        "majority": int(policy.dedup.conflict == "majority"),
        "agreement": round(policy.resolve.agreement * 100),
    }


def candidates() -> Stage:
    """Every resolved example with cluster, split and rank; unit: one example."""
    return Stage(
        CANDIDATE_EXAMPLES,
        unit="example_id",
        semantics=1,
        sql=load_steps("candidates"),
        batches={"drawn": draw},
        params=_params,
    )
