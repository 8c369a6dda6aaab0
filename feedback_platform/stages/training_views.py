"""Training views: what each objective's trainers want, as SQL text over rows of `sampled_dataset`.

Text only: callers name the relations and run it. It speaks DuckDB's JSON functions, since views, loaders and exports
are DuckDB's alone; the stages before it do not depend on it. JSON values stay JSON text.

A chat's prompt is its list of messages and every answer a list of one message; any other prompt and answer is one JSON
string (an object that is neither text nor chat is told as its JSON text).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from feedback_platform.errors import ConfigError
from feedback_platform.stages.candidates import RANK_SCALE

ALL_RANKS = 9_007_199_254_740_991  # threshold that `sampling.sql` writes when a cell is drawn whole
VIEWS: Mapping[str, str] = MappingProxyType(
    {
        "sft": "train_sft",
        "preference": "train_dpo",
        "unpaired": "train_kto",
        "classification": "train_classification",
    }
)
VIEW_DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "train_sft": "Prompts and the answers to learn.",
        "train_dpo": "Prompts with a preferred and another answer, which differ.",
        "train_kto": "Prompts, answers and whether each was good.",
        "train_classification": "Inputs and their classes.",
    }
)
COLUMN_DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "prompt": "JSON: a chat's messages, else a string",
        "completion": "JSON: the answer as a list of one message, else a string",
        "chosen": "JSON: the preferred answer, in the form of `completion`",
        "rejected": "JSON: the other answer, in the form of `completion`",
        "tools": "JSON list of tool definitions",
        "label": "the label; a boolean for `train_kto`",
        "selection_prob": "probability of being drawn, given stratum, arm and threshold; null without one",
        "response_prob": "probability that the inference got feedback; null until it is estimated",
        "sample_weight": "1 / selection_prob",
    }
)
_ROW_COLUMNS: Mapping[str, Sequence[str]] = {
    "sft": ("prompt", "completion", "tools"),
    "preference": ("prompt", "chosen", "rejected"),
    "unpaired": ("prompt", "completion", "label"),
    "classification": ("input", "label", "event_at"),
}


def training_columns(objective: str) -> tuple[str, ...]:
    """Names of a training view's columns, in order, without `f_*` and extras.

    Raises:
        ConfigError: there is no such objective.
    """
    if objective not in _ROW_COLUMNS:
        raise ConfigError(f"objective {objective!r} is not known. Objectives: {', '.join(_ROW_COLUMNS)}.")
    return ("example_id", *_ROW_COLUMNS[objective], "split", "selection_prob", "response_prob", "sample_weight")


def training_view_sql(
    objective: str,
    *,
    rows: str,
    thresholds: str,
    features: Mapping[str, str] = MappingProxyType({}),
    extra: Sequence[str] = (),
) -> str:
    """SELECT of one objective's training view.

    Args:
        objective: which view.
        rows: relation (or query in brackets) with the columns of `SampledDataset`.
        thresholds: relation (or query in brackets) with the columns of `SamplingThresholds`.
        features: input key -> DuckDB type (see `feature_type`), one typed `f_<key>` column each; classification only.
        extra: further columns of `rows` to pass on, such as `row_hash`.

    Raises:
        ConfigError: there is no such objective.
    """
    names = training_columns(objective)
    expressions = {
        "prompt": _PROMPT,
        "completion": _answer("target" if objective == "sft" else "output"),
        "chosen": _answer("chosen"),
        "rejected": _answer("rejected"),
        "label": "r.label = 'true'" if objective == "unpaired" else "r.label",
        "selection_prob": _SELECTION,
        "response_prob": "CAST(NULL AS DOUBLE)",
        "sample_weight": f"1 / ({_SELECTION})",
    }
    listed = [f'{expressions.get(n, f"r.{n}")} AS "{n}"' for n in names]
    listed += [f"{_feature(key, kind)} AS {_identifier(f'f_{key}')}" for key, kind in features.items()]
    listed += [f'r."{n}"' for n in extra]
    made = (
        f"SELECT {', '.join(listed)} FROM {rows} AS r LEFT JOIN {thresholds} AS t "
        "ON t.objective = r.objective AND t.stratum = r.stratum AND t.arm = r.arm "
        f"WHERE r.objective = '{objective}'{_CONDITIONS.get(objective, '')}"
    )
    # Two outputs may differ as stored and be the same answer, such as a text and the message that says it.
    return f"SELECT * FROM ({made}) WHERE chosen <> rejected" if objective == "preference" else made


def features_sql(rows: str) -> str:
    """SELECT (key, kinds) of the feature objects among `rows`: each key with the JSON types of its values, sorted."""
    return (
        f"SELECT k.key, list_sort(list(DISTINCT json_type(k.input, {_pointer_sql('k.key')}))) AS kinds FROM ("
        f"SELECT r.input, unnest(json_keys(r.input)) AS key FROM {rows} AS r "
        "WHERE r.objective = 'classification' AND r.input_kind = 'features') AS k GROUP BY k.key ORDER BY k.key"
    )


def feature_type(kinds: Sequence[str]) -> str:
    """DuckDB type that holds values of these JSON types: BIGINT, DOUBLE, BOOLEAN, else VARCHAR.

    Canonical JSON writes 2.0 as 2, so a measure is BIGINT as long as all of its values are whole.
    """
    found = set(kinds) - {"NULL"}
    if not found:
        return "VARCHAR"
    if found <= {"BIGINT", "UBIGINT"}:
        return "BIGINT"
    if found <= {"BIGINT", "UBIGINT", "DOUBLE"}:
        return "DOUBLE"
    return "BOOLEAN" if found == {"BOOLEAN"} else "VARCHAR"


def message_sql(answer: str) -> str:
    """Expression: the assistant's message in an output's JSON text; keys stay in canonical order where we add one."""
    said = f"json_extract({answer}, '$.messages[*]')"
    spoken = f"list_filter({said}, lambda m: json_extract_string(m, '$.role') = 'assistant')[-1]"
    return f"""CASE
      WHEN json_type({answer}) = 'VARCHAR' THEN '{{"content":' || {answer} || ',"role":"assistant"}}'
      WHEN json_array_length({answer}, '$.messages') > 0 THEN CAST(coalesce({spoken}, {said}[-1]) AS VARCHAR)
      WHEN json_type({answer}, '$.role') = 'VARCHAR' THEN {answer}
      WHEN json_type({answer}, '$.content') IS NOT NULL OR json_type({answer}, '$.tool_calls') = 'ARRAY'
        THEN left({answer}, length({answer}) - 1) || ',"role":"assistant"}}'
      ELSE '{{"content":' || CAST(to_json({answer}) AS VARCHAR) || ',"role":"assistant"}}'
    END"""


def _answer(column: str) -> str:
    answer, message = f"r.{column}", message_sql(f"r.{column}")
    is_message = f"json_array_length({answer}, '$.messages') > 0 OR json_type({answer}, '$.role') = 'VARCHAR'"
    return f"""CASE
      WHEN r.input_kind = 'chat' THEN '[' || {message} || ']'
      WHEN json_type({answer}) = 'VARCHAR' THEN {answer}
      WHEN ({is_message}) AND json_type({message}, '$.content') = 'VARCHAR'
        THEN CAST(json_extract({message}, '$.content') AS VARCHAR)
      ELSE CAST(to_json({answer}) AS VARCHAR)
    END"""


def _feature(key: str, kind: str) -> str:
    path = "'/" + key.replace("~", "~0").replace("/", "~1").replace("'", "''") + "'"
    value = f"CASE WHEN r.input_kind = 'features' THEN json_extract_string(r.input, {path}) END"
    return f"CAST({value} AS {kind})"


def _pointer_sql(key: str) -> str:
    return f"'/' || replace(replace({key}, '~', '~0'), '/', '~1')"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_PROMPT = """CASE r.input_kind
      WHEN 'chat' THEN CAST(json_extract(r.input, '$.messages') AS VARCHAR)
      WHEN 'text' THEN r.input
      ELSE CAST(to_json(r.input) AS VARCHAR)
    END"""
# Drawn when rank = u * 2^40 / weight <= threshold, u uniform in [0, 1): ranks are whole, hence the one added.
_SHARE = f"(t.threshold::DOUBLE + 1) * r.weight_ppm / 1e6 / {RANK_SCALE}::DOUBLE"
_SELECTION = (
    f"CASE WHEN t.threshold >= {ALL_RANKS} THEN 1.0::DOUBLE "
    f"WHEN t.threshold IS NOT NULL THEN least(1.0::DOUBLE, {_SHARE}) END"
)
_CONDITIONS: Mapping[str, str] = {
    "sft": " AND r.target IS NOT NULL",
    "preference": " AND r.chosen IS NOT NULL AND r.rejected IS NOT NULL",
    "unpaired": " AND r.label IS NOT NULL",
    "classification": " AND r.label IS NOT NULL",
}
