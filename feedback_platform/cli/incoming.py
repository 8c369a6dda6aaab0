"""`feedback import` and `feedback land`: events into the log, the log into the lake."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from feedback_platform.cli.screen import json_option, print_json, print_table, say, working
from feedback_platform.settings import Settings

if TYPE_CHECKING:
    from feedback_platform.intake.importers.jsonl import ImportSummary
    from feedback_platform.intake.landing import Landed

_files = click.Path(path_type=Path, dir_okay=False)


@click.group("import")
def import_group() -> None:
    """Bring events from files into the event log."""


@import_group.command("jsonl")
@click.option("--inferences", multiple=True, type=_files, help="File with one inference per line, plain or .gz.")
@click.option("--feedback", multiple=True, type=_files, help="File with one feedback event per line, plain or .gz.")
@json_option
@click.pass_obj
def import_jsonl_command(
    settings: Settings, inferences: tuple[Path, ...], feedback: tuple[Path, ...], as_json: bool
) -> None:
    """Import JSON Lines: one event a line, as the API takes it. Known events count once.

    Exits with 1 when lines were refused; each is kept as a dead letter with its reason.
    """
    if not inferences and not feedback:
        raise click.UsageError("Name at least one file with --inferences or --feedback.")
    summary = import_files(settings, inferences, feedback)
    show_import(summary, as_json)
    if summary.refused:
        raise SystemExit(1)


@click.command("land")
@json_option
@click.pass_obj
def land_command(settings: Settings, as_json: bool) -> None:
    """Land what the event log holds beyond the lake's raw tables, exactly once."""
    landed = land_all(settings)
    if as_json:
        print_json({table.table: {"rows": table.rows, "position": table.position} for table in landed})
    elif not any(table.rows for table in landed):
        say("Nothing to land: the lake holds every accepted event.")
    else:
        print_table(("table", "landed", "position"), [(t.table, t.rows, t.position) for t in landed])


def import_files(settings: Settings, inferences: tuple[Path, ...], feedback: tuple[Path, ...]) -> "ImportSummary":
    """Import files into the tenant's log, with a spinner."""
    from feedback_platform.intake.importers.jsonl import import_jsonl
    from feedback_platform.intake.sqlite_log import open_log

    def told(path: Path, so_far: "ImportSummary") -> None:
        done = so_far.inferences_accepted + so_far.feedback_accepted + so_far.duplicates + so_far.refused
        progress(f"{path.name}, {done:,} lines")

    log = open_log(settings.log_path)
    try:
        with working("importing") as progress:
            return import_jsonl(
                log, inferences, feedback, received_at=lambda: datetime.now(UTC), tenant=settings.tenant, progress=told
            )
    finally:
        log.close()


def land_all(settings: Settings) -> "list[Landed]":
    """Land everything, with a spinner."""
    from feedback_platform.intake.landing import land
    from feedback_platform.intake.sqlite_log import open_log
    from feedback_platform.lake.store import Lake

    log = open_log(settings.log_path)
    try:
        with working("landing") as progress:
            return land(log, Lake(settings.lake), lambda table, rows: progress(f"{table}, {rows:,} rows"))
    finally:
        log.close()


def show_import(summary: "ImportSummary", as_json: bool) -> None:
    """What an import did."""
    if as_json:
        print_json({
            "inferences_accepted": summary.inferences_accepted, "feedback_accepted": summary.feedback_accepted,
            "duplicates": summary.duplicates, "refused": summary.refused, "by_reason": dict(summary.by_reason),
            "blank": summary.blank, "bytes_read": summary.bytes_read,
        })  # fmt: skip
        return
    say(
        f"Accepted {summary.inferences_accepted:,} inferences and {summary.feedback_accepted:,} feedback events; "
        f"{summary.duplicates:,} were here already, {summary.refused:,} lines were refused."
    )
    if summary.refused:
        from feedback_platform.contracts.events import REASONS

        rows = [(reason, n, REASONS.get(reason, "")) for reason, n in summary.by_reason.most_common()]
        print_table(("reason", "lines", "meaning"), rows)
        say("Each refused line is a dead letter with its place and what to do. After `feedback land`:")
        say('  feedback query "SELECT origin, line, message FROM dead_letters ORDER BY log_seq"')
