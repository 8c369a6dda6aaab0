"""Candidates: what is the same content, who represents it, and which part of the data each example belongs to."""

from collections.abc import Sequence
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.contracts.canonical import normalise_text
from feedback_platform.contracts.policies import DatasetPolicy, resolve_policy
from feedback_platform.stages.candidates import PARTS, RANK_SCALE, draw
from feedback_platform.stages.content import folded, said, unit_interval
from feedback_platform_tests.builders import Line, correction, inference, line, retraction, thumbs


def policy(**given: Any) -> DatasetPolicy:
    return resolve_policy({"name": "d", **given})


def examples(ids: list[str], uncertainty: Sequence[int | None] | None = None) -> pl.DataFrame:
    unsure = uncertainty or [None] * len(ids)
    return pl.DataFrame(
        {
            "example_id": ids, "split_root": [f"r:{i}" for i in ids], "uncertainty_ppm": unsure,
            "label": [("true", "false")[len(i) % 2] for i in ids], "model": ["bot"] * len(ids),
        },
        schema_overrides={"uncertainty_ppm": pl.Int64},
    )  # fmt: skip


@given(st.lists(st.text() | st.text("aA \t\n\u00a0ßſﬁİΣ１"), max_size=8))
def test_folded_texts_are_the_normalised_texts(texts):
    assert folded(pl.Series(texts, dtype=pl.String)).to_list() == [normalise_text(t) for t in texts]


@given(st.lists(st.none() | st.text() | st.text('"\\\\\n') | st.integers() | st.lists(st.text()), max_size=8))
def test_json_strings_are_read_as_what_they_say(values):
    texts = [None if v is None else msgspec.json.encode(v).decode() for v in values]
    expected = [v if isinstance(v, str) else t for v, t in zip(values, texts, strict=True)]
    assert said(pl.Series(texts, dtype=pl.String)).to_list() == expected


def test_folding_keeps_null():
    assert folded(pl.Series([None, "A  b", "Ｃ"])).to_list() == [None, "a b", "c"]


@given(
    ids=st.lists(st.text("abcdef0123456789", min_size=1, max_size=12), min_size=1, max_size=30, unique=True),
    cut=st.integers(0, 30),
    strategy=st.sampled_from(["uniform", "stratified", "uncertainty"]),
)
def test_a_draw_is_the_same_whatever_else_is_drawn(ids, cut, strategy):
    """So a sample is stable under growth: the lowest k of a part that are lowest of the whole stay drawn."""
    rule = policy(sample={"strategy": strategy})
    unsure = [len(i) * 80_000 for i in ids]
    whole = draw(examples(ids, unsure), rule)
    part = draw(examples(ids[:cut], unsure[:cut]), rule)
    assert part.equals(whole.head(cut))
    k = 5
    lowest = set(whole.sort("sampling_rank", "example_id").head(k)["example_id"])
    lowest_of_part = set(part.sort("sampling_rank", "example_id").head(k)["example_id"])
    assert lowest & set(ids[:cut]) <= lowest_of_part


def test_a_draw_depends_on_the_seed_and_on_nothing_else():
    ids = [f"e{n}" for n in range(200)]
    one, again, other = (draw(examples(ids), policy(seed=s)) for s in (1, 1, 2))
    assert one.equals(again)
    assert set(one.sort("sampling_rank")["example_id"].head(50)) != set(
        other.sort("sampling_rank")["example_id"].head(50)
    )


def test_ranks_are_even_and_parts_have_their_shares():
    drawn = draw(examples([f"e{n}" for n in range(20_000)]), policy())
    shares = {part: drawn.filter(root_split=part).height / 20_000 for part in PARTS}
    assert shares == pytest.approx({"train": 0.9, "validation": 0.05, "test": 0.05}, abs=0.005)
    assert drawn["sampling_rank"].mean() == pytest.approx(RANK_SCALE / 2, rel=0.02)
    assert drawn.filter(arm="random").height / 20_000 == pytest.approx(0.1, abs=0.007)


@pytest.mark.parametrize(("parts", "expected"), [((100,), {"train"}), ((50, 50), {"train", "validation"})])
def test_fewer_parts_leave_the_others_empty(parts, expected):
    drawn = draw(examples([f"e{n}" for n in range(100)]), policy(split={"parts": list(parts)}))
    assert set(drawn["root_split"]) == expected


def test_the_unsure_come_first_except_in_the_random_arm():
    ids = [f"e{n}" for n in range(4_000)]
    unsure = [1_000_000 if n % 2 else None for n in range(4_000)]
    drawn = draw(examples(ids, unsure), policy(sample={"strategy": "uncertainty", "max_weight": 4}))
    weights = drawn.group_by("arm", "uncertainty_ppm").agg(pl.col("weight_ppm").unique()).sort("arm", "uncertainty_ppm")
    assert [(arm, list(w)) for arm, _, w in weights.rows()] == [
        ("random", [1_000_000]), ("random", [1_000_000]), ("weighted", [1_000_000]), ("weighted", [4_000_000]),
    ]  # fmt: skip
    first = drawn.filter(arm="weighted").sort("sampling_rank").head(400)
    assert first["uncertainty_ppm"].count() / 400 == pytest.approx(0.8, abs=0.06)  # 4 to 1


