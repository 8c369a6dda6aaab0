"""Windows: cut or resume one, advance every table to it, publish, abandon. One lease per dataset.

A caller holds the lease for as long as it works: the CLI for a whole compilation, Dagster for one table at a time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from feedback_platform.compile.advance import advance
from feedback_platform.compile.bias import advance_bias
from feedback_platform.compile.hashes import version_hashes
from feedback_platform.compile.manifest import Cuts, Manifest, ManifestStore, TableStep, config_hash, evolve
from feedback_platform.compile.workspace import LakeWorkspace, Workspace
from feedback_platform.contracts.policies import DatasetPolicy, policy_mapping
from feedback_platform.contracts.stage_tables import BIAS_REPORT, STAGE_TABLES
from feedback_platform.engines.duckdb import DuckEngine, scan_sql
from feedback_platform.errors import CompileError
from feedback_platform.lake.committer import remove_prefix
from feedback_platform.lake.crash import reach
from feedback_platform.lake.files import make_folder
from feedback_platform.lake.locks import exclusive
from feedback_platform.lake.store import ABANDON, Lake, window_prefix
from feedback_platform.settings import Settings
from feedback_platform.stages.graph import stages
from feedback_platform.stages.stage import Stage

EXCHANGE_MARKER = "_exchange"  # stands in a dataset's folder while `restore` exchanges its tables
TABLE_NAMES: tuple[str, ...] = (*(s.table.name for s in stages()), BIAS_REPORT.name)


@dataclass(frozen=True)
class Compiler:
    """One dataset of one tenant, ready to be compiled."""

    settings: Settings
    policy: DatasetPolicy

    @cached_property
    def lake(self) -> Lake:
        """The tenant's tables."""
        return Lake(self.settings.lake)

    @property
    def store(self) -> ManifestStore:
        """The dataset's manifests."""
        return ManifestStore(self.settings.lake / self.policy.name)

    @contextmanager
    def lease(self, *, wait_seconds: float = 0.0, what: str = "compile", mending: bool = False) -> Iterator[None]:
        """The dataset's lease.

        Raises:
            LeaseHeldError: another process holds it; names that one.
            CompileError: an exchange of tables was cut short, and the caller is not the one `mending` it.
        """
        folder = self.settings.lake / self.policy.name
        make_folder(folder)
        lock = folder / "_lease.lock"
        with exclusive(lock, wait_seconds=wait_seconds, what=f"{what} {self.policy.name}"):
            if not mending and (folder / EXCHANGE_MARKER).exists():
                raise CompileError(
                    f"{self.policy.name}: a rebuild was cut short while it put its tables in place. "
                    f"Run `feedback rebuild {self.policy.name}` again."
                )
            yield

    def engine(self) -> DuckEngine:
        """A fresh engine within the settings' limits."""
        return DuckEngine(memory_limit=self.settings.memory_limit, threads=self.settings.threads)


def open_or_resume(compiler: Compiler, *, trigger: str) -> Manifest | None:
    """The open window, or a new one cut at the landed positions; None when nothing has changed since the last.

    An open window whose configuration or stage semantics no longer match is abandoned first.
    """
    clear_abandoned(compiler)
    unfinished = compiler.store.open_one()
    if unfinished is not None:
        if unfinished.status == "publishing" or _still_matches(unfinished, compiler.policy):
            return unfinished
        abandon(compiler, why="the configuration or the stages changed while the window was open")
    return cut(compiler, trigger=trigger)


def cut(compiler: Compiler, *, trigger: str) -> Manifest | None:
    """Cut and save a new window; None when there is nothing new to see."""
    manifest = preview(compiler, trigger=trigger)
    if manifest is None:
        return None
    saved = compiler.store.save(manifest)
    reach("window.cut")
    return saved


def preview(compiler: Compiler, *, trigger: str, policy: DatasetPolicy | None = None) -> Manifest | None:
    """The window that would be cut now; nothing is written."""
    policy = policy or compiler.policy
    last = compiler.store.last_closed()
    cuts = Cuts(*compiler.lake.landed())
    hashed, semantics = config_hash(policy), current_semantics()
    recompile = last is not None and (last.config_hash != hashed or last.semantics != semantics)
    carries = last is not None and last.status == "blocked"
    if cuts == Cuts() or (last is not None and cuts == last.cuts and not recompile and not carries):
        return None
    return Manifest(
        dataset=policy.name,
        window=compiler.store.next_window(),
        status="open",
        trigger="policy_changed" if recompile else trigger,
        cuts=cuts,
        prev_cuts=last.cuts if last else Cuts(),
        prev_window=last.window if last else 0,
        recompile=recompile,
        policy=policy_mapping(policy),
        config_hash=hashed,
        semantics=semantics,
        watermark=watermark(compiler, cuts, last),
        opened_at=_now(),
        prev_state_hash=last.state_hash if last else "0" * 64,
    )


