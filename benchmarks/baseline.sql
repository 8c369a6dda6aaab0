-- The plain script: what one would write by hand, once, without versions, reasons, ledgers or increments.
-- The same joins, windows and writes as a compilation's first window. {placeholders} are filled in by compile.py.
COPY (SELECT * FROM read_json('{events}/inferences-*.ndjson', columns = {inference_columns}, format = 'newline_delimited'))
  TO '{out}/raw_inferences.parquet' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20000);
COPY (SELECT * FROM read_json('{events}/feedback-*.ndjson', columns = {feedback_columns}, format = 'newline_delimited'))
  TO '{out}/raw_feedback.parquet' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20000);

COPY (
  SELECT f.feedback_id || '|' || i.request_id AS pair_id, f.feedback_id, i.request_id, f.feedback_type, f.name, f.rater,
    f.source_kind, f.event_at AS feedback_at, i.event_at AS inference_at,
    date_diff('millisecond', i.event_at, f.event_at) AS delay_ms, f.score_ppm, f.label, f.output_hash,
    f.output_hash = i.output_hash AS is_acceptance, i.model, i.model_version, i.session_id, i.training_allowed,
    i.confidence, i.logprob, i.probabilities
  FROM read_parquet('{out}/raw_feedback.parquet') f
  JOIN read_parquet('{out}/raw_inferences.parquet') i ON i.request_id = f.target_request_id
  WHERE f.event_at <= i.event_at + INTERVAL 30 DAY AND f.event_at >= i.event_at - INTERVAL 10 MINUTE
) TO '{out}/attributed.parquet' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 16384);

COPY (
  SELECT *, count(*) OVER (PARTITION BY rater, date_trunc('hour', feedback_at)) < 103 AS is_valid
  FROM read_parquet('{out}/attributed.parquet')
) TO '{out}/validated.parquet' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 16384);

COPY (
  SELECT v.*,
    lead(feedback_id) OVER (PARTITION BY request_id, rater, feedback_type, name ORDER BY feedback_at, feedback_id) AS superseded_by,
    count(*) OVER (PARTITION BY rater ORDER BY feedback_at RANGE BETWEEN INTERVAL 24 HOUR PRECEDING AND CURRENT ROW) AS rater_events,
    t.turn, hour(inference_at) AS hour_of_day, isodow(inference_at) AS weekday, 1 - exp(logprob) AS uncertainty
  FROM read_parquet('{out}/validated.parquet') v
  LEFT JOIN (
    SELECT request_id, row_number() OVER (PARTITION BY session_id ORDER BY event_at, request_id) AS turn
    FROM read_parquet('{out}/raw_inferences.parquet')
    WHERE session_id IN (SELECT session_id FROM read_parquet('{out}/validated.parquet'))
  ) t USING (request_id)
  WHERE is_valid
) TO '{out}/enriched.parquet' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 16384);

CREATE TABLE votes AS
  SELECT *, CASE feedback_type WHEN 'thumbs' THEN CASE WHEN score_ppm >= 500000 THEN 1 ELSE -1 END
      WHEN 'rating' THEN CASE WHEN score_ppm >= 700000 THEN 1 WHEN score_ppm <= 500000 THEN -1 ELSE 0 END
      ELSE CASE WHEN is_acceptance THEN 1 ELSE -1 END END AS vote,
    CASE feedback_type WHEN 'explicit_correction' THEN 1 WHEN 'rating' THEN 4 ELSE 5 END AS rank
  FROM read_parquet('{out}/enriched.parquet') WHERE superseded_by IS NULL;
CREATE TABLE tally AS
  SELECT request_id, count(*) AS n, count(DISTINCT rater) AS n_raters, sum((vote = 1)::INT) AS good, sum((vote = -1)::INT) AS bad,
    max(feedback_at) AS label_at, list_sort(list(DISTINCT feedback_id)) AS evidence,
    arg_max(feedback_id, feedback_at) FILTER (WHERE feedback_type = 'explicit_correction' AND NOT is_acceptance) AS correction,
    max(uncertainty) AS uncertainty
  FROM votes JOIN (SELECT request_id, min(rank) AS rank FROM votes GROUP BY request_id) USING (request_id, rank)
  GROUP BY request_id;
