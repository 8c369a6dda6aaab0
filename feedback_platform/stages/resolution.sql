-- Resolution: several signals on one inference become one label per objective and criterion, or a reason why none.
-- Unit: request_id (the inference judged); pairs belong to the request that the feedback targets.

-- step: touched
SELECT v.request_id FROM validated_pairs_new AS v
UNION
SELECT v.request_id FROM validated_pairs_old AS v
UNION
SELECT e.request_id FROM enriched_records_new AS e
UNION
SELECT e.request_id FROM enriched_records_old AS e
UNION
SELECT x.request_id FROM resolved_examples_before AS x
WHERE (x.state = 'immature' AND unix_micros(x.mature_at) <= @watermark)
  OR (x.state = 'in_review' AND x.reason = 'disagreement' AND unix_micros(x.label_at) + @review_expire <= @watermark)

-- step: signals
-- Current judgements on touched requests, their kind ranked by the policy's precedence.
SELECT
  e.request_id, e.name AS criterion, e.pair_id, e.feedback_id, coalesce(e.rater, e.feedback_id) AS voter,
  e.feedback_at, k.kind, k.rank, e.label, e.given_verdict, e.output_hash, e.is_acceptance,
  e.chosen_request_id, e.rejected_request_id, e.is_tie,
  int_div(e.trust_ppm * e.weight_ppm, 1000000) AS trust_ppm,
  CASE WHEN s.better = 'lower' THEN 1000000 - e.score_ppm ELSE e.score_ppm END AS score_ppm
FROM enriched_records AS e
JOIN precedence AS k ON k.feedback_type = e.feedback_type
LEFT JOIN signal_rules AS s ON s.name = e.name
WHERE e.is_current
  AND e.subject_feedback_id IS NULL
  AND coalesce(s.role, 'label') = 'label'
  AND e.target_kind IN ('request', 'session') -- an item, a step or a chunk is not the whole answer
  AND e.request_id IN (SELECT t.request_id FROM touched AS t)

-- step: settled
-- The latest adjudication of the target itself wins over everything.
SELECT a.request_id, a.criterion, a.pair_id, a.given_verdict, a.label, a.output_hash, a.is_acceptance
FROM (
  SELECT
    s.*,
    row_number() OVER (
      PARTITION BY s.request_id, s.criterion ORDER BY s.feedback_at DESC NULLS LAST, s.pair_id DESC NULLS LAST
    ) AS nth
  FROM signals AS s WHERE s.kind = 'adjudication'
) AS a
WHERE a.nth = 1

-- step: votes
-- Each signal as a vote for (1), against (-1) or neither (0) of the output that was given.
SELECT
  s.*,
  CASE
    WHEN s.kind = 'thumbs' THEN CASE WHEN s.score_ppm >= 500000 THEN 1 ELSE -1 END
    WHEN s.kind = 'rating' THEN CASE WHEN s.score_ppm >= @rating_good THEN 1 WHEN s.score_ppm <= @rating_bad THEN -1 ELSE 0 END
    WHEN s.kind = 'explicit_correction' THEN CASE WHEN s.is_acceptance THEN 1 ELSE -1 END
    WHEN s.kind = 'adjudication' AND s.given_verdict = 'invalid' THEN 0
    WHEN s.kind = 'adjudication' AND s.output_hash IS NOT NULL THEN CASE WHEN s.is_acceptance THEN 1 ELSE -1 END
    WHEN s.kind = 'adjudication' AND s.label IS NULL THEN 1
  END AS vote
FROM signals AS s
WHERE s.kind <> 'adjudication' OR s.pair_id IN (SELECT x.pair_id FROM settled AS x)

-- step: top
-- Only the highest kind of signal present speaks; the rest is evidence.
SELECT v.request_id, v.criterion, min(v.rank) AS rank
FROM votes AS v WHERE v.vote IS NOT NULL
GROUP BY v.request_id, v.criterion

