-- The dataset: candidates up to their stratum's threshold, with payload. Unit: example_id.

-- step: moved
-- Strata whose threshold moved in this window, with the span of ranks that changed sides.
SELECT n.objective, n.stratum, n.arm,
  least(n.threshold, coalesce(o.threshold, 0)) AS low, greatest(n.threshold, coalesce(o.threshold, 0)) AS high
FROM sampling_thresholds_new AS n
LEFT JOIN sampling_thresholds_old AS o ON o.cell = n.cell
WHERE o.threshold IS NULL OR o.threshold <> n.threshold

-- step: touched
SELECT c.example_id FROM candidate_examples_new AS c
UNION SELECT c.example_id FROM candidate_examples_old AS c
UNION SELECT r.example_id FROM resolved_examples_new AS r
UNION SELECT r.example_id FROM resolved_examples_old AS r
UNION
SELECT c.example_id FROM candidate_examples AS c
JOIN moved AS m ON m.objective = c.objective AND m.stratum = c.stratum AND m.arm = c.arm
WHERE c.sampling_rank >= m.low AND c.sampling_rank <= m.high

-- step: drawn
SELECT c.*
FROM candidate_examples AS c
LEFT JOIN sampling_thresholds AS t ON t.objective = c.objective AND t.stratum = c.stratum AND t.arm = c.arm
WHERE c.state = 'candidate'
  AND (c.sampling_rank <= coalesce(t.threshold, -1) OR c.example_id IN (SELECT b.example_id FROM sampled_dataset_before AS b WHERE @per_version = 1))
  AND c.example_id IN (SELECT x.example_id FROM touched AS x)

-- view: reasons
-- Why a touched example is not (or no longer) in the dataset.
SELECT
  t.example_id,
  CASE
    WHEN r.example_id IS NULL THEN 'no_feedback_left'
    WHEN r.state <> 'resolved' THEN coalesce(r.reason, r.state)
    WHEN c.state <> 'candidate' THEN coalesce(c.reason, c.state)
    ELSE 'sampled_out'
  END AS reason
FROM touched AS t
LEFT JOIN resolved_examples AS r ON r.example_id = t.example_id
LEFT JOIN candidate_examples AS c ON c.example_id = t.example_id

-- view: body
-- Batch: the hash of each row; read once.
SELECT
  r.example_id, r.objective, r.unit, r.unit_key, r.criterion, r.request_id, r.chosen_request_id, r.rejected_request_id,
  r.task, r.model, r.model_version, r.variant, r.event_at, r.label_at, r.session_id, r.user_id, r.segments,
  r.input_kind, r.input, r.output, r.target, r.chosen, r.rejected, r.tools, r.label_kind, r.label,
  r.label_confidence_ppm, r.label_source, r.rule_id, r.n_raters, r.agreement_ppm, r.evidence, r.pair_source,
  r.edit_ratio_ppm, r.uncertainty_ppm,
  d.cluster_id, d.group_id, d.dup_count, d.split, d.stratum, d.arm, d.weight_ppm, d.sampling_rank
FROM resolved_examples AS r
JOIN drawn AS d ON d.example_id = r.example_id
WHERE r.state = 'resolved' AND r.example_id IN (SELECT t.example_id FROM touched AS t)