def test_strata_are_the_named_columns():
    drawn = draw(examples(["a", "bb"]), policy(sample={"strategy": "stratified", "by": ["label", "model"]}))
    assert drawn["stratum"].to_list() == ["false|bot", "true|bot"]
    assert draw(examples(["a"]), policy())["stratum"].to_list() == ["all"]


NO_SPLIT = {"parts": [100]}


def states(one: Line) -> dict[str, tuple[str, str | None]]:
    return one.by("candidate_examples", "request_id", "state", "reason")


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    one = line(tmp_path_factory.mktemp("merged") / "home", split=NO_SPLIT, objectives=["unpaired"])
    same = {"first": "Ｈow  are you", "later": "how are YOU", "latest": " how\tare you "}
    one.send(
        [
            *(inference(r, text=t, output="Ｆine  THANKS" if r == "first" else "fine thanks", minute=5 - n)
              for n, (r, t) in enumerate(reversed(same.items()))),
            inference("other_answer", text="how are you", output="bad"),
            inference("row1", input={"age": 3}, output="yes"), inference("row2", input={"age": 3}, output="yes"),
            *(inference(f"c{n}", text="contested", output="hm", minute=n) for n in range(3)),
            *(inference(f"m{n}", text="majority", output="hm", minute=n) for n in range(4)),
        ],
        [
            *(thumbs(f"f_{r}", r) for r in [*same, "other_answer", "row1", "row2"]),
            *(thumbs(f"f_c{n}", f"c{n}", up=n > 0, rater=f"u{n}") for n in range(2)),
            *(thumbs(f"f_m{n}", f"m{n}", up=n > 0, rater=f"u{n}") for n in range(4)),
        ],
    )  # fmt: skip
    one.compile()
    return one


def test_the_earliest_of_the_same_content_represents_it(merged):
    rows = merged.by("candidate_examples", "request_id", "state", "reason", "dup_count", "representative_id")
    ids = merged.by("candidate_examples", "request_id", "example_id")
    assert rows["latest"] == ("duplicate", "same_content", 3, ids["first"])
    assert rows["later"] == ("duplicate", "same_content", 3, ids["first"])
    assert rows["first"] == ("candidate", None, 3, None)
    assert rows["other_answer"] == ("candidate", None, 1, None)
    assert merged.by("sampled_dataset", "request_id", "dup_count")["first"] == 3
    assert merged.ledger().inference.states["duplicate"] == 2 + 2


def test_tabular_rows_are_never_merged(merged):
    assert states(merged)["row1"] == states(merged)["row2"] == ("candidate", None)


def test_contradicting_labels_of_one_content_need_a_majority(merged):
    found = states(merged)
    assert found["c0"] == found["c1"] == ("conflict", "cluster_conflict")
    assert [found[f"m{n}"] for n in range(4)] == [
        ("conflict", "cluster_conflict"), ("candidate", None), ("duplicate", "same_content"), ("duplicate", "same_content"),
    ]  # fmt: skip
    assert merged.ledger().inference.reasons["no_valid_feedback"] == {"cluster_conflict": 3}


def test_conflicts_may_be_kept_and_merging_turned_off(tmp_path):
    given = [inference(f"c{n}", text="contested", output="hm", minute=n) for n in range(3)]
    said = [thumbs(f"f{n}", f"c{n}", up=n > 0, rater=f"u{n}") for n in range(3)]
    kept = line(tmp_path / "kept", split=NO_SPLIT, objectives=["unpaired"], dedup={"conflict": "keep"})
    off = line(tmp_path / "off", split=NO_SPLIT, objectives=["unpaired"], dedup={"method": "off"})
    for one in (kept, off):
        one.send(given, said)
        one.compile()
    assert states(kept) == {"c0": ("candidate", None), "c1": ("candidate", None), "c2": ("duplicate", "same_content")}
    assert set(states(off).values()) == {("candidate", None)}
    assert set(off.table("candidate_examples")["dup_count"]) == {1}


def part_of(root: str) -> str:
    """The part that a root is given under the even split."""
    drawn = pl.DataFrame({"root": [root]}).select(place=unit_interval(0, "split", pl.col("root")))
    return "train" if drawn.item() < 0.5 else "validation"


def sessions_in(part: str, count: int) -> list[str]:
    found = [f"s{n}" for n in range(60) if part_of(f"s:s{n}") == part]
    return found[:count]


EVEN = {"parts": [50, 50]}


