"""What the demo tells at its end: what came in, what became of it, what each version holds, and what to try next."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from feedback_platform.cli.facts import account_rows, counts, status_facts
from feedback_platform.cli.finding import compiler_for
from feedback_platform.cli.screen import print_table, program, say
from feedback_platform.settings import Settings

if TYPE_CHECKING:
    from feedback_platform.compile.changes import Changes, Sample
    from feedback_platform.compile.window import Compiler
    from feedback_platform.intake.importers.runner import ImportSummary

_SIGNALS = "SELECT feedback_type, count(*) FROM feedback_events GROUP BY feedback_type ORDER BY 2 DESC, 1"


def show_summary(settings: Settings, dataset: str, imports: "Sequence[ImportSummary]") -> None:
    """Print the summary of a dataset with at least one version."""
    compiler = compiler_for(settings, dataset)
    facts = status_facts(settings, [dataset])
    ledger = facts["datasets"][dataset]
    _came_in(compiler, ledger["inference"]["accepted"], ledger["feedback"]["accepted"], imports)
    rows = [row for kind in ("inference", "feedback") for row in account_rows(kind, ledger[kind])]
    print_table(("events", "state", "reason", "count"), rows, title="What became of every event")
    say(f"Unaccounted for: {facts['unaccounted']}.")
    versions = compiler.store.versions()
    print_table(
        ("version", "examples", "changes", "change hash", "state hash"),
        [(m.version, counts(m.rows), counts(m.changes), m.change_hash[:12], m.state_hash[:12]) for m in versions],
        title="What each version holds",
    )
    sample = None
    if len(versions) > 1:
        from feedback_platform.compile.changes import changes_between

        older, newer = versions[-2].version or 0, versions[-1].version or 0
        changes = changes_between(compiler, older, newer)
        _changed(changes)
        sample = next(iter(changes.samples), None)
    _files(settings, dataset, versions[-1].version or 0)
    _next_steps(settings, dataset, sample, [m.version or 0 for m in versions])


def _came_in(compiler: "Compiler", inferences: int, feedback: int, imports: "Sequence[ImportSummary]") -> None:
    from feedback_platform.compile.explain_facts import dataset_facts

    with compiler.engine() as engine:
        dataset_facts(compiler.lake, compiler.policy.name, engine)
        signals = ", ".join(f"{int(str(n)):,} {kind}" for kind, n in engine.rows(_SIGNALS))
    known = sum(i.duplicates for i in imports)
    again = f" This time {known:,} lines were known already." if known else ""
    say()
    say(f"What came in: {inferences:,} inferences and {feedback:,} feedback events ({signals}).{again}", style="bold")


def _changed(changes: "Changes") -> None:
    """Counts by objective, then a few examples with names."""
    by_kind: dict[tuple[str, str], int] = {}
    for c in changes.counts:
        by_kind[c.change, c.objective] = by_kind.get((c.change, c.objective), 0) + c.examples
    flips = [f"{f.examples:,} {f.objective} labels from {f.before} to {f.after}" for f in changes.flips]
    say(f"What changed from version {changes.older} to version {changes.newer}", style="bold")
    for what in ("add", "update", "remove"):
        parts = [f"{n:,} {objective}" for (change, objective), n in sorted(by_kind.items()) if change == what]
        if parts:
            say(f"  {what:<7}{', '.join(parts)}")
    if flips:
        say(f"  of the updates, late feedback flipped {' and '.join(flips)}. For instance:")
    seen: set[str] = set()
    for sample in changes.samples:
        if sample.change == "update" and sample.request_id not in seen and len(seen) < 3:
            seen.add(sample.request_id)
            say(f"    {sample.request_id} ({sample.objective}): {_told(sample)}")


def _told(sample: "Sample") -> str:
    label = f"{sample.before} became {sample.after}" if sample.before != sample.after else f"still {sample.after}"
    if not sample.new_evidence:
        return f"{label}, because {sample.reason.replace(',', ', ')} changed"
    return f"{label}, because {', '.join(sample.new_evidence[:3])} arrived"


def _files(settings: Settings, dataset: str, version: int) -> None:
    say()
    say("Where it is", style="bold")
    for what, path in (
        ("exports", settings.exports / dataset / f"v{version}"),
        ("report", settings.reports / dataset / f"v{version}.html"),
        ("warehouse", settings.warehouse),
        ("tables", settings.lake),
    ):
        say(f"  {what:<10}{path}")


def _next_steps(settings: Settings, dataset: str, sample: "Sample | None", versions: list[int]) -> None:
    from feedback_platform.settings import load_settings

    command = program() if settings.home == load_settings().home else f"{program()} --home {settings.home}"
    say()
    say("Try next", style="bold")
    if sample is not None:
        say(f"  {command} explain {sample.request_id}")
        say(f"  {command} diff {dataset} {versions[-2]} {versions[-1]}")
    say(f'  {command} query "SELECT label, count(*) FROM {dataset}.train_kto GROUP BY label"')
    say(f"  {command} plan {dataset} --set resolve.agreement=0.8")
    say(f"  {command} export {dataset} --format dpo --out dpo")
    say(f"  {command} init my_bot        # a dataset of your own")
    say("  make dev                          # the same in Dagster's UI")
