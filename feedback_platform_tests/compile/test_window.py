"""Windows: resumed after a death, abandoned without a trace, blocked, too small, and never cut for nothing."""

import pytest

import feedback_platform
from feedback_platform.compile.manifest import Manifest, summary
from feedback_platform.compile.publication import publish, yank
from feedback_platform.compile.restore import restore
from feedback_platform.compile.steps import advance_step, publish_step
from feedback_platform.compile.window import (
    EXCHANGE_MARKER,
    TABLE_NAMES,
    abandon,
    open_or_resume,
    preview,
    run_table,
    run_tables,
)
from feedback_platform.contracts.stage_tables import STAGE_TABLES
from feedback_platform.errors import CompileError, LeaseHeldError, PublishBlocked
from feedback_platform_tests.builders import Line, inference, line, retraction, thumbs

FIRST = ([inference("r1", text="one")], [thumbs("f1", "r1", rater="ann")])
SECOND = ([inference("r2", text="two")], [thumbs("f2", "r2"), retraction("x1", "f1", rater="ann")])


def started(home, **policy) -> Line:
    """A line with version 1 published and more landed behind it."""
    one = line(home, **policy)
    one.send(*FIRST)
    assert one.done().version == 1
    one.send(*SECOND)
    one.land()
    return one


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    one = started(tmp_path_factory.mktemp("whole") / "home")
    return one.done()


def windows_in(one: Line, table: str) -> set[str]:
    snapshot = one.compiler.lake.table(table, "d").snapshot()
    return {f.prefix for f in snapshot.files}


def opened(one: Line, trigger: str = "test") -> Manifest:
    """The window that is open or cut now."""
    manifest = open_or_resume(one.compiler, trigger=trigger)
    assert manifest is not None
    return manifest


def cut_short(one: Line, tables: int) -> Manifest:
    """A window that died after so many tables."""
    manifest = opened(one)
    for name in TABLE_NAMES[:tables]:
        run_table(one.compiler, manifest, name)
    return manifest


def test_an_interrupted_window_is_resumed_and_ends_the_same(tmp_path, uninterrupted):
    one = started(tmp_path / "home")
    died = cut_short(one, 4)
    one.send([inference("r3")], [])
    one.land()
    resumed = opened(one, "other")
    assert (resumed.window, resumed.cuts, resumed.trigger) == (died.window, died.cuts, "test")
    run_tables(one.compiler, resumed)
    done = publish(one.compiler, resumed.window)
    assert (done.status, done.version) == ("published", 2)
    assert (done.state_hash, done.change_hash) == (uninterrupted.state_hash, uninterrupted.change_hash)
    assert publish(one.compiler, done.window) == done
    yank(one.compiler, 2, "wrong")
    assert one.compiler.store.version(None).version == 1
    assert one.compiler.store.version(2).yanked == "wrong"


def test_an_abandoned_window_leaves_no_row_and_its_id_is_never_used_again(tmp_path, uninterrupted):
    one = started(tmp_path / "home")
    before = {c.name: windows_in(one, c.name) for c in STAGE_TABLES}
    died = cut_short(one, 5)
    assert {c.name: windows_in(one, c.name) for c in STAGE_TABLES} != before
    given_up = abandon(one.compiler, why="a test")
    assert given_up is not None
    assert (given_up.window, given_up.status, given_up.why) == (died.window, "abandoned", "a test")
    assert {c.name: windows_in(one, c.name) for c in STAGE_TABLES} == before
    assert abandon(one.compiler, why="again") is None
    done = one.done()
    assert (done.window, done.version, done.prev_window) == (died.window + 1, 2, 1)
    assert (done.state_hash, done.changes) == (uninterrupted.state_hash, uninterrupted.changes)
    assert one.ledger().unaccounted == 0


def test_an_open_window_of_another_configuration_is_abandoned(tmp_path):
    one = started(tmp_path / "home")
    died = cut_short(one, 2)
    changed = line(one.home, resolve={"agreement": 0.8})
    fresh = opened(changed)
    assert (fresh.window, fresh.recompile, fresh.trigger) == (died.window + 1, True, "policy_changed")
    old = changed.compiler.store.load(died.window)
    assert (old.status, old.why) == ("abandoned", "the configuration or the stages changed while the window was open")


def test_nothing_new_cuts_no_window_and_an_empty_change_set_publishes_nothing(tmp_path):
    one = line(tmp_path / "home")
    one.send()
    assert one.compile() is None
    one.send(*FIRST)
    assert preview(one.compiler, trigger="test") is None  # accepted, but not landed
    assert one.done().version == 1
    assert one.compile() is None
    one.send(*FIRST)  # the same events again
    assert one.compile() is None
    assert [m.window for m in one.compiler.store.all()] == [1]
    one.send([inference("silent")], [])
    done = one.done()
    assert (done.status, done.version, sum(done.changes.values())) == ("empty", None, 0)
    assert one.compiler.store.version(None).version == 1


