-- Lifecycle: where each feedback event of the dataset ended. Unit: feedback_id; first match in the order of law 2.

-- step: changed_requests
SELECT r.request_id, r.evidence FROM resolved_examples_new AS r
UNION ALL
SELECT r.request_id, r.evidence FROM resolved_examples_old AS r

-- step: touched
SELECT p.feedback_id FROM attributed_pairs_new AS p
UNION SELECT p.feedback_id FROM attributed_pairs_old AS p
UNION SELECT v.feedback_id FROM validated_pairs_new AS v
UNION SELECT v.feedback_id FROM validated_pairs_old AS v
UNION SELECT e.feedback_id FROM enriched_records_new AS e
UNION SELECT e.feedback_id FROM enriched_records_old AS e
UNION SELECT x.feedback_id FROM (SELECT explode(c.evidence) AS feedback_id FROM changed_requests AS c) AS x
UNION SELECT p.feedback_id FROM attributed_pairs AS p WHERE p.request_id IN (SELECT c.request_id FROM changed_requests AS c)

-- step: pairs
SELECT p.feedback_id, p.feedback_type, p.feedback_at, p.request_id, p.status, p.reason, p.pair_id,
  p.subject_feedback_id, p.training_allowed
FROM attributed_pairs AS p
WHERE p.feedback_id IN (SELECT t.feedback_id FROM touched AS t)

-- step: used
SELECT DISTINCT x.feedback_id
FROM (
  SELECT explode(r.evidence) AS feedback_id FROM resolved_examples AS r
  WHERE r.state = 'resolved' AND r.request_id IN (SELECT p.request_id FROM pairs AS p)
) AS x

-- view: pair_states
SELECT
  p.*,
  CASE
    WHEN p.status <> 'attributed' THEN p.status
    WHEN v.verdict = 'invalid' THEN 'invalid'
    WHEN v.verdict = 'requires_human_review' THEN 'in_review'
    WHEN NOT e.is_current THEN 'superseded'
    WHEN p.feedback_type = 'adjudication' AND p.subject_feedback_id IS NOT NULL THEN 'applied'
    WHEN u.feedback_id IS NOT NULL THEN 'used'
    ELSE 'evidence'
  END AS state,
  CASE
    WHEN p.status <> 'attributed' THEN p.reason
    WHEN v.verdict <> 'valid' THEN v.reasons
    WHEN NOT e.is_current THEN 'later_judgement_of_the_same_rater'
    WHEN p.feedback_type = 'adjudication' AND p.subject_feedback_id IS NOT NULL THEN null_text()
    WHEN u.feedback_id IS NOT NULL THEN null_text()
    WHEN NOT p.training_allowed THEN 'training_not_allowed'
    ELSE 'counted_not_a_label'
  END AS why
FROM pairs AS p
LEFT JOIN validated_pairs AS v ON v.pair_id = p.pair_id
LEFT JOIN enriched_records AS e ON e.pair_id = p.pair_id
LEFT JOIN used AS u ON u.feedback_id = p.feedback_id

-- view: ranked
-- A session judgement has one state: that of its luckiest pair.
SELECT
  s.*,
  count(*) OVER (PARTITION BY s.feedback_id) AS n,
  row_number() OVER (
    PARTITION BY s.feedback_id
    ORDER BY
      CASE s.state
        WHEN 'used' THEN 0 WHEN 'applied' THEN 1 WHEN 'evidence' THEN 2 WHEN 'superseded' THEN 3 WHEN 'in_review' THEN 4
        WHEN 'invalid' THEN 5 ELSE 6 END NULLS LAST,
      s.pair_id NULLS LAST
  ) AS nth
FROM pair_states AS s

-- view: body
SELECT r.feedback_id, r.feedback_type, r.feedback_at, r.request_id, r.state, r.why AS reason,
  CASE WHEN r.request_id IS NULL THEN 0 ELSE r.n END AS n_pairs
FROM ranked AS r WHERE r.nth = 1
