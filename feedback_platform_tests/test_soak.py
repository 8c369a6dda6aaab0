"""Everything at once on one home: two compilers, an importer that lands, upkeep, a reader. Afterwards the laws hold.

`FEEDBACK_SOAK_SECONDS` sets the length of the slow one (60).
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from feedback_platform.compile.rebuild import rebuild
from feedback_platform.compile.verify import misplaced_rows, stored_state_hash
from feedback_platform.compile.window import TABLE_NAMES
from feedback_platform.contracts.raw_tables import RAW_TABLES
from feedback_platform.engines.duckdb import scan_sql
from feedback_platform.lake.upkeep import verify
from feedback_platform.outputs import compile_once
from feedback_platform_tests.builders import Line
from feedback_platform_tests.worker import a_line, round_of_events

ROLES = ("soak-compile", "soak-compile", "soak-feed", "soak-tend", "soak-read")
PATIENCE = 120.0  # the last thing that a process began may take long where many share a machine


def test_a_short_soak_keeps_every_law(tmp_path: Path) -> None:
    soaked(tmp_path / "home", seconds=8)


@pytest.mark.slow
def test_a_soak_keeps_every_law(tmp_path: Path) -> None:
    soaked(tmp_path / "home", seconds=float(os.environ.get("FEEDBACK_SOAK_SECONDS", "60")))


def soaked(home: Path, seconds: float) -> None:
    """Run all roles side by side, then look."""
    one = a_line(home)
    one.send(*round_of_events(1_000_000))
    one.land()
    compile_once(one.compiler, "test")
    said = side_by_side(home, seconds)
    one.land()
    compile_once(one.compiler, "test")
    assert any(line.startswith("reads ") and line != "reads 0" for line in said), "the reader read nothing"
    whole(one, said)


def side_by_side(home: Path, seconds: float) -> list[str]:
    """Lines that the processes said; none of them may end with an error."""
    command = [sys.executable, "-m", "feedback_platform_tests.worker"]
    logs = [home.parent / f"{n}-{role}" for n, role in enumerate(ROLES)]
    processes = []
    for role, log in zip(ROLES, logs, strict=True):
        with log.with_suffix(".out").open("wb") as out, log.with_suffix(".err").open("wb") as err:
            processes.append(subprocess.Popen([*command, role, str(home), str(seconds)], stdout=out, stderr=err))
    try:
        codes = [process.wait(timeout=seconds + PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    errors = [f"{log.name}: {log.with_suffix('.err').read_text()[-3000:]}" for log in logs]
    assert not any(codes), "\n".join(e for e, code in zip(errors, codes, strict=True) if code)
    return [line for log in logs for line in log.with_suffix(".out").read_text().splitlines()]


def whole(one: Line, said: list[str]) -> None:
    """Every law on what the processes left behind."""
    compiler = one.compiler
    versions = [m.version for m in compiler.store.versions()]
    assert versions == list(range(1, len(versions) + 1)), "versions count up without gaps"
    assert len(versions) > 1, "nothing was published meanwhile"
    assert compiler.store.open_one() is None
    ledger = one.ledger()
    assert ledger.unaccounted == 0, ledger.as_mapping()
    assert ledger.inference.not_yet_compiled == ledger.feedback.not_yet_compiled == 0
    assert len([line for line in said if not line.startswith("reads ")]) > 0, "nothing was acknowledged"
    assert_once(one, said)
    for name in TABLE_NAMES:
        verify(compiler.lake.table(name, "d"))
    for manifest in compiler.store.versions():
        assert stored_state_hash(compiler, manifest) == manifest.state_hash, f"version {manifest.version}"
    unequal = [result for result in rebuild(compiler) if not result.equal]
    assert not unequal


def assert_once(one: Line, said: list[str]) -> None:
    """Every acknowledged event is in its raw table exactly once, and so is every log position."""
    compiler = one.compiler
    for kind, table, key in (
        ("inference", "raw_inference_logs", "request_id"),
        ("feedback", "raw_feedback", "feedback_id"),
    ):
        wanted = {line.split()[1] for line in said if line.startswith(f"{kind} ")}
        opened = compiler.lake.table(table)
        with compiler.engine() as engine:
            scan = scan_sql([f.path for f in opened.snapshot().files], opened.contract.columns())
            found = [str(row[0]) for row in engine.rows(f"SELECT {key} FROM ({scan})")]
        assert len(found) == len(set(found)), f"{table}: an event is there twice"
        assert wanted <= set(found), f"{table}: {len(wanted - set(found))} acknowledged events are lost"
    with compiler.engine() as engine:
        for contract in RAW_TABLES:
            verify(compiler.lake.table(contract.name))
            assert misplaced_rows(compiler.lake, contract.name, engine)[1] == 0, contract.name
