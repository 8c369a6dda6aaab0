"""Enrichment: uncertainty of the answer, place in the session, history of the rater.

Set logic stands in `enrichment.sql`; the numerics over probabilities are the batch function here.
"""

import math

import msgspec
import polars as pl

from feedback_platform.contracts.policies import DatasetPolicy, micros
from feedback_platform.contracts.stage_tables import ENRICHED_RECORDS
from feedback_platform.contracts.table import PPM
from feedback_platform.stages.stage import Stage, load_steps


def uncertainty(rows: pl.DataFrame, policy: DatasetPolicy) -> pl.DataFrame:
    """Adds `uncertainty_ppm`, its source, and `entropy_ppm` to rows of (probabilities, confidence, logprob).

    1 minus the margin of the two largest probabilities where the model logged them ("Is margin all you need?",
    arXiv 2210.03822), else 1 minus its confidence, else 1 minus exp(logprob); null where none was logged.
    """
    distinct = rows.select("probabilities").drop_nulls().unique()
    table = pl.DataFrame(
        [{"probabilities": text, **_from_probabilities(text)} for text in distinct["probabilities"]],
        schema={"probabilities": pl.String, "margin_ppm": pl.Int64, "entropy_ppm": pl.Int64},
    )
    confidence = ((1 - pl.col("confidence")) * PPM).round().cast(pl.Int64).clip(0, PPM)
    logprob = ((1 - pl.col("logprob").clip(upper_bound=0).exp()) * PPM).round().cast(pl.Int64).clip(0, PPM)
    source = (
        pl.when(pl.col("margin_ppm").is_not_null()).then(pl.lit("margin"))
        .when(pl.col("confidence").is_not_null()).then(pl.lit("confidence"))
        .when(pl.col("logprob").is_not_null()).then(pl.lit("logprob"))
    )  # fmt: skip
    return rows.join(table, on="probabilities", how="left").with_columns(
        uncertainty_ppm=pl.coalesce(PPM - pl.col("margin_ppm"), confidence, logprob), uncertainty_source=source
    )


def _from_probabilities(text: str) -> dict[str, int | None]:
    values = sorted((float(v) for v in msgspec.json.decode(text).values()), reverse=True)
    total = sum(values)
    if total <= 0:
        return {"margin_ppm": None, "entropy_ppm": None}
    shares = [v / total for v in values]
    margin = shares[0] - (shares[1] if len(shares) > 1 else 0.0)
    entropy = -sum(p * math.log(p) for p in shares if p > 0) / math.log(len(shares)) if len(shares) > 1 else 0.0
    return {"margin_ppm": round(margin * PPM), "entropy_ppm": min(PPM, round(entropy * PPM))}


def enrichment() -> Stage:
    """Valid pairs with context, uncertainty and history; unit: one feedback event."""
    return Stage(
        ENRICHED_RECORDS,
        unit="feedback_id",
        semantics=1,
        sql=load_steps("enrichment"),
        batches={"uncertainties": uncertainty},
        params=lambda policy: {"window": micros(policy.attribution.window)},
    )