-- step: tally
SELECT
  v.request_id, v.criterion, min(v.kind) AS kind,
  count(*) AS n,
  count(DISTINCT v.voter) AS n_raters,
  to_int(sum(CASE WHEN v.vote = 1 THEN 1 ELSE 0 END)) AS n_good,
  to_int(sum(CASE WHEN v.vote = -1 THEN 1 ELSE 0 END)) AS n_bad,
  int_div(to_int(sum(v.trust_ppm)), count(*)) AS trust_ppm,
  max(v.feedback_at) AS label_at,
  sort_array(collect_set(v.feedback_id)) AS evidence
FROM votes AS v
JOIN top AS t ON t.request_id = v.request_id AND t.criterion = v.criterion AND t.rank = v.rank
WHERE v.vote IS NOT NULL
GROUP BY v.request_id, v.criterion

-- step: verdicts
-- Good, bad or why neither; shares are compared in whole per cent, rounded half up (two in three is 67).
SELECT
  t.*,
  x.given_verdict,
  CASE
    WHEN x.given_verdict = 'invalid' THEN 'adjudicated_invalid'
    WHEN int_div(200 * t.n_good + t.n, 2 * t.n) >= @agreement AND t.n_good > t.n_bad THEN 'good'
    WHEN int_div(200 * t.n_bad + t.n, 2 * t.n) >= @agreement AND t.n_bad > t.n_good THEN 'bad'
    WHEN t.n_good + t.n_bad = 0 THEN 'no_clear_verdict'
    WHEN t.n_raters = 1 THEN 'no_clear_verdict'
    ELSE 'disagreement'
  END AS outcome,
  int_div(1000000 * CASE WHEN t.n_good > t.n_bad THEN t.n_good ELSE t.n_bad END, t.n) AS agreement_ppm
FROM tally AS t
LEFT JOIN settled AS x ON x.request_id = t.request_id AND x.criterion = t.criterion AND t.kind = 'adjudication'

-- step: top_correction
-- A correction is a target whatever kind decides the verdict; only an adjudication outranks it.
SELECT v.request_id, v.criterion, min(v.rank) AS rank
FROM votes AS v
WHERE v.vote IS NOT NULL AND (v.kind = 'adjudication' OR (v.kind = 'explicit_correction' AND v.output_hash IS NOT NULL))
GROUP BY v.request_id, v.criterion

-- step: corrections
-- Distinct corrected outputs, the best supported first, then the latest.
SELECT
  c.*,
  row_number() OVER (
    PARTITION BY c.request_id, c.criterion
    ORDER BY c.n DESC NULLS LAST, c.label_at DESC NULLS LAST, c.feedback_id DESC NULLS LAST
  ) AS nth,
  to_int(sum(c.n) OVER (PARTITION BY c.request_id, c.criterion)) AS n_all
FROM (
  SELECT
    v.request_id, v.criterion, v.output_hash, min(v.kind) AS kind, count(*) AS n, count(DISTINCT v.voter) AS n_raters, max(v.feedback_at) AS label_at,
    max(v.feedback_id) AS feedback_id, max(CASE WHEN v.is_acceptance THEN 1 ELSE 0 END) AS accepts,
    int_div(to_int(sum(v.trust_ppm)), count(*)) AS trust_ppm, sort_array(collect_set(v.feedback_id)) AS evidence
  FROM votes AS v
  JOIN top_correction AS t ON t.request_id = v.request_id AND t.criterion = v.criterion AND t.rank = v.rank
  WHERE v.kind IN ('explicit_correction', 'adjudication') AND v.output_hash IS NOT NULL
    AND coalesce(v.given_verdict, 'valid') = 'valid'
  GROUP BY v.request_id, v.criterion, v.output_hash
) AS c

