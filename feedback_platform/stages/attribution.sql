-- Attribution: which inference does a piece of feedback judge? Unit: feedback_id.
-- Foreign feedback (its target is outside the dataset) has no row here; the ledger counts it from the raw tables.

-- step: waiting
-- Feedback that still lacks a request it names. `expired` waits too: the state follows the prefix, not the past.
SELECT f.feedback_id, explode(f.request_ids) AS request_id
FROM feedback AS f
WHERE f.feedback_id IN (
  SELECT p.feedback_id FROM attributed_pairs_before AS p WHERE p.request_id IS NULL OR p.status IN ('pending', 'expired')
)

-- step: touched_directly
SELECT feedback_id FROM new_feedback
UNION
SELECT w.feedback_id FROM waiting AS w WHERE w.request_id IN (SELECT n.request_id FROM new_inferences AS n)
UNION
SELECT f.feedback_id FROM feedback AS f
WHERE f.target_session_id IN (SELECT n.session_id FROM new_inferences AS n WHERE n.session_id IS NOT NULL)
UNION
SELECT p.feedback_id FROM attributed_pairs_before AS p
WHERE p.status = 'pending' AND unix_micros(p.deadline_at) <= @watermark

-- step: about
-- Who speaks about whom: retractions and adjudications name a subject.
SELECT f.feedback_id, f.subject_feedback_id, f.feedback_type, f.rater, f.can_review
FROM feedback AS f WHERE f.subject_feedback_id IS NOT NULL

-- step: touched_around
-- One hop up (the subject of a touched event) and one hop down (events about a touched one).
SELECT feedback_id FROM touched_directly
UNION
SELECT a.subject_feedback_id FROM about AS a WHERE a.feedback_id IN (SELECT t.feedback_id FROM touched_directly AS t)
UNION
SELECT a.feedback_id FROM about AS a WHERE a.subject_feedback_id IN (SELECT t.feedback_id FROM touched_directly AS t)

-- step: touched
SELECT feedback_id FROM touched_around
UNION
SELECT a.feedback_id FROM about AS a WHERE a.subject_feedback_id IN (SELECT t.feedback_id FROM touched_around AS t)

-- step: subjects
-- Targets of the events that touched ones are about, through at most two hops (a retraction of an adjudication).
SELECT s.feedback_id, s.feedback_type, s.event_at, s.rater, s.subject_feedback_id, s.target_request_id, s.target_session_id
FROM feedback AS s
WHERE s.feedback_id IN (SELECT a.subject_feedback_id FROM about AS a)

-- step: asked
-- The touched feedback with the target that it has itself or borrows from its subject.
SELECT
  f.feedback_id, f.feedback_type, f.name, f.event_at, f.rater, f.source_kind, f.source_client, f.can_review,
  f.score_ppm, f.label, f.verdict, f.output_hash, CASE WHEN f.output IN ('""', '{}', '[]', 'null') THEN 0 ELSE length(f.output) END AS output_chars, f.subject_feedback_id,
  f.chosen_request_id, f.rejected_request_id, f.is_tie, f.signal, f.number, f.model_version AS believed_version,
  f.is_future, f.request_ids, f.target_kind, f.target_part_id, f.target_keys,
  -- From when the window counts: a ruling or retraction inherits its subject's time, and rulings come late by nature.
  least(
    unix_micros(f.event_at) - CASE WHEN f.feedback_type = 'adjudication' THEN @review_expire ELSE 0 END,
    coalesce(unix_micros(s.event_at), unix_micros(f.event_at)), coalesce(unix_micros(r.event_at), unix_micros(f.event_at))
  ) AS anchor_us,
  s.feedback_id AS subject_found, s.feedback_type AS subject_type, s.rater AS subject_rater,
  coalesce(f.target_request_id, s.target_request_id, r.target_request_id) AS asked_request_id,
  coalesce(f.target_session_id, s.target_session_id, r.target_session_id) AS asked_session_id
FROM feedback AS f
LEFT JOIN subjects AS s ON s.feedback_id = f.subject_feedback_id
LEFT JOIN subjects AS r ON r.feedback_id = s.subject_feedback_id
WHERE f.feedback_id IN (SELECT t.feedback_id FROM touched AS t)

-- step: named
SELECT a.feedback_id, a.anchor_us, a.asked_request_id AS request_id FROM asked AS a WHERE a.asked_request_id IS NOT NULL
UNION
SELECT e.feedback_id, e.anchor_us, e.request_id
FROM (SELECT a.feedback_id, a.anchor_us, explode(a.request_ids) AS request_id FROM asked AS a) AS e

-- step: scan_from
-- No inference older than this can matter to what is touched: lets the scan skip old files.
SELECT coalesce(min(a.anchor_us), 0) - @window - @skew AS us FROM asked AS a

-- step: seen
-- Narrow columns of the inferences that touched feedback names or whose session it judges.
SELECT
  i.request_id, i.session_id, i.event_at, i.is_selected, i.training_allowed, i.is_future, i.model, i.model_version,
  i.output_hash, i.confidence, i.logprob, i.probabilities
