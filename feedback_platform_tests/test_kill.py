"""Law 3: landing and compiling, giving up a window and compacting can be killed anywhere and run again.

Every crash point is found in the code, so a new table or step is covered by itself. A few points run always, all of
them with `pytest -m slow`.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import msgspec
import pytest

import feedback_platform
from feedback_platform.compile.reading import state_sql, table_files
from feedback_platform.compile.rebuild import rebuild
from feedback_platform.compile.verify import misplaced_rows, stored_state_hash
from feedback_platform.compile.window import TABLE_NAMES
from feedback_platform.contracts.raw_tables import RAW_TABLES
from feedback_platform.engines.duckdb import scan_sql
from feedback_platform.intake.landing import TABLES
from feedback_platform.lake.crash import POINTS
from feedback_platform.lake.upkeep import verify
from feedback_platform.outputs import compile_once, export_folder
from feedback_platform_tests.builders import correction, inference, retraction, thumbs
from feedback_platform_tests.worker import a_line

LANDED = [name for _, name in TABLES]
REACHED = re.compile(r"""\breach\(\s*f?["']([^"']+)["']""")


def all_points() -> list[str]:
    """Every crash point that landing and compiling may pass, in the words of the code that passes it."""
    package = Path(feedback_platform.__file__).parent
    named = {p for f in package.rglob("*.py") for p in REACHED.findall(f.read_text()) if "{step}" not in p}
    tables = {"{table.name}": [*LANDED, *TABLE_NAMES], "{name}": list(TABLE_NAMES)}
    points = []
    for point in sorted(named):
        scope, _, step = point.rpartition(".")
        points += [f"{name}.{step}" for name in tables.get(scope, [scope])]
    return points


# One of each kind, in the order in which a run meets them.
SPREAD = (
    "raw_feedback.after_commit",
    "window.cut",
    "attributed_pairs.after_commit",
    "sampled_dataset.before_cursor",
    "window.versioned",
    "window.published",
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A home with version 1 and events waiting, and what an undisturbed run makes of it."""

    home: Path
    done: Path
    hashes: tuple[str, str]
    contents: Mapping[str, list[bytes]]
    exports: list[str]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Window 2 changes every table: an answer to old feedback, a retraction, new pairs, a line refused at the door."""
    folder = tmp_path_factory.mktemp("kill")
    one = a_line(folder / "home")
    one.send(
        [inference(f"r{n}", text=f"question {n}", task="chat", segments={"device": "ab"[n % 2]}) for n in range(4)],
        [thumbs("f0", "r0"), thumbs("f1", "r1"), correction("f2", "r2"), thumbs("f3", "r3", up=False), {"bad": True}],
    )
    one.land()
    compile_once(one.compiler, "test")
    one.send(
        [inference("r5", text="another", task="chat", minute=5, segments={"device": "a"})],
        [thumbs("f5", "r5"), retraction("f6", "f1"), correction("f7", "r0"), thumbs("f8", "r2"), {"bad": False}],
    )
    done = shutil.copytree(folder / "home", folder / "undisturbed")
    other = a_line(done)
    other.land()
    compile_once(other.compiler, "test")
    latest = other.compiler.store.version(2)
    idle = [name for name, step in latest.tables.items() if step.added + step.updated + step.removed == 0]
    assert not idle, f"window 2 writes nothing to {idle}, so a crash there proves little"
    return Prepared(folder / "home", done, (latest.change_hash, latest.state_hash), contents(done), exported(done))


def test_every_step_of_a_crash_point_is_met_somewhere() -> None:
    points = all_points()
    assert {p.rpartition(".")[2] for p in points} == set(POINTS)
    assert len(points) == len(set(points))
    assert set(SPREAD) <= set(points), "a point of the spread is gone: choose another"


def test_killed_again_and_again_each_time_further_on_gives_the_same_version(prepared: Prepared, tmp_path: Path) -> None:
    killed_and_run_again(prepared, tmp_path, *SPREAD)


@pytest.mark.slow
def test_an_undisturbed_run_can_be_rebuilt(prepared: Prepared) -> None:
    rebuilds(prepared.done)


@pytest.mark.slow
@pytest.mark.parametrize("point", all_points())
def test_killed_anywhere_and_run_again_gives_the_same_version(prepared: Prepared, tmp_path: Path, point: str) -> None:
    killed_and_run_again(prepared, tmp_path, point)
    rebuilds(tmp_path / "home")


@pytest.mark.slow
@pytest.mark.parametrize(
    "points",
    [
        ("attributed_pairs.before_cursor", "bias_report.after_commit"),
        ("raw_feedback.after_fsync", "window.exported"),
        ("window.hashed", "window.published"),
        ("resolved_examples.after_parts", "resolved_examples.after_parts"),
    ],
)
def test_killed_twice_and_run_again_gives_the_same_version(
    prepared: Prepared, tmp_path: Path, points: tuple[str, ...]
) -> None:
    killed_and_run_again(prepared, tmp_path, *points)
    rebuilds(tmp_path / "home")


@pytest.mark.parametrize(
    ("opened", "given_up", "resumes"),
    [
        ("enriched_records.after_parts", "attributed_pairs.after_commit", "compile"),
        *(
            pytest.param("sampled_dataset.after_fsync", f"{table}.{step}", role, marks=pytest.mark.slow)
            for table in ("attributed_pairs", "validated_pairs", "bias_report")
            for step in ("after_parts", "after_commit", "before_cursor")
            for role in ("compile", "abandon")
        ),
    ],
)
def test_killed_while_giving_up_a_window_and_run_again_gives_the_same_version(
    prepared: Prepared, tmp_path: Path, opened: str, given_up: str, resumes: str
) -> None:
    home = shutil.copytree(prepared.home, tmp_path / "home")
    run(home, "compile", crash_at=opened)
    run(home, "abandon", crash_at=given_up)
    run(home, resumes)
    if resumes != "compile":
        run(home, "compile")
    undisturbed(prepared, home, window=3)


@pytest.mark.parametrize(
    "point",
    [
        "attributed_pairs.after_commit",
        *(
            pytest.param(f"{table}.after_commit", marks=pytest.mark.slow)
            for table in ("raw_feedback", "sampled_dataset", "bias_report")
        ),
    ],
)
def test_killed_while_compacting_loses_nothing(prepared: Prepared, tmp_path: Path, point: str) -> None:
    home = shutil.copytree(prepared.done, tmp_path / "home")
    run(home, "compact", crash_at=point)
    whole(prepared, home)
    run(home, "compact")
    whole(prepared, home)
    compiler = a_line(home).compiler
    files = {name: len(compiler.lake.table(name, "d").snapshot().files) for name in TABLE_NAMES}
    assert set(files.values()) == {1}, f"two windows' files became one: {files}"


def killed_and_run_again(prepared: Prepared, folder: Path, *points: str) -> None:
    """Die at each point in turn, then run to the end and hold everything against the undisturbed run."""
    home = shutil.copytree(prepared.home, folder / "home")
    for point in points:
        run(home, "compile", crash_at=point)
    run(home, "compile")
    undisturbed(prepared, home, window=2)


def run(home: Path, role: str, crash_at: str = "") -> None:
    """Run a worker to its end, or to its death at a point that it must reach."""
    environ = {**os.environ, "FEEDBACK_CRASH_AT": crash_at}
    command = [sys.executable, "-m", "feedback_platform_tests.worker", role, str(home)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if crash_at:
        assert done.returncode == -signal.SIGKILL, f"{crash_at} was never reached: {done.stderr[-2000:]}"
    else:
        assert done.returncode == 0, done.stderr[-4000:]


def undisturbed(prepared: Prepared, home: Path, *, window: int) -> None:
    """One version more, with the content that a run without a crash gives; its outputs show it."""
    compiler = a_line(home).compiler
    latest = compiler.store.version(None)
    assert [m.version for m in compiler.store.versions()] == [1, 2]
    assert (latest.version, latest.window) == (2, window)
    assert (latest.change_hash, latest.state_hash) == prepared.hashes
    assert exported(home) == prepared.exports
    with duckdb.connect(str(compiler.settings.warehouse), read_only=True) as warehouse:
        rows = warehouse.execute("SELECT max(version), count(*) FROM d.dataset_versions").fetchone()
    assert rows == (2, 2), "analysts see the new version"
    whole(prepared, home)


def whole(prepared: Prepared, home: Path) -> None:
    """Tables verify, nothing is doubled or lost, the ledger is whole, each table says what it says undisturbed."""
    one = a_line(home)
    compiler = one.compiler
    with compiler.engine() as engine:
        for contract in RAW_TABLES:
            verify(compiler.lake.table(contract.name))
            assert misplaced_rows(compiler.lake, contract.name, engine)[1] == 0, contract.name
    for name in TABLE_NAMES:
        verify(compiler.lake.table(name, "d"))
    ledger = one.ledger()
    assert ledger.unaccounted == 0, ledger.as_mapping()
    assert stored_state_hash(compiler, compiler.store.version(2)) == prepared.hashes[1]
    assert contents(home) == prepared.contents


def rebuilds(home: Path) -> None:
    """Replaying the windows from the raw tables gives the hashes on record."""
    assert not [result for result in rebuild(a_line(home).compiler) if not result.equal]


def contents(home: Path) -> dict[str, list[bytes]]:
    """Current rows of every table, as text, sorted."""
    compiler = a_line(home).compiler
    latest = compiler.store.version(2)
    scans = {c.name: scan_sql(table_files(compiler.lake, c.name), c.columns()) for c in RAW_TABLES}
    scans |= {name: state_sql(compiler.lake, "d", name, latest.window) for name in TABLE_NAMES}
    with compiler.engine() as engine:
        return {name: sorted(map(msgspec.json.encode, engine.rows(sql))) for name, sql in scans.items()}


def exported(home: Path) -> list[str]:
    """Files that lie below the exports of version 2."""
    compiler = a_line(home).compiler
    folder = export_folder(compiler.settings, compiler.store.version(2))
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