def test_sessions_and_prompts_never_straddle_two_parts(tmp_path):
    one = line(tmp_path / "home", split=EVEN, objectives=["unpaired"])
    left, right = sessions_in("train", 4), sessions_in("validation", 4)
    given = [
        inference(f"{s}_{n}", text=f"{s} {n % 2} of its own" if n < 3 else "everybody asks", session_id=s, minute=m + n)
        for m, s in enumerate([*left, *right]) for n in range(4)
    ]  # fmt: skip
    one.send(given, [thumbs(f"f_{e['request_id']}", e["request_id"]) for e in given])
    one.compile()
    placed = one.table("candidate_examples")
    drawn = one.table("sampled_dataset")
    for column in ("session_id", "group_id"):
        assert set(drawn.group_by(column).agg(pl.col("split").n_unique())["split"]) == {1}, column
    bridges = placed.filter(state="split_bridge")
    assert set(bridges["reason"]) == {"prompt_in_another_split"}
    assert {r.split("_")[0] for r in bridges["request_id"]} == set(right)  # the earliest asker decided: train
    assert one.ledger().inference.reasons["sampled_out"] == {"prompt_in_another_split": len(right)}
    assert set(drawn["split"]) == {"train", "validation"}


def test_a_published_example_keeps_its_part_when_an_earlier_one_arrives(tmp_path):
    one = line(tmp_path / "home", split=EVEN, objectives=["unpaired"])
    [left], [right] = sessions_in("train", 1), sessions_in("validation", 1)
    one.send([inference("known", text="q", session_id=left, minute=10)], [thumbs("f1", "known")])
    one.compile()
    assert one.by("sampled_dataset", "request_id", "split") == {"known": "train"}
    one.send([inference("earlier", text="q", session_id=right, minute=1, output="else")], [thumbs("f2", "earlier")])
    one.compile()
    assert one.by("sampled_dataset", "request_id", "split") == {"known": "train"}
    assert one.by("candidate_examples", "request_id", "state", "is_bridged") == {
        "known": ("candidate", True), "earlier": ("split_bridge", True),
    }  # fmt: skip


def test_a_user_split_keeps_each_user_in_one_part(tmp_path):
    one = line(tmp_path / "home", split={"by": "user", "parts": [50, 50]}, objectives=["unpaired"])
    given = [
        inference(f"{u}_{n}", text=f"the same {n}", output=f"{u}{n}", user_id=f"u{u}", session_id=f"x{n}")
        for u in range(12) for n in range(3)
    ]  # fmt: skip
    one.send(given, [thumbs(f"f_{e['request_id']}", e["request_id"]) for e in given])
    one.compile()
    drawn = one.table("sampled_dataset")
    assert drawn.height == 36
    assert set(drawn["split"]) == {"train", "validation"}
    assert set(drawn.group_by("user_id").agg(pl.col("split").n_unique())["split"]) == {1}


def test_a_correction_is_the_same_when_prompt_and_target_are(tmp_path):
    one = line(tmp_path / "home", split=NO_SPLIT, objectives=["sft"])
    one.send(
        [inference("a", text="q", output="1"), inference("b", text="Q", output="2", minute=1)],
        [correction("c1", "a", output="Best\tof\n all"), correction("c2", "b", output="best of all ")],
    )
    one.compile()
    assert states(one) == {"a": ("candidate", None), "b": ("duplicate", "same_content")}


def test_criteria_of_one_request_are_examples_of_their_own(tmp_path):
    one = line(tmp_path / "home", split=NO_SPLIT, objectives=["unpaired"], dedup={"conflict": "majority"})
    said = [("r1", "safe", True), ("r1", "helpful", True), ("r1", "brief", False)]
    said += [("r2", "tone", True), ("r2", "overall", False)]
    one.send(
        [inference("r1", text="one"), inference("r2", text="two")],
        [thumbs(f"f_{r}_{name}", r, up=up, name=name, rater="ann") for r, name, up in said],
    )
    one.done()
    found = one.table("candidate_examples").select("state", "reason", "dup_count").unique().rows()
    assert found == [("candidate", None, 1)]
    drawn = set(one.table("sampled_dataset").select("request_id", "criterion", "label").rows())
    assert drawn == {(r, name, str(up).lower()) for r, name, up in said}


def test_a_group_keeps_its_part_after_its_only_example_left(tmp_path):
    one = line(tmp_path / "home", split=EVEN, objectives=["unpaired"])
    [left], [right] = sessions_in("train", 1), sessions_in("validation", 1)
    one.send([inference("known", text="q", session_id=left)], [thumbs("f1", "known", rater="ann")])
    assert one.done().rows == {"unpaired": 1}
    one.send([], [retraction("x1", "f1", rater="ann")])
    assert one.done().rows == {}
    one.send([inference("later", text="q", session_id=right, output="else", minute=5)], [thumbs("f2", "later")])
    one.done()
    assert one.by("candidate_examples", "request_id", "state", "reason", "is_bridged") == {
        "later": ("split_bridge", "prompt_in_another_split", True)
    }
    assert one.by("candidate_examples", "request_id", "split") == {"later": "train"}