FROM inferences AS i
WHERE i.event_at >= timestamp_micros((SELECT s.us FROM scan_from AS s))
  AND (
    i.request_id IN (SELECT n.request_id FROM named AS n)
    OR i.session_id IN (SELECT a.asked_session_id FROM asked AS a WHERE a.asked_session_id IS NOT NULL)
  )

-- step: met
-- How many of the requests that a feedback event names have arrived within the window around it.
SELECT
  n.feedback_id, count(*) AS n_named,
  sum(CASE WHEN unix_micros(s.event_at) >= n.anchor_us - @window - @skew THEN 1 ELSE 0 END) AS n_seen
FROM named AS n LEFT JOIN seen AS s ON s.request_id = n.request_id
GROUP BY n.feedback_id

-- step: turns
-- A session target meets the selected turns up to the feedback, the last one first.
SELECT
  a.feedback_id, s.request_id,
  row_number() OVER (
    PARTITION BY a.feedback_id ORDER BY s.event_at DESC NULLS LAST, s.request_id DESC NULLS LAST
  ) AS from_last,
  count(*) OVER (PARTITION BY a.feedback_id) AS n_turns
FROM asked AS a
JOIN seen AS s ON s.session_id = a.asked_session_id
WHERE a.asked_request_id IS NULL
  AND s.is_selected
  AND unix_micros(s.event_at) <= unix_micros(a.event_at) + @skew
  AND unix_micros(s.event_at) >= a.anchor_us - @window - @skew

-- step: weighted_turns
-- Whole millionths that sum to 1,000,000: the last turn carries what rounding leaves.
SELECT
  t.feedback_id, t.request_id,
  CASE
    WHEN @session_rule = 'last_turn' THEN CASE WHEN t.from_last = 1 THEN 1000000 ELSE 0 END
    WHEN @session_rule = 'uniform' THEN
      int_div(1000000, t.n_turns) + CASE WHEN t.from_last = 1 THEN 1000000 - t.n_turns * int_div(1000000, t.n_turns) ELSE 0 END
    WHEN t.from_last = 1 THEN 1000000 - t.older
    ELSE t.own
  END AS weight_ppm
FROM (
  SELECT
    u.feedback_id, u.request_id, u.from_last, u.n_turns,
    CASE WHEN u.from_last <= 20 THEN shiftright(1000000, to_int(u.from_last)) ELSE 0 END AS own,
    to_int(sum(CASE WHEN u.from_last BETWEEN 2 AND 20 THEN shiftright(1000000, to_int(u.from_last)) ELSE 0 END)
      OVER (PARTITION BY u.feedback_id)) AS older
  FROM turns AS u
) AS t

-- step: foreign_sessions
-- Session feedback whose turns have all arrived outside the dataset.
SELECT a.feedback_id
FROM asked AS a JOIN seen AS s ON s.session_id = a.asked_session_id
WHERE a.asked_request_id IS NULL
  AND unix_micros(s.event_at) <= unix_micros(a.event_at) + @skew
  AND unix_micros(s.event_at) >= a.anchor_us - @window - @skew
GROUP BY a.feedback_id
HAVING sum(CASE WHEN s.is_selected THEN 1 ELSE 0 END) = 0

-- step: retractions
-- The effective retraction of each touched event: by the same rater, or with the review scope.
SELECT a.subject_feedback_id AS feedback_id, min(a.feedback_id) AS by_feedback_id
FROM about AS a
JOIN asked AS f ON f.feedback_id = a.subject_feedback_id
WHERE a.feedback_type = 'retraction' AND f.feedback_type <> 'retraction' AND (a.can_review OR a.rater = f.rater)
GROUP BY a.subject_feedback_id

-- view: matched
-- Every touched event beside each inference it judges (none while it waits).
SELECT a.feedback_id, a.asked_request_id AS request_id, 1000000 AS weight_ppm
FROM asked AS a WHERE a.asked_request_id IS NOT NULL
UNION ALL
SELECT w.feedback_id, w.request_id, w.weight_ppm FROM weighted_turns AS w WHERE w.weight_ppm > 0
UNION ALL
SELECT a.feedback_id, null_text() AS request_id, 1000000 AS weight_ppm
FROM asked AS a
WHERE a.asked_request_id IS NULL AND a.feedback_id NOT IN (SELECT w.feedback_id FROM weighted_turns AS w)

