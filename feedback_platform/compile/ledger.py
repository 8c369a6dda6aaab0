"""The ledger: every accepted event in exactly one state (law 2), counted from the raw tables, not from what stages say.

Foreign events have no row in a dataset's tables, so they are proved foreign here, each by its own target.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from feedback_platform.compile.manifest import Manifest
from feedback_platform.compile.relations import define_relations
from feedback_platform.compile.workspace import LakeWorkspace
from feedback_platform.contracts.policies import micros
from feedback_platform.engines.duckdb import DuckEngine
from feedback_platform.lake.store import Lake

# Each accepted inference with its state and reason; `explain` reads the same text, so that both say the same.
INFERENCE_STATES_SQL = """
    WITH drawn AS (
      SELECT request_id FROM sampled_dataset
      UNION SELECT chosen_request_id FROM sampled_dataset WHERE chosen_request_id IS NOT NULL
      UNION SELECT rejected_request_id FROM sampled_dataset WHERE rejected_request_id IS NOT NULL
    ),
    labelled AS (
      SELECT r.request_id,
        max(CASE WHEN c.state = 'candidate' THEN 1 ELSE 0 END) AS n_sampled_out,
        max(CASE WHEN c.state = 'split_bridge' THEN 1 ELSE 0 END) AS n_bridge,
        max(CASE WHEN c.state = 'duplicate' THEN 1 ELSE 0 END) AS n_duplicate,
        max(CASE WHEN r.state = 'immature' THEN 1 ELSE 0 END) AS n_immature,
        max(CASE WHEN r.state = 'in_review' THEN 1 ELSE 0 END) AS n_review,
        min(CASE WHEN c.state = 'conflict' THEN c.reason WHEN r.state = 'no_valid_feedback' THEN r.reason END) AS reason
      FROM resolved_examples AS r LEFT JOIN candidate_examples AS c ON c.example_id = r.example_id
      GROUP BY r.request_id
    )
    SELECT
      i.request_id,
      CASE
        WHEN NOT i.is_selected THEN 'foreign'
        WHEN NOT i.training_allowed THEN 'not_permitted'
        WHEN d.request_id IS NOT NULL THEN 'in_dataset'
        WHEN l.request_id IS NULL THEN 'unlabelled'
        WHEN l.n_sampled_out = 1 OR l.n_bridge = 1 THEN 'sampled_out'
        WHEN l.n_duplicate = 1 THEN 'duplicate'
        WHEN l.n_immature = 1 THEN 'immature'
        WHEN l.n_review = 1 THEN 'in_review'
        ELSE 'no_valid_feedback'
      END AS state,
      CASE
        WHEN NOT i.is_selected THEN 'not_selected'
        WHEN NOT i.training_allowed THEN 'training_not_allowed'
        WHEN d.request_id IS NOT NULL THEN NULL
        WHEN l.request_id IS NULL THEN 'no_feedback'
        WHEN l.n_sampled_out = 1 THEN 'beyond_budget'
        WHEN l.n_bridge = 1 THEN 'prompt_in_another_split'
        WHEN l.n_duplicate = 1 THEN 'same_content'
        WHEN l.n_immature = 1 THEN 'not_mature'
        WHEN l.n_review = 1 THEN 'waits_for_review'
        ELSE l.reason
      END AS reason
    FROM inferences AS i
    LEFT JOIN drawn AS d ON d.request_id = i.request_id
    LEFT JOIN labelled AS l ON l.request_id = i.request_id
