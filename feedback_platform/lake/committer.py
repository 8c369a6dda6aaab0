"""The one way in which a table changes: durable part files, one Delta log entry, exactly once per transaction
id.

Order of a commit: judge the parts, flush them, take the table's lock, compare the transaction id on the
handle that commits, write the log entry, flush it. Dying at any point leaves the table as it was or with the
commit whole; the caller repeats with the same id. Delta records such ids but accepts repeats, so the
comparison is ours.
"""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction

from feedback_platform.errors import CommitConflict, ContractViolation, LakeError
from feedback_platform.lake.crash import reach
from feedback_platform.lake.files import fsync_files
from feedback_platform.lake.parts import Part, check_rows, differences, inspect
from feedback_platform.lake.table import NO_HOOKS, DataFile, LakeTable

COMPACTED = "compacted/"  # app ids that remember which prefixes were merged away


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit did: Delta version; rows, bytes and files added; `skipped`: the id was there before."""

    version: int
    rows: int
    bytes: int
    files: int
    skipped: bool


def commit(
    table: LakeTable,
    parts: Sequence[Path],
    *,
    app: str,
    txn: int,
    replace_prefix: str | None = None,
    check: bool = True,
) -> Commit:
    """Add part files to the table, once per (`app`, `txn`).

    Args:
        table: where to.
        parts: parquet files below the table's folder, best in a folder of `table.staging`; none records the
            id alone.
        app: whose progress `txn` counts, e.g. `landing` or `compile`.
        txn: grows with every commit of `app`; an id not above the last one is a repeat and is skipped.
        replace_prefix: remove the table's present files below this prefix in the same commit.
        check: hold every row against the contract first.

    Raises:
        ContractViolation: schema or rows break the contract; nothing was committed.
        CommitConflict: nothing was committed, another writer was faster; repeat.
        LeaseHeldError: the table's lock was not free in time; nothing was committed, repeat.
    """
    table.ensure()
    parts = [_placed(table, path) for path in dict.fromkeys(parts)]
    if not _is_done(table.handle(), app, txn):
        full = [part for path in parts if (part := inspect(path, table.contract)).rows]
        reach(f"{table.name}.after_parts")
        if check:
            check_rows(full, table.contract)
        fsync_files((f.path for f in full), below=table.folder)
        reach(f"{table.name}.after_fsync")
        with table.lock("commit"):
            result = _commit_once(table, full, app, txn, replace_prefix)
    else:
        result = _skipped(table)
    _tidy(table, parts, result)
    reach(f"{table.name}.before_cursor")
    return result


def remove_prefix(table: LakeTable, prefix: str, *, app: str, txn: int) -> Commit:
    """Remove all files of a prefix, once per (`app`, `txn`): abandons a window; refused once compacted."""
    return commit(table, [], app=app, txn=txn, replace_prefix=prefix)


def alter(table: LakeTable) -> tuple[str, ...]:
    """Add the columns that the contract has and the table lacks; returns their names.

    Raises:
        ContractViolation: a new column is not nullable, or the table differs in a way that adding cannot
            mend.
    """
    table.ensure()
    with table.lock("alter"):
        handle = table.handle()
        have = _schema_of(handle)
        new = [c for c in table.contract.columns() if c.name not in have.names]
        mended = pa.schema([*have, *(table.delta_schema().field(c.name) for c in new)])
        wrong = differences(mended, table.delta_schema())
        wrong += [f"`{c.name}` is new and must be nullable: old rows have no value" for c in new if not c.nullable]
        if wrong:
            raise ContractViolation(
                f"{table.name}: {'; '.join(wrong)}. Only nullable columns can be added; "
                "for the rest run `feedback rebuild`."
            )
        if new:
            fields = Schema.from_arrow(pa.schema([table.delta_schema().field(c.name) for c in new])).fields
            handle.alter.add_columns(fields, post_commithook_properties=NO_HOOKS)
            table.flush_log(table.handle().version())
    return tuple(c.name for c in new)


def write_entry(
    table: LakeTable,
    handle: DeltaTable,
    adds: Sequence[Part],
    removes: Sequence[DataFile],
    transactions: Sequence[tuple[str, int]],
    *,
    is_change: bool,
) -> int:
    """Write one durable log entry on `handle` and return its version; the caller holds the table's lock.

    The first transaction decides an unknown outcome: Delta may report an error after it has written the
    entry.
    """
    now = int(time.time() * 1000)
    for gone in removes:
        with suppress(FileNotFoundError):
            os.utime(gone.path)  # vacuum counts a file's days from here
    actions: list[AddAction | RemoveAction] = [
        AddAction(str(p.path.relative_to(table.folder)), p.bytes, {}, now, is_change, p.stats) for p in adds
    ]
    actions += [RemoveAction(str(f.path.relative_to(table.folder)), is_change, now, f.bytes) for f in removes]
    version: int = handle.version() + 1  # with no retries Delta writes this version or none
    _write(table, handle, actions, transactions)
    reach(f"{table.name}.after_commit")
    table.flush_log(version)
    return version


def _refuse_compacted(table: LakeTable, handle: DeltaTable, prefix: str) -> None:
    """Raise when rows of the prefix live on in merged files, which removing the prefix would not reach."""
    if handle.transaction_version(COMPACTED + prefix) is not None:
        raise LakeError(
            f"{table.name}: files of `{prefix}` were merged by compaction, so they cannot be replaced or "
            "removed by prefix. Compact only what is final; `feedback rebuild` writes the table anew."
        )


def _is_done(handle: DeltaTable, app: str, txn: int) -> bool:
    done = handle.transaction_version(app)
    return done is not None and done >= txn


def _commit_once(table: LakeTable, full: Sequence[Part], app: str, txn: int, replace_prefix: str | None) -> Commit:
    """The part of a commit that needs the lock; the id is compared and written on one handle."""
    handle = table.handle()
    if _is_done(handle, app, txn):
        return _skipped(table)
    wrong = differences(_schema_of(handle), table.delta_schema())
    if wrong:
        raise ContractViolation(
            f"{table.name}: table and contract differ: {'; '.join(wrong)}. Add new columns with `alter`."
        )
    removes: list[DataFile] = []
    if replace_prefix is not None:
        _refuse_compacted(table, handle, replace_prefix)
        mine = {p.path for p in full}
        removes = [f for f in table.files(handle) if f.prefix == replace_prefix and f.path not in mine]
    version = write_entry(table, handle, full, removes, [(app, txn)], is_change=True)
    return Commit(version, sum(p.rows for p in full), sum(p.bytes for p in full), len(full), skipped=False)


def _write(
    table: LakeTable,
    handle: DeltaTable,
    actions: list[AddAction | RemoveAction],
    transactions: Sequence[tuple[str, int]],
) -> None:
    app, txn = transactions[0]
    try:
        handle.create_write_transaction(
            actions,
            mode="append",
            schema=handle.schema(),
            # Ours are serialised by the lock; a foreign writer's commit must surface, not be retried past.
            commit_properties=CommitProperties(
                max_commit_retries=0, app_transactions=[Transaction(a, t) for a, t in transactions]
            ),
            post_commithook_properties=NO_HOOKS,
        )
    except (DeltaError, OSError) as e:
        settle(table, app, txn, e)


def settle(table: LakeTable, app: str, txn: int, error: Exception) -> None:
    """Decide a commit whose outcome is unknown: return if it is in the log, raise if not. No part is deleted.

    Raises:
        CommitConflict: it is not in the log.
        LakeError: the log cannot be read now, so nobody knows yet; a repeat with the same id decides.
    """
    try:
        found = table.handle().transaction_version(app)
    except (DeltaError, OSError) as e:
        raise LakeError(
            f"{table.name}: {app} {txn} failed ({error}) and the log cannot be read ({e}), so whether it was "
            "committed is unknown. Mend the disk, then run again: the transaction id decides."
        ) from error
    if found != txn:
        raise CommitConflict(
            f"{table.name}: {app} {txn} was not committed ({error}); its part files are kept. Run again."
        ) from error


def _schema_of(handle: DeltaTable) -> pa.Schema:
    return pa.schema(handle.schema().to_arrow())


def _placed(table: LakeTable, path: Path) -> Path:
    """The part's absolute path, which must lie below the table and need no escaping in a log entry."""
    path = path.absolute()
    relative = str(path.relative_to(table.folder)) if path.is_relative_to(table.folder) else ""
    if not relative or not all(c.isascii() and (c.isalnum() or c in "._=-/") for c in relative):
        raise LakeError(
            f"{table.name}: {path} is not a part file below {table.folder} with a plain name. "
            "Write it to `staging(...)`."
        )
    return path


def _skipped(table: LakeTable) -> Commit:
    return Commit(table.snapshot().version, 0, 0, 0, skipped=True)


def _tidy(table: LakeTable, parts: Sequence[Path], result: Commit) -> None:
    """Delete parts that the table does not name (repeats, empty files); end their folders' protection."""
    if result.files < len(parts):
        named = {f.path for f in table.snapshot().files}
        for path in parts:
            if path not in named:
                path.unlink(missing_ok=True)
    table.stagings.end({path.parent for path in parts})
