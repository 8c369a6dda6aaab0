"""The bias report of a window: counts of three populations per segment value, judged, kept as changes."""

import polars as pl
import pytest

from feedback_platform.compile.bias import MISSING, MOST_VALUES, OTHER, findings_frame, segment_counts
from feedback_platform.compile.publication import flagged_findings
from feedback_platform.contracts.policies import resolve_policy
from feedback_platform.contracts.stage_tables import BIAS_REPORT
from feedback_platform.engines.duckdb import DuckEngine
from feedback_platform.stages.bias import assess
from feedback_platform.stages.segment_counts import SegmentCount
from feedback_platform_tests.builders import inference, line, retraction, thumbs


@pytest.fixture
def engine():
    with DuckEngine("256MB", 1) as made:
        yield made


def region(value: str | None) -> str | None:
    return None if value is None else f'{{"region":"{value}"}}'


def populations(engine: DuckEngine, regions: list[str | None], answered: set[int], drawn: set[int]) -> None:
    """Relations as a window has them: one inference per region given; some answered, some in the dataset."""
    rows = [
        {"request_id": f"r{n}", "segments": region(r), "model_version": "1", "variant": None, "is_selected": True}
        for n, r in enumerate(regions)
    ]
    schema = {"request_id": pl.String, "segments": pl.String, "model_version": pl.String, "variant": pl.String}
    inferences = pl.DataFrame(rows, schema={**schema, "is_selected": pl.Boolean})
    labels = pl.col("request_id").str.tail(1).is_in(["1", "3", "5", "7", "9"])
    engine.define_frame("inferences", inferences)
    engine.define_frame("resolved_examples", inferences[sorted(answered)])
    dataset = inferences[sorted(drawn)].with_columns(
        objective=pl.lit("unpaired"),
        label_kind=pl.lit("binary"),
        label=pl.when(labels).then(pl.lit("true")).otherwise(pl.lit("false")),
    )
    engine.define_frame("sampled_dataset", dataset)


def counted(engine: DuckEngine, **policy) -> dict[tuple[str, str], SegmentCount]:
    cells = segment_counts(engine, resolve_policy({"name": "d", "objectives": ["unpaired"], **policy}))
    return {(c.segment, c.value): c for c in cells}


def test_each_value_counts_its_three_populations(engine):
    populations(engine, ["n", "n", "s", "s", None, "n"], answered={0, 1, 2, 5}, drawn={1, 2, 5})
    assert counted(engine) == {
        ("region", "n"): SegmentCount("unpaired", "region", "n", 3, 3, 2, 2, 2),
        ("region", "s"): SegmentCount("unpaired", "region", "s", 2, 1, 1, 1, 0),
        ("region", MISSING): SegmentCount("unpaired", "region", MISSING, 1, 0, 0, 0, 0),
    }


def test_a_segment_with_one_value_says_nothing_and_others_may_be_left_out(engine):
    populations(engine, ["n", "n"], set(), set())
    assert counted(engine) == {}
    populations(engine, ["n", "s"], set(), set())
    assert counted(engine, bias={"segments": ["model_version"]}).keys() == {("model_version", "1")}
    assert counted(engine, bias={"segments": ["tier"]}) == {}


def test_rare_values_are_counted_together(engine):
    regions: list[str | None] = [f"v{n:02}" for n in range(60) for _ in range(60 - n)]
    populations(engine, regions, set(range(len(regions))), set(range(len(regions))))
    cells = counted(engine)
    assert len(cells) == MOST_VALUES + 1
    assert ("region", "v49") in cells
    rare = sum(60 - n for n in range(50, 60))
    assert cells["region", OTHER].n_inferences == cells["region", OTHER].n_dataset == rare
    assert sum(c.n_inferences for c in cells.values()) == len(regions)


def test_findings_carry_the_counts_they_rest_on(engine):
    populations(engine, ["n", "s"] * 100, answered=set(range(0, 200, 2)), drawn=set(range(0, 200, 2)))
    counts = segment_counts(engine, resolve_policy({"name": "d", "objectives": ["unpaired"]}))
    frame = findings_frame(assess(counts), counts)
    assert frame.columns == list(BIAS_REPORT.names())
    assert frame["cell"].is_unique().all()
    south = frame.filter(segment="region", value="s", comparison="inferences_feedback").row(0, named=True)
    assert (south["verdict"], south["n_inferences"], south["n_feedback"]) == ("under_represented", 100, 0)
    assert south["rate_ppm"] == 0
    assert frame.filter(value="n", comparison="inferences_feedback")["verdict"].to_list() == ["over_represented"]


@pytest.fixture(scope="module")
def lopsided(tmp_path_factory):
    one = line(tmp_path_factory.mktemp("bias") / "home", objectives=["unpaired"], select={"tasks": ["default"]})
    places = [{"region": "north" if n % 2 else "south", "only": "one"} for n in range(120)]
    given = [inference(f"m{n}", text=f"text {n}", segments=place) for n, place in enumerate(places)]
    foreign = [inference(f"x{n}", task="other", segments={"region": "south"}) for n in range(50)]
    said = [thumbs(f"f{n}", f"m{n}", up=n % 4 == 1, rater="ann") for n in range(1, 120, 2)]
    one.send(given + foreign, [*said, thumbs("refused", "m0", minute=-60)])
    one.done()
    return one


def test_a_windows_report_counts_selected_inferences_and_attributed_feedback(lopsided):
    report = lopsided.table("bias_report").filter(comparison="inferences_feedback")
    assert report.select("segment", "value", "verdict", "n_inferences", "n_feedback", "n_labelled", "n_positive").rows() == [
        ("region", "north", "over_represented", 60, 60, 60, 30), ("region", "south", "under_represented", 60, 0, 0, 0),
    ]  # fmt: skip
    assert flagged_findings(lopsided.compiler, lopsided.compiler.store.all()[-1]) > 0


def test_the_next_windows_report_is_a_change_of_the_last(lopsided):
    lopsided.send([], [retraction(f"x{n}", f"f{n}", rater="ann") for n in (1, 3)])
    done = lopsided.done()
    assert (done.tables["bias_report"].added, done.tables["bias_report"].removed) == (0, 0)
    assert done.tables["bias_report"].updated > 0
    report = lopsided.table("bias_report").filter(comparison="inferences_feedback", value="north")
    assert report.select("n_inferences", "n_feedback").rows() == [(60, 58)]


def test_requests_with_several_criteria_count_once_among_the_labelled(tmp_path):
    one = line(tmp_path / "home", objectives=["unpaired"])
    given = [
        inference(f"r{n}", text=f"text {n}", segments={"region": "north" if n % 2 else "south"}) for n in range(20)
    ]
    names = ("overall", "safe", "helpful")
    one.send(given, [thumbs(f"f{n}{name}", f"r{n}", name=name, rater="ann") for n in range(20) for name in names])
    assert one.done().rows == {"unpaired": 60}
    numbers = one.table("bias_report").select("value", "n_dataset", "n_labelled", "n_positive", "rate_ppm")
    assert set(numbers.rows()) == {("north", 10, 10, 10, 1_000_000), ("south", 10, 10, 10, 1_000_000)}