"""
# Each accepted feedback event with its state and reason. `@window` and `@skew` bound what a session judgement sees.
FEEDBACK_STATES_SQL = """
    WITH orphan AS (
      SELECT f.feedback_id, epoch_us(f.event_at) AS at_us,
        least(epoch_us(f.event_at) - CASE WHEN f.feedback_type = 'adjudication' THEN @review_expire ELSE 0 END,
          coalesce(epoch_us(s.event_at), epoch_us(f.event_at)), coalesce(epoch_us(r.event_at), epoch_us(f.event_at))
        ) AS anchor_us,
        coalesce(f.target_request_id, s.target_request_id, r.target_request_id) AS request_id,
        coalesce(f.target_session_id, s.target_session_id, r.target_session_id) AS session_id
      FROM feedback AS f
      LEFT JOIN feedback AS s ON s.feedback_id = f.subject_feedback_id
      LEFT JOIN feedback AS r ON r.feedback_id = s.subject_feedback_id
      WHERE f.feedback_id NOT IN (SELECT feedback_id FROM feedback_events)
    ),
    proved AS (
      SELECT o.feedback_id FROM orphan AS o JOIN inferences AS i ON i.request_id = o.request_id WHERE NOT i.is_selected
      UNION
      SELECT o.feedback_id FROM orphan AS o JOIN inferences AS i ON i.session_id = o.session_id
      WHERE o.request_id IS NULL
        AND epoch_us(i.event_at) BETWEEN o.anchor_us - @window - @skew AND o.at_us + @skew
      GROUP BY o.feedback_id HAVING NOT bool_or(i.is_selected)
    )
    SELECT
      f.feedback_id,
      CASE WHEN e.feedback_id IS NOT NULL THEN e.state WHEN p.feedback_id IS NOT NULL THEN 'foreign' END AS state,
      CASE WHEN e.feedback_id IS NOT NULL THEN e.reason WHEN p.feedback_id IS NOT NULL THEN 'not_selected' END AS reason
    FROM feedback AS f
    LEFT JOIN feedback_events AS e ON e.feedback_id = f.feedback_id
    LEFT JOIN proved AS p ON p.feedback_id = f.feedback_id
"""
_INVENTED = """
    SELECT
      (SELECT count(*) FROM feedback_events WHERE feedback_id NOT IN (SELECT feedback_id FROM feedback))
      + (SELECT count(*) FROM resolved_examples WHERE request_id NOT IN (SELECT request_id FROM inferences))
      + (SELECT count(*) - count(DISTINCT example_id) FROM sampled_dataset)
      + (SELECT count(*) - count(DISTINCT feedback_id) FROM feedback_events)
"""


@dataclass(slots=True)
class Account:
    """One log in one dataset: accepted events, their states with reasons, and what is left over (0 by law 2)."""

    accepted: int = 0
    not_yet_compiled: int = 0
    states: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)
    unaccounted: int = 0


@dataclass(slots=True)
class Ledger:
    """The accounts of one dataset at one window. `invented` counts rows that no accepted event explains."""

    inference: Account
    feedback: Account
    invented: int = 0

    @property
    def unaccounted(self) -> int:
        """Events in no state, in two, or invented: 0, or a law is broken."""
        return abs(self.inference.unaccounted) + abs(self.feedback.unaccounted) + self.invented

    def as_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "unaccounted": self.unaccounted}


def take_ledger(lake: Lake, manifest: Manifest, engine: DuckEngine, heads: tuple[int, int] | None = None) -> Ledger:
    """Count every event up to the window's cuts; `heads` adds what the logs hold beyond them.

    Args:
        lake: the tenant's tables.
        manifest: the window whose tables are advanced.
        engine: a fresh engine.
        heads: last positions of the inference and the feedback log.
    """
    work = LakeWorkspace(lake, manifest.dataset, manifest.window)
    define_relations(engine, work, manifest, manifest.dataset_policy())
    engine.params = state_params(manifest)
    inference = _account(engine, INFERENCE_STATES_SQL, manifest.cuts.inference, heads[0] if heads else None)
    feedback = _account(engine, FEEDBACK_STATES_SQL, manifest.cuts.feedback, heads[1] if heads else None)
    return Ledger(inference, feedback, int(str(engine.one(_INVENTED)[0])))


def state_params(manifest: Manifest) -> dict[str, int | str]:
    """Parameters of `FEEDBACK_STATES_SQL`."""
    policy = manifest.dataset_policy()
    return {
        "window": micros(policy.attribution.window),
        "skew": micros(policy.attribution.clock_skew),
        "review_expire": micros(policy.resolve.review.expire),
    }


def _account(engine: DuckEngine, sql: str, cut: int, head: int | None) -> Account:
    account = Account(accepted=cut if head is None else head)
    account.not_yet_compiled = account.accepted - cut
    for state, reason, n in engine.rows(f"SELECT state, reason, count(*) FROM ({sql}) GROUP BY state, reason"):
        if state is None:
            continue
        count = int(str(n))
        account.states[str(state)] = account.states.get(str(state), 0) + count
        if reason is not None:
            reasons = account.reasons.setdefault(str(state), {})
            reasons[str(reason)] = reasons.get(str(reason), 0) + count
    account.unaccounted = account.accepted - account.not_yet_compiled - sum(account.states.values())
    return account