def watermark(compiler: Compiler, cuts: Cuts, last: Manifest | None) -> int:
    """Largest event time up to the cuts, each capped at its receipt, in microseconds; never goes back."""
    since, highest = (last.cuts, last.watermark) if last else (Cuts(), 0)
    ranges = (
        ("raw_inference_logs", since.inference, cuts.inference),
        ("raw_feedback", since.feedback, cuts.feedback),
    )
    with compiler.engine() as engine:
        for name, after, upto in ranges:
            table = compiler.lake.table(name)
            scan = scan_sql([f.path for f in table.snapshot().files], table.contract.columns())
            row = engine.one(
                f"SELECT coalesce(max(epoch_us(least(event_at, received_at))), 0) FROM ({scan}) "
                f"WHERE log_seq > {after} AND log_seq <= {upto}"
            )
            highest = max(highest, int(str(row[0])))
    return highest


def current_semantics() -> dict[str, int]:
    """Each stage's semantics number as the code has it."""
    return {stage.table.name: stage.semantics for stage in stages()}


def run_table(compiler: Compiler, manifest: Manifest, name: str, workspace: Workspace | None = None) -> TableStep:
    """Advance one table to the window and note it in the manifest."""
    work = workspace or LakeWorkspace(compiler.lake, compiler.policy.name, manifest.window)
    with compiler.engine() as engine:
        step = advance_named(name, manifest, work, engine)
    if workspace is None:
        current = compiler.store.load(manifest.window)
        if name in current.tables and not step.bytes_written:
            return current.tables[name]  # it was there already: the record keeps what the work cost
        compiler.store.save(evolve(current, tables={**current.tables, name: step}))
        reach(f"{name}.noted")
    return step


def advance_named(name: str, manifest: Manifest, workspace: Workspace, engine: DuckEngine) -> TableStep:
    """Advance the table of that name."""
    if name == BIAS_REPORT.name:
        return advance_bias(manifest, workspace, engine)
    return advance(_stage(name), manifest, workspace, engine)


def run_tables(
    compiler: Compiler, manifest: Manifest, progress: Callable[[str, TableStep], None] | None = None
) -> Manifest:
    """Advance every table in order, then note the hashes of the version to be."""
    for name in TABLE_NAMES:
        step = run_table(compiler, manifest, name)
        if progress is not None:
            progress(name, step)
    return note_hashes(compiler, manifest.window)


def note_hashes(compiler: Compiler, window: int) -> Manifest:
    """Compute and save change and state hash, counts of changes and rows."""
    manifest = compiler.store.load(window)
    work = LakeWorkspace(compiler.lake, compiler.policy.name, window)
    with compiler.engine() as engine:
        return compiler.store.save(evolve(manifest, **version_hashes(manifest, work, engine)))


def abandon(compiler: Compiler, *, why: str) -> Manifest | None:
    """Give up the open window: its rows leave every table, its id is never used again.

    The decision is saved before the first row goes: tables half emptied must never be resumed.
    """
    manifest = compiler.store.open_one()
    if manifest is not None and manifest.status == "publishing":
        raise CompileError(
            f"{manifest.dataset}: version {manifest.version} is being published and cannot be abandoned. "
            f"Run `feedback compile {manifest.dataset}` again: it ends the publication."
        )
    if manifest is not None:
        compiler.store.save(evolve(manifest, status="abandoned", why=why))
    return clear_abandoned(compiler)


def clear_abandoned(compiler: Compiler) -> Manifest | None:
    """Remove what an abandoned window wrote, unless that is done; it was not when a process died meanwhile."""
    cleared = None
    for manifest in compiler.store.all():
        if manifest.status != "abandoned" or manifest.closed_at is not None:
            continue
        for contract in STAGE_TABLES:
            table = compiler.lake.table(contract.name, compiler.policy.name)
            # An app id of its own: for `COMPILE` a table that the window has reached counts as done.
            remove_prefix(table, window_prefix(manifest.window), app=ABANDON, txn=manifest.window)
        cleared = compiler.store.save(evolve(manifest, closed_at=_now()))
    return cleared


def _still_matches(manifest: Manifest, policy: DatasetPolicy) -> bool:
    return manifest.config_hash == config_hash(policy) and manifest.semantics == current_semantics()


def _stage(name: str) -> Stage:
    return next(stage for stage in stages() if stage.table.name == name)


def _now() -> str:
    return datetime.now(UTC).isoformat()
