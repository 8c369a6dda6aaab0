"""The bias report as one HTML file: no script, no external resource, the same bytes for the same facts.

Takes what `stages/bias.py` concluded and the ledger's counts; concludes nothing itself. Jinja escapes every
value, since segments and labels come from users; charts arrive as SVG, escaped by `report/charts.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from feedback_platform.report import bias_words as words
from feedback_platform.report import charts
from feedback_platform.report.charts import Bar, BarGroup, bar_chart, grouped_bars, interval_strip, legend
from feedback_platform.stages.bias import BiasThresholds, Finding, GateVerdict, SegmentSummary
from feedback_platform.stages.proportions import ratio_to_ppm, wilson
from feedback_platform.stages.response_bounds import PositiveRateBounds

POPULATIONS = ("all inferences", "with feedback", "in the dataset")
VALUES_DRAWN = 8
QUIET_ROWS_SHOWN = 300
_MARK = {"over_represented": "▲", "under_represented": "▼"}
_STEP = {
    "inferences_feedback": "response",
    "feedback_dataset": "selection",
    "inferences_dataset": "end to end",
}


@dataclass(frozen=True)
class SegmentCard:
    """What the page shows of one segment: its chart, where skew comes from, the strength of each step."""

    name: str
    flagged: bool
    chart: Markup
    hidden: int
    origin: str
    strengths: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FindingRow:
    """One table row, ready to print."""

    finding: Finding
    name: str
    question: str
    verdict: str
    strip: Markup
    interval: str


def render_bias_page(
    title: str,
    version_info: Mapping[str, str | int],
    funnel: Sequence[tuple[str, int]],
    states: Mapping[str, Mapping[str, int]],
    findings: Sequence[Finding],
    segment_summaries: Sequence[SegmentSummary],
    label_distribution: Mapping[str, Mapping[str, int]],
    split_counts: Mapping[str, int],
    *,
    bounds: Sequence[PositiveRateBounds] = (),
    gate: GateVerdict | None = None,
    policy: BiasThresholds | None = None,
) -> str:
    """Render the page.

    Args:
        title: heading, usually dataset and version.
        version_info: facts for the head of the page, in reading order.
        funnel: steps from inferences to dataset rows, in order.
        states: the ledger: "inference" and "feedback", each state -> events.
        findings: from `assess`, in its order.
        segment_summaries: from `segment_summary`.
        label_distribution: objective -> label -> dataset rows.
        split_counts: split -> dataset rows.
        bounds: from `positive_rate_bounds`; the whole objectives are drawn.
        gate: the verdict on publication, if one was asked for.
        policy: the thresholds the findings were judged by.
    """
    policy = policy or BiasThresholds()
    loud = [f for f in findings if f.flagged]
    quiet = [f for f in findings if not f.flagged]
    return _environment().get_template("bias.html.j2").render(
        title=title,
        info=version_info,
        overview=words.overview(findings),
        headlines=[(f.verdict, words.sentence(f), words.figures(f)) for f in words.headlines(findings)],
        mark=_MARK,
        gate=gate,
        funnel=Markup(charts.funnel(funnel, title="From inference to dataset row")),
        tiles=_tiles(funnel, len(loud)),
        states={kind: {s: n for s, n in counts.items() if n} for kind, counts in states.items()},
        cards=_cards(findings, segment_summaries),
        legend=Markup(legend(POPULATIONS)),
        loud=[_row(f, policy) for f in loud],
        quiet=[_row(f, policy) for f in quiet[:QUIET_ROWS_SHOWN]],
        n_quiet=len(quiet),
        labels={o or "labels": _counts_chart(c, f"Labels: {o}") for o, c in label_distribution.items() if c},
        splits=_counts_chart(split_counts, "Rows per split", series="s3") if split_counts else None,
        bounds=[(b, _curve_chart(b)) for b in bounds if b.segment is None],
        policy=policy,
        words=words,
    )  # fmt: skip


@cache
def _environment() -> Environment:
    loader = PackageLoader("feedback_platform.report")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _tiles(funnel: Sequence[tuple[str, int]], n_flagged: int) -> list[tuple[str, str]]:
    """The first, second and last step of the funnel and the number of findings, as (number, caption)."""
    chosen = [funnel[i] for i in sorted({0, min(1, len(funnel) - 1), len(funnel) - 1})] if funnel else []
    return [(f"{n:,}", label) for label, n in chosen] + [(f"{n_flagged:,}", "Findings flagged")]


def _cards(findings: Sequence[Finding], summaries: Sequence[SegmentSummary]) -> list[SegmentCard]:
    """Cards in the rank order of the findings, so that skewed segments come first."""
    by_segment: dict[tuple[str | None, str], list[Finding]] = {}
    for f in findings:
        by_segment.setdefault((f.objective, f.segment), []).append(f)
    return [
        _card(key, members, [s for s in summaries if (s.objective, s.segment) == key])
        for key, members in by_segment.items()
    ]


def _card(key: tuple[str | None, str], members: list[Finding], summaries: list[SegmentSummary]) -> SegmentCard:
    objective, segment = key
    by_value: dict[str, dict[str, Finding]] = {}
    for f in members:
        by_value.setdefault(f.value, {})[f.comparison] = f
    skewed = {f.value for f in members if f.flagged}
    largest = sorted(by_value, key=lambda v: (v not in skewed, -_base(by_value[v]), v))[:VALUES_DRAWN]
    drawn = sorted(largest, key=lambda v: (-_base(by_value[v]), v))
    title = f"Shares of the three populations by {segment}"
    return SegmentCard(
        name=f"{segment} ({objective})" if objective else segment,
        flagged=bool(skewed),
        chart=Markup(grouped_bars([_bar_group(v, by_value[v]) for v in drawn], title=title)),
        hidden=len(by_value) - len(drawn),
        origin=words.origin(members),
        strengths=tuple((_STEP[s.comparison], f"{s.cramers_v_ppm / 1e6:.2f}") for s in summaries),
    )


def _base(of_value: Mapping[str, Finding]) -> int:
    return of_value["inferences_dataset"].n_base


def _bar_group(value: str, found: Mapping[str, Finding]) -> BarGroup:
    response, whole = found["inferences_feedback"], found["inferences_dataset"]
    pairs = (
        (whole.n_base, whole.n_base + whole.n_base_rest),
        (response.n_hit, response.n_hit + response.n_hit_rest),
        (whole.n_hit, whole.n_hit + whole.n_hit_rest),
    )
    found_in_order = [(c, found[c]) for c in _STEP if c in found]
    note = " · ".join(f"{_MARK[f.verdict]} {_STEP[c]}" for c, f in found_in_order if f.flagged)
    bars = tuple(_share_bar(part, total, who) for (part, total), who in zip(pairs, POPULATIONS, strict=True))
    return BarGroup(value or "(empty)", bars, note)


def _share_bar(part: int, total: int, who: str) -> Bar:
    if not total:
        return Bar(0.0, "none", tip=f"{who}: none")
    low, high = wilson(part, total)
    share = words.percent(ratio_to_ppm(part, total))
    tip = f"{share} of {who}: {part:,} of {total:,} (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
    return Bar(part / total, share, low, high, tip)


def _row(f: Finding, policy: BiasThresholds) -> FindingRow:
    strip, interval = Markup(), words.NONE
    if f.ratio_ppm is not None and f.ratio_low_ppm is not None and f.ratio_high_ppm is not None:
        interval = f"{words.ratio(f.ratio_low_ppm)} to {words.ratio(f.ratio_high_ppm)}"
        strip = Markup(
            interval_strip(
                f.ratio_ppm / 1e6, f.ratio_low_ppm / 1e6, f.ratio_high_ppm / 1e6,
                band=(policy.four_fifths, 1 / policy.four_fifths),
                title=f"ratio {words.ratio(f.ratio_ppm)}, interval {interval}",
            )
        )  # fmt: skip
    return FindingRow(f, words.name(f), words.QUESTION[f.comparison], words.VERDICT[f.verdict], strip, interval)


def _counts_chart(counts: Mapping[str, int], title: str, *, series: str = "s2") -> Markup:
    """Bars of counts with their shares, largest first; beyond twenty the rest is one bar."""
    total = sum(counts.values()) or 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = ordered[:20], ordered[20:]
    if rest:
        shown.append((f"{len(rest)} more", sum(n for _, n in rest)))
    bars = [
        (label or "(empty)", Bar(n, words.percent(ratio_to_ppm(n, total)), tip=f"{label}: {n:,} rows"))
        for label, n in shown
    ]
    return Markup(bar_chart(bars, title=title, series=series))


def _curve_chart(b: PositiveRateBounds) -> Markup:
    bars = [(_answering(k), Bar(rate, words.percent(rate), tip=words.percent(rate))) for k, rate in b.curve]
    return Markup(bar_chart(bars, title="True positive rate by how often unhappy users answer", series="s4"))


def _answering(k_ppm: int) -> str:
    """How a ratio of response rates reads: 5_000_000 as "unhappy answer 5 times as often"."""
    if k_ppm == 1_000_000:
        return "all answer alike (as observed)"
    if k_ppm > 1_000_000:
        return f"unhappy answer {k_ppm / 1e6:.0f} times as often"
    return f"happy answer {1e6 / k_ppm:.0f} times as often"