-- step: sft
SELECT
  'sft' AS objective, 'inference' AS unit,
  CASE WHEN v.criterion = 'overall' THEN v.request_id ELSE concat(v.request_id, '#', v.criterion) END AS unit_key,
  v.criterion, v.request_id,
  CASE
    WHEN c.request_id IS NOT NULL OR v.outcome = 'good' THEN null_text()
    WHEN v.outcome = 'bad' THEN 'no_target'
    ELSE v.outcome
  END AS reason,
  null_text() AS chosen_request_id, null_text() AS rejected_request_id,
  CASE WHEN c.accepts = 0 THEN c.feedback_id ELSE null_text() END AS target_feedback_id,
  null_text() AS chosen_feedback_id, null_text() AS rejected_feedback_id,
  'target' AS label_kind,
  CASE WHEN c.accepts = 0 THEN 'corrected' ELSE 'accepted' END AS label,
  coalesce(int_div(1000000 * c.n, c.n_all), v.agreement_ppm) AS agreement_ppm,
  coalesce(c.trust_ppm, v.trust_ppm) AS trust_ppm,
  CASE WHEN coalesce(c.kind, v.kind) = 'adjudication' THEN 'adjudication' ELSE 'event' END AS label_source,
  concat('sft.', coalesce(c.kind, v.kind)) AS rule_id,
  coalesce(c.n_raters, v.n_raters) AS n_raters, coalesce(c.evidence, v.evidence) AS evidence, null_text() AS pair_source,
  coalesce(c.label_at, v.label_at) AS label_at
FROM verdicts AS v
LEFT JOIN corrections AS c ON c.request_id = v.request_id AND c.criterion = v.criterion AND c.nth = 1

-- step: unpaired
SELECT
  'unpaired' AS objective, 'inference' AS unit,
  CASE WHEN v.criterion = 'overall' THEN v.request_id ELSE concat(v.request_id, '#', v.criterion) END AS unit_key,
  v.criterion, v.request_id,
  CASE WHEN v.outcome IN ('good', 'bad') THEN null_text() ELSE v.outcome END AS reason,
  null_text() AS chosen_request_id, null_text() AS rejected_request_id,
  null_text() AS target_feedback_id, null_text() AS chosen_feedback_id, null_text() AS rejected_feedback_id,
  'binary' AS label_kind,
  CASE WHEN v.outcome = 'good' THEN 'true' ELSE 'false' END AS label,
  v.agreement_ppm, v.trust_ppm,
  CASE WHEN v.kind = 'adjudication' THEN 'adjudication' ELSE 'event' END AS label_source,
  concat('unpaired.', v.kind) AS rule_id,
  v.n_raters, v.evidence, null_text() AS pair_source, v.label_at
FROM verdicts AS v

-- step: pairs_from_corrections
SELECT
  'preference' AS objective, 'pair' AS unit,
  concat(c.request_id, '|correction|', text_of(c.output_hash), '|', c.criterion) AS unit_key,
  c.criterion, c.request_id, null_text() AS reason,
  null_text() AS chosen_request_id, c.request_id AS rejected_request_id,
  null_text() AS target_feedback_id, c.feedback_id AS chosen_feedback_id, null_text() AS rejected_feedback_id,
  'preference' AS label_kind, 'chosen' AS label,
  int_div(1000000 * c.n, c.n_all) AS agreement_ppm, c.trust_ppm,
  CASE WHEN c.kind = 'adjudication' THEN 'adjudication' ELSE 'event' END AS label_source,
  concat('preference.', c.kind) AS rule_id,
  c.n_raters, c.evidence, 'explicit_correction' AS pair_source, c.label_at
FROM corrections AS c
WHERE c.accepts = 0 AND c.nth <= @per_prompt AND @pairs_from_corrections = 1

-- step: choices
-- Explicit comparisons, each side named by its request, or by the feedback that carries its text.
SELECT
  s.request_id, s.criterion, s.feedback_id, s.voter, s.feedback_at, s.trust_ppm, coalesce(s.is_tie, false) AS is_tie,
  f.chosen_request_id, f.rejected_request_id,
  coalesce(f.chosen_request_id, text_of(f.chosen_output)) AS winner,
  coalesce(f.rejected_request_id, text_of(f.rejected_output)) AS loser
FROM signals AS s
JOIN feedback AS f ON f.feedback_id = s.feedback_id
WHERE s.kind = 'preference' AND f.feedback_type = 'preference_pair'
  AND s.feedback_id IN (SELECT x.feedback_id FROM signals AS x WHERE x.kind = 'preference')

