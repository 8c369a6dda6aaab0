-- Enrichment: what is known around each valid pair. Unit: feedback_id.
-- Everything that reaches beyond the pair is bounded: the target's own judgements, 24 hours of a rater, one session.

-- step: changed
SELECT v.feedback_id, v.target_key, v.rater, v.feedback_type, v.name, v.feedback_at FROM validated_pairs_new AS v
UNION ALL
SELECT v.feedback_id, v.target_key, v.rater, v.feedback_type, v.name, v.feedback_at FROM validated_pairs_old AS v

-- step: changed_spans
-- Per rater, the span of event time after which counts of the last 24 hours may differ.
SELECT c.rater, min(unix_micros(c.feedback_at)) AS from_us, max(unix_micros(c.feedback_at)) + 86400000000 AS to_us
FROM changed AS c WHERE c.rater IS NOT NULL
GROUP BY c.rater, int_div(unix_micros(c.feedback_at), 86400000000)

-- step: touched
SELECT feedback_id FROM changed
UNION
SELECT v.feedback_id FROM validated_pairs AS v
WHERE v.rater IS NOT NULL AND v.target_key IN (SELECT c.target_key FROM changed AS c)
UNION
SELECT v.feedback_id
FROM validated_pairs AS v JOIN changed_spans AS s ON s.rater = v.rater
WHERE unix_micros(v.feedback_at) >= s.from_us AND unix_micros(v.feedback_at) <= s.to_us
UNION
SELECT v.feedback_id FROM validated_pairs AS v
WHERE v.session_id IN (SELECT n.session_id FROM new_inferences AS n WHERE n.session_id IS NOT NULL)

-- step: valid
SELECT v.* FROM validated_pairs AS v
WHERE v.verdict = 'valid' AND v.feedback_id IN (SELECT t.feedback_id FROM touched AS t)

-- step: standing
-- The later judgement of the same rater on the same target replaces the earlier one (a toggled thumb).
SELECT
  j.feedback_id,
  lead(j.feedback_id) OVER (
    PARTITION BY j.target_key, j.rater, j.feedback_type, j.name
    ORDER BY j.feedback_at NULLS LAST, j.feedback_id NULLS LAST
  ) AS superseded_by
FROM (
  SELECT DISTINCT v.feedback_id, v.target_key, v.rater, v.feedback_type, v.name, v.feedback_at
  FROM validated_pairs AS v
  WHERE v.verdict = 'valid' AND v.rater IS NOT NULL
    AND v.feedback_type IN ('thumbs', 'rating', 'label', 'explicit_correction', 'preference_pair', 'ranking')
    AND v.target_key IN (SELECT x.target_key FROM valid AS x)
) AS j

-- step: rater_rows
SELECT DISTINCT v.feedback_id, v.rater, unix_micros(v.feedback_at) AS at_us
FROM validated_pairs AS v
WHERE v.rater IN (SELECT x.rater FROM valid AS x WHERE x.rater IS NOT NULL)

-- step: rater_history
SELECT
  r.feedback_id,
  -- lint: allow order_by_tie: events at one instant count alike
  count(*) OVER (PARTITION BY r.rater ORDER BY r.at_us NULLS LAST RANGE BETWEEN 86400000000 PRECEDING AND 1 PRECEDING) AS n
FROM rater_rows AS r

-- step: turn_span
-- Only turns within the attribution window before a judged one count, so that old files need not be read.
SELECT
  coalesce(min(unix_micros(x.inference_at)), 0) - @window AS from_us, coalesce(max(unix_micros(x.inference_at)), 0) AS to_us
FROM valid AS x WHERE x.session_id IS NOT NULL

-- step: turns
SELECT
  i.request_id,
  1 + count(*) OVER (
    PARTITION BY i.session_id
    -- lint: allow order_by_tie: turns at one instant count alike
    ORDER BY unix_micros(i.event_at) NULLS LAST RANGE BETWEEN @window PRECEDING AND 1 PRECEDING
  ) AS turn
FROM inferences AS i
WHERE i.session_id IN (SELECT x.session_id FROM valid AS x WHERE x.session_id IS NOT NULL)
  AND i.event_at >= timestamp_micros((SELECT s.from_us FROM turn_span AS s))
  AND i.event_at <= timestamp_micros((SELECT s.to_us FROM turn_span AS s))

-- step: uncertainties
-- Batch: from what the model logged.
SELECT DISTINCT v.probabilities, v.confidence, v.logprob FROM valid AS v

-- view: body
SELECT
  v.pair_id, v.feedback_id, v.request_id, v.target_kind, v.target_key, v.status, v.reason, v.by_feedback_id, v.flags, v.deadline_at, v.weight_ppm,
  v.feedback_type, v.name, v.rater, v.source_kind, v.source_client, v.can_review, v.feedback_at, v.inference_at,
  v.delay_ms, v.score_ppm, v.label, v.given_verdict, v.output_hash, v.output_chars, v.is_acceptance,
  v.subject_feedback_id, v.chosen_request_id, v.rejected_request_id, v.is_tie, v.signal, v.number, v.model,
  v.model_version, v.session_id, v.training_allowed, v.confidence, v.logprob, v.probabilities,
  v.verdict, v.reasons, v.decided_by, v.trust_ppm, v.review_until,
  s.superseded_by IS NULL AS is_current,
  s.superseded_by,
  int_div(unix_micros(v.inference_at), 3600000000) % 24 AS hour_of_day,
  (int_div(unix_micros(v.inference_at), 86400000000) + 3) % 7 + 1 AS weekday,
  t.turn AS session_turn,
  u.uncertainty_ppm, u.uncertainty_source, u.entropy_ppm,
  coalesce(h.n, 0) AS rater_events_24h
FROM valid AS v
LEFT JOIN standing AS s ON s.feedback_id = v.feedback_id
LEFT JOIN rater_history AS h ON h.feedback_id = v.feedback_id
LEFT JOIN turns AS t ON t.request_id = v.request_id
LEFT JOIN uncertainties AS u
  ON u.probabilities IS NOT DISTINCT FROM v.probabilities
  AND u.confidence IS NOT DISTINCT FROM v.confidence
  AND u.logprob IS NOT DISTINCT FROM v.logprob
