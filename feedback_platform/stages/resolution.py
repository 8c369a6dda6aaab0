"""Resolution: several signals on one inference become one label per objective, or a reason why there is none.

The rules stand in `resolution.sql`; this module passes the policy to them and hashes the content of examples.
"""

from collections.abc import Mapping

import msgspec
import numpy as np
import polars as pl
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cpdist

from feedback_platform.contracts.payload import output_text
from feedback_platform.contracts.policies import DatasetPolicy, micros
from feedback_platform.contracts.stage_tables import RESOLVED_EXAMPLES
from feedback_platform.contracts.table import PPM
from feedback_platform.stages.content import folded, said, xxh3
from feedback_platform.stages.stage import Stage, load_steps

_KINDS = {
    "thumbs": "thumbs", "rating": "rating", "label": "label", "explicit_correction": "explicit_correction",
    "preference_pair": "preference", "adjudication": "adjudication",
}  # fmt: skip
_TABULAR = ("features",)
LONGEST_EDIT = 20_000


def content(rows: pl.DataFrame, policy: DatasetPolicy) -> pl.DataFrame:
    """(example_id, content_hash, edit_ratio_ppm) of resolved examples.

    The hash is of the criterion and the policy's fields for text, of the example's own id where nothing may be merged:
    tabular examples never are, as different people share a feature row (39 % in one real file).
    """
    parts = {
        "last_user": pl.col("prompt_hash").cast(pl.String),
        "input": pl.col("input"),
        "target": pl.concat_str(
            pl.lit(folded(said(rows["target"]))), pl.lit(folded(said(rows["other"]))).fill_null(""), separator="\x1e"
        ),
    }
    chosen = [pl.col("criterion"), *(parts[field].fill_null("") for field in policy.dedup.fields)]
    mergeable = pl.lit(bool(policy.dedup.fields) and policy.dedup.method != "off") & ~pl.col("input_kind").is_in(
        _TABULAR
    )
    key = pl.when(mergeable).then(pl.concat_str(chosen, separator="\x1f")).otherwise(pl.col("example_id"))
    return rows.select("example_id", content_hash=xxh3(key), edit_ratio_ppm=pl.lit(edit_ratio(rows)))


def edit_ratio(rows: pl.DataFrame) -> pl.Series:
    """Levenshtein distance of `chosen` and `rejected` over the longer length, in millionths; null without a pair.

    Texts beyond `LONGEST_EDIT` characters stay null: the distance is quadratic in length.
    """
    short = (rows["chosen"].str.len_chars() <= LONGEST_EDIT) & (rows["rejected"].str.len_chars() <= LONGEST_EDIT)
    pairs = short.fill_null(False).arg_true()
    chosen, rejected = rows["chosen"].gather(pairs).to_list(), rows["rejected"].gather(pairs).to_list()
    ratios = cpdist(chosen, rejected, scorer=Levenshtein.normalized_distance, dtype=np.float64)
    blank = pl.Series("edit_ratio_ppm", [None], dtype=pl.Int64).new_from_index(0, rows.height)
    return blank.scatter(pairs, pl.Series((ratios * PPM).round().astype(np.int64))) if pairs.len() else blank


def named_class(rows: pl.DataFrame, policy: DatasetPolicy) -> pl.DataFrame:
    """(feedback_id, named): the plain text of each corrected output where it is a class, else null."""
    classes = policy.data.classes
    texts = [output_text(msgspec.json.decode(output)) for output in rows["output"]]
    named = [text if classes is None or text in classes else None for text in texts]
    return rows.select("feedback_id", named=pl.Series(named, dtype=pl.String))


def _params(policy: DatasetPolicy) -> Mapping[str, int | str]:
    rule, pairs = policy.resolve, policy.pairs
    return {
        "dataset": policy.name,
        "rating_good": round(rule.rating_good * PPM),
        "rating_bad": round(rule.rating_bad * PPM),
        "agreement": round(rule.agreement * 100),
        "disagreement": rule.disagreement,
        "review_expire": micros(rule.review.expire),
        "mature_after": micros(policy.maturity.after),
        "per_prompt": pairs.per_prompt,
        "pairs_explicit": int("explicit" in pairs.sources),
        "pairs_from_corrections": int("explicit_correction" in pairs.sources),
        "length_ratio": round((pairs.max_length_ratio or 0) * 100),
        "classification": int("classification" in policy.objectives),
        "n_classes": len(policy.data.classes or ()),
        "hash_input": int("input" in policy.dedup.fields),
    }


def _frames(policy: DatasetPolicy) -> Mapping[str, pl.DataFrame]:
    ranks = {kind: rank for rank, kind in enumerate(policy.resolve.precedence)}
    ranked = [(name, kind, ranks[kind]) for name, kind in _KINDS.items() if kind in ranks]
    return {
        "precedence": pl.DataFrame(
            ranked, schema={"feedback_type": pl.String, "kind": pl.String, "rank": pl.Int64}, orient="row"
        ),
        "signal_rules": pl.DataFrame(
            [(name, rule.better, rule.role) for name, rule in policy.signals.items()],
            schema={"name": pl.String, "better": pl.String, "role": pl.String},
            orient="row",
        ),
        "objectives": pl.DataFrame({"objective": list(policy.objectives)}),
        "classes": pl.DataFrame({"label": list(policy.data.classes or ())}, schema={"label": pl.String}),
    }


def resolution() -> Stage:
    """One row per objective and unit: an example, or the reason why there is none; unit: one request."""
    return Stage(
        RESOLVED_EXAMPLES,
        unit="request_id",
        semantics=1,
        sql=load_steps("resolution"),
        batches={"contents": content, "class_outputs": named_class},
        params=_params,
        frames=_frames,
    )
