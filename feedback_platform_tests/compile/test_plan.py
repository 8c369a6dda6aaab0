"""Plan: what a policy change would do, before it does; then it does exactly that, and old versions stay as they were."""

import pytest

import feedback_platform
from feedback_platform.compile.plan import make_plan
from feedback_platform.compile.window import TABLE_NAMES, open_or_resume, run_table, run_tables
from feedback_platform.contracts.policies import resolve_policy
from feedback_platform_tests.builders import Line, inference, line, rating, thumbs

OBJECTIVES = {"objectives": ["unpaired"]}


def votes(request_id: str, pattern: str):
    return [thumbs(f"{request_id}{n}", request_id, up=c == "+", rater=f"u{n}") for n, c in enumerate(pattern)]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    made = line(tmp_path_factory.mktemp("plan") / "home", **OBJECTIVES)
    names = ["agreed", "close", "mixed"]
    made.send(
        [inference(n, text=n) for n in names],
        [*votes("agreed", "+++"), *votes("close", "++-"), *votes("mixed", "---"), rating("good", "mixed", rater="u9")],
    )
    made.done()
    return made


def rows(made: Line, version: int):
    return feedback_platform.load_dataset("d", version, settings=made.settings).collect()


def files(made: Line) -> set[str]:
    return {str(p) for p in made.home.rglob("*") if p.is_file()}


def policy(**given):
    return resolve_policy({"name": "d", **OBJECTIVES, **given})


def test_with_nothing_new_there_is_nothing_to_do(one):
    assert make_plan(one.compiler).nothing_to_do


@pytest.mark.parametrize(
    "given",
    [
        {"bias": {"gate": "block"}}, {"trigger": {"schedule": None, "min_changes": 9}}, {"publish": {"formats": []}},
        {"drift": {"action": "compile"}},
    ],
)  # fmt: skip
def test_operational_settings_are_no_policy_change(one, given):
    assert make_plan(one.compiler, policy(**given)).nothing_to_do
    assert line(one.home, **OBJECTIVES, **given).compile() is None


def test_a_stricter_agreement_says_what_it_removes_and_writes_nothing(one):
    before = files(one)
    plan = make_plan(one.compiler, policy(resolve={"agreement": 0.8}))
    assert (plan.nothing_to_do, plan.recompile, plan.trigger) == (False, True, "policy_changed")
    assert plan.policy_changes == {"resolve.agreement": (0.67, 0.8)}
    assert plan.changes == {"unpaired": {"remove": 1}}
    assert plan.removal_reasons == {"disagreement": 1}
    assert plan.label_flips == []
    assert plan.cost == "a recompile: reads all 13 events"
    assert files(one) == before


def test_another_precedence_says_which_labels_flip(one):
    precedence = ["adjudication", "thumbs", "rating"]
    plan = make_plan(one.compiler, policy(resolve={"precedence": precedence}))
    assert plan.changes == {"unpaired": {"update": 1}}
    assert plan.label_flips == [{"objective": "unpaired", "from": "true", "to": "false", "examples": 1}]


def test_new_events_are_planned_with_what_they_cost(one, tmp_path_factory):
    made = line(tmp_path_factory.mktemp("more") / "home", **OBJECTIVES)
    made.send([inference("r1", text="one")], [thumbs("f1", "r1")])
    made.land()
    plan = make_plan(made.compiler)
    assert (plan.trigger, plan.recompile, plan.cost) == ("plan", False, "reads 2 new events")
    assert plan.changes == {"unpaired": {"add": 1}}
    assert made.compiler.store.all() == []


def test_the_next_compile_does_what_was_planned_and_version_1_stays(one):
    version_1 = rows(one, 1)
    changed = line(one.home, **OBJECTIVES, resolve={"agreement": 0.8})
    done = changed.done("schedule")
    assert (done.trigger, done.recompile, done.version) == ("policy_changed", True, 2)
    assert done.changes == {"add": 0, "update": 0, "remove": 1}
    assert rows(changed, 1).equals(version_1)
    assert set(version_1["request_id"]) - set(rows(changed, 2)["request_id"]) == {"close"}
    gone = feedback_platform.load_dataset("d", since=1, settings=one.settings).collect()
    assert gone.select("request_id", "change", "change_reason").rows() == [("close", "remove", "disagreement")]
    back = one.done()
    assert (back.trigger, back.version, back.changes["add"]) == ("policy_changed", 3, 1)
    assert back.state_hash == one.compiler.store.version(1).state_hash
    added = feedback_platform.load_dataset("d", since=2, settings=one.settings).collect()
    assert added["change_reason"].to_list() == ["policy_changed"]


def test_a_window_half_done_is_planned_like_none(tmp_path):
    made = line(tmp_path / "home", **OBJECTIVES)
    made.send([inference("r1", text="one")], [thumbs("f1", "r1")])
    made.done()
    made.send([inference("r2", text="two")], [thumbs("f2", "r2")])
    made.land()
    before = make_plan(made.compiler)
    assert before.changes == {"unpaired": {"add": 1}}
    window = open_or_resume(made.compiler, trigger="test")
    assert window is not None
    for name in TABLE_NAMES[:2]:
        run_table(made.compiler, window, name)
    assert make_plan(made.compiler).changes == before.changes
    run_tables(made.compiler, window)
    assert make_plan(made.compiler).changes == before.changes
