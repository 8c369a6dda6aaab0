"""Writes a version's HTML report from its tables: funnel, ledger, labels, splits and the bias findings."""

from collections.abc import Mapping
from pathlib import Path

from feedback_platform.compile.bias import segment_counts
from feedback_platform.compile.manifest import Manifest
from feedback_platform.compile.relations import define_relations
from feedback_platform.compile.window import Compiler
from feedback_platform.compile.workspace import LakeWorkspace
from feedback_platform.engines.duckdb import DuckEngine
from feedback_platform.lake.files import make_folder, write_atomically
from feedback_platform.report.bias_html import render_bias_page
from feedback_platform.stages.bias import assess, gate, segment_summary
from feedback_platform.stages.response_bounds import positive_rate_bounds


def report_path(compiler: Compiler, manifest: Manifest) -> Path:
    """Where the report of a version lies."""
    return compiler.settings.reports / manifest.dataset / f"v{manifest.version}.html"


def write_report(compiler: Compiler, manifest: Manifest) -> None:
    """Render the report of a version and put it in place in one step."""
    work = LakeWorkspace(compiler.lake, manifest.dataset, manifest.window)
    policy = manifest.dataset_policy()
    with compiler.engine() as engine:
        define_relations(engine, work, manifest, policy)
        counts = segment_counts(engine, policy)
        findings = assess(counts)
        page = render_bias_page(
            f"{manifest.dataset}, version {manifest.version}",
            _facts(manifest),
            _funnel(engine),
            {kind: manifest.ledger[kind]["states"] for kind in ("inference", "feedback")},
            findings,
            segment_summary(counts),
            _labels(engine),
            _pairs(engine, "SELECT split, count(*) FROM sampled_dataset GROUP BY split ORDER BY split"),
            bounds=positive_rate_bounds([c for c in counts if c.objective == "unpaired"]),
            gate=gate(findings, policy.bias.gate),
        )
    path = report_path(compiler, manifest)
    make_folder(path.parent)
    write_atomically(path, page.encode())


def _facts(manifest: Manifest) -> Mapping[str, str | int]:
    return {
        "Version": manifest.version or 0,
        "Window": manifest.window,
        "Trigger": manifest.trigger,
        "Inferences up to": manifest.cuts.inference,
        "Feedback up to": manifest.cuts.feedback,
        "Changes": ", ".join(f"{n:,} {op}" for op, n in manifest.changes.items()),
        "State hash": manifest.state_hash[:16],
        "Config hash": manifest.config_hash[:16],
    }


def _funnel(engine: DuckEngine) -> list[tuple[str, int]]:
    steps = (
        ("inferences", "SELECT count(*) FROM inferences WHERE is_selected"),
        ("with feedback", "SELECT count(DISTINCT request_id) FROM attributed_pairs WHERE status = 'attributed'"),
        ("with valid feedback", "SELECT count(DISTINCT request_id) FROM validated_pairs WHERE verdict = 'valid'"),
        ("resolved", "SELECT count(DISTINCT request_id) FROM resolved_examples WHERE state = 'resolved'"),
        ("in the dataset", "SELECT count(DISTINCT request_id) FROM sampled_dataset"),
    )
    return [(label, int(str(engine.one(sql)[0]))) for label, sql in steps]


def _labels(engine: DuckEngine) -> dict[str, dict[str, int]]:
    labels: dict[str, dict[str, int]] = {}
    sql = "SELECT objective, label, count(*) FROM sampled_dataset GROUP BY objective, label ORDER BY objective, label"
    for objective, label, n in engine.rows(sql):
        labels.setdefault(str(objective), {})[str(label)] = int(str(n))
    return labels


def _pairs(engine: DuckEngine, sql: str) -> dict[str, int]:
    return {str(name): int(str(n)) for name, n in engine.rows(sql)}
