"""The page: escapes what users sent, needs nothing from outside, tells the main finding in words."""

import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import pytest

from feedback_platform.report import bias_words as words
from feedback_platform.report.bias_html import render_bias_page
from feedback_platform.report.charts import Bar, BarGroup, bar_chart, funnel, grouped_bars, interval_strip
from feedback_platform.stages.bias import SegmentCount, assess, gate, segment_summary
from feedback_platform.stages.response_bounds import positive_rate_bounds

EVIL = '"><script>alert(1)</script>&{{ 7 * 7 }}'
VOID = {"meta", "br", "rect", "path", "circle", "link"}
COUNTS = [
    SegmentCount(None, "device", "mobile", 6_000, 1_080, 864, 1_080, 400),
    SegmentCount(None, "device", "desktop", 6_000, 600, 480, 600, 420),
    SegmentCount(None, "region", "eu", 6_000, 840, 672),
    SegmentCount(None, "region", EVIL, 5_990, 839, 671),
    SegmentCount(None, "region", "", 10, 1, 1),
]


class Page(HTMLParser):
    """Collects tags, checks that they close in order, keeps text and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def render(counts=COUNTS, title="bot, version 3", **changes) -> str:
    findings = assess(counts)
    arguments: dict[str, Any] = {
        "version_info": {"dataset": "bot", "version": 3, "rows": 1_344},
        "funnel": [("Inferences", 12_000), ("With feedback", 1_680), ("In the dataset", 1_344)],
        "states": {"inference": {"in_dataset": 1_344, "unlabelled": 10_320, "erased": 0}},
        "label_distribution": {"unpaired": {"up": 700, EVIL: 644}},
        "split_counts": {"train": 1_200, "test": 144},
        "bounds": positive_rate_bounds(counts),
        "gate": gate(findings, "warn"),
    }
    return render_bias_page(
        title, findings=findings, segment_summaries=segment_summary(counts), **(arguments | changes)
    )


def test_page_is_well_formed_and_needs_nothing_from_outside():
    html = render()
    page = Page(html)
    assert page.open == []
    assert {"script", "link", "img", "iframe"}.isdisjoint(tag for tag, _ in page.tags)
    assert not [a for _, attrs in page.tags for a in attrs if a in ("src", "href") or a.startswith("on")]
    assert "url(" not in html
    assert "@import" not in html


def test_values_from_users_are_text_wherever_they_appear():
    html = render(title=EVIL, version_info={EVIL: EVIL}, funnel=[(EVIL, 5), (EVIL, 2)], states={EVIL: {EVIL: 1}})
    assert "<script" not in html
    assert any(EVIL in text for text in Page(html).text), "shown in full, as text"


def test_summary_says_the_main_finding_in_words():
    text = " ".join(Page(render()).text)
    assert "Feedback comes 1.8 times as often from device = mobile as from the rest." in text
    assert "The skew comes from who gives feedback; selection adds none of note." in text
    assert "passes with warnings" in text
    assert "They cannot repair feedback that is missing because of what it would have said" in text


def test_verdicts_are_told_by_words_and_marks_not_only_by_colour():
    badges = [t.strip() for t in Page(render()).text]
    for label in words.VERDICT.values():
        assert label in badges


def test_every_chart_has_a_name_and_every_table_its_headers():
    page = Page(render())
    svgs = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(svgs) > 5
    assert all(a.get("role") == "img" and a.get("aria-label") for a in svgs)
    assert [a.get("scope") for tag, a in page.tags if tag == "th"].count(None) == 0
    titles = [a["aria-labelledby"] for tag, a in page.tags if tag == "section"]
    assert set(titles) <= {a.get("id") for _, a in page.tags}


def test_same_facts_same_bytes():
    assert render(COUNTS) == render(list(reversed(COUNTS)))


def test_nothing_counted_yet_still_makes_a_page():
    html = render([], funnel=[], states={}, label_distribution={}, split_counts={}, bounds=(), gate=None)
    assert Page(html).open == []
    assert "No segment was counted, so nothing can be said about bias." in html


def test_zero_states_are_left_out_and_empty_values_named():
    text = [t.strip() for t in Page(render()).text]
    assert "erased" not in text
    assert "(empty)" in text
    assert "in dataset" in text


def test_a_fair_dataset_says_so():
    fair = [SegmentCount(None, "tier", v, 3_000, 300, 240) for v in ("free", "pro")]
    html = render(fair, gate=gate(assess(fair), "block"))
    assert "None of 6 comparisons is both significant and large." in html
    assert "nothing flagged" in html
    assert "✓ passes" in html


def test_a_blocking_gate_is_shown():
    assert "✕ blocks publication" in render(gate=gate(assess(COUNTS), "block"))


def test_many_values_are_cut_in_the_chart_but_flagged_ones_stay():
    values = [SegmentCount(None, "country", f"c{i:02d}", 1_000 + i, 100, 80) for i in range(30)]
    odd = SegmentCount(None, "country", "odd-one", 400, 200, 160)
    html = render([*values, odd], bounds=())
    assert "23 smaller values are not drawn" in html
    card = html[html.index("<article") : html.index("</article>")]
    assert "odd-one" in card


@pytest.mark.parametrize(
    ("n_feedback", "n_dataset", "sentence"),
    [
        (1_000, 400, "No skew of note at any step."),
        (2_000, 800, "The skew comes from who gives feedback; selection adds none of note."),
        (1_000, 800, "Feedback comes evenly; the skew comes from what is kept of it."),
        (2_000, 1_600, "Skewed twice: by who gives feedback and by what is kept of it."),
        (2_000, 400, "Response and selection are both skewed, but largely cancel out in the dataset."),
    ],
)
def test_origin_of_a_skew_is_read_off_the_three_steps(n_feedback, n_dataset, sentence):
    cells = [
        SegmentCount(None, "s", "a", 10_000, n_feedback, n_dataset),
        SegmentCount(None, "s", "b", 10_000, 1_000, 400),
    ]
    assert words.origin(assess(cells)) == sentence


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        (words.percent(183_000), "18.3 %"), (words.percent(240), "0.024 %"), (words.percent(0), "0.0 %"),
        (words.times(1_800_000), "1.8"), (words.times(553_000), "0.55"), (words.times(12_340_000), "12"),
        (words.ratio(1_419_000), "1.42"), (words.ratio(None), words.NONE), (words.p_text(999), "< 0.001"),
    ],
)  # fmt: skip
def test_numbers_are_shown_with_the_digits_they_carry(call, shown):
    assert call == shown


def test_charts_are_well_formed_svg_and_scale_with_the_value():
    groups = [BarGroup(EVIL, (Bar(0.2, "20 %", 0.1, 0.3), Bar(0.4, "40 %", 0.3, 0.5)), note=EVIL)]
    charts = [
        grouped_bars(groups, title=EVIL),
        bar_chart([(EVIL, Bar(3, "3"))], title=EVIL),
        bar_chart([], title="none"),
        funnel([(EVIL, 10), ("b", 5), ("c", 0)], title=EVIL),
        interval_strip(1.0, 0.01, 40.0, band=(0.8, 1.25), title=EVIL),
    ]
    roots = [ET.fromstring(chart) for chart in charts]
    widths = [float(r.get("width", 0)) for r in roots[0].iter("rect")]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)
    assert [float(r.get("width", 0)) for r in roots[3].iter("rect")] == [380, 190, 2]
