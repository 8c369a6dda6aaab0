"""`feedback doctor` and `feedback upkeep`: is everything whole, and keep it quick."""

from dataclasses import asdict
from datetime import UTC, datetime

import click

from feedback_platform.cli.checks import all_checks
from feedback_platform.cli.screen import json_option, print_json, print_table, say, working
from feedback_platform.settings import Settings


@click.command("doctor")
@click.option("--repair", is_flag=True, help="Roll damaged tables back to their last whole commit.")
@json_option
@click.pass_obj
def doctor_command(settings: Settings, repair: bool, as_json: bool) -> None:
    """Check log, tables, manifests, disk and libraries. Exits with 1 when something is wrong."""
    with working("checking"):
        checks = list(all_checks(settings, repair=repair))
    wrong = [check for check in checks if check.status == "wrong"]
    if as_json:
        print_json({"ok": not wrong, "checks": [asdict(check) for check in checks]})
    else:
        print_table(("check", "", "found"), [(c.name, c.status, c.found) for c in checks])
        for check in checks:
            if check.next_step:
                say(f"{check.name}: {check.next_step}")
        say("Something is wrong." if wrong else "All is well.", style="bold red" if wrong else "bold green")
    if wrong:
        raise SystemExit(1)


@click.command("upkeep")
@json_option
@click.pass_obj
def upkeep_command(settings: Settings, as_json: bool) -> None:
    """Merge small files, delete dead ones, checkpoint tables, prune the landed log, rebuild the warehouse.

    Changes no row and no version; an open window is left alone.
    """
    from feedback_platform.compile.upkeep import tend
    from feedback_platform.compile.warehouse import rebuild_warehouse
    from feedback_platform.intake.landing import prune, retention_limit
    from feedback_platform.intake.sqlite_log import open_log
    from feedback_platform.lake.store import Lake

    if not settings.root.exists():
        print_json({}) if as_json else say("Nothing to keep up: nothing was ever accepted here.")
        return
    lake, now = Lake(settings.lake), datetime.now(UTC)
    with working("upkeep") as progress:
        progress("tables")
        tended = tend(lake, now=now, memory_limit=settings.memory_limit)
        progress("log")
        log = open_log(settings.log_path)
        try:
            pruned = prune(log, lake, retention_limit(now, settings.log_retention_days))
        finally:
            log.close()
        progress("warehouse")
        rebuild_warehouse(settings, lake)
    facts = {
        "tables": len(tended),
        "files_merged": sum(t.compacted.merged for t in tended),
        "files_written": sum(t.compacted.written for t in tended),
        "files_deleted": sum(t.vacuumed.files for t in tended),
        "bytes_deleted": sum(t.vacuumed.bytes for t in tended),
        "log_entries_pruned": pruned,
    }
    if as_json:
        print_json(facts)
        return
    say(
        f"{facts['tables']} tables: {facts['files_merged']:,} small files merged into {facts['files_written']:,}, "
        f"{facts['files_deleted']:,} dead files deleted ({facts['bytes_deleted']:,} bytes). "
        f"{pruned:,} landed log entries older than {settings.log_retention_days} days pruned. The warehouse is new."
    )
