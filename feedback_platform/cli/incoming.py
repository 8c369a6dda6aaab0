"""`feedback import` and `feedback land`: events into the log, the log into the lake."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from feedback_platform.cli.screen import json_option, print_json, print_table, say, working
from feedback_platform.settings import Settings

if TYPE_CHECKING:
    from feedback_platform.intake.importers.runner import ImportSummary
    from feedback_platform.intake.landing import Landed

_files = click.Path(path_type=Path, dir_okay=False)


@click.command("jsonl", short_help="One event of the wire contract per line, plain or .gz.")
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
    with shown(as_json) as summary:
        import_files(settings, inferences, feedback, summary)


@click.command("land")
@click.option("--watch", is_flag=True, help="Go on landing what comes in, for all tenants, until interrupted.")
@click.option("--every", default=5.0, show_default=True, help="With --watch: seconds that an event may wait.")
@click.option("--child", is_flag=True, hidden=True, help="End when standard input closes.")
@json_option
@click.pass_obj
def land_command(settings: Settings, watch: bool, every: float, child: bool, as_json: bool) -> None:
    """Land what the event log holds beyond the lake's raw tables, exactly once."""
    if watch:
        watch_landing(settings, every, child)
        return
    landed = land_all(settings)
    if as_json:
        print_json({table.table: {"rows": table.rows, "position": table.position} for table in landed})
    elif not any(table.rows for table in landed):
        say("Nothing to land: the lake holds every accepted event.")
    else:
        print_table(("table", "landed", "position"), [(t.table, t.rows, t.position) for t in landed])


def watch_landing(settings: Settings, every: float, child: bool) -> None:
    """Land until interrupted, or until the parent is gone."""
    from feedback_platform.intake.landing_service import keep_landing

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    if child:
        threading.Thread(target=_stop_with_parent, args=(stop,), daemon=True).start()

    def told(tenant: str, landed: "list[Landed]") -> None:
        if not child:
            say(f"{tenant}: " + ", ".join(f"{t.rows:,} rows in {t.table}" for t in landed if t.rows))

    keep_landing(settings, every, stop, told)


def _stop_with_parent(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1024):  # unbuffered: a buffer's lock would be held when the process ends
        pass
    stop.set()


def import_files(
    settings: Settings,
    inferences: tuple[Path, ...],
    feedback: tuple[Path, ...],
    summary: "ImportSummary | None" = None,
) -> "ImportSummary":
    """Import files into the tenant's log, with a spinner; counts into the summary, where one is given."""
    from feedback_platform.intake.importers.jsonl import import_jsonl
    from feedback_platform.intake.tenants import open_tenant

    with open_tenant(settings) as tenant, working("importing") as progress:

        def told(path: Path, so_far: "ImportSummary") -> None:
            progress(f"{path.name}, {so_far.records:,} lines")

        return import_jsonl(tenant.door, inferences, feedback, progress=told, summary=summary)


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


@contextmanager
def shown(as_json: bool) -> Iterator["ImportSummary"]:
    """A summary to count into, shown at the end; before an error too, where it left something in the log."""
    from feedback_platform.errors import FeedbackPlatformError
    from feedback_platform.intake.importers.runner import ImportSummary

    summary = ImportSummary()
    try:
        yield summary
    except FeedbackPlatformError:
        if summary.records:
            show_import(summary, as_json)
        raise
    show_import(summary, as_json)
    if summary.refused:
        raise SystemExit(1)


def show_import(summary: "ImportSummary", as_json: bool) -> None:
    """What an import did."""
    if as_json:
        print_json({
            "inferences_accepted": summary.inferences_accepted, "feedback_accepted": summary.feedback_accepted,
            "duplicates": summary.duplicates, "refused": summary.refused, "by_reason": dict(summary.by_reason),
            "skipped": summary.skipped, "by_skip": dict(summary.by_skip),
        })  # fmt: skip
        return
    say(
        f"Accepted {summary.inferences_accepted:,} inferences and {summary.feedback_accepted:,} feedback events; "
        f"{summary.duplicates:,} were here already, {summary.skipped:,} records hold nothing for us, "
        f"{summary.refused:,} were refused."
    )
    if summary.skipped:
        print_table(("left out because", "records"), summary.by_skip.most_common())
    if summary.refused:
        from feedback_platform.contracts.events import REASONS

        rows = [(reason, n, REASONS.get(reason, "")) for reason, n in summary.by_reason.most_common()]
        print_table(("refused because", "records", "meaning"), rows)
        say("Each refused record is a dead letter with its place and what to do: feedback dead-letters list")
