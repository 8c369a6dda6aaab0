"""Restore: a dataset's tables made anew from the raw tables and put in the place of what is there, when hashes agree.

For tables that were damaged or lost. A marker stands in the dataset's folder while tables are being exchanged; killed
there, a repetition ends it, and until then nobody gets the dataset's lease.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from feedback_platform.compile.manifest import evolve
from feedback_platform.compile.rebuild import Rebuilt, rebuild
from feedback_platform.compile.window import EXCHANGE_MARKER, Compiler
from feedback_platform.contracts.stage_tables import STAGE_TABLES
from feedback_platform.lake.files import fsync_dir, write_atomically

SNAPSHOTS = "_snapshots"


def restore(compiler: Compiler, *, progress: Callable[[Rebuilt], None] | None = None) -> list[Rebuilt]:
    """Rebuild all closed windows and exchange the tables; they stay as they are when any hash differs.

    An open window starts again: what it had written goes with the old tables.

    Raises:
        LeaseHeldError: another process compiles this dataset.
    """
    home = compiler.settings.lake / compiler.policy.name
    scratch = home / "_rebuild"
    with compiler.lease(what="rebuild", mending=True):
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            results = rebuild(compiler, folder=scratch, progress=progress)
            if results and all(r.equal for r in results):
                _start_again(compiler)
                _exchange(home, scratch / compiler.policy.name)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return results


def _start_again(compiler: Compiler) -> None:
    """What the open window has written goes with the old tables, so its manifest must not say that it is there."""
    unfinished = compiler.store.open_one()
    if unfinished is not None and unfinished.status == "open":
        compiler.store.save(evolve(unfinished, tables={}))


def _exchange(home: Path, made: Path) -> None:
    old = home / "_replaced"
    shutil.rmtree(old, ignore_errors=True)
    old.mkdir()
    write_atomically(home / EXCHANGE_MARKER, b"tables are being exchanged\n")
    for contract in STAGE_TABLES:
        present, new = home / contract.name, made / contract.name
        if present.exists():
            present.rename(old / contract.name)
        if new.exists():
            new.rename(present)
    if (home / SNAPSHOTS).exists():  # they may be what is damaged; upkeep takes new ones
        (home / SNAPSHOTS).rename(old / SNAPSHOTS)
    fsync_dir(home)
    (home / EXCHANGE_MARKER).unlink()
    fsync_dir(home)
    shutil.rmtree(old, ignore_errors=True)