-- step: choice_tally
SELECT
  c.request_id, c.criterion, c.first_side, c.second_side, count(*) AS n, count(DISTINCT c.voter) AS n_raters,
  to_int(sum(CASE WHEN NOT c.is_tie AND c.winner = c.first_side THEN 1 ELSE 0 END)) AS n_first,
  to_int(sum(CASE WHEN NOT c.is_tie AND c.winner = c.second_side THEN 1 ELSE 0 END)) AS n_second,
  int_div(to_int(sum(c.trust_ppm)), count(*)) AS trust_ppm, max(c.feedback_at) AS label_at,
  sort_array(collect_set(c.feedback_id)) AS evidence,
  max(CASE WHEN c.winner = c.first_side THEN c.chosen_request_id ELSE c.rejected_request_id END) AS first_request_id,
  max(CASE WHEN c.winner = c.first_side THEN c.rejected_request_id ELSE c.chosen_request_id END) AS second_request_id,
  max(CASE WHEN c.winner = c.first_side THEN c.feedback_id END) AS said_first,
  max(CASE WHEN c.winner = c.second_side THEN c.feedback_id END) AS said_second
FROM (
  SELECT x.*, least(x.winner, x.loser) AS first_side, greatest(x.winner, x.loser) AS second_side
  FROM choices AS x WHERE x.winner IS NOT NULL AND x.loser IS NOT NULL
) AS c
GROUP BY c.request_id, c.criterion, c.first_side, c.second_side

-- step: pairs_from_choices
SELECT
  'preference' AS objective, 'pair' AS unit,
  concat(t.request_id, '|choice|', sha2(concat(t.first_side, '|', t.second_side), 256), '|', t.criterion) AS unit_key,
  t.criterion, t.request_id,
  CASE
    WHEN t.first_side = t.second_side THEN 'same_output'
    WHEN t.n_first + t.n_second = 0 THEN 'tie'
    WHEN int_div(200 * greatest(t.n_first, t.n_second) + t.n, 2 * t.n) >= @agreement AND t.n_first <> t.n_second THEN null_text()
    ELSE 'disagreement'
  END AS reason,
  CASE WHEN t.n_first > t.n_second THEN t.first_request_id ELSE t.second_request_id END AS chosen_request_id,
  CASE WHEN t.n_first > t.n_second THEN t.second_request_id ELSE t.first_request_id END AS rejected_request_id,
  null_text() AS target_feedback_id,
  CASE WHEN t.n_first > t.n_second THEN t.said_first ELSE t.said_second END AS chosen_feedback_id,
  CASE WHEN t.n_first > t.n_second THEN t.said_first ELSE t.said_second END AS rejected_feedback_id,
  'preference' AS label_kind, 'chosen' AS label,
  int_div(1000000 * greatest(t.n_first, t.n_second), t.n) AS agreement_ppm, t.trust_ppm,
  'event' AS label_source, 'preference.explicit' AS rule_id,
  t.n_raters, t.evidence, 'explicit' AS pair_source, t.label_at
FROM choice_tally AS t
WHERE @pairs_explicit = 1
  AND NOT EXISTS (
    SELECT 1 FROM settled AS x
    WHERE x.request_id = t.request_id AND x.criterion = t.criterion AND x.given_verdict = 'invalid'
  )

-- step: wanted
-- Requests whose payload the examples need.
SELECT request_id FROM touched WHERE request_id IS NOT NULL
UNION
SELECT p.chosen_request_id FROM pairs_from_choices AS p WHERE p.chosen_request_id IS NOT NULL
UNION
SELECT p.rejected_request_id FROM pairs_from_choices AS p WHERE p.rejected_request_id IS NOT NULL

-- step: payload
SELECT
  i.request_id, i.task, i.model, i.model_version, i.variant, i.event_at, i.session_id, i.user_id, i.segments,
  i.input_kind, i.input, i.output, i.output_text, i.tools, i.prompt_hash, i.training_allowed
FROM wanted_inferences AS i

-- step: class_outputs
-- Batch: the class that a corrected or adjudicated output names, if it is one of the dataset's.
SELECT f.feedback_id, f.output FROM feedback AS f
WHERE @classification = 1 AND f.output IS NOT NULL AND f.feedback_id IN (SELECT s.feedback_id FROM signals AS s)

