"""What the tables say about one event of one dataset at its last closed window, as plain rows. No words here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feedback_platform.compile.ledger import FEEDBACK_STATES_SQL, INFERENCE_STATES_SQL, state_params
from feedback_platform.compile.manifest import Manifest, ManifestStore
from feedback_platform.compile.reading import changes_sql
from feedback_platform.compile.relations import define_relations
from feedback_platform.compile.workspace import LakeWorkspace
from feedback_platform.contracts.policies import DatasetPolicy
from feedback_platform.contracts.raw_tables import RAW_TABLES
from feedback_platform.engines.duckdb import DuckEngine, quoted, scan_sql
from feedback_platform.lake import deltalog
from feedback_platform.lake.store import Lake

Row = dict[str, Any]
_RAW_KEYS = {"raw_inference_logs": "request_id", "raw_feedback": "feedback_id", "dead_letters": "event_id"}
_JUDGES = """
    SELECT feedback_id FROM attributed_pairs WHERE request_id = {id}
    UNION
    SELECT feedback_id FROM feedback WHERE target_request_id = {id} OR list_contains(request_ids, {id})
    UNION
    SELECT s.feedback_id FROM feedback AS s JOIN feedback AS f ON f.feedback_id = s.subject_feedback_id
    WHERE f.target_request_id = {id}
"""
_EXAMPLES = """
    SELECT r.example_id, r.objective, r.criterion, r.request_id, r.chosen_request_id, r.rejected_request_id,
      r.state, r.reason, r.mature_at, r.label, r.label_kind, r.rule_id, r.n_raters, r.agreement_ppm, r.evidence,
      r.pair_source, c.state AS candidate_state, c.reason AS candidate_reason, c.representative_id, c.cluster_id,
      c.group_id, c.split_root, c.split, c.dup_count, c.stratum, c.arm, c.sampling_rank, t.threshold,
      t.n_candidates, t.n_drawn, rep.request_id AS representative_request_id,
      d.example_id IS NOT NULL AS is_drawn
    FROM resolved_examples AS r
    LEFT JOIN candidate_examples AS c ON c.example_id = r.example_id
    LEFT JOIN sampling_thresholds AS t ON t.objective = c.objective AND t.stratum = c.stratum AND t.arm = c.arm
    LEFT JOIN candidate_examples AS rep ON rep.example_id = c.representative_id
    LEFT JOIN sampled_dataset AS d ON d.example_id = r.example_id
    WHERE {where} ORDER BY r.objective, r.example_id
"""
_PAIRS = """
    SELECT p.pair_id, p.request_id, p.status, p.reason, p.by_feedback_id, p.flags, p.deadline_at, p.feedback_at,
      p.inference_at, p.model_version, v.verdict, v.reasons, v.review_until, v.trust_ppm, e.superseded_by
    FROM attributed_pairs AS p
    LEFT JOIN validated_pairs AS v ON v.pair_id = p.pair_id
    LEFT JOIN enriched_records AS e ON e.pair_id = p.pair_id
    WHERE p.feedback_id = {id} ORDER BY p.pair_id
