-- Validation: may this pair be used, and if not, why? Unit: feedback_id; bursts are counted per rater and clock hour.

-- step: changed
SELECT p.feedback_id, p.rater, int_div(unix_micros(p.feedback_at), 3600000000) AS hour, p.subject_feedback_id
FROM attributed_pairs_new AS p
UNION ALL
SELECT p.feedback_id, p.rater, int_div(unix_micros(p.feedback_at), 3600000000) AS hour, p.subject_feedback_id
FROM attributed_pairs_old AS p

-- step: touched
SELECT feedback_id FROM changed
UNION
SELECT c.subject_feedback_id AS feedback_id FROM changed AS c WHERE c.subject_feedback_id IS NOT NULL
UNION -- a ruling on a ruling reaches what the latter is about
SELECT p.subject_feedback_id FROM attributed_pairs AS p
WHERE p.subject_feedback_id IS NOT NULL AND p.feedback_id IN (SELECT c.subject_feedback_id FROM changed AS c)
UNION
SELECT p.feedback_id FROM attributed_pairs AS p
WHERE p.rater IS NOT NULL
  AND (p.rater, int_div(unix_micros(p.feedback_at), 3600000000)) IN (SELECT (c.rater, c.hour) FROM changed AS c)
UNION
SELECT v.feedback_id FROM validated_pairs_before AS v
WHERE v.verdict = 'requires_human_review' AND unix_micros(v.review_until) <= @watermark

-- view: countable
-- What counts towards a burst, and what a burst makes doubtful: judgements of people whose client is not exempt.
SELECT p.pair_id, p.feedback_id, p.rater, int_div(unix_micros(p.feedback_at), 3600000000) AS hour
FROM attributed_pairs AS p
WHERE p.status = 'attributed' AND p.source_kind = 'human' AND p.rater IS NOT NULL
  AND p.feedback_type IN ('thumbs', 'rating', 'label', 'explicit_correction', 'preference_pair', 'ranking')
  AND coalesce(p.source_client, '') NOT IN (SELECT e.client FROM burst_exempt AS e)

-- step: bursts
-- Judgements of one human in one clock hour of event time; a session judgement counts once.
SELECT b.rater, b.hour, count(DISTINCT b.feedback_id) AS n
FROM countable AS b
GROUP BY b.rater, b.hour
HAVING count(DISTINCT b.feedback_id) >= @burst_count

-- view: adjudications
SELECT a.feedback_id AS ruling_id, a.subject_feedback_id AS feedback_id, a.given_verdict, a.feedback_at
FROM attributed_pairs AS a
WHERE a.feedback_type = 'adjudication' AND a.status = 'attributed' AND a.subject_feedback_id IS NOT NULL

-- step: overruled
-- Rulings that a later ruling on them calls invalid.
SELECT r.feedback_id
FROM (
  SELECT
    x.feedback_id, x.given_verdict,
    -- unique: ruling_id
    row_number() OVER (PARTITION BY x.feedback_id ORDER BY x.feedback_at DESC NULLS LAST, x.ruling_id DESC NULLS LAST) AS nth
  FROM adjudications AS x
  WHERE x.feedback_id IN (SELECT y.ruling_id FROM adjudications AS y)
) AS r
WHERE r.nth = 1 AND r.given_verdict = 'invalid'

-- step: rulings
-- The latest adjudication of each piece of feedback that stands.
SELECT r.feedback_id, r.given_verdict
FROM (
  SELECT
    x.feedback_id, x.given_verdict,
    -- unique: ruling_id
    row_number() OVER (PARTITION BY x.feedback_id ORDER BY x.feedback_at DESC NULLS LAST, x.ruling_id DESC NULLS LAST) AS nth
  FROM adjudications AS x
  WHERE x.ruling_id NOT IN (SELECT o.feedback_id FROM overruled AS o)
) AS r
WHERE r.nth = 1

-- view: doubts
SELECT
  p.*,
  g.given_verdict AS ruling,
  concat_ws(',',
    CASE WHEN p.feedback_type = 'explicit_correction' AND p.output_chars = 0 THEN 'empty_correction' END,
    CASE WHEN p.label IS NOT NULL AND @has_classes = 1 AND p.label NOT IN (SELECT c.label FROM classes AS c)
      THEN 'unknown_class' END
  ) AS faults,
  concat_ws(',',
    CASE WHEN b.n IS NOT NULL THEN 'rater_burst' END,
    CASE WHEN p.flags LIKE '%future_timestamp%' THEN 'future_timestamp' END
  ) AS doubts,
  unix_micros(p.feedback_at) + @review_expire AS review_us
FROM attributed_pairs AS p
LEFT JOIN countable AS k ON k.pair_id = p.pair_id
LEFT JOIN bursts AS b ON b.rater = k.rater AND b.hour = k.hour
LEFT JOIN rulings AS g ON g.feedback_id = p.feedback_id
WHERE p.status = 'attributed' AND p.feedback_id IN (SELECT t.feedback_id FROM touched AS t)

-- view: ruled
SELECT
  d.*,
  CASE
    WHEN d.ruling IS NOT NULL THEN d.ruling
    WHEN d.faults <> '' THEN 'invalid'
    WHEN d.doubts = '' OR @action = 'flag' THEN 'valid'
    WHEN @action = 'reject' THEN 'invalid'
    WHEN d.review_us <= @watermark THEN 'invalid'
    ELSE 'requires_human_review'
  END AS verdict
FROM doubts AS d

-- view: body
SELECT
  r.pair_id, r.feedback_id, r.request_id, r.target_kind, r.target_key, r.status, r.reason, r.by_feedback_id, r.flags, r.deadline_at, r.weight_ppm,
  r.feedback_type, r.name, r.rater, r.source_kind, r.source_client, r.can_review, r.feedback_at, r.inference_at,
  r.delay_ms, r.score_ppm, r.label, r.given_verdict, r.output_hash, r.output_chars, r.is_acceptance,
  r.subject_feedback_id, r.chosen_request_id, r.rejected_request_id, r.is_tie, r.signal, r.number, r.model,
  r.model_version, r.session_id, r.training_allowed, r.confidence, r.logprob, r.probabilities,
  r.verdict,
  concat_ws(',',
    CASE WHEN r.ruling IS NOT NULL THEN concat('adjudicated_', r.ruling) END,
    CASE WHEN r.faults <> '' THEN r.faults END,
    CASE WHEN r.doubts <> '' THEN r.doubts END,
    CASE WHEN r.verdict = 'invalid' AND r.ruling IS NULL AND r.faults = '' AND @action = 'review' THEN 'review_expired' END
  ) AS reasons,
  CASE WHEN r.ruling IS NOT NULL THEN 'adjudication' ELSE 'rule' END AS decided_by,
  CASE WHEN r.doubts <> '' AND r.ruling IS NULL THEN 500000 ELSE 1000000 END AS trust_ppm,
  CASE WHEN r.verdict = 'requires_human_review' THEN timestamp_micros(r.review_us) ELSE null_time() END AS review_until
FROM ruled AS r