-- step: class_votes
-- What each signal says the class is; a thumb says so only through the class that the model gave.
SELECT
  s.request_id, s.criterion, s.feedback_id, s.voter, s.feedback_at, s.kind, s.rank, s.trust_ppm,
  CASE
    WHEN s.kind IN ('label', 'adjudication') AND s.label IS NOT NULL THEN s.label
    WHEN s.kind IN ('explicit_correction', 'adjudication') AND s.output_hash IS NOT NULL AND NOT s.is_acceptance THEN o.named
    WHEN @n_classes > 0 AND p.output_text NOT IN (SELECT c.label FROM classes AS c) THEN null_text()
    WHEN s.kind IN ('explicit_correction', 'adjudication') AND s.is_acceptance THEN p.output_text
    WHEN s.kind = 'thumbs' AND s.score_ppm >= 500000 THEN p.output_text
    WHEN s.kind = 'adjudication' AND s.output_hash IS NULL AND s.given_verdict = 'valid' THEN p.output_text
    WHEN s.kind = 'thumbs' AND @n_classes = 2 THEN (SELECT min(c.label) FROM classes AS c WHERE c.label <> p.output_text)
  END AS said
FROM signals AS s
JOIN payload AS p ON p.request_id = s.request_id
LEFT JOIN class_outputs AS o ON o.feedback_id = s.feedback_id
WHERE @classification = 1
  AND (s.kind <> 'adjudication' OR s.pair_id IN (SELECT x.pair_id FROM settled AS x WHERE x.given_verdict = 'valid' OR x.given_verdict IS NULL))

-- step: class_tally
SELECT
  c.*,
  row_number() OVER (PARTITION BY c.request_id, c.criterion ORDER BY c.n DESC NULLS LAST, c.said NULLS LAST) AS nth, -- unique: said
  to_int(sum(c.n) OVER (PARTITION BY c.request_id, c.criterion)) AS n_all
FROM (
  SELECT
    v.request_id, v.criterion, v.said, min(v.kind) AS kind, count(*) AS n, count(DISTINCT v.voter) AS n_raters,
    int_div(to_int(sum(v.trust_ppm)), count(*)) AS trust_ppm, max(v.feedback_at) AS label_at,
    sort_array(collect_set(v.feedback_id)) AS evidence
  FROM class_votes AS v
  JOIN (
    SELECT w.request_id, w.criterion, min(w.rank) AS rank FROM class_votes AS w WHERE w.said IS NOT NULL
    GROUP BY w.request_id, w.criterion
  ) AS t ON t.request_id = v.request_id AND t.criterion = v.criterion AND t.rank = v.rank
  WHERE v.said IS NOT NULL
  GROUP BY v.request_id, v.criterion, v.said
) AS c

-- step: classification
SELECT
  'classification' AS objective, 'inference' AS unit,
  CASE WHEN c.criterion = 'overall' THEN c.request_id ELSE concat(c.request_id, '#', c.criterion) END AS unit_key,
  c.criterion, c.request_id,
  CASE
    WHEN x.given_verdict = 'invalid' THEN 'adjudicated_invalid'
    WHEN int_div(200 * c.n + c.n_all, 2 * c.n_all) >= @agreement THEN null_text()
    ELSE 'disagreement'
  END AS reason,
  null_text() AS chosen_request_id, null_text() AS rejected_request_id,
  null_text() AS target_feedback_id, null_text() AS chosen_feedback_id, null_text() AS rejected_feedback_id,
  'class' AS label_kind, c.said AS label,
  int_div(1000000 * c.n, c.n_all) AS agreement_ppm, c.trust_ppm,
  CASE WHEN c.kind = 'adjudication' THEN 'adjudication' ELSE 'event' END AS label_source,
  concat('classification.', c.kind) AS rule_id,
  c.n_raters, c.evidence, null_text() AS pair_source, c.label_at
FROM class_tally AS c
LEFT JOIN settled AS x ON x.request_id = c.request_id AND x.criterion = c.criterion
WHERE c.nth = 1

-- step: decisions
SELECT d.* FROM (
  SELECT * FROM sft
  UNION ALL SELECT * FROM unpaired
  UNION ALL SELECT * FROM pairs_from_corrections
  UNION ALL SELECT * FROM pairs_from_choices
  UNION ALL SELECT * FROM classification
) AS d
WHERE d.objective IN (SELECT o.objective FROM objectives AS o)

