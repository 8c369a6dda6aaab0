"""`feedback dead-letters`: refused events, and a second chance for them."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import click
import msgspec

from feedback_platform.cli.screen import json_option, print_json, print_table, say
from feedback_platform.settings import Settings

if TYPE_CHECKING:
    from feedback_platform.intake.dead_letters import Chosen, Edit, Letter

SHOWN = 50
MESSAGE_WIDTH = 100
_BY_TOKEN = "whose limits are not kept: they are never sent again"


def _choosing(command: Any) -> Any:
    for option in (
        click.option("--reason", "reasons", multiple=True, help="Only with this reason code."),
        click.option("--origin", "origins", multiple=True, help="Only from this file or endpoint."),
        click.option("--seq", "seqs", multiple=True, type=int, help="Only this position."),
    ):
        command = option(command)
    return command


@click.group("dead-letters")
def dead_letters_group() -> None:
    """Events that were refused: what was wrong with them, and sending them again after a fix."""


@dead_letters_group.command("list")
@_choosing
@click.option("--replayed", is_flag=True, help="Also those that were accepted after all.")
@json_option
@click.pass_obj
def list_command(
    settings: Settings, seqs: tuple[int, ...], reasons: tuple[str, ...], origins: tuple[str, ...], replayed: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Refused events, oldest first, with what was wrong and what to do. --json shows all, with their bodies."""
    from feedback_platform.intake.dead_letters import Chosen

    found = _found(settings, Chosen(seqs, reasons, origins, replayed))
    if as_json:
        print_json([msgspec.to_builtins(letter) for letter in found])
        return
    if not found:
        say("No dead letters.")
        return
    counts = Counter(letter.reason for letter in found)
    print_table(("reason", "events"), counts.most_common(), title=f"{len(found):,} refused events")
    rows = [(n.seq, str(n.received_at)[:19], n.origin, n.line or "", n.message[:MESSAGE_WIDTH]) for n in found[-SHOWN:]]
    title = "The latest" if len(found) > SHOWN else None
    print_table(("seq", "refused at (UTC)", "from", "line", "what was wrong"), rows, title=title)
    if by_token := sum(letter.restricted for letter in found):
        say(f"{by_token:,} came with a feedback token, {_BY_TOKEN}.")
    say(
        "Send them again after a fix: feedback dead-letters replay --reason REASON [--drop F] [--rename A=B] [--set F=JSON]"
    )


@dead_letters_group.command("replay")
@_choosing
@click.option("--drop", multiple=True, metavar="FIELD", help="Remove a field from each event first.")
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="Rename a field in each event first.")
@click.option("--set", "put", multiple=True, metavar="FIELD=JSON", help="Set a field in each event first.")
@click.option(
    "--as-reviewer",
    is_flag=True,
    help="Count letters that do not tell their sender's rights (kept by an older release, or read from the lake) as a "
    "reviewer's.",
)
@json_option
@click.pass_obj
def replay_command(
    settings: Settings, seqs: tuple[int, ...], reasons: tuple[str, ...], origins: tuple[str, ...],
    drop: tuple[str, ...], rename: tuple[str, ...], put: tuple[str, ...], as_reviewer: bool, as_json: bool,
) -> None:  # fmt: skip
    """Send refused events through the door again, perhaps changed. What is accepted is no longer listed.

    Each is sent with the rights of its first sender; what came with a feedback token is not sent. Exits with 1 when some
    were refused again. An event that was accepted before counts once.
    """
    from feedback_platform.intake.dead_letters import Chosen, letters, replay
    from feedback_platform.intake.tenants import open_tenant
    from feedback_platform.lake.store import Lake

    edit = _edit(drop, rename, put)
    with open_tenant(settings) as tenant:
        chosen = Chosen(seqs, reasons, origins)
        # Listed first: the letters are read while the log is written otherwise.
        found = list(letters(tenant.log, Lake(settings.lake), chosen, settings.memory_limit))
        done = replay(tenant.door, iter(found), edit, as_reviewer=as_reviewer)
    counts = {kind: done.count(kind) for kind in ("accepted", "duplicate", "refused", "by_token", "not_sendable")}
    again = [(letter.seq, str(why)[:MESSAGE_WIDTH]) for letter, why in done.outcomes if isinstance(why, Exception)]
    if as_json:
        print_json({**counts, "refused_again": [{"seq": seq, "message": message} for seq, message in again]})
    else:
        say(
            f"{counts['accepted']:,} accepted, {counts['duplicate']:,} were here already, {counts['refused']:,} refused "
            f"again, {counts['not_sendable']:,} cannot be sent (cut off, or never an event)."
        )
        if counts["by_token"]:
            say(f"{counts['by_token']:,} came with a feedback token, {_BY_TOKEN}.")
        if again:
            print_table(("seq", "still wrong"), again[:SHOWN])
    if counts["refused"]:
        raise SystemExit(1)


def _found(settings: Settings, chosen: "Chosen") -> "list[Letter]":
    from feedback_platform.cli.finding import existing_log
    from feedback_platform.intake.dead_letters import letters
    from feedback_platform.lake.store import Lake

    with existing_log(settings) as log:
        return [] if log is None else list(letters(log, Lake(settings.lake), chosen, settings.memory_limit))


def _edit(drop: tuple[str, ...], rename: tuple[str, ...], put: tuple[str, ...]) -> "Edit":
    from feedback_platform.intake.dead_letters import Edit

    renamed = dict(_pair(text, "--rename OLD=NEW") for text in rename)
    values = {}
    for name, text in (_pair(text, "--set FIELD=JSON") for text in put):
        try:
            values[name] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            raise click.UsageError(
                f"--set {name}: {text!r} is not JSON; write text in quotes, as {name}='\"text\"'."
            ) from None
    return Edit(drop, renamed, values)


def _pair(text: str, form: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not (found and name and value):
        raise click.UsageError(f"{text!r} is not {form}.")
    return name, value