CREATE TABLE decided AS
  SELECT *, CASE WHEN round(good / n, 2) >= 0.67 THEN 'good' WHEN round(bad / n, 2) >= 0.67 THEN 'bad' END AS outcome FROM tally;

COPY (
  SELECT md5(objective || d.request_id) AS example_id, objective, d.*, i.task, i.model, i.model_version, i.event_at,
    i.session_id, i.user_id, i.segments, i.input_kind, i.input, i.output, i.prompt_hash, i.tools,
    CASE WHEN objective = 'sft' THEN coalesce(c.output, i.output) END AS target,
    CASE WHEN objective = 'preference' THEN c.output END AS chosen,
    CASE WHEN objective = 'preference' THEN i.output END AS rejected,
    hash(i.prompt_hash, lower(trim(regexp_replace(coalesce(c.output, i.output), '\s+', ' ', 'g')))) AS content_hash
  FROM (
    SELECT 'sft' AS objective, * FROM decided WHERE outcome = 'good' OR correction IS NOT NULL
    UNION ALL SELECT 'unpaired', * FROM decided WHERE outcome IS NOT NULL
    UNION ALL SELECT 'preference', * FROM decided WHERE correction IS NOT NULL
  ) d
  JOIN read_parquet('{out}/raw_inferences.parquet') i USING (request_id)
  LEFT JOIN read_parquet('{out}/raw_feedback.parquet') c ON c.feedback_id = d.correction
) TO '{out}/resolved.parquet' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 16384);

COPY (
  SELECT f.feedback_id, f.feedback_type, f.event_at, CASE WHEN u.feedback_id IS NOT NULL THEN 'used' WHEN e.superseded_by IS NOT NULL
      THEN 'superseded' WHEN e.feedback_id IS NOT NULL THEN 'evidence' WHEN v.feedback_id IS NOT NULL THEN 'invalid' ELSE 'expired' END AS state
  FROM read_parquet('{out}/raw_feedback.parquet') f
  LEFT JOIN read_parquet('{out}/validated.parquet') v ON v.feedback_id = f.feedback_id
  LEFT JOIN read_parquet('{out}/enriched.parquet') e ON e.feedback_id = f.feedback_id
  LEFT JOIN (SELECT DISTINCT unnest(evidence) AS feedback_id FROM read_parquet('{out}/resolved.parquet')) u ON u.feedback_id = f.feedback_id
) TO '{out}/events.parquet' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 16384);

COPY (
  SELECT example_id, objective, request_id, content_hash, prompt_hash, event_at, outcome, uncertainty,
    first_value(example_id) OVER (PARTITION BY objective, content_hash ORDER BY event_at, request_id) AS representative,
    count(*) OVER (PARTITION BY objective, content_hash) AS dup_count,
    min(hash(session_id) % 100) OVER (PARTITION BY prompt_hash) AS split_of,
    hash(example_id) / (1 + 9 * coalesce(uncertainty, 0)) AS rank
  FROM read_parquet('{out}/resolved.parquet')
) TO '{out}/candidates.parquet' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 16384);

COPY (
  SELECT r.*, c.dup_count, c.split_of, c.rank, sha256(to_json(r)::VARCHAR) AS row_hash
  FROM read_parquet('{out}/resolved.parquet') r
  JOIN read_parquet('{out}/candidates.parquet') c ON c.example_id = r.example_id
  WHERE c.representative = r.example_id
) TO '{out}/dataset.parquet' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 16384);

COPY (
  SELECT segments, model_version, count(*) AS n, count(l.request_id) AS n_feedback, count(d.request_id) AS n_dataset
  FROM read_parquet('{out}/raw_inferences.parquet') i
  LEFT JOIN (SELECT DISTINCT request_id FROM read_parquet('{out}/attributed.parquet')) l ON l.request_id = i.request_id
  LEFT JOIN (SELECT DISTINCT request_id FROM read_parquet('{out}/dataset.parquet')) d ON d.request_id = i.request_id
  GROUP BY ALL
) TO '{out}/bias.parquet' (FORMAT parquet);
