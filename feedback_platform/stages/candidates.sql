-- Candidates: which resolved examples are the same, which part each belongs to, and its rank in the draw.
-- Unit: example_id. What reaches beyond an example: its cluster (same content) and its group (same prompt).

-- step: changed
SELECT r.example_id, r.objective, r.content_hash, r.prompt_hash FROM resolved_examples_new AS r WHERE r.state = 'resolved'
UNION ALL
SELECT r.example_id, r.objective, r.content_hash, r.prompt_hash FROM resolved_examples_old AS r WHERE r.state = 'resolved'

-- step: resolved
-- Narrow columns of all examples.
SELECT
  r.example_id, r.objective, r.request_id, r.content_hash, r.prompt_hash, r.session_id, r.user_id, r.event_at, r.label,
  r.label_kind, r.model, r.model_version, r.task, r.input_kind, r.uncertainty_ppm, r.criterion
FROM resolved_examples AS r WHERE r.state = 'resolved'

-- step: touched
SELECT example_id FROM changed
UNION
SELECT r.example_id FROM resolved AS r WHERE (r.objective, r.content_hash) IN (SELECT (c.objective, c.content_hash) FROM changed AS c)
UNION
SELECT r.example_id FROM resolved AS r WHERE r.prompt_hash IN (SELECT c.prompt_hash FROM changed AS c)

-- step: members
SELECT r.*
FROM resolved AS r
WHERE r.prompt_hash IN (SELECT x.prompt_hash FROM resolved AS x WHERE x.example_id IN (SELECT t.example_id FROM touched AS t))
   OR (r.objective, r.content_hash) IN (
     SELECT (x.objective, x.content_hash) FROM resolved AS x WHERE x.example_id IN (SELECT t.example_id FROM touched AS t)
   )

-- step: drawn
-- Batch: split part of the root, arm, weight, rank, stratum.
SELECT
  m.*,
  text_of(m.prompt_hash) AS group_id,
  CASE
    WHEN @split_by = 'user' THEN coalesce(concat('u:', m.user_id), concat('r:', m.request_id))
    WHEN @split_sessions = 1 AND m.session_id IS NOT NULL THEN concat('s:', m.session_id)
    WHEN @split_clusters = 1 THEN concat('p:', text_of(m.prompt_hash))
    ELSE concat('r:', m.request_id)
  END AS split_root
FROM members AS m

-- step: kept_splits
-- A group keeps the part that it was first given, also when all its examples have gone meanwhile.
SELECT k.group_id, k.split
FROM (
  SELECT
    b.group_id, b.split,
    -- unique: written_in, example_id
    row_number() OVER (PARTITION BY b.group_id ORDER BY b.written_in NULLS LAST, b.example_id NULLS LAST) AS nth
  FROM candidate_examples_history AS b
  WHERE b.state <> 'split_bridge' AND b.op <> 'remove' AND b.group_id IN (SELECT d.group_id FROM drawn AS d)
) AS k
WHERE k.nth = 1

-- step: group_splits
-- Otherwise the earliest member decides for the group.
SELECT g.group_id, coalesce(k.split, g.root_split) AS split, g.is_bridged OR coalesce(k.split <> g.root_split, false) AS is_bridged
FROM (
  SELECT
    d.group_id, d.root_split,
    row_number() OVER (
      PARTITION BY d.group_id ORDER BY d.event_at NULLS LAST, d.request_id NULLS LAST, d.example_id NULLS LAST
    ) AS nth,
    min(d.root_split) OVER (PARTITION BY d.group_id) <> max(d.root_split) OVER (PARTITION BY d.group_id) AS is_bridged
  FROM drawn AS d
) AS g
LEFT JOIN kept_splits AS k ON k.group_id = g.group_id
WHERE g.nth = 1

-- view: placed
SELECT
  d.*, g.is_bridged,
  CASE WHEN @split_clusters = 1 THEN g.split ELSE d.root_split END AS split,
  @split_clusters = 1 AND g.split <> d.root_split AS bridges
FROM drawn AS d JOIN group_splits AS g ON g.group_id = d.group_id

-- view: clustered
-- Same objective, content and target stand for one another; the earliest that bridges no split represents them.
SELECT
  p.*,
  concat(p.objective, ':', text_of(p.content_hash)) AS cluster_id,
  CASE WHEN p.label_kind IN ('binary', 'class') THEN p.label ELSE '' END AS vote
FROM placed AS p

-- step: represented
SELECT
  c.*,
  first_value(c.example_id) OVER (
    PARTITION BY c.cluster_id, c.vote, c.bridges
    ORDER BY c.event_at NULLS LAST, c.request_id NULLS LAST, c.example_id NULLS LAST
  ) AS representative_id,
  count(*) OVER (PARTITION BY c.cluster_id, c.vote, c.bridges) AS dup_count,
  count(*) OVER (PARTITION BY c.cluster_id, c.vote) AS n_vote,
  count(*) OVER (PARTITION BY c.cluster_id) AS n_cluster
FROM clustered AS c

-- view: body
SELECT
  r.example_id, r.objective, r.request_id,
  CASE
    WHEN r.bridges THEN 'split_bridge'
    WHEN @dedup = 1 AND @majority = 1 AND r.n_vote < r.n_cluster
      AND int_div(200 * r.n_vote + r.n_cluster, 2 * r.n_cluster) < @agreement THEN 'conflict'
    WHEN @dedup = 1 AND r.representative_id <> r.example_id THEN 'duplicate'
    ELSE 'candidate'
  END AS state,
  CASE
    WHEN r.bridges THEN 'prompt_in_another_split'
    WHEN @dedup = 1 AND @majority = 1 AND r.n_vote < r.n_cluster
      AND int_div(200 * r.n_vote + r.n_cluster, 2 * r.n_cluster) < @agreement THEN 'cluster_conflict'
    WHEN @dedup = 1 AND r.representative_id <> r.example_id THEN 'same_content'
  END AS reason,
  CASE WHEN @dedup = 1 AND NOT r.bridges AND r.representative_id <> r.example_id THEN r.representative_id END AS representative_id,
  r.cluster_id, r.group_id, r.split_root, r.split, r.is_bridged,
  CASE WHEN @dedup = 1 AND NOT r.bridges THEN r.dup_count ELSE 1 END AS dup_count,
  r.stratum, r.arm, r.weight_ppm, r.sampling_rank, r.event_at, r.label
FROM represented AS r
WHERE r.example_id IN (SELECT t.example_id FROM touched AS t)