-- step: standing
-- What the feedback on each touched request came to, for objectives that no decision speaks about.
SELECT
  v.request_id,
  max(CASE WHEN v.verdict = 'requires_human_review' THEN 1 ELSE 0 END) AS n_review,
  max(CASE WHEN v.verdict = 'valid' THEN 1 ELSE 0 END) AS n_valid,
  max(v.feedback_at) AS label_at
FROM validated_pairs AS v
WHERE v.request_id IN (SELECT t.request_id FROM touched AS t)
GROUP BY v.request_id

-- step: undecided
SELECT
  o.objective, 'inference' AS unit, s.request_id AS unit_key, 'overall' AS criterion, s.request_id,
  CASE WHEN s.n_review = 1 THEN 'in_review' WHEN s.n_valid = 1 THEN 'evidence_only' ELSE 'all_invalid' END AS reason,
  null_text() AS chosen_request_id, null_text() AS rejected_request_id,
  null_text() AS target_feedback_id, null_text() AS chosen_feedback_id, null_text() AS rejected_feedback_id,
  null_text() AS label_kind, null_text() AS label, null_int() AS agreement_ppm, null_int() AS trust_ppm,
  null_text() AS label_source, null_text() AS rule_id, null_int() AS n_raters, no_texts() AS evidence,
  null_text() AS pair_source, s.label_at
FROM standing AS s CROSS JOIN objectives AS o
WHERE NOT EXISTS (SELECT 1 FROM decisions AS d WHERE d.objective = o.objective AND d.request_id = s.request_id)

-- step: texts
SELECT f.feedback_id, f.output, f.chosen_output, f.rejected_output
FROM feedback AS f
WHERE f.feedback_id IN (SELECT d.target_feedback_id FROM decisions AS d WHERE d.target_feedback_id IS NOT NULL)
   OR f.feedback_id IN (SELECT d.chosen_feedback_id FROM decisions AS d WHERE d.chosen_feedback_id IS NOT NULL)

-- step: sides
-- Prompts of both sides of explicit pairs, to hold them against the prompt judged.
SELECT p.request_id, p.input, p.output, p.training_allowed FROM payload AS p
WHERE p.request_id IN (SELECT c.chosen_request_id FROM pairs_from_choices AS c)
   OR p.request_id IN (SELECT c.rejected_request_id FROM pairs_from_choices AS c)

-- view: filled
-- Decisions beside their texts.
SELECT
  d.*,
  substr(sha2(concat(@dataset, '|', d.objective, '|', d.unit_key), 256), 1, 32) AS example_id,
  p.task, p.model, p.model_version, p.variant, p.event_at, p.session_id, p.user_id, p.segments, p.input_kind, p.input,
  p.output, p.tools, p.prompt_hash, p.training_allowed,
  CASE WHEN d.label_kind = 'target' THEN coalesce(x.output, p.output) END AS target,
  CASE WHEN d.label_kind = 'preference' THEN
    CASE WHEN d.pair_source = 'explicit_correction' THEN y.output ELSE coalesce(c.output, y.chosen_output) END END AS chosen,
  CASE WHEN d.label_kind = 'preference' THEN
    CASE WHEN d.pair_source = 'explicit_correction' THEN p.output ELSE coalesce(r.output, y.rejected_output) END END AS rejected,
  coalesce(c.input <> p.input, false) OR coalesce(r.input <> p.input, false) AS other_prompt,
  coalesce(c.training_allowed, true) AND coalesce(r.training_allowed, true) AS sides_allowed
FROM (SELECT * FROM decisions UNION ALL SELECT * FROM undecided) AS d
JOIN payload AS p ON p.request_id = d.request_id
LEFT JOIN sides AS c ON c.request_id = d.chosen_request_id AND d.pair_source = 'explicit'
LEFT JOIN sides AS r ON r.request_id = d.rejected_request_id AND d.pair_source = 'explicit'
LEFT JOIN texts AS x ON x.feedback_id = d.target_feedback_id
LEFT JOIN texts AS y ON y.feedback_id = d.chosen_feedback_id

