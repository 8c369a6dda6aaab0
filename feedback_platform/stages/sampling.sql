-- Sampling: how far down the ranks each stratum is drawn. Unit: the draw as a whole, from narrow columns.

-- step: touched
SELECT 1 AS draw

-- step: members
-- With a budget per version, what is in stays in, and the draw is among the rest.
SELECT b.example_id FROM sampled_dataset_before AS b WHERE @per_version = 1

-- step: cells
SELECT c.objective, c.stratum, c.arm, count(*) AS n, to_int(sum(CASE WHEN c.sampling_rank <= @rate_rank THEN 1 ELSE 0 END)) AS n_rate
FROM candidate_examples AS c
WHERE c.state = 'candidate' AND c.example_id NOT IN (SELECT m.example_id FROM members AS m)
GROUP BY c.objective, c.stratum, c.arm

-- step: allotted
-- Batch: how many each cell may have; null means all.
SELECT x.objective, x.stratum, x.arm, x.n, x.n_rate, sum_n.n_objective, sum_n.n_strata
FROM cells AS x
JOIN (
  SELECT y.objective, to_int(sum(y.n)) AS n_objective, count(DISTINCT y.stratum) AS n_strata FROM cells AS y GROUP BY y.objective
) AS sum_n ON sum_n.objective = x.objective

-- step: ranks
SELECT
  c.objective, c.stratum, c.arm, c.sampling_rank,
  row_number() OVER (
    PARTITION BY c.objective, c.stratum, c.arm ORDER BY c.sampling_rank NULLS LAST, c.example_id NULLS LAST
  ) AS nth
FROM candidate_examples AS c
WHERE @needs_ranks = 1 AND c.state = 'candidate' AND c.example_id NOT IN (SELECT m.example_id FROM members AS m)

-- view: body
SELECT
  concat(a.objective, '|', a.stratum, '|', a.arm) AS cell, a.objective, a.stratum, a.arm,
  a.n AS n_candidates,
  CASE WHEN @rate_rank >= 0 THEN a.n_rate WHEN a.k IS NULL THEN a.n ELSE least(a.k, a.n) END AS n_drawn,
  CASE
    WHEN @rate_rank >= 0 THEN @rate_rank
    WHEN a.k IS NULL OR a.k >= a.n THEN 9007199254740991
    ELSE coalesce(r.sampling_rank, 0)
  END AS threshold
FROM allotted AS a
LEFT JOIN ranks AS r ON r.objective = a.objective AND r.stratum = a.stratum AND r.arm = a.arm AND r.nth = a.k
