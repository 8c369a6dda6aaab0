"""What `feedback doctor` looks at, each check with what it found and the next step. Read-only unless told to repair."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from feedback_platform.cli.finding import existing_log
from feedback_platform.errors import DamagedTableError, FeedbackPlatformError
from feedback_platform.settings import Settings

if TYPE_CHECKING:
    from feedback_platform.lake.table import LakeTable

LOW_DISK = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Check:
    """One check: `note` is worth knowing and not wrong."""

    name: str
    status: Literal["ok", "note", "wrong"]
    found: str
    next_step: str = ""


def all_checks(settings: Settings, *, repair: bool) -> Iterator[Check]:
    """Every check, the cheap ones first."""
    yield from _versions()
    yield _disk(settings)
    yield from _log(settings)
    yield from _tables(settings, repair=repair)
    yield from _datasets(settings)


def _versions() -> Iterator[Check]:
    import apsw
    import deltalake
    import duckdb
    import polars

    from feedback_platform.intake.log_files import check_sqlite

    found = f"duckdb {duckdb.__version__}, polars {polars.__version__}, deltalake {deltalake.__version__}"
    yield Check("libraries", "ok", found)
    try:
        check_sqlite(apsw.sqlite_lib_version())
        yield Check("sqlite", "ok", f"SQLite {apsw.sqlite_lib_version()}")
    except FeedbackPlatformError as error:
        yield Check("sqlite", "wrong", str(error), "Install apsw 3.54 or later.")


def _disk(settings: Settings) -> Check:
    folder = next(p for p in (settings.home, *settings.home.parents) if p.exists())
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**30:,.1f} GiB free at {folder}"
    if free < LOW_DISK:
        return Check("disk", "wrong", found, "Free space: an import stops when the disk is full.")
    return Check("disk", "ok", found)


def _log(settings: Settings) -> Iterator[Check]:
    from feedback_platform.intake.landing import TABLES
    from feedback_platform.lake import deltalog
    from feedback_platform.lake.store import LANDING, Lake

    try:
        with existing_log(settings) as log:
            if log is None:
                yield Check("event log", "note", "nothing was ever accepted here", "`feedback import jsonl`")
                return
            faults = log.integrity_check()
            dropped = log.dropped_dead_letters()
            heads = {name: (log.first(stream), log.head(stream)) for stream, name in TABLES}
    except FeedbackPlatformError as error:
        yield Check("event log", "wrong", str(error), "See the message; landed events are safe in the lake.")
        return
    if faults:
        yield Check("event log", "wrong", "; ".join(faults), "Restore log and lake from one backup.")
    else:
        yield Check("event log", "ok", "integrity check passed, positions without gaps")
    if dropped:
        step = "`feedback query` on dead_letters shows what is refused."
        yield Check("dead letters", "note", f"{dropped:,} refused lines were counted and not kept", step)
    lake = Lake(settings.lake)
    for name, (first, head) in heads.items():
        table = lake.table(name)
        try:
            landed = (table.transaction(LANDING) or 0) if deltalog.versions(table.folder) else 0
        except DamagedTableError:
            continue  # the table's own check says so
        yield _position(name, landed, first, head)


def _position(name: str, landed: int, first: int | None, head: int) -> Check:
    found = f"landed up to {landed:,} of {head:,}"
    if landed > head:
        step = "Restore the log that belongs to the lake."
        return Check(f"{name}: position", "wrong", f"{found}: an older log was put back", step)
    if head > landed and (first is None or first > landed + 1):
        found += f", but the log begins at {first}: an older lake was put back"
        return Check(f"{name}: position", "wrong", found, "Restore the lake that belongs to the log.")
    if head > landed:
        return Check(f"{name}: position", "note", f"{found}; {head - landed:,} wait", "`feedback land`")
    return Check(f"{name}: position", "ok", found)


def _tables(settings: Settings, *, repair: bool) -> Iterator[Check]:
    from feedback_platform.compile.manifest import datasets_in
    from feedback_platform.contracts.raw_tables import RAW_TABLES
    from feedback_platform.contracts.stage_tables import STAGE_TABLES
    from feedback_platform.lake import deltalog
    from feedback_platform.lake.store import Lake

    lake = Lake(settings.lake)
    tables = [(c.name, lake.table(c.name), "") for c in RAW_TABLES]
    tables += [(f"{d}/{c.name}", lake.table(c.name, d), d) for d in datasets_in(settings.lake) for c in STAGE_TABLES]
    tables += [
        (f"{d}/_snapshots/{c.name}", lake.base_table(c.name, d), d)
        for d in datasets_in(settings.lake)
        for c in STAGE_TABLES
    ]
    present = [(name, table, dataset) for name, table, dataset in tables if deltalog.versions(table.folder)]
    wrong = 0
    for name, table, dataset in present:
        check = _table(name, table, dataset, repair=repair)
        if check.status != "ok":
            wrong += 1
            yield check
    if not wrong:
        yield Check("tables", "ok", f"{len(present)} tables: every commit and file is whole")


def _table(name: str, table: "LakeTable", dataset: str, *, repair: bool) -> Check:
    from feedback_platform.lake.recovery import recover, verify

    again = f"`feedback rebuild {dataset}`" if dataset else "restore it from a backup"
    try:
        verify(table)
        return Check(name, "ok", "whole")
    except DamagedTableError as damage:
        if not repair:
            return Check(name, "wrong", str(damage), f"`feedback doctor --repair`; if that does not help, {again}.")
    try:
        recovered = recover(table)
        verify(table)
    except DamagedTableError as damage:
        return Check(name, "wrong", f"not to be repaired: {damage}", f"{again}.")
    found = f"repaired: back at commit {recovered.version}, {len(recovered.quarantined)} files set aside"
    command = f"`feedback compile {dataset}`" if dataset else "`feedback land`"
    return Check(name, "note", found, f"{command} repeats what was lost.")


def _datasets(settings: Settings) -> Iterator[Check]:
    from feedback_platform.compile.datasets import find_datasets
    from feedback_platform.compile.manifest import ManifestStore, datasets_in
    from feedback_platform.compile.window import EXCHANGE_MARKER

    try:
        known = find_datasets(settings)
        yield Check("datasets", "ok", f"{len(known)} declared: {', '.join(sorted(known)) or 'none'}")
    except FeedbackPlatformError as error:
        known = {}
        yield Check("datasets", "wrong", str(error), "Mend the YAML file.")
    newest = 0.0
    for name in datasets_in(settings.lake):
        store = ManifestStore(settings.lake / name)
        try:
            manifests = store.all()
        except FeedbackPlatformError as error:
            yield Check(f"{name}: manifests", "wrong", str(error), "Restore that file from a backup.")
            continue
        newest = max([newest, *(store.path(m.window).stat().st_mtime for m in manifests)])
        yield Check(f"{name}: manifests", "ok", f"{len(manifests)} windows, {len(store.versions())} versions")
        if (settings.lake / name / EXCHANGE_MARKER).exists():
            yield Check(f"{name}: rebuild", "wrong", "tables were left half exchanged", f"`feedback rebuild {name}`")
        if (unfinished := store.open_one()) is not None:
            found = f"window {unfinished.window} has been open since {unfinished.opened_at[:19]}"
            yield Check(f"{name}: window", "note", found, f"`feedback compile {name}` resumes it, --abandon frees it.")
        if known and name not in known:
            yield Check(f"{name}: YAML", "note", "was compiled and is no longer declared", "Put its defs.yaml back.")
    if newest and not settings.warehouse.exists():
        yield Check("warehouse", "note", "it is missing", "`feedback upkeep` writes it.")
