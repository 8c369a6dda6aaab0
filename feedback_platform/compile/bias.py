"""The bias report of a window: counts of three populations from the engine, judged by `stages.bias`, written as changes.

Counts come as one row per distinct combination of segments, so the small maths never sees an event.
"""

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict

import msgspec
import polars as pl

from feedback_platform.compile.advance import change_counts, changes_sql
from feedback_platform.compile.manifest import Manifest, TableStep
from feedback_platform.compile.relations import define_relations
from feedback_platform.compile.workspace import Workspace
from feedback_platform.contracts.policies import DatasetPolicy
from feedback_platform.contracts.stage_tables import BIAS_REPORT
from feedback_platform.engines.duckdb import DuckEngine
from feedback_platform.stages.bias import Finding, assess
from feedback_platform.stages.segment_counts import SegmentCount
from feedback_platform.stages.stage import Stage

STAGE = Stage(BIAS_REPORT, unit="", semantics=1, sql={})
MOST_VALUES = 50
OTHER = "(other)"
MISSING = "(none)"
Counts = dict[tuple[str, str], int]

_POPULATIONS = """
    SELECT 'inferences' AS population, '' AS objective, segments, model_version, variant, count(*) AS n, 0 AS positive
    FROM inferences WHERE is_selected GROUP BY segments, model_version, variant
    UNION ALL
    SELECT 'feedback', '', segments, model_version, variant, count(DISTINCT request_id), 0
    FROM resolved_examples GROUP BY segments, model_version, variant
    UNION ALL
    SELECT 'dataset', objective, segments, model_version, variant, count(DISTINCT request_id),
      count(DISTINCT request_id) FILTER (WHERE label_kind = 'binary' AND label = 'true')
    FROM sampled_dataset GROUP BY objective, segments, model_version, variant
"""


def advance_bias(manifest: Manifest, workspace: Workspace, engine: DuckEngine) -> TableStep:
    """Bring the bias report to the window; does nothing when it is there already."""
    started = time.perf_counter()
    size = 0
    if not workspace.is_done(BIAS_REPORT.name):
        policy = manifest.dataset_policy()
        define_relations(engine, workspace, manifest, policy)
        counts = segment_counts(engine, policy)
        engine.define_frame("body", findings_frame(assess(counts), counts))
        changes = changes_sql(STAGE, manifest, has_past=bool(workspace.before(BIAS_REPORT.name)))
        size = workspace.write(BIAS_REPORT.name, lambda part: engine.copy(BIAS_REPORT.name, changes, part))
    made = change_counts(workspace, BIAS_REPORT, engine)
    return TableStep(
        added=made.get("add", 0),
        updated=made.get("update", 0),
        removed=made.get("remove", 0),
        bytes_written=size,
        seconds=round(time.perf_counter() - started, 3),
    )


def segment_counts(engine: DuckEngine, policy: DatasetPolicy) -> tuple[SegmentCount, ...]:
    """One cell per objective, segment and value; segments with one value say nothing and are left out."""
    inferences: Counts = defaultdict(int)
    feedback: Counts = defaultdict(int)
    rows: dict[str, Counts] = {o: defaultdict(int) for o in policy.objectives}
    positive: dict[str, Counts] = {o: defaultdict(int) for o in policy.objectives}
    combinations = engine.rows(_POPULATIONS)
    names = _segment_names(combinations, policy)
    for population, objective, segments, version, variant, n, yes in combinations:
        values = _values(segments, version, variant)
        for name in names:
            cell = (name, values.get(name, MISSING))
            if population == "inferences":
                inferences[cell] += int(str(n))
            elif population == "feedback":
                feedback[cell] += int(str(n))
            else:
                rows[str(objective)][cell] += int(str(n))
                positive[str(objective)][cell] += int(str(yes))
    place = _folding(inferences)
    return tuple(
        SegmentCount(objective, *cell, *numbers)
        for objective in policy.objectives
        for cell, numbers in _folded(place, inferences, feedback, rows[objective], positive[objective], objective)
    )


def findings_frame(findings: Iterable[Finding], counts: Iterable[SegmentCount]) -> pl.DataFrame:
    """Findings beside their counts, in the contract's columns."""
    by_cell = {(c.objective, c.segment, c.value): asdict(c) for c in counts}
    rows = [
        {
            **by_cell[(f.objective, f.segment, f.value)],
            **asdict(f),
            "cell": f"{f.objective}|{f.segment}|{f.value}|{f.comparison}",
        }
        for f in findings
    ]
    schema = {c: k for c, k in BIAS_REPORT.polars_schema().items() if c in BIAS_REPORT.names()}
    return pl.DataFrame([{c: row[c] for c in schema} for row in rows], schema=schema)


def _segment_names(combinations: list[tuple[object, ...]], policy: DatasetPolicy) -> list[str]:
    seen: dict[str, set[str]] = defaultdict(set)
    for row in combinations:
        for name, value in _values(*row[2:5]).items():
            seen[name].add(value)
    if policy.bias.segments != "all":
        return [name for name in policy.bias.segments if name in seen]
    return sorted(name for name, values in seen.items() if len(values) > 1)


def _values(segments: object, version: object, variant: object) -> dict[str, str]:
    given = msgspec.json.decode(str(segments), type=dict[str, str]) if segments else {}
    return {**given, "model_version": str(version), "variant": str(variant or MISSING)}


def _folding(inferences: Counts) -> dict[tuple[str, str], tuple[str, str]]:
    """Where each cell goes: itself, or `(other)` beyond the most frequent values of its segment."""
    place: dict[tuple[str, str], tuple[str, str]] = {}
    ranked: dict[str, int] = defaultdict(int)
    for segment, value in sorted(inferences, key=lambda c: (c[0], -inferences[c], c[1])):
        ranked[segment] += 1
        place[segment, value] = (segment, value if ranked[segment] <= MOST_VALUES else OTHER)
    return place


def _folded(
    place: dict[tuple[str, str], tuple[str, str]],
    inferences: Counts,
    feedback: Counts,
    rows: Counts,
    positive: Counts,
    objective: str,
) -> Iterable[tuple[tuple[str, str], tuple[int, int, int, int, int]]]:
    totals: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    for cell in inferences:
        total = totals[place[cell]]
        labelled = rows[cell] if objective == "unpaired" else 0
        added = (inferences[cell], feedback[cell], rows[cell], labelled, positive[cell])
        for i, n in enumerate(added):
            total[i] += n
    for cell, (a, b, c, d, e) in sorted(totals.items()):
        yield cell, (a, b, c, d, e)