-- view: stated
SELECT
  f.*,
  unix_micros(f.event_at) + @mature_after AS mature_us,
  CASE
    WHEN NOT f.training_allowed OR NOT f.sides_allowed THEN 'not_permitted'
    WHEN f.reason IS NULL AND unix_micros(f.event_at) + @mature_after > @watermark THEN 'immature'
    WHEN f.reason = 'in_review' THEN 'in_review'
    WHEN f.reason = 'disagreement' AND @disagreement = 'review' AND unix_micros(f.label_at) + @review_expire > @watermark THEN 'in_review'
    WHEN f.reason IS NOT NULL THEN 'no_valid_feedback'
    WHEN f.label_kind = 'preference' AND f.chosen = f.rejected THEN 'no_valid_feedback'
    WHEN f.label_kind = 'preference' AND f.other_prompt THEN 'no_valid_feedback'
    WHEN f.label_kind = 'preference' AND @length_ratio > 0
      AND 100 * greatest(length(f.chosen), length(f.rejected)) > @length_ratio * least(length(f.chosen), length(f.rejected))
      THEN 'no_valid_feedback'
    ELSE 'resolved'
  END AS state
FROM filled AS f

-- step: contents
-- Batch: the hash of what makes two examples the same, and how far a correction goes.
SELECT
  s.example_id, s.criterion, s.input_kind, s.prompt_hash,
  CASE WHEN s.pair_source = 'explicit_correction' THEN s.chosen END AS chosen,
  CASE WHEN s.pair_source = 'explicit_correction' THEN s.rejected END AS rejected,
  CASE WHEN @hash_input = 1 THEN s.input END AS input,
  CASE WHEN s.label_kind = 'preference' THEN s.chosen ELSE coalesce(s.target, s.output) END AS target,
  CASE WHEN s.label_kind = 'preference' THEN s.rejected END AS other
FROM stated AS s WHERE s.state = 'resolved'

-- step: uncertain
SELECT e.request_id, max(e.uncertainty_ppm) AS uncertainty_ppm FROM enriched_records AS e
WHERE e.request_id IN (SELECT t.request_id FROM touched AS t) GROUP BY e.request_id

-- view: body
SELECT
  s.example_id, s.objective, s.unit, s.unit_key, s.criterion, s.request_id, s.state,
  CASE
    WHEN s.state = 'resolved' THEN null_text()
    WHEN s.state = 'not_permitted' THEN 'training_not_allowed'
    WHEN s.state = 'immature' THEN 'not_mature'
    WHEN s.reason IS NOT NULL THEN s.reason
    WHEN s.chosen = s.rejected THEN 'same_output'
    WHEN s.other_prompt THEN 'different_prompts'
    ELSE 'length_ratio'
  END AS reason,
  CASE WHEN s.state = 'immature' THEN timestamp_micros(s.mature_us) ELSE null_time() END AS mature_at,
  s.chosen_request_id, s.rejected_request_id, s.task, s.model, s.model_version, s.variant, s.event_at, s.label_at,
  s.session_id, s.user_id, s.segments,
  CASE WHEN s.state = 'resolved' THEN s.input_kind END AS input_kind,
  CASE WHEN s.state = 'resolved' THEN s.input END AS input,
  CASE WHEN s.state = 'resolved' THEN s.output END AS output,
  CASE WHEN s.state = 'resolved' THEN s.target END AS target,
  CASE WHEN s.state = 'resolved' THEN s.chosen END AS chosen,
  CASE WHEN s.state = 'resolved' THEN s.rejected END AS rejected,
  CASE WHEN s.state = 'resolved' THEN s.tools END AS tools,
  s.label_kind, CASE WHEN s.state = 'resolved' THEN s.label END AS label,
  least(int_div(s.agreement_ppm * s.trust_ppm, 1000000), 1000000) AS label_confidence_ppm,
  s.label_source, s.rule_id, s.n_raters, s.agreement_ppm, s.evidence, s.pair_source,
  h.edit_ratio_ppm,
  u.uncertainty_ppm,
  CASE WHEN s.state = 'resolved' THEN s.prompt_hash END AS prompt_hash,
  h.content_hash
FROM stated AS s
LEFT JOIN uncertain AS u ON u.request_id = s.request_id
LEFT JOIN contents AS h ON h.example_id = s.example_id
