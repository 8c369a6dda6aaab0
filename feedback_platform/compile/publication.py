"""Publication: the last step of a window. Checks first, then a version number, then what shows it, then `published`.

A version never changes afterwards. Killed anywhere, the next call goes on where this one stopped.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from feedback_platform.compile.ledger import take_ledger
from feedback_platform.compile.manifest import NO_HASH, Manifest, evolve
from feedback_platform.compile.relations import define_relations
from feedback_platform.compile.window import Compiler
from feedback_platform.compile.workspace import LakeWorkspace
from feedback_platform.errors import NotFoundError, PublishBlocked
from feedback_platform.lake.crash import reach

Output = Callable[[Compiler, Manifest], None]


def publish(compiler: Compiler, window: int, outputs: Sequence[Output] = ()) -> Manifest:
    """Give the window a version, write the outputs, and mark it published; closes it as `empty` when nothing changed.

    Raises:
        PublishBlocked: an event is unaccounted for (the window stays open), or the bias gate says block (the window is
            closed; its changes go into the next version).
    """
    manifest = compiler.store.load(window)
    if manifest.status == "open":
        manifest = _decide(compiler, manifest)
    if manifest.status != "publishing":
        return manifest
    for output in outputs:
        output(compiler, manifest)
    reach("window.exported")
    done = compiler.store.save(evolve(manifest, status="published", closed_at=_now()))
    reach("window.published")
    return done


def yank(compiler: Compiler, version: int, why: str) -> Manifest:
    """Mark a version as not to be used; it stays readable by number and is no longer the latest."""
    manifest = compiler.store.version(version)
    if not why.strip():
        raise NotFoundError("a yank needs a reason: `feedback yank VERSION --why TEXT`.")
    return compiler.store.save(evolve(manifest, yanked=why))


def flagged_findings(compiler: Compiler, manifest: Manifest) -> int:
    """Findings of the window's bias report that are complaints."""
    work = LakeWorkspace(compiler.lake, manifest.dataset, manifest.window)
    with compiler.engine() as engine:
        define_relations(engine, work, manifest, manifest.dataset_policy())
        row = engine.one("SELECT count(*) FROM bias_report WHERE verdict IN ('under_represented', 'over_represented')")
    return int(str(row[0]))


def _decide(compiler: Compiler, manifest: Manifest) -> Manifest:
    with compiler.engine() as engine:
        ledger = take_ledger(compiler.lake, manifest, engine)
    manifest = compiler.store.save(evolve(manifest, ledger=ledger.as_mapping()))
    if ledger.unaccounted:
        raise PublishBlocked(
            f"{manifest.dataset}, window {manifest.window}: {ledger.unaccounted} events are not accounted for. "
            "Nothing was published. `feedback status --json` shows the sums; `feedback compile DATASET --abandon` frees "
            "the window."
        )
    policy = compiler.policy
    if policy.bias.gate == "block" and (flagged := flagged_findings(compiler, manifest)):
        why = f"the bias gate blocks: {flagged} findings"
        compiler.store.save(evolve(manifest, status="blocked", why=why, closed_at=_now()))
        raise PublishBlocked(
            f"{manifest.dataset}, window {manifest.window}: {why}. See the bias report; set `bias.gate: warn` or "
            "mend the sampling, then compile again: the changes go into the next version."
        )
    if not _worth_a_version(compiler, manifest):
        return compiler.store.save(evolve(manifest, status="empty", closed_at=_now()))
    number = max((m.version or 0 for m in compiler.store.all()), default=0) + 1
    reach("window.hashed")
    since = {op: sum(m.changes.get(op, 0) for m in (*_waiting(compiler), manifest)) for op in manifest.changes}
    publishing = compiler.store.save(evolve(manifest, status="publishing", version=number, since_version=since))
    reach("window.versioned")
    return publishing


def _worth_a_version(compiler: Compiler, manifest: Manifest) -> bool:
    """Whether the dataset differs from its last version, by enough changes counted since then.

    Windows that closed without a version (blocked, or with too few changes) hand their changes on.
    """
    versions = compiler.store.versions()
    if manifest.state_hash == (versions[-1].state_hash if versions else NO_HASH):
        return False
    changed = sum(sum(m.changes.values()) for m in (*_waiting(compiler), manifest))
    return changed >= compiler.policy.trigger.min_changes


def _waiting(compiler: Compiler) -> list[Manifest]:
    """Windows since the last version that closed without one (blocked, or with too few changes)."""
    versions = compiler.store.versions()
    since = versions[-1].window if versions else 0
    return [m for m in compiler.store.all() if m.window > since and m.status in ("empty", "blocked")]


def _now() -> str:
    return datetime.now(UTC).isoformat()
