"""Snapshots bound what is read and change nothing: state, hashes, old versions and rebuild are as without them."""

from datetime import UTC, datetime
from pathlib import Path

from feedback_platform.compile.manifest import ManifestStore
from feedback_platform.compile.reading import dataset_sql
from feedback_platform.compile.rebuild import rebuild
from feedback_platform.compile.relations import past_sql
from feedback_platform.compile.snapshots import snapshot_due, take_snapshots
from feedback_platform.compile.upkeep import tend
from feedback_platform.compile.workspace import LakeWorkspace, bases
from feedback_platform.contracts.stage_tables import RESOLVED_EXAMPLES
from feedback_platform_tests.builders import Event, Line, correction, inference, line, rating, retraction, thumbs

SLICES: list[tuple[list[Event], list[Event]]] = [
    ([inference("r1"), inference("r2", text="b")], [thumbs("f1"), rating("f2", "r2", score=95, rater="ann")]),
    ([], [rating("f3", "r2", score=5, rater="ann", minute=99), correction("f4")]),
    ([inference("r3", text="c")], [thumbs("f5", "r3"), retraction("f6", "f1")]),
    ([inference("r4", text="d")], [thumbs("f7", "r4", up=False), correction("f8", "r2", output="other")]),
]


def run(one: Line, *, snapshots: bool) -> Line:
    """All slices, with a snapshot after every window or none."""
    for inferences, feedback in SLICES:
        one.send(inferences, feedback)
        manifest = one.compile()
        assert manifest is not None
        if snapshots:
            take_snapshots(one.compiler.lake, "d", manifest.window, memory_limit="512MB")
    return one


def test_a_snapshot_changes_no_state_no_hash_and_no_old_version(tmp_path: Path) -> None:
    plain, snapped = run(line(tmp_path / "a"), snapshots=False), run(line(tmp_path / "b"), snapshots=True)
    hashes = [[(m.change_hash, m.state_hash) for m in one.compiler.store.all()] for one in (plain, snapped)]
    assert hashes[0] == hashes[1]
    assert plain.table("feedback_events").equals(snapped.table("feedback_events"))
    assert snapped.ledger().unaccounted == 0
    assert all(result.equal for result in rebuild(snapped.compiler))
    first = snapped.compiler.store.version(1)
    with snapped.compiler.engine() as engine:
        ids = engine.rows(f"SELECT request_id FROM ({dataset_sql(snapped.compiler.lake, 'd', first)}) ORDER BY ALL")
    assert {row[0] for row in ids} == {"r1", "r2"}


def test_the_past_is_read_from_the_snapshot_and_only_what_came_after_it(tmp_path: Path) -> None:
    one = run(line(tmp_path), snapshots=False)
    lake = one.compiler.lake
    take_snapshots(lake, "d", 3, memory_limit="512MB")
    assert [w for w, _ in bases(lake, "resolved_examples", "d")] == [3]
    work = LakeWorkspace(lake, "d", 5)
    with one.compiler.engine() as engine:
        engine.define("past", past_sql(work, RESOLVED_EXAMPLES, 4))
        later = engine.rows('SELECT DISTINCT "window" FROM past WHERE prev_window IS NOT NULL')
        kept = {row[0] for row in engine.rows("SELECT count(*) - count(DISTINCT example_id) FROM past")}
    assert later == [(4,)]
    assert kept != {0}, "the row that window 4 replaced is still there, to be replaced"
    assert LakeWorkspace(lake, "d", 3).base("resolved_examples") == (0, []), "a snapshot after a window is not its past"


def test_upkeep_takes_one_when_enough_windows_are_closed(tmp_path: Path) -> None:
    one = run(line(tmp_path), snapshots=False)
    store, lake = ManifestStore(one.settings.lake / "d"), one.compiler.lake
    assert snapshot_due(store, lake, "d", every=5) is None
    assert snapshot_due(store, lake, "d", every=4) == 4
    tend(lake, now=datetime.now(UTC), memory_limit="512MB")
    assert bases(lake, "sampled_dataset", "d") == [], "ten windows by default"
    take_snapshots(lake, "d", 4, memory_limit="512MB")
    assert snapshot_due(store, lake, "d", every=1) is None