-- view: judged
SELECT
  a.*,
  m.weight_ppm, s.request_id AS found_request_id, s.event_at AS inference_at, s.is_selected, s.training_allowed,
  s.is_future AS inference_is_future, s.model, s.model_version, s.session_id, s.confidence, s.logprob, s.probabilities,
  s.output_hash AS given_hash, r.by_feedback_id,
  unix_micros(a.event_at) + @window AS deadline_us,
  CASE
    WHEN a.feedback_type = 'retraction' AND a.subject_found IS NULL THEN 'waits'
    WHEN a.feedback_type = 'retraction' AND a.subject_type = 'retraction' THEN 'cannot_retract_a_retraction'
    WHEN a.feedback_type = 'retraction' AND NOT (a.can_review OR coalesce(a.rater = a.subject_rater, false))
      THEN 'not_the_same_rater'
    WHEN a.feedback_type = 'retraction' AND s.request_id IS NOT NULL THEN 'applies'
    WHEN s.request_id IS NULL OR coalesce(x.n_seen, 0) < coalesce(x.n_named, 0) THEN 'waits'
    WHEN a.subject_feedback_id IS NOT NULL AND a.subject_found IS NULL THEN 'waits'
    WHEN unix_micros(a.event_at) < unix_micros(s.event_at) - @skew THEN 'precedes_inference'
    WHEN a.feedback_type = 'adjudication' AND NOT a.can_review THEN 'needs_review_scope'
    WHEN @version_mismatch = 'refuse' AND a.believed_version <> s.model_version THEN 'model_version_mismatch'
    ELSE 'meets'
  END AS outcome
FROM asked AS a
JOIN matched AS m ON m.feedback_id = a.feedback_id
LEFT JOIN seen AS s ON s.request_id = m.request_id AND unix_micros(s.event_at) >= a.anchor_us - @window - @skew
LEFT JOIN met AS x ON x.feedback_id = a.feedback_id
LEFT JOIN retractions AS r ON r.feedback_id = a.feedback_id

-- view: decided
SELECT
  j.*,
  CASE
    WHEN j.by_feedback_id IS NOT NULL THEN 'retracted'
    WHEN j.outcome = 'waits' AND j.deadline_us <= @watermark THEN 'expired'
    WHEN j.outcome = 'waits' THEN 'pending'
    WHEN j.outcome IN ('cannot_retract_a_retraction', 'not_the_same_rater') THEN 'no_effect'
    WHEN j.outcome = 'applies' THEN 'applied'
    WHEN j.outcome IN ('precedes_inference', 'needs_review_scope', 'model_version_mismatch') THEN 'refused'
    ELSE 'attributed'
  END AS status
FROM judged AS j
WHERE coalesce(j.is_selected, true)
  AND j.feedback_id NOT IN (SELECT f.feedback_id FROM foreign_sessions AS f)

-- view: body
SELECT
  CASE WHEN d.found_request_id IS NULL THEN d.feedback_id ELSE concat(d.feedback_id, '|', d.found_request_id) END AS pair_id,
  d.feedback_id,
  d.found_request_id AS request_id,
  d.target_kind,
  CASE
    WHEN d.asked_request_id IS NOT NULL THEN concat('r:', d.asked_request_id, '/', d.target_kind, ':', coalesce(d.target_part_id, ''))
    WHEN d.asked_session_id IS NOT NULL THEN concat('s:', d.asked_session_id)
    ELSE concat('k:', coalesce(d.target_keys, d.feedback_id))
  END AS target_key,
  d.status,
  CASE
    WHEN d.status = 'attributed' OR d.status = 'applied' THEN null_text()
    WHEN d.status = 'retracted' THEN 'retracted'
    WHEN d.status = 'expired' THEN CASE
      WHEN d.subject_feedback_id IS NOT NULL AND d.subject_found IS NULL THEN 'no_subject_in_window'
      ELSE 'no_inference_in_window' END
    WHEN d.status = 'pending' THEN CASE
      WHEN d.subject_feedback_id IS NOT NULL AND d.subject_found IS NULL THEN 'waiting_for_feedback'
      WHEN d.target_kind = 'keys' THEN 'waiting_for_keys'
      ELSE 'waiting_for_inference' END
    ELSE d.outcome
  END AS reason,
  d.by_feedback_id,
  concat_ws(',',
    CASE WHEN d.is_future THEN 'future_timestamp' END,
    CASE WHEN d.inference_is_future THEN 'inference_future_timestamp' END,
    CASE WHEN d.believed_version <> d.model_version THEN 'version_mismatch' END,
    CASE WHEN unix_micros(d.event_at) < unix_micros(d.inference_at) THEN 'within_clock_skew' END
  ) AS flags,
  CASE WHEN d.status = 'pending' THEN timestamp_micros(d.deadline_us) ELSE null_time() END AS deadline_at,
  to_int(d.weight_ppm) AS weight_ppm,
  d.feedback_type, d.name, d.rater, d.source_kind, d.source_client, d.can_review,
  d.event_at AS feedback_at, d.inference_at,
  int_div(unix_micros(d.event_at) - unix_micros(d.inference_at), 1000) AS delay_ms,
  d.score_ppm, d.label, d.verdict AS given_verdict, d.output_hash, to_int(d.output_chars) AS output_chars,
  d.output_hash = d.given_hash AS is_acceptance,
  d.subject_feedback_id, d.chosen_request_id, d.rejected_request_id, d.is_tie, d.signal, d.number,
  d.model, d.model_version, d.session_id, d.training_allowed, d.confidence, d.logprob, d.probabilities
FROM decided AS d
