"""Charts as inline SVG strings: no script, no font, no external resource, a title for screen readers.

Knows shapes and text, not what they mean: any report may use it. Colours are presentation attributes (light
defaults) under classes `s1`..`s4`, `ink`, `soft`, `line`, so that a page's CSS restyles them, dark mode
included. Charts are drawn on a narrow canvas and scale up, which keeps their text legible on a phone. All
text is escaped here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 380
_FONT = 'font-family="system-ui,-apple-system,Segoe UI,Roboto,sans-serif"'
_FILL = {
    "s1": "#b9c3d6", "s2": "#4f7fd9", "s3": "#1d3a75", "s4": "#d98a29", "ink": "#1b2230", "soft": "#5d6778",
}  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """One bar: a value from 0, an optional interval drawn as a whisker, the text beside it, a tooltip."""

    value: float
    text: str
    low: float | None = None
    high: float | None = None
    tip: str = ""

    @property
    def reach(self) -> float:
        """Rightmost point that must fit on the scale."""
        return max(self.value, self.high or 0.0)


@dataclass(frozen=True)
class BarGroup:
    """Bars that belong together, one per series, under one label; `note` stands at the right of the label."""

    label: str
    bars: tuple[Bar, ...]
    note: str = ""


def shorten(text: str, limit: int) -> str:
    """Cut long text for display, visibly."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def bar_chart(bars: Sequence[tuple[str, Bar]], *, title: str, series: str = "s2") -> str:
    """Horizontal bars, one per label, in the order given."""
    groups = [BarGroup(label, (bar,)) for label, bar in bars]
    return _grouped(groups, (series,), title)


def grouped_bars(groups: Sequence[BarGroup], *, title: str) -> str:
    """Groups of up to four bars in classes `s1`, `s2`, ...: from light to dark, so that grey print tells."""
    return _grouped(groups, ("s1", "s2", "s3", "s4"), title)


def legend(names: Sequence[str]) -> str:
    """HTML list naming the series of `grouped_bars` in order."""
    items = (f'<li><span class="key s{i}"></span>{escape(name)}</li>' for i, name in enumerate(names, 1))
    return f'<ul class="legend">{"".join(items)}</ul>'


def _grouped(groups: Sequence[BarGroup], classes: Sequence[str], title: str) -> str:
    thick, gap, head, right = 12, 4, 20, 62
    top = max((bar.reach for g in groups for bar in g.bars), default=0.0) or 1.0
    room = WIDTH - right
    parts: list[str] = []
    y = 0.0
    for group in groups:
        label = shorten(group.label, 20 if group.note else 40)
        parts.append(_text(0, y + 13, label, "ink", weight=600, tip=group.label))
        if group.note:
            parts.append(_text(WIDTH, y + 13, group.note, "ink", anchor="end", size=11.5))
        y += head
        for bar, kind in zip(group.bars, classes, strict=False):
            parts.append(_bar(y, thick, bar, kind, room / top))
            y += thick + gap
        y += 10
    return _svg(max(y - 10, 1), title, parts)


def _bar(y: float, thick: float, bar: Bar, kind: str, scale: float) -> str:
    length = max(bar.value * scale, 1.0)
    out = (
        f'<g>{_tip(bar.tip)}<rect x="0" y="{_n(y)}" width="{_n(length)}" height="{_n(thick)}" rx="2" '
        f'class="{kind}" fill="{_FILL[kind]}"/>'
    )
    if bar.low is not None and bar.high is not None:
        x1, x2, mid = bar.low * scale, bar.high * scale, y + thick / 2
        shape = f"M{_n(x1)} {_n(mid)}H{_n(x2)}M{_n(x1)} {_n(mid - 3)}v6M{_n(x2)} {_n(mid - 3)}v6"
        # The halo keeps the half that lies on a dark bar visible.
        out += f'<path class="halo" d="{shape}" stroke="#ffffff" stroke-width="3.6" fill="none"/>'
        out += f'<path class="whisker" d="{shape}" stroke="#1b2230" stroke-width="1.3" fill="none"/>'
    return out + _text(WIDTH, y + thick - 1.5, bar.text, "soft", anchor="end", size=12) + "</g>"


