"""Generates seeded histories for benchmarks straight into raw tables' form: Parquet files of events, and the log.

Events are made by DuckDB from hashes of row numbers: the same seed gives the same events on every machine.
"""

from pathlib import Path

import duckdb

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon".split()


def inferences_sql(start: int, count: int, per_day: int, seed: int) -> str:
    """Rows of `raw_inference_logs` without log_seq: text in and out of about 800 characters together."""
    words = "[" + ",".join(f"'{w}'" for w in WORDS) + "]"
    text = (
        "array_to_string(list_transform(range({n}), lambda k: "
        f"{words}[1 + (hash(i, k, {seed}, '{{salt}}') % {len(WORDS)})::INT]), ' ')"
    )
    prompt, answer = text.format(n=50, salt="in"), text.format(n=70, salt="out")
    return f"""
        SELECT
          TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_microseconds((i * 86400000000 // {per_day})::BIGINT) AS received_at,
          1::BIGINT AS schema_version, printf('%016x-%012d', hash(i, {seed}), i) AS request_id,
          TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_microseconds((i * 86400000000 // {per_day})::BIGINT) AS event_at,
          'chat' AS task, 'production' AS environment, 'bot' AS model, (1 + i // 2000000)::VARCHAR AS model_version,
          NULL::VARCHAR AS variant, 's' || (hash(i, {seed}, 's') % ({count} // 3 + 1))::VARCHAR AS session_id,
          NULL::VARCHAR AS user_id, true AS training_allowed, false AS is_future, 'text' AS input_kind,
          to_json({prompt})::VARCHAR AS input, to_json({answer})::VARCHAR AS output,
          (hash(i, {seed}, 'p') // 2)::BIGINT AS prompt_hash, (hash(i, {seed}, 'o') // 2)::BIGINT AS output_hash,
          NULL::DOUBLE AS confidence, -((hash(i, {seed}, 'l') % 3000) / 1000.0)::DOUBLE AS logprob,
          '{{"device":"' || (['phone','desk','tablet'])[1 + (hash(i, {seed}, 'd') % 3)::INT] || '"}}' AS segments
        FROM range({start}, {start + count}) AS t(i)
    """


def feedback_sql(start: int, count: int, n_inferences: int, per_day: int, seed: int, since: int = 0) -> str:
    """Rows of `raw_feedback` without log_seq: thumbs, ratings and corrections on inferences in [since, n_inferences)."""
    target = f"({since} + hash(j, {seed}, 't') % {n_inferences - since})::BIGINT"
    return f"""
        SELECT *, CASE kind WHEN 0 THEN 'thumbs' WHEN 1 THEN 'rating' ELSE 'explicit_correction' END AS feedback_type,
          printf('%016x-%012d', hash(i, {seed}), i) AS target_request_id,
          TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_microseconds((i * 86400000000 // {per_day})::BIGINT + delay) AS event_at
        FROM (
          SELECT j, {target} AS i, (hash(j, {seed}, 'k') % 10)::INT AS dice,
            CASE WHEN dice < 6 THEN 0 WHEN dice < 9 THEN 1 ELSE 2 END AS kind,
            (60000000 + hash(j, {seed}, 'd') % 7200000000)::BIGINT AS delay,
            'u' || (hash(j, {seed}, 'r') % 50000)::VARCHAR AS rater, (hash(j, {seed}, 'v') % 101)::INT AS score
          FROM range({start}, {start + count}) AS t(j)
        )
    """


def connect(memory: str = "4GB") -> duckdb.DuckDBPyConnection:
    """A DuckDB for generating."""
    connection = duckdb.connect()
    connection.execute(f"SET memory_limit='{memory}'; SET TimeZone='UTC'; SET preserve_insertion_order=true")
    return connection


def write(connection: duckdb.DuckDBPyConnection, sql: str, path: Path) -> None:
    """Write a query to Parquet in order."""
    connection.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