def test_too_few_changes_wait_for_more_and_changes_that_cancel_out_make_no_version(tmp_path):
    one = line(tmp_path / "home", trigger={"min_changes": 2}, objectives=["unpaired"])
    seen = []
    for n in range(3):
        one.send([inference(f"r{n}", text=f"text {n}")], [thumbs(f"f{n}", f"r{n}", rater="ann")])
        done = one.done()
        seen.append((done.status, done.version, done.rows["unpaired"]))
    assert seen == [("empty", None, 1), ("published", 1, 2), ("empty", None, 3)]
    one.send([], [retraction("x2", "f2", rater="ann")])
    done = one.done()
    assert (done.status, done.state_hash) == ("empty", one.compiler.store.version(1).state_hash)


def lopsided(one: Line) -> None:
    """Half of the requests come from the south, and nobody there answers."""
    places = [{"region": "north" if n % 2 else "south"} for n in range(160)]
    given = [inference(f"m{n}", text=f"text {n}", segments=place) for n, place in enumerate(places)]
    one.send(given, [thumbs(f"mf{n}", f"m{n}") for n in range(1, 160, 2)])


def test_a_blocked_window_closes_and_the_next_version_carries_its_changes(tmp_path):
    blocking = line(tmp_path / "home", bias={"gate": "block"}, objectives=["unpaired"])
    blocking.send([inference("r1", text="one", segments={"region": "north"})], [thumbs("f1", "r1")])
    assert blocking.done().version == 1
    lopsided(blocking)
    with pytest.raises(PublishBlocked, match=r"d, window 2: the bias gate blocks: \d+ findings"):
        blocking.done()
    blocked = blocking.compiler.store.load(2)
    assert (blocked.status, blocked.version) == ("blocked", None)
    assert str(blocked.why).startswith("the bias gate blocks")
    warning = line(blocking.home, bias={"gate": "warn"}, objectives=["unpaired"])
    done = warning.done()
    assert (done.window, done.version, done.recompile) == (3, 2, False)
    assert done.rows == {"unpaired": 81}
    changes = feedback_platform.load_dataset("d", since=1, settings=warning.settings).collect()
    assert (changes.height, set(changes["change"])) == (80, {"add"})
    assert warning.compile() is None


def test_one_compilation_at_a_time(tmp_path):
    one = line(tmp_path / "home")
    with one.compiler.lease(), pytest.raises(LeaseHeldError, match="compile d"), one.compiler.lease():
        pass


def test_a_window_that_was_open_during_a_restore_is_computed_again(tmp_path, uninterrupted):
    one = started(tmp_path / "home")
    for name in TABLE_NAMES[:2]:
        advance_step(one.compiler, name, trigger="test")
    assert [r.equal for r in restore(one.compiler)] == [True]
    assert windows_in(one, TABLE_NAMES[0]) == {"w000001"}
    with pytest.raises(CompileError, match="not yet at window 2"):
        advance_step(one.compiler, TABLE_NAMES[2], trigger="test")  # as a retry of a failed step does
    for name in TABLE_NAMES:
        advance_step(one.compiler, name, trigger="test")
    done = publish_step(one.compiler, []).window
    assert done is not None
    assert (done.version, done.changes, done.state_hash) == (2, uninterrupted.changes, uninterrupted.state_hash)
    assert one.ledger().unaccounted == 0


def test_a_restore_cut_short_refuses_every_lease_until_it_is_repeated(tmp_path, uninterrupted):
    one = started(tmp_path / "home")
    home = one.settings.lake / "d"
    (home / EXCHANGE_MARKER).write_bytes(b"x")
    (home / "attributed_pairs").rename(home / "_gone")
    attempts = (
        one.compile,
        lambda: advance_step(one.compiler, TABLE_NAMES[0], trigger="test"),
        lambda: publish_step(one.compiler, []),
    )
    for attempt in attempts:
        with pytest.raises(CompileError, match=r"a rebuild was cut short .* Run `feedback rebuild d` again"):
            attempt()
    assert [r.equal for r in restore(one.compiler)] == [True]
    assert one.done().state_hash == uninterrupted.state_hash


def test_a_version_being_published_cannot_be_abandoned(tmp_path):
    def killed(*_):
        raise RuntimeError("killed")

    one = started(tmp_path / "home")
    window = run_tables(one.compiler, opened(one)).window
    with pytest.raises(RuntimeError, match="killed"):
        publish(one.compiler, window, [killed])
    assert one.compiler.store.load(window).status == "publishing"
    with pytest.raises(CompileError, match="version 2 is being published and cannot be abandoned"):
        abandon(one.compiler, why="a test")
    done = one.done()
    assert (done.window, done.status, done.version) == (window, "published", 2)


def test_a_version_sums_the_changes_of_windows_that_waited_for_it(tmp_path):
    one = line(tmp_path / "home", trigger={"min_changes": 3}, objectives=["unpaired"])
    seen = []
    for n in range(0, 8, 2):
        new = (n, n + 1)
        one.send([inference(f"r{m}", text=f"text {m}") for m in new], [thumbs(f"f{m}", f"r{m}") for m in new])
        done = one.done()
        seen.append((done.status, done.version, done.changes["add"], summary(done)["changes"]["add"]))
    assert seen == [("empty", None, 2, 2), ("published", 1, 2, 4), ("empty", None, 2, 2), ("published", 2, 2, 4)]
    assert done.since_version == {"add": 4, "update": 0, "remove": 0}
