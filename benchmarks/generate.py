"""Seeded histories for benchmarks: rows of the raw tables, made by DuckDB from hashes of row numbers.

The same seed gives the same events with the same DuckDB. Texts together are about 800 characters an inference.
"""

from feedback_platform.contracts.table import TableContract
from feedback_platform.intake.log import Stream

SEED = 7
PER_DAY = 200_000
_WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon"
_EPOCH = "TIMESTAMPTZ '2026-01-01 00:00:00+00'"


def inferences(start: int, count: int) -> str:
    """SQL of inferences number `start` to `start + count`, in order of time."""
    return f"""
        SELECT
          {_at("i", "0")} AS received_at, {_at("i", "0")} AS event_at, 1 AS schema_version,
          {_request("i")} AS request_id, 'chat' AS task, 'production' AS environment, 'bot' AS model,
          (1 + i // 2000000)::VARCHAR AS model_version, 's' || (i // 3)::VARCHAR AS session_id, true AS training_allowed,
          false AS is_future, 'text' AS input_kind, {_text("i", 50, "in")} AS input, {_text("i", 70, "out")} AS output,
          {_key("i", "p")} AS prompt_hash, {_key("i", "o")} AS output_hash, -({_die("i", "l", 3000)} / 1000.0) AS logprob,
          '{{"device":"' || (['phone','desk','tablet'])[1 + {_die("i", "d", 3)}] || '"}}' AS segments
        FROM range({start}, {start + count}) AS t(i)
    """


def feedback(start: int, count: int, first: int, last: int) -> str:
    """SQL of feedback number `start` to `start + count` on inferences `first` to `last`: thumbs, ratings, corrections."""
    return f"""
        SELECT
          {_at("i", "delay")} AS received_at, {_at("i", "delay")} AS event_at, 1 AS schema_version,
          printf('f%010d', j) AS feedback_id, 'overall' AS name, '{{}}' AS value, 'request' AS target_kind,
          (['thumbs','rating','explicit_correction'])[kind] AS feedback_type,
          {_request("i")} AS target_request_id, [{_request("i")}] AS request_ids,
          CASE kind WHEN 1 THEN CASE WHEN {_die("j", "v", 10)} > 2 THEN 1000000 ELSE 0 END
            WHEN 2 THEN {_die("j", "v", 101)} * 10000 END AS score_ppm,
          CASE WHEN kind = 3 THEN {_text("j", 70, "fix")} END AS output,
          CASE WHEN kind = 3 THEN {_key("j", "fix")} END AS output_hash,
          'u' || {_die("j", "r", 50000)}::VARCHAR AS rater, 'human' AS source_kind, false AS can_review, false AS is_future
        FROM (
          SELECT j, {first} + {_die("j", "t", last - first)} AS i, 60000000 + {_die("j", "w", 7200000)}::BIGINT * 1000 AS delay,
            CASE WHEN {_die("j", "k", 10)} < 6 THEN 1 WHEN {_die("j", "k", 10)} < 9 THEN 2 ELSE 3 END AS kind
          FROM range({start}, {start + count}) AS t(j)
        )
    """


def as_rows(contract: TableContract, sql: str, first_seq: int | None, *, wire: bool = False) -> str:
    """The SQL's columns as the contract has them; `wire` writes times as the log does and leaves the position out."""
    columns = []
    for c in contract.columns():
        if c.name == "log_seq":
            if first_seq is not None:
                columns.append(f"row_number() OVER () + {first_seq - 1} AS log_seq")
        elif wire and c.kind == "Datetime":
            columns.append(f"strftime({c.name}, '%Y-%m-%dT%H:%M:%S.%fZ') AS {c.name}")
        else:
            columns.append(f'CAST(g."{c.name}" AS {c.duckdb_type}) AS "{c.name}"')
    missing = ", ".join(f'CAST(NULL AS {c.duckdb_type}) AS "{c.name}"' for c in contract.columns())
    return f"SELECT {', '.join(columns)} FROM (SELECT * FROM (SELECT {missing} WHERE false) UNION ALL BY NAME ({sql})) AS g"


STREAM_OF: dict[str, Stream] = {"raw_inference_logs": "inference", "raw_feedback": "feedback"}


def _at(number: str, delay: str) -> str:
    return f"{_EPOCH} + to_microseconds(({number} * 86400000000 // {PER_DAY} + {delay})::BIGINT)"


def _request(number: str) -> str:
    return f"printf('%016x-%012d', hash({number}, {SEED}), {number})"


def _die(number: str, salt: str, sides: int) -> str:
    return f"(hash({number}, {SEED}, '{salt}') % {sides})::INT"


def _key(number: str, salt: str) -> str:
    return f"(hash({number}, {SEED}, '{salt}') // 2)::BIGINT"


def _text(number: str, words: int, salt: str) -> str:
    listed = "[" + ",".join(f"'{w}'" for w in _WORDS.split()) + "]"
    pick = f"{listed}[1 + (hash({number}, k, {SEED}, '{salt}') % {len(_WORDS.split())})::INT]"
    return f"to_json(array_to_string(list_transform(range({words}), lambda k: {pick}), ' '))::VARCHAR"
