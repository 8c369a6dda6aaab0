"""Plan: what the next window would do, computed into a scratch folder over the lake and thrown away."""

import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from feedback_platform.compile.manifest import Manifest
from feedback_platform.compile.relations import define_relations
from feedback_platform.compile.window import TABLE_NAMES, Compiler, advance_named, preview
from feedback_platform.compile.workspace import ScratchWorkspace
from feedback_platform.contracts.policies import DatasetPolicy, content_mapping

_CHANGES = "SELECT objective, op, count(*) FROM sampled_dataset__now GROUP BY objective, op"
_FLIPS = """
    SELECT n.objective, o.label, n.label, count(*)
    FROM sampled_dataset__now AS n JOIN sampled_dataset_old AS o ON o.example_id = n.example_id
    WHERE n.op = 'update' AND n.label IS DISTINCT FROM o.label
    GROUP BY n.objective, o.label, n.label ORDER BY n.objective, o.label, n.label
"""
_REASONS = """
    SELECT op_reason, count(*) FROM sampled_dataset__now WHERE op = 'remove' GROUP BY op_reason ORDER BY 2 DESC, 1
"""


@dataclass(slots=True)
class Plan:
    """What would happen. `cost` tells how much history a recompile reads."""

    dataset: str
    nothing_to_do: bool
    trigger: str = ""
    recompile: bool = False
    policy_changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    changes: dict[str, dict[str, int]] = field(default_factory=dict)
    label_flips: list[dict[str, Any]] = field(default_factory=list)
    removal_reasons: dict[str, int] = field(default_factory=dict)
    cost: str = ""

    def as_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def make_plan(compiler: Compiler, policy: DatasetPolicy | None = None) -> Plan:
    """Adds, removals and label flips of the window that would be cut now, under another policy if one is given."""
    manifest = preview(compiler, trigger="plan", policy=policy)
    if manifest is None:
        return Plan(compiler.policy.name, nothing_to_do=True)
    folder = Path(tempfile.mkdtemp(prefix="feedback-plan-"))
    try:
        return _run(compiler, manifest, ScratchWorkspace(compiler.lake, manifest.dataset, folder, manifest.prev_window))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(compiler: Compiler, manifest: Manifest, work: ScratchWorkspace) -> Plan:
    for name in TABLE_NAMES:
        with compiler.engine() as engine:
            advance_named(name, manifest, work, engine)
    plan = Plan(manifest.dataset, nothing_to_do=False, trigger=manifest.trigger, recompile=manifest.recompile)
    last = compiler.store.last_closed()
    if last is not None and manifest.recompile:
        plan.policy_changes = _differences(
            content_mapping(last.dataset_policy()), content_mapping(manifest.dataset_policy())
        )
    with compiler.engine() as engine:
        define_relations(engine, work, manifest, manifest.dataset_policy())
        for objective, op, n in engine.rows(_CHANGES):
            plan.changes.setdefault(str(objective), {})[str(op)] = int(str(n))
        for objective, before, after, n in engine.rows(_FLIPS):
            plan.label_flips.append({"objective": objective, "from": before, "to": after, "examples": n})
        plan.removal_reasons = {str(reason): int(str(n)) for reason, n in engine.rows(_REASONS)}
    events = manifest.cuts.inference + manifest.cuts.feedback
    new = events - manifest.prev_cuts.inference - manifest.prev_cuts.feedback
    plan.cost = f"a recompile: reads all {events:,} events" if manifest.recompile else f"reads {new:,} new events"
    return plan


def _differences(before: dict[str, Any], after: dict[str, Any], path: str = "") -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {}
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found |= _differences(old, new, f"{path}{key}.")
        elif old != new:
            found[f"{path}{key}"] = (old, new)
    return found