"""


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """A dataset at its last closed window, with an engine that knows its relations."""

    lake: Lake
    store: ManifestStore
    manifest: Manifest
    policy: DatasetPolicy
    engine: DuckEngine

    def inference_state(self, request_id: str) -> tuple[str, str | None] | None:
        """State and reason as the ledger counts them; None when the window has not seen the request."""
        return self._state(INFERENCE_STATES_SQL, "request_id", request_id)

    def feedback_state(self, feedback_id: str) -> tuple[str, str | None] | None:
        """State and reason as the ledger counts them; None when the window has not seen the event."""
        return self._state(FEEDBACK_STATES_SQL, "feedback_id", feedback_id)

    def judging(self, request_id: str) -> list[Row]:
        """Feedback on a request, in order of time: the raw rows."""
        ids = _JUDGES.format(id=quoted(request_id))
        return rows(self.engine, f"SELECT * FROM feedback WHERE feedback_id IN ({ids}) ORDER BY event_at, feedback_id")

    def examples_of_request(self, request_id: str) -> list[Row]:
        """Examples whose unit or pair names the request."""
        value = quoted(request_id)
        columns = ("request_id", "chosen_request_id", "rejected_request_id")
        return rows(self.engine, _EXAMPLES.format(where=" OR ".join(f"r.{c} = {value}" for c in columns)))

    def examples_of_feedback(self, feedback_id: str) -> list[Row]:
        """Resolved examples with the event among their evidence."""
        where = f"r.state = 'resolved' AND list_contains(r.evidence, {quoted(feedback_id)})"
        return rows(self.engine, _EXAMPLES.format(where=where))

    def example(self, example_id: str) -> Row | None:
        """One example, if the dataset has it now."""
        found = rows(self.engine, _EXAMPLES.format(where=f"r.example_id = {quoted(example_id)}"))
        return found[0] if found else None

    def pairs(self, feedback_id: str) -> list[Row]:
        """What attribution, validation and enrichment say about a feedback event."""
        return rows(self.engine, _PAIRS.format(id=quoted(feedback_id)))

    def missing(self, request_ids: Sequence[str]) -> list[str]:
        """Those of the requests that have not arrived."""
        named = ", ".join(quoted(r) for r in request_ids) or "NULL"
        found = rows(self.engine, f"SELECT request_id FROM inferences WHERE request_id IN ({named})")
        return sorted({*request_ids} - {row["request_id"] for row in found})

    def history(self, where: str) -> list[Row]:
        """Change rows of the dataset, oldest first, without payload."""
        changes = changes_sql(self.lake, self.manifest.dataset, "sampled_dataset", self.manifest.window)
        return rows(
            self.engine,
            f'SELECT example_id, objective, request_id, "window", op, op_reason, label FROM ({changes}) '
            f'WHERE {where} ORDER BY "window", example_id',
        )

    def unselected(self, inference: Mapping[str, Any]) -> list[str]:
        """Which parts of `select` the inference does not meet, in words."""
        lists = {"models": "model", "versions": "model_version", "tasks": "task", "environments": "environment",
                 "variants": "variant"}  # fmt: skip
        wanted = self.policy.select
        found = [
            f"{column} is {inference[column]!r}, `select.{name}` wants {listed}"
            for name, column in lists.items()
            if (listed := list(getattr(wanted, name))) and inference[column] not in listed
        ]
        if wanted.where and not found:
            found.append(f"`select.where` ({wanted.where}) is not true for it")
        return found

    def _state(self, sql: str, key: str, value: str) -> tuple[str, str | None] | None:
        found = self.engine.rows(f"SELECT state, reason FROM ({sql}) WHERE {key} = {quoted(value)}")
        if not found or found[0][0] is None:
            return None
        return str(found[0][0]), None if found[0][1] is None else str(found[0][1])


def dataset_facts(lake: Lake, dataset: str, engine: DuckEngine) -> DatasetFacts | None:
    """The dataset at its last closed window; None when no window was ever closed. The engine must be fresh."""
    store = ManifestStore(lake.dataset_folder(dataset))
    manifest = store.last_closed()
    if manifest is None:
        return None
    policy = manifest.dataset_policy()
    define_relations(engine, LakeWorkspace(lake, dataset, manifest.window), manifest, policy)
    engine.params = state_params(manifest)
    return DatasetFacts(lake, store, manifest, policy, engine)


def raw_rows(lake: Lake, engine: DuckEngine, table: str, event_id: str) -> list[Row]:
    """Rows of a shared table with that id, landed at any time."""
    contract = next(c for c in RAW_TABLES if c.name == table)
    opened = lake.table(table)
    if not deltalog.versions(opened.folder):
        return []
    scan = scan_sql([f.path for f in opened.snapshot().files], contract.columns())
    return rows(engine, f"SELECT * FROM ({scan}) WHERE {_RAW_KEYS[table]} = {quoted(event_id)} ORDER BY log_seq")


def rows(engine: DuckEngine, sql: str) -> list[Row]:
    """A small query as mappings; times are aware."""
    return engine.frame(sql).to_dicts()
