"""`feedback keys`: who may send events and read datasets. Keys of all tenants of a server lie in one file below its home.

A key goes to stdout once, alone on its line, so that a script can take it; what is said about it goes to stderr.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from feedback_platform.cli.screen import json_option, print_json, print_table, say
from feedback_platform.errors import ConfigError
from feedback_platform.intake.guards.principal import SCOPES
from feedback_platform.settings import Settings

if TYPE_CHECKING:
    from feedback_platform.intake.guards.key_rows import IssuedKey, KeyInfo
    from feedback_platform.intake.guards.keys import KeyStore

MAX_MICROS = 36_525 * 86_400 * 10**6
ONCE = "This is the only time that it is shown: put it where its user keeps secrets."


@click.group("keys")
def keys_group() -> None:
    """Make, list, rotate and revoke API keys."""


@keys_group.command("create")
@click.option("--tenant", help="Whose data; FEEDBACK_TENANT by default.")
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(SCOPES), help="May be repeated.")
@click.option("--label", default="", help="Who has it and what for.")
@click.option("--env", default="live", show_default=True, help="A word inside the key, such as live or test.")
@click.option("--expires", metavar="DURATION", help="Such as 90d; never by default.")
@click.option(
    "--origin", "origins", multiple=True, help="Web page that may use it: https://app.example.com. Repeatable."
)
@click.option("--signing", is_flag=True, help="Each request must be signed (Standard Webhooks).")
@json_option
@click.pass_obj
def create_command(
    settings: Settings,
    tenant: str | None,
    scopes: tuple[str, ...],
    label: str,
    env: str,
    expires: str | None,
    origins: tuple[str, ...],
    signing: bool,
    as_json: bool,
) -> None:
    """Make a key and print it, once. A key with --origin is for browsers and may only hold ingest:feedback."""
    now = datetime.now(UTC)
    with _store(settings) as store:
        issued = store.create(
            tenant or settings.tenant, scopes, label, now=now, env=env, origins=origins, signing=signing,
            expires=None if expires is None else now + _duration(expires),
        )  # fmt: skip
    info = issued.info
    end = "without an end" if info.expires is None else f"until {info.expires:%Y-%m-%d %H:%M} UTC"
    what = f"Key {info.key_id} for tenant {info.tenant}, {end}, may: {', '.join(info.scopes)}."
    _show_issued(issued, what, as_json)


@keys_group.command("list")
@click.option("--tenant", help="Keys of one tenant only.")
@json_option
@click.pass_obj
def list_command(settings: Settings, tenant: str | None, as_json: bool) -> None:
    """Show all keys, dead ones too; never their secrets."""
    from feedback_platform.intake.guards.keys import key_store_path

    now = datetime.now(UTC)
    found: tuple[KeyInfo, ...] = ()
    if key_store_path(settings).exists():
        with _store(settings) as store:
            found = store.list(tenant)
    if as_json:
        print_json([_facts(info, now) for info in found])
    elif not found:
        say("No keys yet. `feedback keys create --scope ingest:inference --scope ingest:feedback` makes one.")
    else:
        columns = ("key", "tenant", "state", "scopes", "label", "expires", "last used")
        rows = [
            (i.key_id, i.tenant, i.state(now), " ".join(i.scopes), i.label, i.expires or "never", i.last_used)
            for i in found
        ]
        print_table(columns, rows)


@keys_group.command("rotate")
@click.argument("key_id")
@click.option(
    "--overlap", metavar="DURATION", default="24h", show_default=True, help="How long the old one stays good."
)
@click.option("--signing-secret", is_flag=True, help="Keep the key; make a new signing secret only.")
@json_option
@click.pass_obj
def rotate_command(settings: Settings, key_id: str, overlap: str, signing_secret: bool, as_json: bool) -> None:
    """Make a key with the rights of KEY_ID and print it, once; both are good until the overlap ends."""
    now, both = datetime.now(UTC), _duration(overlap)
    until = f"The old one is good until {now + both:%Y-%m-%d %H:%M} UTC."
    with _store(settings) as store:
        if not signing_secret:
            issued = store.rotate(key_id, both, now=now)
            _show_issued(issued, f"Key {issued.info.key_id} takes the place of {key_id}. {until}", as_json)
            return
        secret = store.rotate_signing(key_id, both, now=now)
    if as_json:
        print_json({"key_id": key_id, "signing_secret": secret})
        return
    click.echo(secret)
    say(f"New signing secret of key {key_id}. {until} {ONCE}", err=True)


@keys_group.command("revoke")
@click.argument("key_id")
@json_option
@click.pass_obj
def revoke_command(settings: Settings, key_id: str, as_json: bool) -> None:
    """End KEY_ID for ever. Running servers refuse it within about a second."""
    now = datetime.now(UTC)
    with _store(settings) as store:
        info = store.revoke(key_id, now=now)
    if as_json:
        print_json(_facts(info, now))
        return
    say(f"Key {key_id} of tenant {info.tenant} is revoked. Running servers refuse it within about a second.")
    if info.replaced_by:
        say(f"Its successor {info.replaced_by} is another key: revoke that one too, if it must end.")


@contextmanager
def _store(settings: Settings) -> "Iterator[KeyStore]":
    from feedback_platform.intake.guards.keys import KeyStore, key_store_path

    with KeyStore(key_store_path(settings)) as store:
        yield store


def _duration(text: str) -> timedelta:
    from feedback_platform.contracts.policies import micros

    if (length := micros(text)) > MAX_MICROS:
        raise ConfigError(f"duration {text!r} is over a hundred years. Write one such as 90d.")
    return timedelta(microseconds=length)


def _show_issued(issued: "IssuedKey", what: str, as_json: bool) -> None:
    """The key on stdout, and below it its signing secret where it has one."""
    if as_json:
        facts = _facts(issued.info, issued.info.created)
        print_json({"key": issued.plain, "signing_secret": issued.signing_secret, **facts})
        return
    click.echo(issued.plain)
    if issued.signing_secret is not None:
        click.echo(issued.signing_secret)
        what += " The second line is the secret that its requests are signed with."
    say(f"{what} {ONCE}", err=True)


def _facts(info: "KeyInfo", now: datetime) -> dict[str, Any]:
    return {**asdict(info), "state": info.state(now)}
