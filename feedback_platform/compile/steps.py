"""One table at a time: what a scheduler that runs a step per table needs beside `window.py`.

Each call takes the lease, looks which window is open, and advances one table to it if those it reads are there.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from feedback_platform.compile.manifest import CLOSED, Manifest, TableStep, config_hash
from feedback_platform.compile.publication import Output, publish
from feedback_platform.compile.window import (
    TABLE_NAMES,
    Compiler,
    current_semantics,
    note_hashes,
    open_or_resume,
    run_table,
)
from feedback_platform.contracts.stage_tables import BIAS_REPORT
from feedback_platform.errors import CompileError, WindowMismatch
from feedback_platform.stages.graph import stages

FIRST = TABLE_NAMES[0]
LEASE_SECONDS = 600.0
_RAW = {"inferences": "raw_inference_logs", "feedback": "raw_feedback"}
_FORMS = re.compile(r"\b(?:new_|wanted_)?([a-z_]+?)(?:_new|_old)?\b")


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did. Without a window, `note` says why; `rows` is the table's size at the window."""

    window: Manifest | None
    note: str
    change: TableStep | None = None
    rows: int = 0


@functools.cache
def table_inputs() -> Mapping[str, tuple[str, ...]]:
    """Table -> the tables that it is made from, as its SQL names them; `T_before` is the past, and no input."""
    found = {
        stage.table.name: _named(" ".join(s.sql for s in stage.sql.values()), stage.table.name) for stage in stages()
    }
    found[BIAS_REPORT.name] = ("raw_inference_logs", "resolved_examples", "sampled_dataset")
    return found


def advance_step(compiler: Compiler, table: str, *, trigger: str) -> StepResult:
    """Advance one table to the open window; only the first table of a dataset cuts one.

    Raises:
        CompileError: a table that this one reads is not at the window yet.
        WindowMismatch: the open window was cut for another configuration; the first table replaces it.
        LeaseHeldError: another process compiles the dataset for longer than we wait.
    """
    with compiler.lease(wait_seconds=LEASE_SECONDS, what=f"advance {table} of"):
        window = open_or_resume(compiler, trigger=trigger) if table == FIRST else compiler.store.open_one()
        if window is None:
            return StepResult(None, _idle(compiler, table))
        _require(compiler, window, table, [t for t in table_inputs()[table] if t in TABLE_NAMES])
        known = table in window.tables  # only for the note: the table's own transaction says whether it is there
        change = run_table(compiler, window, table)
        note = f"{'already at' if known else 'advanced to'} window {window.window}"
        return StepResult(window, note, change, table_rows(compiler, window, table) + change.added - change.removed)


def publish_step(compiler: Compiler, outputs: Sequence[Output]) -> StepResult:
    """Publish the open window once every table is at it; see `publication.publish` for what may refuse."""
    with compiler.lease(wait_seconds=LEASE_SECONDS, what="publish"):
        window = compiler.store.open_one()
        if window is None:
            return StepResult(None, _idle(compiler, "dataset_manifests"))
        _require(compiler, window, "dataset_manifests", TABLE_NAMES)
        if window.status == "open":
            window = note_hashes(compiler, window.window)
        done = publish(compiler, window.window, outputs)
    note = f"published version {done.version}" if done.version else "nothing changed, so there is no new version"
    return StepResult(done, note, rows=sum(done.rows.values()))


def table_rows(compiler: Compiler, window: Manifest, table: str) -> int:
    """Rows of a table before a window, summed over what the closed windows before it did."""
    steps = [m.tables[table] for m in _before(compiler, window) if table in m.tables]
    return sum(step.added - step.removed for step in steps)


def latest_window(compiler: Compiler) -> Manifest | None:
    """The open window, else the last one closed: what a check looks at."""
    return compiler.store.open_one() or compiler.store.last_closed()


def _before(compiler: Compiler, window: Manifest) -> list[Manifest]:
    return [m for m in compiler.store.all() if m.status in CLOSED and m.window < window.window]


def _require(compiler: Compiler, window: Manifest, table: str, inputs: Sequence[str]) -> None:
    if window.status == "publishing":
        return
    if (window.config_hash, window.semantics) != (config_hash(compiler.policy), current_semantics()):
        raise WindowMismatch(
            f"{window.dataset}: window {window.window} was cut for another configuration. Materialize {FIRST}, or the "
            f"whole job: it gives that window up and cuts a new one."
        )
    missing = [t for t in inputs if t not in window.tables]
    if missing:
        raise CompileError(
            f"{window.dataset}: {table} reads {', '.join(missing)}, not yet at window {window.window}. "
            "Materialize those first, or run the whole job: tables that are there already are not computed again."
        )


def _idle(compiler: Compiler, table: str) -> str:
    last = compiler.store.last_closed()
    if table == FIRST:
        return "nothing has landed yet" if last is None else f"nothing has landed since window {last.window} was cut"
    closed = "none was ever cut" if last is None else f"window {last.window} is {last.status}"
    return f"no window is open ({closed}); only {FIRST} cuts one, when there is something new"


def _named(sql: str, table: str) -> tuple[str, ...]:
    names = {_RAW.get(name, name) for name in _FORMS.findall(re.sub(r"--[^\n]*|'[^']*'", " ", sql))}
    known = (*_RAW.values(), *TABLE_NAMES)
    return tuple(name for name in known if name in names and name != table)
