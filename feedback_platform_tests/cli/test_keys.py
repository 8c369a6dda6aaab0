"""`feedback keys`: a key is shown once, works, and ends when told; what cannot be is one line with the next step."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from feedback_platform.cli.app import _Commands
from feedback_platform.cli.keys import keys_group
from feedback_platform.errors import AccessError
from feedback_platform.intake.guards.keys import KeyStore, key_store_path
from feedback_platform.settings import Settings

SCOPE = ("--scope", "ingest:feedback")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", tenant="acme")


def run(settings: Settings, *arguments: str) -> Result:
    """The group as the front door has it."""
    door = _Commands("feedback", commands={"keys": keys_group})
    return CliRunner().invoke(door, ["keys", *arguments], obj=settings, catch_exceptions=False)


def facts(settings, *arguments):
    result = run(settings, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def verified(settings, plain, *, after=timedelta(0)):
    with KeyStore(key_store_path(settings)) as store:
        return store.verify(plain, datetime.now(UTC) + after)


def test_a_created_key_is_alone_on_stdout_and_works(settings):
    result = run(settings, "create", *SCOPE, "--scope", "review", "--label", "web team")
    assert result.exit_code == 0
    plain = result.stdout.strip()
    assert "\n" not in plain
    principal = verified(settings, plain, after=timedelta(days=3_650))
    assert (principal.tenant, principal.scopes) == ("acme", {"ingest:feedback", "review"})
    assert "only time that it is shown" in result.stderr
    assert principal.key_id in result.stderr
    assert plain not in result.stderr


def test_json_tells_everything_once_and_the_list_never_a_secret(settings):
    made = facts(settings, "create", *SCOPE, "--tenant", "other", "--signing", "--expires", "90d", "--env", "test")
    assert made["key"].startswith(f"fp_test_{made['key_id']}_")
    assert made["signing_secret"].startswith("whsec_")
    assert (made["tenant"], made["state"], made["signed"]) == ("other", "active", True)
    assert datetime.fromisoformat(made["expires"]) - datetime.fromisoformat(made["created"]) == timedelta(days=90)
    (listed,) = facts(settings, "list")
    assert listed == {name: value for name, value in made.items() if name not in {"key", "signing_secret"}}
    shown = run(settings, "list").output
    assert made["key_id"] in shown
    assert made["key"].split("_")[3] not in shown


def test_the_second_line_is_the_signing_secret(settings):
    result = run(settings, "create", *SCOPE, "--signing")
    plain, secret = result.stdout.split()
    assert (plain[:3], secret[:6]) == ("fp_", "whsec_")
    assert "second line" in result.stderr


def test_a_list_names_a_tenants_keys_and_makes_no_file(settings):
    assert "feedback keys create" in run(settings, "list").stdout
    assert facts(settings, "list") == []
    assert not settings.home.exists()
    one = facts(settings, "create", *SCOPE, "--tenant", "one")
    facts(settings, "create", *SCOPE, "--tenant", "two")
    assert [key["key_id"] for key in facts(settings, "list", "--tenant", "one")] == [one["key_id"]]
    assert len(facts(settings, "list")) == 2


def test_after_a_rotation_both_keys_work_until_the_overlap_ends(settings):
    old = facts(settings, "create", *SCOPE)
    result = run(settings, "rotate", old["key_id"], "--overlap", "2h")
    new = result.stdout.strip()
    assert old["key_id"] in result.stderr
    assert verified(settings, new).tenant == verified(settings, old["key"], after=timedelta(hours=1)).tenant == "acme"
    with pytest.raises(AccessError, match="expired"):
        verified(settings, old["key"], after=timedelta(hours=3))
    assert verified(settings, new, after=timedelta(hours=3)).tenant == "acme"


def test_a_signing_secret_rotates_without_its_key(settings):
    made = facts(settings, "create", *SCOPE, "--signing")
    turned = facts(settings, "rotate", made["key_id"], "--signing-secret")
    assert turned["signing_secret"] != made["signing_secret"]
    assert len(verified(settings, made["key"]).signing_secrets(datetime.now(UTC))) == 2
    assert run(settings, "rotate", made["key_id"], "--signing-secret").stdout.startswith("whsec_")
    assert len(facts(settings, "list")) == 1


def test_a_revoked_key_ends_and_its_successor_is_named(settings):
    old = facts(settings, "create", *SCOPE)
    new = facts(settings, "rotate", old["key_id"])
    told = run(settings, "revoke", old["key_id"])
    assert "is revoked" in told.stdout
    assert new["key_id"] in told.stdout
    with pytest.raises(AccessError, match="revoked"):
        verified(settings, old["key"])
    assert verified(settings, new["key"]).key_id == new["key_id"]
    assert facts(settings, "revoke", new["key_id"])["state"] == "revoked"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create",), "Missing option '--scope'"),
        (("create", "--scope", "everything"), "'everything' is not one of"),
        (("create", *SCOPE, "--tenant", "Not A Tenant"), "is not a tenant name"),
        (("create", *SCOPE, "--expires", "soon"), "such as 30d"),
        (("create", *SCOPE, "--expires", "99999999d"), "over a hundred years"),
        (("create", *SCOPE, "--origin", "example.com"), "such as https://app.example.com"),
        (("create", "--scope", "admin", "--origin", "https://a.example.com"), "ingest:feedback"),
        (("rotate", "nobody"), "feedback keys list"),
        (("revoke", "nobody"), "feedback keys list"),
    ],
)
def test_a_mistake_is_told_on_stderr_with_the_next_step(settings, arguments, words):
    result = run(settings, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""
    assert facts(settings, "list") == []


def test_every_command_explains_itself(settings):
    assert isinstance(keys_group, click.Group)
    assert list(keys_group.commands) == ["create", "list", "rotate", "revoke"]
    for name, command in keys_group.commands.items():
        assert command.help, name
        assert run(settings, name, "--help").exit_code == 0
