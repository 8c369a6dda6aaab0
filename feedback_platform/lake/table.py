"""One Delta table on a local disk: where it lies, what it holds now, and where its next part files are
written.

Reading and staging only; every change to the table goes through `committer` and `upkeep`.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema

from feedback_platform.contracts.table import TableContract
from feedback_platform.errors import DamagedTableError
from feedback_platform.lake import deltalog
from feedback_platform.lake.files import fsync_dir, fsync_file, make_folder
from feedback_platform.lake.locks import exclusive
from feedback_platform.lake.staging import Stagings

# Delta's own checkpoints and clean-up run outside our fsync; upkeep does both.
NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
LOCK_SECONDS = 60.0
NEWEST = 16  # commits looked at when a table is opened; a power cut can only damage the last one


@dataclass(frozen=True, slots=True)
class DataFile:
    """A parquet file of the table: absolute path, rows, bytes; `prefix` is its first folder, "" for none."""

    path: Path
    rows: int
    bytes: int
    prefix: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the table holds at one Delta version; files sorted by path."""

    version: int
    files: tuple[DataFile, ...]

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(f.rows for f in self.files)

    def uris(self) -> list[str]:
        """Paths for `read_parquet([...], union_by_name=true)`."""
        return [str(f.path) for f in self.files]


class LakeTable:
    """A table of the lake, made from its contract; cheap to make.

    Args:
        folder: the table's own folder.
        contract: its columns, key and statistics.
    """

    def __init__(self, folder: Path, contract: TableContract) -> None:
        self.folder = folder.absolute()
        self.contract = contract
        self._opened = False
        self._guard = threading.Lock()
        self._handle: tuple[tuple[int, ...], DeltaTable] | None = None
        self._cached: tuple[tuple[int, ...], Snapshot] | None = None
        self.stagings = Stagings(self.folder)

    @property
    def name(self) -> str:
        """The contract's name."""
        return self.contract.name

    def lock(self, what: str) -> AbstractContextManager[None]:
        """The table's one lock: commits, compaction, vacuum, erasure and recovery exclude each other."""
        return exclusive(self.folder / "_lock", wait_seconds=LOCK_SECONDS, what=f"{what} {self.name}")

    def ensure(self) -> None:
        """Make the table when it is missing; look for damage when this object opens it first.

        Raises:
            DamagedTableError: the newest commits are incomplete on disk.
        """
        if self._opened and (self.folder / deltalog.LOG).is_dir():
            return
        make_folder(self.folder)
        if not deltalog.versions(self.folder):
            with self.lock("create"):
                if not deltalog.versions(self.folder):
                    self._create()
        self.check(NEWEST)
        self._opened = True

    def check(self, newest: int) -> None:
        """Raise `DamagedTableError` when one of the `newest` commits is incomplete on disk."""
        if deltalog.find_damage(self.folder, newest) is None:
            return
        with self.lock("verify"):  # a second look with nobody writing: what we saw may have been half done
            damage = deltalog.find_damage(self.folder, newest)
        if damage:
            raise DamagedTableError(
                f"{self.name}: {damage.file} {damage.why}, so version {damage.version} of the table "
                "is not whole. Run `feedback doctor --repair`: it sets bad commits aside and repeats them."
            )

    def handle(self) -> DeltaTable:
        """A Delta handle at the newest version; under the lock it stays so until the holder commits."""
        with self._guard:
            if self._handle is None or self._handle[0] != self._mark(self._handle[1].version()):
                handle = DeltaTable(self.folder)
            else:
                handle = self._handle[1]
                if self._has(handle.version() + 1):
                    handle.update_incremental()  # a fifth of the cost of reading the log again
            self._handle = self._mark(handle.version()), handle
            return handle

    def forget(self) -> None:
        """Drop what is remembered of the table, after its log was rolled back."""
        with self._guard:
            self._handle = None
        self._cached, self._opened = None, False

    def snapshot(self) -> Snapshot:
        """The files that the table consists of now."""
        self.ensure()
        cached = self._cached
        if cached and cached[0] == self._mark(cached[1].version) and not self._has(cached[1].version + 1):
            return cached[1]
        handle = self.handle()
        snapshot = Snapshot(handle.version(), tuple(self.files(handle)))
        self._cached = (self._mark(snapshot.version), snapshot)
        return snapshot

    def transaction(self, app: str) -> int | None:
        """The last transaction id that `app` committed, None before its first."""
        self.ensure()
        return self.handle().transaction_version(app)

    def staging(self, prefix: str) -> Path:
        """A new, empty folder `<table>/<prefix>/<id>/` for part files; a dead writer's leftovers go first.

        A prefix belongs to one writer at a time: what this object staged for it before and did not commit
        is given up. The folder is safe from vacuum until it is committed or this process ends.
        """
        self.ensure()
        return self.stagings.start(prefix, committed=lambda: {f.path for f in self.snapshot().files})

    def _create(self) -> None:
        stats = self.contract.stats
        DeltaTable.create(
            self.folder,
            schema=Schema.from_arrow(self.delta_schema()),
            mode="error",
            name=self.name,
            description=self.contract.description,
            configuration={
                **(
                    {"delta.dataSkippingStatsColumns": ",".join(stats)}
                    if stats
                    else {"delta.dataSkippingNumIndexedCols": "0"}
                ),
                "delta.checkpointInterval": "1000000",
                "delta.enableExpiredLogCleanup": "false",
                "delta.logRetentionDuration": "interval 3650 days",
                "delta.setTransactionRetentionDuration": "interval 36500 days",
                "delta.enableDeletionVectors": "false",
                "delta.enableChangeDataFeed": "false",
            },
            commit_properties=CommitProperties(max_commit_retries=0),
            post_commithook_properties=NO_HOOKS,
        )
        self.flush_log(0)
        fsync_dir(self.folder)

    def delta_schema(self) -> pa.Schema:
        """The contract's schema, all nullable: commits check nulls, and columns can be added later."""
        return pa.schema([f.with_nullable(True) for f in self.contract.arrow_schema()])

    def flush_log(self, version: int) -> None:
        """Make a version's log entry durable."""
        fsync_file(deltalog.entry(self.folder, version))
        fsync_dir(self.folder / deltalog.LOG)

    def files(self, handle: DeltaTable) -> Iterator[DataFile]:
        """The files that `handle` names, sorted by path."""
        actions = pa.table(handle.get_add_actions()).select(["path", "num_records", "size_bytes"])
        for row in sorted(actions.to_pylist(), key=lambda r: str(r["path"])):
            relative = unquote(row["path"])
            first, slash, _ = relative.partition("/")
            yield DataFile(
                self.folder / relative,
                int(row["num_records"]),
                int(row["size_bytes"]),
                first if slash else "",
            )

    def _mark(self, version: int) -> tuple[int, ...]:
        """Identity of a version's log entry: it changes when a recovery or a new table re-uses the number."""
        try:
            stat = deltalog.entry(self.folder, version).stat()
        except FileNotFoundError:
            return (version,)
        return (version, stat.st_ino, stat.st_size, stat.st_mtime_ns)

    def _has(self, version: int) -> bool:
        return deltalog.entry(self.folder, version).exists()