def funnel(steps: Sequence[tuple[str, int]], *, title: str) -> str:
    """Counts that shrink step by step: bars to scale, each with its share of the first and the last step."""
    top = max((n for _, n in steps), default=0) or 1
    parts: list[str] = []
    row, head, thick = 56, 20, 20
    for i, (label, count) in enumerate(steps):
        y, length = i * row, max(count / top * WIDTH, 2.0)
        shares = ""
        if i:
            shares = f"{_share(count, steps[0][1])} of all"
            shares += f" · {_share(count, steps[i - 1][1])} of the last step" if i > 1 else ""
        parts.append(_text(0, y + 13, shorten(label, 26), "ink", weight=600, tip=label))
        parts.append(_text(WIDTH, y + 13, f"{count:,}", "ink", anchor="end", weight=600))
        parts.append(
            f'<rect x="0" y="{y + head}" width="{_n(length)}" height="{thick}" rx="3" class="s2" fill="{_FILL["s2"]}"/>'
        )
        if i + 1 < len(steps):
            below = max(steps[i + 1][1] / top * WIDTH, 2.0)
            base, end = y + head + thick, y + row + head
            parts.append(
                f'<path d="M0 {base}H{_n(length)}L{_n(below)} {end}H0Z" class="veil" fill="{_FILL["s2"]}" '
                'opacity=".12"/>'
            )
        if shares:
            inside = length > WIDTH * 0.62
            x, kind = (8.0, "onbar") if inside else (length + 8, "soft")
            parts.append(_text(x, y + head + 14, shares, kind, size=11.5))
    return _svg(len(steps) * row - (row - head - thick), title, parts)


def interval_strip(point: float, low: float, high: float, *, band: tuple[float, float], title: str) -> str:
    """A ratio with its interval on a log scale from 1/4 to 4; `band` is tolerated, arrows mark overflow."""
    width, height, reach = 150, 22, math.log(4)

    def x(ratio: float) -> float:
        return (min(max(math.log(max(ratio, 1e-9)) / reach, -1.0), 1.0) + 1) / 2 * (width - 12) + 6

    ends = [f"M{_n(x(low))} 11H{_n(x(high))}"]
    ends += [f"M{_n(x(v))} 7v8" for v in (low, high) if 0.25 <= v <= 4]
    ends += ["M10 7L4 11L10 15"] if low < 0.25 else []
    ends += [f"M{width - 10} 7L{width - 4} 11L{width - 10} 15"] if high > 4 else []
    return (
        f'<svg class="strip" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f'<title>{escape(title)}</title><rect x="{_n(x(band[0]))}" y="1" '
        f'width="{_n(x(band[1]) - x(band[0]))}" height="20" class="band" fill="#e6eaf1"/>'
        f'<path d="M6 11H{width - 6}" class="axis" stroke="#d3d9e3"/>'
        f'<path d="M{_n(x(1))} 1V21" class="line" stroke="#8a94a6" stroke-dasharray="2 2"/>'
        f'<path d="{"".join(ends)}" class="whisker" stroke="#1b2230" stroke-width="1.5" fill="none"/>'
        f'<circle cx="{_n(x(point))}" cy="11" r="4" class="dot" fill="#1b2230"/></svg>'
    )


def _share(part: int, whole: int) -> str:
    if not whole:
        return "—"
    percent = 100 * part / whole
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %"


def _text(
    x: float, y: float, text: str, kind: str, *,
    anchor: str = "start", size: float = 13, weight: int = 400, tip: str = "",
) -> str:  # fmt: skip
    fill = _FILL.get(kind, "#ffffff")
    return (
        f'<text x="{_n(x)}" y="{_n(y)}" class="{kind}" fill="{fill}" font-size="{size}" '
        f'font-weight="{weight}" text-anchor="{anchor}">{_tip(tip)}{escape(text)}</text>'
    )


def _tip(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""


def _n(x: float) -> str:
    return f"{x:.1f}".removesuffix(".0")


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    safe = escape(title)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {_n(height)}" role="img" aria-label="{safe}" {_FONT}>'
        f"<title>{safe}</title>{''.join(parts)}</svg>"
    )
